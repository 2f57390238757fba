//! Owns what this side knows of its own keys during an exchange: the directory as it stood, and each scanned leaf,
//! once; refuses to read a store: it notes which leaves it misses.

use std::collections::BTreeMap;

use crate::directory::Directory;
use crate::element::Sum;
use crate::entries::{Checked, EntriesError, Entry, Leaf};
use crate::interval::Interval;

/// Everything at one position. Keys with colliding positions are one item, so that they cannot make a list long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Item {
    pub(super) position: u128,
    pub(super) sum: Sum,
}

pub(super) struct Holdings {
    directory: Directory,
    /// The items of each leaf scanned so far, by its first position.
    scanned: BTreeMap<u128, Vec<Item>>,
    /// Leaves that are needed and not asked for yet, by their first position.
    missing: BTreeMap<u128, Interval>,
    /// Leaves asked for and not here yet, by their first position.
    awaited: BTreeMap<u128, Interval>,
    keys_scanned: u64,
}

impl Holdings {
    pub(super) const fn new(directory: Directory) -> Self {
        Self {
            directory,
            scanned: BTreeMap::new(),
            missing: BTreeMap::new(),
            awaited: BTreeMap::new(),
            keys_scanned: 0,
        }
    }

    /// Takes a scan that was asked for; `None` if it was not.
    pub(super) fn accept(
        &mut self,
        interval: Interval,
        entries: &[Entry],
    ) -> Option<Result<(), EntriesError>> {
        if self.awaited.get(&interval.first()) != Some(&interval) {
            return None;
        }
        Some(items(interval, entries).map(|items| {
            self.awaited.remove(&interval.first());
            self.keys_scanned += entries.len() as u64;
            self.scanned.insert(interval.first(), items);
        }))
    }

    /// The next leaves to ask for, so that no more than `ahead` are awaited at a time.
    pub(super) fn ask(&mut self, ahead: usize) -> Vec<Interval> {
        let mut asked = Vec::new();
        while self.awaited.len() < ahead
            && let Some((first, interval)) = self.missing.pop_first()
        {
            self.awaited.insert(first, interval);
            asked.push(interval);
        }
        asked
    }

    /// The sum of a cell; `None` if a scan is missing.
    pub(super) fn sum_of(&mut self, cell: Interval) -> Option<Sum> {
        if let Some(sum) = self.directory.sum_of(cell) {
            return Some(sum);
        }
        let leaf = self.directory.leaf_at(cell.first())?;
        Some(self.items_of_leaf(&leaf, cell)?.iter().map(|item| item.sum).sum())
    }

    /// Everything in a cell; `None` if a scan is missing.
    pub(super) fn items_of(&mut self, cell: Interval) -> Option<Vec<Item>> {
        let (mut items, mut complete) = (Vec::new(), true);
        for leaf in self.leaves_of(cell) {
            match self.items_of_leaf(&leaf, cell) {
                Some(more) => items.extend_from_slice(more),
                None => complete = false,
            }
        }
        complete.then_some(items)
    }

    /// The part of a leaf that lies in `cell`; `None`, and noted, if it has to be scanned first.
    pub(super) fn items_of_leaf(&mut self, leaf: &Leaf, cell: Interval) -> Option<&[Item]> {
        let first = leaf.interval.first();
        if leaf.sum.is_empty() {
            return Some(&[]);
        }
        if leaf.interval.is_point() {
            // The sum of a single position is all there is to know of it.
            self.scanned.entry(first).or_insert_with(|| vec![Item { position: first, sum: leaf.sum }]);
        } else if !self.scanned.contains_key(&first) {
            self.missing.insert(first, leaf.interval);
        }
        let items = self.scanned.get(&first)?;
        let from = items.partition_point(|item| item.position < cell.first());
        let to = items.partition_point(|item| item.position <= cell.last());
        Some(&items[from..to])
    }

    pub(super) const fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The leaves that overlap a cell and hold something.
    pub(super) fn leaves_of(&self, cell: Interval) -> Vec<Leaf> {
        self.directory.leaves_over(cell).filter(|leaf| !leaf.sum.is_empty()).collect()
    }

    /// Whether a scan is missing or awaited.
    pub(super) fn is_waiting(&self) -> bool {
        !self.missing.is_empty() || !self.awaited.is_empty()
    }

    /// Leaves and keys scanned so far.
    pub(super) fn scanned(&self) -> (u64, u64) {
        let leaves = self.scanned.len();
        (leaves as u64, self.keys_scanned)
    }
}

/// Groups a scan by position.
fn items(interval: Interval, entries: &[Entry]) -> Result<Vec<Item>, EntriesError> {
    let mut items: Vec<Item> = Vec::with_capacity(entries.len());
    for entry in Checked::new(interval, entries.iter().copied()) {
        let Entry { position, element } = entry?;
        match items.last_mut() {
            Some(last) if last.position == position => last.sum.add(element),
            Some(_) | None => items.push(Item { position, sum: [element].into_iter().collect() }),
        }
    }
    Ok(items)
}
