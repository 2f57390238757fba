//! Owns one adaptive directory of leaf sums over a slice of the position space; refuses to hold keys or to read a
//! store: where it needs keys it asks its host for a scan.

mod borders;
mod chunk;
mod leaf;
mod search;
#[cfg(test)]
pub(crate) mod tests;

use std::ops::RangeInclusive;

use crate::element::{Element, Sum};
use crate::entries::{EntriesError, Entry, LEAF_KEYS_MAX, Leaf, cut};
use crate::interval::Interval;
use chunk::Chunk;
use leaf::Kept;
use search::{covering_even, halves};

pub use borders::JoinError;
pub(crate) use leaf::Flags;

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
    chunks: Vec<Chunk>,
    /// The lowest position of each chunk: what is searched first lies together.
    firsts: Vec<u128>,
    /// The sum of each chunk.
    totals: Vec<Sum>,
    total: Sum,
    /// Where the position flagged last is: most likely that is the one written next.
    flagged: Option<(u128, Place)>,
}

/// What a scan said about a leaf's sum.
#[must_use = "a drifted leaf is worth counting"]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refined {
    /// The scan added up to the sum the leaf had.
    Exact,
    /// It did not: the store and the directory had drifted apart. The directory now says what the scan said.
    Drifted,
    /// The sum was from before a crash and not relied upon. The directory now says what the scan said.
    Restored,
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
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Place {
    chunk: usize,
    leaf: usize,
}

impl Directory {
    /// The directory of a replica that holds nothing in `interval`.
    #[must_use]
    pub fn new(interval: Interval) -> Self {
        Self::from_leaves(interval, &[Kept::new(Leaf { interval, sum: Sum::EMPTY }, Flags::CHANGED)])
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
        let leaves: Vec<_> = leaves.into_iter().map(|leaf| Kept::new(leaf, Flags::CHANGED)).collect();
        Ok(Self::from_leaves(interval, &leaves))
    }

    /// Puts saved leaves together again, which tile `interval` in order, each with its flags.
    pub(crate) fn from_saved(interval: Interval, leaves: impl Iterator<Item = (Leaf, Flags)>) -> Self {
        let leaves: Vec<_> = leaves.map(|(leaf, flags)| Kept::new(leaf, flags)).collect();
        Self::from_leaves(interval, &leaves)
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
        self.write(position, old, new, &mut Vec::new())
    }

    /// See [`apply`](Self::apply). Adds to `gone` the first positions of saved leaves that are no more: they were joined
    /// to their lower halves.
    pub(crate) fn write(
        &mut self,
        position: u128,
        old: Option<Element>,
        new: Option<Element>,
        gone: &mut Vec<u128>,
    ) -> Option<Interval> {
        assert!(self.interval.contains(position), "{position:#034x} is not in {:?}", self.interval);
        let mut change = Sum::EMPTY;
        old.into_iter().for_each(|element| change.remove(element));
        new.into_iter().for_each(|element| change.add(element));

        let place = match self.flagged.take() {
            Some((flagged, place)) if flagged == position => place,
            Some(_) | None => self.place_of(position),
        };
        self.total += change;
        self.totals[place.chunk] += change;
        let crowded = self.chunks[place.chunk].add(place.leaf, change);
        if old.is_some() && new.is_none() && crowded.is_none() {
            self.join_small(position, gone);
        }
        crowded
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
        let leaf = *self.kept(place);
        if leaf.interval() != interval {
            return Err(RefineError::NotALeaf(interval));
        }
        let leaves = cut(interval, entries.iter().copied())?;
        let mut change: Sum = leaves.iter().map(|leaf| leaf.sum).sum();
        change -= leaf.sum();
        let refined = match change {
            _ if leaf.flags.has(Flags::DOUBTED) => Refined::Restored,
            Sum::EMPTY if leaves.len() == 1 => return Ok(Refined::Exact),
            Sum::EMPTY => Refined::Exact,
            _ => Refined::Drifted,
        };
        self.total += change;
        let flags = leaf.flags.without(Flags::DOUBTED).with(Flags::CHANGED);
        // What was saved at the first of them is now about that one.
        let flags = |index| if index == 0 { flags } else { flags.without(Flags::SAVED) };
        let leaves = leaves.into_iter().enumerate().map(|(index, leaf)| Kept::new(leaf, flags(index)));
        self.chunks[place.chunk].replace(place.leaf, &leaves.collect::<Vec<_>>());
        self.repack(place.chunk..=place.chunk);
        Ok(refined)
    }

