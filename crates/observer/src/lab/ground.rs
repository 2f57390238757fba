//! Where an experiment's members live: on this machine's sockets and disks behind injected faults, or on a simulated
//! network with disks in memory. The members' code is the same; what they are handed differs, and only here.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use chinwag_client::ids::{SeededIds, first_ids};
use chinwag_client::{Client, ClusterSecret, Credential, Role, Tls, client, pinned};
use chinwag_fuzz_net::{ClockOffset, FaultTable, FaultySocket, SimNet, SimRuntime, SimSocket};
use chinwag_node::storage::{DiskEngine, DiskOptions, Engine, MemoryEngine};
use chinwag_node::{Parts, SocketFactory, UdpSockets, WallClock};
use rand::RngExt as _;
use rand::rngs::StdRng;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::cluster::ClusterError;
use super::legs::Legs;

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);
/// A port that is not free by then was taken by somebody else; the restart says so.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// Tasks that have not ended this long after all members stopped never will. QUIC remembers a closed connection for three
/// times its probe timeout, which a pause of half a minute makes several minutes long.
const END_TIMEOUT: Duration = Duration::from_secs(3600);
/// How often the end of all tasks is looked for.
const END_POLL: Duration = Duration::from_secs(1);
/// The wall time at which every simulation begins.
const SIMULATED_START: Duration = Duration::from_secs(1_800_000_000);
/// Where a simulated member takes clients and members.
const SIMULATED_PORT: u16 = 7000;
/// Where it takes gossip: at the same port in every life, which is the harder case for those who knew the former one.
const SIMULATED_GOSSIP_PORT: u16 = 7100;

/// Where members live.
#[derive(Debug)]
pub(super) struct Ground {
    kind: Kind,
    table: FaultTable,
    true_time: Arc<dyn WallClock>,
    /// The members' own clocks, by name: right unless the scenario sets them wrong.
    clocks: BTreeMap<String, Arc<SkewedClock>>,
    /// What passes between members, as they tell it.
    legs: Arc<Legs>,
    /// Has the last word on what members are handed: tests break a mechanism with it.
    #[cfg(test)]
    pub(super) tamper: Tamper,
}

/// Changes what the member of a name is handed.
#[cfg(test)]
pub(super) struct Tamper(pub(super) Box<Change>);

#[cfg(test)]
pub(super) type Change = dyn Fn(&str, Parts) -> Parts + Send + Sync;

#[cfg(test)]
impl Default for Tamper {
    fn default() -> Self {
        Self(Box::new(|_, parts| parts))
    }
}

#[cfg(test)]
impl std::fmt::Debug for Tamper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tamper")
    }
}

#[derive(Debug)]
enum Kind {
    Live {
        directory: PathBuf,
    },
    Simulated {
        net: SimNet,
        runtime: SimRuntime,
        disks: BTreeMap<String, Arc<MemoryEngine>>,
        /// Tasks of the ambient runtime that are not the simulation's.
        tasks_before: usize,
    },
}

impl Ground {
    /// On this machine, each member with a directory of its own below `directory`.
    pub(super) fn live(table: FaultTable, directory: PathBuf, true_time: Arc<dyn WallClock>) -> Self {
        Self::new(Kind::Live { directory }, table, true_time)
    }

    /// On a simulated network. The ambient runtime's clock must be paused.
    pub(super) fn simulated(table: FaultTable) -> Self {
        let tasks_before = Handle::current().metrics().num_alive_tasks();
        let net = SimNet::new(table.clone());
        let kind = Kind::Simulated { net, runtime: SimRuntime::new(), disks: BTreeMap::new(), tasks_before };
        let true_time = Arc::new(SimulatedTime(Instant::now()));
        Self::new(kind, table, true_time)
    }

    fn new(kind: Kind, table: FaultTable, true_time: Arc<dyn WallClock>) -> Self {
        Self {
            kind,
            table,
            true_time,
            clocks: BTreeMap::new(),
            legs: Arc::default(),
            #[cfg(test)]
            tamper: Tamper::default(),
        }
    }

