//! The members of an experiment: starts them, waits until they know each other, crashes and restarts them as the scenario
//! says.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::wire::{MemberChange, MemberState};
use chinwag_client::{Client, ClusterSecret, CredentialError, SetupError};
use chinwag_fuzz_net::{ClockOffset, Host};
use chinwag_node::membership::{Name, NodeId, Preset, Ring};
use chinwag_node::{Activity, Config, Node, QueueLoad, Remains, Repaired, StartError};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

use super::divergence::Replicas;
use super::ground::Ground;
use super::legs::Followed;
use crate::beliefs::Life;
use crate::summary::{Exchange, Queue};

/// Members that do not all know each other by then never will.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What cluster to start.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// Who its members are and where keys live.
    pub shape: Shape,
    /// Mean time between two rounds of anti-entropy of one member; `None` switches them off.
    pub anti_entropy: Option<Duration>,
    /// Whether reads repair replicas that lag.
    pub read_repair: bool,
    /// Whether writes for unreachable replicas are kept for them.
    pub hinted_handoff: bool,
}

/// Who the members are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Those of a preset, with its ring and its keys.
    Preset(Preset),
    /// So many, named `node0` and so on, on an MD5 ring with the default settings.
    Members(u16),
}

impl Shape {
    /// The members' names.
    pub fn names(self) -> Vec<Name> {
        match self {
            Self::Preset(preset) => preset.members().into_iter().map(|(name, _)| name).collect(),
            Self::Members(count) => (0..count)
                .map(|i| Name::new(format!("node{i}")).expect("letters and digits make a name"))
                .collect(),
        }
    }

    /// The keys of each preference list that owns any of `keys`, as the members will place them.
    pub fn by_preference_list(self, keys: &[String]) -> Vec<Vec<String>> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let configs: Vec<Config> = self.names().iter().map(|name| self.config(name, anywhere)).collect();
        let Some(founding) = configs.first().map(|it| &it.founding) else { return Vec::new() };
        let tokens = configs.iter().map(|it| (it.name.id(), it.tokens.positions(&it.name)));
        let ring = Ring::build(founding.partitions, founding.n, tokens);
        let mut lists: BTreeMap<&[NodeId], Vec<String>> = BTreeMap::new();
        for key in keys {
            if let Ok(bytes) = founding.key_space.parse(key.as_bytes()) {
                let partition = founding.partitions.of(founding.partitioner.position(&bytes));
                lists.entry(ring.owners(partition)).or_default().push(key.clone());
            }
        }
        lists.into_values().collect()
    }

    fn config(self, name: &Name, listen: SocketAddr) -> Config {
        let config = Config::new(name.clone(), listen);
        match self {
            Self::Preset(preset) => {
                config.with_preset(preset).expect("the member's name is the preset's own")
            }
            Self::Members(_) => config,
        }
    }
}

