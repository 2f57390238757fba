//! Starts members and clients of them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chinwag_client::wire::MemberState;
use chinwag_client::{Client, ClusterSecret, Credential, Role, Tls};
use chinwag_node::membership::{Copies, Name};
use chinwag_node::storage::Engine;
use chinwag_node::{Config, Node, Parts, UdpSockets, WallClock};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use tokio::time::{Instant, sleep};

/// What a test waits for takes milliseconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct FixedClock;

impl WallClock for FixedClock {
    fn now(&self) -> Duration {
        Duration::from_secs(1_800_000_000)
    }
}

/// A clock that is set by hand, and starts with the others.
#[derive(Debug)]
pub(crate) struct HandClock(AtomicU64);

impl HandClock {
    /// So many milliseconds off.
    pub(crate) fn off_by(millis: i64) -> Arc<Self> {
        let clock = Self(AtomicU64::new(FixedClock.now().as_millis().try_into().unwrap()));
        clock.0.store(clock.0.load(Ordering::Relaxed).checked_add_signed(millis).unwrap(), Ordering::Relaxed);
        Arc::new(clock)
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }
}

impl WallClock for HandClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl TimeProvider for FixedClock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(WallClock::now(self)))
    }
}

pub(crate) fn tls() -> Tls {
    Tls { time: Arc::new(FixedClock), ..Tls::default() }
}

pub(crate) fn wall_time() -> Duration {
    FixedClock.now()
}

pub(crate) fn secret() -> ClusterSecret {
    ClusterSecret::from_bytes([5; 32])
}

/// A member's settings with nothing going on in the background.
pub(crate) fn quiet(name: &str, n: u8, seeds: &[&Node]) -> Config {
    let mut config = Config::new(Name::new(name).unwrap(), SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.founding.n = Copies::new(n).unwrap();
    config.seeds = seeds.iter().map(|it| it.address()).collect();
    config.anti_entropy = None;
    config
}

pub(crate) async fn start(config: Config, engine: Arc<dyn Engine>) -> Node {
    start_at(config, engine, Arc::new(FixedClock)).await
}

/// The same with a clock of its own.
pub(crate) async fn start_at(config: Config, engine: Arc<dyn Engine>, clock: Arc<dyn WallClock>) -> Node {
    let mut seed = [0; 32];
    seed[..config.name.as_str().len()].copy_from_slice(config.name.as_str().as_bytes());
    let parts = Parts { seed, clock, ..parts_on(engine) };
    Node::start(config, &secret(), parts).await.unwrap()
}

pub(crate) fn parts_on(engine: Arc<dyn Engine>) -> Parts {
    Parts {
        sockets: Arc::new(UdpSockets),
        runtime: Arc::new(quinn::TokioRuntime),
        clock: Arc::new(FixedClock),
        tls: tls(),
        engine,
        seed: [1; 32],
        witness: None,
    }
}

pub(crate) fn client(node: &Node) -> Client {
    let credential = Credential::mint(&secret(), Role::Client, [9; 32], FixedClock.now()).unwrap();
    Client::new(&[node.address()], &credential.with_tls(tls())).unwrap()
}

/// Waits until every member believes every other alive.
pub(crate) async fn acquainted(nodes: &[&Node]) {
    let alive = |node: &Node| {
        let members = node.members();
        members.iter().filter(|it| it.state == MemberState::Alive).count() == nodes.len()
    };
    until("the members know each other", || nodes.iter().all(|node| alive(node))).await;
}

pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
