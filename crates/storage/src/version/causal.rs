//! Owns the one causal type: a set of dots that stays small because it is kept as runs. Refuses to know what the set is
//! used for; the callers choose between exact and rounded-up coverage by choosing `insert` or `advance`.

use super::{Actor, Dot};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A set of dots: the past that a key state, a client, a replica or a session has seen.
///
/// It is a version vector (per actor, every dot up to some seq) plus exact dots beyond it. Both are the same thing
/// here: the set is kept as maximal runs of consecutive dots, and the vector's entries are the runs that start at 1.
/// Equal sets are therefore equal values with equal bytes. Runs instead of single dots keep a set small where one
/// early dot is missing and thousands follow, which is what one lost message makes of a replica's clock.
///
/// ```
/// use chinwag_storage::{Actor, Causal, Dot};
/// let a = Actor(7);
/// let mut seen = Causal::default();
/// seen.insert(Dot::new(a, 2)); // exact: says nothing of 1
/// assert!(!seen.covers(Dot::new(a, 1)));
/// seen.insert(Dot::new(a, 1)); // closes the gap: the vector now says "up to 2"
/// assert_eq!(seen.vector().collect::<Vec<_>>(), [(a, 2)]);
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Causal {
    /// First dot of each run, to the seq of its last. Runs neither overlap nor touch, and none contains seq 0.
    runs: BTreeMap<Dot, u64>,
}

impl Causal {
    /// The set of no dots.
    pub const EMPTY: Self = Self { runs: BTreeMap::new() };

    /// Adds exactly this dot; true if it was missing. A dot with seq 0 names nothing and is ignored.
    pub fn insert(&mut self, dot: Dot) -> bool {
        self.insert_run(dot.actor, dot.seq, dot.seq)
    }

    /// Adds every dot of `dot`'s actor up to and including `dot`.
    ///
    /// Only someone who has truly seen all of them, or to whom the missing ones cannot matter, may say this: see
    /// [`KeyState::put`](super::KeyState::put).
    pub fn advance(&mut self, dot: Dot) {
        self.insert_run(dot.actor, 1, dot.seq);
    }

    /// Adds every dot of `other`; true if that added any.
    pub fn unite(&mut self, other: &Self) -> bool {
        !self.learn(other).is_empty()
    }

    /// Adds every dot of `other`; returns the actors of those that were missing.
    pub(crate) fn learn(&mut self, other: &Self) -> BTreeSet<Actor> {
        let mut news = BTreeSet::new();
        for (first, &last) in &other.runs {
            if self.insert_run(first.actor, first.seq, last) {
                news.insert(first.actor);
            }
        }
        news
    }

    /// True if the dot is in the set.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        dot.seq == 0 || self.run_at_or_before(dot).is_some_and(|(_, last)| last >= dot.seq)
    }

    /// True if every dot of `other` is in the set.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        // A run of a subset lies within one run of the superset, since the superset's runs are maximal.
        other
            .runs
            .iter()
            .all(|(&first, &end)| self.run_at_or_before(first).is_some_and(|(_, last)| last >= end))
    }

    /// The highest seq of `actor` in the set, 0 if there is none.
    #[must_use]
    pub fn highest(&self, actor: Actor) -> u64 {
        self.run_at_or_before(Dot::new(actor, u64::MAX)).map_or(0, |(_, last)| last)
    }

    /// The seq after every one of `actor`'s in the set: what the actor's next version is called.
    ///
    /// # Panics
    /// If the actor's seqs are exhausted. An actor counts its own versions from 1, and
    /// [`Store`](crate::Store) draws a new actor as soon as anyone else claims to know of more.
    #[must_use]
    pub fn next_seq(&self, actor: Actor) -> u64 {
        self.highest(actor).checked_add(1).expect("an actor writes fewer than 2^64 versions")
    }

    /// True if the set has no dot.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The version vector: for each actor whose first version is covered, up to where there is no gap.
    pub fn vector(&self) -> impl Iterator<Item = (Actor, u64)> + '_ {
        self.runs.iter().filter(|(first, _)| first.seq == 1).map(|(first, &last)| (first.actor, last))
    }

    /// Takes every dot of `other` away.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for (first, last) in other.runs() {
            self.remove_run(first.actor, first.seq, last);
        }
    }

    fn remove_run(&mut self, actor: Actor, first: u64, last: u64) {
        let reach = Dot::new(actor, last);
        while let Some((&start, &end)) = self.runs.range(Dot::new(actor, 0)..=reach).next_back() {
            if end < first {
                return;
            }
            self.runs.remove(&start);
            if start.seq < first {
                self.runs.insert(start, first - 1);
            }
            if end > last {
                self.runs.insert(Dot::new(actor, last + 1), end);
            }
        }
    }

    /// The dots of one actor.
    pub(crate) fn of(&self, actor: Actor) -> Self {
        let runs = self.runs.range(Dot::new(actor, 0)..=Dot::new(actor, u64::MAX));
        Self { runs: runs.map(|(&first, &last)| (first, last)).collect() }
    }

    /// Whose dots they are.
    pub(crate) fn actors(&self) -> BTreeSet<Actor> {
        self.runs.keys().map(|first| first.actor).collect()
    }

    /// All runs in order, as (first dot, seq of the last). Their number is what the set costs in memory and bytes.
    pub fn runs(&self) -> impl ExactSizeIterator<Item = (Dot, u64)> + '_ {
        self.runs.iter().map(|(&first, &last)| (first, last))
    }

    /// Adds the dots `first..=last` of `actor`; true if any was missing.
    fn insert_run(&mut self, actor: Actor, first: u64, last: u64) -> bool {
        let (mut first, mut last) = (first.max(1), last);
        if first > last {
            return false;
        }
        if let Some((start, end)) = self.run_at_or_before(Dot::new(actor, first)) {
            if end >= last {
                return false;
            }
            if end >= first - 1 {
                first = start;
            }
        }
        // Swallow every run that the new one overlaps or touches, the one it extends included.
        let reach = Dot::new(actor, last.saturating_add(1));
        while let Some((&start, &end)) = self.runs.range(Dot::new(actor, first)..=reach).next() {
            self.runs.remove(&start);
            last = last.max(end);
        }
        self.runs.insert(Dot::new(actor, first), last);
        true
    }

    /// The last run of the dot's actor that starts at or before the dot, as (first seq, last seq).
    fn run_at_or_before(&self, dot: Dot) -> Option<(u64, u64)> {
        let (first, &last) = self.runs.range(Dot::new(dot.actor, 0)..=dot).next_back()?;
        Some((first.seq, last))
    }

    /// Appends a run that must lie beyond every run so far and touch none: how bytes become a set. `None` if it does
    /// not, so that a set has one encoding only.
    pub(super) fn append_run(&mut self, first: Dot, last: u64) -> Option<()> {
        let beyond = self.runs.last_key_value().is_none_or(|(previous, &end)| {
            previous.actor < first.actor
                || (previous.actor == first.actor && end.checked_add(1).is_some_and(|next| next < first.seq))
        });
        if !beyond || first.seq == 0 || last < first.seq {
            return None;
        }
        self.runs.insert(first, last);
        Some(())
    }
}

impl fmt::Debug for Causal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut set = f.debug_set();
        for (first, last) in self.runs() {
            set.entry(&format_args!("{first:?}..={last}"));
        }
        set.finish()
    }
}

impl FromIterator<Dot> for Causal {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut set = Self::default();
        for dot in dots {
            set.insert(dot);
        }
        set
    }
}
