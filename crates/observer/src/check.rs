//! Checks a history: every metric of weak consistency that what clients saw can tell, and by name each operation that should
//! not have come out as it did. It asks nothing of the cluster, and says so where a history does not tell enough.
//!
//! The definitions are those of [`crate::metrics`], with these added. A **register** overwrites whatever was there, so under
//! [`Model::Register`] a read misses a write only if that began after the returned version's write had ended, or after a
//! read that returned it had. A session asks one thing at a time; its operations are in order of the time sent.

use crate::history::Level;
use crate::ledger::Ledger;
use crate::metrics::millis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

mod anomaly;
mod imported;
mod key;
mod metric;
mod reads;
mod register;
mod run;
mod sessions;
mod text;
mod windows;
mod words;

pub use anomaly::{ANOMALIES_LISTED_MAX, Anomalies, Anomaly};
pub use imported::check_imported;
pub use metric::{Metric, MetricError};
pub use reads::{Ages, KtCell, LevelReport, SiblingReport, Sides};
pub(crate) use register::NoTexts;
pub use register::{Amounts, Linearizable, Registers};
pub use text::render;
pub use windows::{Closed, Windows};

/// How a key's values come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Model {
    /// A put overwrites what its context covers, and stands beside the rest.
    Siblings,
    /// A put overwrites whatever is there.
    Register,
}

/// What to check, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How values come about.
    pub model: Model,
    /// The metrics wanted; none for all that the model has.
    pub only: Option<BTreeSet<Metric>>,
    /// The most steps to look for a key's linear order.
    pub budget: u64,
    /// The seed of what is drawn for intervals.
    pub seed: u64,
}

impl Settings {
    /// Everything the model has, with up to ten million steps per key.
    #[must_use]
    pub fn new(model: Model) -> Self {
        Self { model, only: None, budget: 10_000_000, seed: 1 }
    }

    /// Whether this metric is wanted. That a key is not linearizable is no anomaly where siblings are, unless it is asked
    /// for by name.
    #[must_use]
    pub fn wants(&self, metric: Metric) -> bool {
        let by_model = metric != Metric::Linearizability || self.model == Model::Register;
        self.only.as_ref().map_or(by_model, |only| only.contains(&metric))
    }
}

/// Everything a check found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// How values were taken to come about.
    pub model: Model,
    /// All operations.
    pub operations: u64,
    /// Answered reads.
    pub reads: u64,
    /// Writes that were not refused.
    pub writes: u64,
    /// Operations of unknown outcome; a read among them counts nowhere else.
    pub unknown: u64,
    /// Operations refused.
    pub refused: u64,
    /// Keys.
    pub keys: u64,
    /// Sessions.
    pub sessions: u64,
    /// From the run's start to the last moment in the history, in milliseconds.
    pub duration_ms: f64,
    /// Whether values were each written once, by plain writes; otherwise only linearizability could be judged.
    pub is_plain: bool,
    /// The reads, by level.
    pub levels: Vec<LevelReport>,
    /// For how long acknowledged writes were missed.
    pub windows: Option<Windows>,
    /// Acknowledged writes that no read after the end of all writing to their key knows, among those of keys that were read
    /// then, the last two times to the same effect.
    pub lost: Option<crate::metrics::Rate>,
    /// Keys as registers.
    pub registers: Registers,
    /// Whether causality was looked into: not with more than 4096 sessions.
    pub causality_checked: bool,
    /// What should not have come out so.
    pub anomalies: Anomalies,
}

impl Report {
    fn new(ledger: &Ledger, model: Model) -> Self {
        let count = |of: fn(&crate::ledger::Entry) -> bool| {
            ledger.entries().iter().filter(|entry| of(entry)).count() as u64
        };
        let sessions: BTreeSet<u32> = ledger.entries().iter().map(|entry| entry.session).collect();
        Self {
            model,
            operations: ledger.len() as u64,
            reads: count(|entry| entry.is_answered_read()),
            writes: count(|entry| entry.is_write() && !entry.is_refused()),
            unknown: count(|entry| entry.is_unknown()),
            refused: count(|entry| entry.is_refused()),
            keys: ledger.keys() as u64,
            sessions: sessions.len() as u64,
            duration_ms: millis(ledger.end()),
            is_plain: true,
            levels: Vec::new(),
            windows: None,
            lost: None,
            registers: Registers::default(),
            causality_checked: true,
            anomalies: Anomalies::default(),
        }
    }

    /// What was found of one level's reads.
    #[must_use]
    pub fn level(&self, level: Level) -> Option<&LevelReport> {
        self.levels.iter().find(|report| report.level == level)
    }
}

/// Checks a history.
#[must_use]
pub fn check(ledger: &Ledger, settings: &Settings) -> Report {
    run::run(ledger, settings)
}

#[cfg(test)]
mod tests;
