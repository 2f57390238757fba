//! The store's promises, on every engine where the engine matters.

mod blocks;
mod buckets;
mod contents;
mod crashes;
mod deletes;
mod graves;
mod hints;
mod identity;
mod journals;
mod oracle;
mod rot;
mod saved;

use super::*;
use crate::engine::{DiskEngine, DiskOptions, MemoryEngine};
use crate::key::BucketId;
use crate::version::{Actor, Sibling};
use chinwag_merkle::{Cut, Directory, TreeKey};
use std::cell::RefCell;
use tempfile::TempDir;

/// One data directory, on a disk or in memory, that outlives the stores opened on it.
enum Home {
    Memory(RefCell<Arc<MemoryEngine>>),
    Disk(TempDir),
}

impl Home {
    fn memory() -> Self {
        Self::Memory(RefCell::default())
    }

    fn both() -> [Self; 2] {
        [Self::memory(), Self::Disk(TempDir::new().unwrap())]
    }

    /// Opens the directory after whoever had it open is gone.
    fn engine(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(engine) => {
                let reopened = Arc::new(engine.borrow().reopen());
                engine.replace(Arc::clone(&reopened));
                reopened
            }
            Self::Disk(directory) => {
                Arc::new(DiskEngine::open(directory.path(), DiskOptions::default()).unwrap())
            }
        }
    }

    fn store(&self) -> Store {
        let store = Store::open(self.engine(), &options()).unwrap();
        mend(&store);
        store
    }
}

fn options() -> StoreOptions {
    StoreOptions { partitions: 4, ..StoreOptions::new(TreeKey::new([3; 16]), 42, 1000) }
}

fn memory_store() -> Store {
    Home::memory().store()
}

/// Another member's store.
fn other_store(seed: u64) -> Store {
    Store::open(Arc::new(MemoryEngine::new()), &StoreOptions { seed, ..options() }).unwrap()
}

/// Scans whatever is in doubt since the start.
fn mend(store: &Store) {
    assert!(!store.mend(usize::MAX).unwrap());
}

/// Reads every record, as a member does again and again.
fn look_through(store: &Store) {
    mend(store);
    let rounds = store.scrubbed().rounds;
    while !store.is_empty() && store.scrub(1).unwrap().rounds == rounds {}
    store.scrub(1).unwrap();
}

/// A key in the first of the four partitions.
fn key(name: &'static str) -> StoreKey {
    StoreKey::new(BucketId::DEFAULT, 7, name)
}

/// Of a partition and the N that these keys have.
const fn tree(partition: u16) -> TreeId {
    TreeId { partition, n: 3 }
}

/// Some time.
const NOW: u64 = 1_700_000_000_000;

fn value(text: &'static str) -> Content {
    Content::Value(Bytes::from_static(text.as_bytes()))
}

fn blind() -> Causal {
    Causal::EMPTY
}

fn put(store: &Store, key: &StoreKey, seen: &Causal, text: &'static str) -> Written {
    store.put(key, seen, value(text), NOW).unwrap()
}

/// Teaches a store another's clock, as a clean exchange would.
fn learn_clock(store: &Store, tree: TreeId, clock: &Causal) {
    store.lock().merge_clock(tree, clock).wait().unwrap();
}

impl Store {
    /// Shows a tree's sums.
    fn tree<T>(&self, id: TreeId, look: impl FnOnce(&Directory) -> T) -> Option<T> {
        self.lock().contents.tree(id, |tree| look(tree.directory()))
    }
}

/// The rules that keep a deleted key deleted and everything else alive. Tests take one away and see what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// What the clock covers and the state lacks is refused.
    NotTakenBack,
    /// Only siblings that arrive teach the clock, and no context does.
    SiblingsOnly,
    /// A tombstone is removed once all owners are known to have seen all of its context.
    PurgedOnProof,
    /// Clocks are merged after clean exchanges only.
    ClocksWhenClean,
    /// Of a clock that was compared at a cut, what is younger is not merged.
    ClocksAtTheCut,
    /// Who still holds what the other side of an exchange has seen the end of drops it.
    HolderLearns,
    /// The clock of a partition that lost a record is made anew.
    RebuiltWhenLost,
    /// Every life of a directory has an actor of its own.
    ActorPerLife,
}

