//! Owns what a host's scan yields, and the canonical cut of it into leaves; refuses entries out of order or out of
//! place.

use std::collections::VecDeque;

use crate::element::{Element, Sum};
use crate::interval::Interval;

/// A leaf over this many keys is cut in two.
pub const LEAF_KEYS_MAX: u64 = 64;

/// One key of the store, as a tree sees it. Several keys may share a position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Entry {
    /// The key's place in the position space.
    pub position: u128,
    /// The hash of the key and its record.
    pub element: Element,
}

/// A canonical interval of at most [`LEAF_KEYS_MAX`] keys, and their sum. The keys stay in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The positions the leaf covers.
    pub interval: Interval,
    /// The sum of every key in them.
    pub sum: Sum,
}

/// A scan cannot be right. Nothing was changed; the host scans again, and if that fails too, its order of keys is not
/// the order of their positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EntriesError {
    /// An entry came after one with a higher position.
    #[error("position {position:#034x} came after {previous:#034x}")]
    Unordered {
        /// The position out of order.
        position: u128,
        /// The higher one before it.
        previous: u128,
    },
    /// An entry lies outside the interval that was to be scanned.
    #[error("position {position:#034x} is not in {interval:?}")]
    Outside {
        /// The position out of place.
        position: u128,
        /// What was to be scanned.
        interval: Interval,
    },
}

/// Checks that entries ascend and stay within their interval.
pub(crate) struct Checked<I> {
    entries: I,
    interval: Interval,
    previous: u128,
}

impl<I: Iterator<Item = Entry>> Checked<I> {
    pub(crate) const fn new(interval: Interval, entries: I) -> Self {
        Self { entries, interval, previous: interval.first() }
    }
}

impl<I: Iterator<Item = Entry>> Iterator for Checked<I> {
    type Item = Result<Entry, EntriesError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.entries.next()?;
        let (position, previous) = (entry.position, self.previous);
        if !self.interval.contains(position) {
            return Some(Err(EntriesError::Outside { position, interval: self.interval }));
        }
        if position < previous {
            return Some(Err(EntriesError::Unordered { position, previous }));
        }
        self.previous = position;
        Some(Ok(entry))
    }
}

/// Cuts an interval into leaves, halving wherever there are over [`LEAF_KEYS_MAX`] keys.
///
/// It reads the entries once and holds no more of them than one leaf and one entry.
pub(crate) fn cut(
    interval: Interval,
    entries: impl Iterator<Item = Entry>,
) -> Result<Vec<Leaf>, EntriesError> {
    let mut cutter =
        Cutter { entries: Checked::new(interval, entries), ahead: VecDeque::new(), leaves: Vec::new() };
    cutter.cut(interval)?;
    Ok(cutter.leaves)
}

struct Cutter<I> {
    entries: Checked<I>,
    /// The entries read and not yet in a leaf: enough of them to tell whether the next leaf would be over.
    ahead: VecDeque<Entry>,
    leaves: Vec<Leaf>,
}

impl<I: Iterator<Item = Entry>> Cutter<I> {
    fn cut(&mut self, interval: Interval) -> Result<(), EntriesError> {
        let mut sum = Sum::EMPTY;
        if let Some((lower, upper)) = interval.halves() {
            self.read_ahead()?;
            let inside = self.ahead.partition_point(|entry| entry.position <= interval.last());
            if inside as u64 > LEAF_KEYS_MAX {
                self.cut(lower)?;
                return self.cut(upper);
            }
            self.ahead.drain(..inside).for_each(|entry| sum.add(entry.element));
        } else {
            while let Some(entry) = self.next_within(interval)? {
                sum.add(entry.element);
            }
        }
        self.leaves.push(Leaf { interval, sum });
        Ok(())
    }

    fn read_ahead(&mut self) -> Result<(), EntriesError> {
        while self.ahead.len() as u64 <= LEAF_KEYS_MAX
            && let Some(entry) = self.entries.next()
        {
            self.ahead.push_back(entry?);
        }
        Ok(())
    }

    fn next_within(&mut self, interval: Interval) -> Result<Option<Entry>, EntriesError> {
        self.read_ahead()?;
        Ok(self.ahead.pop_front_if(|entry| interval.contains(entry.position)))
    }
}
