//! What can be asked of a history, by name.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// One metric. Those that name anomalies say so with [`names_anomalies`](Self::names_anomalies).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// A read returned a value nobody wrote, or that was refused, or written only later.
    UnwrittenValue,
    /// An acknowledged write that no read after the end of all writing knows.
    LostUpdate,
    /// A version returned beside one whose writer knew it.
    FalseConcurrency,
    /// A context that covers a write which was neither returned nor known to a writer of what was.
    FalseDominance,
    /// A read misses a write its own session had completed.
    ReadYourWrites,
    /// A read misses a version that its session's read before returned.
    MonotonicReads,
    /// A read misses a write that its writer did before another which the reading session knew.
    MonotonicWrites,
    /// A read misses a version that was read before a write was made which the reading session knew.
    WritesFollowReads,
    /// A read misses a write in its causal past.
    Causal,
    /// A read misses an acknowledged write.
    Stale,
    /// The answers of a key are those of no register.
    Linearizability,
    /// The seed's stale rate, for comparison.
    Seed,
    /// How many writes reads missed, and in how long a chain.
    KStaleness,
    /// For how long what reads missed had been acknowledged.
    Age,
    /// The chance of freshness by time since the last write.
    TVisibility,
    /// The share of reads that miss the last k writes, by time since the first of them.
    KtStaleness,
    /// For how long writes are missed.
    Window,
    /// Values per read.
    Siblings,
    /// By how much operations would have to be longer to be those of a register.
    Gamma,
    /// By how much reads would have to begin earlier.
    Delta,
    /// Whether reads are at most one write behind.
    TwoAtomicity,
}

impl Metric {
    /// All, those that name anomalies first and of these the most telling first.
    pub const ALL: [Self; 21] = [
        Self::UnwrittenValue,
        Self::LostUpdate,
        Self::FalseConcurrency,
        Self::FalseDominance,
        Self::ReadYourWrites,
        Self::MonotonicReads,
        Self::MonotonicWrites,
        Self::WritesFollowReads,
        Self::Causal,
        Self::Stale,
        Self::Linearizability,
        Self::Seed,
        Self::KStaleness,
        Self::Age,
        Self::TVisibility,
        Self::KtStaleness,
        Self::Window,
        Self::Siblings,
        Self::Gamma,
        Self::Delta,
        Self::TwoAtomicity,
    ];

    /// Whether it says of single operations that they should not have come out so.
    #[must_use]
    pub fn names_anomalies(self) -> bool {
        self <= Self::Linearizability
    }

    /// Its name on the command line and in documents.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UnwrittenValue => "unwritten-value",
            Self::LostUpdate => "lost-update",
            Self::FalseConcurrency => "false-concurrency",
            Self::FalseDominance => "false-dominance",
            Self::ReadYourWrites => "read-your-writes",
            Self::MonotonicReads => "monotonic-reads",
            Self::MonotonicWrites => "monotonic-writes",
            Self::WritesFollowReads => "writes-follow-reads",
            Self::Causal => "causal",
            Self::Stale => "stale",
            Self::Linearizability => "linearizability",
            Self::Seed => "seed",
            Self::KStaleness => "k-staleness",
            Self::Age => "age",
            Self::TVisibility => "t-visibility",
            Self::KtStaleness => "kt-staleness",
            Self::Window => "window",
            Self::Siblings => "siblings",
            Self::Gamma => "gamma",
            Self::Delta => "delta",
            Self::TwoAtomicity => "two-atomicity",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no metric; nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no metric: choose from {list}", list = Metric::ALL.map(Metric::name).join(", "))]
pub struct MetricError(String);

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, MetricError> {
        let mut all = Self::ALL.into_iter();
        all.find(|metric| metric.name() == text).ok_or_else(|| MetricError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::Metric;

    #[test]
    fn names_are_read_as_they_are_written() {
        for metric in Metric::ALL {
            assert_eq!(metric.to_string().parse(), Ok(metric));
            assert_eq!(serde_json::to_value(metric).unwrap(), metric.name());
        }
        assert!(Metric::ALL.is_sorted());
        assert!("staleness".parse::<Metric>().unwrap_err().to_string().contains("stale, linearizability"));
    }
}
