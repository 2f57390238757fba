//! What goes into a ledger comes out of it; what a history's reader refuses, it refuses.

use super::Ledger;
use crate::history::{Clock, Dot, History, Kind, Level, Operation, Outcome, ReadError, Version};

fn history() -> History {
    let dot = Dot { actor: u64::MAX, seq: 3 };
    let operation = |id, kind, key| Operation::new(id, 7, "", kind, Level::Quorum, key);
    let mut put = operation(1, Kind::Put, "a");
    (put.sent, put.intended, put.done, put.value) = (5, 2, Some(9), Some("x".to_owned()));
    put.replicas = vec![String::new(); 2];
    (put.dot, put.outcome) = (Some(dot), Outcome::Ok);
    let mut get = operation(2, Kind::Get, "b");
    (get.done, get.outcome, get.basis) = (Some(4), Outcome::Ok, None);
    get.returned = vec![Version { value: Some("y".to_owned()), dot }, Version { value: None, dot }];
    get.seen = Some(Clock { vv: vec![(9, 300)], dots: vec![dot] });
    let mut delete = operation(3, Kind::Delete, "a");
    (delete.basis, delete.outcome) = (Some(2), Outcome::Unknown { reason: String::new() });
    (delete.intended, delete.sent) = (3, 3 + (1 << 33));
    History { operations: vec![put, get, delete], ..History::default() }
}

#[test]
fn operations_come_out_as_they_went_in() {
    let history = history();
    let ledger = Ledger::of(&history);
    assert_eq!((ledger.len(), ledger.end(), ledger.keys()), (3, 3 + (1 << 33), 2));
    assert_eq!([ledger.key(0), ledger.key(1)], ["a", "b"]);
    assert_eq!((ledger.places(0), ledger.places(1)), ([0, 2].as_slice(), [1].as_slice()));
    for (place, operation) in (0..).zip(&history.operations) {
        let told = Operation { key: String::new(), ..operation.clone() };
        assert_eq!(ledger.operation(place), told);
    }
}

#[test]
fn times_are_widened_on_both_sides_and_never_stays_never() {
    let mut ledger = Ledger::of(&history());
    ledger.widen(3);
    let times: Vec<_> = ledger.entries().iter().map(|entry| (entry.sent, entry.done)).collect();
    assert_eq!(times, [(2, 12), (0, 7), (1 << 33, super::NEVER)]);
}

#[test]
fn a_file_is_refused_as_a_history_is() {
    let read = |operations: &[Operation]| {
        let history = History { operations: operations.to_vec(), ..History::default() };
        Ledger::read(history.write(Vec::new()).unwrap().as_slice())
    };
    let operations = history().operations;
    assert_eq!(read(&operations).unwrap().len(), 3);
    let twice = [1, 0, 2, 1, 2].map(|at: usize| operations[at].clone());
    assert!(matches!(read(&twice), Err(ReadError::IdRepeated { line: 5, id: 2, first: 2 })));
    let backwards = [2, 1, 0].map(|at: usize| operations[at].clone());
    assert_eq!(read(&backwards).unwrap().len(), 3);
    let collision = [operations[0].clone(), Operation { id: 5, ..operations[0].clone() }];
    assert!(matches!(read(&collision), Err(ReadError::ValueRepeated { line: 3, id: 5, first: 2 })));
    let early = [Operation { done: Some(1), ..operations[0].clone() }];
    assert!(matches!(read(&early), Err(ReadError::Impossible { line: 2, id: 1, .. })));
}

#[test]
fn ten_million_operations_leave_room_for_their_texts_in_a_gibibyte() {
    assert!(size_of::<super::Entry>() <= 56);
}
