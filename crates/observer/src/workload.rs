//! Plans load: which session sends what, and when. The plan knows nothing of answers: open loop, a slow cluster is asked no
//! less; closed loop, each session has a plan of its own and no times. It decides from its seed alone and refuses to send
//! anything.

use crate::history::{Kind, Level};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::time::Duration;

mod keys;
mod probe;
mod values;
mod ycsb;

pub use keys::{KeyError, Keys, Spread};
use probe::{Probe, Probes};
pub use values::ValueBytes;
pub(crate) use values::{name_of, value_of};
pub use ycsb::Ycsb;

/// Sizes of values are drawn apart from all else, so that plans that differ in them agree in everything else.
const SIZES: u64 = 0x73_697a_6573;

/// What load to plan. Shares and weights are drawn independently for each operation.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Sessions, each of which an operation falls to with equal chance; at least 1.
    pub sessions: u32,
    /// Operations per second over all sessions: above 0 and finite. A closed loop has no rate of its own.
    pub rate: f64,
    /// The spacing of operations.
    pub arrivals: Arrivals,
    /// For so long at first the rate rises, from 0 in a straight line.
    pub ramp: Duration,
    /// For so long after the ramp nothing is measured yet.
    pub warm_up: Duration,
    /// Put each key once before all else.
    pub preload: bool,
    /// Which member a session asks.
    pub sessions_at: SessionsAt,
    /// The share of gets, 0 to 1.
    pub read_share: f64,
    /// The share of deletes among writes, 0 to 1.
    pub delete_share: f64,
    /// The share of the other writes that put keys which were not there before, 0 to 1. Only [`Keys::records`] have such.
    pub insert_share: f64,
    /// The share of the remaining puts that supply a context, 0 to 1; the others are blind. Deletes always read first.
    pub context_share: f64,
    /// Which context those supply.
    pub update: Basis,
    /// The sizes of written values.
    pub value_bytes: ValueBytes,
    /// Consistency levels and the weight each is drawn with: above 0 and finite.
    pub levels: Vec<(Level, f64)>,
    /// The level of all writes; none for the one drawn.
    pub write_level: Option<Level>,
    /// Plan probes in place of a mix: a put of one session, and so long after its acknowledgement that the times fill this
    /// span evenly, a get by another. The shares mean nothing then, the rate is of probes, and half of the sessions write.
    pub probe: Option<Duration>,
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
    /// Closed loop: each session sends its next operation so long after the last was answered. A slow cluster is asked
    /// less, and what it was not asked meanwhile is in no latency.
    Closed {
        /// The time between an answer and the next operation.
        think: Duration,
    },
}

/// Which member a session asks. Each session stands for one client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionsAt {
    /// One and the same for the whole run, the sessions in turn.
    #[default]
    Pinned,
    /// Each request another, in turn.
    Roaming,
    /// The one with the shortest round trip before the run, measured by asking; of equally near ones, in turn.
    Nearest,
}

/// A workload that cannot be planned. Nothing was planned; change the named setting.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WorkloadError {
    /// No sessions.
    #[error("a workload needs at least one session")]
    NoSessions,
    /// A probe's reader is not its writer.
    #[error("probes need at least two sessions: one writes, the other reads")]
    NoReader,
    /// Probes have times of their own.
    #[error("probes are sent open loop: how long after its write a read comes is what they are about")]
    ClosedProbe,
    /// A closed loop has no one order in which keys could be inserted.
    #[error(
        "keys can be inserted open loop only: sessions of a closed loop do not know of each other's keys"
    )]
    ClosedInserts,
    /// Inserting needs keys that can grow.
    #[error("these keys are all there are: nothing can be inserted")]
    NoMoreKeys,
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
    /// When to send it, from the run's start. Send it late rather than never. 0 in a closed loop.
    pub intended: Duration,
    /// The session it falls to.
    pub session: u32,
    /// What to ask.
    pub kind: Kind,
    /// The key.
    pub key: String,
    /// The consistency level of a get, also of one that a write makes first.
    pub level: Level,
    /// The consistency level of a write.
    pub write_level: Level,
    /// What a write is to know of its key. A session that knows nothing yet sends a put blind, and a get in place of a
    /// delete.
    pub basis: Basis,
    /// The name of what a put writes: `s<session>-<n>`, unique in the plan.
    pub value: Option<String>,
    /// The size of what a put writes, 0 for that of its name.
    pub value_bytes: u32,
    /// The get that is to follow a probe's put.
    pub then_read: Option<ThenRead>,
}

