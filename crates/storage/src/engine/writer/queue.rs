//! Owns what is submitted and unfinished: the queue, and the overlay by which reads see it. Refuses to write.

use super::{GROUP_BATCHES_MAX, GROUP_BYTES_MAX};
use crate::engine::{Batch, CommitError, Refusal, Table};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::oneshot;

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) state: Mutex<State>,
    /// Signalled when there is something for the thread to do, and when the thread ends.
    pub(super) turn: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) queue: VecDeque<Submission>,
    /// Bytes of all unfinished submissions: those queued and those being written.
    pub(super) unfinished_bytes: usize,
    /// Last word on each key with an unfinished submission, and which submission said it.
    pub(super) overlay: BTreeMap<Table, BTreeMap<Bytes, (u64, Option<Bytes>)>>,
    pub(super) submitted: u64,
    pub(super) finished: u64,
    /// True while the thread sleeps: waking it costs a system call, so only then is it woken.
    pub(super) idle: bool,
    pub(super) closing: bool,
    pub(super) ended: bool,
    pub(super) poisoned: Option<Arc<str>>,
    /// What nothing more is admitted with while the disk is full.
    pub(super) no_space: Option<Refusal>,
}

#[derive(Debug)]
pub(super) struct Submission {
    pub(super) batch: Batch,
    pub(super) bytes: usize,
    pub(super) settle: oneshot::Sender<Result<(), CommitError>>,
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it holds the queue")
    }

    /// Waits for a signal, for `bound` at most if there is one.
    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        bound: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        let waited = match bound {
            Some(bound) => self.turn.wait_timeout(state, bound).map(|(state, _)| state).ok(),
            None => self.turn.wait(state).ok(),
        };
        waited.expect("no code panics while it holds the queue")
    }
}

impl State {
    pub(super) fn refuse_if_over(&self) -> Result<(), Refusal> {
        if self.poisoned.is_some() {
            return Err(Refusal::Poisoned);
        }
        if self.closing { Err(Refusal::Closed) } else { Ok(()) }
    }

    pub(super) fn submit(&mut self, batch: Batch, settle: oneshot::Sender<Result<(), CommitError>>) {
        self.submitted += 1;
        for change in &batch.changes {
            let table = self.overlay.entry(change.table).or_default();
            table.insert(change.key.clone(), (self.submitted, change.record.clone()));
        }
        let bytes = batch.bytes();
        self.unfinished_bytes += bytes;
        self.queue.push_back(Submission { batch, bytes, settle });
    }

    /// Takes from the queue what one group commit may hold; at least one batch, if there is one.
    pub(super) fn take_group(&mut self) -> Vec<Submission> {
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(submission) = self.queue.pop_front() {
            bytes += submission.bytes;
            group.push(submission);
            if group.len() >= GROUP_BATCHES_MAX || bytes >= GROUP_BYTES_MAX {
                break;
            }
        }
        group
    }

    /// Forgets a group that is written: what it said last on a key is now the database's to say.
    pub(super) fn finish(&mut self, count: usize, bytes: usize, touched: &[(Table, Bytes)]) {
        self.finished += count as u64;
        self.unfinished_bytes -= bytes;
        for (table, key) in touched {
            let Some(overlay) = self.overlay.get_mut(table) else { continue };
            if overlay.get(key).is_some_and(|(submission, _)| *submission <= self.finished) {
                overlay.remove(key);
            }
        }
    }

    /// Ends all service: whatever waits is refused, and so is whatever comes.
    pub(super) fn poison(&mut self, reason: Arc<str>) {
        tracing::error!(%reason, "writing to disk failed: the store refuses all service until a restart");
        self.poisoned.get_or_insert(reason);
        self.overlay.clear();
        for submission in self.queue.drain(..) {
            self.finished += 1;
            self.unfinished_bytes -= submission.bytes;
            settle(submission.settle, Err(CommitError::Poisoned));
        }
    }
}

/// Tells whoever waits for a commit, if anyone still does.
pub(super) fn settle(waiting: oneshot::Sender<Result<(), CommitError>>, outcome: Result<(), CommitError>) {
    // Dropping a commit is allowed, so nobody listening is no error.
    drop(waiting.send(outcome));
}
