//! What the check says of simulated operations, against what is true of them: false alarms and misses.

use super::compare::named;
use super::definitions::{Definitions, Proof};
use super::store::{Course, Run, run};
use crate::atomicity::{Action, Call, Clusters, Time};
use crate::check::{Metric, Model, Settings, check};
use crate::history::{Kind, Operation};
use crate::ledger::Ledger;
use crate::metrics::Rate;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The metrics that are held against the store's own knowledge.
const METRICS: [Metric; 10] = [
    Metric::Stale,
    Metric::ReadYourWrites,
    Metric::MonotonicReads,
    Metric::MonotonicWrites,
    Metric::WritesFollowReads,
    Metric::Causal,
    Metric::LostUpdate,
    Metric::UnwrittenValue,
    Metric::FalseConcurrency,
    Metric::FalseDominance,
];

/// How often the check was right.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Judged and in order.
    pub fine: u64,
    /// Of these, the ones the check called broken.
    pub false_alarms: u64,
    /// Judged and broken.
    pub broken: u64,
    /// Of these, the ones the check did not see.
    pub missed: u64,
}

impl Counts {
    fn add(&mut self, truth: bool, found: bool) {
        let (n, wrong) = if truth {
            (&mut self.broken, &mut self.missed)
        } else {
            (&mut self.fine, &mut self.false_alarms)
        };
        *n += 1;
        *wrong += u64::from(truth != found);
    }

    /// The share of what is in order that was called broken.
    #[must_use]
    pub fn false_positives(&self) -> Rate {
        Rate::new(self.false_alarms, self.fine)
    }

    /// The share of what is broken that was not seen.
    #[must_use]
    pub fn false_negatives(&self) -> Rate {
        Rate::new(self.missed, self.broken)
    }
}

/// Simulates stores whose clients are told contexts, or are not, and counts: at least so many operations for each metric,
/// with what it looks for planted where a store does not do it by itself.
pub(super) fn of_stores(with_clocks: bool, operations: usize) -> (u64, BTreeMap<Metric, Counts>) {
    let mut counts = BTreeMap::new();
    let mut simulated = 0;
    // A context that was never told cannot cover too much.
    for metric in METRICS.into_iter().filter(|metric| with_clocks || *metric != Metric::FalseDominance) {
        let mut of_metric = 0;
        for seed in 0.. {
            let course = Course { seed, steps: 400, with_clocks, plant: Some(metric), settle: true };
            let run = run(course);
            of_metric += run.history.operations.len();
            judge(&run, metric, counts.entry(metric).or_default());
            if of_metric >= operations {
                break;
            }
        }
        simulated = simulated.max(of_metric);
    }
    (simulated as u64, counts)
}

fn judge(run: &Run, metric: Metric, counts: &mut Counts) {
    let settings = Settings { only: Some([metric].into()), ..Settings::new(Model::Siblings) };
    let found = named(&check(&Ledger::of(&run.history), &settings), metric);
    let broken = truly_broken(run, metric);
    let is_judged: fn(&Operation) -> bool = match metric {
        Metric::LostUpdate => Operation::is_acknowledged_write,
        _ => Operation::is_answered_read,
    };
    for operation in run.history.operations.iter().filter(|op| is_judged(op)) {
        counts.add(broken.contains(&operation.id), found.contains(&operation.id));
    }
}

