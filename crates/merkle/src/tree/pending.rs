//! Owns what became of keys lately: enough to say what each held at an earlier cut. Refuses to know what is older: that
//! is in the directory alone.
//!
//! A key with young versions has a *line*: the element it had before them, and one version for each cut that passed
//! since, the latest of its time. The last of them is what the directory counts. Comparing at a cut, a line takes that
//! out of the directory's sums and puts in the last version before the cut.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::cut::{CUT_MILLIS, Cut};
use crate::element::Element;
use crate::interval::{Interval, POSITION_BITS};

/// Versions kept of one key, at most; beyond them the oldest is forgotten. Only stamps far in the future lead there.
pub(super) const VERSIONS_MAX: usize = 16;
/// Keys with young versions, at most; beyond them a young version counts at once, and may show as a difference.
const LINES_MAX: usize = 1 << 18;

/// Lines are found by position and by what the key holds now: keys with colliding positions have a line each.
/// The number tells keys apart that hold nothing any more.
type Name = (u128, Option<Element>, u32);

#[derive(Debug)]
pub(super) struct Pending {
    lines: BTreeMap<Name, Line>,
    /// Versions below are no longer told apart; without a floor, none are.
    floor: Option<Cut>,
    named: u32,
}

#[derive(Debug)]
struct Line {
    /// What the key held before its young versions.
    before: Option<Element>,
    /// Superseded versions, by rising stamp, none of the same time between cuts as another or as the last.
    earlier: Vec<(u64, Option<Element>)>,
    /// When what the key holds now was written.
    stamp: u64,
}

impl Pending {
    pub(super) const EMPTY: Self = Self { lines: BTreeMap::new(), floor: None, named: 0 };

    /// Notes that a key's element became `new`, by a version written at `stamp`.
    pub(super) fn apply(&mut self, position: u128, old: Option<Element>, new: Option<Element>, stamp: u64) {
        let Some((name, mut line)) = self.take(position, old) else {
            if !self.is_settled(stamp) && self.lines.len() < LINES_MAX {
                let line = Line { before: old, earlier: Vec::new(), stamp };
                self.insert(position, new, line);
            }
            return;
        };
        if stamp > line.stamp {
            line.note(line.stamp, name.1);
            line.stamp = stamp;
            line.forget_same_time();
        }
        self.insert(position, new, line);
    }

    /// Notes a version that arrived late: the key holds, and keeps, `held`, which has a later one.
    pub(super) fn file(&mut self, position: u128, held: Option<Element>, arrived: Element, stamp: u64) {
        if self.is_settled(stamp) {
            return;
        }
        if let Some(line) = self.lines.range_mut(named(position, held)).next().map(|(_, line)| line)
            && stamp < line.stamp
        {
            line.note(stamp, Some(arrived));
            line.forget_same_time();
        }
    }

    /// Forgets what no comparison at `floor` or a later cut asks for.
    pub(super) fn settle(&mut self, floor: Cut) {
        if self.floor.is_some_and(|known| known >= floor) {
            return;
        }
        self.floor = Some(floor);
        self.lines.retain(|_, line| !line.settle(floor));
    }

    /// By how much the sums at a cut differ from what they are now, line by line, in the order of positions: what to take
    /// out, and what to put in.
    pub(super) fn changes(
        &self,
        cut: Cut,
        interval: Interval,
    ) -> impl Iterator<Item = (u128, Option<Element>, Option<Element>)> + '_ {
        let within = (interval.first(), None, 0)..=(interval.last(), Some(Element(u128::MAX)), u32::MAX);
        let at_cut = move |((position, held, _), line): (&Name, &Line)| {
            (!cut.counts(line.stamp)).then(|| (*position, *held, line.at(cut)))
        };
        self.lines.range(within).filter_map(at_cut)
    }

    /// Whether a key at a position has versions that do not count at a cut.
    pub(super) fn is_young(&self, position: u128, cut: Cut) -> bool {
        Interval::new(position, POSITION_BITS).is_some_and(|point| self.changes(cut, point).next().is_some())
    }

    /// Whether comparisons at a cut can still be told from others.
    pub(super) fn remembers(&self, cut: Cut) -> bool {
        self.floor.is_none_or(|floor| floor <= cut)
    }

    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Each line's position, and how many superseded versions it has.
    #[cfg(test)]
    pub(super) fn lines(&self) -> impl Iterator<Item = (u128, usize)> + '_ {
        self.lines.iter().map(|((position, ..), line)| (*position, line.earlier.len()))
    }

    fn is_settled(&self, stamp: u64) -> bool {
        self.floor.is_none_or(|floor| floor.counts(stamp))
    }

    fn take(&mut self, position: u128, held: Option<Element>) -> Option<(Name, Line)> {
        let name = *self.lines.range(named(position, held)).next()?.0;
        self.lines.remove(&name).map(|line| (name, line))
    }

    fn insert(&mut self, position: u128, held: Option<Element>, line: Line) {
        self.named = self.named.wrapping_add(1);
        self.lines.insert((position, held, self.named), line);
    }
}

impl Line {
    /// Notes a superseded version.
    fn note(&mut self, stamp: u64, element: Option<Element>) {
        let place = self.earlier.partition_point(|(earlier, _)| *earlier <= stamp);
        self.earlier.insert(place, (stamp, element));
    }

    /// Of versions between the same two cuts only the latest can ever be asked for.
    fn forget_same_time(&mut self) {
        let time = |stamp: u64| stamp / CUT_MILLIS;
        let mut next = time(self.stamp);
        for index in (0..self.earlier.len()).rev() {
            let own = time(self.earlier[index].0);
            if own == next {
                self.earlier.remove(index);
            }
            next = own;
        }
        if self.earlier.len() > VERSIONS_MAX {
            self.before = self.earlier.remove(0).1;
        }
    }

    /// What the key held at a cut.
    fn at(&self, cut: Cut) -> Option<Element> {
        let counted = self.earlier.partition_point(|(stamp, _)| cut.counts(*stamp));
        counted.checked_sub(1).map_or(self.before, |last| self.earlier[last].1)
    }

    /// Forgets versions below the floor; true if nothing is left.
    fn settle(&mut self, floor: Cut) -> bool {
        self.before = self.at(floor);
        self.earlier.retain(|(stamp, _)| !floor.counts(*stamp));
        floor.counts(self.stamp)
    }
}

/// The lines of keys that hold `held` at a position.
fn named(position: u128, held: Option<Element>) -> (Bound<Name>, Bound<Name>) {
    (Bound::Included((position, held, 0)), Bound::Included((position, held, u32::MAX)))
}
