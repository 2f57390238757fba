//! Owns what is known in memory of the records as a whole: the trees, and which buckets there are. Refuses to
//! read records; where it needs some it names the interval.

use crate::key::{BucketId, Layout, StoreKey};
use chinwag_merkle::{Directory, Element, Entry, Interval, TreeId, TreeKey};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct Contents {
    layout: Layout,
    tree_key: TreeKey,
    /// Those that are missing hold nothing.
    trees: BTreeMap<TreeId, Directory>,
    /// The buckets that hold, or once held, a key.
    buckets: BTreeSet<BucketId>,
}

impl Contents {
    pub(super) const fn new(layout: Layout, tree_key: TreeKey) -> Self {
        Self { layout, tree_key, trees: BTreeMap::new(), buckets: BTreeSet::new() }
    }

    pub(super) fn add_bucket(&mut self, bucket: BucketId) {
        self.buckets.insert(bucket);
    }

    /// Takes a tree whose keys were read whole.
    pub(super) fn add_tree(&mut self, tree: TreeId, directory: Directory) {
        self.trees.insert(tree, directory);
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
        self.tree_mut(self.layout.tree_of(key)).apply(key.position, old, new)
    }

    /// Makes the leaf that covers `interval` say what the store says.
    pub(super) fn refine(&mut self, tree: TreeId, interval: Interval, entries: &[Entry]) {
        if let Err(error) = self.tree_mut(tree).refine(interval, entries) {
            // Sums stay right; the next write to the leaf asks again.
            tracing::warn!(%error, "a leaf was not refined");
        }
    }

    pub(super) const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) const fn tree_key(&self) -> &TreeKey {
        &self.tree_key
    }

    /// The buckets whose keys a tree may hold, in order.
    pub(super) fn buckets_of(&self, tree: TreeId) -> impl Iterator<Item = BucketId> {
        self.buckets.iter().copied().filter(move |&bucket| self.layout.n_of(bucket) == tree.n)
    }

    /// The leaf that accounts for a key.
    pub(super) fn leaf_at(&self, key: &StoreKey) -> Option<Interval> {
        let tree = self.trees.get(&self.layout.tree_of(key))?;
        tree.leaf_at(key.position).map(|leaf| leaf.interval)
    }

    pub(super) fn tree<T>(&self, tree: TreeId, look: impl FnOnce(&Directory) -> T) -> Option<T> {
        let interval = self.layout.interval_of(tree)?;
        Some(match self.trees.get(&tree) {
            Some(directory) => look(directory),
            None => look(&Directory::new(interval)),
        })
    }

    /// The trees that hold a key, in order.
    pub(super) fn trees(&self) -> Vec<TreeId> {
        let held = self.trees.iter().filter(|(_, directory)| !directory.total().is_empty());
        held.map(|(&tree, _)| tree).collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.trees.values().map(|tree| tree.total().count).sum()
    }

    fn tree_mut(&mut self, tree: TreeId) -> &mut Directory {
        self.trees.entry(tree).or_insert_with(|| {
            let interval = self.layout.interval_of(tree);
            Directory::new(interval.expect("a key's tree exists"))
        })
    }
}
