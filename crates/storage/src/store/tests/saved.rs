//! What is saved of the trees: a start scans what was written since the last checkpoint and no more, whatever the disk
//! lost, and no sum is wrong.

use super::*;
use crate::engine::{Platter, Table};
use chinwag_merkle::Interval;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const CRASHES: u64 = 1000;
const KEYS: u64 = 250;

fn one_partition() -> StoreOptions {
    StoreOptions { partitions: 1, ..options() }
}

fn open(platter: &Platter) -> Store {
    Store::open(platter.engine(), &one_partition()).unwrap()
}

fn spread(index: u64) -> StoreKey {
    StoreKey::new(BucketId::DEFAULT, u128::from(index) << 120, index.to_string())
}

fn filled(platter: &Platter) -> Store {
    let store = open(platter);
    for index in 0..KEYS {
        put(&store, &spread(index), &blind(), "v");
    }
    store
}

/// Scans what is in doubt; how many leaves that was.
fn mended(store: &Store) -> usize {
    let mut leaves = 0;
    while store.lock().contents.doubted().is_some() {
        store.mend(1).unwrap();
        leaves += 1;
        assert!(leaves < 1000, "{:?}", store.lock().contents.doubted());
    }
    leaves
}

fn leaves(store: &Store) -> usize {
    store.tree(tree(0), |directory| directory.leaves().count()).unwrap()
}

#[test]
fn a_thousand_crashes_leave_no_sum_wrong() {
    let (mut scanned, mut all) = (0, 0);
    for seed in 0..CRASHES {
        let mut rng = StdRng::seed_from_u64(seed);
        let platter = Platter::default();
        let store = filled(&platter);
        for _ in 0..rng.random_range(0..40) {
            let key = spread(rng.random_range(0..KEYS + 20));
            match rng.random_range(0..12) {
                0 => store.checkpoint().unwrap(),
                1 => drop(platter.sync()),
                2..=4 => {
                    let seen = store.get(&key).unwrap().unwrap_or_default().context().clone();
                    store.put(&key, &seen, Content::Tombstone, NOW).unwrap();
                    store.hear_clock(tree(0), Life { member: 2, generation: 1 }, &store.clock(tree(0)));
                    store.purge(tree(0), &[Life { member: 2, generation: 1 }], NOW).unwrap();
                }
                _ => drop(put(&store, &key, &blind(), "w")),
            }
        }
        let after = platter.after_power_loss(rng.random_range(0..=platter.at_risk()));
        drop(store);
        let store = open(&after);
        scanned += mended(&store);
        all += leaves(&store);
        assert_eq!(store.wrong_trees().unwrap(), [], "seed {seed}");
        // What was scanned counts as written to until it is saved: another crash changes nothing.
        let again = open(&after);
        mended(&again);
        assert_eq!(again.wrong_trees().unwrap(), [], "seed {seed}, again");
    }
    println!("{scanned} of {all} leaves were scanned");
    assert!(scanned < all, "not everything was");
}

#[test]
fn a_clean_stop_leaves_nothing_to_scan() {
    let platter = Platter::default();
    let store = filled(&platter);
    store.close().unwrap();
    let store = open(&platter);
    assert_eq!((mended(&store), store.len()), (0, KEYS));
    put(&store, &spread(3), &blind(), "w");
    drop(store);
    let store = open(&platter);
    assert!(store.outset(tree(0), Cut::NONE).is_none(), "a tree is compared with nobody's before it is sure");
    assert_eq!(mended(&store), 1, "the leaf that was written to");
    assert!(store.outset(tree(0), Cut::NONE).is_some());
    assert_eq!(store.wrong_trees().unwrap(), []);
}

#[test]
fn sums_that_cannot_be_read_are_scanned_again() {
    let platter = Platter::default();
    let store = filled(&platter);
    let leaves = leaves(&store);
    store.close().unwrap();
    let engine = platter.engine();
    let (place, record) = engine.scan(Table::Sums, b"", None, 1).unwrap().remove(0);
    let mut rotten = record.to_vec();
    rotten[5] ^= 1;
    let mut batch = Batch::default();
    batch.put(Table::Sums, place, rotten);
    drop(engine.commit(batch));
    assert!(platter.sync());
    let store = open(&platter);
    let scanned = mended(&store);
    assert!(0 < scanned && scanned < leaves, "{scanned} of {leaves}");
    assert_eq!((store.wrong_trees().unwrap(), store.len()), (vec![], KEYS));

    drop(store);
    let other_key = StoreOptions { tree_key: TreeKey::new([9; 16]), ..one_partition() };
    let store = Store::open(platter.engine(), &other_key).unwrap();
    assert!(mended(&store) > 0, "hashed with another key");
    assert_eq!((store.wrong_trees().unwrap(), store.len()), (vec![], KEYS));
}

