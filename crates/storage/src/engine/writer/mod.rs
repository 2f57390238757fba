//! Owns the one writing thread: the queue before it, group commit, and the overlay by which reads see what is queued.
//! Refuses to know the database; that is behind `Sink`.

mod queue;
mod space;
mod thread;

pub(super) use space::Reserve;

use super::{Batch, CloseError, Commit, CommitError, Health, Refusal, Table};
use bytes::Bytes;
use queue::Shared;
use space::Space;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use thread::WriterThread;
use tokio::time::Instant;

/// Batches that may wait before `admit` says no.
pub(super) const QUEUE_BATCHES_MAX: usize = 16_384;
/// Bytes that may wait before `admit` says no; also what the overlay may hold.
pub(super) const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Batches and bytes that one group commit gathers at most.
const GROUP_BATCHES_MAX: usize = 1024;
const GROUP_BYTES_MAX: usize = 4 << 20;

/// What a group of batches comes to: for each key the last word on it.
pub(super) type Changes = BTreeMap<(Table, Bytes), Option<Bytes>>;

/// Unfinished changes of one table in key order: a record, or `None` for a removal.
pub(super) type Pending = Vec<(Bytes, Option<Bytes>)>;

/// Where the writer writes to. After one error it is not asked again.
pub(super) trait Sink: Send + 'static {
    /// Applies all changes atomically; a crash of the process after this returns loses none.
    fn write(&mut self, changes: Changes) -> Result<(), Arc<str>>;
    /// Makes everything written survive a loss of power.
    fn sync(&mut self) -> Result<(), Arc<str>>;
    /// Bytes that are free where it writes to; `None` if nobody can say.
    fn free(&mut self) -> Option<u64>;
}

/// When the writer syncs.
#[derive(Debug, Clone, Copy)]
pub(super) enum SyncPolicy {
    /// Only where a batch asks for it, and at the end.
    OnRequest,
    /// Also this long after a write at the latest.
    Every(Duration),
    /// Before any commit resolves.
    Always,
}

/// The submitting side of the writing thread.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    watch: Mutex<Watch>,
    stall_bound: Duration,
}

/// What the last question after the writer's health saw.
#[derive(Debug)]
struct Watch {
    finished: u64,
    since: Option<Instant>,
}

impl Writer {
    /// Starts the thread. `stall_bound` is how long nothing may finish before that counts as a hang.
    pub(super) fn start(
        sink: impl Sink,
        policy: SyncPolicy,
        stall_bound: Duration,
        reserve: Reserve,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut writing = WriterThread::new(Arc::clone(&shared), sink, policy, Space::new(reserve));
        // Before anything is admitted.
        writing.look();
        let thread =
            std::thread::Builder::new().name("chinwag-writer".to_owned()).spawn(move || writing.run())?;
        let watch = Mutex::new(Watch { finished: 0, since: None });
        Ok(Self { shared, thread: Mutex::new(Some(thread)), watch, stall_bound })
    }

    pub(super) fn admit(&self) -> Result<(), Refusal> {
        let state = self.shared.lock();
        state.refuse_if_over()?;
        let waiting = state.submitted - state.finished;
        if waiting >= QUEUE_BATCHES_MAX as u64 || state.unfinished_bytes >= QUEUE_BYTES_MAX {
            return Err(Refusal::Busy);
        }
        state.no_space.clone().map_or(Ok(()), Err)
    }

    pub(super) fn commit(&self, batch: Batch) -> Commit {
        let mut state = self.shared.lock();
        match state.refuse_if_over() {
            Ok(()) => {}
            Err(Refusal::Closed) => return Commit::settled(Err(CommitError::Closed)),
            Err(Refusal::Busy | Refusal::NoSpace { .. } | Refusal::Poisoned) => {
                return Commit::settled(Err(CommitError::Poisoned));
            }
        }
        let (settle, commit) = Commit::pending();
        state.submit(batch, settle);
        let asleep = state.idle;
        drop(state);
        if asleep {
            self.shared.turn.notify_all();
        }
        commit
    }

    /// What is submitted and unfinished for a key: `None` if nothing, `Some(None)` if its removal.
    pub(super) fn pending(&self, table: Table, key: &[u8]) -> Result<Option<Option<Bytes>>, Refusal> {
        let state = self.shared.lock();
        state.refuse_if_over()?;
        Ok(state.overlay.get(&table).and_then(|overlay| overlay.get(key)).map(|(_, record)| record.clone()))
    }

    /// What is submitted and unfinished from `from` on and below `to`, which must not be lower, and what `snapshot` returns at that very moment.
    pub(super) fn pending_between<S>(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        snapshot: impl FnOnce() -> S,
    ) -> Result<(Pending, S), Refusal> {
        let state = self.shared.lock();
        state.refuse_if_over()?;
        let pending = state.overlay.get(&table).map_or_else(Pending::new, |overlay| {
            let upper = to.map_or(Bound::Unbounded, Bound::Excluded);
            let between = overlay.range::<[u8], _>((Bound::Included(from), upper));
            between.map(|(key, (_, record))| (key.clone(), record.clone())).collect()
        });
        Ok((pending, snapshot()))
    }

    /// Compares progress with what the last call saw. The only clock is the caller's, so this follows whatever time
    /// the caller lives in; it needs two calls, a bound apart, to find a hang.
    pub(super) fn health(&self) -> Health {
        let state = self.shared.lock();
        if let Some(reason) = &state.poisoned {
            return Health::Poisoned { reason: reason.to_string() };
        }
        let (finished, waiting) = (state.finished, state.submitted - state.finished);
        let unless_stuck = match &state.no_space {
            Some(refusal) => Health::NoSpace { reason: refusal.to_string() },
            None => Health::Well,
        };
        drop(state);
        let mut watch = self.watch.lock().expect("no code panics while it holds the watch");
        if waiting == 0 {
            watch.since = None;
            return unless_stuck;
        }
        let now = Instant::now();
        let since = match watch.since {
            Some(since) if watch.finished == finished => since,
            Some(_) | None => now,
        };
        *watch = Watch { finished, since: Some(since) };
        let stuck = now.duration_since(since);
        if stuck < self.stall_bound {
            return unless_stuck;
        }
        Health::Stalled { waiting: usize::try_from(waiting).unwrap_or(usize::MAX), stuck }
    }

    /// Lets the thread finish what is queued, sync and end. A thread that does not end within the bound is left behind.
    pub(super) fn close(&self) -> Result<(), CloseError> {
        let mut state = self.shared.lock();
        state.closing = true;
        self.shared.turn.notify_all();
        while !state.ended {
            let finished = state.finished;
            state = self.shared.wait(state, Some(self.stall_bound));
            if state.finished == finished && !state.ended {
                return Err(CloseError::Stalled { bound: self.stall_bound });
            }
        }
        let poisoned = state.poisoned.clone();
        drop(state);
        if let Some(thread) = self.thread.lock().expect("joining does not panic").take() {
            // An ended thread that panicked has said so in `poisoned`.
            drop(thread.join());
        }
        poisoned.map_or(Ok(()), |reason| Err(CloseError::Poisoned { reason: reason.to_string() }))
    }
}

#[cfg(test)]
mod tests;
