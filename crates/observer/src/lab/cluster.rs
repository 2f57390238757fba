//! The members of an experiment: each with real sockets behind faulty ones and a directory of its own, in one process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use chinwag_client::wire::MemberState;
use chinwag_client::{Client, ClusterSecret, Credential, CredentialError, Role, SetupError, Tls};
use chinwag_fuzz_net::{ClockOffset, FaultTable, FaultySocket, Host};
use chinwag_node::membership::{Name, Preset};
use chinwag_node::storage::{DiskEngine, DiskOptions};
use chinwag_node::{Config, Node, Parts, SocketFactory, StartError, UdpSockets, WallClock};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep};

/// Members that do not all know each other by then never will.
const JOIN_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// What cluster to start.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// The preset that names the members and places their keys.
    pub preset: Preset,
    /// Where the members' directories are made, one each.
    pub directory: PathBuf,
    /// Mean time between two rounds of anti-entropy of one member.
    pub anti_entropy: Duration,
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
pub struct Cluster {
    plan: ClusterPlan,
    secret: ClusterSecret,
    table: FaultTable,
    clock: Arc<dyn WallClock>,
    /// The members' own, by name: right unless the scenario sets them wrong.
    clocks: BTreeMap<String, Arc<SkewedClock>>,
    rng: StdRng,
    members: BTreeMap<String, Member>,
    clients: BTreeMap<String, Client>,
}

#[derive(Debug)]
struct Member {
    address: SocketAddr,
    /// `None` while it is crashed.
    node: Option<Node>,
}

/// Opens a member's sockets behind the experiment's faults.
#[derive(Debug)]
struct FaultySockets {
    member: String,
    table: FaultTable,
}

impl SocketFactory for FaultySockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Ok(FaultySocket::wrap(UdpSockets.bind(address)?, &self.table, &self.member)?)
    }
}

/// A member's wall clock, which may be wrong.
#[derive(Debug)]
struct SkewedClock {
    true_time: Arc<dyn WallClock>,
    offset_nanos: AtomicI64,
}

impl WallClock for SkewedClock {
    fn now(&self) -> Duration {
        ClockOffset::from_nanos(self.offset_nanos.load(Relaxed)).applied_to(self.true_time.now())
    }
}

impl Cluster {
    /// Starts all members, the first being the gossip seed of the others, and waits until each knows all.
    ///
    /// `seed` decides the secret and all randomness of the members.
    ///
    /// # Errors
    /// [`ClusterError`]; members already started are dropped with the runtime.
    pub async fn start(
        plan: ClusterPlan,
        table: FaultTable,
        clock: Arc<dyn WallClock>,
        seed: u64,
    ) -> Result<Self, ClusterError> {
        let mut rng = StdRng::seed_from_u64(seed);
        let secret = ClusterSecret::from_bytes(rng.random());
        let mut cluster = Self {
            plan,
            secret,
            table,
            clock,
            clocks: BTreeMap::new(),
            rng,
            members: BTreeMap::new(),
            clients: BTreeMap::new(),
        };
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for (name, _) in cluster.plan.preset.members() {
            let node = cluster.start_member(&name, anywhere).await?;
            let address = node.address();
            cluster.members.insert(name.to_string(), Member { address, node: Some(node) });
        }
        cluster.connect_clients()?;
        cluster.wait_for_all().await?;
        Ok(cluster)
    }

    /// A client of each member, by its name; all share one socket.
    pub fn clients(&self) -> &BTreeMap<String, Client> {
        &self.clients
    }

    /// What the running members have done, by name.
    pub fn activity(&self) -> BTreeMap<String, chinwag_node::Activity> {
        let running = self.members.iter().filter_map(|(name, it)| Some((name, it.node.as_ref()?)));
        running.map(|(name, node)| (name.clone(), node.activity())).collect()
    }

    /// Stops all members gracefully.
    pub async fn shutdown(self) {
        for client in self.clients.values() {
            client.close().await;
        }
        for (name, member) in self.members {
            if let Some(node) = member.node
                && let Err(error) = node.shutdown().await
            {
                tracing::warn!(%name, %error, "a member did not stop cleanly");
            }
        }
    }

