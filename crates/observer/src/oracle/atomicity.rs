//! Registers by exhaustive search: every order of a handful of calls is tried.

use crate::atomicity::search::{Found, search};
use crate::atomicity::{AFTER, Action, BEFORE, Call, Clusters, Conflict, Time};
use crate::check::{Metric, NoTexts};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// The longest that one call of [`random_calls`] takes.
const CALL_TIME_MAX: Time = 12;

/// Up to `max` reads and writes of unique values within a short time, some of unknown outcome, and some reads of values
/// that were not there yet.
pub(crate) fn random_calls(rng: &mut StdRng, max: u64) -> Vec<Call> {
    let count = rng.random_range(2..=max);
    let mut written = 0;
    let mut calls: Vec<Call> = (1..=count)
        .map(|id| {
            let start = rng.random_range(0..30);
            let end = start + rng.random_range(0..CALL_TIME_MAX);
            if rng.random_bool(0.5) {
                written += 1;
                let end = if rng.random_bool(0.1) { AFTER } else { end };
                Call { id, start, end, action: Action::Write(written) }
            } else {
                Call { id, start, end, action: Action::Read(0) }
            }
        })
        .collect();
    for call in &mut calls {
        if let Action::Read(value) = &mut call.action {
            *value = rng.random_range(0..=written);
        }
    }
    calls
}

/// Whether some order of the calls that keeps to time lets every read return one of the last `k` writes before it. The
/// initial value counts as the first write; calls of unknown outcome may be left out.
pub(crate) fn within_k_of_last(calls: &[Call], k: usize) -> bool {
    assert!(calls.len() <= 16, "every order is tried");
    let initial = vec![0];
    extend(calls, k, &mut vec![false; calls.len()], &initial)
}

fn extend(calls: &[Call], k: usize, placed: &mut Vec<bool>, written: &[u32]) -> bool {
    let open = |at: &usize| !placed[*at];
    if (0..calls.len()).filter(open).all(|at| calls[at].end >= AFTER) {
        return true;
    }
    for at in (0..calls.len()).filter(open).collect::<Vec<_>>() {
        // Whatever ended before this one began has to come first.
        if (0..calls.len()).any(|other| !placed[other] && calls[other].end < calls[at].start) {
            continue;
        }
        let mut written = written.to_vec();
        match calls[at].action {
            Action::Write(value) => written.push(value),
            Action::Read(value) if written.iter().rev().take(k).any(|&last| last == value) => {}
            _ => continue,
        }
        placed[at] = true;
        let found = extend(calls, k, placed, &written);
        placed[at] = false;
        if found {
            return true;
        }
    }
    false
}

/// The least γ for which the calls, each γ/2 longer on both sides, are atomic.
pub(crate) fn least_gamma(calls: &[Call]) -> Time {
    // Doubled, so that half of any γ is a whole number.
    let stretched = |gamma: Time| -> Vec<Call> {
        let end = |call: &Call| if call.end >= AFTER { AFTER } else { call.end * 2 + gamma };
        calls.iter().map(|call| Call { start: call.start * 2 - gamma, end: end(call), ..*call }).collect()
    };
    least(|gamma| within_k_of_last(&stretched(gamma), 1)).unwrap_or(AFTER)
}

/// The least δ for which the calls are atomic once reads may begin up to δ earlier; [`AFTER`] if none is.
pub(crate) fn least_delta(calls: &[Call]) -> Time {
    let moved = |delta: Time| -> Vec<Call> {
        let start = |call: &Call| match call.action {
            Action::Read(_) => call.start.max(BEFORE) - delta,
            _ => call.start,
        };
        calls.iter().map(|call| Call { start: start(call), ..*call }).collect()
    };
    least(|delta| within_k_of_last(&moved(delta), 1)).unwrap_or(AFTER)
}

/// The least amount that is enough, as more always is; none if not even twice the length of a history of [`random_calls`]
/// is.
fn least(is_enough: impl Fn(Time) -> bool) -> Option<Time> {
    let (mut low, mut high) = (0, 64);
    if !is_enough(high) {
        return None;
    }
    while low < high {
        let middle = (low + high) / 2;
        (low, high) = if is_enough(middle) { (low, middle) } else { (middle + 1, high) };
    }
    Some(low)
}

/// What zones, chunks and the search say of a few calls, against every order of them.
pub(super) fn compare(seed: u64) -> Vec<(Metric, bool)> {
    let calls = random_calls(&mut StdRng::seed_from_u64(seed), 7);
    let Ok(clusters) = Clusters::of(&calls) else { return Vec::new() };
    let by = |conflict: Option<Conflict>| conflict.map_or(0, |conflict| conflict.by);
    let is_atomic = within_k_of_last(&calls, 1);
    let searched = search(&calls, &mut NoTexts, 1_000_000) == Found::Linearizable;
    vec![
        (Metric::Gamma, by(clusters.gamma()) == least_gamma(&calls)),
        (Metric::Delta, by(clusters.delta()) == least_delta(&calls)),
        (Metric::TwoAtomicity, clusters.are_two_atomic() == within_k_of_last(&calls, 2)),
        (Metric::Linearizability, searched == is_atomic && clusters.gamma().is_none() == is_atomic),
    ]
}