/// The cluster could not be started, or a member of it not restarted.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A member's store could not be opened.
    #[error("cannot open the store of {member}: {source}")]
    Store {
        /// The member.
        member: String,
        /// Why.
        source: chinwag_node::storage::OpenError,
    },
    /// A member could not be started.
    #[error("cannot start {member}: {source}")]
    Start {
        /// The member.
        member: String,
        /// Why.
        source: Box<StartError>,
    },
    /// What a crashed member had stored could not be removed.
    #[error("cannot remove what {member} had stored: {source}")]
    Disk {
        /// The member.
        member: String,
        /// Why.
        source: io::Error,
    },
    /// The members did not find each other.
    #[error("the members did not all find each other within {} s; {member} knows only {known:?}", JOIN_TIMEOUT.as_secs())]
    Join {
        /// The first member that lacks others.
        member: String,
        /// Whom it knows to be alive.
        known: Vec<String>,
    },
    /// A scenario step names a member that is not in the state the step needs.
    #[error("{0} is not a member that can be {1} now")]
    NoSuchMember(String, &'static str),
    /// The client side could not be set up.
    #[error(transparent)]
    Client(#[from] SetupError),
    /// The client's credential could not be made.
    #[error(transparent)]
    Credential(#[from] CredentialError),
    /// The client's socket could not be opened.
    #[error("cannot open a socket for the clients: {0}")]
    Socket(#[from] io::Error),
}

/// A running cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    plan: ClusterPlan,
    ground: Ground,
    secret: ClusterSecret,
    rng: StdRng,
    members: BTreeMap<String, Member>,
    clients: BTreeMap<String, Client>,
    /// What members did before they crashed.
    past: BTreeMap<String, Activity>,
    /// What members learned of each other before they crashed.
    ended: Vec<EndedLife>,
    /// The fullest that queues of members were that crashed, by what they hold.
    queues: BTreeMap<&'static str, Queue>,
    /// Tasks that outlived a crash, by the member that crashed.
    survivors: BTreeMap<String, usize>,
    replicas: Replicas,
}

/// A life that ended in a crash.
#[derive(Debug)]
struct EndedLife {
    member: String,
    started: Started,
    until: Instant,
    changes: Vec<(Instant, MemberChange)>,
    repaired: Vec<Repaired>,
}

/// A member's start.
#[derive(Debug, Clone, Copy)]
struct Started {
    at: Instant,
    generation: u64,
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    started: Started,
    /// `None` while it is crashed. Those who look at it hold on to it no longer than a look takes.
    node: Option<Arc<Node>>,
}

impl Member {
    fn new(started_at: Instant, node: Node) -> Self {
        let address = node.address();
        let me = node.members().into_iter().find(|it| it.address == address);
        let started = Started { at: started_at, generation: me.map_or(0, |it| it.generation) };
        Self { address, started, node: Some(Arc::new(node)) }
    }
}

impl Cluster {
    /// Starts all members, the first being the gossip seed of the others, and waits until each knows all.
    ///
    /// `seed` decides the secret and all randomness of the members. After an error, members already started end with
    /// the runtime.
    pub(super) async fn start(plan: ClusterPlan, ground: Ground, seed: u64) -> Result<Self, ClusterError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let secret = ClusterSecret::from_bytes(rng.random());
        let mut cluster = Self {
            plan,
            ground,
            secret,
            rng,
            members: BTreeMap::new(),
            clients: BTreeMap::new(),
            past: BTreeMap::new(),
            ended: Vec::new(),
            queues: BTreeMap::new(),
            survivors: BTreeMap::new(),
            replicas: Replicas::default(),
        };
        for (number, name) in (0..).zip(cluster.plan.shape.names()) {
            let listen = cluster.ground.listen(number);
            let started = Instant::now();
            let node = cluster.start_member(&name, listen).await?;
            cluster.insert(name.as_str(), Member::new(started, node));
        }
        let addresses = cluster.members.iter().map(|(name, it)| (name, it.address));
        cluster.clients = cluster.ground.clients(&cluster.secret, addresses, &mut cluster.rng)?;
        cluster.wait_for_all().await?;
        Ok(cluster)
    }

    /// A client of each member, by its name.
    pub(super) fn clients(&self) -> &BTreeMap<String, Client> {
        &self.clients
    }

    /// What the members hold, for those who look.
    pub(super) fn replicas(&self) -> &Replicas {
        &self.replicas
    }

    /// What passes between the coordinators of operations and their replicas, for a history that begins at `zero`.
    pub(super) fn followed(&self, zero: Instant) -> Followed {
        let names = self.plan.shape.names().into_iter().map(|name| (name.id(), name)).collect();
        Followed { legs: self.ground.legs(), zero, names }
    }

    /// What the members have done in all their lives, by name.
    pub(super) fn activity(&self) -> BTreeMap<String, Activity> {
        let mut activity = self.past.clone();
        for (name, node) in self.running() {
            *activity.entry(name.clone()).or_default() += node.activity();
        }
        activity
    }

    /// The fullest that each kind of queue ever was, over all members and all their lives.
    pub(super) fn queues(&self) -> Vec<Queue> {
        let mut queues = self.queues.clone();
        for (name, node) in self.running() {
            note_queues(&mut queues, name, node.queues());
        }
        queues.into_values().collect()
    }

    /// How many tasks outlived a crash, by the member that crashed: none, unless something is broken.
    pub(super) fn survivors(&self) -> &BTreeMap<String, usize> {
        &self.survivors
    }

    /// What the members learned of each other in all their lives; times count from `start`.
    pub(super) fn lives(&self, start: Instant) -> Vec<Life> {
        let life =
            |member: &str, started: Started, until: Option<Instant>, changes: &[(Instant, MemberChange)]| {
                let after = |at: Instant| at.saturating_duration_since(start);
                Life {
                    member: member.to_owned(),
                    from: after(started.at),
                    until: until.map(after),
                    generation: started.generation,
                    changes: changes.iter().map(|(at, change)| (after(*at), change.clone())).collect(),
                }
            };
        let ended = self.ended.iter().map(|it| life(&it.member, it.started, Some(it.until), &it.changes));
        let running = self.members.iter().filter_map(|(name, member)| {
            Some(life(name, member.started, None, &member.node.as_ref()?.changes()))
        });
        ended.chain(running).collect()
    }

    /// The exchanges that changed what a member holds, in all their lives and in time order; times count from `start`.
    pub(super) fn exchanges(&self, start: Instant) -> Vec<Exchange> {
        let ended = self.ended.iter().map(|life| (&life.member, life.repaired.clone()));
        let running = self.running().map(|(name, node)| (name, node.repaired()));
        let exchange = |member: &str, Repaired { at, with, partition, keys }| {
            let at = at.saturating_duration_since(start).as_nanos();
            let at = u64::try_from(at).unwrap_or(u64::MAX);
            Exchange { at, member: member.to_owned(), with, partition, keys }
        };
        let all = ended.chain(running);
        let mut exchanges: Vec<Exchange> =
            all.flat_map(|(member, repaired)| repaired.into_iter().map(|it| exchange(member, it))).collect();
        exchanges.sort();
        exchanges
    }

    /// Members that are believed to be anything but alive by a running one, as (who, of whom).
    pub(super) fn doubts(&self) -> Vec<(String, String)> {
        let alive = |node: &Node, name: &String| {
            node.members().iter().any(|it| it.name == *name && it.state == MemberState::Alive)
        };
        let pairs =
            self.running().flat_map(|(who, node)| self.running().map(move |(whom, _)| (who, node, whom)));
        pairs
            .filter(|(_, node, whom)| !alive(node, whom))
            .map(|(who, _, whom)| (who.clone(), whom.clone()))
            .collect()
    }

    /// Hints that members keep though they believe the one they are for alive, by who keeps them.
    pub(super) fn hints_due(&self) -> BTreeMap<String, u64> {
        let due = self.running().map(|(name, node)| (name.clone(), node.hints_due()));
        due.filter(|(_, hints)| *hints > 0).collect()
    }

    /// Waits until no hint is due, and no longer than until `deadline`.
    pub(super) async fn wait_for_hints(&self, deadline: Instant) {
        while !self.hints_due().is_empty() && Instant::now() < deadline {
            sleep(POLL).await;
        }
    }

    /// Deleted keys that members still have a record of, by who has them.
    pub(super) fn tombstones(&self) -> BTreeMap<String, u64> {
        self.running().map(|(name, node)| (name.clone(), node.tombstones())).collect()
    }

    /// What is wrong with members' trees, by member, in words.
    pub(super) fn wrong_trees(&self) -> BTreeMap<String, String> {
        let wrong = |(name, node): (&String, &Node)| {
            let what = match node.wrong_trees() {
                Ok(partitions) if partitions.is_empty() => return None,
                Ok(partitions) => format!("differ from its records in partitions {partitions:?}"),
                Err(error) => format!("cannot be compared with its records: {error}"),
            };
            Some((name.clone(), what))
        };
        self.running().filter_map(wrong).collect()
    }

    /// The hash over everything that crossed a simulated network.
    pub(super) fn trace_hash(&self) -> Option<String> {
        self.ground.trace_hash()
    }

    /// Stops all members gracefully. Returns how many tasks of a simulation run on all the same, by whose they are: none,
    /// unless something is broken.
    pub(super) async fn shutdown(self) -> BTreeMap<String, usize> {
        for client in self.clients.values() {
            client.close().await;
        }
        for (name, member) in self.members {
            if let Some(node) = member.node
                && let Err(error) = sole(node).shutdown().await
            {
                tracing::warn!(%name, %error, "a member did not stop cleanly");
            }
        }
        drop(self.clients);
        self.ground.tasks_left().await
    }

    fn running(&self) -> impl Iterator<Item = (&String, &Node)> {
        self.members.iter().filter_map(|(name, it)| Some((name, it.node.as_deref()?)))
    }

    fn insert(&mut self, name: &str, member: Member) {
        if let Some(node) = &member.node {
            self.replicas.up(name, node);
        }
        self.members.insert(name.to_owned(), member);
    }

    async fn start_member(&mut self, name: &Name, listen: SocketAddr) -> Result<Node, ClusterError> {
        let parts = self.ground.parts(name.as_str(), &mut self.rng)?;
        let seed = self.members.iter().find(|(other, _)| *other != name.as_str()).map(|(_, it)| it.address);
        let config = Config {
            seeds: seed.into_iter().collect(),
            gossip_listen: self.ground.gossip_listen(listen),
            anti_entropy: self.plan.anti_entropy,
            read_repair: self.plan.read_repair,
            hinted_handoff: self.plan.hinted_handoff,
            ..self.plan.shape.config(name, listen)
        };
        Node::start(config, &self.secret, parts)
            .await
            .map_err(|source| ClusterError::Start { member: name.to_string(), source: Box::new(source) })
    }

    async fn wait_for_all(&self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            let doubts = self.doubts();
            let Some((member, _)) = doubts.first() else { return Ok(()) };
            if Instant::now() > deadline {
                let doubted =
                    |name: &&String| doubts.iter().any(|(who, whom)| who == member && whom == *name);
                let known = self.members.keys().filter(|name| !doubted(name)).cloned().collect();
                return Err(ClusterError::Join { member: member.clone(), known });
            }
            sleep(POLL).await;
        }
    }
}

