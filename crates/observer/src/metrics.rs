//! Measures a history: how stale its reads were, how much was missing, how soon writes became visible, and how long
//! operations took, per consistency level. Every number comes from what clients saw; nothing is asked of the cluster.
//!
//! The definitions, for a read `r` and the writes (puts and deletes) of its key:
//!
//! - `D(r)`: the writes acknowledged before `r` was sent. The *observed* variant adds each write of unknown outcome from
//!   the moment an earlier read that returned it ended. Equal times are no order: such a write is still in flight.
//! - `w ⊑ r`: `r` returned `w`, or `r`'s context covers `w`'s dot, or `r` returned a version whose writer knew `w`. What a
//!   writer knew is what the operation whose context it supplied returned and covered, and so on back.
//! - `M(r)`: the writes of `D(r)` for which `w ⊑ r` does not hold. `r` is **stale** if there is one: a missing sibling
//!   counts. It is stale in the **lenient** sense if no maximal element of `D(r)` is known to it at all.
//!
//! A context is taken to cover the whole past of what it covers, as those of a correct store do, so a history that tells
//! contexts must tell the dots of acknowledged writes too. Gets without an answer
//! are left out and counted. A put is recognized by its value, a delete by its dot; a delete whose dot the client never
//! learned cannot be recognized, so it is no element of `D`.

use crate::history::{History, Level, Operation, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod chain;
mod frontier;
mod interval;
mod latency;
mod order;
mod slots;
mod staleness;
mod timeline;
mod visibility;

pub use interval::Rate;
use interval::isotonic;
pub use latency::{Latency, Quantiles};
pub(crate) use order::{Evidence, Order};
pub(crate) use slots::{Slot, Slots};
pub(crate) use staleness::{Judge, sweep};
pub use staleness::{Judgement, Verdict, verdicts};
pub use timeline::Bucket;
pub(crate) use visibility::Bins;
pub use visibility::{Curve, CurveBin, Reached, Visibility};

/// The most entries of `KStaleness::exceeding` and of `Siblings::reads_by_count`; the last one of the latter holds the rest.
pub const DISTRIBUTION_LEN_MAX: usize = 17;

/// How to measure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The least latency an operation of unknown outcome counts with: the client's time limit, in nanoseconds. It
    /// matters for operations the run ended before.
    pub time_limit: u64,
    /// The width of one bucket over time, in nanoseconds and at least 1; none to choose one that gives at most 120.
    pub bucket: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { time_limit: 1_000_000_000, bucket: None }
    }
}

/// Everything measured of one history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// From the run's start to the last moment in the history, in milliseconds.
    pub duration_ms: f64,
    /// All operations.
    pub operations: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Operations that were refused.
    pub errors: u64,
    /// Stale reads of all levels.
    pub stale: Rate,
    /// The width of the buckets over time, in milliseconds.
    pub bucket_ms: f64,
    /// One entry per level that occurs, in the order of levels.
    pub levels: Vec<LevelMetrics>,
}

/// What was measured at one consistency level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelMetrics {
    /// The level.
    pub level: Level,
    /// All operations.
    pub operations: u64,
    /// Gets that were answered; the others are in `unknown` or `errors`.
    pub reads: u64,
    /// Puts and deletes, whatever their outcome.
    pub writes: u64,
    /// Operations of unknown outcome.
    pub unknown: u64,
    /// Operations that were refused.
    pub errors: u64,
    /// Answered reads with any acknowledged write missing.
    pub stale: Rate,
    /// Answered reads that know nothing of the newest acknowledged writes.
    pub stale_lenient: Rate,
    /// As `stale`, among acknowledged or observed writes.
    pub stale_observed: Rate,
    /// As `stale_lenient`, among acknowledged or observed writes.
    pub stale_lenient_observed: Rate,
    /// How many acknowledged writes reads missed.
    pub k_staleness: KStaleness,
    /// How soon an acknowledged write was visible.
    pub visibility: Visibility,
    /// Concurrent values per read.
    pub siblings: Siblings,
    /// Time from intended to done.
    pub latency: Latency,
    /// The run in equal slices of time.
    pub timeline: Vec<Bucket>,
}

/// The distribution of `|M(r)|` over answered reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct KStaleness {
    /// The mean; absent without reads.
    pub mean: Option<f64>,
    /// The most writes one read missed.
    pub max: u64,
    /// At index `j`, the share of reads that missed more than `j` writes; ends where it reaches 0, or at
    /// [`DISTRIBUTION_LEN_MAX`] entries.
    pub exceeding: Vec<f64>,
}

/// Values returned per read that returned any.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Siblings {
    /// The mean; absent if no read returned a value.
    pub mean: Option<f64>,
    /// 99 % of reads returned at most this many.
    pub p99: u64,
    /// The most one read returned.
    pub max: u64,
    /// At index `i`, the answered reads that returned `i` values; the last of [`DISTRIBUTION_LEN_MAX`] holds all above.
    pub reads_by_count: Vec<u64>,
}

