//! Second opinions: every metric computed once more straight from its definition, slowly, on histories small enough for
//! that; and simulated stores whose truth is known. They share nothing with what they are held against.

use crate::check::{Metric, Model};
use crate::history::{Dot, History, Kind, Level, Operation, Outcome, Version};
use crate::table::percent;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;

pub(crate) mod atomicity;
mod compare;
pub(crate) mod definitions;
pub(crate) mod store;
mod truth;

pub use truth::Counts;

/// The steps of one such history.
const STEPS: usize = 100;

/// What the check of the checker found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// One row per metric.
    pub metrics: Vec<Row>,
    /// Operations simulated for the columns of truth: of stores that tell contexts, of stores that do not, of registers.
    pub operations: [u64; 3],
}

/// One metric against its oracles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The metric.
    pub metric: Metric,
    /// Random histories judged by the definition as well.
    pub histories: u64,
    /// Of these, the ones on which the two disagree.
    pub disagreements: u64,
    /// Against the truth of simulated operations whose clients are told contexts; for registers, of simulated registers.
    pub truth: Option<Counts>,
    /// The same, of stores that tell no contexts.
    pub truth_without_contexts: Option<Counts>,
}

impl SelfTest {
    /// Whether nothing disagrees. Misses and false alarms are no disagreement: evidence may fall short of the truth.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.metrics.iter().all(|row| row.disagreements == 0)
    }

    /// The table for people.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = format!(
            "{:<22} {:>9} {:>13}   {:<28}   {}\n",
            "metric", "histories", "disagreements", "false alarms / missed", "without contexts"
        );
        for row in &self.metrics {
            let rates = |counts: &Option<Counts>| {
                counts.map_or_else(
                    || "-".to_owned(),
                    |counts| {
                        let (alarms, missed) = (counts.false_positives(), counts.false_negatives());
                        format!("{} / {} of {}", percent(alarms.rate), percent(missed.rate), counts.broken)
                    },
                )
            };
            let Row { metric, histories, disagreements, truth, truth_without_contexts } = row;
            let [truth, without] = [truth, truth_without_contexts].map(rates);
            // Writing to a string cannot fail.
            writeln!(out, "{metric:<22} {histories:>9} {disagreements:>13}   {truth:<28}   {without}").ok();
        }
        let [with, without, registers] = self.operations;
        writeln!(
            out,
            "\nfalse alarms are a share of what is in order, missed ones of what is broken, among {with} simulated \
             operations\nof stores that tell contexts, {without} of stores that do not, and {registers} of registers"
        )
        .ok();
        out
    }
}

/// How much is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Histories of stores, and as many of registers, that are judged twice; and three times as many sets of calls.
    pub histories: u64,
    /// Operations whose truth is known, at least, for each metric.
    pub operations: usize,
}

impl Effort {
    /// A minute's.
    pub const FULL: Self = Self { histories: 1000, operations: 10_000 };
}

/// Holds every metric against its definition and against the truth.
#[must_use]
pub fn self_test(effort: Effort) -> SelfTest {
    let mut rows: BTreeMap<Metric, Row> = BTreeMap::new();
    let mut note = |metric, agrees: bool| {
        let row = rows.entry(metric).or_insert(Row {
            metric,
            histories: 0,
            disagreements: 0,
            truth: None,
            truth_without_contexts: None,
        });
        row.histories += 1;
        row.disagreements += u64::from(!agrees);
    };
    for seed in 0..effort.histories {
        let course = store::Course {
            seed,
            steps: STEPS,
            with_clocks: seed % 3 != 0,
            // Contexts that lie are no base for the rest: those are planted on their own.
            plant: PLANTS[place(seed, PLANTS.len())],
            settle: seed % 5 < 2,
        };
        for (metric, agrees) in compare::compare(&store::run(course).history, Model::Siblings) {
            note(metric, agrees);
        }
        for (metric, agrees) in compare::compare(&register_history(seed), Model::Register) {
            note(metric, agrees);
        }
    }
    for seed in 0..3 * effort.histories {
        for (metric, agrees) in atomicity::compare(seed) {
            note(metric, agrees);
        }
    }
    let (with, truth) = truth::of_stores(true, effort.operations);
    let (without, truth_without) = truth::of_stores(false, effort.operations);
    let (registers, of_registers) = truth::of_registers(effort.operations);
    for row in rows.values_mut() {
        row.truth = truth.get(&row.metric).or_else(|| of_registers.get(&row.metric)).copied();
        row.truth_without_contexts = truth_without.get(&row.metric).copied();
    }
    SelfTest { metrics: rows.into_values().collect(), operations: [with, without, registers] }
}

