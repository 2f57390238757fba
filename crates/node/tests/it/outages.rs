//! What members owe their clients and themselves when others are gone, when they are refused, when they crash.

use std::sync::Arc;

use chinwag_client::Consistency;
use chinwag_client::wire::MemberState;
use chinwag_merkle::TreeKey;
use chinwag_node::membership::{Copies, Partitions, Preset};
use chinwag_node::storage::{
    BucketId, Causal, Content, Engine, MemoryEngine, Store, StoreKey, StoreOptions, Table,
};
use chinwag_node::{Config, Node, StartError};

use super::support::{acquainted, client, parts_on, quiet, secret, start, until};

fn memory() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new())
}

fn options(partitions: u32) -> StoreOptions {
    StoreOptions { partitions, ..StoreOptions::new(TreeKey::new([0; 16]), 5, 1) }
}

fn is_down(node: &Node, name: &str) -> bool {
    node.members().iter().any(|it| it.name == name && it.state == MemberState::Down)
}

/// A member of the preset, in which key 10 belongs to replica0, replica1 and replica2, and replica3 is the fallback.
fn preset(index: usize, seeds: &[&Node]) -> Config {
    let name = Preset::FourNode.members()[index].0.clone();
    quiet(name.as_str(), 3, seeds).with_preset(Preset::FourNode).unwrap()
}

#[tokio::test]
async fn a_fallback_that_holds_nothing_does_not_answer_while_primaries_live() {
    let a = start(preset(0, &[]), memory()).await;
    let b = start(preset(1, &[&a]), memory()).await;
    let c = start(preset(2, &[&a]), memory()).await;
    let d = start(preset(3, &[&a]), memory()).await;
    acquainted(&[&a, &b, &c, &d]).await;
    client(&a).put("10", "v").consistency(Consistency::All).await.unwrap();
    c.crash().await;
    until("replica2 is down", || is_down(&d, "replica2")).await;
    let got = client(&d).get("10").consistency(Consistency::One).await.unwrap();
    assert_eq!(got.siblings.len(), 1, "all three owners stored it and two of them live");
}

#[tokio::test]
async fn a_fallback_answers_with_every_hint_it_keeps_of_the_key() {
    let names = ["a", "b", "c", "d", "e"];
    let mut nodes: Vec<(&str, Node)> = Vec::new();
    for name in names {
        let seeds: Vec<&Node> = nodes.first().map(|(_, node)| node).into_iter().collect();
        let node = start(quiet(name, 3, &seeds), memory()).await;
        nodes.push((name, node));
    }
    acquainted(&nodes.iter().map(|(_, node)| node).collect::<Vec<_>>()).await;
    let located = client(&nodes[0].1).locate("k").await.unwrap();
    let take = |nodes: &mut Vec<(&str, Node)>, name: &str| {
        let at = nodes.iter().position(|(it, _)| *it == name).unwrap();
        nodes.remove(at).1
    };
    let fallback = take(&mut nodes, &located.fallbacks[0]);
    let first = take(&mut nodes, &located.owners[0]);
    let second = take(&mut nodes, &located.owners[1]);
    let third = take(&mut nodes, &located.owners[2]);

    third.crash().await;
    until("the third owner is down", || is_down(&first, &located.owners[2])).await;
    let receipt = client(&first).put("k", "v").consistency(Consistency::All).await.unwrap();
    assert!(receipt.replicas.contains(&located.fallbacks[0]), "{receipt:?}");
    first.crash().await;
    second.crash().await;
    until("all owners are down", || located.owners.iter().all(|it| is_down(&fallback, it))).await;
    let got = client(&fallback).get("k").await.unwrap();
    assert_eq!(got.siblings.len(), 1, "the coordinator itself keeps the acknowledged write as a hint");
}

#[tokio::test]
async fn a_start_that_is_refused_leaves_the_directory_as_it_was() {
    let engine = MemoryEngine::new();
    let mut config = quiet("a", 1, &[]);
    start(config.clone(), Arc::new(engine.reopen())).await.shutdown().await.unwrap();
    let notes = |engine: &MemoryEngine| {
        let store = Store::open(Arc::new(engine.reopen()), &options(256)).unwrap();
        let notes = ["founding", "members"].map(|name| store.note(name).unwrap());
        store.close().unwrap();
        notes
    };
    let before = notes(&engine);
    config.founding.n = Copies::new(2).unwrap();
    let refused = Node::start(config, &secret(), parts_on(Arc::new(engine.reopen()))).await;
    assert!(matches!(refused, Err(StartError::Founding(_))));
    assert_eq!(notes(&engine), before);
}

#[tokio::test]
async fn a_crashed_member_writes_nothing_more() {
    let engine = MemoryEngine::new();
    let a = start(preset(0, &[]), Arc::new(engine.reopen())).await;
    let b = start(preset(1, &[&a]), memory()).await;
    acquainted(&[&a, &b]).await;
    b.crash().await;
    // Its goodbye is heard first, so that the write below dials a closed port, which takes two seconds to fail.
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    // It is believed alive still: the coordinator waits for it in vain, until it crashes too.
    client(&a).put("10", "v").consistency(Consistency::One).await.unwrap();
    let mut after = None;
    loop {
        let page = client(&a).dump(after).await.unwrap();
        assert!(page.entries.iter().all(|it| it.hint_for.is_none()), "no hint is parked yet");
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    a.crash().await;
    let hints = engine.reopen().scan(Table::Hints, &[], None, 10).unwrap();
    assert_eq!(hints.len(), 0, "hints were parked by a member that had crashed");
}

#[tokio::test]
async fn anti_entropy_reaches_every_partition_of_a_finely_cut_ring() {
    let partitions = 32_768;
    let config = |name, seeds: &[&Node]| {
        let mut config = quiet(name, 2, seeds);
        config.founding.partitions = Partitions::new(partitions).unwrap();
        config
    };
    let engine = MemoryEngine::new();
    let store = Store::open(Arc::new(engine.reopen()), &options(partitions)).unwrap();
    let last = StoreKey::new(BucketId::DEFAULT, u128::MAX, "k");
    store.put(&last, &Causal::EMPTY, Content::Value("v".into()), 0).unwrap().commit.await.unwrap();
    store.close().unwrap();
    let a = start(config("a", &[]), Arc::new(engine.reopen())).await;
    let b = start(config("b", &[&a]), memory()).await;
    acquainted(&[&a, &b]).await;
    let report = client(&a).repair().await.unwrap();
    assert_eq!(report.keys_sent, 1, "{report:?}");
}
