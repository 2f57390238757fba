//! Buckets: each with its own N, kind, lifetime and limits, on members that share a table.

use std::collections::BTreeSet;
use std::num::NonZeroU8;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::wire::DumpEntry;
use chinwag_client::{Client, Consistency, RequestError};
use chinwag_node::membership::Copies;
use chinwag_node::storage::MemoryEngine;
use chinwag_node::{Bucket, Buckets, Config, Kind, Node, StartError};

use super::support::{HandClock, acquainted, client, parts_on, quiet, secret, start, start_at};

const KEYS: usize = 30;
/// More rounds than it takes members to agree, and to know that of each other.
const ROUNDS_MAX: usize = 6;
const TTL: Duration = Duration::from_secs(600);

fn memory() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new())
}

fn table(buckets: impl IntoIterator<Item = Bucket>) -> Buckets {
    Buckets::new(buckets).unwrap()
}

fn with(buckets: &Buckets, mut config: Config) -> Config {
    config.buckets = buckets.clone();
    config
}

fn own_n(name: &str, n: u8) -> Bucket {
    Bucket { n: Some(Copies::new(n).unwrap()), ..Bucket::new(name) }
}

fn lww() -> Bucket {
    Bucket { kind: Kind::Lww, ..Bucket::new("seen") }
}

fn at_least(count: u8) -> Consistency {
    Consistency::Count(NonZeroU8::new(count).unwrap())
}

async fn dump(node: &Node) -> Vec<DumpEntry> {
    let (client, mut entries, mut after) = (client(node), Vec::new(), None);
    loop {
        let page = client.dump(after).await.unwrap();
        entries.extend(page.entries);
        after = page.next;
        if after.is_none() {
            return entries;
        }
    }
}

/// The keys of a bucket that a member holds.
async fn held(node: &Node, bucket: &str) -> BTreeSet<Bytes> {
    dump(node).await.into_iter().filter(|it| it.bucket == bucket).map(|it| it.key).collect()
}

/// Rounds of everyone with everyone until all trees and clocks are alike.
async fn repair_until_equal(nodes: &[&Node]) {
    for round in 0.. {
        assert!(round < ROUNDS_MAX, "{ROUNDS_MAX} rounds were not enough");
        let mut differed = 0;
        for node in nodes {
            let report = client(node).repair().await.unwrap();
            assert_eq!(report.failed, []);
            differed += report.partitions_differed;
        }
        if differed == 0 {
            return;
        }
    }
}

async fn owned(at: &Client, name: &str) -> BTreeSet<Bytes> {
    let mut owned = BTreeSet::new();
    for number in 0..KEYS {
        let key = Bytes::from(format!("k{number}"));
        if at.locate(key.clone()).await.unwrap().owners.iter().any(|it| it == name) {
            owned.insert(key);
        }
    }
    owned
}

#[tokio::test]
async fn each_bucket_lives_on_as_many_members_as_its_n_and_is_repaired_on_all_of_them() {
    let buckets = table([own_n("wide", 4), own_n("narrow", 1)]);
    let config = |name, seeds: &[&Node]| with(&buckets, quiet(name, 2, seeds));
    let a = start(config("a", &[]), memory()).await;
    let b = start(config("b", &[&a]), memory()).await;
    let c = start(config("c", &[&a]), memory()).await;
    let d = start(config("d", &[&a]), memory()).await;
    acquainted(&[&a, &b, &c, &d]).await;
    let at = |node: &Node, bucket: &str| client(node).bucket(bucket);
    for number in 0..KEYS {
        for (bucket, copies) in [("default", 2), ("wide", 4), ("narrow", 1)] {
            let put = at(&a, bucket).put(format!("k{number}"), bucket).consistency(Consistency::All).await;
            assert_eq!(put.unwrap().replicas.len(), copies);
        }
    }
    for (bucket, copies) in [("default", 2), ("wide", 4), ("narrow", 1)] {
        assert_eq!(at(&b, bucket).ring().await.unwrap().n, copies);
        for level in [at_least(copies + 1), at_least(7)] {
            let refused = at(&b, bucket).get("k1").consistency(level).await.unwrap_err();
            let says = format!("keys have N = {copies} in the bucket {bucket}");
            assert!(matches!(&refused, RequestError::Invalid(text) if text.contains(&says)), "{refused}");
        }
    }

    // A disk is lost: what others hold too comes back, for each N to its own owners, and to nobody else.
    d.crash().await;
    let d = start_at(config("d", &[&a]), memory(), HandClock::off_by(5000)).await;
    acquainted(&[&a, &b, &c, &d]).await;
    assert!(dump(&d).await.is_empty());
    repair_until_equal(&[&a, &b, &c, &d]).await;
    for (bucket, is_elsewhere) in [("default", true), ("wide", true), ("narrow", false)] {
        let owned = owned(&at(&a, bucket), "d").await;
        assert!(!owned.is_empty());
        let expected = if is_elsewhere { owned } else { BTreeSet::new() };
        assert_eq!(held(&d, bucket).await, expected, "{bucket}");
    }
    assert_eq!(held(&d, "wide").await.len(), KEYS);
    for node in [&a, &b, &c, &d] {
        assert_eq!(node.wrong_trees().unwrap(), [0; 0]);
        let got = at(node, "wide").get("k7").consistency(at_least(4)).await.unwrap();
        assert_eq!(got.siblings[0].value, "wide", "the same key is another one in another bucket");
    }
}