    /// Where the member with this number is to listen.
    pub(super) fn listen(&self, number: u16) -> SocketAddr {
        match self.kind {
            Kind::Live { .. } => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            Kind::Simulated { .. } => {
                let [high, low] = (number + 1).to_be_bytes();
                SocketAddr::from((Ipv4Addr::new(10, 0, high, low), SIMULATED_PORT))
            }
        }
    }

    /// Where the member that listens at `listen` is to take gossip.
    pub(super) fn gossip_listen(&self, listen: SocketAddr) -> Option<SocketAddr> {
        match self.kind {
            Kind::Live { .. } => None,
            Kind::Simulated { .. } => Some(SocketAddr::new(listen.ip(), SIMULATED_GOSSIP_PORT)),
        }
    }

    /// What a member is handed at a start.
    pub(super) fn parts(&mut self, member: &str, rng: &mut StdRng) -> Result<Parts, ClusterError> {
        let seed = rng.random();
        let clock = self.clock_of(member);
        let (sockets, runtime, tls, engine): (Arc<dyn SocketFactory>, Arc<dyn quinn::Runtime>, _, _) =
            match &mut self.kind {
                Kind::Live { directory } => {
                    let engine: Arc<dyn Engine> = Arc::new(
                        DiskEngine::open(directory.join(member), DiskOptions::default())
                            .map_err(|source| ClusterError::Store { member: member.to_owned(), source })?,
                    );
                    let sockets = LiveSockets { member: member.to_owned(), table: self.table.clone() };
                    (Arc::new(sockets), Arc::new(quinn::TokioRuntime), Tls::default(), engine)
                }
                Kind::Simulated { net, runtime, disks, .. } => {
                    // What the last process wrote is there, and its handle writes no more.
                    let disk = Arc::new(disks.get(member).map_or_else(MemoryEngine::new, |it| it.reopen()));
                    disks.insert(member.to_owned(), disk.clone());
                    let sockets = SimulatedSockets { member: member.to_owned(), net: net.clone() };
                    let tls = pinned::tls(rng.random(), SIMULATED_START);
                    (Arc::new(sockets), runtime.for_node(member), tls, disk)
                }
            };
        let parts = Parts { sockets, runtime, clock, tls, engine, seed, witness: Some(self.legs.clone()) };
        #[cfg(test)]
        let parts = (self.tamper.0)(member, parts);
        Ok(parts)
    }

