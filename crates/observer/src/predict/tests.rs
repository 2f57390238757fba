//! Predictions against what was published, and against our own longer runs of the same model where those are known to be
//! nearer the truth.

use super::{Fit, PredictError, Prediction, predict};

/// Enough for tails as heavy as those of DISK and YMMR: one in a thousand of so many leaves about 1 % of doubt.
const MANY: usize = 4_000_000;

fn published(name: &str, choices: &[(usize, usize)], trials: usize) -> Vec<Prediction> {
    predict(&name.parse().unwrap(), 3, choices, trials, 1).unwrap()
}

fn near(what: &str, found: f64, expected: f64, within: f64) {
    assert!((found - expected).abs() <= within, "{what}: {found} is not {expected} within {within}");
}

#[test]
fn freshness_at_once_is_as_published() {
    let known = [("lnkd-ssd", 0.974), ("lnkd-disk", 0.439), ("ymmr", 0.893), ("wan", 0.33)];
    for (name, fresh) in known {
        near(name, published(name, &[(1, 1)], 200_000)[0].fresh_at_once, fresh, 0.01);
    }
    near("disk at 10 ms", published("lnkd-disk", &[(1, 1)], 200_000)[0].fresh_at(10.0), 0.925, 0.01);
}

#[test]
fn times_of_three_nines_are_those_of_long_runs() {
    let choices = [(1, 1), (1, 2), (2, 1)];
    let known = [
        ("lnkd-ssd", MANY / 4, vec![1.97]),
        ("lnkd-disk", MANY, vec![52.0, 48.0, 14.0]),
        ("ymmr", MANY, vec![1464.0, 1438.0, 215.0]),
        ("wan", MANY / 4, vec![116.0]),
    ];
    for (name, trials, times) in known {
        let predicted = published(name, &choices[..times.len()], trials);
        for (prediction, time) in predicted.iter().zip(times) {
            let what = format!("{name} at R = {}, W = {}", prediction.r, prediction.w);
            near(&what, prediction.fresh_after[2].t_ms, time, 0.02 * time);
        }
    }
}

#[test]
fn latencies_are_as_published() {
    let disk = &published("lnkd-disk", &[(1, 1), (2, 2)], 500_000);
    let all = disk.iter().flat_map(|it| [it.read_p99_9_ms, it.write_p99_9_ms]);
    for (found, expected) in all.zip([0.66, 10.99, 1.64, 20.96]) {
        near("a latency", found, expected, 0.04 * expected);
    }
}

#[test]
fn exponential_delays_are_as_known() {
    let slow = &predict(&Fit::exponential(10.0, 1.0), 3, &[(1, 1)], 200_000, 3).unwrap()[0];
    near("slow writes at once", slow.fresh_at_once, 0.419, 0.01);
    near("slow writes, three nines", slow.fresh_after[2].t_ms, 63.9, 0.05 * 63.9);
    let fast = &predict(&Fit::exponential(0.25, 1.0), 3, &[(1, 1)], 200_000, 3).unwrap()[0];
    near("fast writes at once", fast.fresh_at_once, 0.943, 0.01);
}

#[test]
fn quorums_that_meet_are_always_fresh_and_others_as_often_as_they_do() {
    let choices = [(2, 2), (1, 3), (3, 1), (1, 1), (1, 2)];
    let found = predict(&Fit::exponential(5.0, 2.0), 3, &choices, 20_000, 1).unwrap();
    for strict in &found[..3] {
        assert_eq!((strict.fresh_at_once, strict.misses_last[0]), (1.0, 0.0), "{strict:?}");
    }
    near("2 of 3", found[3].misses_last[0], 2.0 / 3.0, 1e-12);
    near("4 of 9", found[3].misses_last[1], 4.0 / 9.0, 1e-12);
    near("1 of 3", found[4].misses_last[0], 1.0 / 3.0, 1e-12);
    assert!(found[3].fresh_at(0.0) <= found[3].fresh_at(5.0) && found[3].fresh_at(1e9) == 1.0);
}

#[test]
fn what_cannot_be_is_refused() {
    let fit = Fit::exponential(1.0, 1.0);
    assert_eq!(predict(&fit, 8, &[], 1, 1).unwrap_err(), PredictError::Replicas(8));
    let error = predict(&fit, 3, &[(1, 4)], 1, 1).unwrap_err();
    assert_eq!(error.to_string(), "W is 4; it must be 1 to N, which is 3");
    assert_eq!(predict(&fit, 3, &[(1, 1)], 0, 1).unwrap_err(), PredictError::NoTrials);
    assert!("lnkd".parse::<Fit>().is_err());
}
