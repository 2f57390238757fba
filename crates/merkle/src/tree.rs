//! Owns a tree as a replica keeps it: the directory of what it holds now, what became of keys lately, and what is to be
//! saved of it; refuses to do the saving, the scanning or the reading of clocks.

mod pending;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::cut::Cut;
use crate::directory::{Directory, Flags, RefineError, Refined};
use crate::element::{Element, Sum};
use crate::entries::{EntriesError, Entry, Leaf};
use crate::interval::Interval;
use pending::Pending;

pub use saved::Checkpoint;

/// A replica's tree, kept beside its store by one writer.
///
/// For each write, in this order: [`mark`](Self::mark) while its batch is made, the batch is handed to the store,
/// [`apply`](Self::apply). For persistence the batches of a tree must become durable in the order in which they were
/// handed over, a [`checkpoint`](Self::checkpoint)'s among them.
#[derive(Debug)]
pub struct Tree {
    directory: Directory,
    pending: Pending,
    /// Marks given out since the last checkpoint, and those found at the start.
    marks: BTreeSet<Interval>,
    /// First positions under which a leaf is saved that was joined to another since.
    gone: BTreeSet<u128>,
    /// No leaf that ends below is doubted; `None` if none is at all.
    doubted: Option<u128>,
}

/// What a replica held at a cut: what an exchange is about.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The sums as of the cut.
    pub directory: Directory,
    /// The cut.
    pub cut: Cut,
}

impl Snapshot {
    /// Everything a replica holds now, however young.
    #[must_use]
    pub const fn uncut(directory: Directory) -> Self {
        Self { directory, cut: Cut::NONE }
    }
}

impl Tree {
    /// The tree of a replica that holds nothing in `interval`.
    #[must_use]
    pub fn new(interval: Interval) -> Self {
        Self::of(Directory::new(interval))
    }

