//! Owns the loop of the writing thread: gather, write, sync and look at the disk when due, settle. Refuses to decide what is admitted.

use super::queue::{Shared, Submission, settle};
use super::space::Space;
use super::{Changes, Sink, SyncPolicy};
use crate::engine::CommitError;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub(super) struct WriterThread<S> {
    shared: Arc<Shared>,
    sink: S,
    policy: SyncPolicy,
    /// When the oldest write that is not yet synced was made. This thread belongs to no runtime, so tokio's clock is
    /// the machine's here.
    unsynced_since: Option<Instant>,
    space: Space,
}

/// What the thread does next.
enum Turn {
    Write(Vec<Submission>),
    Sync,
    /// Ask how much of the disk is free.
    Look,
    End,
}

impl<S: Sink> WriterThread<S> {
    pub(super) const fn new(shared: Arc<Shared>, sink: S, policy: SyncPolicy, space: Space) -> Self {
        Self { shared, sink, policy, unsynced_since: None, space }
    }

    pub(super) fn run(mut self) {
        loop {
            match self.next_turn() {
                Turn::Write(group) => self.write(group),
                Turn::Sync => {
                    if let Err(reason) = self.sync() {
                        self.shared.lock().poison(reason);
                    }
                }
                Turn::Look => self.look(),
                Turn::End => break,
            }
        }
    }

    /// Finds out whether the disk has room for more. Not under the lock: a system may take its time to answer.
    pub(super) fn look(&mut self) {
        let refusal = self.space.saw(self.sink.free());
        self.shared.lock().no_space = refusal;
    }

    fn next_turn(&self) -> Turn {
        let mut state = self.shared.lock();
        loop {
            if state.poisoned.is_some() {
                return Turn::End;
            }
            let due_in = self.sync_due_in();
            if due_in == Some(Duration::ZERO) {
                return Turn::Sync;
            }
            // A disk is looked at before it is written to, and for as long as it is full, to see when it no longer is.
            let look_in = (!state.queue.is_empty() || state.no_space.is_some()).then(|| self.space.due_in());
            if look_in == Some(Duration::ZERO) {
                return Turn::Look;
            }
            if !state.queue.is_empty() {
                return Turn::Write(state.take_group());
            }
            if state.closing {
                return if self.unsynced_since.is_some() { Turn::Sync } else { Turn::End };
            }
            state.idle = true;
            state = self.shared.wait(state, due_in.into_iter().chain(look_in).min());
            state.idle = false;
        }
    }

    fn write(&mut self, group: Vec<Submission>) {
        let mut changes = Changes::new();
        let (mut bytes, mut sync_asked) = (0, false);
        let mut waiting = Vec::with_capacity(group.len());
        for submission in group {
            bytes += submission.bytes;
            sync_asked |= submission.batch.sync;
            for change in submission.batch.changes {
                changes.insert((change.table, change.key), change.record);
            }
            waiting.push(submission.settle);
        }
        let touched: Vec<_> = changes.keys().cloned().collect();
        let outcome = self.make_durable(changes, sync_asked);
        let mut state = self.shared.lock();
        if let Err(reason) = &outcome {
            state.poison(Arc::clone(reason));
        }
        state.finish(waiting.len(), bytes, &touched);
        drop(state);
        let outcome = outcome.map_err(|reason| CommitError::Failed { reason });
        for waiter in waiting {
            settle(waiter, outcome.clone());
        }
    }

    fn make_durable(&mut self, changes: Changes, sync_asked: bool) -> Result<(), Arc<str>> {
        if !changes.is_empty() {
            let bytes = |((_, key), record): (&(_, Bytes), &Option<Bytes>)| {
                key.len() + record.as_ref().map_or(0, Bytes::len)
            };
            self.space.wrote(changes.iter().map(bytes).sum());
            self.unsynced_since.get_or_insert_with(Instant::now);
            self.sink.write(changes)?;
        }
        if sync_asked || matches!(self.policy, SyncPolicy::Always) { self.sync() } else { Ok(()) }
    }

    /// Syncs what was written since the last time, if anything.
    fn sync(&mut self) -> Result<(), Arc<str>> {
        if self.unsynced_since.take().is_some() {
            self.sink.sync()?;
        }
        Ok(())
    }

    /// How long until the oldest unsynced write must be synced; `None` if nothing asks for it.
    fn sync_due_in(&self) -> Option<Duration> {
        match (self.policy, self.unsynced_since) {
            (SyncPolicy::Every(interval), Some(since)) => Some(interval.saturating_sub(since.elapsed())),
            (SyncPolicy::Every(_), None) | (SyncPolicy::OnRequest | SyncPolicy::Always, _) => None,
        }
    }
}

impl<S> Drop for WriterThread<S> {
    /// Runs when the thread ends, also when the database panicked under it: nobody may wait for a thread that is gone.
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if std::thread::panicking() {
            state.poison("the database panicked".into());
        }
        state.ended = true;
        drop(state);
        self.shared.turn.notify_all();
    }
}
