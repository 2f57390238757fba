//! How long operations took, from the moment the plan wanted them sent, so that time spent waiting for a slow cluster is
//! counted (no coordinated omission). An operation of unknown outcome stays in as having taken at least the time limit.

use super::millis;
use crate::ledger::{Entry, Ledger, NEVER};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Latencies above this many nanoseconds (one hour) count as this.
const LATENCY_MAX: u64 = 3_600_000_000_000;

/// Latencies of one level.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Of gets, puts and deletes together.
    pub all: Quantiles,
    /// Of gets.
    pub reads: Quantiles,
    /// Of puts and deletes.
    pub writes: Quantiles,
}

/// Latency quantiles in milliseconds, exact to 0.1 %; absent without operations.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Operations counted: all but the refused.
    pub n: u64,
    /// Of these, the ones of unknown outcome: they took at least what they count as.
    pub at_least: u64,
    /// The median.
    pub p50_ms: Option<f64>,
    /// 99 % took at most this.
    pub p99_ms: Option<f64>,
    /// 99.9 % took at most this.
    pub p99_9_ms: Option<f64>,
    /// The longest.
    pub max_ms: Option<f64>,
}

impl Latency {
    /// Of operations by their places.
    pub(super) fn of(ledger: &Ledger, places: &[u32], time_limit: u64) -> Self {
        let of = |wanted: fn(&Entry) -> bool| {
            let places = places.iter().copied();
            Quantiles::of(ledger, places.filter(|&at| wanted(&ledger.entries()[at as usize])), time_limit)
        };
        Self { all: of(|_| true), reads: of(|entry| !entry.is_write()), writes: of(Entry::is_write) }
    }
}

impl Quantiles {
    fn of(ledger: &Ledger, places: impl Iterator<Item = u32>, time_limit: u64) -> Self {
        let mut histogram: Histogram<u64> = Histogram::new_with_max(LATENCY_MAX, 3)
            .expect("an hour at 3 digits is within the histogram's range");
        let mut at_least = 0;
        for place in places {
            let Some(latency) = latency_of(ledger, place, time_limit) else { continue };
            histogram.saturating_record(latency);
            at_least += u64::from(!ledger.entries()[place as usize].is_answered());
        }
        let quantile = |q| (!histogram.is_empty()).then(|| millis(histogram.value_at_quantile(q)));
        Self {
            n: histogram.len(),
            at_least,
            p50_ms: quantile(0.5),
            p99_ms: quantile(0.99),
            p99_9_ms: quantile(0.999),
            max_ms: quantile(1.0),
        }
    }
}

/// What an operation counts as, in nanoseconds; nothing if it was refused, which is an answer but not the store's service.
pub(super) fn latency_of(ledger: &Ledger, place: u32, time_limit: u64) -> Option<u64> {
    let entry = &ledger.entries()[place as usize];
    let took = (entry.done != NEVER).then(|| entry.done.saturating_sub(ledger.intended(place)));
    match () {
        () if entry.is_refused() => None,
        () if entry.is_unknown() => Some(took.unwrap_or(0).max(time_limit)),
        () => took,
    }
}

/// The smallest value with at least this many thousandths of all values at or below it. The values are ascending.
pub(super) fn nearest_rank<T>(ascending: &[T], thousandths: usize) -> Option<&T> {
    let rank = (ascending.len() * thousandths).div_ceil(1000);
    ascending.get(rank.saturating_sub(1))
}
