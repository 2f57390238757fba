//! Numbers with what is known of their precision: two standard errors, and how much they were measured on.

use std::fmt;

/// One measured number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Estimate {
    pub(crate) value: f64,
    /// Two standard errors.
    noise: f64,
    /// Trials, or node-hours.
    pub(crate) n: f64,
    unit: &'static str,
    /// Whether it says how often something happened.
    counted: bool,
}

impl Estimate {
    /// The mean of trials.
    pub(crate) fn mean(sample: &[f64]) -> Option<Self> {
        let n = sample.len() as f64;
        let value = sample.iter().sum::<f64>() / n;
        let variance = sample.iter().map(|it| (it - value).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        (n > 0.0).then_some(Self { noise: 2.0 * (variance / n).sqrt(), ..Self::plenty(value, n, "") })
    }

    /// A percentile of trials, unless there are too few for one to be beyond it: then it would be their greatest. Its
    /// noise reaches to the order statistic two standard errors of the rank below.
    pub(crate) fn percentile(sample: &[f64], percent: usize) -> Option<Self> {
        let mut sorted = sample.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        if n * (100 - percent) < 100 {
            return None;
        }
        let rank = ((n - 1) * percent + 50) / 100;
        let below = (4 * n * percent * (100 - percent)).isqrt() / 100;
        let value = sorted[rank];
        let noise = value - sorted[rank.saturating_sub(below)];
        Some(Self { noise, ..Self::plenty(value, n as f64, "") })
    }

    /// How often something happened in so many trials or node-hours.
    pub(crate) fn rate(count: u64, n: f64, unit: &'static str) -> Self {
        let count = count as f64;
        Self { noise: 2.0 * count.sqrt() / n, counted: true, ..Self::plenty(count / n, n, unit) }
    }

    /// So much of something that sampling does not matter.
    pub(crate) fn plenty(value: f64, n: f64, unit: &'static str) -> Self {
        Self { value, noise: 0.0, n, unit, counted: false }
    }

    /// Whether this may well be no more than a number that was measured in the same way on `n`: at most two standard
    /// errors of the difference above it, if both were the same in truth.
    pub(crate) fn may_equal(&self, other: f64, n: f64) -> bool {
        let noise = if self.counted {
            let pooled = (self.value * self.n + other * n) / (self.n + n);
            2.0 * (pooled / self.n + pooled / n).sqrt()
        } else {
            self.noise.hypot(self.noise * (self.n / n).sqrt())
        };
        self.value.is_finite() && self.value - other <= noise
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noise = if self.noise > 0.0 && self.value.is_finite() {
            format!(" ±{}", number(self.noise))
        } else {
            String::new()
        };
        let n = if self.n < 10.0 { format!("{:.1}", self.n) } else { format!("{:.0}", self.n) };
        let n = n.trim_end_matches(".0");
        f.pad(&format!("{}{noise} ({n}{})", number(self.value), self.unit))
    }
}

/// Three digits or so.
pub(crate) fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        f64::INFINITY => "never".to_owned(),
        v if v < 0.1 => format!("{v:.3}"),
        v if v < 10.0 => format!("{v:.2}"),
        v if v < 100.0 => format!("{v:.1}"),
        v => format!("{v:.0}"),
    }
}
