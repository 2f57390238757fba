//! Clusters of QUIC endpoints on a simulated network: the same seed gives the same bytes, whatever happens to them.

use crate::pinned::{SERVER_NAME, Seeded, configs};
use chinwag_fuzz_net::{
    ClockOffset, FaultTable, Host, LinkReport, Scenario, SimNet, SimRuntime, SimStats, play,
};
use quinn::{Connection, Endpoint, TransportConfig};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const MS: fn(u64) -> Duration = Duration::from_millis;

const NODES: u64 = 4;

const HOSTILE: &str = "
    name = 'hostile'
    duration = '12s'
    [links]
    latency = { log_normal = { median = '3ms', sigma = 0.6, cap = '50ms' } }
    drop = 0.01
    duplicate = 0.02
    corrupt = 0.02
    [[step]]
    at = '2s'
    crash = 'node1'
    [[step]]
    at = '3s'
    restart = 'node1'
    [[step]]
    at = '4s'
    partition = [['node0', 'node1'], ['node2', 'node3']]
    [[step]]
    at = '6s'
    heal = true
    [[step]]
    at = '7s'
    pause = { node = 'node2', for = '700ms' }
    [[step]]
    at = '8s'
    links = { burst_loss = { enter = 0.01, leave = 0.2 }, reorder = 0.02, mtu = 1300, \
              bandwidth = { bytes_per_second = 100_000, queue_bytes = 6_000 } }
    [[step]]
    at = '9s'
    crash = { node = 'node3', lose_disk = true }
    [[step]]
    at = '9s 500ms'
    restart = 'node3'
    [[step]]
    at = '10s'
    clear_links = true
";

const RANDOM: &str = "
    name = 'random'
    duration = '20s'
    links = { latency = '2ms' }
    [nemesis]
    quiet = '4s'
    links = { per_minute = 15, mean = '2s' }
    partition = { per_minute = 10, mean = '2s' }
    block = { per_minute = 10, mean = '2s' }
    crash = { per_minute = 10, mean = '2s', at_once = 2, lose_disk = 0.5 }
    pause = { per_minute = 20, mean = '500ms' }
    clock_skew = { per_minute = 10, mean = '2s', max = '2s' }
    clock_jump = { per_minute = 10, max = '2s' }
";

/// All that two runs of one seed must have in common.
#[derive(Debug, PartialEq)]
struct Outcome {
    trace_hash: String,
    stats: SimStats,
    links: Vec<LinkReport>,
    answered: u64,
    unanswered: u64,
}

/// Endpoints that ask each other all the time.
struct Cluster {
    seed: u64,
    net: SimNet,
    runtime: SimRuntime,
    nodes: BTreeMap<u64, Node>,
    starts: u64,
    answers: Arc<Answers>,
}

/// What became of the questions of all nodes.
#[derive(Debug, Default)]
struct Answers {
    answered: AtomicU64,
    unanswered: AtomicU64,
}

struct Node {
    endpoint: Endpoint,
    tasks: JoinSet<()>,
}

/// Plays a scenario on a cluster, with this seed.
fn run(scenario: &str, seed: u64) -> Outcome {
    replay(&Scenario::parse(scenario).unwrap().with_nemesis(seed, names()))
}

/// Plays a scenario on a cluster, with its own seed.
fn replay(scenario: &Scenario) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let table = FaultTable::new(scenario.seed);
        let mut cluster = Cluster::start(scenario.seed, &table);
        play(scenario, &table, &mut cluster, |_| {}).await.unwrap();
        cluster.stop().await;
        assert_eq!(cluster.runtime.tasks_alive(), BTreeMap::new(), "tasks have leaked");
        Outcome {
            trace_hash: cluster.net.trace_hash(),
            stats: cluster.net.stats(),
            links: table.stats(),
            answered: cluster.answers.answered.load(Relaxed),
            unanswered: cluster.answers.unanswered.load(Relaxed),
        }
    })
}

