//! One of four members is killed under load: requests go on, none hangs, and the member, restarted, is brought up to
//! date, by hints alone and by anti-entropy alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chinwag_client::wire::WireDot;
use chinwag_client::{Client, Consistency};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::cluster::Cluster;
use crate::process::{satisfied, wait_until};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const SURVIVORS: [&str; 3] = ["a", "b", "c"];
const VICTIM: &str = "d";

/// Keys written before, while and after the member goes.
const KEYS_PER_PHASE: usize = 100;
/// A write whose outcome is unknown is repeated, with another value, at most this often.
const ATTEMPTS_MAX: usize = 20;

/// Acknowledged versions, by key. A key has several if a write of unknown outcome was repeated.
type Acknowledged = BTreeMap<String, WireDot>;

#[tokio::test]
async fn hints_alone_bring_a_killed_replica_up_to_date() {
    let mut cluster = Cluster::start(&NAMES, &["--anti-entropy", "off", "--read-repair", "off"]).await;
    let acknowledged = write_while_a_member_is_killed(&mut cluster).await;
    wait_until("somebody keeps hints for the member", async || {
        satisfied(hints(&cluster).await > 0, "no hints")
    })
    .await;
    cluster.restart(&[VICTIM]).await;
    holds_all_it_owns(&cluster, &acknowledged).await;
    wait_until("hints that were delivered are deleted", async || {
        let left = hints(&cluster).await;
        satisfied(left == 0, left)
    })
    .await;
}

#[tokio::test]
async fn anti_entropy_alone_brings_a_killed_replica_up_to_date() {
    let flags = ["--hinted-handoff", "off", "--read-repair", "off", "--anti-entropy", "500ms"];
    let mut cluster = Cluster::start(&NAMES, &flags).await;
    let acknowledged = write_while_a_member_is_killed(&mut cluster).await;
    assert_eq!(hints(&cluster).await, 0, "hinted handoff is off");
    cluster.restart(&[VICTIM]).await;
    holds_all_it_owns(&cluster, &acknowledged).await;
}

/// Writes at QUORUM through the survivors before, while and after the victim is killed; reads everything back at
/// QUORUM while it is down.
async fn write_while_a_member_is_killed(cluster: &mut Cluster) -> Acknowledged {
    let clients = SURVIVORS.map(|name| cluster.client(&[name]).with_timeout(Duration::from_secs(1)));
    let mut acknowledged = write_all(&clients, "before").collect().await;

    let mut writes = write_all(&clients, "while");
    acknowledged.extend([writes.next().await]);
    cluster.kill(VICTIM);
    acknowledged.extend(writes.collect().await);
    cluster.seen_as(VICTIM, "down").await;

    // From here on nobody waits for it: each request succeeds at once.
    let clients = SURVIVORS.map(|name| cluster.client(&[name]));
    for index in 0..KEYS_PER_PHASE {
        let (key, client) = (format!("after-{index}"), &clients[index % clients.len()]);
        let receipt = client.put(key.clone(), "v").await.expect("a quorum is alive");
        acknowledged.insert(key, receipt.dot);
    }
    assert_eq!(acknowledged.len(), 3 * KEYS_PER_PHASE);
    for (index, (key, dot)) in acknowledged.iter().enumerate() {
        let value = clients[index % clients.len()].get(key.clone()).await.expect("a quorum is alive");
        assert!(value.siblings.iter().any(|it| it.dot == *dot), "{key} has lost {dot:?}: {value:?}");
    }
    acknowledged
}

/// Writes under way, and those acknowledged so far.
struct Writes(mpsc::Receiver<(String, WireDot)>);

/// Starts to write one phase's keys, some at a time through each client.
fn write_all(clients: &[Client; 3], phase: &'static str) -> Writes {
    const SESSIONS: usize = 8;
    let (sender, acknowledged) = mpsc::channel(1);
    for session in 0..SESSIONS {
        let (client, sender) = (clients[session % clients.len()].clone(), sender.clone());
        tokio::spawn(async move {
            for index in (session..KEYS_PER_PHASE).step_by(SESSIONS) {
                let key = format!("{phase}-{index}");
                let dot = put_until_acknowledged(&client, &key).await;
                sender.send((key, dot)).await.expect("the test takes every acknowledgement");
            }
        });
    }
    Writes(acknowledged)
}

impl Writes {
    async fn next(&mut self) -> (String, WireDot) {
        self.0.recv().await.expect("the sessions acknowledge every key")
    }

    async fn collect(mut self) -> Acknowledged {
        let mut all = Acknowledged::new();
        while let Some((key, dot)) = self.0.recv().await {
            all.insert(key, dot);
        }
        all
    }
}

async fn put_until_acknowledged(client: &Client, key: &str) -> WireDot {
    let mut errors = Vec::new();
    while errors.len() < ATTEMPTS_MAX {
        match client.put(key.to_owned(), format!("attempt {}", errors.len())).await {
            Ok(receipt) => return receipt.dot,
            Err(error) => errors.push(error.to_string()),
        }
    }
    panic!("{key} cannot be written at quorum: {errors:#?}");
}

