//! Owns what of a tree outlives a crash, and the putting together of it; refuses to write or read it: the host does.
//!
//! Saved are the leaves as they were at the last checkpoint, and a mark for every leaf written to since. A mark is
//! an interval; it is in the batch of the first write to its leaf, so no write is durable without one. A saved leaf that
//! a mark touches may have any sum, and is scanned. Marks may have been given out for leaves of other shapes than those
//! saved: it is overlap that counts.

use std::collections::BTreeSet;

use crate::directory::{Directory, Flags};
use crate::element::Sum;
use crate::entries::Leaf;
use crate::interval::Interval;

/// What to write in one batch, so that a crash from then on costs a scan of no more than what was written since.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Checkpoint {
    /// Leaves to save, each under its first position, in place of what is saved there.
    pub leaves: Vec<Leaf>,
    /// First positions of saved leaves that are no more.
    pub gone: Vec<u128>,
    /// Marks to delete.
    pub marks: Vec<Interval>,
}

impl Checkpoint {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.gone.is_empty() && self.marks.is_empty()
    }
}

/// A directory of saved leaves in the order of positions, and of the marks with them. What is missing, overlaps or is
/// touched by a mark is doubted. Beside it, first positions of leaves that cannot be true.
pub(super) fn restore(
    interval: Interval,
    saved: impl IntoIterator<Item = Leaf>,
    marks: impl IntoIterator<Item = Interval>,
) -> (Directory, BTreeSet<u128>) {
    let (mut leaves, false_ones) = tiled(interval, saved);
    let marks = outermost(marks);
    for (leaf, flags) in &mut leaves {
        let after = marks.partition_point(|mark| mark.first() <= leaf.interval.last());
        let Some(mark) = after.checked_sub(1).map(|index| marks[index]) else { continue };
        if mark.covers(&leaf.interval) {
            *flags = flags.with(Flags::MARKED);
        }
        if mark.last() >= leaf.interval.first() {
            *flags = flags.with(Flags::DOUBTED);
        }
    }
    (Directory::from_saved(interval, leaves.into_iter()), false_ones)
}

/// Fills what no leaf covers with doubted ones, and leaves out what does not lie beside the others.
fn tiled(interval: Interval, saved: impl IntoIterator<Item = Leaf>) -> (Vec<(Leaf, Flags)>, BTreeSet<u128>) {
    let (mut leaves, mut false_ones) = (Vec::<(Leaf, Flags)>::new(), BTreeSet::new());
    let fill = |leaves: &mut Vec<_>, from: u128, to: u128| {
        let gaps = Interval::tile(from, to).map(|interval| Leaf { interval, sum: Sum::EMPTY });
        leaves.extend(gaps.map(|gap| (gap, Flags::DOUBTED)));
    };
    let mut next = Some(interval.first());
    for leaf in saved {
        let first = leaf.interval.first();
        let Some(from) = next.filter(|from| *from <= first && interval.covers(&leaf.interval)) else {
            // Leaves of two shapes are there at once, and the one that came first may not be the true one.
            leaves.iter_mut().for_each(|(_, flags)| *flags = flags.with(Flags::DOUBTED));
            false_ones.insert(first);
            continue;
        };
        if let Some(to) = first.checked_sub(1) {
            fill(&mut leaves, from, to);
        }
        leaves.push((leaf, Flags::SAVED));
        next = leaf.interval.last().checked_add(1).filter(|next| *next <= interval.last());
    }
    if let Some(from) = next {
        fill(&mut leaves, from, interval.last());
    }
    (leaves, false_ones)
}

/// The marks that no other covers: apart from each other, in order.
fn outermost(marks: impl IntoIterator<Item = Interval>) -> Vec<Interval> {
    let mut marks: Vec<_> = marks.into_iter().collect();
    // Of those that begin together, the largest comes first.
    marks.sort_unstable();
    marks.dedup_by(|mark, outer| outer.covers(mark));
    marks
}
