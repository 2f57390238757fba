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

use crate::history::{Level, Operation};
use crate::ledger::{Entry, Ledger};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

mod blocks;
mod chain;
mod frontier;
mod interval;
mod latency;
mod order;
mod slots;
mod staleness;
mod timeline;
mod visibility;

pub use blocks::{Blocks, Estimate};
pub(crate) use blocks::{Place, Trials};
pub use interval::Rate;
use interval::isotonic;
pub use latency::{Latency, Quantiles};
pub(crate) use order::{Evidence, Order};
pub(crate) use slots::{Slot, Slots};
pub(crate) use staleness::{Judge, sweep};
pub use staleness::{Judgement, Verdict};
pub use timeline::Bucket;
pub(crate) use visibility::{Bins, bin_edges};
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
    pub stale: Estimate,
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
    pub stale: Estimate,
    /// Answered reads that know nothing of the newest acknowledged writes.
    pub stale_lenient: Estimate,
    /// As `stale`, among acknowledged or observed writes.
    pub stale_observed: Estimate,
    /// As `stale_lenient`, among acknowledged or observed writes.
    pub stale_lenient_observed: Estimate,
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

/// Measures a history: what was sent before its `measured_from` is known to the reads that follow, and counted nowhere.
#[must_use]
pub fn measure(ledger: &Ledger, settings: &Settings) -> Metrics {
    let end = ledger.end();
    let bucket = settings.bucket.unwrap_or_else(|| timeline::bucket_width(end)).max(1);

    let from = ledger.measured_from();
    let mut stale = Trials::default();
    let mut tallies: BTreeMap<Level, Tally> = BTreeMap::new();
    for (place, entry) in (0..).zip(ledger.entries()).filter(|(_, entry)| entry.sent >= from) {
        tallies.entry(entry.level).or_default().places.push(place);
    }
    for key in 0..ledger.keys() {
        let operations = ledger.operations(key);
        let order = Order::new(operations.iter().collect(), Evidence::ReturnedOrCovered);
        let judge = Judge::new(&order);
        let verdicts = judge.verdicts().into_iter().zip(&judge.reads);
        for (verdict, &at) in verdicts.filter(|(verdict, _)| verdict.sent >= from) {
            let place = Place::new(key, verdict.sent, end);
            stale.add(place, verdict.acknowledged.missing > 0);
            let tally = tallies.entry(verdict.level).or_default();
            tally.add(place, &verdict, values_in(&operations[at]), verdict.sent / bucket);
        }
    }
    let levels: Vec<LevelMetrics> = tallies
        .into_iter()
        .map(|(level, tally)| tally.metrics(level, ledger, bucket, settings.time_limit))
        .collect();

    Metrics {
        duration_ms: millis(end),
        operations: levels.iter().map(|level| level.operations).sum(),
        unknown: levels.iter().map(|level| level.unknown).sum(),
        errors: levels.iter().map(|level| level.errors).sum(),
        stale: stale.estimate(BLOCKS_SEED),
        bucket_ms: millis(bucket),
        levels,
    }
}

/// The seed of what is drawn for intervals: a history has one summary.
const BLOCKS_SEED: u64 = 1;

/// What is counted of one level, read by read.
#[derive(Default)]
struct Tally {
    /// Where the level's operations are in the ledger.
    places: Vec<u32>,
    stale: Trials,
    stale_lenient: Trials,
    stale_observed: Trials,
    stale_lenient_observed: Trials,
    reads_by_missing: BTreeMap<u64, u64>,
    reads_by_values: BTreeMap<usize, u64>,
    visibility: [Bins; 2],
    /// By slice of time: answered reads, and the stale ones among them.
    slices: BTreeMap<u64, (u64, u64)>,
}

impl Tally {
    fn add(&mut self, place: Place, verdict: &Verdict, values: usize, slice: u64) {
        let Verdict { acknowledged, observed, .. } = verdict;
        let is_stale = acknowledged.missing > 0;
        self.stale.add(place, is_stale);
        self.stale_lenient.add(place, acknowledged.nothing_new);
        self.stale_observed.add(place, observed.missing > 0);
        self.stale_lenient_observed.add(place, observed.nothing_new);
        *self.reads_by_missing.entry(acknowledged.missing).or_default() += 1;
        *self.reads_by_values.entry(values).or_default() += 1;
        if let Some(t) = verdict.since_write {
            self.visibility[usize::from(verdict.contended)].add(t, !is_stale);
        }
        let (reads, stale) = self.slices.entry(slice).or_default();
        *reads += 1;
        *stale += u64::from(is_stale);
    }

    fn metrics(mut self, level: Level, ledger: &Ledger, bucket: u64, time_limit: u64) -> LevelMetrics {
        let entry = |place: u32| &ledger.entries()[place as usize];
        self.places.sort_by_key(|&place| entry(place).sent);
        let places = self.places.as_slice();
        let operations_of = |wanted: fn(&Entry) -> bool| count(places.iter().map(|&at| wanted(entry(at))));
        LevelMetrics {
            level,
            operations: places.len() as u64,
            reads: self.reads_by_missing.values().sum(),
            writes: operations_of(Entry::is_write),
            unknown: operations_of(Entry::is_unknown),
            errors: operations_of(Entry::is_refused),
            stale: self.stale.estimate(BLOCKS_SEED),
            stale_lenient: self.stale_lenient.estimate(BLOCKS_SEED),
            stale_observed: self.stale_observed.estimate(BLOCKS_SEED),
            stale_lenient_observed: self.stale_lenient_observed.estimate(BLOCKS_SEED),
            k_staleness: KStaleness::of(&self.reads_by_missing),
            visibility: Visibility {
                settled: self.visibility[0].curve(),
                contended: self.visibility[1].curve(),
            },
            siblings: Siblings::of(&self.reads_by_values),
            latency: Latency::of(ledger, places, time_limit),
            timeline: timeline::timeline(ledger, places, &self.slices, bucket, time_limit),
        }
    }
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

impl Siblings {
    /// From how many answered reads returned how many values.
    fn of(reads_by_values: &BTreeMap<usize, u64>) -> Self {
        let max = reads_by_values.last_key_value().map_or(0, |(&values, _)| values);
        let mut reads_by_count = vec![0; if reads_by_values.is_empty() { 0 } else { max + 1 }];
        reads_by_count.truncate(DISTRIBUTION_LEN_MAX);
        for (&values, reads) in reads_by_values {
            reads_by_count[values.min(DISTRIBUTION_LEN_MAX - 1)] += reads;
        }
        let some = || reads_by_values.range(1..);
        let reads: u64 = some().map(|(_, reads)| reads).sum();
        let returned = some().map(|(&values, reads)| values as u64 * reads).sum();
        let within =
            |at: usize| some().take_while(|(values, _)| **values <= at).map(|(_, reads)| reads).sum();
        let p99 = some().map(|(&values, _)| values).find(|&values| {
            let within: u64 = within(values);
            within * 100 >= reads * 99
        });
        Self { mean: share(returned, reads), p99: p99.unwrap_or(0) as u64, max: max as u64, reads_by_count }
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