impl PlannedOperation {
    /// The put of record `number` before the load begins, at all its replicas.
    pub(crate) fn record(session: u32, number: u64, key: String, value_bytes: u32) -> Self {
        Self {
            intended: Duration::ZERO,
            session,
            kind: Kind::Put,
            key,
            level: Level::All,
            write_level: Level::All,
            basis: Basis::Blind,
            value: Some(format!("s{session}-{number}")),
            value_bytes,
            then_read: None,
        }
    }
}

/// Which context a write supplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Basis {
    /// None: the value becomes a sibling of whatever is there.
    Blind,
    /// The one its session last got for the key, from a get or a write.
    Known,
    /// That of a get which the session sends first.
    Read,
}

/// The second half of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThenRead {
    /// Who reads.
    pub session: u32,
    /// How long after the put's acknowledgement. Without one there is no time to count from, and no read.
    pub after: Duration,
}

/// An endless schedule of operations, ascending in time.
#[derive(Debug)]
pub struct Plan {
    workload: Workload,
    /// The one session it is for, in a closed loop.
    only: Option<u32>,
    rng: StdRng,
    sizes: StdRng,
    planned: u64,
    /// Where the schedule would be without a ramp, in seconds.
    elapsed: f64,
    /// Puts planned so far, per session.
    written: Vec<u64>,
    probes: Option<Probes>,
}

impl Workload {
    /// The load that experiments put on a cluster unless told otherwise: 500 operations a second of 64 sessions, three
    /// reads to two writes, most of which know what they overwrite.
    #[must_use]
    pub fn new(keys: Keys, seed: u64) -> Self {
        Self {
            sessions: 64,
            rate: 500.0,
            arrivals: Arrivals::Poisson,
            ramp: Duration::ZERO,
            warm_up: Duration::ZERO,
            preload: false,
            sessions_at: SessionsAt::Pinned,
            read_share: 0.6,
            delete_share: 0.03,
            insert_share: 0.0,
            context_share: 0.95,
            update: Basis::Read,
            value_bytes: ValueBytes::Name,
            levels: vec![(Level::One, 1.0), (Level::Quorum, 1.0)],
            write_level: None,
            probe: None,
            keys,
            seed,
        }
    }

    /// Checks the workload and begins its plan.
    ///
    /// # Errors
    /// The first setting that is out of range.
    pub fn plan(self) -> Result<Plan, WorkloadError> {
        if self.sessions == 0 {
            return Err(WorkloadError::NoSessions);
        }
        if self.probe.is_some() && self.sessions == 1 {
            return Err(WorkloadError::NoReader);
        }
        let is_closed = matches!(self.arrivals, Arrivals::Closed { .. });
        if is_closed && self.probe.is_some() {
            return Err(WorkloadError::ClosedProbe);
        }
        if is_closed && self.insert_share > 0.0 {
            return Err(WorkloadError::ClosedInserts);
        }
        if self.insert_share > 0.0 && !self.keys.can_grow() {
            return Err(WorkloadError::NoMoreKeys);
        }
        if !is_positive(self.rate) {
            return Err(WorkloadError::Rate(self.rate));
        }
        let shares = [
            ("share of reads", self.read_share),
            ("share of deletes", self.delete_share),
            ("share of inserts", self.insert_share),
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
        let seed = self.seed;
        Ok(Plan::begin(self, None, seed))
    }

    /// How long after the plan's start measuring begins.
    #[must_use]
    pub fn measured_after(&self) -> Duration {
        self.ramp + self.warm_up
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
        Some(if self.probes.is_some() { self.probe(intended) } else { self.mixed(intended) })
    }
}

impl Plan {
    /// `workload` was checked.
    fn begin(workload: Workload, only: Option<u32>, seed: u64) -> Self {
        let Workload { probe, sessions, .. } = workload;
        Self {
            only,
            rng: StdRng::seed_from_u64(seed),
            sizes: StdRng::seed_from_u64(seed ^ SIZES),
            planned: 0,
            elapsed: 0.0,
            written: vec![0; sessions as usize],
            probes: probe.map(|until| Probes::new(until, sessions, workload.keys.all(), seed)),
            workload,
        }
    }