    /// Flags the leaf around a position; the leaf, if it had not all of the flags.
    ///
    /// # Panics
    /// If `position` is outside the directory's interval.
    pub(crate) fn flag(&mut self, position: u128, flags: Flags) -> Option<Interval> {
        assert!(self.interval.contains(position), "{position:#034x} is not in {:?}", self.interval);
        let place = self.place_of(position);
        self.flagged = Some((position, place));
        let leaf = self.kept(place);
        if leaf.flags.has(flags) {
            return None;
        }
        let (interval, flags) = (leaf.interval(), leaf.flags.with(flags));
        self.chunks[place.chunk].set_flags(place.leaf, flags);
        Some(interval)
    }

    /// Takes the leaves that have changed since it was asked last, to be saved. No leaf is changed or marked after that.
    pub(crate) fn take_changed(&mut self) -> Vec<Leaf> {
        let mut changed = Vec::new();
        let both = Flags::CHANGED.with(Flags::MARKED);
        for chunk in &mut self.chunks {
            for index in 0..chunk.leaves().len() {
                let leaf = chunk.leaves()[index];
                if leaf.flags.has(Flags::CHANGED) {
                    changed.push(leaf.leaf());
                }
                if leaf.flags.has_any(both) {
                    chunk.set_flags(index, leaf.flags.without(both).with(Flags::SAVED));
                }
            }
        }
        changed
    }

    /// The first leaf, at or after a position, that has these flags.
    pub(crate) fn flagged_from(&self, position: u128, flags: Flags) -> Option<Interval> {
        let from = self.interval.contains(position).then(|| self.place_of(position))?;
        let mut leaves = self.kept_from(from);
        leaves.find(|leaf| leaf.flags.has(flags)).map(Kept::interval)
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
        if !interval.covers(&self.kept(from).interval()) {
            return None;
        }
        let to = self.place_of(interval.last());
        let leaves = |chunk: usize| self.chunks[chunk].leaves();
        let sum_of = |leaves: &[Kept]| leaves.iter().map(Kept::sum).sum::<Sum>();
        if from.chunk == to.chunk {
            return Some(sum_of(&leaves(from.chunk)[from.leaf..=to.leaf]));
        }
        let mut sum: Sum = self.totals[from.chunk + 1..to.chunk].iter().copied().sum();
        sum += sum_of(&leaves(from.chunk)[from.leaf..]);
        sum += sum_of(&leaves(to.chunk)[..=to.leaf]);
        Some(sum)
    }

    /// The leaf that covers `position`; `None` if it is outside the directory.
    #[must_use]
    pub fn leaf_at(&self, position: u128) -> Option<Leaf> {
        self.interval.contains(position).then(|| self.kept(self.place_of(position)).leaf())
    }

