//! Backups of members that run and that are stopped, directories restored from them, and looks into stopped directories.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::cluster::Cluster;
use crate::process::{Ran, chinwag, satisfied, wait_until};

const NAMES: [&str; 3] = ["a", "b", "c"];
const KEYS: usize = 50;

fn key(index: usize) -> String {
    format!("key-{index}")
}

async fn filled(flags: &[&str]) -> Cluster {
    let cluster = Cluster::start(&NAMES, flags).await;
    let client = cluster.client(&NAMES);
    for index in 0..KEYS {
        client.put(key(index), "old").consistency(chinwag_client::Consistency::All).await.unwrap();
    }
    client.put(key(0), "sibling").consistency(chinwag_client::Consistency::All).await.unwrap();
    let seen = client.get(key(1)).await.unwrap().context;
    client.delete(key(1), seen).consistency(chinwag_client::Consistency::All).await.unwrap();
    cluster
}

/// Runs a command about a member's directory, with the cluster's secret.
async fn about(cluster: &Cluster, arguments: &[&str]) -> Ran {
    let mut command = chinwag();
    command.env("CHINWAG_SECRET", cluster.secret());
    Ran::to_end(command.args(arguments), b"").await
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Every file below a directory, with its contents and when it was changed last.
fn files(path: &Path) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            let changed = path.metadata().unwrap().modified().unwrap();
            all.insert(path.clone(), (std::fs::read(&path).unwrap(), changed));
        }
    }
    all
}

#[tokio::test]
async fn a_stopped_directory_is_looked_into_and_left_as_it_was() {
    let mut cluster = filled(&["--anti-entropy", "off"]).await;
    let data = cluster.data("a");
    for look in ["check", "stats", "dump"] {
        let refused = about(&cluster, &["store", look, "--data", text(&data)]).await;
        refused.assert_failed(2, &["is in use", "stop the member first"]);
    }
    // Killed, so that its journal ends anywhere.
    cluster.kill("c");
    cluster.seen_as("c", "down").await;
    cluster.run("a", &["put", "hinted", "v"]).await.text();
    let keeps_hint = async |name: &str| cluster.dump(name).await.iter().any(|it| it.hint_for.is_some());
    wait_until("a hint is kept", async || {
        satisfied(keeps_hint("a").await || keeps_hint("b").await, "no hint")
    })
    .await;
    let keeper = if keeps_hint("a").await { "a" } else { "b" };
    cluster.kill(keeper);
    let data = cluster.data(keeper);
    let before = files(&data);

    let checked = about(&cluster, &["store", "check", "--data", text(&data)]).await;
    assert!(checked.text().contains(" records checked, 0 faults"), "{checked:?}");
    let stats = about(&cluster, &["store", "stats", "--data", text(&data), "--json"]).await.json();
    assert_eq!(stats["tables"]["keys"]["records"], KEYS + 1, "{stats}");
    assert_eq!(stats["siblings"], serde_json::json!({"1": KEYS, "2": 1}), "{stats}");
    assert_eq!(stats["tombstones"], 1, "{stats}");
    assert_eq!(
        (&stats["hints"][0]["target"], &stats["hints"][0]["keys"]),
        (&"c".into(), &1.into()),
        "{stats}"
    );
    let readable = about(&cluster, &["store", "stats", "--data", text(&data)]).await;
    assert!(readable.text().contains("hints for  keys"), "{readable:?}");
    let lines = about(&cluster, &["store", "dump", "--data", text(&data)]).await.json_lines();
    let of = |name: &str| lines.iter().find(|it| it["key"] == name && it["hint_for"].is_null()).unwrap();
    assert_eq!(of(&key(0))["versions"].as_array().unwrap().len(), 2);
    assert_eq!(of(&key(1))["versions"][0]["deleted"], true);
    assert_eq!(of(&key(2))["versions"][0]["value"], "old");
    assert_eq!(lines.iter().filter(|it| it["hint_for"] == "c").count(), 1);
    assert!(files(&data) == before, "nothing in the directory has changed");

    cluster.restart(&[keeper]).await;
    let foreign = about(&cluster, &["store", "check", "--data", text(&cluster.path("nowhere"))]).await;
    foreign.assert_failed(2, &["there is no such directory"]);
}

