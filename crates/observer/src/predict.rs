//! Predicts staleness: probabilistically bounded staleness (Bailis and others, VLDB 2012) by the WARS
//! model. It knows four one-way delays per replica and nothing else: no read repair, no hints, no anti-entropy, no failures,
//! and a read that takes its first R answers.
//!
//! A write reaches replica `i` after `W_i` and its acknowledgement the coordinator `A_i` later; a read reaches it after `R_i`
//! and its answer comes `S_i` later. The write is done at `w`, the W-th smallest `W_i + A_i`. A read sent `t` after that takes
//! the R replicas with the smallest `R_i + S_i`, and is stale if each of them was asked before the write arrived:
//! `w + t + R_i < W_i`. So it is fresh from `t* = min(W_i − R_i − w)` on, and one pass over trials serves every `t`: the chance
//! of freshness is the distribution of `t*`.
//!
//! The delays are those of a published fit ([`predict`]), or those that were seen inside a cluster while it ran
//! ([`Witnessed`]); then the prediction stands beside what the same run measured.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};

mod compare;
mod fits;
mod score;
mod text;
mod witnessed;

pub use compare::{Bins, Comparison, Latencies, Missed, Point, Reads, Settings};
pub use fits::{Delay, Fit, FitError, Part};
pub use witnessed::{LeftOut, MISSED_MAX, Witnessed};

/// The most replicas of a key.
pub const N_MAX: usize = 7;

/// The chances of freshness whose times are given.
const CHANCES: [f64; 3] = [0.9, 0.99, 0.999];

/// What is predicted for one choice of R and W.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Answers a read waits for.
    pub r: usize,
    /// Acknowledgements a write waits for.
    pub w: usize,
    /// The chance that a read sent at the moment a write is done returns it.
    pub fresh_at_once: f64,
    /// From when on the chance of freshness is at least so much.
    pub fresh_after: Vec<FreshAfter>,
    /// The chance that a read misses the last k writes if none of them is still spreading, for k from 1 to 5.
    pub misses_last: [f64; 5],
    /// 99.9 % of reads take at most this, in milliseconds.
    pub read_p99_9_ms: f64,
    /// 99.9 % of writes take at most this, in milliseconds.
    pub write_p99_9_ms: f64,
    /// Fresh from then on, one per trial, ascending, in milliseconds.
    #[serde(skip)]
    fresh_from: Vec<f64>,
}

/// A time from which on reads are fresh with some chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FreshAfter {
    /// The chance.
    pub chance: f64,
    /// The time in milliseconds.
    pub t_ms: f64,
}

/// A choice that cannot be predicted for. Nothing was computed; change the named number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PredictError {
    /// N is out of range.
    #[error("N is {0}; it must be 1 to {N_MAX}")]
    Replicas(usize),
    /// R or W is out of range.
    #[error("{name} is {given}; it must be 1 to N, which is {n}")]
    Quorum {
        /// Which.
        name: &'static str,
        /// What it is.
        given: usize,
        /// The replicas there are.
        n: usize,
    },
    /// No trials.
    #[error("at least one trial is needed")]
    NoTrials,
}

