//! Proofs of a review's findings: each test says what must hold and fails while it does not. Real loopback sockets,
//! memory engines.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::wire::MemberState;
use chinwag_client::{Client, ClusterSecret, Consistency, Credential, RequestError, Role};
use chinwag_node::membership::{Copies, Name, Partitions, Preset};
use chinwag_node::storage::{BucketId, Causal, Content, Engine, MemoryEngine, Store, StoreKey, StoreOptions};
use chinwag_node::{Config, Node, Parts, UdpSockets, WallClock};
use tokio::time::{sleep, timeout};

/// A wall clock that stands still.
#[derive(Debug)]
struct Still(Duration);

impl WallClock for Still {
    fn now(&self) -> Duration {
        self.0
    }
}

/// Now, for certificates: TLS looks at the machine's clock.
#[expect(clippy::disallowed_methods, reason = "TLS asks the machine")]
fn today() -> Duration {
    std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap()
}

fn secret() -> ClusterSecret {
    ClusterSecret::from_bytes([7; 32])
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

fn parts(engine: MemoryEngine, seed: u8, now: Duration) -> Parts {
    Parts {
        sockets: Arc::new(UdpSockets),
        runtime: Arc::new(quinn::TokioRuntime),
        clock: Arc::new(Still(now)),
        engine: Arc::new(engine),
        seed: [seed; 32],
    }
}

fn client(node: &Node) -> Client {
    let credential = Credential::mint(&secret(), Role::Client, [9; 32], today()).unwrap();
    Client::new(&[node.address()], &credential).unwrap()
}

/// The four members of the preset, the first being the seed of the others; anti-entropy is off.
async fn four(change: impl Fn(&mut Config)) -> Vec<Option<Node>> {
    let mut nodes: Vec<Option<Node>> = Vec::new();
    for (index, (name, _)) in (1..).zip(Preset::FourNode.members()) {
        let mut config = Config::new(name, anywhere()).with_preset(Preset::FourNode).unwrap();
        config.seeds = nodes.first().and_then(Option::as_ref).map(Node::address).into_iter().collect();
        config.anti_entropy = None;
        change(&mut config);
        nodes.push(Some(Node::start(config, &secret(), parts(MemoryEngine::new(), index, today())).await.unwrap()));
    }
    for node in nodes.iter().flatten() {
        until(|| alive(node) == 4).await;
    }
    nodes
}

fn alive(node: &Node) -> usize {
    node.members().iter().filter(|it| it.state == MemberState::Alive).count()
}

async fn until(mut holds: impl FnMut() -> bool) {
    timeout(Duration::from_secs(40), async {
        while !holds() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it holds within 40 s");
}

fn is_down(node: &Node, name: &str) -> bool {
    node.members().iter().any(|it| it.name == name && it.state == MemberState::Down)
}

/// Key 10 belongs to replica0, replica1 and replica2; replica3 is its only fallback.
async fn with_replica2_down(change: impl Fn(&mut Config)) -> Vec<Option<Node>> {
    let mut nodes = four(change).await;
    let put = client(nodes[0].as_ref().unwrap());
    put.put("10", "v").consistency(Consistency::All).await.unwrap();
    nodes[2].take().unwrap().crash().await;
    until(|| is_down(nodes[3].as_ref().unwrap(), "replica2")).await;
    nodes
}

#[tokio::test]
async fn a_fallback_that_holds_nothing_does_not_answer_while_primaries_live() {
    let nodes = with_replica2_down(|_| {}).await;
    let reader = client(nodes[3].as_ref().unwrap());
    let got = reader.get("10").consistency(Consistency::One).await.unwrap();
    assert_eq!(got.siblings.len(), 1, "written at ALL, two primaries live: not found");
}

#[tokio::test]
async fn reads_leave_no_hints_where_handoff_is_off() {
    let nodes = with_replica2_down(|config| config.hinted_handoff = false).await;
    let reader = client(nodes[3].as_ref().unwrap());
    reader.get("10").consistency(Consistency::Quorum).await.unwrap();
    let looked = timeout(Duration::from_secs(3), async {
        loop {
            let mut after = None;
            loop {
                let page = reader.dump(after).await.unwrap();
                if let Some(hint) = page.entries.into_iter().find_map(|it| it.hint_for) {
                    return hint;
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(looked.await.is_err(), "replica3 keeps a hint though handoff is off everywhere");
}

async fn alone(change: impl Fn(&mut Config)) -> Node {
    let mut config = Config::new(Name::new("a").unwrap(), anywhere());
    config.founding.n = Copies::new(1).unwrap();
    change(&mut config);
    Node::start(config, &secret(), parts(MemoryEngine::new(), 1, today())).await.unwrap()
}

#[tokio::test]
async fn a_key_with_many_large_siblings_is_refused_or_readable() {
    let node = alone(|_| {}).await;
    let client = client(&node);
    for _ in 0..17 {
        match client.put("k", vec![7; 1 << 20]).await {
            Ok(_) => {}
            Err(RequestError::Invalid(_) | RequestError::Unavailable(_)) => break,
            Err(error) => panic!("{error}"),
        }
    }
    let got = client.get("k").await;
    assert!(got.is_ok(), "{}", got.unwrap_err());
}

#[tokio::test]
async fn a_member_lives_by_the_clock_it_is_handed() {
    let secret = secret();
    let then = Duration::from_secs(1_000_000_000);
    let node = {
        let mut config = Config::new(Name::new("a").unwrap(), anywhere());
        config.founding.n = Copies::new(1).unwrap();
        Node::start(config, &secret, parts(MemoryEngine::new(), 1, then)).await.unwrap()
    };
    let credential = Credential::mint(&secret, Role::Client, [9; 32], then).unwrap();
    let client = Client::new(&[node.address()], &credential).unwrap();
    let members = client.members().await;
    assert!(members.is_ok(), "{}", members.unwrap_err());
}

fn options(partitions: u32, generation: u64) -> StoreOptions {
    let key = chinwag_merkle::TreeKey::new([0; 16]);
    StoreOptions { partitions, ..StoreOptions::new(key, 5, generation) }
}

#[tokio::test]
async fn a_start_that_fails_leaves_the_directory_as_it_was() {
    let engine = MemoryEngine::new();
    let store = Store::open(Arc::new(engine.reopen()), &options(256, 1)).unwrap();
    let before = store.identity().actor;
    store.close().unwrap();
    let taken = std::net::UdpSocket::bind(anywhere()).unwrap();
    let config = Config::new(Name::new("a").unwrap(), taken.local_addr().unwrap());
    Node::start(config, &secret(), parts(engine.reopen(), 1, today())).await.unwrap_err();
    let store = Store::open(Arc::new(engine.reopen()), &options(256, 1)).unwrap();
    assert_eq!(store.identity().actor, before, "nothing was written, and yet the actor is given up");
}

#[tokio::test]
async fn a_crashed_member_writes_nothing_more() {
    let mut nodes = four(|config| config.anti_entropy = None).await;
    for node in nodes.split_off(1).into_iter().flatten() {
        node.crash().await;
    }
    nodes.clear();
    // A coordinator of its own, with an engine this test keeps.
    let engine = MemoryEngine::new();
    let name = |index: usize| Preset::FourNode.members()[index].0.clone();
    let config = |index| Config::new(name(index), anywhere()).with_preset(Preset::FourNode).unwrap();
    let first = Node::start(config(0), &secret(), parts(engine.reopen(), 21, today())).await.unwrap();
    let mut second = config(1);
    second.seeds = vec![first.address()];
    let second = Node::start(second, &secret(), parts(MemoryEngine::new(), 22, today())).await.unwrap();
    until(|| alive(&first) == 2).await;
    second.crash().await;
    // Believed alive still; the write to it waits for an answer while the coordinator is killed.
    client(&first).put("10", "v").consistency(Consistency::One).await.unwrap();
    // replica2 was never met: its hint is parked only once the write to replica1 has failed too.
    let parked = |engine: &MemoryEngine| engine.scan(chinwag_node::storage::Table::Hints, &[], None, 10).unwrap().len();
    let probe = engine;
    first.crash().await;
    assert_eq!(parked(&probe.reopen()), 0, "hints were parked after the crash");
}

#[tokio::test]
async fn partitions_beyond_16384_are_repaired_too() {
    let q = 32_768;
    let config = |name: &str| {
        let mut config = Config::new(Name::new(name).unwrap(), anywhere());
        config.founding.n = Copies::new(2).unwrap();
        config.founding.partitions = Partitions::new(q).unwrap();
        config.anti_entropy = None;
        config
    };
    let engine = MemoryEngine::new();
    let store = Store::open(Arc::new(engine.reopen()), &options(q, 1)).unwrap();
    let position = u128::MAX;
    store.put(&StoreKey::new(BucketId::DEFAULT, position, "k"), &Causal::EMPTY, Content::Value("v".into())).unwrap().commit.await.unwrap();
    store.close().unwrap();
    let a = Node::start(config("a"), &secret(), parts(engine.reopen(), 1, today())).await.unwrap();
    let mut b = config("b");
    b.seeds = vec![a.address()];
    let b = Node::start(b, &secret(), parts(MemoryEngine::new(), 2, today())).await.unwrap();
    until(|| alive(&a) == 2 && alive(&b) == 2).await;
    let report = client(&a).repair().await.unwrap();
    assert_eq!(report.keys_sent, 1, "{report:?}");
    drop(b);
}
