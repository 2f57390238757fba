//! Versions, dots and clocks as byte strings, so that equal ones are kept once. Numbers are written seven bits to a byte,
//! lowest first. It reads only what it wrote.

use crate::history::{Clock, Dot};

/// Appends numbers.
pub(super) fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_byte(number) | 0x80);
        number >>= 7;
    }
    out.push(low_byte(number));
}

fn low_byte(number: u64) -> u8 {
    (number & 0x7f).to_le_bytes()[0]
}

/// Reads numbers back, in the order they were pushed.
#[derive(Debug)]
pub(super) struct Numbers<'a>(pub(super) &'a [u8]);

impl Iterator for Numbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }
}

impl Numbers<'_> {
    pub(super) fn dot(&mut self) -> Option<Dot> {
        Some(Dot { actor: self.next()?, seq: self.next()? })
    }
}

pub(super) fn push_dot(out: &mut Vec<u8>, dot: Dot) {
    push(out, dot.actor);
    push(out, dot.seq);
}

pub(super) fn push_clock(out: &mut Vec<u8>, clock: &Clock) {
    push(out, clock.vv.len() as u64);
    for &(actor, seq) in &clock.vv {
        push_dot(out, Dot { actor, seq });
    }
    for &dot in &clock.dots {
        push_dot(out, dot);
    }
}

pub(super) fn clock(bytes: &[u8]) -> Clock {
    let mut numbers = Numbers(bytes);
    let runs = numbers.next().unwrap_or(0);
    let vv = (0..runs).map_while(|_| numbers.dot()).map(|dot| (dot.actor, dot.seq)).collect();
    Clock { vv, dots: std::iter::from_fn(|| numbers.dot()).collect() }
}

#[cfg(test)]
mod tests {
    use super::{Clock, Numbers, clock, push, push_clock};
    use crate::history::Dot;
    use proptest::prelude::{any, prop, proptest};

    proptest! {
        #[test]
        fn what_is_pushed_is_read_back(
            vv in prop::collection::vec(any::<(u64, u64)>(), 0..4),
            dots in prop::collection::vec(any::<(u64, u64)>(), 0..4),
        ) {
            let told = Clock { vv, dots: dots.into_iter().map(Dot::from).collect() };
            let mut bytes = Vec::new();
            push_clock(&mut bytes, &told);
            assert_eq!(clock(&bytes), told);
        }

        #[test]
        fn numbers_keep_their_order(numbers in prop::collection::vec(any::<u64>(), 0..6)) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|&number| push(&mut bytes, number));
            assert_eq!(Numbers(&bytes).collect::<Vec<_>>(), numbers);
        }
    }
}
