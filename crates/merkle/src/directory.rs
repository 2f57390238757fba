//! Owns one adaptive directory of leaf sums over a slice of the position space; refuses to hold keys or to read a
//! store: where it needs keys it asks its host for a scan.

mod chunk;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::element::{Element, Sum};
use crate::entries::{EntriesError, Entry, LEAF_KEYS_MAX, Leaf, cut};
use crate::interval::Interval;
use chunk::Chunk;

/// Two halves are joined again once they hold no more than this together. Half of what cuts them, so that a leaf on
/// the border is not cut and joined in turns.
const JOINED_KEYS_MAX: u64 = LEAF_KEYS_MAX / 2;

/// The sums of every key a replica holds in one slice of the position space, in leaves of at most
/// [`LEAF_KEYS_MAX`] keys.
///
/// Sums depend on the set of keys alone; the shape also on the order in which they came, so two replicas with equal
/// sums may be cut differently. Leaves lie in chunks shared between clones: cloning copies one pointer per chunk, and
/// a clone is a snapshot that later writes do not change.
#[derive(Clone, Debug)]
pub struct Directory {
    interval: Interval,
    /// Never empty, ordered by position; together they tile `interval`.
    chunks: Vec<Arc<Chunk>>,
    total: Sum,
}

/// What a scan said about a leaf's sum.
#[must_use = "a drifted leaf is worth counting"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refined {
    /// The scan added up to the sum the leaf had.
    Exact,
    /// It did not: the store and the directory had drifted apart. The directory now says what the scan said.
    Drifted,
}

/// A leaf could not be refined. The directory is as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RefineError {
    /// The interval is not a leaf: it was cut or joined since. Nothing is owed; if a leaf is still over its limit,
    /// the next write to it asks again.
    #[error("{0:?} is no longer a leaf")]
    NotALeaf(Interval),
    /// The scan was wrong in itself; scan again.
    #[error(transparent)]
    Entries(#[from] EntriesError),
}

/// Where a leaf is.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    chunk: usize,
    leaf: usize,
}

impl Directory {
    /// The directory of a replica that holds nothing in `interval`.
    #[must_use]
    pub fn new(interval: Interval) -> Self {
        let leaf = Leaf { interval, sum: Sum::EMPTY };
        Self { interval, chunks: vec![Arc::new(Chunk::new(vec![leaf]))], total: Sum::EMPTY }
    }

    /// Builds the directory of everything a replica holds in `interval`, from one pass in the order of positions.
    ///
    /// # Errors
    /// If entries are out of order or outside the interval.
    pub fn from_entries(
        interval: Interval,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self, EntriesError> {
        let leaves = cut(interval, entries.into_iter())?;
        let chunks: Vec<_> = Chunk::pack(&leaves).map(Arc::new).collect();
        let total = chunks.iter().map(|chunk| chunk.total).sum();
        Ok(Self { interval, chunks, total })
    }

    /// Accounts for one written key: `old` is the element it had, `new` the one it has now, `None` where there is
    /// no record.
    ///
    /// Called after the write is committed, by one writer at a time. If the leaf is over its limit its interval is
    /// returned: the host scans it before the next write and calls [`refine`](Self::refine). A host that does not
    /// is asked again by every write to that leaf; sums stay right, exchanges read more.
    ///
    /// # Panics
    /// If `position` is outside the directory's interval, which is the caller's bug and would spoil the sums.
    #[must_use = "a leaf over its limit is to be scanned and refined"]
    pub fn apply(&mut self, position: u128, old: Option<Element>, new: Option<Element>) -> Option<Interval> {
        assert!(self.interval.contains(position), "{position:#034x} is not in {:?}", self.interval);
        let mut change = Sum::EMPTY;
        old.into_iter().for_each(|element| change.remove(element));
        new.into_iter().for_each(|element| change.add(element));

        let place = self.place_of(position);
        let chunk = Arc::make_mut(&mut self.chunks[place.chunk]);
        self.total += change;
        chunk.total += change;
        let leaf = &mut chunk.leaves[place.leaf];
        leaf.sum += change;
        if leaf.is_over() {
            return Some(leaf.interval);
        }
        if old.is_some() && new.is_none() {
            self.join_small(position);
        }
        None
    }

    /// Replaces a leaf by the canonical cut of everything the store holds in it, `entries` being all of it in the
    /// order of positions. The scan is believed over the sum.
    ///
    /// # Errors
    /// If `interval` is not a leaf (any more) or the entries cannot be a scan of it.
    pub fn refine(&mut self, interval: Interval, entries: &[Entry]) -> Result<Refined, RefineError> {
        if !self.interval.covers(&interval) {
            return Err(RefineError::NotALeaf(interval));
        }
        let place = self.place_of(interval.first());
        let leaf = self.leaf(place);
        if leaf.interval != interval {
            return Err(RefineError::NotALeaf(interval));
        }
        let leaves = cut(interval, entries.iter().copied())?;
        let mut change: Sum = leaves.iter().map(|leaf| leaf.sum).sum();
        change -= leaf.sum;
        self.total += change;
        let chunk = Arc::make_mut(&mut self.chunks[place.chunk]);
        chunk.total += change;
        chunk.leaves.splice(place.leaf..=place.leaf, leaves);
        self.repack(place.chunk..=place.chunk);
        Ok(if change == Sum::EMPTY { Refined::Exact } else { Refined::Drifted })
    }

    /// The slice of the position space this directory is about.
    #[must_use]
    pub const fn interval(&self) -> Interval {
        self.interval
    }

    /// The sum of everything in the directory: what two replicas compare first.
    #[must_use]
    pub const fn total(&self) -> Sum {
        self.total
    }

    /// The sum of an interval made of whole leaves; `None` if it lies strictly inside a leaf, where only a scan can
    /// tell, or outside the directory.
    #[must_use]
    pub fn sum_of(&self, interval: Interval) -> Option<Sum> {
        if !self.interval.covers(&interval) {
            return None;
        }
        let from = self.place_of(interval.first());
        if !interval.covers(&self.leaf(from).interval) {
            return None;
        }
        let to = self.place_of(interval.last());
        let leaves = |chunk: usize| self.chunks[chunk].leaves.as_slice();
        let sum_of = |leaves: &[Leaf]| leaves.iter().map(|leaf| leaf.sum).sum::<Sum>();
        if from.chunk == to.chunk {
            return Some(sum_of(&leaves(from.chunk)[from.leaf..=to.leaf]));
        }
        let mut sum: Sum = self.chunks[from.chunk + 1..to.chunk].iter().map(|chunk| chunk.total).sum();
        sum += sum_of(&leaves(from.chunk)[from.leaf..]);
        sum += sum_of(&leaves(to.chunk)[..=to.leaf]);
        Some(sum)
    }

    /// The leaf that covers `position`; `None` if it is outside the directory.
    #[must_use]
    pub fn leaf_at(&self, position: u128) -> Option<Leaf> {
        self.interval.contains(position).then(|| self.leaf(self.place_of(position)))
    }

    /// All leaves in the order of positions.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf> + '_ {
        self.leaves_from(Place { chunk: 0, leaf: 0 })
    }

