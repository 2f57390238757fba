//! Divergence over time: looks at regular moments at what members hold, past the network and past their requests, and
//! counts the keys whose owners do not hold the same. Refuses to send anything, so a run is the same with it as without.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use chinwag_client::wire::WireDot;
use chinwag_node::Node;
use tokio::time::Instant;

use super::experiment::Home;
use crate::summary::{Divergence, DivergenceSample};

/// How often the replicas are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// The replicas of a cluster, shared by who starts and stops them and who looks at them.
#[derive(Debug, Clone, Default)]
pub(super) struct Replicas(Arc<Mutex<Looked>>);

#[derive(Debug, Default)]
struct Looked {
    homes: BTreeMap<String, Home>,
    members: BTreeMap<String, Replica>,
}

/// What there is to see of a member.
#[derive(Debug)]
enum Replica {
    Running(Weak<Node>),
    /// The disk of one that crashed, as it was then.
    Down(BTreeMap<String, BTreeSet<WireDot>>),
}

impl Replica {
    /// The versions of a key, none if it is deleted. A record that cannot be read is as good as none.
    fn versions(&self, key: &str) -> BTreeSet<WireDot> {
        let versions = match self {
            Self::Running(node) => node.upgrade().and_then(|node| node.versions(key).ok()),
            Self::Down(disk) => disk.get(key).cloned(),
        };
        versions.unwrap_or_default()
    }
}

impl Replicas {
    /// Says which keys are looked at, and who owns them.
    pub(super) fn watch(&self, homes: &BTreeMap<String, Home>) {
        self.lock().homes.clone_from(homes);
    }

    /// A member was started.
    pub(super) fn up(&self, member: &str, node: &Arc<Node>) {
        self.lock().members.insert(member.to_owned(), Replica::Running(Arc::downgrade(node)));
    }

    /// A member is about to crash: what it holds stays as it is until it is started again.
    pub(super) fn down(&self, member: &str) {
        let Looked { homes, members } = &mut *self.lock();
        if let Some(replica) = members.get_mut(member) {
            *replica = Replica::Down(homes.keys().map(|key| (key.clone(), replica.versions(key))).collect());
        }
    }

    /// A member that is down has lost its disk.
    pub(super) fn wiped(&self, member: &str) {
        self.lock().members.insert(member.to_owned(), Replica::Down(BTreeMap::new()));
    }

    /// How many keys are not held alike by all their owners.
    fn differing(&self) -> u64 {
        let Looked { homes, members } = &*self.lock();
        let differs = |(key, home): &(&String, &Home)| {
            let mut held = home.owners.iter().map(|it| members.get(it).map(|it| it.versions(key)));
            let first = held.next();
            held.any(|it| first.as_ref() != Some(&it))
        };
        homes.iter().filter(differs).count() as u64
    }

    fn lock(&self) -> MutexGuard<'_, Looked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks at the replicas of a run when it is time to.
#[derive(Debug)]
pub(super) struct Sampling {
    replicas: Replicas,
    start: Instant,
    next: Duration,
    samples: Vec<DivergenceSample>,
}

impl Sampling {
    pub(super) fn new(replicas: Replicas, start: Instant) -> Self {
        Self { replicas, start, next: Duration::ZERO, samples: Vec::new() }
    }

    /// Looks if it is time to. A look that was missed is not made up for.
    pub(super) fn tick(&mut self) {
        let elapsed = self.start.elapsed();
        if elapsed >= self.next {
            self.look();
            while self.next <= elapsed {
                self.next += INTERVAL;
            }
        }
    }

    /// Looks once more, and gives all that was seen.
    pub(super) fn end(mut self) -> Divergence {
        self.look();
        let keys = self.replicas.lock().homes.len() as u64;
        Divergence { keys, samples: self.samples }
    }

    fn look(&mut self) {
        let at_ms = self.start.elapsed().as_secs_f64() * 1000.0;
        self.samples.push(DivergenceSample { at_ms, differing: self.replicas.differing() });
    }
}
