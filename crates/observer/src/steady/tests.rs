//! Trends are found, and their absence is mistaken for one as often as the test says and no oftener.

use super::{Steadiness, Verdict, Z_MAX, mann_kendall};
use crate::history::{History, Kind, Level, Operation, Outcome};
use crate::ledger::Ledger;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const MS: u64 = 1_000_000;

/// An operation each millisecond for two seconds; operation `i` takes so long as `latency` says, in milliseconds.
fn history(latency: impl Fn(u64) -> f64, measured_from: u64) -> History {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency of a test")]
    let nanos = |ms: f64| (ms * 1e6) as u64;
    let operation = |i: u64| {
        let mut operation = Operation::new(i, 0, "a", Kind::Get, Level::One, "k");
        (operation.intended, operation.sent) = (i * MS, i * MS);
        operation.done = Some(i * MS + nanos(latency(i)));
        operation.outcome = Outcome::NotFound;
        operation
    };
    History { measured_from, operations: (0..2000).map(operation).collect(), ..History::default() }
}

fn noise(i: u64) -> f64 {
    StdRng::seed_from_u64(i).random()
}

#[test]
fn a_trend_is_told_from_noise() {
    assert_eq!(Steadiness::of(&Ledger::of(&history(noise, 0))).verdict, Verdict::Steady);
    let rising = Steadiness::of(&Ledger::of(&history(|i| noise(i) + i as f64 / 2000.0, 0)));
    assert_eq!(rising.verdict, Verdict::NotSteady);
    assert!(rising.latency_z.unwrap() > Z_MAX);
    let falling = Steadiness::of(&Ledger::of(&history(|i| noise(i) + 1.0 - i as f64 / 2000.0, 0)));
    assert!(falling.latency_z.unwrap() < -Z_MAX);
}

#[test]
fn what_came_before_the_measured_part_is_not_looked_at() {
    let warming_up = |i: u64| if i < 600 { 9.0 - i as f64 / 100.0 } else { noise(i) };
    assert_eq!(Steadiness::of(&Ledger::of(&history(warming_up, 0))).verdict, Verdict::NotSteady);
    assert_eq!(Steadiness::of(&Ledger::of(&history(warming_up, 600 * MS))).verdict, Verdict::Steady);
    assert_eq!(Steadiness::of(&Ledger::of(&history(noise, 1900 * MS))), Steadiness::default());
    assert_eq!(Steadiness::of(&Ledger::default()).verdict, Verdict::TooShort);
}

#[test]
fn a_cluster_that_answers_less_and_less_is_not_steady() {
    let mut tiring = history(|_| 1.0, 0);
    for operation in &mut tiring.operations {
        if noise(operation.id) < operation.id as f64 / 2000.0 {
            operation.outcome = Outcome::Refused { reason: String::new() };
        }
    }
    let found = Steadiness::of(&Ledger::of(&tiring));
    assert_eq!((found.verdict, found.latency_z), (Verdict::NotSteady, Some(0.0)));
    assert!(found.throughput_z.unwrap() < -Z_MAX);
}

/// Gilbert, "Statistical Methods for Environmental Pollution Monitoring" (1987), section 16.4: S of an untied rising series
/// of n is n(n-1)/2.
#[test]
fn the_score_is_the_books() {
    let rising: Vec<f64> = (0..10).map(f64::from).collect();
    let wanted = 44.0 / f64::sqrt(10.0 * 9.0 * 25.0 / 18.0);
    assert!((mann_kendall(&rising) - wanted).abs() < 1e-12);
    // One tie of two: S = 5, variance (4*3*13 - 2*1*9)/18.
    let wanted = 4.0 / f64::sqrt((156.0 - 18.0) / 18.0);
    assert!((mann_kendall(&[1.0, 2.0, 2.0, 3.0]) - wanted).abs() < 1e-12);
    assert_eq!(mann_kendall(&[1.0; 5]), 0.0);
}

/// 1 % of steady runs are called otherwise, no more: by each of two series in half a percent.
#[test]
fn false_alarms_are_as_rare_as_promised() {
    let mut rng = StdRng::seed_from_u64(5);
    let mut alarm = |_: &u32| {
        let series: [f64; 20] = std::array::from_fn(|_| rng.random());
        mann_kendall(&series).abs() > Z_MAX
    };
    let alarms = (0..20_000).filter(|it| alarm(it)).count();
    assert!((50..=130).contains(&alarms), "{alarms} of 20000");
}
