//! Each check on histories that keep its rule by a hair and on ones that break it.

use super::{
    FinalState, Invariant, Violation, dots_naming_two_values, lost_acknowledged_writes, not_converged,
    values_nobody_wrote,
};
use crate::history::{Dot, History, Kind, Level, Operation, Outcome, Version};
use crate::ledger::Ledger;
use std::collections::BTreeMap;

fn operation(kind: Kind, id: u64) -> Operation {
    let mut operation = Operation::new(id, 0, "a", kind, Level::Quorum, "k");
    (operation.sent, operation.done, operation.outcome) = (id * 10, Some(id * 10 + 5), Outcome::Ok);
    operation
}

/// An acknowledged put of `v<id>`, sent at 10 times its id.
pub(super) fn put(id: u64, basis: Option<u64>) -> Operation {
    let mut put = operation(Kind::Put, id);
    (put.value, put.dot, put.basis) = (Some(format!("v{id}")), Some(dot(id)), basis);
    put
}

pub(super) fn delete(id: u64, basis: u64) -> Operation {
    let mut delete = operation(Kind::Delete, id);
    (delete.dot, delete.basis) = (Some(dot(id)), Some(basis));
    delete
}

pub(super) fn get(id: u64, returned: &[u64]) -> Operation {
    let mut get = operation(Kind::Get, id);
    get.returned = returned.iter().map(|&put| value(put)).collect();
    get
}

pub(super) fn unknown(mut operation: Operation) -> Operation {
    operation.outcome = Outcome::Unknown { reason: "timeout".to_owned() };
    if operation.kind == Kind::Delete {
        operation.dot = None;
    }
    operation
}

pub(super) fn dot(id: u64) -> Dot {
    Dot { actor: 1, seq: id }
}

pub(super) fn value(put: u64) -> Version {
    Version { value: Some(format!("v{put}")), dot: dot(put) }
}

pub(super) fn tombstone(delete: u64) -> Version {
    Version { value: None, dot: dot(delete) }
}

pub(super) fn history(operations: &[Operation]) -> Ledger {
    Ledger::of(&History { operations: operations.to_vec(), ..History::default() })
}

/// What replicas a, b, ... hold of key `k`.
fn state(replicas: &[&[Version]]) -> FinalState {
    let held = ["a", "b", "c"].into_iter().zip(replicas).map(|(replica, versions)| {
        (replica.to_owned(), BTreeMap::from([("k".to_owned(), versions.iter().cloned().collect())]))
    });
    FinalState { replicas: held.collect() }
}

fn lost(operations: &[Operation], held: &[Version]) -> Vec<u64> {
    let violations = lost_acknowledged_writes(&history(operations), &state(&[held]), 0);
    assert!(violations.iter().all(|violation| violation.invariant == Invariant::AcknowledgedWriteKept));
    violations.into_iter().flat_map(|violation| violation.operations).collect()
}

#[test]
fn a_write_that_is_held_is_kept_and_one_that_is_not_is_lost() {
    assert_eq!(lost(&[put(1, None), put(2, None)], &[value(1), value(2)]), Vec::<u64>::new());
    assert_eq!(lost(&[put(1, None), put(2, None)], &[value(2)]), [1], "a sibling was dropped");
    assert_eq!(lost(&[put(1, None)], &[]), [1]);
    // It is enough that any replica holds it: whether all agree is another question.
    let somewhere = state(&[&[], &[value(1)]]);
    assert!(lost_acknowledged_writes(&history(&[put(1, None)]), &somewhere, 0).is_empty());
}

#[test]
fn a_write_overwritten_step_by_step_is_kept() {
    let chain = [put(1, None), get(2, &[1]), put(3, Some(2)), put(4, Some(3)), get(5, &[4]), put(6, Some(5))];
    assert!(lost(&chain, &[value(6)]).is_empty());
    assert_eq!(lost(&chain, &[value(1)]), [3, 4, 6]);
    // The chain's last link is lost, and with it everything only it knew.
    assert_eq!(lost(&chain, &[]), [1, 3, 4, 6]);
}

#[test]
fn a_blind_write_overwrites_nothing_whatever_a_context_claims() {
    let mut covering = get(2, &[]);
    covering.seen = Some(crate::history::Clock { vv: vec![(1, 1)], dots: Vec::new() });
    assert_eq!(lost(&[put(1, None), covering, put(3, Some(2))], &[value(3)]), [1]);
}

#[test]
fn an_unknown_write_overwrites_only_if_it_is_found() {
    let operations = [put(1, None), get(2, &[1]), unknown(put(3, Some(2)))];
    assert!(lost(&operations, &[value(3)]).is_empty());
    assert_eq!(lost(&operations, &[]), [1]);
    // It was read, and what was then written knew it.
    let observed = [&operations[..], &[get(4, &[3]), put(5, Some(4))]].concat();
    assert!(lost(&observed, &[value(5)]).is_empty());
}

#[test]
fn a_delete_is_kept_while_what_it_deleted_is_gone() {
    let operations = [put(1, None), get(2, &[1]), delete(3, 2)];
    assert!(lost(&operations, &[tombstone(3)]).is_empty());
    assert!(lost(&operations, &[]).is_empty(), "the tombstone was purged");
    assert_eq!(lost(&operations, &[value(1)]), [3], "the value came back");
    // A write concurrent with the delete is no part of it.
    let concurrent = [&operations[..], &[put(4, None)]].concat();
    assert_eq!(lost(&concurrent, &[tombstone(3)]), [4]);
    assert!(lost(&concurrent, &[tombstone(3), value(4)]).is_empty());
}

