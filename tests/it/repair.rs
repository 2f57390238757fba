//! Replicas whose disks differ, and the repairs that make them equal.

use std::time::Duration;

use chinwag_client::wire::{DumpEntry, WireDot};
use chinwag_client::{Client, Consistency, RequestError};

use crate::cluster::Cluster;
use crate::process::{satisfied, wait_until};

/// Nothing but an explicit repair brings replicas together.
const NO_REPAIR: [&str; 6] = ["--anti-entropy", "off", "--hinted-handoff", "off", "--read-repair", "off"];

/// Keys and versions, in ring order.
fn versions(dump: &[DumpEntry]) -> Vec<(&[u8], Vec<WireDot>)> {
    let dots = |entry: &DumpEntry| entry.versions.iter().map(|(dot, _)| *dot).collect();
    dump.iter().map(|entry| (&entry.key[..], dots(entry))).collect()
}

/// Puts `keys` through `client`, many at a time.
async fn put_all(client: &Client, keys: impl Iterator<Item = String>, level: Consistency) {
    let keys: Vec<String> = keys.collect();
    for batch in keys.chunks(100) {
        let puts: Vec<_> = batch
            .iter()
            .map(|key| {
                let (client, key) = (client.clone(), key.clone());
                tokio::spawn(async move { client.put(key.clone(), key).consistency(level).await })
            })
            .collect();
        for put in puts {
            put.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn one_round_makes_two_disks_equal_in_both_directions() {
    const EACH: usize = 500;
    let mut cluster = Cluster::start(&["a", "b"], &NO_REPAIR).await;
    // Each takes writes that the other, being gone, cannot have.
    cluster.interrupt("b").await;
    put_all(&cluster.client(&["a"]), (0..EACH).map(|it| format!("a-{it}")), Consistency::One).await;
    cluster.interrupt("a").await;
    cluster.restart(&["b"]).await;
    let b = cluster.client(&["b"]);
    // At first it asks whom it remembers, and what it sends there might arrive after all.
    wait_until("b counts on itself alone", async || {
        let both = b.get("any").consistency(Consistency::Quorum).timeout(Duration::from_millis(200)).await;
        satisfied(matches!(both, Err(RequestError::Unavailable(_))), both)
    })
    .await;
    put_all(&b, (0..EACH).map(|it| format!("b-{it}")), Consistency::One).await;
    cluster.restart(&["a"]).await;
    cluster.all_alive().await;
    for name in ["a", "b"] {
        let held = cluster.dump(name).await;
        assert!(held.len() == EACH && held.iter().all(|it| it.key.starts_with(name.as_bytes())), "{name}");
    }

    let report = cluster.run("b", &["repair", "--json"]).await;
    report.text();
    let report = report.json();
    assert_eq!((&report["keys_sent"], &report["keys_received"]), (&EACH.into(), &EACH.into()));
    let (a, b) = (cluster.dump("a").await, cluster.dump("b").await);
    assert_eq!(a.len(), 2 * EACH);
    assert_eq!(versions(&a), versions(&b));
    assert_eq!(cluster.run("a", &["dump", "--json"]).await.json_lines().len(), 2 * EACH, "page by page");

    let again = cluster.run("a", &["repair", "--json"]).await.json();
    assert_eq!((&again["partitions_differed"], &again["failed"]), (&0.into(), &serde_json::json!([])));
}

#[tokio::test]
async fn a_wiped_member_is_refilled_by_a_repair() {
    wiped(&NO_REPAIR, async |cluster| {
        assert_eq!(cluster.dump("d").await, [], "the disk is empty and nobody fills it unasked");
        cluster.run("d", &["repair"]).await.text();
    })
    .await;
}

#[tokio::test]
async fn a_wiped_member_is_refilled_by_anti_entropy() {
    let flags = ["--anti-entropy", "500ms", "--hinted-handoff", "off", "--read-repair", "off"];
    wiped(&flags, async |_| {}).await;
}

/// Kills `d`, deletes its directory, starts it again under its name, lets it be refilled: it must end up with all it
/// held before.
async fn wiped(flags: &[&str], refill: impl AsyncFnOnce(&Cluster)) {
    let mut cluster = Cluster::start(&["a", "b", "c", "d"], flags).await;
    let client = cluster.client(&["a", "b"]);
    put_all(&client, (0..100).map(|it| format!("key-{it}")), Consistency::All).await;
    let before = cluster.dump("d").await;
    assert!(!before.is_empty());

    cluster.kill("d");
    std::fs::remove_dir_all(cluster.data("d")).unwrap();
    cluster.restart(&["d"]).await;
    cluster.all_alive().await;
    refill(&cluster).await;
    wait_until("d holds what it held before", async || {
        let held = cluster.dump("d").await;
        satisfied(versions(&held) == versions(&before), format!("{} of {} keys", held.len(), before.len()))
    })
    .await;

    // The new directory writes under a name of its own: no version of it can be taken for one that was lost.
    let client = cluster.client(&["d"]);
    for lost in before.iter().take(10) {
        let dot = client.put(lost.key.clone(), "new").consistency(Consistency::All).await.unwrap().dot;
        let given: Vec<_> = before.iter().filter(|it| it.partition == lost.partition).collect();
        assert!(
            !given.iter().any(|it| it.versions.iter().any(|(it, _)| *it == dot)),
            "{dot:?} twice: {given:?}"
        );
    }
}
