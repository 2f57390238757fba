//! An engine that is honest but for one lie.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chinwag_node::storage::{
    Actor, Batch, Causal, CloseError, Commit, CommitError, Content, Dot, Engine, Health, KeyState,
    MemoryEngine, Page, ReadError, Refusal, Sibling, Store, StoreKey, StoreOptions, Table, TreeKey,
};
use tokio::sync::oneshot;

/// What an engine does otherwise than it should; nothing, unless it is said.
pub(super) trait Lie: Debug + Send + Sync {
    /// The record to write at a key's place in place of `record`; `None` leaves what is there.
    fn rewrite(&self, _honest: &dyn Engine, _place: &Bytes, record: &Bytes) -> Option<Bytes> {
        Some(record.clone())
    }

    /// What becomes of the commit of a batch that writes keys.
    fn commit(&self, commit: Commit) -> Commit {
        commit
    }

    /// Whether the table is scanned as if it were empty.
    fn hides(&self, _table: Table) -> bool {
        false
    }
}

/// An engine that tells `lie`.
#[derive(Debug)]
pub(super) struct Lying<L> {
    pub(super) honest: Arc<dyn Engine>,
    pub(super) lie: L,
}

impl<L: Lie> Engine for Lying<L> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        self.honest.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError> {
        if self.lie.hides(table) { Ok(Page::new()) } else { self.honest.scan(table, from, to, limit) }
    }

    fn admit(&self) -> Result<(), Refusal> {
        self.honest.admit()
    }

    fn commit(&self, batch: Batch) -> Commit {
        let mut told = Batch::default();
        for (table, key, record) in batch.changes() {
            match record {
                Some(record) if table == Table::Keys => {
                    if let Some(record) = self.lie.rewrite(&*self.honest, key, record) {
                        told.put(table, key.clone(), record);
                    }
                }
                Some(record) => told.put(table, key.clone(), record.clone()),
                None => told.remove(table, key.clone()),
            }
        }
        let writes_keys = batch.changes().any(|(table, ..)| table == Table::Keys);
        let commit = self.honest.commit(told);
        if writes_keys { self.lie.commit(commit) } else { commit }
    }

    fn health(&self) -> Health {
        self.honest.health()
    }

    fn close(&self) -> Result<(), CloseError> {
        self.honest.close()
    }
}

/// Every fifth write is acknowledged and not written.
#[derive(Debug, Clone, Default)]
pub(super) struct DropsWrites(Arc<AtomicU64>);

impl Lie for DropsWrites {
    fn rewrite(&self, _: &dyn Engine, _: &Bytes, record: &Bytes) -> Option<Bytes> {
        (self.0.fetch_add(1, Relaxed) % 5 != 4).then(|| record.clone())
    }
}

/// Beside what is written stands a value that nobody wrote.
#[derive(Debug, Clone, Default)]
pub(super) struct AddsAStranger(Arc<AtomicU64>);

impl Lie for AddsAStranger {
    fn rewrite(&self, _: &dyn Engine, place: &Bytes, record: &Bytes) -> Option<Bytes> {
        let (key, mut state) = opened(place, record);
        let dot = Dot::new(Actor(1), 1 + self.0.fetch_add(1, Relaxed));
        state.put(&Causal::default(), dot, Content::Value("nobody's".into()), 0);
        Some(sealed(&key, place, &state))
    }
}

/// What a write overwrites stays beside it.
#[derive(Debug, Clone)]
pub(super) struct KeepsOverwritten;

impl Lie for KeepsOverwritten {
    fn rewrite(&self, honest: &dyn Engine, place: &Bytes, record: &Bytes) -> Option<Bytes> {
        let (key, state) = opened(place, record);
        let old =
            honest.get(Table::Keys, place).unwrap().map(|old| opened(place, &old).1).unwrap_or_default();
        let mut all = [old.siblings(), state.siblings()].concat();
        all.sort_unstable();
        all.dedup();
        Some(sealed(&key, place, &beside_each_other(&all)))
    }
}

/// Of several siblings the first is gone, and the context covers it as if it had been overwritten.
#[derive(Debug, Clone)]
pub(super) struct DropsASibling;

