//! Numbers with what is known of their precision: two standard errors, and how much they were measured on.

use std::fmt;

/// One measured number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    /// What the truth may well be as little as.
    low: f64,
    /// Trials, or node-hours.
    n: f64,
    unit: &'static str,
}

impl Estimate {
    /// The mean of trials.
    pub(crate) fn mean(sample: &[f64]) -> Option<Self> {
        let n = sample.len() as f64;
        let value = sample.iter().sum::<f64>() / n;
        let variance = sample.iter().map(|it| (it - value).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let low = value - 2.0 * (variance / n).sqrt();
        (n > 0.0).then_some(Self { value, low, n, unit: "" })
    }

    /// A percentile of trials; its bound is the order statistic two standard errors of the rank below.
    pub(crate) fn percentile(sample: &[f64], percent: usize) -> Option<Self> {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let rank = (n.checked_sub(1)? * percent + 50) / 100;
        let noise = (4 * n * percent * (100 - percent)).isqrt() / 100;
        let low = sorted[rank.saturating_sub(noise)];
        Some(Self { value: sorted[rank], low, n: n as f64, unit: "" })
    }

    /// Whether this may well be no more than a number that was measured in the same way `n` times.
    pub(crate) fn may_equal(&self, other: f64, n: f64) -> bool {
        let noise = self.value - self.low;
        self.value - other <= noise.hypot(noise * (self.n / n).sqrt())
    }

    /// How often something rare happened per node-hour.
    pub(crate) fn rate(count: u64, node_hours: f64) -> Self {
        let count = count as f64;
        let low = (count - 2.0 * count.sqrt()) / node_hours;
        Self { value: count / node_hours, low, n: node_hours, unit: " h" }
    }

    /// So much of something in so many node-hours that sampling does not matter.
    pub(crate) fn plenty(value: f64, node_hours: f64) -> Self {
        Self { value, low: value, n: node_hours, unit: " h" }
    }

    /// How many of the trials.
    pub(crate) fn count(count: u32, trials: u32) -> Self {
        let value = f64::from(count);
        Self { value, low: value - 2.0 * value.sqrt(), n: f64::from(trials), unit: "" }
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = self.value - self.low;
        let noise = if noise > 0.0 { format!(" ±{}", number(noise)) } else { String::new() };
        let n = if self.n < 10.0 { format!("{:.1}", self.n) } else { format!("{:.0}", self.n) };
        let n = n.trim_end_matches(".0");
        f.pad(&format!("{}{noise} ({n}{})", number(self.value), self.unit))
    }
}

/// Three digits or so.
pub(crate) fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v < 0.1 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}
