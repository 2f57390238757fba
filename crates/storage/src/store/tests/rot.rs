//! Damaged records: counted, never served, filled in by others, and no version of ours lost through them.

use super::*;
use crate::engine::{Health, Page, Table};
use crate::format;

/// An engine whose own data is damaged where one record was.
#[derive(Debug)]
struct Damaged(MemoryEngine, Bytes);

impl Engine for Damaged {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        if key == self.1 {
            return Err(ReadError::Damaged { table, reason: "a block".to_owned() });
        }
        self.0.get(table, key)
    }
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError> {
        self.0.scan(table, from, to, limit)
    }
    fn admit(&self) -> Result<(), Refusal> {
        self.0.admit()
    }
    fn commit(&self, batch: Batch) -> Commit {
        self.0.commit(batch)
    }
    fn health(&self) -> Health {
        self.0.health()
    }
    fn close(&self) -> Result<(), CloseError> {
        self.0.close()
    }
}

/// Flips a bit of a record beneath the store.
fn rot(engine: &dyn Engine, table: Table, place: &[u8]) {
    let mut record = engine.get(table, place).unwrap().unwrap().to_vec();
    *record.last_mut().unwrap() ^= 1;
    let mut batch = Batch::default();
    batch.put(table, Bytes::copy_from_slice(place), record);
    engine.commit(batch).wait().unwrap();
}

/// A store without a cache, so that every read is of the record, and the engine beneath it.
fn bare(home: &Home) -> (Store, Arc<dyn Engine>) {
    let engine = home.engine();
    let store = Store::open(Arc::clone(&engine), &StoreOptions { cache_bytes: 0, ..options() }).unwrap();
    look_through(&store);
    (store, engine)
}

#[test]
fn a_bad_record_is_absent_and_counted_once() {
    for home in Home::both() {
        let (store, engine) = bare(&home);
        put(&store, &key("bad"), &blind(), "1");
        put(&store, &key("good"), &blind(), "2");
        rot(&*engine, Table::Keys, &format::state_key(&key("bad")));
        for _ in 0..2 {
            assert_eq!(store.get(&key("bad")).unwrap(), None);
            assert_eq!(store.counters().bad_records, 1);
        }
        assert_eq!(stored(&store, &key("good")), [value("2")]);
        let keys = |store: &Store| {
            let page = store.scan(None, 9).unwrap().states;
            page.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
        };
        assert_eq!(keys(&store), [key("good")]);
        assert_eq!(store.len(), 1, "the tree shows others that it is missing");
        drop((store, engine));

        let (store, _engine) = bare(&home);
        assert_eq!((store.counters().bad_records, store.len()), (1, 1), "found by the scrubber");
        assert_eq!(keys(&store), [key("good")]);
    }
}

#[test]
fn damage_below_a_record_is_as_bad_as_in_it() {
    let engine = Damaged(MemoryEngine::new(), format::state_key(&key("bad")));
    let store = Store::open(Arc::new(engine), &options()).unwrap();
    assert_eq!(store.get(&key("bad")).unwrap(), None);
    assert_eq!(store.counters().bad_records, 1);
    put(&store, &key("bad"), &blind(), "1");
    assert_eq!(store.counters().actors_drawn, 1, "it may have held versions of ours");
    assert_eq!(stored(&store, &key("bad")), [value("1")], "written anew");
}

#[test]
fn others_fill_a_bad_record_in_and_trees_agree_again() {
    let home = Home::memory();
    let (store, engine) = bare(&home);
    let other = other_store(1);
    let state = put(&store, &key("k"), &blind(), "1").state;
    other.merge(&key("k"), &state).unwrap();
    rot(&*engine, Table::Keys, &format::state_key(&key("k")));
    let total = |store: &Store| store.tree(tree(0), |tree| tree.total()).unwrap();
    assert_eq!(total(&store), total(&other), "nobody has looked");
    assert_eq!(store.get(&key("k")).unwrap(), None);
    assert_ne!(total(&store), total(&other));
    assert!(store.merge(&key("k"), &state).unwrap().changed);
    assert_eq!(total(&store), total(&other));
    assert_eq!(store.get(&key("k")).unwrap(), Some(state));
}

