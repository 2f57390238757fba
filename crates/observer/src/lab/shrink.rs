//! Makes a failing experiment smaller: finds few faults and little load that still break what broke, by running it again and
//! again with less. Refuses to call anything smaller that was not seen to fail.

use std::cell::Cell;
use std::collections::BTreeSet;

use chinwag_fuzz_net::Scenario;

use super::experiment::{Experiment, Findings};
use crate::invariants::Invariant;
use crate::workload::Workload;

/// One run in so many is for less load, at least.
const LOAD_SHARE: usize = 3;
/// Operations per second that are few enough.
const RATE_MIN: f64 = 1.0;

/// A failing experiment with fewer faults and less load: it fails as the whole did, with the same seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The faults that are left, and how long it lasts.
    pub scenario: Scenario,
    /// The sessions that are left.
    pub sessions: u32,
    /// Their operations per second.
    pub rate: f64,
    /// How many runs it took.
    pub runs: usize,
}

impl Findings {
    /// The rules that were broken. Replicas that were not seen to agree in time have not converged, though they hold the
    /// same a moment later.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<Invariant> {
        let stuck = self.converged_after.is_none().then_some(Invariant::Converged);
        self.violations.iter().map(|it| it.invariant).chain(stuck).collect()
    }
}

impl Experiment {
    /// Simulates the experiment with less, at most `budget` times, for as little as still has findings that `fails` is true
    /// of: first without some of its scenario's faults, then with fewer sessions, fewer operations and less time after the
    /// last step. That it is true of the whole experiment's is for the caller to know: that one is not run again. A nemesis
    /// must have been [drawn](Scenario::with_nemesis): the faults it is yet to draw stay.
    ///
    /// `on_run` is told, before each run, how many there were and the smallest experiment so far that fails.
    ///
    /// A run that could not be brought to its end says nothing about what broke, and counts as one that held.
    ///
    /// # Panics
    /// As [`Experiment::simulate`].
    #[must_use]
    pub fn shrink(
        &self,
        fails: impl Fn(&Findings) -> bool,
        budget: usize,
        mut on_run: impl FnMut(usize, &Self),
    ) -> Shrunk {
        let runs = Cell::new(0);
        let mut smallest = self.clone();
        let mut still_fails = |smallest: &mut Self, smaller: Self| {
            on_run(runs.get(), smallest);
            runs.set(runs.get() + 1);
            let failed = smaller.clone().simulate(|_| {}).is_ok_and(|findings| fails(&findings));
            if failed {
                *smallest = smaller;
            }
            failed
        };
        let without = |left_out: &BTreeSet<usize>| {
            let scenario = self.scenario.without_faults(left_out);
            Self { scenario, ..self.clone() }
        };
        shrink(
            &self.scenario.fault_steps(),
            |left_out| still_fails(&mut smallest, without(left_out)),
            budget - budget / LOAD_SHARE,
        );
        while smallest
            .lighter()
            .into_iter()
            .take_while(|_| runs.get() < budget)
            .any(|lighter| still_fails(&mut smallest, lighter))
        {}
        let Self { scenario, workload: Workload { sessions, rate, .. }, .. } = smallest;
        Shrunk { scenario, sessions, rate, runs: runs.get() }
    }

    /// The same with about half of something, what saves most first; none if it is as small as can be.
    fn lighter(&self) -> Vec<Self> {
        let load = |sessions, rate| {
            let workload = Workload { sessions, rate, ..self.workload.clone() };
            Self { workload, ..self.clone() }
        };
        let Workload { sessions, rate, .. } = self.workload;
        let (fewer, slower) = (sessions / 2, (rate / 2.0).max(RATE_MIN));
        let mut lighter = Vec::new();
        if fewer > 0 && slower < rate {
            lighter.push(load(fewer, slower));
        }
        if fewer > 0 {
            lighter.push(load(fewer, rate));
        }
        if slower < rate {
            lighter.push(load(sessions, slower));
        }
        lighter.extend(self.scenario.sooner_over().map(|scenario| Self { scenario, ..self.clone() }));
        lighter
    }
}

/// Which of `steps` can be left out so that what is left `fails` still, asking at most `budget` times. What it returns is
/// empty, or was seen to fail; if the budget was enough, leaving out any one more does not fail.
///
/// This is delta debugging (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", 2002) by removal
/// alone: it tries to leave out all at once, then halves, quarters and so on, and single steps until none can go.
pub fn shrink(
    steps: &[usize],
    mut fails: impl FnMut(&BTreeSet<usize>) -> bool,
    budget: usize,
) -> BTreeSet<usize> {
    let mut left_out = BTreeSet::new();
    let mut kept = steps.to_vec();
    let mut budget = budget;
    let mut size = kept.len();
    while size > 0 {
        let mut shrank = false;
        // From the back: what happens late often matters to nothing that came before.
        let mut end = kept.len();
        while end > 0 {
            if budget == 0 {
                return left_out;
            }
            budget -= 1;
            let begin = end.saturating_sub(size);
            let attempt = left_out.iter().chain(&kept[begin..end]).copied().collect();
            if fails(&attempt) {
                kept.drain(begin..end);
                left_out = attempt;
                shrank = true;
            }
            end = begin;
        }
        size = match size.min(kept.len()) {
            1 if shrank => 1,
            0 | 1 => 0,
            more => more.div_ceil(2),
        };
    }
    left_out
}

#[cfg(test)]
mod tests;
