//! Zones, chunks and the search by hand. [`crate::oracle`] holds them against exhaustive references.

use super::search::{Found, search};
use super::{AFTER, Action, Call, Clusters, Time};
use crate::check::NoTexts;

fn call(id: u64, (start, end): (Time, Time), action: Action) -> Call {
    Call { id, start, end, action }
}

fn searched(calls: &[Call]) -> Found {
    search(calls, &mut NoTexts, 1_000_000)
}

#[test]
fn the_last_write_is_atomic_and_an_older_one_is_not() {
    let writes = [call(1, (0, 10), Action::Write(1)), call(2, (20, 30), Action::Write(2))];
    let with = |read| [writes.as_slice(), &[call(3, (40, 50), Action::Read(read))]].concat();
    let fresh = Clusters::of(&with(2)).unwrap();
    assert_eq!((fresh.gamma(), fresh.delta(), fresh.are_two_atomic()), (None, None, true));
    assert_eq!(searched(&with(2)), Found::Linearizable);

    let stale = Clusters::of(&with(1)).unwrap();
    // The read began at 40; it would have had to begin, or the second write to end, so that they meet.
    let gamma = stale.gamma().unwrap();
    assert_eq!((gamma.by, gamma.calls), (10, vec![1, 2, 3]));
    assert_eq!(stale.delta().unwrap().by, 10);
    assert!(stale.are_two_atomic());
    assert_eq!(searched(&with(1)), Found::NotLinearizable(3));
    // The initial value is two behind.
    assert!(!Clusters::of(&with(0)).unwrap().are_two_atomic());
}

#[test]
fn new_then_old_is_not_atomic_though_the_write_is_in_flight() {
    let calls = [
        call(1, (0, 10), Action::Write(1)),
        call(2, (20, 90), Action::Write(2)),
        call(3, (30, 40), Action::Read(2)),
        call(4, (50, 60), Action::Read(1)),
    ];
    assert_eq!(Clusters::of(&calls).unwrap().gamma().unwrap().calls, [1, 2, 3, 4]);
    assert_eq!(searched(&calls), Found::NotLinearizable(4));
    let swapped =
        [calls[0], calls[1], call(3, (30, 40), Action::Read(1)), call(4, (50, 60), Action::Read(2))];
    assert_eq!(searched(&swapped), Found::Linearizable);
}

#[test]
fn an_unknown_write_may_happen_late_or_never() {
    let unknown = call(1, (0, AFTER), Action::Write(1));
    let late = [unknown, call(2, (10, 20), Action::Read(0)), call(3, (30, 40), Action::Read(1))];
    assert_eq!(searched(&late), Found::Linearizable);
    assert_eq!(Clusters::of(&late).unwrap().gamma(), None);
    assert_eq!(searched(&[unknown, call(2, (10, 20), Action::Read(0))]), Found::Linearizable);
    let taken_back = [unknown, call(2, (10, 20), Action::Read(1)), call(3, (30, 40), Action::Read(0))];
    assert_eq!(searched(&taken_back), Found::NotLinearizable(3));
}

#[test]
fn compare_and_set_needs_what_it_expects() {
    let cas = |id, time, old, new| call(id, time, Action::CompareAndSet(old, new));
    let calls = [call(1, (0, 10), Action::Write(1)), cas(2, (20, 30), 1, 2), cas(3, (40, 50), 1, 3)];
    assert_eq!(searched(&calls), Found::NotLinearizable(3));
    assert_eq!(searched(&[calls[0], calls[1], cas(3, (25, 50), 2, 3)]), Found::Linearizable);
}

#[test]
fn a_spent_budget_is_no_verdict() {
    let calls = [call(1, (0, 10), Action::Write(1)), call(2, (20, 30), Action::Read(1))];
    assert_eq!(search(&calls, &mut NoTexts, 1), Found::Unknown);
    assert_eq!(search(&calls, &mut NoTexts, 3), Found::Linearizable);
}

#[test]
fn a_value_nobody_wrote_is_no_register() {
    let clusters = Clusters::of(&[call(1, (0, 1), Action::Read(7))]).unwrap();
    assert_eq!((clusters.unwritten(), clusters.are_two_atomic()), (Some(1), false));
}