#[test]
fn the_scrubber_finds_what_drifted_and_what_rotted() {
    let platter = Platter::default();
    let store = filled(&platter);
    let leaves = leaves(&store);
    assert_eq!(
        store.scrub(leaves).unwrap(),
        Scrubbed { leaves: leaves as u64, keys: KEYS, drifted: 0, rounds: 0 }
    );
    let tree_of = |store: &Store| store.tree(tree(0), Directory::clone).unwrap();
    let before = tree_of(&store);
    let entry = store.entries(tree(0), Interval::WHOLE, Cut::NONE).unwrap()[0];
    store.lock().contents.apply(&spread(0), Some(entry.element), None, 0);
    assert_ne!(tree_of(&store).total(), before.total());
    let scrubbed = store.scrub(leaves).unwrap();
    assert_eq!((scrubbed.drifted, scrubbed.rounds), (1, 1));
    assert_eq!(tree_of(&store).total(), before.total());
}

#[test]
fn what_is_younger_than_the_cut_is_in_neither_sum_nor_clock() {
    const SECOND: u64 = 1000;
    let [store, other] = [1, 2].map(other_store);
    for (store, ahead) in [(&store, 0), (&other, 300)] {
        store.settle(NOW + ahead);
    }
    let old = store.put(&key("k"), &blind(), value("old"), NOW - 60 * SECOND).unwrap();
    other.merge(&key("k"), &old.state).unwrap();
    let new = store.put(&key("k"), old.state.context(), value("new"), NOW).unwrap();
    let newest = store.put(&key("l"), &blind(), value("newest"), NOW).unwrap();
    let at = |store: &Store, cut| store.root(tree(0), cut).unwrap();
    let cut = Cut::at(NOW, 5 * SECOND);
    assert_ne!(at(&store, Cut::NONE), at(&other, Cut::NONE));
    assert_eq!(at(&store, cut), at(&other, cut), "what is on its way is no difference");
    assert!(!at(&store, cut).1.covers(new.dot));

    // In the other order: the old one arrives when the new one has overwritten it.
    let third = other_store(3);
    third.settle(NOW);
    third.merge(&key("l"), &newest.state).unwrap();
    third.merge(&key("k"), &new.state).unwrap();
    third.merge(&key("k"), &old.state).unwrap();
    assert_eq!(at(&third, Cut::NONE).0, at(&store, Cut::NONE).0);

    // Once it is old, it counts.
    other.merge(&key("k"), &new.state).unwrap();
    other.merge(&key("l"), &newest.state).unwrap();
    let later = NOW + 60 * SECOND;
    for store in [&store, &other, &third] {
        store.settle(later);
    }
    let cut = Cut::at(later, 5 * SECOND);
    assert_eq!(at(&store, cut), at(&other, cut));
    assert!(at(&store, cut).1.covers(new.dot));
    assert_eq!(store.root(tree(0), Cut::at(NOW, 5 * SECOND)), None, "too long ago");
}

#[test]
fn what_a_late_arrival_hides_from_a_cut_is_not_vouched_for_there() {
    const SECOND: u64 = 1000;
    let [store, other, third] = [1, 2, 3].map(other_store);
    for store in [&store, &other, &third] {
        store.settle(NOW);
    }
    // Versions that know nothing of each other, and the second of them arrives here when the third is there.
    let put =
        |store: &Store, text, ago| store.put(&key("k"), &blind(), value(text), NOW - ago * SECOND).unwrap();
    let first = put(&store, "first", 14);
    let second = put(&other, "second", 12);
    put(&store, "third", 5);
    store.merge(&key("k"), &second.state).unwrap();
    third.merge(&key("k"), &second.state).unwrap();

    let cut = Cut::at(NOW, 7 * SECOND);
    let at = |store: &Store| store.root(tree(0), cut).unwrap();
    assert_eq!(at(&store).0, at(&third).0, "equal, as neither shows more than the second");
    assert!(!at(&store).1.covers(first.dot), "the other has not seen it");
    learn_clock(&third, tree(0), &at(&store).1);
    let outset = third.outset(tree(0), Cut::NONE).unwrap();
    let seen = store.lock().merge(&key("k"), &second.state, &outset.clock).unwrap();
    assert_eq!(contents(&seen.state).len(), 3, "nothing was overwritten");
}