    /// The leaves that overlap `interval`, in the order of positions; none if it is outside the directory.
    pub(crate) fn leaves_over(&self, interval: Interval) -> impl Iterator<Item = Leaf> + '_ {
        let place = self.interval.covers(&interval).then(|| self.place_of(interval.first()));
        place
            .into_iter()
            .flat_map(|place| self.leaves_from(place))
            .take_while(move |leaf| leaf.interval.first() <= interval.last())
    }

    fn leaves_from(&self, place: Place) -> impl Iterator<Item = Leaf> + '_ {
        let rest = &self.chunks[place.chunk..];
        rest.iter().flat_map(|chunk| &chunk.leaves).copied().skip(place.leaf)
    }

    fn leaf(&self, place: Place) -> Leaf {
        self.chunks[place.chunk].leaves[place.leaf]
    }

    fn place_of(&self, position: u128) -> Place {
        let after = |first: u128| first <= position;
        let chunk = self.chunks.partition_point(|chunk| after(chunk.first())).saturating_sub(1);
        let leaves = &self.chunks[chunk].leaves;
        let leaf = leaves.partition_point(|leaf| after(leaf.interval.first())).saturating_sub(1);
        Place { chunk, leaf }
    }

    /// Joins the leaf at `position` with its other half for as long as both are small. Needs no scan: sums add.
    fn join_small(&mut self, position: u128) {
        while let Some(joined) = self.joinable(position) {
            let (lower, upper) =
                (self.place_of(joined.interval.first()), self.place_of(joined.interval.last()));
            let moved = Arc::make_mut(&mut self.chunks[upper.chunk]).remove(upper.leaf);
            let chunk = Arc::make_mut(&mut self.chunks[lower.chunk]);
            chunk.total += moved.sum;
            chunk.leaves[lower.leaf] = joined;
            self.repack(lower.chunk..=upper.chunk);
        }
    }

    /// What the leaf at `position` and its other half would be as one leaf, if they are both leaves and small.
    fn joinable(&self, position: u128) -> Option<Leaf> {
        let leaf = self.leaf(self.place_of(position));
        let interval = leaf.interval.parent()?;
        let lower = self.leaf(self.place_of(interval.first()));
        let upper = self.leaf(self.place_of(interval.last()));
        let halves = Some((lower.interval, upper.interval)) == interval.halves();
        let sum: Sum = [lower.sum, upper.sum].into_iter().sum();
        (halves && sum.count <= JOINED_KEYS_MAX).then_some(Leaf { interval, sum })
    }

    /// Brings chunks whose leaves changed in number back to a good size: cuts those that are too long, and joins one
    /// that became short to its neighbour.
    fn repack(&mut self, changed: std::ops::RangeInclusive<usize>) {
        let (mut from, mut to) = changed.into_inner();
        if self.chunks[from..=to].iter().all(|chunk| chunk.is_well_sized()) {
            return;
        }
        // A short chunk is packed together with a neighbour; which one does not matter.
        if self.chunks[from..=to].iter().any(|chunk| chunk.is_short()) {
            if to + 1 < self.chunks.len() {
                to += 1;
            } else {
                from = from.saturating_sub(1);
            }
        }
        let leaves: Vec<Leaf> =
            self.chunks[from..=to].iter().flat_map(|chunk| &chunk.leaves).copied().collect();
        self.chunks.splice(from..=to, Chunk::pack(&leaves).map(Arc::new));
    }
}