/// How many hints the survivors keep.
async fn hints(cluster: &Cluster) -> usize {
    let mut count = 0;
    for name in SURVIVORS {
        count += cluster.dump(name).await.iter().filter(|it| it.hint_for.as_deref() == Some(VICTIM)).count();
    }
    count
}

/// Waits until the victim itself holds every acknowledged write of the keys it owns.
async fn holds_all_it_owns(cluster: &Cluster, acknowledged: &Acknowledged) {
    cluster.all_alive().await;
    let client = cluster.client(&["a"]);
    let mut owned = BTreeSet::new();
    for (key, dot) in acknowledged {
        if client.locate(key.clone()).await.unwrap().owners.iter().any(|it| it == VICTIM) {
            owned.insert((key.clone(), *dot));
        }
    }
    let missed = owned.iter().filter(|(key, _)| key.starts_with("after")).count();
    assert!(missed > 0, "the member owns something that was written while it was down");
    wait_until("the member holds every acknowledged write of its keys", async || {
        let mut held = BTreeSet::new();
        for entry in cluster.dump(VICTIM).await.into_iter().filter(|it| it.hint_for.is_none()) {
            let key = String::from_utf8(entry.key.to_vec()).unwrap();
            held.extend(entry.versions.iter().map(|(dot, _)| (key.clone(), *dot)));
        }
        let missing: Vec<_> = owned.difference(&held).collect();
        satisfied(missing.is_empty(), format!("{} of {} missing: {missing:?}", missing.len(), owned.len()))
    })
    .await;
}

#[tokio::test]
async fn fallbacks_stand_in_for_killed_replicas_unless_primaries_are_asked_for() {
    let mut cluster = Cluster::start(&NAMES, &["--anti-entropy", "off", "--read-repair", "off"]).await;
    let key = owned_by_both(&cluster, ["c", "d"]).await;
    cluster.kill("c");
    cluster.kill("d");
    cluster.seen_as("c", "down").await;
    cluster.seen_as("d", "down").await;

    let strict = cluster.run("a", &["put", &key, "strict", "--primaries"]).await;
    strict.assert_failed(2, &["2 replicas must answer and 1 of the key's primaries"]);
    let sloppy = cluster.run("a", &["put", &key, "sloppy", "--json"]).await.json();
    assert_eq!(sloppy["replicas"].as_array().unwrap().len(), 2, "{sloppy}");
    let read = cluster.run("b", &["get", &key, "--json"]).await.json();
    assert_eq!(read["siblings"].as_array().unwrap().len(), 1, "what was refused is not stored: {read}");
    assert_eq!(read["siblings"][0]["value"], "sloppy");

    cluster.restart(&["c", "d"]).await;
    for name in ["c", "d"] {
        wait_until("the owner gets the write it missed", async || {
            let local = cluster.run(name, &["get", &key, "--local", "--raw"]).await;
            satisfied(local.stdout == b"sloppy", local)
        })
        .await;
    }
}

/// A key of which two owners are these.
async fn owned_by_both(cluster: &Cluster, owners: [&str; 2]) -> String {
    let client = cluster.client(&["a"]);
    for key in (0..1_000).map(|it| format!("key-{it}")) {
        let located = client.locate(key.clone()).await.unwrap();
        if owners.iter().all(|&owner| located.owners.iter().any(|it| it == owner)) {
            return key;
        }
    }
    panic!("{owners:?} share no key");
}

#[tokio::test]
async fn no_request_hangs_when_a_member_is_killed() {
    const REQUESTS: usize = 200;
    /// What a request may take, and beyond it what the client adds for the way and for a machine under load.
    const TIMEOUT: Duration = Duration::from_secs(2);
    const GRACE: Duration = Duration::from_secs(8);
    let mut cluster = Cluster::start(&NAMES, &[]).await;
    let clients = NAMES.map(|name| cluster.client(&[name]).with_timeout(TIMEOUT));
    let (sender, mut outcomes) = mpsc::channel(REQUESTS);
    // Twice: when the member is killed under them, and while the others do not know it yet.
    for wave in 0..2 {
        for index in 0..REQUESTS {
            let (client, sender) = (clients[index % clients.len()].clone(), sender.clone());
            let key = format!("{wave}-{index}");
            tokio::spawn(async move {
                let request = async {
                    if index % 8 < 4 {
                        client.put(key, "v").consistency(Consistency::Quorum).await.map(drop)
                    } else {
                        client.get(key).consistency(Consistency::Quorum).await.map(drop)
                    }
                };
                let outcome = timeout(TIMEOUT + GRACE, request).await;
                sender.send((index, outcome)).await.expect("the test takes every outcome");
            });
        }
        let mut ended = vec![outcomes.recv().await.unwrap()];
        if wave == 0 {
            cluster.kill(VICTIM);
        }
        while ended.len() < REQUESTS {
            ended.push(outcomes.recv().await.unwrap());
        }
        let hung: Vec<_> =
            ended.iter().filter(|(_, outcome)| outcome.is_err()).map(|(index, _)| index).collect();
        assert!(hung.is_empty(), "wave {wave}: {hung:?} did not end");
        let answered = ended.iter().filter(|(_, outcome)| matches!(outcome, Ok(Ok(())))).count();
        assert!(answered > 0, "wave {wave}: nothing was answered: {ended:?}");
    }
}
