//! Deleted keys: gone from every member once all owners have seen their end, and never back.

use std::sync::Arc;

use chinwag_client::Consistency;
use chinwag_merkle::TreeKey;
use chinwag_node::Node;
use chinwag_node::membership::{Name, NodeId, Partitioner};
use chinwag_node::storage::{
    Actor, Batch, BucketId, Causal, Content, Dot, Engine, KeyState, MemoryEngine, Store, StoreKey,
    StoreOptions, Table,
};

use super::holdings;
use super::support::{acquainted, client, quiet, start, until};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: usize = 40;
/// Rounds of everyone with everyone: one to hear, one to remove, one to tell.
const ROUNDS: usize = 3;

fn key(number: usize) -> String {
    format!("key{number}")
}

fn store_key(spelled: &str) -> StoreKey {
    let position = Partitioner::Md5.position(spelled.as_bytes()).0;
    StoreKey::new(BucketId::DEFAULT, position, spelled.to_owned())
}

fn open(engine: &MemoryEngine) -> Store {
    let options = StoreOptions::new(TreeKey::new([0; 16]), 77, 1);
    Store::open(Arc::new(engine.reopen()), &options).unwrap()
}

/// What a disk holds now, on another disk.
fn copy(engine: &MemoryEngine) -> MemoryEngine {
    let copy = MemoryEngine::new();
    let mut batch = Batch::default();
    for table in Table::ALL {
        for (key, record) in engine.reopen().scan(table, &[], None, usize::MAX).unwrap() {
            batch.put(table, key, record);
        }
    }
    copy.commit(batch).wait().unwrap();
    copy
}

async fn repair_all(nodes: &[Node]) {
    for _ in 0..ROUNDS {
        for node in nodes {
            assert_eq!(client(node).repair().await.unwrap().failed, []);
        }
    }
}

async fn assert_empty(nodes: &[Node]) {
    for node in nodes {
        assert_eq!(holdings(&client(node)).await.keys().collect::<Vec<_>>(), Vec::<&bytes::Bytes>::new());
        assert_eq!(node.tombstones(), 0);
    }
}

#[tokio::test]
async fn a_cluster_that_deletes_everything_is_empty_and_stays_so() {
    let disks = NAMES.map(|_| MemoryEngine::new());
    let mut nodes: Vec<Node> = Vec::new();
    for (name, disk) in NAMES.iter().zip(&disks) {
        let seeds: Vec<&Node> = nodes.first().into_iter().collect();
        nodes.push(start(quiet(name, 3, &seeds), Arc::new(disk.reopen())).await);
    }
    acquainted(&nodes.iter().collect::<Vec<_>>()).await;
    let at_a = client(&nodes[0]);
    for number in 0..KEYS {
        at_a.put(key(number), "old").consistency(Consistency::All).await.unwrap();
    }
    let old = copy(&disks[1]);
    for number in 0..KEYS {
        let got = at_a.get(key(number)).consistency(Consistency::All).await.unwrap();
        at_a.delete(key(number), got.context).consistency(Consistency::All).await.unwrap();
    }
    assert!(nodes.iter().any(|node| node.tombstones() > 0));
    repair_all(&nodes).await;
    assert_empty(&nodes).await;
    assert!(nodes[0].activity().tombstones_purged > 0, "it heard of everyone first");

    // One member is put back to an old copy that holds the deleted values. Another loses its disk, and what it finds on
    // the new one are hints from before the delete, for a third.
    let hints = MemoryEngine::new();
    let (store, from) = (open(&hints), open(&copy(&old)));
    let target = NodeId::of(&Name::new("c").unwrap()).0;
    for number in 0..KEYS {
        if let Some(state) = from.get(&store_key(&key(number))).unwrap() {
            store.park(target, &store_key(&key(number)), &state, 1).unwrap().commit.await.unwrap();
        }
    }
    store.close().unwrap();
    nodes.remove(3).crash().await;
    nodes.remove(1).crash().await;
    let b = start(quiet("b", 3, &[&nodes[0]]), Arc::new(old.reopen())).await;
    assert!(!holdings(&client(&b)).await.is_empty(), "the copy has the values");
    let d = start(quiet("d", 3, &[&nodes[0]]), Arc::new(hints.reopen())).await;
    nodes.extend([b, d]);
    acquainted(&nodes.iter().collect::<Vec<_>>()).await;
    until("the old hints are delivered", || nodes.iter().all(|node| node.hints_due() == 0)).await;
    repair_all(&nodes).await;
    assert_empty(&nodes).await;

    // The keys can be written anew.
    let at_a = client(&nodes[0]);
    for number in 0..KEYS {
        at_a.put(key(number), "new").consistency(Consistency::All).await.unwrap();
        let got = at_a.get(key(number)).consistency(Consistency::All).await.unwrap();
        assert_eq!(got.siblings.len(), 1);
    }
}

#[tokio::test]
async fn hints_go_to_whoever_owns_the_key_by_now() {
    let disk = MemoryEngine::new();
    let store = open(&disk);
    let target = NodeId::of(&Name::new("a").unwrap()).0;
    for number in 0..KEYS {
        let mut state = KeyState::default();
        state.put(&Causal::EMPTY, Dot::new(Actor(5), number as u64 + 1), Content::Value("parked".into()), 0);
        store.park(target, &store_key(&key(number)), &state, 1).unwrap().commit.await.unwrap();
    }
    store.close().unwrap();
    let a = start(quiet("a", 1, &[]), Arc::new(MemoryEngine::new())).await;
    let b = start(quiet("b", 1, &[&a]), Arc::new(disk.reopen())).await;
    acquainted(&[&a, &b]).await;
    until("no hint is left", || b.activity().hints_delivered == KEYS as u64).await;
    let (of_a, of_b) = (holdings(&client(&a)).await, holdings(&client(&b)).await);
    assert!(of_a.len() > 1 && of_b.len() > 1, "{} and {}", of_a.len(), of_b.len());
    for (holder, held) in [("a", &of_a), ("b", &of_b)] {
        for (key, entry) in held {
            assert_eq!(entry.hint_for, None);
            assert_eq!(client(&a).locate(key.clone()).await.unwrap().owners, [holder]);
        }
    }
    assert_eq!(of_a.len() + of_b.len(), KEYS);
}