impl Lie for DropsASibling {
    fn rewrite(&self, _: &dyn Engine, place: &Bytes, record: &Bytes) -> Option<Bytes> {
        let (key, state) = opened(place, record);
        let [first, rest @ ..] = state.siblings() else { return Some(record.clone()) };
        if rest.is_empty() {
            return Some(record.clone());
        }
        let mut gone = Causal::default();
        gone.insert(first.dot);
        let mut left = beside_each_other(std::slice::from_ref(first));
        for sibling in rest {
            left.put(&gone, sibling.dot, sibling.content.clone(), sibling.written.millis());
        }
        Some(sealed(&key, place, &left))
    }
}

/// The values are right, and what they are said to have overwritten is not: clients see no difference, hashes do.
#[derive(Debug, Clone)]
pub(super) struct WritesAnotherPast;

impl Lie for WritesAnotherPast {
    fn rewrite(&self, _: &dyn Engine, place: &Bytes, record: &Bytes) -> Option<Bytes> {
        let (key, mut state) = opened(place, record);
        let [one, other] = [1, 2].map(|actor| Dot::new(Actor(actor), 1));
        // Either has overwritten the other: together they are a past without a present.
        let overwriting = |dot: Dot, seen: Dot| {
            let mut past = Causal::default();
            past.insert(seen);
            let mut state = KeyState::default();
            state.put(&past, dot, Content::Tombstone, 0);
            state
        };
        let mut past = overwriting(one, other);
        past.merge(&overwriting(other, one));
        state.merge(&past);
        Some(sealed(&key, place, &state))
    }
}

/// Hints are kept, and never found when they are looked for.
#[derive(Debug, Clone)]
pub(super) struct HidesHints;

impl Lie for HidesHints {
    fn hides(&self, table: Table) -> bool {
        table == Table::Hints
    }
}

/// Writes are never said to be durable: whoever waits for one waits for ever.
#[derive(Debug, Clone, Default)]
pub(super) struct CommitsNever(Arc<Mutex<Vec<Settle>>>);

type Settle = oneshot::Sender<Result<(), CommitError>>;

impl Lie for CommitsNever {
    fn commit(&self, _: Commit) -> Commit {
        let (settle, commit) = Commit::pending();
        self.0.lock().unwrap().push(settle);
        commit
    }
}

/// Writes are said to be durable three seconds late.
#[derive(Debug, Clone)]
pub(super) struct CommitsLate;

impl Lie for CommitsLate {
    fn commit(&self, commit: Commit) -> Commit {
        let (settle, late) = Commit::pending();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(3)).await;
            settle.send(commit.await).ok();
        });
        late
    }
}

/// Every write leaves a task behind.
#[derive(Debug, Clone)]
pub(super) struct LeaksTasks;

impl Lie for LeaksTasks {
    fn commit(&self, commit: Commit) -> Commit {
        tokio::spawn(std::future::pending::<()>());
        commit
    }
}

/// Versions none of which knew another, in order.
fn beside_each_other(siblings: &[Sibling]) -> KeyState {
    let mut state = KeyState::default();
    for sibling in siblings {
        state.put(&Causal::default(), sibling.dot, sibling.content.clone(), sibling.written.millis());
    }
    state
}

/// What a record at a place in the table of keys says. Stores read and write records, so this asks one.
fn opened(place: &Bytes, record: &Bytes) -> (StoreKey, KeyState) {
    let engine = MemoryEngine::new();
    let mut batch = Batch::default();
    batch.put(Table::Keys, place.clone(), record.clone());
    engine.commit(batch).wait().unwrap();
    store_on(Arc::new(engine)).scan(None, 1).unwrap().states.remove(0)
}

/// The record that says `state` of `key`.
fn sealed(key: &StoreKey, place: &Bytes, state: &KeyState) -> Bytes {
    let engine = Arc::new(MemoryEngine::new());
    store_on(engine.clone()).merge(key, state).unwrap().commit.wait().unwrap();
    engine.get(Table::Keys, place).unwrap().unwrap()
}

fn store_on(engine: Arc<dyn Engine>) -> Store {
    Store::open(engine, &StoreOptions::new(TreeKey::new([0; 16]), 0, 0)).unwrap()
}
