//! Who a directory is, and when its actor is used up.

use super::*;
use crate::engine::Table;
use crate::version::Dot;

#[test]
fn every_life_of_a_directory_has_an_actor_of_its_own() {
    for home in Home::both() {
        let first = home.store();
        let founded = first.identity();
        assert_eq!(founded.generation, 1000);
        put(&first, &key("k"), &blind(), "1").commit.wait().unwrap();
        first.close().unwrap();
        drop(first);

        let second = home.store();
        let now = second.identity();
        assert_eq!((now.directory, now.generation), (founded.directory, 1001));
        assert_ne!(now.actor, founded.actor, "nothing says that this is not an old copy");
        assert_eq!(put(&second, &key("k"), &blind(), "2").dot, Dot::new(now.actor, 1));
        assert_eq!(second.counters().actors_drawn, 0, "nothing was lost");
    }
}

/// A directory that was stopped cleanly and copied; the original goes on, is lost, and the copy is put in its place.
#[test]
fn a_restored_copy_gives_no_dot_that_was_given_since() {
    let home = Home::memory();
    let original = home.store();
    put(&original, &key("k"), &blind(), "old").commit.wait().unwrap();
    original.close().unwrap();
    let copy = deletes::copy_of(&*home.engine());
    let original = home.store();
    let since = put(&original, &key("k"), &blind(), "since");
    let other = other_store(1);
    other.merge(&key("k"), &since.state).unwrap();

    let restored = Store::open(Arc::new(copy), &StoreOptions { seed: 43, ..options() }).unwrap();
    assert_eq!(
        restored.identity().generation,
        original.identity().generation,
        "nothing here tells them apart"
    );
    let first = put(&restored, &key("k"), &blind(), "restored");
    assert_ne!(first.dot.actor, since.dot.actor);
    let everything = other.merge(&key("k"), &first.state).unwrap();
    assert_eq!(everything.skewed, []);
    assert!(contents(&everything.state).contains(&value("since")));
    assert!(contents(&everything.state).contains(&value("restored")));
}

#[test]
fn a_wiped_directory_is_another_one_with_a_higher_generation() {
    let old = memory_store().identity();
    let later = StoreOptions { first_generation: 2000, ..options() };
    let new = Store::open(Arc::new(MemoryEngine::new()), &later).unwrap().identity();
    assert!(new.generation > old.generation);
    assert_ne!(new.directory, old.directory, "although the seed is the same");
    assert_ne!(new.actor, old.actor);
}

#[test]
fn the_generation_follows_the_clock_where_the_clock_is_ahead() {
    let home = Home::memory();
    home.store();
    let later = StoreOptions { first_generation: 5000, ..options() };
    assert_eq!(Store::open(home.engine(), &later).unwrap().identity().generation, 5000);
    assert_eq!(home.store().identity().generation, 5001, "and never falls behind itself");
}

#[test]
fn a_directory_keeps_its_number_of_partitions() {
    let home = Home::memory();
    home.store();
    let other = StoreOptions { partitions: 8, ..options() };
    let error = Store::open(home.engine(), &other).unwrap_err();
    assert_eq!(error, StoreOpenError::OtherPartitions { stored: 4, asked: 8 });
    let bad = StoreOptions { partitions: 12, ..options() };
    assert_eq!(Store::open(home.engine(), &bad).unwrap_err(), StoreOpenError::BadPartitions { asked: 12 });
}

/// A directory restored from a copy: everyone else remembers what it has forgotten.
fn store_restored_from_a_copy() -> (Store, Identity, KeyState, Causal) {
    let lost = memory_store();
    put(&lost, &key("other"), &blind(), "0");
    let written = put(&lost, &key("k"), &blind(), "lost");
    let restored = memory_store();
    assert_eq!(lost.identity(), restored.identity());
    (restored, lost.identity(), written.state, lost.clock(tree(0)))
}

#[test]
fn whoever_knows_more_of_me_than_i_do_gives_me_a_new_actor() {
    type Tell = fn(&Store, &KeyState, &Causal);
    let ways: [(&str, Tell); 4] = [
        ("a state to merge", |store, state, _| drop(store.merge(&key("k"), state).unwrap())),
        ("the clock an exchange begins with", |store, _, clock| {
            store.hear_clock(tree(0), Life { member: 9, generation: 1 }, clock);
        }),
        ("a client's context", |store, state, _| {
            drop(store.put(&key("l"), state.context(), value("1"), NOW).unwrap())
        }),
        ("a state to park", |store, state, _| drop(store.park(1, &key("k"), state, 0).unwrap())),
    ];
    for (way, tell) in ways {
        let (store, old, state, clock) = store_restored_from_a_copy();
        tell(&store, &state, &clock);
        let new = store.identity();
        assert_ne!(new.actor, old.actor, "{way}");
        assert_eq!(store.counters().actors_drawn, 1, "{way}");
        // No dot is given twice, and the forgotten version lives on beside the next.
        let next = put(&store, &key("k"), &blind(), "next");
        assert_eq!(next.dot.actor, new.actor, "{way}");
        let merged = store.merge(&key("k"), &state).unwrap();
        assert_eq!(merged.state.siblings().len(), 2, "{way}");
        assert_eq!(store.counters().actors_drawn, 1, "{way}: what is known of the old actor is nothing new");
    }
}

#[test]
fn a_clock_that_is_vouched_for_gives_me_a_new_actor_too() {
    let (store, old, _, clock) = store_restored_from_a_copy();
    learn_clock(&store, tree(0), &clock);
    assert_ne!(store.identity().actor, old.actor);
}

#[test]
fn others_dots_change_nothing() {
    let store = memory_store();
    let before = store.identity();
    store.merge(&key("k"), &foreign_state(1, 99, "x")).unwrap();
    learn_clock(&store, tree(0), &[Dot::new(Actor(2), 7)].into_iter().collect());
    // What I wrote myself, come back.
    let mine = put(&store, &key("k"), &blind(), "mine");
    store.merge(&key("k"), &mine.state).unwrap();
    put(&store, &key("l"), &mine.context, "mine too");
    assert_eq!(store.identity(), before);
}

/// Of every life that gave dots the clocks keep a record, and no write touches those of others.
#[test]
fn a_write_costs_the_same_after_any_number_of_lives() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let store = Store::open(Arc::clone(&engine), &options()).unwrap();
    let lives: Causal = (2..1000).map(|life| Dot::new(Actor(life), life)).collect();
    learn_clock(&store, tree(0), &lives);
    let clocks = || engine.scan(Table::Clocks, b"", None, usize::MAX).unwrap();
    let before = clocks();
    assert_eq!(before.len(), 998);
    put(&store, &key("k"), &blind(), "v").commit.wait().unwrap();
    let after = clocks();
    let new: Vec<_> = after.iter().filter(|record| !before.contains(record)).collect();
    assert_eq!((new.len(), after.len()), (1, before.len() + 1));
}