    /// All leaves in the order of positions.
    pub fn leaves(&self) -> impl Iterator<Item = Leaf> + '_ {
        self.kept_from(Place::default()).map(Kept::leaf)
    }

    /// Bytes of memory that this directory alone would take: clones share most of them. The allocator's own aside.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(Chunk::bytes).sum();
        let pointers = self.chunks.capacity() * size_of::<Chunk>();
        let firsts = self.firsts.capacity() * size_of::<u128>();
        size_of::<Self>() + chunks + pointers + firsts + self.totals.capacity() * size_of::<Sum>()
    }

    /// The leaves that overlap `interval`, in the order of positions; none if it is outside the directory.
    pub(crate) fn leaves_over(&self, interval: Interval) -> impl Iterator<Item = Leaf> + '_ {
        let place = self.interval.covers(&interval).then(|| self.place_of(interval.first()));
        place
            .into_iter()
            .flat_map(|place| self.kept_from(place))
            .take_while(move |leaf| leaf.first() <= interval.last())
            .map(Kept::leaf)
    }

    /// A directory of leaves that tile `interval` in order.
    fn from_leaves(interval: Interval, leaves: &[Kept]) -> Self {
        let chunks: Vec<_> = Chunk::pack(leaves).collect();
        let firsts = chunks.iter().map(Chunk::first).collect();
        let totals: Vec<_> = chunks.iter().map(Chunk::total).collect();
        let total = totals.iter().copied().sum();
        Self { interval, chunks, firsts, totals, total, flagged: None }
    }

    fn kept_from(&self, place: Place) -> impl Iterator<Item = &Kept> + '_ {
        let rest = &self.chunks[place.chunk..];
        rest.iter().flat_map(Chunk::leaves).skip(place.leaf)
    }

    fn kept(&self, place: Place) -> &Kept {
        &self.chunks[place.chunk].leaves()[place.leaf]
    }

    fn place_of(&self, position: u128) -> Place {
        let [part, _] = halves(position.checked_shl(self.interval.depth().into()).unwrap_or(0));
        let chunk = covering_even(&self.firsts, part, position);
        Place { chunk, leaf: self.chunks[chunk].index_of(position) }
    }

    /// Joins the leaf at `position` with its other half for as long as both are small. Needs no scan: sums add.
    fn join_small(&mut self, position: u128, gone: &mut Vec<u128>) {
        while let Some((lower, upper, joined)) = self.joinable(position) {
            let moved = self.kept(upper);
            gone.extend(moved.flags.has(Flags::SAVED).then(|| moved.first()));
            self.chunks[upper.chunk].replace(upper.leaf, &[]);
            self.chunks[lower.chunk].replace(lower.leaf, &[joined]);
            self.repack(lower.chunk..=upper.chunk);
        }
    }

    /// The leaf at `position` and its other half, in order, and what they would be as one leaf, if they are both leaves
    /// and small.
    fn joinable(&self, position: u128) -> Option<(Place, Place, Kept)> {
        let interval = self.kept(self.place_of(position)).interval().parent()?;
        if !self.interval.covers(&interval) {
            return None;
        }
        let [lower, upper] = [interval.first(), interval.last()].map(|position| self.place_of(position));
        let leaves = [lower, upper].map(|place| self.kept(place));
        let are_halves = Some((leaves[0].interval(), leaves[1].interval())) == interval.halves();
        let joined = leaves[0].joined(leaves[1], interval);
        (are_halves && joined.sum().count <= JOINED_KEYS_MAX).then_some((lower, upper, joined))
    }

    /// Follows chunks whose leaves were replaced, and brings them back to a good size: cuts those that are too long, and
    /// joins one that became short to its neighbour.
    fn repack(&mut self, changed: RangeInclusive<usize>) {
        self.flagged = None;
        let (mut from, mut to) = changed.into_inner();
        let mut packed = self.chunks[from..=to].to_vec();
        if !packed.iter().all(Chunk::is_well_sized) {
            // A short chunk is packed together with a neighbour; which one does not matter.
            if packed.iter().any(Chunk::is_short) {
                if to + 1 < self.chunks.len() {
                    to += 1;
                } else {
                    from = from.saturating_sub(1);
                }
            }
            let leaves = self.chunks[from..=to].iter().flat_map(Chunk::leaves).copied();
            packed = Chunk::pack(&leaves.collect::<Vec<_>>()).collect();
        }
        self.firsts.splice(from..=to, packed.iter().map(Chunk::first));
        self.totals.splice(from..=to, packed.iter().map(Chunk::total));
        self.chunks.splice(from..=to, packed);
    }
}
