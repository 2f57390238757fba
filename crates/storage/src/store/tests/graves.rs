//! Tombstones: when their records are removed, and what that leaves behind.

use super::*;

pub(super) const OTHERS: [Life; 2] = [Life { member: 2, generation: 7 }, Life { member: 3, generation: 1 }];

/// Writes and deletes a key; gives the state before and after.
fn deleted(store: &Store, name: &'static str) -> (KeyState, KeyState) {
    let written = put(store, &key(name), &blind(), "value");
    let deleted = store.put(&key(name), written.state.context(), Content::Tombstone, NOW).unwrap();
    (written.state, deleted.state)
}

pub(super) fn hear_all(store: &Store) {
    OTHERS.iter().for_each(|&who| store.hear_clock(tree(0), who, &store.clock(tree(0))));
}

fn purged(store: &Store) -> u64 {
    let purged = store.purge(tree(0), &OTHERS, NOW).unwrap();
    purged.commit.wait().unwrap();
    purged.keys
}

#[test]
fn a_tombstone_goes_when_every_owner_is_known_to_have_seen_its_end() {
    for home in Home::both() {
        let store = home.store();
        let (value, _) = deleted(&store, "k");
        put(&store, &key("alive"), &blind(), "1");
        assert_eq!((store.tombstones(), purged(&store)), (1, 0), "nothing was heard of anybody");
        store.hear_clock(tree(0), OTHERS[0], &store.clock(tree(0)));
        assert_eq!(purged(&store), 0, "one was not heard");
        store.hear_clock(tree(0), OTHERS[1], value.context());
        assert_eq!(purged(&store), 0, "it has not seen the tombstone");
        let restarted = Life { generation: 2, ..OTHERS[1] };
        store.hear_clock(tree(0), restarted, &store.clock(tree(0)));
        assert_eq!(purged(&store), 0, "it is not the one that lives");
        hear_all(&store);
        assert_eq!(purged(&store), 1);
        assert_eq!((store.tombstones(), store.len()), (0, 1));
        assert_eq!(store.get(&key("k")).unwrap(), None);
        drop(store);

        let store = home.store();
        assert_eq!((store.tombstones(), store.len()), (0, 1), "the record is gone from the disk");
        assert!(!store.merge(&key("k"), &value).unwrap().changed);
        assert_eq!(store.get(&key("k")).unwrap(), None, "what was overwritten is not taken back");
    }
}

#[test]
fn a_tombstone_whose_past_came_elsewhere_waits_for_it() {
    let (store, other) = (memory_store(), other_store(1));
    let (_, tombstone) = deleted(&other, "k");
    store.merge(&key("k"), &tombstone).unwrap();
    OTHERS.iter().for_each(|&who| store.hear_clock(tree(0), who, &other.clock(tree(0))));
    assert_eq!(purged(&store), 0, "all have seen the value but this one");
    learn_clock(&store, tree(0), &other.clock(tree(0)));
    assert_eq!(purged(&store), 1);
}

#[test]
fn tombstones_are_known_after_a_restart_and_no_longer_once_written_over() {
    for home in Home::both() {
        let store = home.store();
        let (_, tombstone) = deleted(&store, "k");
        deleted(&store, "l");
        drop(store);
        let store = home.store();
        assert_eq!((store.tombstones(), store.trees_with_tombstones(NOW)), (2, vec![tree(0)]));
        put(&store, &key("k"), tombstone.context(), "again");
        assert_eq!(store.tombstones(), 1);
        hear_all(&store);
        assert_eq!(purged(&store), 1);
        assert_eq!((store.len(), store.trees_with_tombstones(NOW)), (1, vec![]));
    }
}

#[test]
fn a_purge_looks_at_a_bounded_number_of_keys_and_at_all_in_turn() {
    let store = memory_store();
    for number in 0..600_u32 {
        let key = StoreKey::new(BucketId::DEFAULT, u128::from(number), "k");
        store.put(&key, &blind(), Content::Tombstone, NOW).unwrap();
    }
    hear_all(&store);
    let mut calls = Vec::new();
    loop {
        let purged = store.purge(tree(0), &OTHERS, NOW).unwrap();
        calls.push(purged.keys);
        if !purged.more {
            break;
        }
    }
    assert_eq!(calls, [256, 256, 88]);
    assert!(store.is_empty());
}

#[test]
fn a_key_written_after_its_purge_is_new() {
    let store = memory_store();
    let (value_before, tombstone) = deleted(&store, "k");
    hear_all(&store);
    assert_eq!(purged(&store), 1);
    let again = put(&store, &key("k"), &blind(), "again");
    for old in [value_before, tombstone] {
        let merged = store.merge(&key("k"), &old).unwrap();
        assert_eq!(contents(&merged.state), [value("again")]);
    }
    assert_eq!(stored(&store, &key("k")), [value("again")]);
    assert_eq!(again.state.siblings().len(), 1);
}

