//! Members whose disks are full, hang or break: what they and the others do then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use chinwag_client::wire::MemberInfo;
use chinwag_client::{Consistency, RequestError};
use chinwag_node::storage::{
    Batch, CloseError, Commit, Engine, Health, MemoryEngine, Page, ReadError, Refusal, Table,
};
use chinwag_node::{Failure, Node};

use super::support::{acquainted, client, quiet, start, until};

/// An engine in memory, as if on a disk with a will of its own.
#[derive(Debug, Default)]
struct Disk {
    memory: MemoryEngine,
    state: AtomicU8,
}

const WELL: u8 = 0;
const FULL: u8 = 1;
const HANGING: u8 = 2;
const BROKEN: u8 = 3;

impl Disk {
    fn set(&self, state: u8) {
        self.state.store(state, Ordering::Relaxed);
    }
}

fn full() -> Refusal {
    Refusal::NoSpace { directory: std::path::Path::new("/full").into(), free: 0, needed: 1 << 20 }
}

impl Engine for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<bytes::Bytes>, ReadError> {
        self.memory.get(table, key)
    }
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError> {
        self.memory.scan(table, from, to, limit)
    }
    fn admit(&self) -> Result<(), Refusal> {
        if self.state.load(Ordering::Relaxed) == FULL { Err(full()) } else { self.memory.admit() }
    }
    fn commit(&self, batch: Batch) -> Commit {
        self.memory.commit(batch)
    }
    fn health(&self) -> Health {
        match self.state.load(Ordering::Relaxed) {
            FULL => Health::NoSpace { reason: full().to_string() },
            HANGING => Health::Stalled { waiting: 3, stuck: Duration::from_secs(31) },
            BROKEN => Health::Poisoned { reason: "/data: input/output error".to_owned() },
            _ => Health::Well,
        }
    }
    fn close(&self) -> Result<(), CloseError> {
        self.memory.close()
    }
}

/// Three owners of every key, each with its disk; and a fallback.
async fn cluster() -> (Vec<Node>, Vec<Arc<Disk>>) {
    let mut nodes: Vec<Node> = Vec::new();
    let mut disks = Vec::new();
    for name in ["a", "b", "c", "d"] {
        let disk = Arc::new(Disk::default());
        disks.push(disk.clone());
        let seeds: Vec<&Node> = nodes.first().into_iter().collect();
        let node = start(quiet(name, 3, &seeds), disk).await;
        nodes.push(node);
    }
    acquainted(&nodes.iter().collect::<Vec<_>>()).await;
    (nodes, disks)
}

fn index(name: &str) -> usize {
    ["a", "b", "c", "d"].iter().position(|it| *it == name).unwrap()
}

fn refusal_of(nodes: &[Node], asked: usize, about: usize) -> Option<String> {
    let name = ["a", "b", "c", "d"][about];
    let info: Option<MemberInfo> = nodes[asked].members().into_iter().find(|it| it.name == name);
    info.unwrap().refuses_writes
}

#[tokio::test]
async fn a_full_disk_is_passed_over_by_writes_at_once_and_catches_up_when_it_has_space() {
    let (nodes, disks) = cluster().await;
    let located = client(&nodes[0]).locate("k").await.unwrap();
    let (first, second) = (index(&located.owners[0]), index(&located.owners[1]));
    client(&nodes[first]).put("k", "before").consistency(Consistency::All).await.unwrap();
    disks[second].set(FULL);

    // The first write finds out; from then on a fallback stands in, and nobody waits.
    let receipt = client(&nodes[first]).put("k", "one").await.unwrap();
    assert!(!receipt.replicas.contains(&located.owners[1]), "{receipt:?}");
    until("the refusal is heard", || refusal_of(&nodes, first, second).is_some()).await;
    let reason = refusal_of(&nodes, first, second).unwrap();
    assert!(reason.contains("the disk of /full is full: 0 MiB free, 1 MiB needed"), "{reason}");
    assert_eq!(refusal_of(&nodes, second, second).as_ref(), Some(&reason), "it says so itself, too");
    let receipt = client(&nodes[first]).put("k", "two").consistency(Consistency::All).await.unwrap();
    assert!(receipt.replicas.contains(&located.fallbacks[0]), "{receipt:?}");
    let strict = client(&nodes[first]).put("k", "three").consistency(Consistency::All).primaries(true).await;
    let Err(RequestError::Unavailable(said)) = strict else { panic!("{strict:?}") };
    assert!(said.contains(&format!("{} takes no writes: the disk of /full", located.owners[1])), "{said}");

    // Asked itself, it still reads, and lets another owner give versions.
    let got = client(&nodes[second]).get("k").local(true).await.unwrap();
    assert_eq!(got.siblings.len(), 1);
    client(&nodes[second]).put("k", "four").await.unwrap();

    disks[second].set(WELL);
    until("it is given writes again", || refusal_of(&nodes, first, second).is_none()).await;
    let mut seen = 0;
    while seen < 4 {
        seen = client(&nodes[second]).get("k").local(true).await.unwrap().siblings.len();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen, 4, "hints brought it up to date, with what was acknowledged and nothing else");
}

#[tokio::test]
async fn where_every_owner_is_full_writes_are_refused_and_nothing_is_changed() {
    let (nodes, disks) = cluster().await;
    client(&nodes[0]).put("k", "v").consistency(Consistency::All).await.unwrap();
    disks.iter().for_each(|disk| disk.set(FULL));
    for node in &nodes {
        let refused = client(node).put("k", "w").await;
        let Err(RequestError::Unavailable(said)) = refused else { panic!("{refused:?}") };
        assert!(said.contains("takes no writes: the disk of /full is full"), "{said}");
    }
    let got = client(&nodes[0]).get("k").consistency(Consistency::Quorum).await.unwrap();
    assert_eq!(got.siblings.len(), 1);
}

#[tokio::test]
async fn a_disk_that_hangs_or_breaks_ends_the_member_with_its_reason() {
    for (state, words) in
        [(HANGING, "3 writes wait and none has finished for 31 s"), (BROKEN, "input/output error")]
    {
        let disk = Arc::new(Disk::default());
        let node = start(quiet("a", 1, &[]), disk.clone()).await;
        disk.set(FULL);
        let healthy = tokio::time::timeout(Duration::from_secs(2), node.failure()).await;
        assert!(healthy.is_err(), "a full disk is no reason to stop: {healthy:?}");
        disk.set(state);
        let Failure::Store(reason) = node.failure().await else { panic!("the store fails") };
        assert!(reason.contains(words), "{reason}");
        node.shutdown().await.unwrap();
    }
}
