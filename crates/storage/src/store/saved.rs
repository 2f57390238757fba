//! Owns what of the trees outlives the process: sums and marks in the store, and what a start makes of them; and the
//! walk that compares trees with records for ever. Refuses to set the pace; the caller does.
//!
//! A write that is the first to its leaf since the last checkpoint carries a mark. A checkpoint saves the sums of the
//! leaves that changed and removes the marks, in one batch. So a saved sum without a mark is right, whenever the process
//! ended: batches become durable in order. At the start the leaves that a mark touches, and all of which nothing was
//! saved, are doubted: their tree is compared with nobody's until they were scanned ([`Store::mend`]).
//!
//! A scan teaches what only records know: which keys are deleted or will expire, and versions that a lost clock no
//! longer covers.

use super::Store;
use super::replica::Replica;
use super::scan::{Records, element_of, read_state};
use crate::engine::{Batch, Commit, ReadError, Refusal, Table};
use crate::format::{self, BadRecord, SumBody};
use crate::version::Causal;
use bytes::Bytes;
use chinwag_merkle::{Checkpoint, Entry, Interval, Leaf, Refined, SCHEME, Sum, Tree, TreeId};
use std::collections::{BTreeMap, BTreeSet};

/// What the walk over all records has seen since the store was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scrubbed {
    /// Leaves read.
    pub leaves: u64,
    /// Keys read.
    pub keys: u64,
    /// Leaves whose sum was not that of their records. Each was set right.
    pub drifted: u64,
    /// Times that every record was read.
    pub rounds: u64,
}

/// How far the walk has come.
#[derive(Debug)]
pub(super) struct Walk {
    /// The position in a tree at which it goes on.
    next: (TreeId, u128),
    seen: Scrubbed,
}

const FIRST_LEAF: (TreeId, u128) = (TreeId { partition: 0, n: 0 }, 0);

impl Walk {
    pub(super) fn new() -> Self {
        Self { next: FIRST_LEAF, seen: Scrubbed::default() }
    }
}

impl Store {
    /// Scans up to `leaves` of the leaves that are in doubt since the start; true if there are more. Until there are none
    /// of a tree, [`root`](Self::root) and [`outset`](Self::outset) do not know it.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn mend(&self, leaves: usize) -> Result<bool, ReadError> {
        for _ in 0..leaves {
            let mut replica = self.lock();
            let Some((tree, leaf)) = replica.contents.doubted() else { return Ok(false) };
            if replica.rescan(tree, leaf)?.refined.is_none() {
                // It would be the same leaf again; the log has said why.
                return Ok(false);
            }
        }
        Ok(self.lock().contents.doubted().is_some())
    }

    /// Reads the records of the next `leaves` leaves, of all trees in turn, and compares them with the sums: what drifted is
    /// set right, and damaged records are found before anyone asks for them.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scrub(&self, leaves: usize) -> Result<Scrubbed, ReadError> {
        for _ in 0..leaves {
            self.lock().scrub_leaf()?;
        }
        Ok(self.scrubbed())
    }

    /// What [`scrub`](Self::scrub) has seen.
    #[must_use]
    pub fn scrubbed(&self) -> Scrubbed {
        self.lock().walk.seen
    }

    /// Saves what changed of the trees, so that the next start need not scan it. A batch for each tree.
    ///
    /// # Errors
    /// See [`Refusal`]; what was saved before stays.
    pub fn checkpoint(&self) -> Result<(), Refusal> {
        self.engine.admit()?;
        let mut replica = self.lock();
        for (tree, checkpoint) in replica.contents.checkpoints() {
            drop(replica.save(tree, &checkpoint));
        }
        Ok(())
    }
}

impl Replica {
    fn save(&self, tree: TreeId, checkpoint: &Checkpoint) -> Commit {
        let mut batch = Batch::default();
        for first in &checkpoint.gone {
            batch.remove(Table::Sums, format::sum_key(tree, *first));
        }
        for leaf in &checkpoint.leaves {
            let place = format::sum_key(tree, leaf.interval.first());
            let body = SumBody {
                scheme: SCHEME,
                key: self.contents.tree_key().id(),
                depth: leaf.interval.depth(),
                count: leaf.sum.count,
                sum: leaf.sum.sum,
            };
            let record = format::seal(Table::Sums, &place, &body);
            batch.put(Table::Sums, place, record);
        }
        for mark in &checkpoint.marks {
            batch.remove(Table::Marks, format::mark_key(tree, *mark));
        }
        self.engine.commit(batch)
    }

    /// Puts the trees together from what was saved. No record of a key is read but the first of trees of which nothing was.
    /// What a scan would teach the clocks of `forgetful` trees is to be learned.
    pub(super) fn recover_trees(&mut self, forgetful: &BTreeSet<TreeId>) -> Result<(), ReadError> {
        let mut marks = self.saved_marks()?;
        let mut sums = self.saved_sums()?;
        for tree in self.contents.layout().trees() {
            let Some(interval) = self.contents.layout().interval_of(tree) else { continue };
            let (sums, mut marks) = (sums.remove(&tree), marks.remove(&tree));
            if forgetful.contains(&tree) {
                marks.get_or_insert_default().push(interval);
            }
            if sums.is_some() || marks.is_some() || self.holds_any(tree, interval)? {
                let restored = Tree::restore(interval, sums.unwrap_or_default(), marks.unwrap_or_default());
                self.contents.add_tree(tree, restored);
            }
        }
        Ok(())
    }

