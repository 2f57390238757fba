//! Who a directory is, and when its actor is used up.

use super::*;

#[test]
fn a_clean_stop_keeps_the_actor_and_any_other_takes_a_new_one() {
    for home in Home::both() {
        let first = home.store();
        let founded = first.identity();
        assert_eq!(founded.generation, 1000);
        first.close().unwrap();
        drop(first);

        let second = home.store();
        assert_eq!(second.identity(), Identity { generation: 1001, ..founded });
        assert_eq!(second.counters().actors_drawn, 0);
        put(&second, &key("k"), &blind(), "1").commit.wait().unwrap();
        drop(second);

        let third = home.store();
        let now = third.identity();
        assert_eq!((now.directory, now.generation), (founded.directory, 1002));
        assert_ne!(now.actor, founded.actor, "nobody said that nothing was lost");
        assert_eq!(put(&third, &key("k"), &blind(), "2").dot, Dot::new(now.actor, 1));
        third.close().unwrap();
        drop(third);

        assert_eq!(home.store().identity().actor, now.actor, "the new one is kept like the first");
    }
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
    (restored, lost.identity(), written.state, lost.clock(0))
}

#[test]
fn whoever_knows_more_of_me_than_i_do_gives_me_a_new_actor() {
    type Tell = fn(&Store, &KeyState, &Causal);
    let ways: [(&str, Tell); 4] = [
        ("a state to merge", |store, state, _| drop(store.merge(&key("k"), state).unwrap())),
        ("a clock", |store, _, clock| drop(store.merge_clock(0, clock).unwrap())),
        ("a client's context", |store, state, _| {
            drop(store.put(&key("l"), state.context(), value("1")).unwrap())
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
fn a_new_actor_is_as_durable_as_its_first_dot() {
    for home in Home::both() {
        let store = home.store();
        let old = store.identity().actor;
        let state = foreign_state(old.0, 5, "from before");
        store.merge(&key("k"), &state).unwrap().commit.wait().unwrap();
        let new = store.identity().actor;
        assert_ne!(new, old);
        store.close().unwrap();
        drop(store);
        assert_eq!(home.store().identity().actor, new);
    }
}

#[test]
fn others_dots_change_nothing() {
    let store = memory_store();
    let before = store.identity();
    store.merge(&key("k"), &foreign_state(1, 99, "x")).unwrap();
    drop(store.merge_clock(0, &[Dot::new(Actor(2), 7)].into_iter().collect()).unwrap());
    // What I wrote myself, come back.
    let mine = put(&store, &key("k"), &blind(), "mine");
    store.merge(&key("k"), &mine.state).unwrap();
    put(&store, &key("l"), &mine.context, "mine too");
    assert_eq!(store.identity(), before);
}
