//! Members killed at random moments under load and started again: every acknowledged write is still there, nothing else
//! is, no version's name was given twice, and the store opens every time. A few kills here; `benches/kills.rs` runs as
//! many as it is told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chinwag_client::wire::WireDot;
use chinwag_client::{Client, Context, RequestError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

/// Clients that write side by side, and keys of each.
const SESSIONS: usize = 16;
const KEYS_PER_SESSION: usize = 8;
/// Puts under way while the filler is written.
const FILLERS: usize = 64;
/// When a kill comes, from the first write after the last start.
const KILL_AFTER: std::ops::Range<Duration> = Duration::from_millis(5)..Duration::from_millis(500);
/// How long members go on without the killed one, where there are others.
const WITHOUT: Duration = Duration::from_millis(200);
/// A client waits this long for an answer; a killed member gives none.
const TIMEOUT: Duration = Duration::from_secs(2);
const NAMES: [&str; 3] = ["a", "b", "c"];

/// What to run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) kills: usize,
    /// As `chinwag node --durability` takes it.
    pub(crate) durability: String,
    /// One, which owns all keys alone, or three, which all own all.
    pub(crate) members: usize,
    /// Keys of 100 bytes that are there from the start, so that opening takes its time.
    pub(crate) filler: usize,
    pub(crate) seed: u64,
}

/// What came of it; a run that breaks a promise panics instead.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) acknowledged: u64,
    /// Writes that a kill left without an answer.
    pub(crate) unknown: u64,
    /// Of those, how many turned out to have been applied.
    pub(crate) applied: u64,
    /// From the start of the process until it serves, after each kill.
    pub(crate) opened: Vec<Duration>,
}

/// What is known of one key: values are its numbers in the order they were written.
#[derive(Debug, Default)]
struct Record {
    next: u64,
    /// The last acknowledged write that each member said to have stored.
    stored: BTreeMap<String, u64>,
    acknowledged: Option<u64>,
    /// Writes without an answer since the key was last read.
    unknown: Vec<u64>,
    /// Covers all that the next write is to replace.
    context: Option<Context>,
    partition: u16,
}

type Records = BTreeMap<String, Record>;

/// Every version's name ever seen, and the value it was given to.
type Given = BTreeMap<(u16, WireDot), String>;

#[derive(Debug, Default)]
struct Ledger {
    records: Records,
    given: Given,
    outcome: Outcome,
}

impl Ledger {
    #[track_caller]
    fn give(&mut self, partition: u16, dot: WireDot, value: String) {
        let before = self.given.insert((partition, dot), value.clone());
        assert!(before.as_ref().is_none_or(|it| *it == value), "{dot:?} is {value} and was {before:?}");
    }
}

fn key(session: usize, index: usize) -> String {
    format!("key-{session}-{index}")
}

/// The number in a value.
fn number(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("values are text");
    text.rsplit(' ').next().and_then(|it| it.parse().ok()).expect("a value ends in its number")
}

/// Starts members, kills one of them again and again under load, and checks what is left each time.
pub(crate) async fn run(plan: &Plan) -> Outcome {
    let names = &NAMES[..plan.members];
    let n = plan.members.to_string();
    let flags = ["--durability", &plan.durability, "--n", &n, "--anti-entropy", "500ms"];
    let mut cluster = Cluster::start(names, &flags).await;
    let client = cluster.client(names).with_timeout(TIMEOUT);
    fill(&client, plan.filler).await;
    let mut ledger = Ledger::default();
    for (session, index) in keys() {
        let partition = client.locate(key(session, index)).await.expect("a member places a key").partition;
        ledger.records.insert(key(session, index), Record { partition, ..Record::default() });
    }
    let mut rng = StdRng::seed_from_u64(plan.seed);
    for _ in 0..plan.kills {
        let victim = names[rng.random_range(0..names.len())];
        let (stop, shared) = (CancellationToken::new(), Arc::new(Mutex::new(ledger)));
        let mut load = JoinSet::new();
        for session in 0..SESSIONS {
            let client = cluster.client(names).with_timeout(TIMEOUT);
            load.spawn(write(client, session, shared.clone(), stop.clone()));
        }
        sleep(rng.random_range(KILL_AFTER)).await;
        cluster.kill(victim);
        if names.len() > 1 {
            sleep(WITHOUT).await;
        }
        stop.cancel();
        load.join_all().await;
        ledger = std::mem::take(&mut *shared.lock().unwrap());
        let started = Instant::now();
        cluster.restart(&[victim]).await;
        ledger.outcome.opened.push(started.elapsed());
        for name in names {
            check(&cluster, name, &mut ledger).await;
        }
        settle(&client, &mut ledger).await;
    }
    check_filler(&cluster, names, plan.filler).await;
    ledger.outcome
}

fn keys() -> impl Iterator<Item = (usize, usize)> {
    (0..SESSIONS).flat_map(|session| (0..KEYS_PER_SESSION).map(move |index| (session, index)))
}

async fn fill(client: &Client, keys: usize) {
    let mut writing = JoinSet::new();
    for session in 0..FILLERS {
        let client = client.clone();
        writing.spawn(async move {
            for index in (session..keys).step_by(FILLERS) {
                let value = format!("{index:0100}");
                client.put(format!("filler-{index}"), value).await.expect("an idle member takes a write");
            }
        });
    }
    writing.join_all().await;
}