#[tokio::test]
async fn a_running_members_backup_restores_to_a_member_that_catches_up() {
    let mut cluster = filled(&["--anti-entropy", "500ms"]).await;
    let (file, data) = (cluster.path("a.backup"), cluster.data("a"));
    let made = about(&cluster, &["backup", "--data", text(&data), "--out", text(&file)]).await;
    assert!(made.text().contains(" records in "), "{made:?}");
    let again = about(&cluster, &["backup", "--data", text(&data), "--out", text(&file)]).await;
    again.assert_failed(2, &["exists already"]);

    // What is acknowledged after the backup, the deletes among it, by all, the lost member included.
    let client = cluster.client(&NAMES);
    let all = chinwag_client::Consistency::All;
    for index in 2..KEYS {
        let seen = client.get(key(index)).await.unwrap().context;
        let written = if index % 2 == 0 {
            client.put(key(index), "new").context(seen)
        } else {
            client.delete(key(index), seen)
        };
        written.consistency(all).await.unwrap();
    }
    let generation = generation_of(&cluster, "a").await;
    cluster.kill("a");
    std::fs::remove_dir_all(&data).unwrap();
    damaged_backups_make_nothing(&cluster, &file, &data).await;
    let restored = about(&cluster, &["restore", "--from", text(&file), "--data", text(&data)]).await;
    assert!(restored.text().contains(" records restored to "), "{restored:?}");
    cluster.restart(&["a"]).await;
    cluster.all_alive().await;
    assert!(generation_of(&cluster, "a").await > generation);

    // It coordinates before it has been repaired: nothing of its own is confused with what it has forgotten.
    let restored = cluster.client(&["a"]);
    for index in 0..KEYS {
        restored.put(key(index), "restored").consistency(all).await.unwrap();
    }
    wait_until("all replicas agree, and nothing is lost or back from before", async || {
        let dumps = [cluster.dump("a").await, cluster.dump("b").await, cluster.dump("c").await];
        let agree = dumps.iter().all(|dump| *dump == dumps[0]);
        let mut wrong = Vec::new();
        for index in 0..KEYS {
            let found = client.get(key(index)).await.unwrap();
            let mut values: Vec<_> = found.siblings.iter().map(|it| it.value.clone()).collect();
            values.sort();
            let expected: &[&str] = match index {
                0 => &["old", "restored", "sibling"],
                index if index == 1 || index % 2 == 1 => &["restored"],
                _ => &["new", "restored"],
            };
            if values != expected {
                wrong.push((index, values));
            }
        }
        satisfied(agree && wrong.is_empty(), (agree, wrong))
    })
    .await;
}

async fn damaged_backups_make_nothing(cluster: &Cluster, file: &Path, data: &Path) {
    let whole = std::fs::read(file).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, words) in [
        (&whole[..whole.len() - 1], "it is cut short"),
        (&flipped[..], "it is damaged"),
        (&b"#!/bin/sh\necho something else\n"[..], "it is no chinwag backup"),
    ] {
        let broken = cluster.path("broken.backup");
        std::fs::write(&broken, bytes).unwrap();
        let refused = about(cluster, &["restore", "--from", text(&broken), "--data", text(data)]).await;
        refused.assert_failed(2, &["broken.backup cannot be restored", words]);
        assert!(!data.exists(), "nothing is made of it");
    }
}

async fn generation_of(cluster: &Cluster, name: &str) -> u64 {
    let members = cluster.run("b", &["members", "--json"]).await.json();
    let is_it = |it: &&Json| it["name"] == name;
    members["members"].as_array().unwrap().iter().find(is_it).unwrap()["generation"].as_u64().unwrap()
}

#[tokio::test]
async fn a_stopped_members_backup_is_read_from_its_directory() {
    let mut cluster = filled(&[]).await;
    cluster.terminate_all().await;
    let (file, data, new) = (cluster.path("b.backup"), cluster.data("b"), cluster.path("new.data"));
    let before = files(&data);
    let made =
        about(&cluster, &["backup", "--data", text(&data), "--out", text(&file), "--json"]).await.json();
    assert!(made["records"].as_u64().unwrap() > KEYS as u64 && made["damaged"] == 0, "{made}");
    assert!(files(&data) == before, "nothing in the directory has changed");
    about(&cluster, &["restore", "--from", text(&file), "--data", text(&new)]).await.text();
    let lines = |data: PathBuf| {
        let cluster = &cluster;
        async move { about(cluster, &["store", "dump", "--data", text(&data)]).await.json_lines() }
    };
    assert_eq!(lines(new.clone()).await, lines(data).await);
    let full = about(&cluster, &["restore", "--from", text(&file), "--data", text(&new)]).await;
    full.assert_failed(2, &["exists already"]);
}