/// What is planted in the histories that are judged twice, in turn.
const PLANTS: [Option<Metric>; 4] =
    [None, Some(Metric::LostUpdate), Some(Metric::UnwrittenValue), Some(Metric::FalseConcurrency)];

fn place(seed: u64, len: usize) -> usize {
    usize::try_from(seed).unwrap_or(0) % len
}

/// Operations on registers that answer at random, as no store would: only times and sessions make sense.
fn register_history(seed: u64) -> History {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut operations: Vec<Operation> = Vec::new();
    let mut free_at = [0u64; 4];
    for id in 0..rng.random_range(8..40) {
        let session = rng.random_range(0..free_at.len());
        let kind = [Kind::Get, Kind::Get, Kind::Put, Kind::Put, Kind::Delete][rng.random_range(0..5)];
        let key = ["a", "b"][rng.random_range(0..2)];
        let number = u32::try_from(session).unwrap_or(0);
        let mut operation = Operation::new(id, number, "", kind, Level::One, key);
        operation.sent = free_at[session] + rng.random_range(0..6);
        operation.intended = operation.sent;
        // Ends are apart, so that which write was the last is no question.
        let done = operation.sent + rng.random_range(0..12);
        operation.done = (done..).find(|done| operations.iter().all(|other| other.done != Some(*done)));
        free_at[session] = operation.done.unwrap_or(done);
        operation.value = (kind == Kind::Put).then(|| format!("v{id}"));
        if !(kind != Kind::Get && rng.random_bool(0.15)) {
            operation.outcome = Outcome::Ok;
        }
        operations.push(operation);
    }
    let writes: Vec<(String, String, u64)> =
        operations.iter().filter_map(|op| Some((op.key.clone(), op.value.clone()?, op.id))).collect();
    let sent: BTreeMap<u64, u64> = operations.iter().map(|op| (op.id, op.sent)).collect();
    for read in operations.iter_mut().filter(|op| op.kind == Kind::Get) {
        let of_key: Vec<&(String, String, u64)> =
            writes.iter().filter(|(key, ..)| *key == read.key).collect();
        if !of_key.is_empty() && rng.random_bool(0.9) {
            // Mostly what was sent by then, sometimes what was not.
            let by_then: Vec<_> =
                of_key.iter().copied().filter(|(.., id)| sent[id] <= read.done.unwrap_or(0)).collect();
            let from = if by_then.is_empty() || rng.random_bool(0.02) { &of_key } else { &by_then };
            let (_, value, id) = from[rng.random_range(0..from.len())];
            read.returned = vec![Version { value: Some(value.clone()), dot: Dot { actor: 1, seq: *id } }];
        }
    }
    History { operations, ..History::default() }
}

#[cfg(test)]
mod tests {
    use super::{Effort, Metric, self_test};

    #[test]
    fn every_metric_agrees_with_its_definition_and_finds_what_was_planted() {
        let found = self_test(Effort { histories: 150, operations: 1000 });
        let table = found.render();
        assert!(found.is_clean(), "{table}");
        assert_eq!(found.metrics.len(), Metric::ALL.len(), "{table}");
        for row in &found.metrics {
            assert!(row.histories >= 150, "{table}");
            let Some(truth) = row.truth else { continue };
            assert!(truth.broken >= 5, "too few to miss: {table}");
            assert_eq!(truth.false_alarms, 0, "{}: {table}", row.metric);
            // Nobody can tell which delete made a tombstone if its client never heard of it.
            let by_tombstones =
                [Metric::MonotonicReads, Metric::MonotonicWrites, Metric::WritesFollowReads, Metric::Causal];
            let most = if by_tombstones.contains(&row.metric) { truth.broken / 5 } else { 0 };
            assert!(truth.missed <= most, "{}: {table}", row.metric);
        }
    }
}