    /// What was asked for.
    pub(crate) fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The plan of one session of a closed loop: what it asks depends on its number and the seed alone.
    pub(crate) fn of_session(&self, session: u32) -> Self {
        // One seed for each of 2^32 sessions, far from those of others.
        let seed = self.workload.seed ^ (u64::from(session) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self::begin(self.workload.clone(), Some(session), seed)
    }

    /// The keys to put before all else.
    pub(crate) fn preload(&self) -> Vec<String> {
        if self.workload.preload { self.workload.keys.all() } else { Vec::new() }
    }

    /// The size of one more value.
    pub(crate) fn value_bytes(&mut self) -> u32 {
        self.workload.value_bytes.choose(&mut self.sizes)
    }

    /// The keys inserted by then.
    pub(crate) fn inserted(&self, until: Duration) -> Vec<String> {
        if self.workload.insert_share == 0.0 {
            return Vec::new();
        }
        let known: BTreeSet<String> = self.workload.keys.all().into_iter().collect();
        let again = Self::begin(self.workload.clone(), None, self.workload.seed);
        let puts = again.take_while(|it| it.intended < until).filter(|it| it.kind == Kind::Put);
        puts.map(|it| it.key).filter(|key| !known.contains(key)).collect()
    }

    fn mixed(&mut self, intended: Duration) -> PlannedOperation {
        let drawn = self.rng.random_range(0..self.workload.sessions);
        let session = self.only.unwrap_or(drawn);
        let [kind, write, context, level] = [(); 4].map(|()| self.rng.random::<f64>());
        let key = self.workload.keys.choose(&mut self.rng).to_owned();
        let Workload { read_share, delete_share, insert_share, context_share, update, .. } = self.workload;
        let inserts = delete_share + (1.0 - delete_share) * insert_share;
        let (kind, key, basis) = if kind < read_share {
            (Kind::Get, key, Basis::Blind)
        } else if write < delete_share {
            (Kind::Delete, key, Basis::Read)
        } else if write < inserts {
            (Kind::Put, self.workload.keys.insert(), Basis::Blind)
        } else {
            (Kind::Put, key, if context < context_share { update } else { Basis::Blind })
        };
        self.operation(intended, session, kind, key, level, basis)
    }

    fn probe(&mut self, intended: Duration) -> PlannedOperation {
        let level = self.rng.random();
        let probes = self.probes.as_mut().expect("a plan of probes has them");
        let Probe { writer, key, then_read } = probes.next();
        let put = self.operation(intended, writer, Kind::Put, key, level, Basis::Known);
        PlannedOperation { then_read: Some(then_read), ..put }
    }

    /// An operation of which all is drawn, `level` as a number from 0 to 1.
    fn operation(
        &mut self,
        intended: Duration,
        session: u32,
        kind: Kind,
        key: String,
        level: f64,
        basis: Basis,
    ) -> PlannedOperation {
        let level = self.level(level);
        let write_level = self.workload.write_level.unwrap_or(level);
        let value = (kind == Kind::Put).then(|| {
            let written = &mut self.written[session as usize];
            *written += 1;
            format!("s{session}-{written}")
        });
        let value_bytes = if value.is_some() { self.value_bytes() } else { 0 };
        let then_read = None;
        PlannedOperation {
            intended,
            session,
            kind,
            key,
            level,
            write_level,
            basis,
            value,
            value_bytes,
            then_read,
        }
    }

    fn arrive(&mut self) -> Duration {
        // Drawn in any case, so that all arrivals plan the same operations.
        let draw: f64 = self.rng.random();
        self.elapsed = match self.workload.arrivals {
            Arrivals::Fixed => self.planned as f64 / self.workload.rate,
            Arrivals::Poisson => self.elapsed - libm::log1p(-draw) / self.workload.rate,
            Arrivals::Closed { .. } => return Duration::ZERO,
        };
        self.planned += 1;
        Duration::try_from_secs_f64(self.ramped(self.elapsed)).unwrap_or(Duration::MAX)
    }

    /// When as many operations are due with the ramp as would be due at `elapsed` without, both in seconds. Until its end
    /// the ramp lets half as many come.
    fn ramped(&self, elapsed: f64) -> f64 {
        let ramp = self.workload.ramp.as_secs_f64();
        if elapsed < ramp / 2.0 { libm::sqrt(2.0 * ramp * elapsed) } else { elapsed + ramp / 2.0 }
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
