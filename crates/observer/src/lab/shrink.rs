//! Makes a failing experiment smaller: finds few faults that still break what broke, by running it again and again without
//! some of them. Refuses to call anything smaller that was not seen to fail.

use std::collections::BTreeSet;

use chinwag_fuzz_net::Scenario;

use super::experiment::{Experiment, Findings};
use crate::invariants::Invariant;

/// A failing scenario with fewer faults.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// What is left: it fails as the whole did, with the same seed and the same workload.
    pub scenario: Scenario,
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
    /// Simulates the experiment without some of its scenario's faults, at most `budget` times, for as few as still have
    /// findings that `fails` is true of. That it is true of the whole experiment's is for the caller to know: that one is not
    /// run again. A nemesis must have been [drawn](Scenario::with_nemesis): the faults it is yet to draw stay.
    ///
    /// `on_run` is told, before each run, how many there were and how many faults the smallest failing scenario has.
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
        mut on_run: impl FnMut(usize, usize),
    ) -> Shrunk {
        let faults = self.scenario.fault_steps();
        let (mut runs, mut fewest) = (0, faults.len());
        let without = |left_out: &BTreeSet<usize>| {
            let scenario = self.scenario.without_faults(left_out);
            Self { scenario, ..self.clone() }
        };
        let still_fails = |left_out: &BTreeSet<usize>| {
            on_run(runs, fewest);
            runs += 1;
            let failed = without(left_out).simulate(|_| {}).is_ok_and(|findings| fails(&findings));
            if failed {
                fewest = faults.len() - left_out.len();
            }
            failed
        };
        let left_out = shrink(&faults, still_fails, budget);
        Shrunk { scenario: without(&left_out).scenario, runs }
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
