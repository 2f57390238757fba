//! Whether the measured part of a run was steady: no trend in how long operations took nor in how many were answered. It
//! tells a trend from chance and refuses to say why there is one.

use crate::ledger::Ledger;
use serde::{Deserialize, Serialize};

/// The measured part is cut into so many windows.
const WINDOWS: usize = 20;
/// A window with fewer operations has no median worth comparing.
const OPERATIONS_MIN: usize = 10;
/// The two-sided 99.5 % point of the normal distribution: two series are tested, and together they cry wolf in one
/// steady run of a hundred (Bonferroni).
const Z_MAX: f64 = 2.807;

/// What the test says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Too few operations to tell.
    #[default]
    TooShort,
    /// No trend that chance would not explain.
    Steady,
    /// Latency or throughput had a trend: the averages of this run depend on how long it was.
    NotSteady,
}

/// The test of Mann ("Nonparametric tests against trend", Econometrica 1945) and Kendall ("Rank Correlation Methods",
/// 1975) on 20 windows. It sees what rises or falls over the whole part; what comes and goes, as a fault does, it need not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Steadiness {
    /// What the test says.
    pub verdict: Verdict,
    /// The standard score of the windows' median latencies, positive if they rose; none if it is too short.
    pub latency_z: Option<f64>,
    /// The same of operations answered per window.
    pub throughput_z: Option<f64>,
}

impl Steadiness {
    /// Of the operations sent since measuring began.
    #[must_use]
    pub fn of(ledger: &Ledger) -> Self {
        let from = ledger.measured_from();
        let measured = || (0..).zip(ledger.entries()).filter(|(_, entry)| entry.sent >= from);
        let Some(until) = measured().map(|(_, entry)| entry.sent).max() else { return Self::default() };
        let width = (until - from) / WINDOWS as u64 + 1;
        let mut windows = vec![Vec::new(); WINDOWS];
        let mut answered = vec![0.0; WINDOWS];
        for (place, entry) in measured() {
            let window = |at: u64| usize::try_from((at - from) / width).unwrap_or(usize::MAX);
            let done = entry.done;
            windows[window(entry.sent)].push(done - ledger.intended(place).min(done));
            if let Some(count) = answered.get_mut(window(done))
                && entry.is_answered()
            {
                *count += 1.0;
            }
        }
        if windows.iter().any(|window| window.len() < OPERATIONS_MIN) {
            return Self::default();
        }
        let medians: Vec<f64> = windows.iter_mut().map(|window| median(window)).collect();
        let (latency, throughput) = (mann_kendall(&medians), mann_kendall(&answered));
        let is_steady = latency.abs() <= Z_MAX && throughput.abs() <= Z_MAX;
        let verdict = if is_steady { Verdict::Steady } else { Verdict::NotSteady };
        Self { verdict, latency_z: Some(latency), throughput_z: Some(throughput) }
    }
}

fn median(latencies: &mut [u64]) -> f64 {
    let middle = latencies.len() / 2;
    *latencies.select_nth_unstable(middle).1 as f64
}

/// The standard score of Kendall's S, corrected for ties and for S being whole. 0 if all are equal.
fn mann_kendall(series: &[f64]) -> f64 {
    let pairs = (0..series.len()).flat_map(|i| (0..i).map(move |j| (j, i)));
    let sign = |(earlier, later): (usize, usize)| match series[later].total_cmp(&series[earlier]) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.0,
        std::cmp::Ordering::Less => -1.0,
    };
    let s: f64 = pairs.map(sign).sum();
    let weight = |n: f64| n * (n - 1.0) * (2.0 * n + 5.0);
    let mut sorted = series.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|left, right| left == right).map(|tied| weight(tied.len() as f64)).sum();
    let variance = (weight(series.len() as f64) - ties) / 18.0;
    if s == 0.0 || variance == 0.0 { 0.0 } else { (s - s.signum()) / variance.sqrt() }
}

#[cfg(test)]
mod tests;
