//! The writing thread against sinks that fail, block and panic.

use super::*;
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
}

struct Script {
    writer: Writer,
    calls: Receiver<Call>,
    verdicts: Sender<Result<(), Arc<str>>>,
}

fn script(policy: SyncPolicy, stall_bound: Duration) -> Script {
    let (calls, seen) = channel();
    let (verdicts, given) = channel();
    let writer = Writer::start(Scripted { calls, verdicts: given }, policy, stall_bound).unwrap();
    Script { writer, calls: seen, verdicts }
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
    }
    let writer = Writer::start(Panics, SyncPolicy::OnRequest, BOUND).unwrap();
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
    assert_eq!(script.writer.admit(), Err(Refusal::Full));
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