    /// Builds the tree of everything a replica holds in `interval`, from one pass in the order of positions. Nothing of
    /// it is saved yet: what may be from former times is to be deleted.
    ///
    /// # Errors
    /// If entries are out of order or outside the interval.
    pub fn from_entries(
        interval: Interval,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Result<Self, EntriesError> {
        Directory::from_entries(interval, entries).map(Self::of)
    }

    /// Puts a tree together from what [`checkpoint`](Self::checkpoint) had the host save: the leaves, in the order of
    /// positions, and all marks that are left. Leaves hashed under another [`SCHEME`](crate::SCHEME) or
    /// [`KeyId`](crate::KeyId) must not be given; any that are missing are scanned.
    ///
    /// Until [`doubted`](Self::doubted) has nothing more the tree's sums are not to be compared with anyone's. Writes
    /// may come at once.
    #[must_use]
    pub fn restore(
        interval: Interval,
        saved: impl IntoIterator<Item = Leaf>,
        marks: impl IntoIterator<Item = Interval>,
    ) -> Self {
        let marks: BTreeSet<_> = marks.into_iter().collect();
        let (directory, gone) = saved::restore(interval, saved, marks.iter().copied());
        let mut tree = Self { marks, gone, doubted: Some(interval.first()), ..Self::of(directory) };
        tree.find_doubted();
        tree
    }

    /// Says that a key at `position` is about to be written. If a mark is returned it goes into the same batch: until the
    /// next checkpoint it says that the sums saved of that interval may be wrong. A host that saves nothing need not ask.
    ///
    /// # Panics
    /// If `position` is outside the tree's interval.
    #[must_use = "a mark that is not in the write's batch leaves a wrong sum after a crash"]
    pub fn mark(&mut self, position: u128) -> Option<Interval> {
        let mark = self.directory.flag(position, Flags::MARKED)?;
        self.marks.insert(mark);
        Some(mark)
    }

    /// Accounts for a key whose record was written or removed, once its batch was handed to the store. `old` is the
    /// element it had, `new` the one it has now, `None` where there is no record. `stamp` is when the newest version in
    /// the record was written, in milliseconds since 1970 by its coordinator's clock; 0 if it counts at once.
    ///
    /// A leaf that is returned is over its limit: the host scans it before the next write and calls
    /// [`refine`](Self::refine). One that does not is asked again by every write to the leaf.
    ///
    /// # Panics
    /// If `position` is outside the tree's interval, which is the caller's bug and would spoil the sums.
    #[must_use = "a leaf over its limit is to be scanned and refined"]
    pub fn apply(
        &mut self,
        position: u128,
        old: Option<Element>,
        new: Option<Element>,
        stamp: u64,
    ) -> Option<Interval> {
        self.pending.apply(position, old, new, stamp);
        let mut gone = Vec::new();
        let crowded = self.directory.write(position, old, new, &mut gone);
        self.gone.extend(gone);
        crowded
    }

    /// Accounts for a version that arrived late: the key's record, `held`, has a younger one beside it or in its place.
    /// `arrived` is the element that what arrived would have alone. Other replicas had it for a while; without it a
    /// comparison at a cut between the two versions would show a difference.
    ///
    /// To be called after [`apply`](Self::apply), if what arrived changed the record.
    pub fn superseded(&mut self, position: u128, held: Option<Element>, arrived: Element, stamp: u64) {
        self.pending.file(position, held, arrived, stamp);
    }

    /// Makes a leaf say what the store says, `entries` being all that it holds there, in the order of positions.
    ///
    /// # Errors
    /// If `interval` is not a leaf (any more), or the entries cannot be a scan of it.
    pub fn refine(&mut self, interval: Interval, entries: &[Entry]) -> Result<Refined, RefineError> {
        let refined = self.directory.refine(interval, entries)?;
        self.find_doubted();
        Ok(refined)
    }

    /// What to save of the tree now. Its batch must come after those of all writes applied so far and before those of
    /// all later ones. Empty while leaves are doubted.
    pub fn checkpoint(&mut self) -> Checkpoint {
        if self.doubted.is_some() {
            return Checkpoint::default();
        }
        let mut gone = std::mem::take(&mut self.gone);
        gone.retain(|first| {
            self.directory.leaf_at(*first).is_some_and(|leaf| leaf.interval.first() != *first)
        });
        Checkpoint {
            leaves: self.directory.take_changed(),
            gone: gone.into_iter().collect(),
            marks: std::mem::take(&mut self.marks).into_iter().collect(),
        }
    }

    /// Forgets what only comparisons at cuts below `floor` would ask for. Young versions are remembered from the first
    /// call on, so it is to be called at the start, and whenever time brings another cut.
    pub fn settle(&mut self, floor: Cut) {
        self.pending.settle(floor);
    }

    /// A leaf whose sum is from before a crash and may be wrong: to be scanned and [refined](Self::refine).
    #[must_use]
    pub fn doubted(&self) -> Option<Interval> {
        self.directory.flagged_from(self.doubted?, Flags::DOUBTED)
    }

    /// The sums of all that the replica holds now.
    #[must_use]
    pub const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The sum of all that the replica held at a cut; `None` if the cut is below the floor.
    #[must_use]
    pub fn total_at(&self, cut: Cut) -> Option<Sum> {
        let mut total = self.directory.total();
        for (_, held, then) in self.changes(cut, self.directory.interval())? {
            held.into_iter().for_each(|element| total.remove(element));
            then.into_iter().for_each(|element| total.add(element));
        }
        Some(total)
    }

    /// What the replica held at a cut; `None` if the cut is below the floor.
    #[must_use]
    pub fn at(&self, cut: Cut) -> Option<Snapshot> {
        let mut directory = self.directory.clone();
        for (position, held, then) in self.changes(cut, directory.interval())? {
            // A leaf that is over its limit is so in the snapshot alone.
            let _crowded = directory.apply(position, held, then);
        }
        Some(Snapshot { directory, cut })
    }

    /// What a scan of `interval` would have found at a cut, from what it finds now: for an exchange over a snapshot.
    /// `entries` is all that the store holds there, scanned since the last [`apply`](Self::apply).
    #[must_use]
    pub fn entries_at(&self, cut: Cut, interval: Interval, mut entries: Vec<Entry>) -> Vec<Entry> {
        for (position, held, then) in self.pending.changes(cut, interval) {
            let entry = |element| Entry { position, element };
            match (held.map(|held| entries.iter().position(|it| *it == entry(held))), then) {
                (Some(Some(place)), Some(then)) => entries[place] = entry(then),
                (Some(Some(place)), None) => drop(entries.remove(place)),
                (Some(None), _) | (None, None) => {}
                (None, Some(then)) => {
                    entries.insert(entries.partition_point(|it| it.position < position), entry(then));
                }
            }
        }
        entries
    }

    /// Whether a key at `position` was written since a cut. A difference there may be no more than a write under way:
    /// it is not repaired now.
    #[must_use]
    pub fn is_young(&self, position: u128, cut: Cut) -> bool {
        self.pending.is_young(position, cut)
    }

    /// Keys whose young versions are remembered.
    #[must_use]
    pub fn young(&self) -> usize {
        self.pending.len()
    }

    const fn of(directory: Directory) -> Self {
        Self {
            directory,
            pending: Pending::EMPTY,
            marks: BTreeSet::new(),
            gone: BTreeSet::new(),
            doubted: None,
        }
    }

    fn changes(
        &self,
        cut: Cut,
        interval: Interval,
    ) -> Option<impl Iterator<Item = (u128, Option<Element>, Option<Element>)> + '_> {
        self.pending.remembers(cut).then(|| self.pending.changes(cut, interval))
    }

    fn find_doubted(&mut self) {
        self.doubted = self.doubted().map(|leaf| leaf.first());
    }
}