/// Predicts for several choices of (R, W) from the same draws.
///
/// # Errors
/// The first number that is out of range.
pub fn predict(
    fit: &Fit,
    n: usize,
    choices: &[(usize, usize)],
    trials: usize,
    seed: u64,
) -> Result<Vec<Prediction>, PredictError> {
    if !(1..=N_MAX).contains(&n) {
        return Err(PredictError::Replicas(n));
    }
    for (name, given) in choices.iter().flat_map(|&(r, w)| [("R", r), ("W", w)]) {
        if !(1..=n).contains(&given) {
            return Err(PredictError::Quorum { name, given, n });
        }
    }
    if trials == 0 {
        return Err(PredictError::NoTrials);
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut samples: Vec<Samples> = choices.iter().map(|_| Samples::default()).collect();
    for _ in 0..trials {
        let trial = Trial::draw(fit, n, &mut rng);
        for (&(r, w), samples) in choices.iter().zip(&mut samples) {
            samples.add(&trial, r, w);
        }
    }
    let predicted = choices.iter().zip(samples);
    Ok(predicted.map(|(&(r, w), samples)| samples.prediction(n, r, w)).collect())
}

impl Prediction {
    /// The chance that a read sent so many milliseconds after a write was done returns it.
    #[must_use]
    pub fn fresh_at(&self, t_ms: f64) -> f64 {
        self.fresh_from.partition_point(|&from| from <= t_ms) as f64 / self.fresh_from.len() as f64
    }
}

/// The delays of one write and one read, by replica.
#[derive(Debug)]
struct Trial {
    write: Vec<f64>,
    /// When the coordinator of the write heard of each.
    acknowledged: Vec<f64>,
    read: Vec<f64>,
    /// Replicas and when the coordinator of the read heard of each, the first first.
    answers: Vec<(f64, usize)>,
}

impl Trial {
    fn draw(fit: &Fit, n: usize, rng: &mut StdRng) -> Self {
        let [writer_near, reader_near] = fit.nearest(n, rng);
        let leg = |delay: &Delay, near: Option<usize>, rng: &mut StdRng| -> Vec<f64> {
            (0..n).map(|replica| delay.draw(rng) + fit.apart(near, replica)).collect()
        };
        let write = leg(&fit.write, writer_near, rng);
        let acknowledgement = leg(&fit.other, writer_near, rng);
        let read = leg(&fit.other, reader_near, rng);
        let answer = leg(&fit.other, reader_near, rng);
        let mut acknowledged: Vec<f64> = write.iter().zip(acknowledgement).map(|(w, a)| w + a).collect();
        acknowledged.sort_by(f64::total_cmp);
        let mut answers: Vec<(f64, usize)> = read.iter().zip(answer).map(|(r, s)| r + s).zip(0..).collect();
        answers.sort_by(|one, other| one.0.total_cmp(&other.0));
        Self { write, acknowledged, read, answers }
    }
}

/// What trials gave for one choice.
#[derive(Debug, Default)]
struct Samples {
    fresh_from: Vec<f64>,
    reads: Vec<f64>,
    writes: Vec<f64>,
}

impl Samples {
    fn add(&mut self, trial: &Trial, r: usize, w: usize) {
        let done = trial.acknowledged[w - 1];
        let from = |&(_, replica): &(f64, usize)| trial.write[replica] - trial.read[replica] - done;
        self.fresh_from.push(trial.answers[..r].iter().map(from).fold(f64::INFINITY, f64::min));
        self.reads.push(trial.answers[r - 1].0);
        self.writes.push(done);
    }

    fn prediction(mut self, n: usize, r: usize, w: usize) -> Prediction {
        for samples in [&mut self.fresh_from, &mut self.reads, &mut self.writes] {
            samples.sort_by(f64::total_cmp);
        }
        let p = disjoint(n, r, w);
        let fresh_after =
            CHANCES.map(|chance| FreshAfter { chance, t_ms: quantile(&self.fresh_from, chance).max(0.0) });
        let mut prediction = Prediction {
            r,
            w,
            fresh_at_once: 0.0,
            fresh_after: fresh_after.to_vec(),
            misses_last: [1, 2, 3, 4, 5].map(|k| libm::pow(p, f64::from(k))),
            read_p99_9_ms: quantile(&self.reads, 0.999),
            write_p99_9_ms: quantile(&self.writes, 0.999),
            fresh_from: self.fresh_from,
        };
        prediction.fresh_at_once = prediction.fresh_at(0.0);
        prediction
    }
}

/// The least of ascending samples that at least this share is at or below.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let rank = libm::ceil(ascending.len() as f64 * share);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rank among samples")]
    let rank = (rank as usize).clamp(1, ascending.len());
    ascending[rank - 1]
}

/// The chance that R replicas, drawn at random, are none of the W that a write reached.
fn disjoint(n: usize, r: usize, w: usize) -> f64 {
    (0..r).map(|at| n.saturating_sub(w + at) as f64 / (n - at) as f64).product()
}

#[cfg(test)]
mod tests;
