//! Owns what is known in memory of the records as a whole: the trees, and which buckets there are. Refuses to
//! read records; where it needs some it names the interval.

use crate::key::{BucketId, Layout, StoreKey};
use chinwag_merkle::{Checkpoint, Cut, Element, Entry, Interval, Refined, Tree, TreeId, TreeKey};
use std::collections::{BTreeMap, BTreeSet};

/// For how long it is remembered what a key was before it was written, in milliseconds: comparisons at any cut since
/// then can be answered.
const REMEMBERED_MILLIS: u64 = 20_000;
/// A version from further ahead than this counts at once: its coordinator's clock is wrong, and nobody should wait for it.
const AHEAD_MILLIS_MAX: u64 = 60_000;

#[derive(Debug)]
pub(super) struct Contents {
    layout: Layout,
    tree_key: TreeKey,
    /// Those that are missing hold nothing.
    trees: BTreeMap<TreeId, Tree>,
    /// Those with leaves that must be scanned before they are compared with anyone's.
    doubted: BTreeSet<TreeId>,
    /// The buckets that hold, or once held, a key.
    buckets: BTreeSet<BucketId>,
    /// The time that was told last, in milliseconds of wall time since 1970.
    now: Option<u64>,
}

impl Contents {
    pub(super) const fn new(layout: Layout, tree_key: TreeKey) -> Self {
        Self {
            layout,
            tree_key,
            trees: BTreeMap::new(),
            doubted: BTreeSet::new(),
            buckets: BTreeSet::new(),
            now: None,
        }
    }

    pub(super) fn add_bucket(&mut self, bucket: BucketId) {
        self.buckets.insert(bucket);
    }

    /// Takes a tree as it was put together at the start.
    pub(super) fn add_tree(&mut self, id: TreeId, tree: Tree) {
        if tree.doubted().is_some() {
            self.doubted.insert(id);
        }
        self.trees.insert(id, tree);
    }

    /// Says that a key is about to be written; a mark that is returned goes into the same batch.
    pub(super) fn mark(&mut self, key: &StoreKey) -> Option<Interval> {
        self.tree_mut(self.layout.tree_of(key)).mark(key.position)
    }

    /// Accounts for a key that was written, or removed if there is no `new`; `written_at` is when its youngest version was
    /// written. An interval that is returned has grown too large for one leaf: its entries are wanted by
    /// [`refine`](Self::refine).
    pub(super) fn apply(
        &mut self,
        key: &StoreKey,
        old: Option<Element>,
        new: Option<Element>,
        written_at: u64,
    ) -> Option<Interval> {
        self.add_bucket(key.bucket);
        let stamp = self.stamp(written_at);
        self.tree_mut(self.layout.tree_of(key)).apply(key.position, old, new, stamp)
    }

    /// Accounts for a version that arrived late, and what it would be alone: see [`Tree::superseded`].
    pub(super) fn superseded(
        &mut self,
        key: &StoreKey,
        held: Option<Element>,
        arrived: Element,
        written_at: u64,
    ) {
        let stamp = self.stamp(written_at);
        self.tree_mut(self.layout.tree_of(key)).superseded(key.position, held, arrived, stamp);
    }

    /// Makes the leaf that covers `interval` say what the store says; `None` if the leaf is another by now.
    pub(super) fn refine(&mut self, id: TreeId, interval: Interval, entries: &[Entry]) -> Option<Refined> {
        let tree = self.tree_mut(id);
        let refined = tree.refine(interval, entries);
        let is_doubted = tree.doubted().is_some();
        if !is_doubted {
            self.doubted.remove(&id);
        }
        // If not, sums stay right; the next write to the leaf asks again.
        refined.inspect_err(|error| tracing::warn!(%error, "a leaf was not refined")).ok()
    }

    /// Tells the time, in milliseconds of wall time since 1970. From the first call on young versions are remembered.
    pub(super) fn settle(&mut self, now: u64) {
        self.now = Some(now);
        let floor = Cut::at(now, REMEMBERED_MILLIS);
        self.trees.values_mut().for_each(|tree| tree.settle(floor));
    }

    /// The time that was told last; `None` if none was.
    pub(super) const fn now(&self) -> Option<u64> {
        self.now
    }

    /// Whether a version written then no longer counts as young for any comparison.
    pub(super) fn is_settled(&self, written_at: u64) -> bool {
        self.now.is_none_or(|now| Cut::at(now, REMEMBERED_MILLIS).counts(written_at))
    }

    /// A leaf that must be scanned before its tree is compared with anyone's.
    pub(super) fn doubted(&self) -> Option<(TreeId, Interval)> {
        let id = *self.doubted.first()?;
        self.trees.get(&id)?.doubted().map(|leaf| (id, leaf))
    }

    /// What to save of the trees: see [`Tree::checkpoint`].
    pub(super) fn checkpoints(&mut self) -> Vec<(TreeId, Checkpoint)> {
        let checkpoints = self.trees.iter_mut().map(|(&id, tree)| (id, tree.checkpoint()));
        checkpoints.filter(|(_, checkpoint)| !checkpoint.is_empty()).collect()
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
        tree.directory().leaf_at(key.position).map(|leaf| leaf.interval)
    }

    /// Shows a tree; `None` if there is no such tree. One that holds nothing is shown empty.
    pub(super) fn tree<T>(&self, id: TreeId, look: impl FnOnce(&Tree) -> T) -> Option<T> {
        let interval = self.layout.interval_of(id)?;
        Some(match self.trees.get(&id) {
            Some(tree) => look(tree),
            None => look(&Tree::new(interval)),
        })
    }

    /// Whether all of a tree's sums can be relied upon.
    pub(super) fn is_sure(&self, id: TreeId) -> bool {
        !self.doubted.contains(&id)
    }

    /// The leaf at a position of a tree, or the first after it in any tree that was ever written to.
    pub(super) fn leaf_from(&self, (id, position): (TreeId, u128)) -> Option<(TreeId, Interval)> {
        self.trees.range(id..).find_map(|(&it, tree)| {
            let whole = tree.directory().interval();
            let position = if it == id { position.max(whole.first()) } else { whole.first() };
            tree.directory().leaf_at(position).map(|leaf| (it, leaf.interval))
        })
    }

    /// The trees that hold a key, or may, in order.
    pub(super) fn trees(&self) -> Vec<TreeId> {
        let is_held = |id, tree: &Tree| !tree.directory().total().is_empty() || !self.is_sure(id);
        self.trees.iter().filter(|&(&id, tree)| is_held(id, tree)).map(|(&id, _)| id).collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.trees.values().map(|tree| tree.directory().total().count).sum()
    }

    fn stamp(&self, written_at: u64) -> u64 {
        let is_absurd = self.now.is_some_and(|now| written_at > now.saturating_add(AHEAD_MILLIS_MAX));
        if is_absurd { 0 } else { written_at }
    }

    fn tree_mut(&mut self, id: TreeId) -> &mut Tree {
        self.trees.entry(id).or_insert_with(|| {
            let interval = self.layout.interval_of(id).expect("a key's tree exists");
            let mut tree = Tree::new(interval);
            if let Some(now) = self.now {
                tree.settle(Cut::at(now, REMEMBERED_MILLIS));
            }
            tree
        })
    }
}
