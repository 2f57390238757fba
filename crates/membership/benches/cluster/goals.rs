//! What each row is to reach, and how many did.

use crate::estimate::{Estimate, number};
use crate::rows::{Recorded, Row};
use crate::scenarios::{Cell, Findings};

/// By how much more the load of a member may be in a cluster that nothing is recorded of than in the smallest.
const LOAD_GROWTH_MAX: f64 = 1.05;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// No worse than what another was measured to do.
    Other(Recorded),
    /// A number that was set, whatever others do.
    Set(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    /// Worse than another by no more than the noise of both.
    Even,
    Missed,
}

/// The verdicts so far.
#[derive(Debug, Default)]
pub(crate) struct Goals {
    met: usize,
    even: Vec<String>,
    missed: Vec<String>,
    /// The load of a member at each loss, in the first cluster that was measured.
    loads: Vec<(f64, Row, f64)>,
}

impl Goal {
    pub(crate) fn value(self) -> f64 {
        match self {
            Self::Other(Recorded { value, .. }) | Self::Set(value) => value,
        }
    }

    fn verdict(self, row: Row, ours: &Estimate) -> Verdict {
        match self {
            Self::Other(other) if row.rounded(ours.value) <= other.value => Verdict::Met,
            Self::Other(other) if ours.may_equal(other.value, other.on) => Verdict::Even,
            Self::Set(value) if ours.value <= value => Verdict::Met,
            Self::Other(_) | Self::Set(_) => Verdict::Missed,
        }
    }
}

impl Goals {
    /// Remembers the loads of the smallest cluster, which others are held against.
    pub(crate) fn learn(&mut self, cell: Cell, ours: &Findings) {
        for row in [Row::Messages, Row::Bytes] {
            if let (None, Some(load)) = (self.load(cell.loss, row), ours.get(&row)) {
                self.loads.push((cell.loss, row, load.value));
            }
        }
    }

    /// What is to be reached, if anything: what was set, or the better of the others.
    pub(crate) fn goal(&self, cell: Cell, row: Row, others: [Option<Recorded>; 2]) -> Option<Goal> {
        let better = others
            .into_iter()
            .flatten()
            .min_by(|one, other| one.value.total_cmp(&other.value))
            .map(Goal::Other);
        let grown = || self.load(cell.loss, row).map(|load| Goal::Set(load * LOAD_GROWTH_MAX));
        row.goal(cell.members).map(Goal::Set).or(better).or_else(grown)
    }

    pub(crate) fn judge(&mut self, cell: Cell, row: Row, ours: &Estimate, goal: Goal) -> Verdict {
        let verdict = goal.verdict(row, ours);
        let line = || {
            let Cell { members, loss, .. } = cell;
            let (label, reached, wanted) = (row.label(), number(ours.value), number(goal.value()));
            format!("N = {members}, loss {} %, {label}: {reached} for {wanted}", loss * 100.0)
        };
        match verdict {
            Verdict::Met => self.met += 1,
            Verdict::Even => self.even.push(line()),
            Verdict::Missed => self.missed.push(line()),
        }
        verdict
    }

    pub(crate) fn are_met(&self) -> bool {
        self.missed.is_empty()
    }

    /// How many were met, and each that was not.
    pub(crate) fn summary(&self) -> String {
        let (met, even, missed) = (self.met, self.even.len(), self.missed.len());
        let mut lines = vec![format!("{met} goals met, {even} even, {missed} missed")];
        lines.extend(self.even.iter().map(|line| format!("even: {line}")));
        lines.extend(self.missed.iter().map(|line| format!("MISSED: {line}")));
        lines.join("\n")
    }

    fn load(&self, loss: f64, row: Row) -> Option<f64> {
        let of_row = |(at, of, _): &&(f64, Row, f64)| *at == loss && *of == row;
        self.loads.iter().find(of_row).map(|(_, _, load)| *load)
    }
}