/// A coordinator's context claims that it holds all its own earlier dots of the key. After rot it does not, so it must
/// not write under the same actor: the version that only others still hold would be overwritten unread.
#[test]
fn rot_takes_nothing_from_the_other_replicas() {
    type Touch = fn(&Store, &KeyState);
    let ways: [(&str, Touch); 2] = [
        ("a put", |_, _| ()),
        ("a merge of less than was lost, then a put", |store, less| {
            drop(store.merge(&key("k"), less).unwrap())
        }),
    ];
    for (way, touch) in ways {
        let home = Home::memory();
        let (store, engine) = bare(&home);
        let kept_elsewhere = put(&store, &key("k"), &blind(), "kept elsewhere").state;
        rot(&*engine, Table::Keys, &format::state_key(&key("k")));
        touch(&store, &foreign_state(1, 1, "less"));
        let written = put(&store, &key("k"), &blind(), "new");
        assert_eq!(store.counters().actors_drawn, 1, "{way}");
        let merged = store.merge(&key("k"), &kept_elsewhere).unwrap();
        assert!(contents(&merged.state).contains(&value("kept elsewhere")), "{way}");
        assert!(contents(&merged.state).contains(&value("new")), "{way}");
        assert_eq!(store.counters().actors_drawn, 1, "{way}");
        assert_eq!(written.dot.seq, 1, "{way}");
    }
}

#[test]
fn a_lost_clock_is_rebuilt_from_what_is_here() {
    let home = Home::memory();
    let (store, engine) = bare(&home);
    let overwritten = put(&store, &key("k"), &blind(), "1");
    let current = put(&store, &key("k"), overwritten.state.context(), "2");
    store.close().unwrap();
    drop((store, engine));
    let engine = home.engine();
    rot(&*engine, Table::Clocks, &format::clock_key(tree(0), current.dot.actor));
    let store = Store::open(engine, &options()).unwrap();
    assert_eq!(store.outset(tree(0), Cut::NONE).map(drop), None, "not before it was read");
    mend(&store);
    assert_eq!(store.clock(tree(0)), [current.dot].into_iter().collect(), "less than before, and true");
    assert_eq!(store.counters().bad_records, 1);
}

/// The disk remembers no more than the clock, as soon as the damaged record is replaced by whatever it may be.
#[test]
fn a_forgotten_clock_is_forgotten_on_disk_too() {
    let home = Home::memory();
    let (store, engine) = bare(&home);
    let lost = foreign_state(1, 1, "lost");
    drop(store.merge(&key("k"), &lost).unwrap());
    learn_clock(&store, tree(0), &(3..9).map(|life| Dot::new(Actor(life), 1)).collect());
    rot(&*engine, Table::Keys, &format::state_key(&key("k")));
    let new = put(&store, &key("k"), &blind(), "new");
    assert_eq!(store.clock(tree(0)), [new.dot].into_iter().collect());
    drop((store, engine));
    let (store, _engine) = bare(&home);
    assert_eq!(store.clock(tree(0)), [new.dot].into_iter().collect(), "after a restart as before");
    assert!(contents(&store.merge(&key("k"), &lost).unwrap().state).contains(&value("lost")));
}

/// What was lost is taken back, since the clock forgets it too: at once, or when the store is next opened.
#[test]
fn a_partition_that_lost_a_record_has_seen_only_what_it_holds() {
    for reopened in [false, true] {
        let home = Home::memory();
        let (mut store, mut engine) = bare(&home);
        let lost = put(&store, &key("lost"), &blind(), "1");
        let kept = put(&store, &key("kept"), &blind(), "2");
        rot(&*engine, Table::Keys, &format::state_key(&key("lost")));
        if reopened {
            drop((store, engine));
            (store, engine) = bare(&home);
        }
        let position = key("lost").position;
        let interval = store.outset(tree(0), Cut::NONE).unwrap().tree.directory.interval();
        let seen = store.entries(tree(0), interval, Cut::NONE).unwrap();
        assert_eq!(seen.iter().filter(|entry| entry.position == position).count(), 1, "one of two keys");
        assert_eq!(store.clock(tree(0)), [kept.dot].into_iter().collect(), "reopened: {reopened}");
        assert!(store.merge(&key("lost"), &lost.state).unwrap().changed);
        assert_eq!(stored(&store, &key("lost")), [value("1")]);
        drop(engine);
    }
}

