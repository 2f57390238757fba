//! One run in one serializable record: what was run, what was measured, what was broken. The report and the table show
//! nothing that is not in it. The schema is in `docs/summary.md`.

use crate::beliefs::Beliefs;
use crate::history::{Event, History};
use crate::invariants::Violation;
use crate::metrics::{LevelMetrics, Metrics, Rate};
use chinwag_node::QueueLoad;
use serde::{Deserialize, Serialize};

/// The version of the schema; it grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything said of one run. `stale.rate`, `unknown` and `converged_after_ms` are for scripts to rely on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`] of the chinwag that wrote it.
    pub schema_version: u32,
    /// Stale reads among the answered reads of all levels.
    pub stale: Rate,
    /// Operations whose outcome the clients never learned.
    pub unknown: u64,
    /// Operations that were planned and not sent, because their session was still waiting for an earlier one when the run,
    /// or the time for writes, ended. They are in no other number: many of them mean that the cluster could not keep up.
    pub unsent: u64,
    /// Milliseconds from the last heal to when all replicas agreed; none if they did not, or it was not looked at.
    pub converged_after_ms: Option<f64>,
    /// What broke, if anything.
    pub violations: Vec<Violation>,
    /// The scenario's name, if there was one.
    pub scenario: Option<String>,
    /// The seed of workload and faults, if there was one.
    pub seed: Option<u64>,
    /// The command that runs the same again.
    pub command: String,
    /// The program that wrote it, with its version.
    pub program: String,
    /// The configuration of the run, in its owner's own shape.
    pub configuration: serde_json::Value,
    /// The run's length in milliseconds.
    pub duration_ms: f64,
    /// All operations.
    pub operations: u64,
    /// Operations that were refused.
    pub errors: u64,
    /// The width of the slices of `levels[].timeline`, in milliseconds.
    pub bucket_ms: f64,
    /// What was measured at each level.
    pub levels: Vec<LevelMetrics>,
    /// The steps of the scenario, in time order.
    pub events: Vec<Event>,
    /// How full the members' bounded queues ever were.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// What the members believed of each other.
    #[serde(default)]
    pub beliefs: Beliefs,
}

/// The fullest that one kind of bounded queue ever was, over all members and all their lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// What waits, and where.
    pub name: String,
    /// The most that ever waited at once.
    pub high_water: u64,
    /// The most that may wait: a queue that is full blocks whoever has more for it, or drops what comes.
    pub bound: u64,
    /// The member whose it was.
    pub member: String,
}

impl Queue {
    /// What `member` says of one of its queues.
    #[must_use]
    pub fn new(load: QueueLoad, member: &str) -> Self {
        let QueueLoad { name, high_water, bound } = load;
        Self { name: name.to_owned(), high_water, bound, member: member.to_owned() }
    }
}

/// What a summary says of a run beyond its history.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    /// The command that runs the same again.
    pub command: String,
    /// The program and its version.
    pub program: String,
    /// Milliseconds from the last heal to when all replicas agreed, if they did.
    pub converged_after_ms: Option<f64>,
    /// What the invariants found.
    pub violations: Vec<Violation>,
    /// Operations that were planned and not sent.
    pub unsent: u64,
    /// How full the members' queues were.
    pub queues: Vec<Queue>,
    /// What the members believed of each other.
    pub beliefs: Beliefs,
}

impl Summary {
    /// Puts together what was measured of a history. Seed, scenario and configuration are its header's.
    #[must_use]
    pub fn new(history: &History, metrics: Metrics, about: About) -> Self {
        let header = &history.header;
        Self {
            schema_version: SCHEMA_VERSION,
            stale: metrics.stale,
            unknown: metrics.unknown,
            unsent: about.unsent,
            converged_after_ms: about.converged_after_ms,
            violations: about.violations,
            scenario: header.scenario.clone(),
            seed: header.seed,
            command: about.command,
            program: about.program,
            configuration: header.configuration.clone(),
            duration_ms: metrics.duration_ms,
            operations: metrics.operations,
            errors: metrics.errors,
            bucket_ms: metrics.bucket_ms,
            levels: metrics.levels,
            events: history.events.clone(),
            queues: about.queues,
            beliefs: about.beliefs,
        }
    }

    /// The record as indented JSON with a final newline: the content of `summary.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("every map of a summary has string keys");
        json.push('\n');
        json
    }
}

#[cfg(test)]
pub(crate) mod tests;
