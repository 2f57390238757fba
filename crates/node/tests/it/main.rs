//! Members of one process on real loopback sockets and memory engines: what they do for each other.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod buckets;
mod clients;
mod deletes;
mod disks;
mod intruders;
mod outages;
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chinwag_client::wire::DumpEntry;
use chinwag_client::{Client, Consistency};
use chinwag_merkle::TreeKey;
use chinwag_node::Node;
use chinwag_node::membership::Partitioner;
use chinwag_node::storage::{BucketId, Causal, Content, MemoryEngine, Store, StoreKey, StoreOptions};
use support::{acquainted, client, quiet, start, until};

/// An engine that holds `keys`, each with the value given, as a member that has never met another would.
fn engine_with(seed: u64, keys: impl Iterator<Item = (String, &'static str)>) -> Arc<MemoryEngine> {
    let engine = Arc::new(MemoryEngine::new());
    let options = StoreOptions::new(TreeKey::new([0; 16]), seed, 1);
    let store = Store::open(engine.clone(), &options).unwrap();
    for (key, value) in keys {
        let position = Partitioner::Md5.position(key.as_bytes()).0;
        let key = StoreKey::new(BucketId::DEFAULT, position, key);
        store.put(&key, &Causal::default(), Content::Value(value.into()), 0).unwrap().commit.wait().unwrap();
    }
    store.close().unwrap();
    Arc::new(engine.reopen())
}

/// Everything a member itself holds, by key.
pub(crate) async fn holdings(client: &Client) -> BTreeMap<Bytes, DumpEntry> {
    let mut all = BTreeMap::new();
    let mut after = None;
    loop {
        let page = client.dump(after).await.unwrap();
        all.extend(page.entries.into_iter().map(|it| (it.key.clone(), it)));
        match page.next {
            Some(next) => after = Some(next),
            None => return all,
        }
    }
}

#[tokio::test]
async fn one_round_of_anti_entropy_makes_disks_that_differ_in_a_thousand_keys_equal() {
    let keys =
        |prefix: &'static str, count: u32, value| (0..count).map(move |i| (format!("{prefix}{i}"), value));
    // 350 keys on one side only, 350 on the other only, 300 on both with versions that know nothing of each other.
    let one = engine_with(1, keys("one-", 350, "1").chain(keys("both-", 300, "1")));
    let two = engine_with(2, keys("two-", 350, "2").chain(keys("both-", 300, "2")));
    let a = start(quiet("a", 2, &[]), one).await;
    let b = start(quiet("b", 2, &[&a]), two).await;
    acquainted(&[&a, &b]).await;
    let (at_a, at_b) = (client(&a), client(&b));
    assert_eq!((holdings(&at_a).await.len(), holdings(&at_b).await.len()), (650, 650));

    let report = at_a.repair().await.unwrap();

    assert_eq!(report.failed, []);
    let (of_a, of_b) = (holdings(&at_a).await, holdings(&at_b).await);
    assert_eq!(of_a.len(), 1000);
    assert!(of_a == of_b, "both directions were repaired");
    assert_eq!((report.keys_sent, report.keys_received), (650, 650));
    let siblings = at_b.get("both-7").consistency(Consistency::All).await.unwrap().siblings;
    assert_eq!(siblings.len(), 2, "values written without knowing of each other are siblings");

    let again = at_b.repair().await.unwrap();
    assert_eq!((again.keys_sent, again.keys_received), (0, 0), "a second round finds nothing to repair");
    for node in [a, b] {
        node.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn records_left_with_a_member_that_no_longer_owns_them_reach_their_owners() {
    let a = start(quiet("a", 1, &[]), Arc::new(MemoryEngine::new())).await;
    for i in 0..100 {
        client(&a).put(format!("key{i}"), "v").await.unwrap();
    }
    let b = start(quiet("b", 1, &[&a]), Arc::new(MemoryEngine::new())).await;
    acquainted(&[&a, &b]).await;
    let at_b = client(&b);
    assert!(holdings(&at_b).await.is_empty());

    client(&a).repair().await.unwrap();

    let moved = holdings(&at_b).await.len();
    assert!((10..90).contains(&moved), "about half of the keys are b's now, not {moved}");
    for i in 0..100 {
        assert_eq!(at_b.get(format!("key{i}")).await.unwrap().siblings.len(), 1);
    }
    for node in [a, b] {
        node.shutdown().await.unwrap();
    }
}

#[test]
fn no_task_is_left_after_shutdown() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let a = start(quiet("a", 2, &[]), Arc::new(MemoryEngine::new())).await;
        let b = start(quiet("b", 2, &[&a]), Arc::new(MemoryEngine::new())).await;
        acquainted(&[&a, &b]).await;
        let client = client(&a);
        let written = client.put("key", "value").consistency(Consistency::All).await.unwrap();
        assert_eq!(written.replicas.len(), 2);
        client.repair().await.unwrap();
        client.close().await;
        drop(client);
        Node::shutdown(a).await.unwrap();
        Node::shutdown(b).await.unwrap();
        // QUIC's own tasks end when they are next polled.
        let metrics = tokio::runtime::Handle::current().metrics();
        until("no task is alive", || metrics.num_alive_tasks() == 0).await;
    });
}
