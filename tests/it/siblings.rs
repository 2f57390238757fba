//! Concurrent writes become siblings, one context covers them, and each member shows what it holds itself.

use std::collections::BTreeSet;

use chinwag_client::wire::DumpEntry;
use serde_json::Value;

use crate::cluster::Cluster;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEY: &str = "cart";

/// The values of an answer to get.
fn values(got: &Value) -> BTreeSet<&str> {
    got["siblings"].as_array().unwrap().iter().map(|it| it["value"].as_str().unwrap()).collect()
}

/// What a member's dump says of the key: its values, `None` for a tombstone.
fn held(dump: &[DumpEntry]) -> Vec<Option<&[u8]>> {
    let of_key = dump.iter().filter(|it| it.key == KEY);
    of_key.flat_map(|it| &it.versions).map(|(_, value)| value.as_deref()).collect()
}

#[tokio::test]
async fn two_blind_puts_are_siblings_until_a_context_covers_them() {
    let cluster = Cluster::start(&NAMES, &[]).await;
    // At ALL, so that what every member holds is settled once the command has ended.
    cluster.run("a", &["put", KEY, "tea", "--consistency", "all"]).await.text();
    cluster.run("b", &["put", KEY, "milk", "--consistency", "all"]).await.text();
    let got = cluster.run("c", &["get", KEY, "--json"]).await.json();
    assert_eq!(values(&got), BTreeSet::from(["milk", "tea"]));
    every_member_shows_its_own(&cluster, &["milk", "tea"]).await;

    let both = got["context"].as_str().unwrap();
    let put = ["put", KEY, "tea with milk", "--context", both, "--consistency", "all"];
    cluster.run("d", &put).await.text();
    for name in NAMES {
        let got = cluster.run(name, &["get", KEY, "--json"]).await.json();
        assert_eq!(values(&got), BTreeSet::from(["tea with milk"]), "through {name}");
    }
    every_member_shows_its_own(&cluster, &["tea with milk"]).await;

    delete_needs_a_context(&cluster).await;
}

/// `get --local` and the dump of owners have exactly `wanted`, those of others nothing.
async fn every_member_shows_its_own(cluster: &Cluster, wanted: &[&str]) {
    let owners = cluster.owners(KEY).await;
    assert_eq!(owners.len(), 3);
    for name in NAMES {
        let is_owner = owners.iter().any(|it| it == name);
        let local = cluster.run(name, &["get", KEY, "--local", "--json"]).await;
        let dump = cluster.dump(name).await;
        if is_owner {
            assert_eq!(local.code, Some(0), "{local:?}");
            assert_eq!(values(&local.json()), wanted.iter().copied().collect(), "{name} itself");
            let held: BTreeSet<_> = held(&dump).into_iter().collect();
            assert_eq!(held, wanted.iter().map(|it| Some(it.as_bytes())).collect(), "{name} dumps");
        } else {
            assert_eq!(local.code, Some(1), "{local:?}");
            assert_eq!(dump, [], "{name} owns nothing of it");
        }
    }
}

async fn delete_needs_a_context(cluster: &Cluster) {
    cluster.run("a", &["delete", KEY]).await.assert_failed(2, &["a delete needs the context", "chinwag get"]);
    let before = cluster.run("a", &["get", KEY, "--json"]).await.json();
    assert_eq!(values(&before), BTreeSet::from(["tea with milk"]), "nothing was deleted");

    let context = before["context"].as_str().unwrap();
    cluster.run("b", &["delete", KEY, "--context", context, "--consistency", "all"]).await.text();
    for name in NAMES {
        let gone = cluster.run(name, &["get", KEY]).await;
        gone.assert_failed(1, &["cart has no value"]);
        assert!(gone.stdout.is_empty(), "{gone:?}");
        cluster.run(name, &["get", KEY, "--local"]).await.assert_failed(1, &[]);
    }
    for name in cluster.owners(KEY).await {
        assert_eq!(held(&cluster.dump(&name).await), [None], "{name} holds a tombstone");
        let line = cluster.run(&name, &["dump", "--json"]).await.json_lines().pop().unwrap();
        assert_eq!((&line["key"], &line["versions"][0]["deleted"]), (&KEY.into(), &true.into()));
    }
}
