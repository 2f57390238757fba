//! The run in equal slices of time, for plots.

use super::latency::{latency_of, nearest_rank};
use super::{Rate, Verdict, count, millis};
use crate::history::{Operation, Outcome};
use serde::{Deserialize, Serialize};

/// The most slices [`bucket_width`] cuts a run into.
const BUCKETS_MAX: u64 = 120;

/// The widths to choose from are these times a power of ten, in nanoseconds.
const STEPS: [u64; 3] = [1, 2, 5];

/// The narrowest slice chosen: 10 ms in nanoseconds.
const WIDTH_MIN: u64 = 10_000_000;

/// What was sent within one slice of time, at one level.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bucket {
    /// The slice's start, in milliseconds since the run's.
    pub at_ms: f64,
    /// Operations sent.
    pub operations: u64,
    /// Of these, the ones of unknown outcome.
    pub unknown: u64,
    /// Of these, the ones refused.
    pub errors: u64,
    /// Answered reads, and how many of them were stale.
    pub stale: Rate,
    /// The median latency, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The 99 % quantile of latency, in milliseconds.
    pub p99_ms: Option<f64>,
}

/// A round width, in nanoseconds, that cuts a run of this length into at most 120 slices.
pub(super) fn bucket_width(end: u64) -> u64 {
    let widths = (0..)
        .flat_map(|power| STEPS.map(|step| WIDTH_MIN.saturating_mul(step * 10u64.saturating_pow(power))));
    let mut fitting = widths.filter(|width| end / width < BUCKETS_MAX);
    fitting.next().unwrap_or(u64::MAX)
}

pub(super) fn timeline(
    operations: &[&Operation],
    verdicts: &[Verdict],
    width: u64,
    end: u64,
    time_limit: u64,
) -> Vec<Bucket> {
    let mut operations = operations.to_vec();
    operations.sort_by_key(|op| op.sent);
    let mut verdicts: Vec<&Verdict> = verdicts.iter().collect();
    verdicts.sort_by_key(|verdict| verdict.sent);

    let (mut operations, mut verdicts) = (operations.as_slice(), verdicts.as_slice());
    let mut slice = |index: u64| {
        let until = (index + 1).saturating_mul(width);
        let sent =
            operations.split_off(..operations.partition_point(|op| op.sent < until)).unwrap_or_default();
        let read =
            verdicts.split_off(..verdicts.partition_point(|read| read.sent < until)).unwrap_or_default();
        let mut latencies: Vec<u64> = sent.iter().filter_map(|op| latency_of(op, time_limit)).collect();
        latencies.sort_unstable();
        Bucket {
            at_ms: millis(index * width),
            operations: sent.len() as u64,
            unknown: count(sent.iter().map(|op| matches!(op.outcome, Outcome::Unknown { .. }))),
            errors: count(sent.iter().map(|op| matches!(op.outcome, Outcome::Refused { .. }))),
            stale: Rate::new(count(read.iter().map(|read| read.acknowledged.missing > 0)), read.len() as u64),
            p50_ms: nearest_rank(&latencies, 500).copied().map(millis),
            p99_ms: nearest_rank(&latencies, 990).copied().map(millis),
        }
    };
    (0..=end / width).map(&mut slice).collect()
}
