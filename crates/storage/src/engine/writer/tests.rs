//! The writing thread against sinks that fail, block and panic.

use super::*;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

const BOUND: Duration = Duration::from_secs(30);

/// What reached the sink.
#[derive(Debug, PartialEq, Eq)]
enum Call {
    Write(Changes),
    Sync,
}

/// A sink that reports each call and waits for the test's word on it.
struct Scripted {
    calls: Sender<Call>,
    verdicts: Receiver<Result<(), Arc<str>>>,
    free: Arc<AtomicU64>,
}

impl Scripted {
    fn call(&self, call: Call) -> Result<(), Arc<str>> {
        self.calls.send(call).unwrap();
        self.verdicts.recv().expect("the test gave its verdict")
    }
}

impl Sink for Scripted {
    fn write(&mut self, changes: Changes) -> Result<(), Arc<str>> {
        self.call(Call::Write(changes))
    }
    fn sync(&mut self) -> Result<(), Arc<str>> {
        self.call(Call::Sync)
    }
    fn free(&mut self) -> Option<u64> {
        Some(self.free.load(Ordering::Relaxed))
    }
}

struct Script {
    writer: Writer,
    calls: Receiver<Call>,
    verdicts: Sender<Result<(), Arc<str>>>,
    free: Arc<AtomicU64>,
}

/// What the tests' disk keeps free.
const RESERVE: u64 = 100 << 20;

fn reserve() -> Reserve {
    Reserve { directory: Path::new("/data").into(), bytes: RESERVE }
}

fn script(policy: SyncPolicy, stall_bound: Duration) -> Script {
    let (calls, seen) = channel();
    let (verdicts, given) = channel();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let sink = Scripted { calls, verdicts: given, free: Arc::clone(&free) };
    let writer = Writer::start(sink, policy, stall_bound, reserve()).unwrap();
    Script { writer, calls: seen, verdicts, free }
}

impl Script {
    fn allow(&self) -> Call {
        let call = self.calls.recv().unwrap();
        self.verdicts.send(Ok(())).unwrap();
        call
    }
}

fn put(key: &'static str, record: &'static str) -> Batch {
    let mut batch = Batch::default();
    batch.put(Table::Keys, key, record);
    batch
}

fn written(changes: &[(&'static str, &'static str)]) -> Call {
    let place = |key: &'static str| (Table::Keys, Bytes::from(key));
    Call::Write(changes.iter().map(|&(key, record)| (place(key), Some(Bytes::from(record)))).collect())
}

#[test]
fn what_waits_is_written_as_one_group_with_the_last_word_on_each_key() {
    let script = script(SyncPolicy::OnRequest, BOUND);
    let first = script.writer.commit(put("a", "1"));
    let blocked = script.calls.recv().unwrap();
    assert_eq!(blocked, written(&[("a", "1")]));
    let rest = [put("a", "2"), put("b", "1"), put("a", "3")].map(|batch| script.writer.commit(batch));

    // Nothing of this is on disk yet, and all of it can be read.
    assert_eq!(script.writer.pending(Table::Keys, b"a").unwrap(), Some(Some("3".into())));
    assert_eq!(script.writer.pending(Table::Hints, b"a").unwrap(), None);
    let (between, ()) = script.writer.pending_between(Table::Keys, b"a", Some(b"b"), || ()).unwrap();
    assert_eq!(between, [("a".into(), Some("3".into()))]);

    script.verdicts.send(Ok(())).unwrap();
    first.wait().unwrap();
    assert_eq!(script.allow(), written(&[("a", "3"), ("b", "1")]));
    for commit in rest {
        commit.wait().unwrap();
    }
    assert_eq!(script.writer.pending(Table::Keys, b"a").unwrap(), None, "now the database says it");
    assert_eq!(script.writer.shared.lock().unfinished_bytes, 0);
}

#[test]
fn a_finished_group_leaves_later_words_in_the_overlay() {
    let script = script(SyncPolicy::OnRequest, BOUND);
    let first = script.writer.commit(put("a", "1"));
    script.calls.recv().unwrap();
    let second = script.writer.commit(put("a", "2"));
    script.verdicts.send(Ok(())).unwrap();
    first.wait().unwrap();
    assert_eq!(script.writer.pending(Table::Keys, b"a").unwrap(), Some(Some("2".into())));
    script.allow();
    second.wait().unwrap();
}