    /// Clients of the members at `addresses`, by name, on one socket.
    pub(super) fn clients<'a>(
        &self,
        secret: &ClusterSecret,
        addresses: impl Iterator<Item = (&'a String, SocketAddr)>,
        rng: &mut StdRng,
    ) -> Result<BTreeMap<String, Client>, ClusterError> {
        let credential = Credential::mint(secret, Role::Client, rng.random(), self.true_time.now())?;
        let (endpoint, credential) = match &self.kind {
            Kind::Live { .. } => {
                (quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?, credential)
            }
            Kind::Simulated { net, runtime, .. } => {
                let socket =
                    net.bind_client(SocketAddr::from((Ipv4Addr::new(10, 255, 0, 1), SIMULATED_PORT)))?;
                let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &rng.random::<[u8; 32]>());
                let mut config = quinn::EndpointConfig::new(Arc::new(reset_key));
                config.rng_seed(Some(rng.random())).cid_generator(SeededIds::factory(rng));
                let runtime = runtime.for_node("clients");
                let endpoint = quinn::Endpoint::new_with_abstract_socket(config, None, socket, runtime)?;
                (endpoint, credential.with_tls(pinned::tls(rng.random(), SIMULATED_START)))
            }
        };
        let client = |(name, address): (&String, SocketAddr)| {
            let mut config = client::quic_config(&credential)?;
            config.initial_dst_cid_provider(first_ids(rng));
            Ok((name.clone(), Client::with_quic(endpoint.clone(), config, &[address])?))
        };
        addresses.map(client).collect()
    }

    /// Makes sure that nothing is left of a member that crashed: no task, no socket.
    pub(super) async fn bury(&self, member: &str, address: SocketAddr) {
        match &self.kind {
            Kind::Live { .. } => {
                // QUIC's tasks let go of the socket a moment later; a restart needs the same port.
                let deadline = Instant::now() + RELEASE_TIMEOUT;
                while std::net::UdpSocket::bind(address).is_err() && Instant::now() < deadline {
                    sleep(POLL).await;
                }
            }
            Kind::Simulated { net, runtime, .. } => {
                runtime.kill(member);
                net.close_sockets(member);
            }
        }
    }

    /// Stops all that a member does for this long, timers included. On real sockets its packets wait, which the fault table
    /// sees to, and the member itself goes on: it shares this process with the others.
    pub(super) fn pause(&self, member: &str, lasting: Duration) {
        if let Kind::Simulated { runtime, .. } = &self.kind {
            runtime.pause(member, lasting);
        }
    }

    /// Ends a member's pauses.
    pub(super) fn resume(&self, member: &str) {
        if let Kind::Simulated { runtime, .. } = &self.kind {
            runtime.resume(member);
        }
    }

    /// Waits until all tasks of a simulation have ended, members and clients having been stopped; after a while gives those
    /// that go on, by whose they are: the empty name is of those that nobody answers for.
    pub(super) async fn tasks_left(self) -> BTreeMap<String, usize> {
        let Kind::Simulated { net, runtime, tasks_before, .. } = self.kind else { return BTreeMap::new() };
        drop(net);
        let deadline = Instant::now() + END_TIMEOUT;
        let alive = || Handle::current().metrics().num_alive_tasks().saturating_sub(tasks_before);
        while alive() > 0 && Instant::now() < deadline {
            sleep(END_POLL).await;
        }
        let mut left = runtime.tasks_alive();
        let strays = alive().saturating_sub(left.values().sum());
        if strays > 0 {
            left.insert(String::new(), strays);
        }
        left
    }

    /// Removes what a crashed member had stored.
    pub(super) fn lose_disk(&mut self, member: &str) -> Result<(), ClusterError> {
        match &mut self.kind {
            Kind::Live { directory } => std::fs::remove_dir_all(directory.join(member))
                .map_err(|source| ClusterError::Disk { member: member.to_owned(), source }),
            Kind::Simulated { disks, .. } => {
                disks.remove(member);
                Ok(())
            }
        }
    }

    /// What has passed between members.
    pub(super) fn legs(&self) -> Arc<Legs> {
        self.legs.clone()
    }

    pub(super) fn set_clock(&mut self, member: &str, offset: ClockOffset) {
        self.clock_of(member).offset_nanos.store(offset.as_nanos(), Relaxed);
    }

    /// The hash over everything that crossed a simulated network.
    pub(super) fn trace_hash(&self) -> Option<String> {
        match &self.kind {
            Kind::Live { .. } => None,
            Kind::Simulated { net, .. } => Some(net.trace_hash()),
        }
    }

    fn clock_of(&mut self, member: &str) -> Arc<SkewedClock> {
        let right =
            || Arc::new(SkewedClock { true_time: self.true_time.clone(), offset_nanos: AtomicI64::new(0) });
        self.clocks.entry(member.to_owned()).or_insert_with(right).clone()
    }
}

/// Opens a member's sockets behind the experiment's faults.
#[derive(Debug)]
struct LiveSockets {
    member: String,
    table: FaultTable,
}

impl SocketFactory for LiveSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        Ok(FaultySocket::wrap(UdpSockets.bind(address)?, &self.table, &self.member)?)
    }
}

/// Opens a member's sockets on the simulated network.
#[derive(Debug)]
struct SimulatedSockets {
    member: String,
    net: SimNet,
}

impl SocketFactory for SimulatedSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        let socket: Arc<SimSocket> = self.net.bind(address, &self.member)?;
        Ok(socket)
    }
}

/// Wall time that follows the paused clock.
#[derive(Debug)]
struct SimulatedTime(Instant);

impl WallClock for SimulatedTime {
    fn now(&self) -> Duration {
        SIMULATED_START + self.0.elapsed()
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