#[tokio::test]
async fn the_last_writer_wins_everywhere_although_clocks_differ() {
    let buckets = table([lww()]);
    let config = |name, seeds: &[&Node]| with(&buckets, quiet(name, 3, seeds));
    let a = start_at(config("a", &[]), memory(), HandClock::off_by(400)).await;
    let b = start_at(config("b", &[&a]), memory(), HandClock::off_by(0)).await;
    let c = start_at(config("c", &[&a]), memory(), HandClock::off_by(-400)).await;
    let nodes = [&a, &b, &c];
    acquainted(&nodes).await;
    let clients = nodes.map(|node| client(node).bucket("seen"));
    for number in 0..KEYS {
        let key = format!("k{number}");
        let puts = clients.iter().zip(["a", "b", "c"]);
        let puts =
            puts.map(|(at, value)| at.put(key.clone(), value).consistency(Consistency::One).into_future());
        for put in futures_util::future::join_all(puts).await {
            assert!(put.unwrap().context.is_empty());
        }
        // A write after a quorum has the others wins, also through the member whose clock is behind.
        if number % 2 == 0 {
            clients[0].put(key.clone(), "early").consistency(Consistency::All).await.unwrap();
            clients[2].put(key, "late").consistency(Consistency::All).await.unwrap();
        }
    }
    repair_until_equal(&nodes).await;
    let everything = dump(&a).await;
    assert_eq!(everything.len(), KEYS);
    assert!(everything.iter().all(|it| it.versions.len() == 1), "one value of each");
    for node in nodes {
        assert_eq!(dump(node).await, everything);
    }
    for number in (0..KEYS).step_by(2) {
        let got = clients[1].get(format!("k{number}")).await.unwrap();
        assert_eq!(got.siblings[0].value, "late");
        assert!(got.siblings.len() == 1 && got.context.is_empty());
    }

    // A delete is a write like any other.
    clients[2].delete("k0", None).consistency(Consistency::All).await.unwrap();
    repair_until_equal(&nodes).await;
    assert_eq!(clients[0].get("k0").await.unwrap().siblings, []);
    repair_until_equal(&nodes).await;
    assert!(nodes.iter().all(|node| node.tombstones() == 0), "all have seen its end");
}

#[tokio::test]
async fn a_clock_too_far_ahead_wins_no_race() {
    let buckets = table([lww()]);
    let config = |name, seeds: &[&Node]| with(&buckets, quiet(name, 3, seeds));
    let a = start(config("a", &[]), memory()).await;
    let b = start(config("b", &[&a]), memory()).await;
    let ahead = start_at(config("c", &[&a]), memory(), HandClock::off_by(3500)).await;
    acquainted(&[&a, &b, &ahead]).await;
    let [at_a, at_ahead] = [&a, &ahead].map(|node| client(node).bucket("seen"));
    let refused = at_ahead.put("k", "from the future").await.unwrap_err();
    let by = "is 3.5s ahead of this member's clock, and may be 1s at most";
    assert!(matches!(&refused, RequestError::Unknown(text) if text.contains(by)), "{refused}");
    at_a.put("k", "now").await.unwrap();
    assert_eq!(
        at_a.get("k").consistency(Consistency::One).local(true).await.unwrap().siblings[0].value,
        "now"
    );

    // What one member did store reaches the others in time, and then is not overwritten by what is older.
    client(&a).repair().await.unwrap();
    let refused = at_a.put("k", "later").await.unwrap_err();
    assert!(matches!(&refused, RequestError::Unavailable(text) if text.contains(by)), "{refused}");
    assert!(refused.nothing_changed());
}