#[test]
fn after_one_failure_nothing_is_written_or_read() {
    let script = script(SyncPolicy::Every(Duration::ZERO), BOUND);
    let first = script.writer.commit(put("a", "1"));
    script.calls.recv().unwrap();
    let second = script.writer.commit(put("b", "1"));
    script.verdicts.send(Err("disk on fire".into())).unwrap();
    assert_eq!(first.wait(), Err(CommitError::Failed { reason: "disk on fire".into() }));
    assert_eq!(second.wait(), Err(CommitError::Poisoned));

    assert_eq!(script.writer.admit(), Err(Refusal::Poisoned));
    assert_eq!(script.writer.commit(put("c", "1")).wait(), Err(CommitError::Poisoned));
    assert_eq!(script.writer.pending(Table::Keys, b"a"), Err(Refusal::Poisoned));
    assert_eq!(script.writer.health(), Health::Poisoned { reason: "disk on fire".into() });
    assert_eq!(script.writer.close(), Err(CloseError::Poisoned { reason: "disk on fire".into() }));
    assert!(script.calls.try_recv().is_err(), "the sink was not asked again");
}

#[test]
fn a_sink_that_panics_leaves_nobody_waiting() {
    struct Panics;
    impl Sink for Panics {
        fn write(&mut self, _: Changes) -> Result<(), Arc<str>> {
            panic!("a defect in the database")
        }
        fn sync(&mut self) -> Result<(), Arc<str>> {
            Ok(())
        }
        fn free(&mut self) -> Option<u64> {
            None
        }
    }
    let writer = Writer::start(Panics, SyncPolicy::OnRequest, BOUND, reserve()).unwrap();
    assert_eq!(writer.commit(put("a", "1")).wait(), Err(CommitError::Poisoned));
    assert!(matches!(writer.close(), Err(CloseError::Poisoned { .. })));
}

#[test]
fn each_policy_syncs_when_it_says() {
    let always = script(SyncPolicy::Always, BOUND);
    let commit = always.writer.commit(put("a", "1"));
    assert!(matches!(always.allow(), Call::Write(_)));
    assert_eq!(always.allow(), Call::Sync);
    commit.wait().unwrap();
    always.writer.commit(Batch::default()).wait().expect("a barrier asks nothing of a synced disk");
    always.writer.close().unwrap();

    let every = script(SyncPolicy::Every(Duration::ZERO), BOUND);
    every.writer.commit(put("a", "1")).drop_unseen();
    assert!(matches!(every.allow(), Call::Write(_)));
    assert_eq!(every.allow(), Call::Sync);

    let on_request = script(SyncPolicy::OnRequest, BOUND);
    let commit = on_request.writer.commit(put("a", "1"));
    assert!(matches!(on_request.allow(), Call::Write(_)));
    commit.wait().unwrap();
    let commit = on_request.writer.commit(put("b", "1").synced());
    assert!(matches!(on_request.allow(), Call::Write(_)));
    assert_eq!(on_request.allow(), Call::Sync);
    commit.wait().unwrap();
    on_request.writer.commit(put("c", "1")).drop_unseen();
    assert!(matches!(on_request.allow(), Call::Write(_)));
    on_request.verdicts.send(Ok(())).unwrap();
    on_request.writer.close().unwrap();
    assert_eq!(on_request.calls.recv().unwrap(), Call::Sync, "closing syncs what is left");
}

impl Commit {
    /// Commits may be dropped; tests that do not care say so.
    fn drop_unseen(self) {}
}

#[test]
fn closing_writes_what_waits_and_refuses_what_comes() {
    let script = script(SyncPolicy::OnRequest, BOUND);
    let commits = [put("a", "1"), put("b", "1")].map(|batch| script.writer.commit(batch));
    for _ in 0..3 {
        script.verdicts.send(Ok(())).unwrap();
    }
    script.writer.close().unwrap();
    for commit in commits {
        commit.wait().unwrap();
    }
    assert_eq!(script.writer.commit(put("c", "1")).wait(), Err(CommitError::Closed));
    assert_eq!(script.writer.admit(), Err(Refusal::Closed));
    script.writer.close().expect("closing twice is closing once");
}