/// One session: puts its keys in turn, each with the context of what it knows of the key, until it is told to stop or
/// the member it talks to is gone.
async fn write(client: Client, session: usize, ledger: Arc<Mutex<Ledger>>, stop: CancellationToken) {
    for index in (0..KEYS_PER_SESSION).cycle() {
        if stop.is_cancelled() {
            return;
        }
        let key = key(session, index);
        let (value, context) = {
            let mut ledger = ledger.lock().unwrap();
            let record = ledger.records.get_mut(&key).expect("every key has a record");
            record.next += 1;
            (record.next, record.context.clone())
        };
        let text = format!("{key} {value}");
        let mut put = client.put(key.clone(), text.clone());
        if let Some(context) = context {
            put = put.context(context);
        }
        let result = put.await;
        let mut ledger = ledger.lock().unwrap();
        let record = ledger.records.get_mut(&key).expect("every key has a record");
        match result {
            Ok(receipt) => {
                record.acknowledged = Some(value);
                record.stored.extend(receipt.replicas.into_iter().map(|name| (name, value)));
                record.context = Some(receipt.context);
                let partition = record.partition;
                ledger.give(partition, receipt.dot, text);
                ledger.outcome.acknowledged += 1;
            }
            Err(error) if error.nothing_changed() => {}
            Err(RequestError::Unknown(_) | RequestError::Internal(_)) => {
                record.unknown.push(value);
                ledger.outcome.unknown += 1;
            }
            Err(error) => panic!("{key}: {error}"),
        }
    }
}

/// What one member itself holds has every write that it was said to have stored, or one that replaced it, and nothing
/// that nobody wrote.
async fn check(cluster: &Cluster, name: &str, ledger: &mut Ledger) {
    let client = cluster.client(&[name]);
    for (session, index) in keys() {
        let key = key(session, index);
        let held = client.get(key.clone()).local(true).await.expect("a member shows what it holds");
        let values: Vec<u64> = held.siblings.iter().map(|it| number(&it.value)).collect();
        let record = &ledger.records[&key];
        let stored = record.stored.get(name).copied().unwrap_or_default();
        // Every write replaces the last acknowledged one before it.
        let kept = stored == 0 || values.iter().any(|it| *it >= stored);
        assert!(kept, "{name} has lost number {stored} of {key}, it holds {values:?}: {record:?}");
        assert!(values.iter().all(|it| *it <= record.next), "{name} holds {values:?} of {key}: {record:?}");
        let partition = record.partition;
        for sibling in held.siblings {
            let text = String::from_utf8_lossy(&sibling.value).into_owned();
            ledger.give(partition, sibling.dot, text);
        }
    }
    client.close().await;
}

/// Reads every key as clients do: the last acknowledged value is there or was replaced by one of unknown outcome. Takes
/// the context over, so that the next write replaces all that is there.
async fn settle(client: &Client, ledger: &mut Ledger) {
    for (key, record) in &mut ledger.records {
        let read = loop {
            // The first request after a kill may meet the connection that the kill has ended.
            if let Ok(read) = client.get(key.clone()).await {
                break read;
            }
        };
        let values: Vec<u64> = read.siblings.iter().map(|it| number(&it.value)).collect();
        let known = |it: &u64| Some(*it) == record.acknowledged || record.unknown.contains(it);
        assert!(values.iter().all(known), "{key} is {values:?}: {record:?}");
        if let Some(acknowledged) = record.acknowledged {
            let replaced = |it: &u64| *it > acknowledged && record.unknown.contains(it);
            let kept = values.iter().any(|it| *it == acknowledged || replaced(it));
            assert!(kept, "number {acknowledged} of {key} is lost, there is {values:?}: {record:?}");
        }
        ledger.outcome.applied += record.unknown.iter().filter(|it| values.contains(it)).count() as u64;
        // What was read is as good as acknowledged; what was not may still come from where it was sent to.
        record.acknowledged = values.iter().copied().max().or(record.acknowledged);
        record.unknown.retain(|it| !values.contains(it));
        record.unknown.extend(values.iter().filter(|it| Some(**it) != record.acknowledged));
        record.context = Some(read.context);
    }
}

async fn check_filler(cluster: &Cluster, names: &[&str], keys: usize) {
    for name in names {
        let dump = cluster.dump(name).await;
        let found = dump.iter().filter(|it| it.hint_for.is_none() && it.key.starts_with(b"filler-")).count();
        assert!(names.len() > 1 || found == keys, "{name} has {found} of {keys} fillers");
    }
}

#[cfg(test)]
fn plan(kills: usize, durability: &str, members: usize) -> Plan {
    Plan { kills, durability: durability.to_owned(), members, filler: 100, seed: 1 }
}

#[tokio::test]
async fn a_killed_member_keeps_what_it_acknowledged_when_buffered() {
    let outcome = run(&plan(5, "buffered", 1)).await;
    assert!(outcome.acknowledged > 100, "{outcome:?}");
}

#[tokio::test]
async fn a_killed_member_keeps_what_it_acknowledged_when_synced() {
    let outcome = run(&plan(5, "fsync", 1)).await;
    assert!(outcome.acknowledged > 10, "{outcome:?}");
}

#[tokio::test]
async fn killed_members_of_three_keep_what_they_acknowledged() {
    let outcome = run(&plan(5, "buffered", 3)).await;
    assert!(outcome.acknowledged > 100, "{outcome:?}");
}
