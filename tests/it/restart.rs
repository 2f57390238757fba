//! Members that stop, in every way, and come back on their directories.

use std::collections::BTreeMap;

use chinwag_client::wire::DumpEntry;
use chinwag_client::{Client, Consistency, Value};
use serde_json::Value as Json;

use crate::cluster::Cluster;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: usize = 40;

fn key(index: usize) -> String {
    format!("key-{index}")
}

#[tokio::test]
async fn a_cluster_that_was_stopped_comes_back_with_all_data() {
    let mut cluster = Cluster::start(&NAMES, &[]).await;
    fill(&cluster.client(&NAMES)).await;
    let before = Snapshot::take(&cluster).await;
    cluster.terminate_all().await;
    restart_and_compare(&mut cluster, &before).await;
}

#[tokio::test]
async fn a_cluster_that_was_killed_comes_back_with_all_data() {
    let mut cluster = Cluster::start(&NAMES, &[]).await;
    fill(&cluster.client(&NAMES)).await;
    let before = Snapshot::take(&cluster).await;
    for name in NAMES {
        cluster.kill(name);
    }
    restart_and_compare(&mut cluster, &before).await;
}

/// Puts values, siblings and a tombstone, each acknowledged by all of its owners.
async fn fill(client: &Client) {
    let put = |key: String, value: &'static str| client.put(key, value).consistency(Consistency::All);
    for index in 0..KEYS {
        put(key(index), "one").await.unwrap();
    }
    put(key(0), "two").await.unwrap();
    let seen = client.get(key(1)).await.unwrap().context;
    client.delete(key(1), seen).consistency(Consistency::All).await.unwrap();
}

/// What a cluster holds and answers.
#[derive(Debug, PartialEq)]
struct Snapshot {
    dumps: BTreeMap<&'static str, Vec<DumpEntry>>,
    answers: Vec<Value>,
}

impl Snapshot {
    async fn take(cluster: &Cluster) -> Self {
        let mut dumps = BTreeMap::new();
        for name in NAMES {
            dumps.insert(name, cluster.dump(name).await);
        }
        let client = cluster.client(&NAMES);
        let mut answers = Vec::new();
        for index in 0..KEYS {
            answers.push(client.get(key(index)).await.unwrap());
        }
        assert_eq!((answers[0].siblings.len(), answers[1].siblings.len()), (2, 0));
        Self { dumps, answers }
    }
}

async fn restart_and_compare(cluster: &mut Cluster, before: &Snapshot) {
    cluster.restart(&NAMES).await;
    cluster.all_alive().await;
    assert_eq!(Snapshot::take(cluster).await, *before);
    // They are the same members in new lives, and take writes.
    cluster.run("d", &["put", "after", "v", "--consistency", "all"]).await.text();
}

#[tokio::test]
async fn a_member_that_leaves_says_so_and_is_welcome_back() {
    let mut cluster = Cluster::start(&NAMES, &[]).await;
    let first_life = generation(&cluster, "b").await;
    let status = cluster.interrupt("b").await;
    assert_eq!(status.code(), Some(0), "{}", cluster.log("b"));
    cluster.seen_as("b", "left").await;
    cluster.run("a", &["put", "meanwhile", "v"]).await.text();

    cluster.restart(&["b"]).await;
    cluster.all_alive().await;
    assert!(generation(&cluster, "b").await > first_life, "a new life has a higher generation");
}

#[tokio::test]
async fn requests_under_way_do_not_keep_a_member_from_leaving() {
    let mut cluster = Cluster::start(&NAMES, &[]).await;
    let client = cluster.client(&["b"]);
    let put = |index| {
        let client = client.clone();
        tokio::spawn(async move { client.put(key(index), "v").await })
    };
    let under_way: Vec<_> = (0..KEYS).map(put).collect();
    let status = cluster.interrupt("b").await;
    assert_eq!(status.code(), Some(0), "{}", cluster.log("b"));
    for request in under_way {
        // Some were answered, some came too late: the point is that each has ended.
        drop(request.await.unwrap());
    }
    cluster.seen_as("b", "left").await;
}

/// Which of its lives `a` sees the member in.
async fn generation(cluster: &Cluster, name: &str) -> u64 {
    let answer = cluster.run("a", &["members", "--json"]).await.json();
    let is_it = |member: &&Json| member["name"] == name;
    answer["members"].as_array().unwrap().iter().find(is_it).unwrap()["generation"].as_u64().unwrap()
}