impl Cluster {
    fn start(seed: u64, table: &FaultTable) -> Self {
        let net = SimNet::new(table.clone());
        let (runtime, nodes, answers) = (SimRuntime::new(), BTreeMap::new(), Arc::default());
        let mut cluster = Self { seed, net, runtime, nodes, starts: 0, answers };
        (0..NODES).for_each(|node| cluster.start_node(node));
        cluster
    }

    fn start_node(&mut self, node: u64) {
        let name = format!("node{node}");
        let mut transport = TransportConfig::default();
        transport.max_idle_timeout(Some(Duration::from_secs(3).try_into().unwrap()));
        let configs = configs(self.seed, node, self.starts, transport);
        let socket = self.net.bind(address(node), &name).unwrap();
        let runtime = self.runtime.for_node(&name);
        let mut endpoint =
            Endpoint::new_with_abstract_socket(configs.endpoint, Some(configs.server), socket, runtime)
                .unwrap();
        endpoint.set_default_client_config(configs.client);
        let mut tasks = JoinSet::new();
        tasks.spawn(answer(endpoint.clone()));
        let random = Seeded::new(&[self.seed, node, self.starts]);
        tasks.spawn(ask(endpoint.clone(), node, random, Arc::clone(&self.answers)));
        self.nodes.insert(node, Node { endpoint, tasks });
        self.starts += 1;
    }

    async fn stop(&mut self) {
        for node in self.nodes.values_mut() {
            node.tasks.shutdown().await;
        }
        for node in std::mem::take(&mut self.nodes).into_values() {
            node.endpoint.close(0_u8.into(), b"");
            node.endpoint.wait_idle().await;
        }
        sleep(MS(10)).await;
    }
}

impl Host for Cluster {
    type Error = Infallible;

    async fn crash(&mut self, node: &str) -> Result<(), Infallible> {
        self.runtime.kill(node);
        self.net.close_sockets(node);
        self.nodes.remove(&number(node)).unwrap().tasks.shutdown().await;
        Ok(())
    }

    async fn lose_disk(&mut self, _: &str) -> Result<(), Infallible> {
        Ok(())
    }

    async fn set_clock(&mut self, _: &str, _: ClockOffset) -> Result<(), Infallible> {
        Ok(())
    }

    fn pause(&mut self, node: &str, lasting: Duration) {
        self.runtime.pause(node, lasting);
    }

    async fn restart(&mut self, node: &str) -> Result<(), Infallible> {
        self.start_node(number(node));
        Ok(())
    }
}

fn names() -> impl Iterator<Item = String> {
    (0..NODES).map(|node| format!("node{node}"))
}

fn number(node: &str) -> u64 {
    node.trim_start_matches("node").parse().unwrap()
}

fn address(node: u64) -> SocketAddr {
    ([10, 0, 0, u8::try_from(node).unwrap()], 4433).into()
}

/// Returns what it is sent, on every stream of every connection.
async fn answer(endpoint: Endpoint) {
    async fn echo(incoming: quinn::Incoming) -> Result<(), Box<dyn Error + Send + Sync>> {
        let connection = incoming.await?;
        loop {
            let (mut send, mut receive) = connection.accept_bi().await?;
            if let Ok(question) = receive.read_to_end(1 << 16).await
                && send.write_all(&question).await.is_ok()
            {
                send.finish()?;
            }
        }
    }
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        connections.spawn(echo(incoming));
    }
}