fn contents(state: &KeyState) -> Vec<Content> {
    state.siblings().iter().map(|sibling| sibling.content.clone()).collect()
}

fn stored(store: &Store, key: &StoreKey) -> Vec<Content> {
    store.get(key).unwrap().map_or_else(Vec::new, |state| contents(&state))
}

#[test]
fn what_is_put_is_there_and_stays() {
    for home in Home::both() {
        let store = home.store();
        assert_eq!(store.get(&key("k")).unwrap(), None);
        let first = put(&store, &key("k"), &blind(), "1");
        assert_eq!(store.get(&key("k")).unwrap(), Some(first.state.clone()), "before it is durable");
        let second = put(&store, &key("k"), first.state.context(), "2");
        assert_eq!(contents(&second.state), [value("2")]);
        let deleted = store.put(&key("l"), &blind(), Content::Tombstone, NOW).unwrap();
        for commit in [first.commit, second.commit, deleted.commit] {
            commit.wait().unwrap();
        }
        store.close().unwrap();
        drop(store);
        let store = home.store();
        assert_eq!(store.get(&key("k")).unwrap(), Some(second.state));
        assert_eq!(stored(&store, &key("l")), [Content::Tombstone], "a delete is a version");
        assert_eq!(store.len(), 2);
    }
}

#[test]
fn writes_need_not_wait_for_the_disk() {
    for home in Home::both() {
        let store = home.store();
        let mut seen = blind();
        let mut last = None;
        for round in 1..=500 {
            let written = store.put(&key("k"), &seen, Content::Tombstone, NOW).unwrap();
            assert_eq!(written.dot.seq, round, "dots are dense");
            assert_eq!(written.state.siblings().len(), 1, "each write saw the one before");
            seen = written.state.context().clone();
            last = Some(written.commit);
        }
        last.unwrap().wait().unwrap();
        drop(store);
        assert_eq!(home.store().get(&key("k")).unwrap().unwrap().context(), &seen);
    }
}

#[test]
fn a_put_tells_its_client_what_the_client_saw_and_no_more() {
    let store = memory_store();
    let first = put(&store, &key("k"), &blind(), "1");
    let second = put(&store, &key("k"), &blind(), "2");
    assert_eq!(second.context, [second.dot].into_iter().collect());
    assert!(!second.context.covers(first.dot), "the client never saw it");
    assert!(second.state.context().covers(first.dot));
    let third = put(&store, &key("k"), &second.context, "3");
    assert_eq!(contents(&third.state), [value("1"), value("3")]);
    assert_eq!(third.context, [second.dot, third.dot].into_iter().collect());
}

#[test]
fn dots_are_dense_per_partition() {
    let store = memory_store();
    let far = StoreKey::new(BucketId::DEFAULT, u128::MAX, "far");
    let seqs =
        [key("a"), far.clone(), key("b"), far, key("a")].map(|key| put(&store, &key, &blind(), "x").dot.seq);
    assert_eq!(seqs, [1, 1, 2, 2, 3]);
    let actor = store.identity().actor;
    assert_eq!(store.clock(tree(0)).vector().collect::<Vec<_>>(), [(actor, 3)]);
    assert_eq!(store.clock(tree(3)).vector().collect::<Vec<_>>(), [(actor, 2)]);
    assert_eq!((store.clock(tree(1)), store.clock(tree(99))), (blind(), blind()));
}

#[test]
fn a_merge_teaches_the_clock_the_versions_it_stored_and_no_others() {
    let (store, other) = (memory_store(), other_store(1));
    let overwritten = put(&other, &key("k"), &blind(), "1");
    let current = put(&other, &key("k"), overwritten.state.context(), "2");
    let merged = store.merge(&key("k"), &current.state).unwrap();
    assert!(merged.changed);
    assert_eq!(merged.state, current.state);
    assert_eq!(
        store.clock(tree(0)),
        [current.dot].into_iter().collect(),
        "the overwritten one never came here"
    );
    assert!(!store.merge(&key("k"), &current.state).unwrap().changed);
    assert!(!store.merge(&key("k"), &overwritten.state).unwrap().changed);

    learn_clock(&store, tree(0), &other.clock(tree(0)));
    assert_eq!(store.clock(tree(0)), other.clock(tree(0)));
}

