//! How long operations took, from the moment the plan wanted them sent, so that time spent waiting for a slow cluster is
//! counted (no coordinated omission). An operation of unknown outcome stays in as having taken at least the time limit.

use super::millis;
use crate::history::{Operation, Outcome};
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
    pub(super) fn of(operations: &[&Operation], time_limit: u64) -> Self {
        Self {
            all: Quantiles::of(operations.iter().copied(), time_limit),
            reads: Quantiles::of(operations.iter().copied().filter(|op| !op.is_write()), time_limit),
            writes: Quantiles::of(operations.iter().copied().filter(|op| op.is_write()), time_limit),
        }
    }
}

impl Quantiles {
    fn of<'a>(operations: impl Iterator<Item = &'a Operation>, time_limit: u64) -> Self {
        let mut histogram: Histogram<u64> = Histogram::new_with_max(LATENCY_MAX, 3)
            .expect("an hour at 3 digits is within the histogram's range");
        let mut at_least = 0;
        for operation in operations {
            let Some(latency) = latency_of(operation, time_limit) else { continue };
            histogram.saturating_record(latency);
            at_least += u64::from(!operation.is_answered());
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
pub(super) fn latency_of(operation: &Operation, time_limit: u64) -> Option<u64> {
    let took = operation.done.map(|done| done.saturating_sub(operation.intended));
    match operation.outcome {
        Outcome::Ok | Outcome::NotFound => took,
        Outcome::Unknown { .. } => Some(took.unwrap_or(0).max(time_limit)),
        Outcome::Refused { .. } => None,
    }
}

/// The smallest value with at least this many thousandths of all values at or below it. The values are ascending.
pub(super) fn nearest_rank<T>(ascending: &[T], thousandths: usize) -> Option<&T> {
    let rank = (ascending.len() * thousandths).div_ceil(1000);
    ascending.get(rank.saturating_sub(1))
}
