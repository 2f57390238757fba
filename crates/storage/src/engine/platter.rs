//! Owns an engine for tests that dies: its power fails or a call of it does, at the n-th call, and what was not synced
//! is lost from any point on. Refuses to break the contract: batches stay whole and in order, and what was acknowledged
//! is there.

use super::{Batch, CloseError, Commit, CommitError, Engine, Health, Page, ReadError, Refusal, Table};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;

type Tables = BTreeMap<Table, BTreeMap<Bytes, Bytes>>;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The power fails during the call. Whatever is asked of the engine from then on gets no answer that counts.
    PowerLoss,
    /// The call fails: a read is refused once; after a commit that failed the engine is poisoned.
    Error,
}

/// A disk that outlives the engines on it, as `fsync` durability has it: commits wait until [`sync`](Self::sync), or
/// a batch that asks for it, has made them durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Platter(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// What no loss of power takes.
    synced: Tables,
    /// What a loss of power takes, from any of them on to the last.
    unsynced: Vec<Batch>,
    /// Both together: what reads see.
    seen: Tables,
    waiting: Vec<oneshot::Sender<Result<(), CommitError>>>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    over: Option<Refusal>,
}

/// An engine on a [`Platter`]; one at a time is in use.
#[derive(Debug)]
pub(crate) struct PlatterEngine(Platter);

impl Platter {
    /// An engine on it. Nothing is lost by that: it is as if the process before had been killed.
    pub(crate) fn engine(&self) -> Arc<PlatterEngine> {
        let mut state = self.lock();
        state.over = None;
        state.waiting.clear();
        Arc::new(PlatterEngine(self.clone()))
    }

    /// Makes the `n`-th call from the first one ever go wrong.
    pub(crate) fn break_at(&self, n: u64, fault: Fault) {
        self.lock().fault = Some((n, fault));
    }

    /// What `look` sees, without its calls being counted.
    pub(crate) fn aside<T>(&self, look: impl FnOnce() -> T) -> T {
        let calls = self.calls();
        let seen = look();
        self.lock().calls = calls;
        seen
    }

    /// How many calls there were: reads, commits and syncs.
    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// How many batches a loss of power could take.
    pub(crate) fn at_risk(&self) -> usize {
        self.lock().unsynced.len()
    }

    /// This disk after a loss of power that left `kept` of the batches at risk.
    pub(crate) fn after_power_loss(&self, kept: usize) -> Self {
        let state = self.lock();
        let mut synced = state.synced.clone();
        state.unsynced.iter().take(kept).for_each(|batch| apply(&mut synced, batch));
        Self(Arc::new(Mutex::new(State { seen: synced.clone(), synced, ..State::default() })))
    }

    /// Makes everything durable and acknowledges it; false if it came to nothing.
    pub(crate) fn sync(&self) -> bool {
        let mut state = self.lock();
        let called = state.call();
        match called {
            Ok(()) => state.sync(),
            Err(Some(_)) => state.fail(),
            Err(None) => {}
        }
        called.is_ok()
    }

    /// True once something went wrong that ends the process.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().over.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    /// Counts a call; an error if it goes wrong, or if the engine is over already.
    fn call(&mut self) -> Result<(), Option<Fault>> {
        if self.over.is_some() {
            return Err(None);
        }
        self.calls += 1;
        match self.fault {
            Some((n, fault)) if n == self.calls => {
                if fault == Fault::PowerLoss {
                    self.fail();
                }
                Err(Some(fault))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn fail(&mut self) {
        self.over = Some(Refusal::Poisoned);
        // Dropped unsettled: nobody is told that anything is durable.
        self.waiting.clear();
    }

    fn sync(&mut self) {
        self.synced = self.seen.clone();
        self.unsynced.clear();
        for waiting in self.waiting.drain(..) {
            drop(waiting.send(Ok(())));
        }
    }

    fn read(&mut self, table: Table) -> Result<&Tables, ReadError> {
        match self.call() {
            Ok(()) => Ok(&self.seen),
            Err(Some(Fault::Error)) => Err(ReadError::Io { table, reason: "an injected fault".to_owned() }),
            Err(Some(Fault::PowerLoss) | None) => Err(self.over.clone().unwrap_or(Refusal::Poisoned).into()),
        }
    }
}

fn apply(tables: &mut Tables, batch: &Batch) {
    for change in &batch.changes {
        let records = tables.entry(change.table).or_default();
        match &change.record {
            Some(record) => records.insert(change.key.clone(), record.clone()),
            None => records.remove(&change.key),
        };
    }
}

impl Engine for PlatterEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.0.lock().read(table)?.get(&table).and_then(|records| records.get(key).cloned()))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError> {
        let mut state = self.0.lock();
        let Some(records) = state.read(table)?.get(&table) else { return Ok(Page::new()) };
        if to.is_some_and(|to| to <= from) {
            return Ok(Page::new());
        }
        let range =
            records.range::<[u8], _>((Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded)));
        Ok(range.take(limit).map(|(key, record)| (key.clone(), record.clone())).collect())
    }

    fn admit(&self) -> Result<(), Refusal> {
        self.0.lock().over.clone().map_or(Ok(()), Err)
    }

    fn commit(&self, batch: Batch) -> Commit {
        let mut state = self.0.lock();
        let called = state.call();
        if called == Err(None) {
            return Commit::settled(Err(CommitError::Poisoned));
        }
        // A batch whose write went wrong may have reached the disk all the same.
        apply(&mut state.seen, &batch);
        let sync = batch.sync;
        state.unsynced.push(batch);
        if called.is_err() {
            state.fail();
            return Commit::settled(Err(CommitError::Failed { reason: "an injected fault".into() }));
        }
        if sync {
            state.sync();
            return Commit::settled(Ok(()));
        }
        let (settle, commit) = Commit::pending();
        state.waiting.push(settle);
        commit
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn close(&self) -> Result<(), CloseError> {
        let synced = self.0.sync();
        self.0.lock().over.get_or_insert(Refusal::Closed);
        if synced { Ok(()) } else { Err(CloseError::Poisoned { reason: "an injected fault".to_owned() }) }
    }
}