/// The member itself, to be stopped.
fn sole(node: Arc<Node>) -> Node {
    Arc::into_inner(node).expect("who looks at a member lets go of it before anything else happens")
}

/// Keeps the fullest of each kind.
fn note_queues(queues: &mut BTreeMap<&'static str, Queue>, member: &str, loads: Vec<QueueLoad>) {
    for load in loads {
        let queue = queues.entry(load.name).or_insert_with(|| Queue::new(load, member));
        if queue.high_water < load.high_water {
            *queue = Queue::new(load, member);
        }
    }
}

impl Host for Cluster {
    type Error = ClusterError;

    async fn crash(&mut self, node: &str) -> Result<(), ClusterError> {
        let member = self.members.get_mut(node);
        let running = member.and_then(|it| Some((it.started, it.node.take()?)));
        let (started, running) =
            running.ok_or_else(|| ClusterError::NoSuchMember(node.to_owned(), "crashed"))?;
        let address = running.address();
        let (until, changes, repaired) = (Instant::now(), running.changes(), running.repaired());
        self.ended.push(EndedLife { member: node.to_owned(), started, until, changes, repaired });
        self.replicas.down(node);
        self.ground.resume(node);
        let Remains { activity, queues, tasks } = sole(running).crash().await;
        *self.past.entry(node.to_owned()).or_default() += activity;
        note_queues(&mut self.queues, node, queues);
        if tasks > 0 {
            *self.survivors.entry(node.to_owned()).or_default() += tasks;
        }
        self.ground.bury(node, address).await;
        Ok(())
    }

    async fn lose_disk(&mut self, node: &str) -> Result<(), ClusterError> {
        if self.members.get(node).is_none_or(|it| it.node.is_some()) {
            return Err(ClusterError::NoSuchMember(node.to_owned(), "robbed of its disk"));
        }
        self.replicas.wiped(node);
        self.ground.lose_disk(node)
    }

    async fn set_clock(&mut self, node: &str, offset: ClockOffset) -> Result<(), ClusterError> {
        self.ground.set_clock(node, offset);
        Ok(())
    }

    fn pause(&mut self, node: &str, lasting: Duration) {
        self.ground.pause(node, lasting);
    }

    async fn restart(&mut self, node: &str) -> Result<(), ClusterError> {
        let unfit = || ClusterError::NoSuchMember(node.to_owned(), "restarted");
        let name = Name::new(node).map_err(|_no_name| unfit())?;
        let address = self.members.get(node).filter(|it| it.node.is_none()).ok_or_else(unfit)?.address;
        let started = Instant::now();
        let restarted = self.start_member(&name, address).await?;
        self.insert(node, Member::new(started, restarted));
        Ok(())
    }
}
