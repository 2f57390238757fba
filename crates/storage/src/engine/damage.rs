//! Owns getting past damage: where, in a table with unreadable blocks, the next readable record is. Refuses to repair.

use bytes::Bytes;

/// Bytes of a key that are searched: those of the longest fixed part of any table's keys. What is left out beyond are
/// keys that share all of these.
const SEARCHED: usize = 28;
/// The first step, as a power of two of positions: small beside the distance of neighbours among millions of keys.
const FIRST_STEP_BITS: u32 = 64;

/// The last unreadable place found at or after `from`, and the first readable one beyond it; `None` for the latter if
/// there is nothing more. `readable` says whether a scan that starts at a place can read its first record.
///
/// The steps double and the last one is halved until the border is found, so that little that could be read is left out.
pub(super) fn past(from: &Bytes, readable: impl Fn(&[u8]) -> bool) -> (Bytes, Option<Bytes>) {
    let mut unreadable = Wide::of(from);
    let mut step = FIRST_STEP_BITS;
    let mut border = loop {
        match unreadable.plus_power(step) {
            None => return (unreadable.bytes(from), None),
            Some(place) if readable(&place.0) => break place,
            Some(place) => {
                unreadable = place;
                step += 1;
            }
        }
    };
    while let Some(middle) = unreadable.middle(&border) {
        if readable(&middle.0) {
            border = middle;
        } else {
            unreadable = middle;
        }
    }
    (unreadable.bytes(from), Some(Bytes::copy_from_slice(&border.0)))
}

/// A key's first bytes as one number, most significant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wide([u8; SEARCHED]);

impl Wide {
    fn of(key: &[u8]) -> Self {
        let mut bytes = [0; SEARCHED];
        bytes.iter_mut().zip(key).for_each(|(byte, of_key)| *byte = *of_key);
        Self(bytes)
    }

    /// The key at this number, or `from` if that is beyond it.
    fn bytes(&self, from: &Bytes) -> Bytes {
        from.clone().max(Bytes::copy_from_slice(&self.0))
    }

    /// The sum with two to the power of `bits`; `None` if it is too large.
    fn plus_power(self, bits: u32) -> Option<Self> {
        let at = SEARCHED.checked_sub(1 + usize::try_from(bits / u8::BITS).ok()?)?;
        let mut sum = self;
        let mut carry = 1 << (bits % u8::BITS);
        for byte in sum.0[..=at].iter_mut().rev() {
            let (added, overflows) = byte.overflowing_add(carry);
            *byte = added;
            carry = u8::from(overflows);
        }
        (carry == 0).then_some(sum)
    }

    /// The number half-way to a higher one; `None` if that is the next.
    fn middle(&self, higher: &Self) -> Option<Self> {
        let mut sum = [0; SEARCHED];
        let mut carry = 0;
        for at in (0..SEARCHED).rev() {
            let added = u16::from(self.0[at]) + u16::from(higher.0[at]) + carry;
            sum[at] = added.to_be_bytes()[1];
            carry = added >> u8::BITS;
        }
        let mut high = carry == 1;
        for byte in &mut sum {
            let low = *byte & 1 == 1;
            *byte = *byte >> 1 | u8::from(high) << 7;
            high = low;
        }
        let middle = Self(sum);
        (middle != *self).then_some(middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_border_of_a_damaged_stretch_is_found(first: u128, from in 0..200_000u128, reach in 0..1u128 << 120) {
            // A block that is damaged from `first` to `last`, and a scan that starts in it.
            let last = first.saturating_add(reach);
            let place = |position: u128| [&7u32.to_be_bytes()[..], &position.to_be_bytes()].concat();
            let readable = |key: &[u8]| key < &place(first)[..] || key > &place(last)[..];
            let from = Bytes::from(place(first.saturating_add(from).min(last)));
            let (unreadable, next) = past(&from, readable);
            prop_assert!(!readable(&unreadable) && unreadable >= from);
            let next = next.expect("beyond the bucket it can be read");
            prop_assert!(readable(&next) && next > unreadable);
            prop_assert_eq!(&next[..4], &unreadable[..4].to_vec()[..], "nothing but the stretch is left out");
            let position = u128::from_be_bytes(next[4..20].try_into().unwrap());
            prop_assert!(position <= last.saturating_add(1));
        }
    }

    #[test]
    fn a_table_that_is_damaged_to_its_end_has_no_more() {
        let from = Bytes::from_static(b"a key longer than what is searched of it");
        assert_eq!(past(&from, |_| false).1, None);
    }
}