    async fn start_member(&mut self, name: &Name, listen: SocketAddr) -> Result<Node, ClusterError> {
        let member = name.to_string();
        let start_error = |source| ClusterError::Start { member: name.to_string(), source: Box::new(source) };
        let directory = self.plan.directory.join(name.as_str());
        let engine = DiskEngine::open(&directory, DiskOptions::default())
            .map_err(|source| ClusterError::Store { member: member.clone(), source })?;
        let parts = Parts {
            sockets: Arc::new(FaultySockets { member: member.clone(), table: self.table.clone() }),
            runtime: Arc::new(quinn::TokioRuntime),
            clock: self.clock_of(&member),
            tls: Tls::default(),
            engine: Arc::new(engine),
            seed: self.rng.random(),
        };
        let preset = Config::new(name.clone(), listen).with_preset(self.plan.preset);
        let config = preset.expect("the member's name is the preset's own");
        let seed = self.members.iter().find(|(other, _)| **other != member).map(|(_, it)| it.address);
        let config = Config {
            seeds: seed.into_iter().collect(),
            anti_entropy: Some(self.plan.anti_entropy),
            ..config
        };
        Node::start(config, &self.secret, parts).await.map_err(start_error)
    }

    fn clock_of(&mut self, member: &str) -> Arc<SkewedClock> {
        let right =
            || Arc::new(SkewedClock { true_time: self.clock.clone(), offset_nanos: AtomicI64::new(0) });
        self.clocks.entry(member.to_owned()).or_insert_with(right).clone()
    }

    fn connect_clients(&mut self) -> Result<(), ClusterError> {
        let credential = Credential::mint(&self.secret, Role::Client, self.rng.random(), self.clock.now())?;
        let endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        for (name, member) in &self.members {
            let client = Client::with_endpoint(endpoint.clone(), &[member.address], &credential)?;
            self.clients.insert(name.clone(), client);
        }
        Ok(())
    }

    async fn wait_for_all(&self) -> Result<(), ClusterError> {
        let deadline = Instant::now() + JOIN_TIMEOUT;
        loop {
            let lacking = self.members.iter().find_map(|(name, member)| {
                let infos = member.node.as_ref()?.members();
                let alive = infos.into_iter().filter(|it| it.state == MemberState::Alive);
                let known: Vec<String> = alive.map(|it| it.name).collect();
                (known.len() < self.members.len()).then(|| (name.clone(), known))
            });
            match lacking {
                None => return Ok(()),
                Some((member, known)) if Instant::now() > deadline => {
                    return Err(ClusterError::Join { member, known });
                }
                Some(_) => sleep(POLL).await,
            }
        }
    }
}

impl Host for Cluster {
    type Error = ClusterError;

    async fn crash(&mut self, node: &str) -> Result<(), ClusterError> {
        let running = self.members.get_mut(node).and_then(|it| it.node.take());
        let running = running.ok_or_else(|| ClusterError::NoSuchMember(node.to_owned(), "crashed"))?;
        let addresses = [running.address(), running.gossip_address()];
        running.crash().await;
        // QUIC's tasks let go of the sockets a moment later; a restart needs the same ports.
        let free = |address: &SocketAddr| std::net::UdpSocket::bind(address).is_ok();
        while !addresses.iter().all(free) {
            sleep(POLL).await;
        }
        Ok(())
    }

    async fn lose_disk(&mut self, node: &str) -> Result<(), ClusterError> {
        if self.members.get(node).is_none_or(|it| it.node.is_some()) {
            return Err(ClusterError::NoSuchMember(node.to_owned(), "robbed of its disk"));
        }
        fs::remove_dir_all(self.plan.directory.join(node))
            .map_err(|source| ClusterError::Disk { member: node.to_owned(), source })
    }

    async fn set_clock(&mut self, node: &str, offset: ClockOffset) -> Result<(), ClusterError> {
        self.clock_of(node).offset_nanos.store(offset.as_nanos(), Relaxed);
        Ok(())
    }

    async fn restart(&mut self, node: &str) -> Result<(), ClusterError> {
        let unfit = || ClusterError::NoSuchMember(node.to_owned(), "restarted");
        let name = Name::new(node).map_err(|_no_name| unfit())?;
        let address = self.members.get(node).filter(|it| it.node.is_none()).ok_or_else(unfit)?.address;
        let restarted = self.start_member(&name, address).await?;
        self.members.insert(node.to_owned(), Member { address, node: Some(restarted) });
        Ok(())
    }
}
