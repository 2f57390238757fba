//! Owns cutting a directory in two at any position and putting two together; refuses to read more than one leaf for it.
//!
//! Both parts of a cut directory are about the whole interval still: one holds nothing from the token on, the other
//! nothing below it. So they compare with any other directory of that interval, and a replica that is to be compared
//! in a part of it only cuts that part out of a clone.

use std::ops::RangeInclusive;

use super::{Directory, Flags, Kept};
use crate::element::Sum;
use crate::entries::{Checked, EntriesError, Entry, Leaf, cut};
use crate::interval::Interval;

/// Two directories could not be put together. Both are lost; they are clones, or built again from a scan.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JoinError {
    /// They are about different intervals.
    #[error("{0:?} is another interval than {1:?}")]
    Interval(Interval, Interval),
    /// A leaf of the lower one reaches beyond the token, or one of the upper one below it, that is not the leaf around
    /// it: the keys of the two do not lie apart.
    #[error("there are keys on the wrong side of {0:#034x}")]
    NotApart(u128),
    /// The scan was wrong in itself.
    #[error(transparent)]
    Entries(#[from] EntriesError),
}

impl Directory {
    /// What has to be scanned before this directory can be cut at `token`: the leaf around it; `None` if the token lies
    /// between leaves, or nothing lies around it.
    #[must_use]
    pub fn scan_to_split(&self, token: u128) -> Option<Interval> {
        let leaf = self.leaf_at(token)?;
        (leaf.interval.first() != token && !leaf.sum.is_empty()).then_some(leaf.interval)
    }

    /// Cuts the directory at `token`: the keys below it stay, those from it on are the result's. `around` is everything
    /// the store holds in [`scan_to_split`](Self::scan_to_split), in the order of positions; it is believed over the
    /// leaf's sum.
    ///
    /// # Errors
    /// If the entries cannot be such a scan. Nothing has changed.
    ///
    /// # Panics
    /// If `token` is outside the directory's interval.
    pub fn split_off(&mut self, token: u128, around: &[Entry]) -> Result<Self, EntriesError> {
        let leaf = self.leaf_at(token).expect("the token lies within");
        let middle = leaf.interval;
        for entry in Checked::new(middle, around.iter().copied()) {
            entry?;
        }
        let (below, above) = around.split_at(around.partition_point(|entry| entry.position < token));
        let mut lower: Vec<Leaf> =
            self.leaves().take_while(|leaf| leaf.interval.last() < middle.first()).collect();
        let mut upper: Vec<Leaf> =
            empties(Some(self.interval.first()), middle.first().checked_sub(1)).collect();
        if self.scan_to_split(token).is_some() {
            lower.extend(cut(middle, below.iter().copied())?);
            upper.extend(cut(middle, above.iter().copied())?);
        } else {
            // All of it lies on one side.
            lower.push(Leaf { interval: middle, sum: Sum::EMPTY });
            upper.push(leaf);
        }
        lower.extend(empties(middle.last().checked_add(1), Some(self.interval.last())));
        upper.extend(self.leaves().skip_while(|leaf| leaf.interval.first() <= middle.last()));
        let upper = Self::from_all(self.interval, &upper);
        *self = Self::from_all(self.interval, &lower);
        Ok(upper)
    }

    /// What has to be scanned before this directory, of keys below `token`, can be joined to `upper`, of keys from it on:
    /// the positions of one leaf of one of them; `None` if they are cut alike there, as they are after a split.
    #[must_use]
    pub fn scan_to_join(&self, token: u128, upper: &Self) -> Option<RangeInclusive<u128>> {
        let (ours, theirs) = (self.last_held()?, upper.first_held()?);
        if ours.interval == theirs.interval {
            None
        } else if ours.interval.covers(&theirs.interval) {
            Some(ours.interval.first()..=token.checked_sub(1)?)
        } else {
            theirs.interval.covers(&ours.interval).then(|| token..=theirs.interval.last())
        }
    }

    /// Takes in the directory of the keys from `token` on, this one being that of keys below. `around` is everything the
    /// two stores hold in [`scan_to_join`](Self::scan_to_join), in the order of positions.
    ///
    /// # Errors
    /// If the two cannot be joined.
    pub fn join(self, token: u128, upper: &Self, around: &[Entry]) -> Result<Self, JoinError> {
        if self.interval != upper.interval {
            return Err(JoinError::Interval(self.interval, upper.interval));
        }
        let (Some(ours), Some(theirs)) = (self.last_held(), upper.first_held()) else {
            return Ok(if self.total.is_empty() { upper.clone() } else { self });
        };
        if ours.interval.first() >= token || theirs.interval.last() < token {
            return Err(JoinError::NotApart(token));
        }
        let below = |first: u128| self.leaves().take_while(move |leaf| leaf.interval.last() < first);
        let above = |last: u128| upper.leaves().skip_while(move |leaf| leaf.interval.first() <= last);
        let mut leaves: Vec<Leaf>;
        // The coarser of the two leaves at the border gives way to the other side's, which its keys are added to.
        let coarser = if ours.interval.covers(&theirs.interval) { ours.interval } else { theirs.interval };
        if coarser.covers(&ours.interval) {
            leaves = below(coarser.first()).collect();
            let seam = leaves.len();
            let finer = if coarser == ours.interval { upper } else { &self };
            leaves.extend(finer.leaves_over(coarser));
            if ours.interval == theirs.interval {
                leaves[seam].sum += ours.sum;
            } else {
                let range = self.scan_to_join(token, upper).unwrap_or(token..=token);
                let around = around.iter().copied().filter(|entry| range.contains(&entry.position));
                add_entries(&mut leaves[seam..], coarser, around)?;
            }
            leaves.extend(above(coarser.last()));
        } else {
            let (after, before) =
                (ours.interval.last().checked_add(1), theirs.interval.first().checked_sub(1));
            leaves =
                below(theirs.interval.first()).take_while(|leaf| leaf.interval <= ours.interval).collect();
            leaves.extend(empties(after, before));
            leaves.extend(above(before.unwrap_or_default()));
        }
        Ok(Self::from_all(self.interval, &leaves))
    }

    fn first_held(&self) -> Option<Leaf> {
        self.leaves().find(|leaf| !leaf.sum.is_empty())
    }

    fn last_held(&self) -> Option<Leaf> {
        self.leaves().filter(|leaf| !leaf.sum.is_empty()).last()
    }

    fn from_all(interval: Interval, leaves: &[Leaf]) -> Self {
        let leaves: Vec<_> = leaves.iter().map(|leaf| Kept::new(*leaf, Flags::CHANGED)).collect();
        Self::from_leaves(interval, &leaves)
    }
}

/// Adds each entry to the leaf around it.
fn add_entries(
    leaves: &mut [Leaf],
    seam: Interval,
    entries: impl Iterator<Item = Entry>,
) -> Result<(), EntriesError> {
    for entry in Checked::new(seam, entries) {
        let entry = entry?;
        let after = leaves.partition_point(|leaf| leaf.interval.first() <= entry.position);
        let leaf = after.checked_sub(1).and_then(|index| leaves.get_mut(index));
        leaf.expect("leaves tile the seam").sum.add(entry.element);
    }
    Ok(())
}

/// Empty leaves that tile all positions from `from` up to `to`; none unless both are there.
fn empties(from: Option<u128>, to: Option<u128>) -> impl Iterator<Item = Leaf> {
    let gap = from.zip(to).into_iter();
    gap.flat_map(|(from, to)| Interval::tile(from, to)).map(|interval| Leaf { interval, sum: Sum::EMPTY })
}