#[tokio::test]
async fn what_has_expired_reads_as_deleted_and_does_not_come_back() {
    let buckets = table([Bucket { ttl: Some(TTL), ..Bucket::new("sessions") }]);
    let config = |name, seeds: &[&Node]| with(&buckets, quiet(name, 3, seeds));
    let clocks = [0, 300, -300].map(HandClock::off_by);
    let a = start_at(config("a", &[]), memory(), clocks[0].clone()).await;
    let b = start_at(config("b", &[&a]), memory(), clocks[1].clone()).await;
    let c = start_at(config("c", &[&a]), memory(), clocks[2].clone()).await;
    acquainted(&[&a, &b, &c]).await;
    let sessions = client(&a).bucket("sessions");
    for key in ["ends", "renewed"] {
        sessions.put(key, "v").consistency(Consistency::All).await.unwrap();
    }
    client(&a).put("for ever", "v").consistency(Consistency::All).await.unwrap();
    let advance = |by| clocks.iter().for_each(|clock| clock.advance(by));
    advance(TTL / 2);
    let seen = sessions.get("renewed").await.unwrap().context;
    sessions.put("renewed", "again").context(seen).consistency(Consistency::All).await.unwrap();
    advance(TTL / 2 + Duration::from_secs(1));

    assert_eq!(sessions.get("ends").await.unwrap().siblings, []);
    assert_eq!(
        sessions.get("renewed").await.unwrap().siblings.len(),
        1,
        "it lives as long as its last version"
    );
    for node in [&a, &b, &c] {
        let entries = dump(node).await;
        let ends = entries.iter().find(|it| it.key == "ends").unwrap();
        assert_eq!(ends.versions[0].1, None, "every member says the same");
    }
    repair_until_equal(&[&a, &b, &c]).await;
    assert_eq!(held(&a, "sessions").await.len(), 2, "clocks differ: its record is not removed at once");

    // One member has lost its disk when the others remove the record: it learns of no value that could come back.
    advance(Duration::from_secs(120));
    repair_until_equal(&[&a, &b, &c]).await;
    for node in [&a, &b, &c] {
        client(node).repair().await.unwrap();
        assert_eq!(held(node, "sessions").await, BTreeSet::from(["renewed".into()]));
    }
    c.crash().await;
    let c = start_at(config("c", &[&a]), memory(), clocks[2].clone()).await;
    acquainted(&[&a, &b, &c]).await;
    repair_until_equal(&[&a, &b, &c]).await;
    for node in [&a, &b, &c] {
        assert_eq!(held(node, "sessions").await, BTreeSet::from(["renewed".into()]));
        assert_eq!(client(node).bucket("sessions").get("ends").await.unwrap().siblings, []);
    }
    assert_eq!(client(&c).get("for ever").await.unwrap().siblings.len(), 1);
}

#[tokio::test]
async fn what_a_bucket_does_not_take_is_refused_in_words() {
    let small = Bucket { value_bytes_max: Some(3), siblings_max: Some(2), ..Bucket::new("small") };
    let config = with(&table([lww(), small]), quiet("a", 1, &[]));
    let a = start(config, memory()).await;
    let (default, seen, small) = (client(&a), client(&a).bucket("seen"), client(&a).bucket("small"));

    let nowhere = client(&a).bucket("sene").get("k").await.unwrap_err();
    assert_eq!(nowhere.to_string(), "there is no bucket \"sene\": there are default, seen, small");

    let context = default.put("k", "v").await.unwrap().context;
    for refused in [
        seen.put("k", "v").context(context.clone()).await.unwrap_err(),
        seen.delete("k", context.clone()).await.unwrap_err(),
    ] {
        assert!(
            matches!(&refused, RequestError::WrongKind(text) if text.contains("the bucket seen")),
            "{refused}"
        );
        assert!(refused.nothing_changed());
    }
    let refused = default.delete("k", None).await.unwrap_err();
    assert!(refused.to_string().contains("needs the context"), "{refused}");
    let refused = small.put("k", "v").context(context).await.unwrap_err();
    assert!(
        refused.to_string().contains("was not made for this key"),
        "a context is its bucket's: {refused}"
    );

    let refused = small.put("k", "1234").await.unwrap_err();
    assert_eq!(refused.to_string(), "the value has 4 bytes, the limit is 3");
    for value in ["1", "2"] {
        small.put("k", value).await.unwrap();
    }
    let refused = small.put("k", "3").await.unwrap_err();
    assert!(refused.to_string().contains("already has 2 siblings") && refused.nothing_changed(), "{refused}");
    let got = small.get("k").await.unwrap();
    assert_eq!(got.siblings.len(), 2, "nothing was lost");
    small.put("k", "12").context(got.context).await.unwrap();
    assert_eq!(small.get("k").await.unwrap().siblings.len(), 1);
}

#[tokio::test]
async fn a_directory_keeps_the_kind_and_n_of_its_buckets() {
    let engine = MemoryEngine::new();
    let config = |buckets| with(&buckets, quiet("a", 3, &[]));
    let first = config(table([own_n("carts", 2)]));
    start(first.clone(), Arc::new(engine.reopen())).await.shutdown().await.unwrap();
    for (buckets, says) in [
        (table([Bucket { kind: Kind::Lww, ..own_n("carts", 2) }]), "started with kind lww and n 2"),
        (table([own_n("carts", 5)]), "started with kind siblings and n 5"),
        (Buckets::default(), "started without it"),
        (table([own_n("carts", 2), Bucket { kind: Kind::Lww, ..Bucket::new("default") }]), "bucket default"),
    ] {
        let refused = Node::start(config(buckets), &secret(), parts_on(Arc::new(engine.reopen()))).await;
        let error = refused.map(drop).unwrap_err();
        assert!(matches!(error, StartError::Bucket { .. }) && error.to_string().contains(says), "{error}");
    }
    let more = [Bucket { ttl: Some(TTL), ..own_n("carts", 2) }, lww()];
    start(config(table(more)), Arc::new(engine.reopen())).await.shutdown().await.unwrap();
    let refused = Node::start(first, &secret(), parts_on(Arc::new(engine.reopen()))).await;
    let error = refused.map(drop).unwrap_err().to_string();
    assert!(error.contains("kind lww and n 3 for the bucket seen"), "what was added is noted too: {error}");
}