#[test]
fn a_delete_of_unknown_outcome_explains_absence_and_nothing_else() {
    let operations = [put(1, None), put(2, None), get(3, &[1, 2]), unknown(delete(4, 3))];
    assert!(lost(&operations, &[]).is_empty());
    assert!(lost(&operations, &[value(1), value(2)]).is_empty());
    assert_eq!(lost(&operations, &[value(2)]), [1], "a delete takes both or none");
}

#[test]
fn refused_and_unknown_writes_cannot_be_lost() {
    let mut refused = put(1, None);
    refused.outcome = Outcome::Refused { reason: "no".to_owned() };
    assert!(lost(&[refused, unknown(put(2, None))], &[]).is_empty());
}

#[test]
fn a_write_outlives_one_lost_disk_less_than_it_had_copies() {
    let on = |id, replicas: &[&str]| {
        let mut put = put(id, None);
        put.replicas = replicas.iter().map(|&name| name.to_owned()).collect();
        put
    };
    let operations = history(&[on(1, &[]), on(2, &["a"]), on(3, &["a", "b"]), on(4, &["a", "b", "c"])]);
    let lost = |disks_lost| -> Vec<u64> {
        let violations = lost_acknowledged_writes(&operations, &state(&[]), disks_lost);
        violations.into_iter().flat_map(|violation| violation.operations).collect()
    };
    assert_eq!(lost(0), [1, 2, 3, 4]);
    assert_eq!(lost(1), [3, 4], "whoever acknowledged the first, it was one member at least");
    assert_eq!(lost(2), [4]);
    assert!(lost(3).is_empty());
}

fn strays(operations: &[Operation], held: &[Version]) -> Vec<Violation> {
    values_nobody_wrote(&history(operations), &state(&[held]))
}

#[test]
fn values_come_from_puts() {
    assert!(strays(&[put(1, None), unknown(put(2, None)), get(3, &[1, 2])], &[value(2)]).is_empty());
    assert!(strays(&[], &[tombstone(1)]).is_empty());

    let invented = strays(&[get(3, &[9])], &[value(8)]);
    assert_eq!(invented[0].operations, [3]);
    assert_eq!(invented[0].what, "a get returned v9, which no put wrote there");
    assert_eq!(
        (invented[1].key.as_str(), invented[1].what.as_str()),
        ("k", "a holds v8, which no put wrote there")
    );

    let mut refused = put(1, None);
    refused.outcome = Outcome::Refused { reason: "no".to_owned() };
    assert_eq!(strays(&[refused, get(3, &[1])], &[])[0].operations, [3, 1]);

    let mut elsewhere = put(1, None);
    elsewhere.key = "other".to_owned();
    assert_eq!(strays(&[elsewhere, get(3, &[1])], &[]).len(), 1);

    let early = strays(&[get(1, &[2]), put(2, None)], &[]);
    assert_eq!(early[0].what, "a get returned v2, which was put only later");
}

#[test]
fn owners_must_hold_the_same() {
    let owners = |names: &[&str]| {
        BTreeMap::from([("k".to_owned(), names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())])
    };
    let both = [value(1), value(2)];
    assert!(not_converged(&state(&[&both, &both]), &owners(&["a", "b"])).is_empty());
    // What a member that is no owner holds does not matter.
    assert!(not_converged(&state(&[&both, &both, &[]]), &owners(&["a", "b"])).is_empty());

    let found = not_converged(&state(&[&both, &[value(2)], &both]), &owners(&["a", "b", "c"]));
    assert_eq!((found.len(), found[0].invariant), (1, Invariant::Converged));
    assert_eq!(found[0].what, "a, c hold v1 and v2; b hold v2");
    // An owner that could not be asked cannot be said to agree; neither do a value and its tombstone.
    assert_eq!(not_converged(&state(&[&both]), &owners(&["a", "b"])).len(), 1);
    assert_eq!(not_converged(&state(&[&[value(1)], &[tombstone(1)]]), &owners(&["a", "b"])).len(), 1);
}

#[test]
fn a_dot_names_one_value() {
    let twice = |operations: &[Operation], held: &[Version]| {
        dots_naming_two_values(&history(operations), &state(&[held]), |_| 0)
    };
    assert!(twice(&[put(1, None), get(2, &[1])], &[value(1)]).is_empty());

    let reused = Version { value: Some("v7".to_owned()), dot: dot(1) };
    let found = twice(&[put(1, None), get(2, &[1])], std::slice::from_ref(&reused));
    assert_eq!(found[0].operations, [1, 2]);
    assert_eq!(found[0].what, "dot (1, 1) names v1 of k and v7 of k");
    let mut read = get(2, &[]);
    read.returned = vec![tombstone(1)];
    assert_eq!(twice(&[put(1, None), read], &[]).len(), 1);

    // Two keys share a dot: wrong within one partition, and right in two.
    let mut other = put(1, None);
    (other.key, other.id) = ("other".to_owned(), 9);
    let both = history(&[put(1, None), other]);
    let nothing = FinalState::default();
    assert_eq!(dots_naming_two_values(&both, &nothing, |_| 0)[0].operations, [1, 9]);
    assert!(dots_naming_two_values(&both, &nothing, str::len).is_empty());
}
