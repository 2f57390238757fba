//! Owns what is known in memory of the records as a whole: a tree per partition, and which buckets there are. Refuses to
//! read records; where it needs some it names the interval.

use crate::key::{BucketId, Slicing, StoreKey};
use chinwag_merkle::{Directory, Element, Entry, Interval, TreeKey};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Contents {
    slicing: Slicing,
    tree_key: TreeKey,
    /// Partitions without a tree hold nothing.
    trees: BTreeMap<u16, Directory>,
    /// The buckets that hold, or once held, a key.
    buckets: BTreeSet<BucketId>,
}

impl Contents {
    pub(super) const fn new(slicing: Slicing, tree_key: TreeKey) -> Self {
        Self { slicing, tree_key, trees: BTreeMap::new(), buckets: BTreeSet::new() }
    }

    pub(super) fn add_bucket(&mut self, bucket: BucketId) {
        self.buckets.insert(bucket);
    }

    /// Takes the tree of a partition that was read whole.
    pub(super) fn add_tree(&mut self, partition: u16, tree: Directory) {
        self.trees.insert(partition, tree);
    }

    /// Accounts for a key that was written, or removed if there is no `new`. An interval that is returned has grown too
    /// large for one leaf: its entries are wanted by [`refine`](Self::refine).
    pub(super) fn apply(
        &mut self,
        key: &StoreKey,
        old: Option<Element>,
        new: Option<Element>,
    ) -> Option<Interval> {
        self.add_bucket(key.bucket);
        self.tree_mut(key.position).apply(key.position, old, new)
    }

    /// Makes the leaf that covers `interval` say what the store says.
    pub(super) fn refine(&mut self, interval: Interval, entries: &[Entry]) {
        if let Err(error) = self.tree_mut(interval.first()).refine(interval, entries) {
            // Sums stay right; the next write to the leaf asks again.
            tracing::warn!(%error, "a leaf was not refined");
        }
    }

    pub(super) const fn slicing(&self) -> Slicing {
        self.slicing
    }

    pub(super) const fn tree_key(&self) -> &TreeKey {
        &self.tree_key
    }

    pub(super) const fn buckets(&self) -> &BTreeSet<BucketId> {
        &self.buckets
    }

    /// The leaf that accounts for keys at `position`.
    pub(super) fn leaf_at(&self, position: u128) -> Option<Interval> {
        let tree = self.trees.get(&self.slicing.partition_of(position))?;
        tree.leaf_at(position).map(|leaf| leaf.interval)
    }

    pub(super) fn tree<T>(&self, partition: u16, look: impl FnOnce(&Directory) -> T) -> Option<T> {
        let interval = self.slicing.interval_of(partition)?;
        Some(match self.trees.get(&partition) {
            Some(tree) => look(tree),
            None => look(&Directory::new(interval)),
        })
    }

    pub(super) fn partitions(&self) -> Vec<u16> {
        let held = self.trees.iter().filter(|(_, tree)| !tree.total().is_empty());
        held.map(|(&partition, _)| partition).collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.trees.values().map(|tree| tree.total().count).sum()
    }

    fn tree_mut(&mut self, position: u128) -> &mut Directory {
        let partition = self.slicing.partition_of(position);
        self.trees.entry(partition).or_insert_with(|| {
            let interval = self.slicing.interval_of(partition);
            Directory::new(interval.expect("a position's partition exists"))
        })
    }
}
