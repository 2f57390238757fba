//! What should not have come out as it did, each by name, with the operations that show it.

use super::metric::Metric;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most anomalies of one name that are listed; all are counted.
pub const ANOMALIES_LISTED_MAX: usize = 100;

/// One anomaly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomaly {
    /// What was broken.
    pub name: Metric,
    /// The key it shows on.
    pub key: String,
    /// The operations that show it, by id: the one that should have come out otherwise first.
    pub operations: Vec<u64>,
    /// What happened, in a sentence.
    pub what: String,
}

/// All anomalies of a history. A read is in here once, under the most telling name it earned: one that misses its own
/// session's write breaks read-your-writes, and is stale as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anomalies {
    /// How many of each name.
    pub counts: BTreeMap<Metric, u64>,
    /// The first 100 of each name, the most telling names first.
    pub listed: Vec<Anomaly>,
}

impl Anomalies {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// Counts an anomaly, and lists it if there is room for more of its name.
    pub(crate) fn add(&mut self, name: Metric, describe: impl FnOnce() -> Anomaly) {
        let count = self.counts.entry(name).or_default();
        *count += 1;
        if *count <= ANOMALIES_LISTED_MAX as u64 {
            self.listed.push(describe());
        }
    }

    /// Puts the list in order of names.
    pub(crate) fn sort(&mut self) {
        self.listed.sort_by_key(|anomaly| anomaly.name);
    }
}