#[test]
fn what_memory_still_has_is_written_again() {
    let home = Home::memory();
    let engine = home.engine();
    let store = Store::open(Arc::clone(&engine), &options()).unwrap();
    let written = put(&store, &key("k"), &blind(), "1");
    let place = format::state_key(&key("k"));
    rot(&*engine, Table::Keys, &place);
    let total = store.tree(tree(0), Directory::total).unwrap();
    let swap = Swap::new(&store.outset(tree(0), Cut::NONE).unwrap(), blind(), blind());
    assert_eq!(store.scan(None, 9).unwrap().states, [], "the disk was read");
    assert_eq!(store.scan(None, 9).unwrap().states, [(key("k"), written.state)]);
    assert_eq!((store.tree(tree(0), Directory::total), store.counters().bad_records), (Some(total), 1));
    assert!(store.clock(tree(0)).covers(written.dot), "nothing was lost");
    assert_eq!(swap.check(&store), Err(SwapError::Lost), "yet who read meanwhile read without it");
}

/// The other side would take a record that is lost for one that was overwritten.
#[test]
fn an_exchange_ends_when_a_record_is_found_lost() {
    let home = Home::memory();
    let (store, engine) = bare(&home);
    put(&store, &key("k"), &blind(), "1");
    let mut swap = Swap::new(&store.outset(tree(0), Cut::NONE).unwrap(), blind(), blind());
    rot(&*engine, Table::Keys, &format::state_key(&key("k")));
    assert_eq!(swap.check(&store), Ok(()), "nobody has looked");
    let positions = [key("k").position];
    assert_eq!(swap.offer(&store, &positions, None, 9).unwrap_err(), SwapError::Lost);
    assert_eq!(swap.answer(&store, 9).unwrap_err(), SwapError::Lost);
    assert_eq!(swap.conclude(&store, true).unwrap_err(), SwapError::Lost);
}

#[test]
fn a_damaged_identity_is_not_guessed() {
    let home = Home::memory();
    home.store();
    let engine = home.engine();
    rot(&*engine, Table::Meta, format::IDENTITY);
    let error = Store::open(engine, &options()).unwrap_err();
    assert_eq!(error, StoreOpenError::Identity(format::BadRecord::Checksum));
}

#[test]
fn a_damaged_hint_or_note_is_absent() {
    let home = Home::memory();
    let (store, engine) = bare(&home);
    let state = foreign_state(1, 1, "x");
    store.park(5, &key("k"), &state, 10).unwrap();
    store.park(5, &key("l"), &state, 20).unwrap();
    store.put_note("n", b"note").unwrap().wait().unwrap();
    rot(&*engine, Table::Hints, &format::hint_key(5, &key("k")));
    rot(&*engine, Table::Meta, &format::note_key("n"));
    assert_eq!(store.hinted(5, &key("k")).unwrap(), None);
    assert_eq!(store.note("n").unwrap(), None);
    assert_eq!(store.hints(5, None, 9).unwrap().states, [(key("l"), state)]);
    assert_eq!(store.counters().bad_records, 2);
    let waiting = |store: &Store| {
        let backlogs = store.backlogs().into_iter();
        backlogs.map(|backlog| (backlog.hints, backlog.oldest)).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&store), [(1, 20)], "nobody waits for what cannot be delivered");
    drop((store, engine));
    let (store, _engine) = bare(&home);
    assert_eq!(store.counters().bad_records, 1, "notes are read when they are asked for");
    assert_eq!(waiting(&store), [(1, 20)]);
}