/// Sends a question of random length to a random other node every few milliseconds, one after the other.
async fn ask(endpoint: Endpoint, node: u64, mut random: Seeded, answers: Arc<Answers>) {
    let mut connections = BTreeMap::<u64, Connection>::new();
    loop {
        sleep(MS(random.next() % 30)).await;
        let (other, len) = (random.next() % NODES, usize::try_from(random.next() % 20_000).unwrap());
        if other == node {
            continue;
        }
        let known = connections.remove(&other).filter(|connection| connection.close_reason().is_none());
        let count = match timeout(MS(500), exchange(&endpoint, other, known, &vec![7; len])).await {
            Ok(Ok(connection)) => {
                connections.insert(other, connection);
                &answers.answered
            }
            _failed => &answers.unanswered,
        };
        count.fetch_add(1, Relaxed);
    }
}

/// Asks over a connection that is known, or a new one, which it returns.
async fn exchange(
    endpoint: &Endpoint,
    other: u64,
    known: Option<Connection>,
    question: &[u8],
) -> Result<Connection, Box<dyn Error + Send + Sync>> {
    let connection = match known {
        Some(connection) => connection,
        None => endpoint.connect(address(other), SERVER_NAME)?.await?,
    };
    let (mut send, mut receive) = connection.open_bi().await?;
    send.write_all(question).await?;
    send.finish()?;
    assert_eq!(receive.read_to_end(question.len()).await?, question);
    Ok(connection)
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let outcome = run(HOSTILE, 1);
    assert_eq!(outcome, run(HOSTILE, 1));
    assert_ne!(outcome.trace_hash, run(HOSTILE, 2).trace_hash);

    // All of it has happened, and the cluster has worked all the same.
    let total = |count: fn(&chinwag_fuzz_net::LinkStats) -> u64| -> u64 {
        outcome.links.iter().map(|link| count(&link.stats)).sum()
    };
    for (what, count) in [
        ("dropped", total(|it| it.dropped)),
        ("duplicated", total(|it| it.duplicated)),
        ("corrupted", total(|it| it.corrupted)),
        ("reordered", total(|it| it.reordered)),
        ("blocked", total(|it| it.blocked)),
        ("overflowed", total(|it| it.overflowed)),
        ("too large", total(|it| it.too_large)),
    ] {
        assert!(count > 0, "none {what}: {outcome:?}");
    }
    assert!(outcome.answered > 500 && outcome.unanswered > 10, "{outcome:?}");
}

/// Hash seeds, addresses and the like differ from process to process; none of it may show.
#[test]
fn another_process_gives_the_same_bytes() {
    const CHILD: &str = "CHINWAG_SIM_CHILD";
    let hash = run(HOSTILE, 3).trace_hash;
    if std::env::var_os(CHILD).is_some() {
        return println!("trace {hash}");
    }
    let this_test = ["--exact", "sim::another_process_gives_the_same_bytes", "--nocapture"];
    let child = Command::new(std::env::current_exe().unwrap()).args(this_test).env(CHILD, "1").output();
    let said = String::from_utf8(child.unwrap().stdout).unwrap();
    assert!(said.contains(&format!("trace {hash}")), "{hash} is not in {said}");
}

#[test]
fn a_drawn_scenario_replays_from_what_is_printed_and_without_its_faults_nothing_is_lost() {
    let scenario = Scenario::parse(RANDOM).unwrap().with_nemesis(5, names());
    let outcome = replay(&scenario);
    assert_eq!(outcome, replay(&Scenario::parse(&scenario.to_toml()).unwrap()));
    assert!(outcome.unanswered > 10, "{outcome:?}");
    let faults = scenario.fault_steps();
    assert!(faults.len() > 10, "{faults:?}");
    let outcome = replay(&scenario.without_faults(&faults.into_iter().collect()));
    assert_eq!(outcome.unanswered, 0, "{outcome:?}");
}

#[test]
fn without_faults_no_question_is_lost() {
    let outcome = run("name = 'quiet'\nduration = '5s'", 1);
    assert!(outcome.answered > 500, "{outcome:?}");
    assert_eq!((outcome.unanswered, outcome.stats.overflowed), (0, 0));
    assert!(outcome.links.iter().all(|link| link.stats.delayed == 0));
}