#[test]
fn who_reads_a_purged_key_has_seen_its_delete() {
    let (store, behind) = (memory_store(), other_store(1));
    let (value_before, tombstone) = deleted(&store, "k");
    behind.merge(&key("k"), &value_before).unwrap();
    hear_all(&store);
    assert_eq!(purged(&store), 1);
    let mut read = behind.read(&key("k")).unwrap();
    assert_eq!(contents(&read), [value("value")]);
    read.merge(&store.read(&key("k")).unwrap());
    assert_eq!(contents(&read), []);
    assert!(read.context().includes(tombstone.context()));
    // What is written after such a read replaces what the other still holds.
    let again = put(&store, &key("k"), read.context(), "again");
    assert_eq!(contents(&behind.merge(&key("k"), &again.state).unwrap().state), [value("again")]);
}

/// The side that purged has nothing left to show. The other learns of it all the same, whoever begins.
#[test]
fn an_exchange_removes_what_the_other_side_has_seen_the_end_of() {
    for purged_begins in [false, true] {
        let (one, two) = (memory_store(), other_store(1));
        let (value, tombstone) = deleted(&one, "deleted");
        let kept = put(&one, &key("kept"), &blind(), "1").state;
        two.merge(&key("deleted"), &value).unwrap();
        two.merge(&key("kept"), &kept).unwrap();
        let late = put(&two, &key("late"), &blind(), "2").state;
        hear_all(&one);
        assert_eq!(purged(&one), 1);
        drop(tombstone);

        let sides = if purged_begins { [&one, &two] } else { [&two, &one] };
        let outsets = sides.map(|store| store.outset(tree(0), Cut::NONE).unwrap());
        let mut mine = Swap::new(&outsets[0], outsets[1].clock.clone(), blind());
        let mut theirs = Swap::new(&outsets[1], outsets[0].clock.clone(), blind());
        let positions = [key("k").position];
        for from in [0, 1] {
            let to = 1 - from;
            let (offering, taking) =
                if from == 0 { (&mut mine, &mut theirs) } else { (&mut theirs, &mut mine) };
            for (key, state) in offering.offer(sides[from], &positions, None, 9).unwrap().states {
                taking.accept(sides[to], key, &state).unwrap();
            }
            let answer = taking.answer(sides[to], 9).unwrap().unwrap_or_default();
            for (key, state) in answer.states {
                offering.accept(sides[from], key, &state).unwrap();
            }
            for key in answer.gone {
                offering.gone(sides[from], &key).unwrap();
            }
        }
        for store in [&one, &two] {
            assert_eq!(store.get(&key("deleted")).unwrap(), None);
            assert_eq!(store.get(&key("kept")).unwrap(), Some(kept.clone()));
            assert_eq!(store.get(&key("late")).unwrap(), Some(late.clone()));
        }
    }
}

/// A tombstone that another replica is done with is no difference that a reader could see; a value, or the news of a
/// delete, is.
#[test]
fn a_key_of_which_tombstones_alone_go_is_tidied() {
    let one = memory_store();
    let (value, tombstone) = deleted(&one, "k");
    let (nothing, theirs) = (KeyState::default(), one.clock(tree(0)));
    let outcome = |merged: Merged| (merged.changed, merged.tidied);
    let gone = |store: &Store| outcome(store.lock().merge(&key("k"), &nothing, &theirs).unwrap());

    let behind = other_store(1);
    assert_eq!(outcome(behind.merge(&key("k"), &value).unwrap()), (true, false), "it is new");
    assert_eq!(gone(&behind), (true, false), "a reader was shown it");
    assert_eq!(gone(&behind), (false, false), "it is gone");

    let late = other_store(2);
    assert_eq!(outcome(late.merge(&key("k"), &value).unwrap()), (true, false));
    assert_eq!(outcome(late.merge(&key("k"), &tombstone).unwrap()), (true, false), "a delete is news");
    assert_eq!(gone(&late), (true, true));

    let beside = other_store(3);
    beside.merge(&key("k"), &tombstone).unwrap();
    let again = put(&beside, &key("k"), &blind(), "again").state;
    let mut alone = again.clone();
    alone.retain(|sibling| sibling.content != Content::Tombstone);
    let merged = beside.lock().merge(&key("k"), &alone, &theirs).unwrap();
    assert_eq!(outcome(merged), (true, true), "the value stays");
    assert_eq!(stored(&beside, &key("k")), [super::value("again")]);
}
