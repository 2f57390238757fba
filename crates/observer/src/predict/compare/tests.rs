//! Predictions from histories: a small one computed by hand, and long ones drawn from the model, where what is predicted from
//! the history must be what the model gives and what the history measures.

use super::{Bins, Settings};
use crate::history::{Event, History, Kind, Leg, Level, Operation, Outcome, Version};
use crate::predict::{Comparison, Fit, Witnessed, predict};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const MS: u64 = 1_000_000;

/// What passed with one replica, in milliseconds since the operation was sent.
type Way = (&'static str, f64, f64);

fn nanos(ms: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of a test")]
    let nanos = (ms * 1e6) as u64;
    nanos
}

fn operation(id: u64, kind: Kind, sent: u64, done: u64, ways: &[Way]) -> Operation {
    let mut legs: Vec<Leg> = ways
        .iter()
        .map(|&(replica, there, back)| Leg {
            replica: replica.to_owned(),
            asked: sent,
            served: Some(sent + nanos(there)),
            heard: Some(sent + nanos(there) + nanos(back)),
        })
        .collect();
    legs.sort_by_key(|leg| leg.heard);
    let outcome = Outcome::Ok;
    Operation { sent, done: Some(done), legs, outcome, ..Operation::new(id, 0, "c", kind, Level::One, "k") }
}

fn put(id: u64, sent: u64, done: u64, ways: &[Way]) -> Operation {
    Operation { value: Some(format!("v{id}")), ..operation(id, Kind::Put, sent, done, ways) }
}

/// A get that returns what the put with this id wrote, and all before it.
fn get(id: u64, sent: u64, done: u64, of: u64, ways: &[Way]) -> Operation {
    let mut get = operation(id, Kind::Get, sent, done, ways);
    get.returned = vec![Version { value: Some(format!("v{of}")), dot: (1, of + 1).into() }];
    get.seen = Some(crate::history::Clock { vv: vec![(1, of + 1)], dots: Vec::new() });
    get.replicas = get.legs.first().map(|leg| leg.replica.clone()).into_iter().collect();
    get
}

fn compare(history: &History, settings: &Settings) -> Comparison {
    let mut witnessed = Witnessed::default();
    witnessed.take(history);
    witnessed.compare(settings)
}

/// Two writes and two reads, each 8 ms after its write. The first write is at `a` 2 ms after it was done and at `b` 20 ms
/// after; the second is at both by then. The first read is answered by `a` first, asked after 1 ms; the second by `b`, asked
/// after 4 ms.
fn by_hand() -> History {
    let mut operations = vec![
        put(1, 0, 10 * MS, &[("a", 12.0, 1.0), ("b", 30.0, 1.0), ("c", 10.0, 0.0)]),
        get(2, 18 * MS, 20 * MS, 1, &[("a", 1.0, 1.0), ("b", 3.0, 1.0), ("c", 2.0, 2.0)]),
        put(3, 100 * MS, 110 * MS, &[("a", 9.0, 2.0), ("b", 10.0, 3.0), ("c", 10.0, 0.0)]),
        get(4, 118 * MS, 123 * MS, 3, &[("b", 4.0, 1.0), ("a", 5.0, 1.0), ("c", 6.0, 1.0)]),
    ];
    for (operation, seq) in operations.iter_mut().filter(|it| it.is_write()).zip([2, 4]) {
        operation.dot = Some((1, seq).into());
    }
    operations[2].basis = Some(2);
    History { operations, ..History::default() }
}

#[test]
fn a_small_history_is_predicted_as_by_hand() {
    let found = compare(&by_hand(), &Settings { draws: 400, ..Settings::default() });
    let [reads] = found.reads.as_slice() else { panic!("{found:?}") };
    // Each read is drawn with the other's write and read: the first with the second's, whose write is everywhere at once;
    // the second with the first's read of `a`, of the first write, which is there 2 − 1 = 1 ms after it was done. Both
    // are before 8 ms.
    assert_eq!((reads.fresh.count, reads.fresh.n, reads.predicted), (2, 2, 1.0));
    assert_eq!((reads.rmse, reads.noise_floor), (Some(0.0), Some(0.0)));
    assert_eq!(found.latencies.len(), 2);

    // The same with the first read's replicas exchanged: `b` has the first write 20 ms after, and was asked after 1.
    let mut history = by_hand();
    for leg in &mut history.operations[1].legs {
        leg.replica = match leg.replica.as_str() {
            "a" => "b".to_owned(),
            "b" => "a".to_owned(),
            other => other.to_owned(),
        };
    }
    history.operations[1].replicas = vec!["b".to_owned()];
    history.operations[1].returned.clear();
    history.operations[1].seen = None;
    let found = compare(&history, &Settings { draws: 400, ..Settings::default() });
    let reads = &found.reads[0];
    assert_eq!(reads.fresh.count, 1);
    // Half of the draws are fresh 19 ms after the write, half at once; the reads came after 8 ms.
    assert_eq!(reads.predicted, 0.5);
    assert_eq!((reads.curve.len(), reads.curve[0].predicted, reads.rmse), (1, 0.5, Some(0.0)));
    assert!((reads.noise_floor.unwrap() - 0.5f64.sqrt() / 2.0).abs() < 1e-12);
    assert_eq!((reads.missed[0].measured.count, reads.missed[0].predicted), (1, 0.5));
    // The second read alone has two writes before it: 8 and 108 ms ago, and all is fresh after 108.
    assert_eq!((reads.missed[1].measured.count, reads.missed[1].predicted), (0, 0.0));
}

#[test]
fn reads_the_model_does_not_speak_of_are_counted_and_faults_scored_apart() {
    let mut history = by_hand();
    let fault = |at, fault| Event { at, phase: String::new(), what: String::new(), fault };
    history.events = vec![fault(0, false), fault(119 * MS, true), fault(120 * MS, false)];
    let found = compare(&history, &Settings::default());
    let faults: Vec<(bool, u64)> = found.reads.iter().map(|it| (it.faults, it.fresh.n)).collect();
    assert_eq!(faults, [(false, 1), (true, 1)]);

    history.operations[0].legs.clear();
    let mut early = get(9, 0, MS, 0, &[("a", 1.0, 0.0)]);
    (early.returned, early.seen) = (Vec::new(), None);
    history.operations.push(early);
    let found = compare(&history, &Settings::default());
    let left_out = found.left_out;
    assert_eq!((left_out.before_any_write, left_out.contended, left_out.not_followed), (1, 0, 1));
}

/// Writes and reads whose ways are drawn from the model, each read some whole milliseconds after its write.
fn drawn(fit: &Fit, pairs: u64, seed: u64) -> History {
    const MEMBERS: [&str; 3] = ["x", "y", "z"];
    let mut rng = StdRng::seed_from_u64(seed);
    let mut operations = Vec::new();
    for pair in 0..pairs {
        let sent = pair * 2_000 * MS;
        let write = MEMBERS.map(|member| (member, fit.write.draw(&mut rng), fit.other.draw(&mut rng)));
        let took = write.iter().map(|it| it.1 + it.2).fold(f64::INFINITY, f64::min);
        let after = f64::from(rng.random_range(0u32..40)) + 1e-5;
        let read = MEMBERS.map(|member| (member, fit.other.draw(&mut rng), fit.other.draw(&mut rng)));
        let mut first = read;
        first.sort_by(|one, other| (one.1 + one.2).total_cmp(&(other.1 + other.2)));
        let there = write.iter().find(|it| it.0 == first[0].0).unwrap().1;
        let is_fresh = took + after + first[0].1 >= there;
        let (id, done) = (2 * pair, sent + nanos(took));
        let mut put = put(id, sent, done, &write);
        put.dot = Some((1, id + 1).into());
        operations.push(put);
        let (asked, answered) = (done + nanos(after), done + nanos(after + first[0].1 + first[0].2));
        operations.push(get(
            id + 1,
            asked,
            answered,
            if is_fresh { id } else { id.saturating_sub(2) },
            &read,
        ));
        // Each knows the ones before: the store is one of contexts.
        let put = operations.len() - 2;
        operations[put].basis = pair.checked_sub(1).map(|_| id - 2);
    }
    History { operations, ..History::default() }
}

#[test]
fn what_a_history_predicts_is_what_its_model_gives_and_what_it_measures() {
    for (write, other, seed) in [(10.0, 1.0, 1), (5.0, 5.0, 2), (20.0, 2.0, 3)] {
        let fit = Fit::exponential(write, other);
        let model = &predict(&fit, 3, &[(1, 1)], 400_000, 9).unwrap()[0];
        let settings = Settings { bins: Bins::Milliseconds(0..=39), ..Settings::default() };
        let found = compare(&drawn(&fit, 20_000, seed), &settings);
        let reads = &found.reads[0];
        for point in &reads.curve {
            let given = model.fresh_at(point.from_ms);
            assert!((point.predicted - given).abs() < 0.01, "{write}/{other}: {point:?} is not {given}");
        }
        let (rmse, floor) = (reads.rmse.unwrap(), reads.noise_floor.unwrap());
        assert!(rmse < 1.4 * floor, "{write}/{other}: {rmse} is more than chance would have, {floor}");
        // Of a real write one replica is the coordinator; which one is guessed here, and the guess depends on its delays.
        for latencies in found.latencies.iter().filter(|it| !it.writes) {
            let (n_rmse, floor) = (latencies.n_rmse.unwrap(), latencies.noise_floor.unwrap());
            assert!(n_rmse < 2.0 * floor, "{write}/{other}: {latencies:?}");
        }
    }
}
