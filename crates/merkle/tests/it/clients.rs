//! What clients may do who choose their keys: nothing that hides a difference, or makes finding it dear.

use std::collections::BTreeSet;

use chinwag_merkle::{Interval, Refined, Sum, TreeKey, element};

use crate::pair::{Outcome, Random, element_of, exchange};
use crate::replica::Replica;

/// Keys of everybody else.
const HONEST: u64 = 20_000;
/// Keys of the malicious client.
const CHOSEN: u64 = 10_000;

/// A record: position, key, value.
type Record = (u128, u64, u64);

/// Honest keys, of which every 400th differs.
fn honest(changed: u64) -> impl Iterator<Item = Record> {
    (0..HONEST).map(move |key| (Random(key).position(), key, if key % 400 == 0 { changed } else { 0 }))
}

fn replicas(chosen: impl Fn(u64) -> Vec<Record>) -> [Replica; 2] {
    [0, 1].map(|side| Replica::load(Interval::WHOLE, honest(side).chain(chosen(side))))
}

/// Exchanges until nothing is missed, twice at most, and checks that what was found is what differs.
fn outcome([one, other]: &[Replica; 2]) -> Outcome {
    let outcome = exchange(one, other, 3, None);
    let found = &outcome.positions() | &exchange(one, other, 4, None).positions();
    assert!(found.is_superset(&one.differing(other)), "no difference is hidden");
    outcome
}

fn cost(outcome: &Outcome) -> (usize, u64) {
    (outcome.bytes.iter().sum(), outcome.keys_scanned())
}

#[test]
fn keys_with_one_position_cost_no_more_than_one_key() {
    let (bytes, keys) = cost(&outcome(&replicas(|_| Vec::new())));
    // All in one place; in a few places; in neighbouring places, as keys of a byte-ordered ring may lie.
    let places: [fn(u64) -> u128; 3] =
        [|_| 0x77 << 120, |key| Random(key % 7).position(), |key| (0x77 << 120) + u128::from(key)];
    for place in places {
        let chosen = |side: u64| {
            let value = |key: u64| if key == 5_000 { side } else { 0 };
            (0..CHOSEN).map(|key| (place(key), HONEST + key, value(key))).collect()
        };
        let replicas = replicas(chosen);
        let (with_bytes, with_keys) = cost(&outcome(&replicas));
        assert!(with_bytes <= 2 * bytes, "{with_bytes} bytes, {bytes} without");
        assert!(with_keys <= 2 * keys, "{with_keys} keys read, {keys} without");
    }
}

#[test]
fn keys_with_one_position_are_written_without_being_read_again_and_again() {
    let mut replica = Replica::new(Interval::WHOLE);
    let mut read = 0;
    for key in 0..CHOSEN {
        let element = element_of(key, 0);
        replica.store.insert((9, key), element);
        if let Some(crowded) = replica.directory.apply(9, None, Some(element)) {
            let scan = replica.scan(crowded);
            read += scan.len();
            assert_eq!(replica.directory.refine(crowded, &scan), Ok(Refined::Exact));
        }
    }
    assert!(read < 100, "{read} keys");
}

/// A set of at least two records whose hashes, under a key that the client knows, cancel out if they are combined by
/// exclusive or: found by elimination, as any client can who knows the hashes of a few more than 128 records.
fn cancelling(known: &TreeKey) -> Option<Vec<u64>> {
    let mut basis: Vec<(u128, BTreeSet<u64>)> = Vec::new();
    for key in 0..CHOSEN {
        let mut hash = element(known, &key.to_le_bytes(), &0_u64.to_le_bytes()).0;
        let mut members = BTreeSet::from([key]);
        for (reduced, of) in &basis {
            if hash ^ reduced < hash {
                hash ^= reduced;
                members = &members ^ of;
            }
        }
        if hash == 0 {
            return Some(members.into_iter().collect());
        }
        basis.push((hash, members));
        basis.sort_by_key(|(reduced, _)| std::cmp::Reverse(*reduced));
    }
    None
}

#[test]
fn keys_whose_unkeyed_hashes_cancel_out_hide_nothing() {
    let known = TreeKey::new([0; 16]);
    let chosen = cancelling(&known).expect("more records than dimensions depend on each other");
    let of = |key: &u64| element(&known, &key.to_le_bytes(), &0_u64.to_le_bytes()).0;
    assert_eq!(chosen.iter().map(of).fold(0, |all, hash| all ^ hash), 0, "the attack works where it works");
    assert!(chosen.len() > 2);

    // One replica misses just those.
    let missing = |side: u64| -> Vec<Record> {
        let missed = |key: &u64| side == 1 && chosen.binary_search(key).is_ok();
        (0..CHOSEN).filter(|key| !missed(key)).map(|key| (Random(!key).position(), key, 0)).collect()
    };
    let [whole, lacking] = [0, 1].map(|side| Replica::load(Interval::WHOLE, missing(side)));
    assert_ne!(whole.directory.total().sum, lacking.directory.total().sum);
    let found =
        &exchange(&whole, &lacking, 1, None).positions() | &exchange(&whole, &lacking, 2, None).positions();
    assert_eq!(found.len(), chosen.len());
}

#[test]
fn a_record_applied_twice_shows() {
    let element = element_of(1, 1);
    let twice: Sum = [element; 2].into_iter().collect();
    assert_ne!(twice.sum, 0, "as it would with exclusive or");
    assert_ne!(twice, [element].into_iter().collect());
}
