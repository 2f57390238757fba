//! Owns how a leaf lies in memory, and what its tree's owner notes about it; refuses to know its neighbours.

use super::search::halves;
use crate::element::Sum;
use crate::entries::{LEAF_KEYS_MAX, Leaf};
use crate::interval::{Interval, POSITION_BITS};

/// What a tree's owner notes of a leaf beside its sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flags(u8);

impl Flags {
    /// It is not what was last saved of it.
    pub(crate) const CHANGED: Self = Self(1);
    /// A mark that covers all of it was given out since it was last saved.
    pub(crate) const MARKED: Self = Self(2);
    /// Its sum is what was saved before a crash, and may be wrong: it is to be scanned.
    pub(crate) const DOUBTED: Self = Self(4);
    /// A leaf was saved under its first position.
    pub(crate) const SAVED: Self = Self(8);

    pub(crate) const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    pub(crate) const fn has_any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    #[must_use]
    pub(crate) const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    #[must_use]
    pub(crate) const fn without(self, flags: Self) -> Self {
        Self(self.0 & !flags.0)
    }

    /// Of a leaf that two others became: it has changed, is marked if both are, doubted if one is, and saved if the lower
    /// one is.
    const fn of_joined(self, upper: Self) -> Self {
        let (both, any) = (self.0 & upper.0, self.0 | upper.0);
        Self(both & Self::MARKED.0 | any & Self::DOUBTED.0 | self.0 & Self::SAVED.0).with(Self::CHANGED)
    }
}

/// A leaf as it is kept, in 40 bytes; a [`Leaf`] takes 64, for the alignment of its numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    first: [u64; 2],
    sum: [u64; 2],
    /// Signed: what was taken away too often widens to the count that [`Sum`] makes of it.
    count: i32,
    depth: u8,
    pub(super) flags: Flags,
}

impl Kept {
    pub(super) fn new(leaf: Leaf, flags: Flags) -> Self {
        let (first, sum, count) =
            (halves(leaf.interval.first()), halves(leaf.sum.sum), narrow(leaf.sum.count));
        Self { first, sum, count, depth: leaf.interval.depth(), flags }
    }

    pub(super) const fn first(&self) -> u128 {
        whole(self.first)
    }

    pub(super) fn sum(&self) -> Sum {
        Sum { count: i64::from(self.count).cast_unsigned(), sum: whole(self.sum) }
    }

    pub(super) fn interval(&self) -> Interval {
        Interval::new(self.first(), self.depth).expect("it was taken from an interval")
    }

    pub(super) fn leaf(&self) -> Leaf {
        Leaf { interval: self.interval(), sum: self.sum() }
    }

    /// Adds to the leaf, which then has changed.
    pub(super) fn add(&mut self, change: Sum) {
        self.flags = self.flags.with(Flags::CHANGED);
        self.sum = halves(whole(self.sum).wrapping_add(change.sum));
        self.count = self.count.wrapping_add(narrow(change.count));
    }

    /// Whether the leaf holds more than it should and could be cut. A single position cannot, so a leaf of one may
    /// grow without end: that bounds what keys with colliding positions can cause.
    pub(super) fn is_over(&self) -> bool {
        i64::from(self.count).cast_unsigned() > LEAF_KEYS_MAX && self.depth < POSITION_BITS
    }

    /// This lower half and the upper one as one leaf.
    pub(super) fn joined(&self, upper: &Self, interval: Interval) -> Self {
        let sum = [self.sum(), upper.sum()].into_iter().sum();
        Self::new(Leaf { interval, sum }, self.flags.of_joined(upper.flags))
    }
}

const fn whole([high, low]: [u64; 2]) -> u128 {
    (high as u128) << 64 | low as u128
}

/// The low bits of a count; one leaf never has more than they can say.
const fn narrow(count: u64) -> i32 {
    let [a, b, c, d, ..] = count.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}