#[test]
fn clocks_survive_a_restart() {
    for home in Home::both() {
        let store = home.store();
        put(&store, &key("k"), &blind(), "1").commit.wait().unwrap();
        let elsewhere: Causal = [Dot::new(Actor(9), 5)].into_iter().collect();
        learn_clock(&store, tree(0), &elsewhere);
        learn_clock(&store, tree(2), &elsewhere);
        let clocks = [store.clock(tree(0)), store.clock(tree(2))];
        drop(store);
        let store = home.store();
        assert_eq!([store.clock(tree(0)), store.clock(tree(2))], clocks);
    }
}

#[test]
fn a_merge_that_changes_nothing_still_waits_for_what_is_there() {
    let store = memory_store();
    let written = put(&store, &key("k"), &blind(), "1");
    let merged = store.merge(&key("k"), &written.state).unwrap();
    merged.commit.wait().unwrap();
    assert_eq!(merged.state, written.state);
}

#[test]
fn a_partition_that_is_none_holds_nothing() {
    let store = memory_store();
    assert!(store.outset(tree(4), Cut::NONE).is_none());
    assert_eq!(store.tree(tree(4), |_| ()), None);
    assert_eq!(store.tree(tree(3), |tree| tree.total().count), Some(0));
}

#[test]
fn one_dot_with_two_contents_is_counted_and_kept() {
    let store = memory_store();
    let written = put(&store, &key("k"), &blind(), "1");
    let twin = {
        // The same directory, copied and used twice.
        let store = memory_store();
        put(&store, &key("k"), &blind(), "another")
    };
    assert_eq!(written.dot, twin.dot);
    let merged = store.merge(&key("k"), &twin.state).unwrap();
    assert_eq!(merged.skewed, [written.dot]);
    assert_eq!(contents(&merged.state), [value("1"), value("another")]);
    assert_eq!(store.counters().skewed_dots, 1);
}

#[test]
fn a_closed_store_refuses() {
    for home in Home::both() {
        let store = home.store();
        store.close().unwrap();
        store.close().expect("closing twice is closing once");
        let refused = WriteError::Refused(Refusal::Closed);
        assert_eq!(store.put(&key("k"), &blind(), value("1"), NOW).unwrap_err(), refused);
        assert_eq!(store.merge(&key("k"), &KeyState::default()).unwrap_err(), refused);
        assert_eq!(store.purge(tree(0), &[], NOW).unwrap_err(), refused);
        assert_eq!(store.put_note("n", b"").unwrap_err(), refused);
    }
}

#[test]
fn notes_are_kept() {
    for home in Home::both() {
        let store = home.store();
        assert_eq!(store.note("members").unwrap(), None);
        store.put_note("members", b"a, b").unwrap().wait().unwrap();
        store.put_note("members", b"a, b, c").unwrap().wait().unwrap();
        store.put_note("founding", b"").unwrap().wait().unwrap();
        drop(store);
        let store = home.store();
        assert_eq!(store.note("members").unwrap().as_deref(), Some(&b"a, b, c"[..]));
        assert_eq!(store.note("founding").unwrap().as_deref(), Some(&b""[..]));
        assert_eq!(store.note("member").unwrap(), None);
    }
}

#[test]
fn a_state_too_large_for_the_cache_is_not_served_old() {
    let small = StoreOptions { cache_bytes: 2000, ..options() };
    let store = Store::open(Arc::new(MemoryEngine::new()), &small).unwrap();
    let first = put(&store, &key("k"), &blind(), "small");
    let large = Content::Value(vec![0; 10_000].into());
    let second = store.put(&key("k"), first.state.context(), large.clone(), NOW).unwrap();
    assert_eq!(stored(&store, &key("k")), [large]);
    put(&store, &key("k"), second.state.context(), "small again");
    assert_eq!(stored(&store, &key("k")), [value("small again")]);
}

/// A sibling with a dot of its own, as another member's store would have made it.
fn foreign_state(actor: u64, seq: u64, text: &'static str) -> KeyState {
    let mut state = KeyState::default();
    state.put(&blind(), Dot::new(Actor(actor), seq), value(text), NOW);
    assert!(matches!(state.siblings(), [Sibling { .. }]));
    state
}