/// Measures a history.
#[must_use]
pub fn measure(history: &History, settings: &Settings) -> Metrics {
    let end = history.operations.iter().map(|op| op.done.unwrap_or(op.sent).max(op.sent)).max().unwrap_or(0);
    let bucket = settings.bucket.unwrap_or_else(|| timeline::bucket_width(end)).max(1);

    let mut levels: BTreeMap<Level, (Vec<&Operation>, Vec<Verdict>)> = BTreeMap::new();
    for operation in &history.operations {
        levels.entry(operation.level).or_default().0.push(operation);
    }
    for verdict in verdicts(history) {
        levels.entry(verdict.level).or_default().1.push(verdict);
    }
    let levels: Vec<LevelMetrics> = levels
        .into_iter()
        .map(|(level, (operations, verdicts))| {
            let timeline = timeline::timeline(&operations, &verdicts, bucket, end, settings.time_limit);
            level_metrics(level, &operations, &verdicts, timeline, settings)
        })
        .collect();

    Metrics {
        duration_ms: millis(end),
        operations: levels.iter().map(|level| level.operations).sum(),
        unknown: levels.iter().map(|level| level.unknown).sum(),
        errors: levels.iter().map(|level| level.errors).sum(),
        stale: Rate::new(
            levels.iter().map(|level| level.stale.count).sum(),
            levels.iter().map(|level| level.reads).sum(),
        ),
        bucket_ms: millis(bucket),
        levels,
    }
}

fn level_metrics(
    level: Level,
    operations: &[&Operation],
    verdicts: &[Verdict],
    timeline: Vec<Bucket>,
    settings: &Settings,
) -> LevelMetrics {
    let reads = verdicts.len() as u64;
    let operations_of = |wanted: fn(&Operation) -> bool| count(operations.iter().map(|op| wanted(op)));
    let reads_with = |wanted: fn(&Verdict) -> bool| Rate::new(count(verdicts.iter().map(wanted)), reads);
    LevelMetrics {
        level,
        operations: operations.len() as u64,
        reads,
        writes: operations_of(Operation::is_write),
        unknown: operations_of(|op| matches!(op.outcome, Outcome::Unknown { .. })),
        errors: operations_of(|op| matches!(op.outcome, Outcome::Refused { .. })),
        stale: reads_with(|read| read.acknowledged.missing > 0),
        stale_lenient: reads_with(|read| read.acknowledged.nothing_new),
        stale_observed: reads_with(|read| read.observed.missing > 0),
        stale_lenient_observed: reads_with(|read| read.observed.nothing_new),
        k_staleness: k_staleness(verdicts),
        visibility: Visibility::of(verdicts),
        siblings: siblings(operations),
        latency: Latency::of(operations, settings.time_limit),
        timeline,
    }
}

fn k_staleness(verdicts: &[Verdict]) -> KStaleness {
    let mut reads_by_missing: BTreeMap<u64, u64> = BTreeMap::new();
    for read in verdicts {
        *reads_by_missing.entry(read.acknowledged.missing).or_default() += 1;
    }
    KStaleness::of(&reads_by_missing)
}

impl KStaleness {
    /// From how many reads missed how many writes.
    pub(crate) fn of(reads_by_missing: &BTreeMap<u64, u64>) -> Self {
        let reads = reads_by_missing.values().sum();
        let max = reads_by_missing.last_key_value().map_or(0, |(&missing, _)| missing);
        let above = |j: u64| reads_by_missing.range(j + 1..).map(|(_, reads)| reads).sum();
        let all = reads_by_missing.iter().map(|(missing, reads)| missing * reads).sum();
        Self {
            mean: share(all, reads),
            max,
            exceeding: (0..=max).take(DISTRIBUTION_LEN_MAX).filter_map(|j| share(above(j), reads)).collect(),
        }
    }
}

fn siblings(operations: &[&Operation]) -> Siblings {
    let reads = operations.iter().filter(|op| op.is_answered_read());
    let mut counts: Vec<usize> = reads.map(|op| values_in(op)).collect();
    counts.sort_unstable();
    let mut reads_by_count = Vec::new();
    for &values in &counts {
        let at = values.min(DISTRIBUTION_LEN_MAX - 1);
        if reads_by_count.len() <= at {
            reads_by_count.resize(at + 1, 0);
        }
        reads_by_count[at] += 1;
    }
    let some = &counts[counts.partition_point(|&values| values == 0)..];
    Siblings {
        mean: share(some.iter().sum::<usize>() as u64, some.len() as u64),
        p99: latency::nearest_rank(some, 990).copied().unwrap_or(0) as u64,
        max: some.last().copied().unwrap_or(0) as u64,
        reads_by_count,
    }
}

fn values_in(read: &Operation) -> usize {
    read.returned.iter().filter(|version| version.value.is_some()).count()
}

/// How many are true.
fn count(flags: impl Iterator<Item = bool>) -> u64 {
    flags.filter(|&flag| flag).count() as u64
}

/// A share of a whole; none of nothing.
fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Nanoseconds as milliseconds.
pub(crate) fn millis(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests;
