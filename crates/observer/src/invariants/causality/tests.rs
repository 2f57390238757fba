//! Reads that tell the order clients know of, and reads that do not.

use super::{false_concurrency, false_dominance};
use crate::history::{Clock, Operation, Version};
use crate::invariants::tests::{delete, dot, get, history, put, tombstone, unknown, value};

fn siblings(operations: &[Operation]) -> Vec<Vec<u64>> {
    false_concurrency(&history(operations)).into_iter().map(|it| it.operations).collect()
}

fn dropped(operations: &[Operation]) -> Vec<Vec<u64>> {
    false_dominance(&history(operations)).into_iter().map(|it| it.operations).collect()
}

/// A get whose context covers the dots of the operations up to `covered`.
fn seeing(id: u64, returned: &[u64], covered: u64) -> Operation {
    let mut get = get(id, returned);
    get.seen = Some(Clock { vv: vec![(1, covered)], dots: Vec::new() });
    get
}

fn returning(mut get: Operation, version: Version) -> Operation {
    get.returned.push(version);
    get
}

const NOTHING: &[Vec<u64>] = &[];

#[test]
fn siblings_that_did_not_know_each_other_are_concurrent() {
    assert_eq!(siblings(&[put(1, None), put(2, None), get(3, &[1, 2])]), NOTHING);
    // The second was written after the first was read, but without its context.
    assert_eq!(siblings(&[put(1, None), get(2, &[1]), put(3, None), get(4, &[1, 3])]), NOTHING);
    // Two that overwrite the same.
    let fork = [put(1, None), get(2, &[1]), put(3, Some(2)), put(4, Some(2)), get(5, &[3, 4])];
    assert_eq!(siblings(&fork), NOTHING);
}

#[test]
fn a_version_beside_one_that_overwrote_it_is_false() {
    let chain = [put(1, None), get(2, &[1]), put(3, Some(2))];
    let read = |returned: &[u64]| [&chain[..], &[put(4, Some(3)), get(9, returned)]].concat();
    assert_eq!(siblings(&read(&[1, 3])), [[9, 1, 3]]);
    assert_eq!(siblings(&read(&[1, 4])), [[9, 1, 4]], "through the one between");
    assert_eq!(siblings(&read(&[4])), NOTHING);
    // A write of unknown outcome knew no less.
    let unsure = [put(1, None), get(2, &[1]), unknown(put(3, Some(2))), get(4, &[1, 3])];
    assert_eq!(siblings(&unsure), [[4, 1, 3]]);
}

#[test]
fn a_value_beside_the_tombstone_that_deleted_it_is_false() {
    let deleted = [put(1, None), get(2, &[1]), delete(3, 2), put(4, None)];
    let read = |returned: &[u64]| {
        let read = returning(get(9, returned), tombstone(3));
        [&deleted[..], &[read]].concat()
    };
    assert_eq!(siblings(&read(&[1])), [[9, 1, 3]]);
    assert_eq!(siblings(&read(&[4])), NOTHING);
    // Whose tombstone it is, nobody knows.
    let unsure = [put(1, None), get(2, &[1]), unknown(delete(3, 2)), returning(get(4, &[1]), tombstone(3))];
    assert_eq!(siblings(&unsure), NOTHING);
}

#[test]
fn a_value_stored_twice_is_its_own_sibling() {
    let again = Version { dot: dot(7), ..value(1) };
    let operations = [unknown(put(1, None)), get(2, &[1]), put(3, Some(2)), returning(get(4, &[3]), again)];
    assert_eq!(siblings(&operations), NOTHING);
}

#[test]
fn what_a_context_covers_was_returned_or_overwritten() {
    assert_eq!(dropped(&[put(1, None), put(2, None), seeing(3, &[1, 2], 2)]), NOTHING);
    let chain = [put(1, None), get(2, &[1]), put(3, Some(2)), put(4, Some(3)), seeing(5, &[4], 4)];
    assert_eq!(dropped(&chain), NOTHING);
    // Stale, and says so.
    assert_eq!(dropped(&[put(1, None), put(2, None), seeing(3, &[1], 1)]), NOTHING);
    // Through a write of unknown outcome that a read found.
    let unsure = [put(1, None), get(2, &[1]), unknown(put(3, Some(2))), get(4, &[3]), put(5, Some(4))];
    assert_eq!(dropped(&[&unsure[..], &[seeing(6, &[5], 5)]].concat()), NOTHING);
}

#[test]
fn a_covered_write_that_nobody_overwrote_is_silently_lost() {
    assert_eq!(dropped(&[put(1, None), put(2, None), seeing(3, &[2], 2)]), [[3, 1]], "a sibling was dropped");
    assert_eq!(dropped(&[put(1, None), seeing(2, &[], 1)]), [[2, 1]]);
    // A context that covered it is a claim, not evidence: what was written with it knew nothing of the put.
    let claimed = [put(1, None), seeing(2, &[], 1), put(3, Some(2)), seeing(4, &[3], 3)];
    assert_eq!(dropped(&claimed), [[2, 1], [4, 1]]);
    // It was not acknowledged, so nobody may miss it.
    assert_eq!(dropped(&[unknown(put(1, None)), seeing(2, &[], 1)]), NOTHING);
}

#[test]
fn a_delete_explains_what_is_missing_whether_or_not_it_shows() {
    let operations = [put(1, None), get(2, &[1]), delete(3, 2)];
    let read = |read: Operation| [&operations[..], &[put(4, None), read]].concat();
    assert_eq!(dropped(&read(returning(seeing(5, &[4], 4), tombstone(3)))), NOTHING);
    assert_eq!(dropped(&read(seeing(5, &[4], 4))), NOTHING, "the tombstone is purged");
    assert_eq!(dropped(&read(seeing(5, &[], 4))), [[5, 4]], "the delete did not know this one");
    let unsure = [put(1, None), get(2, &[1]), unknown(delete(3, 2)), seeing(4, &[], 3)];
    assert_eq!(dropped(&unsure), NOTHING);
}

#[test]
fn beside_a_value_of_no_known_writer_nothing_is_said() {
    assert_eq!(dropped(&[put(1, None), seeing(2, &[9], 9)]), NOTHING);
}