/// The operations that broke a rule, as the store knows.
fn truly_broken(run: &Run, metric: Metric) -> BTreeSet<u64> {
    let operations = &run.history.operations;
    let truth = Definitions::new(operations, Proof::Truth(run));
    let is_broken = |read| match metric {
        Metric::Stale => truth.verdict(read).acknowledged.missing > 0,
        Metric::ReadYourWrites => truth.breaks_read_your_writes(read) == Some(true),
        Metric::MonotonicReads => truth.breaks_monotonic_reads(read) == Some(true),
        Metric::MonotonicWrites => truth.breaks_monotonic_writes(read),
        Metric::WritesFollowReads => truth.breaks_writes_follow_reads(read),
        Metric::Causal => truth.breaks_causality(read),
        _ => false,
    };
    let knew = |writers: &[Kind], write: u64| {
        let others = operations.iter().filter(|op| writers.contains(&op.kind) && op.id != write);
        let mut contexts = others.filter_map(|op| run.writers.get(&op.id));
        contexts.any(|context| run.dots.get(&write).is_some_and(|dot| context.contains(dot)))
    };
    let planted = |explains: &dyn Fn(u64) -> bool| -> BTreeSet<u64> {
        run.planted.iter().filter(|(_, write)| !explains(**write)).map(|(&broken, _)| broken).collect()
    };
    match metric {
        // What a later writer knew was overwritten, not lost.
        Metric::LostUpdate => planted(&|write| knew(&[Kind::Put, Kind::Delete], write)),
        // What a delete knew may well be covered and not be there.
        Metric::FalseDominance => planted(&|write| knew(&[Kind::Delete], write)),
        Metric::UnwrittenValue | Metric::FalseConcurrency => planted(&|_| false),
        _ => operations.iter().filter(|op| op.is_answered_read() && is_broken(op)).map(|op| op.id).collect(),
    }
}

/// Simulates registers whose operations take effect at a known moment, half of which then have one read falsified, and
/// counts what the zones say: by Γ (which is linearizability), Δ and 2-atomicity.
pub(super) fn of_registers(at_least: usize) -> (u64, BTreeMap<Metric, Counts>) {
    let mut counts: BTreeMap<Metric, Counts> = BTreeMap::new();
    let mut operations = 0;
    for seed in 0.. {
        if operations >= at_least {
            break;
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let mut calls = atomic_calls(&mut rng, 20);
        operations += calls.len();
        let behind = if seed % 2 == 1 { falsify(&mut rng, &mut calls) } else { 0 };
        let Ok(clusters) = Clusters::of(&calls) else { continue };
        let mut add = |metric, truth, found| counts.entry(metric).or_default().add(truth, found);
        add(Metric::Linearizability, behind > 0, clusters.gamma().is_some());
        add(Metric::Gamma, behind > 0, clusters.gamma().is_some());
        add(Metric::Delta, behind > 0, clusters.delta().is_some());
        // One write that certainly came between may not have been the only one.
        if behind != 1 {
            add(Metric::TwoAtomicity, behind > 1, !clusters.are_two_atomic());
        }
    }
    (operations as u64, counts)
}

/// Calls that take effect one after another, ten nanoseconds apart, each somewhere within its time.
fn atomic_calls(rng: &mut StdRng, count: u64) -> Vec<Call> {
    let mut value = 0;
    let mut calls = Vec::new();
    for id in 1..=count {
        let at = Time::try_from(id * 10).unwrap_or(0);
        let (start, end) = (at - rng.random_range(0..25), at + rng.random_range(0..25));
        let action = if rng.random_bool(0.4) {
            value += 1;
            Action::Write(value)
        } else {
            Action::Read(value)
        };
        calls.push(Call { id, start, end, action });
    }
    calls
}

/// Makes one read return a value that was overwritten for certain before it began, and gives how many times: by writes that
/// each began after the one before had ended.
fn falsify(rng: &mut StdRng, calls: &mut [Call]) -> u64 {
    let reads: Vec<usize> =
        (0..calls.len()).filter(|&at| matches!(calls[at].action, Action::Read(_))).collect();
    if reads.is_empty() {
        return 0;
    }
    let read = reads[rng.random_range(0..reads.len())];
    let writes: Vec<(u32, Call)> = calls
        .iter()
        .filter_map(|call| if let Action::Write(value) = call.action { Some((value, *call)) } else { None })
        .collect();
    // From the initial value on: which writes certainly came one after another before the read.
    let (mut over, mut chain) = (Time::MIN, 0);
    for (_, write) in &writes {
        if write.start > over && write.end < calls[read].start {
            (over, chain) = (write.end, chain + 1);
        }
    }
    if chain > 0 {
        calls[read].action = Action::Read(0);
    }
    chain
}
