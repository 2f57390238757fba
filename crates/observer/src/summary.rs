//! One run in one serializable record: what was run, what was measured, what was broken. The report and the table show
//! nothing that is not in it. The schema is in `docs/summary.md`.

use crate::beliefs::Beliefs;
use crate::history::{Event, History};
use crate::invariants::Violation;
use crate::metrics::{Estimate, LevelMetrics, Metrics, Rate};
use crate::pacing::Load;
use crate::predict::{Comparison, Settings, Witnessed};
use chinwag_node::{Activity, QueueLoad};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

/// The version of the schema; it grows when a field changes its meaning or goes.
pub const SCHEMA_VERSION: u32 = 1;

/// Everything said of one run. `stale.rate`, `unknown` and `converged_after_ms` are for scripts to rely on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// [`SCHEMA_VERSION`] of the chinwag that wrote it.
    pub schema_version: u32,
    /// Stale reads among the answered reads of all levels.
    pub stale: Estimate,
    /// Operations whose outcome the clients never learned.
    pub unknown: u64,
    /// Operations that were planned and not sent, because their session was still waiting for an earlier one when the run,
    /// or the time for writes, ended. They are in no other number: many of them mean that the cluster could not keep up.
    pub unsent: u64,
    /// How well the load kept to its plan.
    #[serde(default)]
    pub load: Load,
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
    /// What brought replicas together.
    #[serde(default)]
    pub repairs: Repairs,
    /// The exchanges of anti-entropy that changed what a member holds, in time order.
    #[serde(default)]
    pub exchanges: Vec<Exchange>,
    /// How far replicas were apart over time.
    #[serde(default)]
    pub divergence: Divergence,
    /// How soon after the last heal replicas agreed.
    #[serde(default)]
    pub convergence: Convergence,
    /// How full the members' bounded queues ever were.
    #[serde(default)]
    pub queues: Vec<Queue>,
    /// What the members believed of each other.
    #[serde(default)]
    pub beliefs: Beliefs,
    /// What the model of staleness predicts from the delays inside the cluster, beside what was measured.
    #[serde(default)]
    pub predictions: Comparison,
}

/// What brought replicas together, over all members and all their lives.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repairs {
    /// States handed to a replica that a read had found lagging.
    pub by_reads: u64,
    /// Hints delivered.
    pub hints_delivered: u64,
    /// Key states that an exchange of anti-entropy changed.
    pub keys_by_anti_entropy: u64,
    /// Rounds of anti-entropy, in each of which a member compared what it shares with another.
    pub rounds: u64,
}

impl Repairs {
    /// Sums up what members did.
    pub fn of<'a>(members: impl IntoIterator<Item = &'a Activity>) -> Self {
        let mut sum = Self::default();
        for activity in members {
            sum += Self {
                by_reads: activity.read_repairs,
                hints_delivered: activity.hints_delivered,
                keys_by_anti_entropy: activity.keys_repaired,
                rounds: activity.exchanges,
            };
        }
        sum
    }
}

impl AddAssign for Repairs {
    fn add_assign(&mut self, other: Self) {
        self.by_reads += other.by_reads;
        self.hints_delivered += other.hints_delivered;
        self.keys_by_anti_entropy += other.keys_by_anti_entropy;
        self.rounds += other.rounds;
    }
}

/// An exchange of anti-entropy that changed what a member holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Exchange {
    /// When it first did: nanoseconds since the run's start.
    pub at: u64,
    /// The member that holds other versions since.
    pub member: String,
    /// The member it was compared with.
    pub with: String,
    /// The partition that was compared.
    pub partition: u16,
    /// Key states that it changed.
    pub keys: u64,
}

/// How far replicas were apart over time: the keys whose owners did not hold the same versions. A key with tombstones
/// alone counts as none. The disk of a member that is down counts as it was when the member crashed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// How many keys were looked at.
    pub keys: u64,
    /// What was seen, about every second from the start until the replicas agreed.
    pub samples: Vec<DivergenceSample>,
}

impl Divergence {
    /// The share of keys that differed: on average of all looks, and the most. `None` if there was no look.
    #[must_use]
    pub fn shares(&self) -> Option<(f64, f64)> {
        let share = |differing: u64| differing as f64 / self.keys.max(1) as f64;
        let most = self.samples.iter().map(|it| it.differing).max()?;
        let sum: u64 = self.samples.iter().map(|it| it.differing).sum();
        Some((share(sum) / self.samples.len() as f64, share(most)))
    }
}

/// One look at all replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DivergenceSample {
    /// Milliseconds from the start.
    pub at_ms: f64,
    /// Keys whose owners did not hold the same versions.
    pub differing: u64,
}

/// How soon after the last heal, when all writing has stopped too, the owners of each key held the same versions for good.
/// They are asked every 50 ms or so, and each time is that of the first answer that said so.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// How many keys there are. Those whose owners did not come to agree while the run lasted are in no step.
    pub keys: u64,
    /// By when how many keys were agreed on, ascending.
    pub steps: Vec<Agreed>,
}

/// One step of [`Convergence`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Agreed {
    /// Milliseconds from the last heal.
    pub after_ms: f64,
    /// The keys agreed on by then, with the 95 % interval of their share.
    pub agreed: Rate,
}

impl Convergence {
    /// From the time each key that was agreed on took, of so many keys.
    #[must_use]
    pub fn new(keys: u64, times: impl Iterator<Item = Duration>) -> Self {
        let mut counts: BTreeMap<Duration, u64> = BTreeMap::new();
        for time in times {
            *counts.entry(time).or_default() += 1;
        }
        let mut agreed = 0;
        let steps = counts.into_iter().map(|(time, count)| {
            agreed += count;
            Agreed { after_ms: time.as_secs_f64() * 1000.0, agreed: Rate::new(agreed, keys) }
        });
        Self { keys, steps: steps.collect() }
    }

    /// By when this share of all keys was agreed on; `None` if it never was.
    #[must_use]
    pub fn reached(&self, share: f64) -> Option<f64> {
        let step = self.steps.iter().find(|step| step.agreed.rate.is_some_and(|rate| rate >= share));
        step.map(|step| step.after_ms)
    }
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
    /// How well the load kept to its plan.
    pub load: Load,
    /// What brought replicas together.
    pub repairs: Repairs,
    /// The exchanges that changed something.
    pub exchanges: Vec<Exchange>,
    /// How far replicas were apart.
    pub divergence: Divergence,
    /// How soon after the last heal replicas agreed.
    pub convergence: Convergence,
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
        let mut witnessed = Witnessed::default();
        witnessed.take(history);
        Self {
            schema_version: SCHEMA_VERSION,
            stale: metrics.stale,
            unknown: metrics.unknown,
            unsent: about.unsent,
            load: about.load,
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
            repairs: about.repairs,
            exchanges: about.exchanges,
            divergence: about.divergence,
            convergence: about.convergence,
            queues: about.queues,
            beliefs: about.beliefs,
            predictions: witnessed.compare(&Settings::default()),
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
