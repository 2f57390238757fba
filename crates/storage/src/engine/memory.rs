//! Owns the engine that keeps everything in memory: simulations and throw-away experiments. Refuses to outlive the
//! process; within it, what it holds survives the stores that are opened on it.

use super::{Batch, CloseError, Commit, CommitError, Engine, Health, Page, ReadError, Refusal, Table};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// Tables in ordered maps. Every commit is over at once, so runs are reproducible.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    tables: Arc<Mutex<Tables>>,
    closed: AtomicBool,
}

type Tables = BTreeMap<Table, BTreeMap<Bytes, Bytes>>;

impl MemoryEngine {
    /// An engine that holds nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What a restarted process would open: another handle on the same tables. This handle is closed, so that whatever
    /// still runs from before the restart cannot write any more.
    #[must_use]
    pub fn reopen(&self) -> Self {
        self.closed.store(true, Ordering::Relaxed);
        Self { tables: Arc::clone(&self.tables), closed: AtomicBool::new(false) }
    }

    fn tables(&self) -> Result<MutexGuard<'_, Tables>, Refusal> {
        self.admit()?;
        Ok(self.tables.lock().expect("no code panics while it holds the tables"))
    }
}

impl Engine for MemoryEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        Ok(self.tables()?.get(&table).and_then(|records| records.get(key).cloned()))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError> {
        let tables = self.tables()?;
        let upper = match to {
            Some(to) if to <= from => return Ok(Page::new()),
            Some(to) => Bound::Excluded(to),
            None => Bound::Unbounded,
        };
        let Some(records) = tables.get(&table) else { return Ok(Page::new()) };
        let range = records.range::<[u8], _>((Bound::Included(from), upper));
        Ok(range.take(limit).map(|(key, record)| (key.clone(), record.clone())).collect())
    }

    fn admit(&self) -> Result<(), Refusal> {
        if self.closed.load(Ordering::Relaxed) { Err(Refusal::Closed) } else { Ok(()) }
    }

    fn commit(&self, batch: Batch) -> Commit {
        let Ok(mut tables) = self.tables() else { return Commit::settled(Err(CommitError::Closed)) };
        for change in batch.changes {
            let records = tables.entry(change.table).or_default();
            match change.record {
                Some(record) => records.insert(change.key, record),
                None => records.remove(&change.key),
            };
        }
        Commit::settled(Ok(()))
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn close(&self) -> Result<(), CloseError> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}