    fn saved_marks(&mut self) -> Result<BTreeMap<TreeId, Vec<Interval>>, ReadError> {
        let mut marks: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut records = Records::new(Table::Marks, Bytes::new(), None);
        while let Some((place, _)) = records.next(&*self.engine)? {
            // That it is there is all that a mark says.
            if let Some((tree, mark)) = format::parse_mark_key(&place) {
                marks.entry(tree).or_default().push(mark);
            }
        }
        Ok(marks)
    }

    /// The leaves that were saved, but for those that cannot be read or were hashed otherwise.
    fn saved_sums(&mut self) -> Result<BTreeMap<TreeId, Vec<Leaf>>, ReadError> {
        let mut sums: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let mut records = Records::new(Table::Sums, Bytes::new(), None);
        let key = self.contents.tree_key().id();
        while let Some((place, record)) = records.next(&*self.engine)? {
            let body = format::open::<SumBody>(Table::Sums, &place, &record);
            let read =
                format::parse_sum_key(&place).ok_or(BadRecord::Truncated).and_then(|at| Ok((at, body?)));
            match read {
                Ok(((tree, first), body)) if body.scheme == SCHEME && body.key == key => {
                    let sum = Sum { count: body.count, sum: body.sum };
                    let leaf = Interval::new(first, body.depth).map(|interval| Leaf { interval, sum });
                    sums.entry(tree).or_default().extend(leaf);
                }
                Ok(((tree, _), _)) => drop(sums.entry(tree).or_default()),
                Err(bad) => drop(self.count_bad(Table::Sums, &place, &bad)),
            }
        }
        Ok(sums)
    }

    fn holds_any(&self, tree: TreeId, interval: Interval) -> Result<bool, ReadError> {
        for bucket in self.contents.buckets_of(tree) {
            let from = format::position_bound(bucket, interval.first());
            let to = format::after_position(bucket, interval.last());
            if !self.engine.scan(Table::Keys, &from, to.as_deref(), 1)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Makes a leaf of a tree say what the records say, and takes in what else they say.
    pub(super) fn rescan(&mut self, tree: TreeId, leaf: Interval) -> Result<Rescanned, ReadError> {
        let mut found = self.read_leaf(tree, leaf)?;
        // Reporting one may write it again, or read the leaf itself: as long as the tree still counts it.
        while let Some((place, why)) = found.bad.iter().find(|(place, _)| !self.is_known_bad(place)) {
            self.report_bad(Table::Keys, place, why);
            found = self.read_leaf(tree, leaf)?;
        }
        let refined = self.contents.refine(tree, leaf, &found.entries);
        let news = self.clocks.entry(tree).or_default().learn(&found.held);
        if !news.is_empty() {
            let mut batch = Batch::default();
            self.put_clock(&mut batch, tree, news);
            drop(self.engine.commit(batch));
        }
        Ok(Rescanned { refined, keys: found.entries.len() as u64 })
    }

    fn read_leaf(&mut self, tree: TreeId, leaf: Interval) -> Result<LeafRead, ReadError> {
        let mut found = LeafRead::default();
        for bucket in self.contents.buckets_of(tree).collect::<Vec<_>>() {
            let from = format::position_bound(bucket, leaf.first());
            let mut records = Records::new(Table::Keys, from, format::after_position(bucket, leaf.last()));
            while let Some((place, record)) = records.next(&*self.engine)? {
                match read_state(&place, &record) {
                    Ok((key, state)) => {
                        let element = element_of(self.contents.tree_key(), &place, &record);
                        found.entries.push(Entry { position: key.position, element });
                        for sibling in state.siblings() {
                            found.held.insert(sibling.dot);
                        }
                        self.graves.note(tree, &key, Some(&state), Some(&state));
                    }
                    Err(why) => found.bad.push((place, why)),
                }
            }
        }
        found.entries.sort_unstable();
        Ok(found)
    }

    fn scrub_leaf(&mut self) -> Result<(), ReadError> {
        let next = self.contents.leaf_from(self.walk.next);
        let next = next.or_else(|| self.contents.leaf_from(FIRST_LEAF));
        let Some((tree, leaf)) = next else { return Ok(()) };
        let seen = &mut self.walk.seen;
        seen.rounds += u64::from(seen.leaves > 0 && (tree, leaf.first()) < self.walk.next);
        let Rescanned { refined, keys } = self.rescan(tree, leaf)?;
        let Walk { next, seen } = &mut self.walk;
        *next = match leaf.last().checked_add(1) {
            Some(position) => (tree, position),
            None => (TreeId { n: tree.n.saturating_add(1), ..tree }, 0),
        };
        seen.leaves += 1;
        seen.keys += keys;
        if refined == Some(Refined::Drifted) {
            seen.drifted += 1;
            tracing::error!(?tree, ?leaf, "a leaf did not say what the records say; it was set right");
        }
        Ok(())
    }
}

/// The records of a leaf.
#[derive(Default)]
struct LeafRead {
    entries: Vec<Entry>,
    /// The dots of their versions.
    held: Causal,
    bad: Vec<(Bytes, BadRecord)>,
}

/// What a scan of a leaf found.
pub(super) struct Rescanned {
    refined: Option<Refined>,
    keys: u64,
}
