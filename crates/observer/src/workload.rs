//! Plans load: which session sends what, and when. The plan is open loop: it knows nothing of answers, so a slow cluster
//! is asked no less. It decides from its seed alone and refuses to send anything.

use crate::history::{Kind, Level};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;

mod keys;

pub use keys::{KeyError, Keys, Spread};

/// What load to plan. Shares and weights are drawn independently for each operation.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Sessions, each of which an operation falls to with equal chance; at least 1.
    pub sessions: u32,
    /// Operations per second over all sessions: above 0 and finite.
    pub rate: f64,
    /// The spacing of operations.
    pub arrivals: Arrivals,
    /// The share of gets, 0 to 1.
    pub read_share: f64,
    /// The share of deletes among writes, 0 to 1.
    pub delete_share: f64,
    /// The share of puts that supply the context their session last got for the key (read-modify-write), 0 to 1; the others
    /// are blind. Deletes always supply one.
    pub context_share: f64,
    /// Consistency levels and the weight each is drawn with: above 0 and finite.
    pub levels: Vec<(Level, f64)>,
    /// The keys and how they are chosen.
    pub keys: Keys,
    /// The same seed plans the same operations. Each operation takes the same number of draws, so plans that differ in
    /// one share or weight agree in everything else.
    pub seed: u64,
}

/// The spacing of operations in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrivals {
    /// Exponential gaps, as from many independent users.
    Poisson,
    /// Equal gaps.
    Fixed,
}

/// A workload that cannot be planned. Nothing was planned; change the named setting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// No sessions.
    #[error("a workload needs at least one session")]
    NoSessions,
    /// The rate is no positive number.
    #[error("the rate must be above 0 operations per second, not {0}")]
    Rate(f64),
    /// A share is outside 0 to 1.
    #[error("the {name} must be between 0 and 1, not {share}")]
    Share {
        /// Which share.
        name: &'static str,
        /// What it is.
        share: f64,
    },
    /// No levels to draw from.
    #[error("a workload needs at least one consistency level")]
    NoLevels,
    /// A level's weight is no positive number.
    #[error("the weight of level {level} must be above 0, not {weight}")]
    Weight {
        /// The level.
        level: Level,
        /// What its weight is.
        weight: f64,
    },
    /// The keys cannot be chosen from.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// One operation to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedOperation {
    /// When to send it, from the run's start. Send it late rather than never.
    pub intended: Duration,
    /// The session it falls to.
    pub session: u32,
    /// What to ask.
    pub kind: Kind,
    /// The key.
    pub key: String,
    /// The consistency level.
    pub level: Level,
    /// Whether a write is to supply the context that its session last got for the key. A session that has none yet sends a
    /// put blind, and a get in place of a delete.
    pub with_context: bool,
    /// What a put writes: `s<session>-<n>`, unique in the plan.
    pub value: Option<String>,
}

/// An endless schedule of operations, ascending in time.
#[derive(Debug)]
pub struct Plan {
    workload: Workload,
    rng: StdRng,
    planned: u64,
    /// Where the schedule is, in seconds.
    elapsed: f64,
    /// Puts planned so far, per session.
    written: Vec<u64>,
}

impl Workload {
    /// Checks the workload and begins its plan.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn plan(self) -> Result<Plan, WorkloadError> {
        if self.sessions == 0 {
            return Err(WorkloadError::NoSessions);
        }
        if !is_positive(self.rate) {
            return Err(WorkloadError::Rate(self.rate));
        }
        let shares = [
            ("share of reads", self.read_share),
            ("share of deletes", self.delete_share),
            ("share of puts with a context", self.context_share),
        ];
        if let Some((name, share)) = shares.into_iter().find(|(_, share)| !(0.0..=1.0).contains(share)) {
            return Err(WorkloadError::Share { name, share });
        }
        if self.levels.is_empty() {
            return Err(WorkloadError::NoLevels);
        }
        if let Some(&(level, weight)) = self.levels.iter().find(|(_, weight)| !is_positive(*weight)) {
            return Err(WorkloadError::Weight { level, weight });
        }
        let written = vec![0; self.sessions as usize];
        let rng = StdRng::seed_from_u64(self.seed);
        Ok(Plan { workload: self, rng, planned: 0, elapsed: 0.0, written })
    }
}

fn is_positive(number: f64) -> bool {
    number.is_finite() && number > 0.0
}

impl Iterator for Plan {
    type Item = PlannedOperation;

    /// The next operation. There always is one.
    fn next(&mut self) -> Option<PlannedOperation> {
        let intended = self.arrive();
        let session = self.rng.random_range(0..self.workload.sessions);
        let [kind, delete, context, level] = [(); 4].map(|()| self.rng.random::<f64>());
        let key = self.workload.keys.choose(&mut self.rng).to_owned();

        let kind = match (kind < self.workload.read_share, delete < self.workload.delete_share) {
            (true, _) => Kind::Get,
            (false, true) => Kind::Delete,
            (false, false) => Kind::Put,
        };
        let with_context = match kind {
            Kind::Get => false,
            Kind::Delete => true,
            Kind::Put => context < self.workload.context_share,
        };
        let value = (kind == Kind::Put).then(|| {
            let written = &mut self.written[session as usize];
            *written += 1;
            format!("s{session}-{written}")
        });
        Some(PlannedOperation { intended, session, kind, key, level: self.level(level), with_context, value })
    }
}

impl Plan {
    fn arrive(&mut self) -> Duration {
        // Drawn in either case, so that both arrivals plan the same operations.
        let draw: f64 = self.rng.random();
        self.elapsed = match self.workload.arrivals {
            Arrivals::Fixed => self.planned as f64 / self.workload.rate,
            Arrivals::Poisson => self.elapsed - libm::log1p(-draw) / self.workload.rate,
        };
        self.planned += 1;
        Duration::try_from_secs_f64(self.elapsed).unwrap_or(Duration::MAX)
    }

    fn level(&self, draw: f64) -> Level {
        let levels = &self.workload.levels;
        let mut left = draw * levels.iter().map(|(_, weight)| weight).sum::<f64>();
        let drawn = levels.iter().find(|(_, weight)| {
            left -= weight;
            left < 0.0
        });
        // Rounding may leave a last sliver undrawn.
        drawn.or_else(|| levels.last()).expect("a plan has at least one level").0
    }
}

#[cfg(test)]
mod tests;
