//! The run in equal slices of time, for plots.

use super::latency::{latency_of, nearest_rank};
use super::{Rate, count, millis};
use crate::ledger::Ledger;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// The slices of operations given by their places, ascending by time sent; `reads` has, by slice, how many answered reads
/// there were and how many of them were stale.
pub(super) fn timeline(
    ledger: &Ledger,
    mut places: &[u32],
    reads: &BTreeMap<u64, (u64, u64)>,
    width: u64,
    time_limit: u64,
) -> Vec<Bucket> {
    let entry = |place: &u32| &ledger.entries()[*place as usize];
    let mut slice = |index: u64| {
        let until = (index + 1).saturating_mul(width);
        let len = places.partition_point(|place| entry(place).sent < until);
        let sent = places.split_off(..len).unwrap_or_default();
        let (read, stale) = reads.get(&index).copied().unwrap_or_default();
        let mut latencies: Vec<u64> =
            sent.iter().filter_map(|&place| latency_of(ledger, place, time_limit)).collect();
        latencies.sort_unstable();
        Bucket {
            at_ms: millis(index * width),
            operations: sent.len() as u64,
            unknown: count(sent.iter().map(|place| entry(place).is_unknown())),
            errors: count(sent.iter().map(|place| entry(place).is_refused())),
            stale: Rate::new(stale, read),
            p50_ms: nearest_rank(&latencies, 500).copied().map(millis),
            p99_ms: nearest_rank(&latencies, 990).copied().map(millis),
        }
    };
    (0..=ledger.end() / width).map(&mut slice).collect()
}