#[test]
fn a_full_queue_refuses_before_it_grows() {
    let script = script(SyncPolicy::OnRequest, BOUND);
    let big = Bytes::from(vec![0; QUEUE_BYTES_MAX]);
    let mut batch = Batch::default();
    batch.put(Table::Keys, "big", big);
    script.writer.admit().unwrap();
    let commit = script.writer.commit(batch);
    assert_eq!(script.writer.admit(), Err(Refusal::Busy));
    script.allow();
    commit.wait().unwrap();
    script.writer.admit().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_hangs_makes_the_writer_unhealthy() {
    let script = script(SyncPolicy::OnRequest, BOUND);
    assert_eq!(script.writer.health(), Health::Well);
    tokio::time::advance(BOUND * 2).await;
    let commit = script.writer.commit(put("a", "1"));
    script.calls.recv().unwrap();
    assert_eq!(script.writer.health(), Health::Well, "idle time does not count");
    tokio::time::advance(BOUND / 2).await;
    assert_eq!(script.writer.health(), Health::Well);
    tokio::time::advance(BOUND / 2).await;
    assert_eq!(script.writer.health(), Health::Stalled { waiting: 1, stuck: BOUND });

    // Progress makes it well again, even if more waits.
    script.verdicts.send(Ok(())).unwrap();
    commit.wait().unwrap();
    let commit = script.writer.commit(put("b", "1"));
    script.calls.recv().unwrap();
    assert_eq!(script.writer.health(), Health::Well);
    script.verdicts.send(Ok(())).unwrap();
    commit.wait().unwrap();
}

#[test]
fn closing_gives_up_on_a_hang() {
    let bound = Duration::from_millis(1);
    let script = script(SyncPolicy::OnRequest, bound);
    let commit = script.writer.commit(put("a", "1"));
    script.calls.recv().unwrap();
    assert_eq!(script.writer.close(), Err(CloseError::Stalled { bound }));
    script.verdicts.send(Ok(())).unwrap();
    commit.wait().expect("what was submitted before is still finished");
}

impl Script {
    /// Sets what is free, and waits until the writer has seen it.
    fn set_free(&self, free: u64, seen: impl Fn(Result<(), Refusal>) -> bool) {
        self.free.store(free, Ordering::Relaxed);
        while !seen(self.writer.admit()) {
            // A batch has the disk looked at, as soon as it is time; a full one is looked at anyway.
            self.writer.commit(Batch::default()).wait().unwrap();
        }
    }
}

#[test]
fn a_full_disk_is_refused_writes_and_takes_them_again_once_there_is_space() {
    let script = script(SyncPolicy::OnRequest, BOUND);
    script.writer.admit().unwrap();
    script.set_free(RESERVE - 1, |admitted| matches!(admitted, Err(Refusal::NoSpace { .. })));
    let refusal = script.writer.admit().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "the disk of /data is full: 99 MiB free, 100 MiB needed; reads go on, and writes will once there is space"
    );
    assert_eq!(script.writer.health(), Health::NoSpace { reason: refusal.to_string() });
    assert_eq!(script.writer.pending(Table::Keys, b"a"), Ok(None), "reads go on");

    // What was admitted before, and what removes records, is written all the same.
    let commit = script.writer.commit(put("a", "1"));
    script.allow();
    commit.wait().unwrap();

    // A little more than before is not yet enough, or it would be refused and taken in turns.
    let seen =
        |free: u64| move |admitted| matches!(admitted, Err(Refusal::NoSpace { free: it, .. }) if it == free);
    script.set_free(RESERVE + 1, seen(RESERVE + 1));
    script.set_free(2 * RESERVE, |admitted| admitted.is_ok());
    assert_eq!(script.writer.health(), Health::Well);
    script.verdicts.send(Ok(())).unwrap();
    script.writer.close().unwrap();
}

#[test]
fn a_disk_that_is_full_at_the_start_is_refused_writes_from_the_start() {
    let free = Arc::new(AtomicU64::new(0));
    let (calls, _seen) = channel();
    let (_verdicts, given) = channel();
    let sink = Scripted { calls, verdicts: given, free };
    let writer = Writer::start(sink, SyncPolicy::OnRequest, BOUND, reserve()).unwrap();
    assert!(matches!(writer.admit(), Err(Refusal::NoSpace { free: 0, needed: RESERVE, .. })));
    assert_eq!(writer.close(), Ok(()), "a full disk keeps nobody from stopping");
}
