//! Owns the canonical slices of the position space: every bit prefix names one; refuses any other range.

use std::fmt;

/// Bits in a position.
pub(crate) const POSITION_BITS: u8 = 128;

/// All positions that share their first `depth` bits with `first`.
///
/// Intervals are absolute: a partition, its leaves and the cells of an exchange are all cut along the same lines, so
/// any two of them either nest or do not touch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    first: u128,
    depth: u8,
}

impl Interval {
    /// The whole position space.
    pub const WHOLE: Self = Self { first: 0, depth: 0 };

    /// The interval of `2^(128 - depth)` positions that begins at `first`; `None` if no interval of that depth
    /// begins there, or if `depth` is over 128.
    #[must_use]
    pub const fn new(first: u128, depth: u8) -> Option<Self> {
        if depth <= POSITION_BITS && first & low_mask(depth) == 0 {
            Some(Self { first, depth })
        } else {
            None
        }
    }

    /// The fewest intervals that tile all positions from `from` up to `to`, in order; none if `to` lies below.
    pub(crate) fn tile(from: u128, to: u128) -> impl Iterator<Item = Self> {
        let mut next = (from <= to).then_some(from);
        std::iter::from_fn(move || {
            let interval = Self::largest(next?, to);
            next = interval.last().checked_add(1).filter(|next| *next <= to);
            Some(interval)
        })
    }

    /// The lowest position.
    #[must_use]
    pub const fn first(&self) -> u128 {
        self.first
    }

    /// The highest position.
    #[must_use]
    pub const fn last(&self) -> u128 {
        self.first | low_mask(self.depth)
    }

    /// How many leading bits all positions share, 0 to 128.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// Whether `position` lies within.
    #[must_use]
    pub const fn contains(&self, position: u128) -> bool {
        self.first <= position && position <= self.last()
    }

    /// Whether all of `other` lies within.
    #[must_use]
    pub const fn covers(&self, other: &Self) -> bool {
        self.depth <= other.depth && self.contains(other.first)
    }

    /// Whether this is a single position, which cannot be cut.
    pub(crate) const fn is_point(&self) -> bool {
        self.depth == POSITION_BITS
    }

    /// The lower and the upper half; `None` for a single position.
    pub(crate) const fn halves(&self) -> Option<(Self, Self)> {
        if self.is_point() {
            return None;
        }
        let depth = self.depth + 1;
        let upper = self.first | (low_mask(self.depth) ^ low_mask(depth));
        Some((Self { first: self.first, depth }, Self { first: upper, depth }))
    }

    /// The interval this one is a half of; `None` for the whole space.
    pub(crate) const fn parent(&self) -> Option<Self> {
        if self.depth == 0 {
            return None;
        }
        let depth = self.depth - 1;
        Some(Self { first: self.first & !low_mask(depth), depth })
    }

    /// The largest interval that begins at `first` and ends at `last` or before.
    fn largest(first: u128, last: u128) -> Self {
        let mut largest = Self { first, depth: POSITION_BITS };
        while let Some(parent) = largest.parent()
            && parent.first == first
            && parent.last() <= last
        {
            largest = parent;
        }
        largest
    }
}

impl fmt::Debug for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:#034x}/{}", self.first, self.depth)
    }
}

/// The bits below a prefix of `depth` bits.
const fn low_mask(depth: u8) -> u128 {
    match u128::MAX.checked_shr(depth as u32) {
        Some(mask) => mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_canonical_intervals_exist() {
        assert_eq!(Interval::new(0, 0), Some(Interval::WHOLE));
        assert_eq!(Interval::WHOLE.last(), u128::MAX);
        assert_eq!(Interval::new(1, 0), None);
        assert_eq!(Interval::new(1 << 127, 1).map(|half| half.last()), Some(u128::MAX));
        assert_eq!(Interval::new(5, 128).map(|point| (point.first(), point.last())), Some((5, 5)));
        assert_eq!(Interval::new(4, 127).map(|pair| pair.last()), Some(5));
        assert_eq!(Interval::new(5, 127), None);
        assert_eq!(Interval::new(0, 129), None);
    }

    proptest! {
        #[test]
        fn halves_tile_their_parent(position: u128, depth in 0u8..128) {
            let first = if depth == 0 { 0 } else { position >> (128 - depth) << (128 - depth) };
            let interval = Interval::new(first, depth).unwrap();
            let (lower, upper) = interval.halves().unwrap();
            prop_assert_eq!(lower.first(), interval.first());
            prop_assert_eq!(lower.last() + 1, upper.first());
            prop_assert_eq!(upper.last(), interval.last());
            prop_assert_eq!((lower.parent(), upper.parent()), (Some(interval), Some(interval)));
            prop_assert!(interval.covers(&upper) && !upper.covers(&interval));
            prop_assert!(interval.contains(position));
            prop_assert_ne!(lower.contains(position), upper.contains(position));
        }
    }
}
