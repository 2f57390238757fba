//! Owns the search for the interval around a position; refuses to know what is searched.

use std::hint::select_unpredictable;

/// How far from where it should be a position is looked for, before all is looked through.
const WINDOW: usize = 8;

/// Of a few intervals in order, the last that begins at or below `position`, or the first of all. Each of the two steps
/// looks at several at once: what a search waits for is memory, and these it waits for together.
pub(super) fn covering_few<T>(intervals: &[T], first: impl Fn(&T) -> u128, position: u128) -> usize {
    const STRIDE: usize = 6;
    let is_below = |interval: &&T| first(interval) <= position;
    let from = STRIDE * intervals.iter().skip(STRIDE).step_by(STRIDE).filter(is_below).count();
    from + intervals[from..].iter().take(STRIDE).skip(1).filter(is_below).count()
}

/// The same among many intervals, each told by its first position, that are mostly of even size. If they were, it would be
/// at `part` of them, in 2^64ths: there it is looked for first.
pub(super) fn covering_even(firsts: &[u128], part: u64, position: u128) -> usize {
    let [guess, _] = halves(u128::from(part) * firsts.len() as u128);
    let guess = usize::try_from(guess).unwrap_or(firsts.len());
    let (from, to) = (guess.saturating_sub(WINDOW), guess + WINDOW);
    let is_within = firsts.get(from).is_some_and(|first| *first <= position)
        && firsts.get(to).is_some_and(|first| *first > position);
    let (from, to) = if is_within { (from, to) } else { (0, firsts.len()) };
    from + covering(&firsts[from..to], position)
}

/// The upper and the lower half of a number.
pub(super) fn halves(number: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = number.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p])]
}

/// The same among intervals of any size.
fn covering(firsts: &[u128], position: u128) -> usize {
    let (mut index, mut rest) = (0, firsts.len());
    while rest > 1 {
        let half = rest / 2;
        // A branch would be foretold wrongly every other time. Compared as one number, that is what becomes of it.
        let ([high, low], [high_sought, low_sought]) = (halves(firsts[index + half]), halves(position));
        let is_below = (high < high_sought) | ((high == high_sought) & (low <= low_sought));
        index = select_unpredictable(is_below, index + half, index);
        rest -= half;
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_search_finds_what_a_look_at_all_finds(
            mut firsts in proptest::collection::vec(any::<u128>().prop_map(|bits| bits >> (bits % 100)), 1..300),
            even: bool,
            position: u128,
            near in any::<proptest::sample::Index>(),
        ) {
            if even {
                firsts.iter_mut().for_each(|first| *first = first.rotate_right(7).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            }
            firsts.sort_unstable();
            for position in [position, *near.get(&firsts), near.get(&firsts).wrapping_sub(1), 0, u128::MAX] {
                let plain = firsts.iter().filter(|first| **first <= position).count().saturating_sub(1);
                prop_assert_eq!(covering(&firsts, position), plain);
                prop_assert_eq!(covering_few(&firsts, |first| *first, position), plain);
                let [part, other] = halves(position);
                prop_assert_eq!(covering_even(&firsts, part, position), plain);
                prop_assert_eq!(covering_even(&firsts, other, position), plain, "the guess is but a guess");
            }
        }
    }
}
