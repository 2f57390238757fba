//! Owns a replica in memory: a store and the directory beside it; refuses to talk to another.

use std::collections::{BTreeMap, BTreeSet};

use chinwag_merkle::{Directory, Element, Entry, Interval, Snapshot};

use crate::pair::{Host, element_of};

/// A replica: a store in memory, ordered by position and key, and the directory beside it.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) store: BTreeMap<(u128, u64), Element>,
    pub(crate) directory: Directory,
}

impl Replica {
    pub(crate) fn new(interval: Interval) -> Self {
        Self { store: BTreeMap::new(), directory: Directory::new(interval) }
    }

    /// A replica loaded at once.
    pub(crate) fn load(interval: Interval, records: impl IntoIterator<Item = (u128, u64, u64)>) -> Self {
        let mut replica = Self::new(interval);
        for (position, key, record) in records {
            replica.store.insert((position, key), element_of(key, record));
        }
        replica.directory =
            Directory::from_entries(interval, replica.scan(interval)).expect("a store is in order");
        replica
    }

    pub(crate) fn scan(&self, interval: Interval) -> Vec<Entry> {
        let range = (interval.first(), 0)..=(interval.last(), u64::MAX);
        self.store
            .range(range)
            .map(|((position, _), element)| Entry { position: *position, element: *element })
            .collect()
    }

    /// Positions at which two replicas do not hold the same.
    pub(crate) fn differing(&self, other: &Self) -> BTreeSet<u128> {
        let only = |a: &Self, b: &Self| {
            let differs = |at: &(&(u128, u64), &Element)| b.store.get(at.0) != Some(at.1);
            a.store.iter().filter(differs).map(|((position, _), _)| *position).collect::<BTreeSet<u128>>()
        };
        &only(self, other) | &only(other, self)
    }
}

impl Host for Replica {
    fn snapshot(&self) -> Snapshot {
        Snapshot::uncut(self.directory.clone())
    }

    fn scan(&self, interval: Interval) -> Vec<Entry> {
        Self::scan(self, interval)
    }
}
