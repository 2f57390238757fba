//! Predictions from the delays of a run, held against what the same run measured.
//!
//! A read and a write are drawn from those that happened, each as a whole, so that what is slow together stays together:
//! the write from those through the same member to the same replicas at the same level as the measured read's own last
//! write, the read likewise. The read is fresh from `t* = min(W_i − R_i)` on, over the replicas whose answers it was made
//! of, `W_i` counted from when the client knew the write done and `R_i` from when it sent the read. Where a replica
//! coordinates, its own delays are next to nothing, as they were. A request that never arrived takes for ever.

use super::score::{deviation, normalized, quantile, root_mean_square};
use super::witnessed::{LeftOut, MISSED_MAX, Measured, Passed, Place, Pool, Witnessed};
use crate::history::Level;
use crate::metrics::{Rate, bin_edges, millis};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A read that is never fresh, and one that always is.
const NEVER: i64 = i64::MAX;
const ALWAYS: i64 = i64::MIN;

/// How to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which reads are counted together.
    pub bins: Bins,
    /// About how many pairs of a write and a read are drawn for a curve, and operations for latencies.
    pub draws: usize,
    /// The seed of what is drawn.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { bins: Bins::Decades, draws: 50_000, seed: 1 }
    }
}

/// By what time since the last write reads are counted together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bins {
    /// Five ranges per factor of ten, those of the measured t-visibility.
    Decades,
    /// Each of these milliseconds; other reads are in no bin.
    Milliseconds(RangeInclusive<u64>),
}

/// Predicted beside measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Reads by whether a fault was in force during them or their last write, and by level.
    pub reads: Vec<Reads>,
    /// Latencies by whether a fault was in force, kind and level.
    pub latencies: Vec<Latencies>,
    /// The reads that are compared with nothing.
    pub left_out: LeftOut,
}

/// The reads of one level, without faults or with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reads {
    /// Whether a fault was in force. The model knows none, so the others are what it is to be judged by.
    pub faults: bool,
    /// Their level.
    pub level: Level,
    /// The fresh ones among them.
    pub fresh: Rate,
    /// The chance of that, predicted.
    pub predicted: f64,
    /// The chance of freshness by the time since the last write was done.
    pub curve: Vec<Point>,
    /// The root mean square of predicted less measured, over the points of the curve.
    pub rmse: Option<f64>,
    /// What that would be if the prediction were the truth, because the reads of a point are few.
    pub noise_floor: Option<f64>,
    /// How many missed the last k writes, for k from 1 on.
    pub missed: Vec<Missed>,
}

/// The reads of one range of times since the last write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The range's lower end, in milliseconds.
    pub from_ms: f64,
    /// The longest time of a read in it, in milliseconds.
    pub longest_ms: f64,
    /// The fresh ones among them.
    pub fresh: Rate,
    /// The chance of that, predicted for the very times of these reads.
    pub predicted: f64,
}

/// Reads that missed all of the last k writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// How many.
    pub k: usize,
    /// The share of reads that missed so many or more.
    pub measured: Rate,
    /// The chance of that, predicted as if writes spread independently of each other.
    pub predicted: f64,
}

/// The latencies of one kind and level, from sent to done. Each replica's delays are drawn on their own: drawn as whole
/// operations they would be what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Whether a fault was in force.
    pub faults: bool,
    /// Whether they are writes.
    pub writes: bool,
    /// Their level.
    pub level: Level,
    /// How many.
    pub operations: u64,
    /// Measured, in milliseconds: the median, the 99th and the 99.9th percentile.
    pub measured_ms: [f64; 3],
    /// Predicted; none where so many answers were never heard that it has no end.
    pub predicted_ms: [Option<f64>; 3],
    /// The root mean square difference of the percentiles from 1 to 99.9, as a share of the range of the measured ones;
    /// none if all are the same, or one has no end.
    pub n_rmse: Option<f64>,
    /// What that would be by chance, as the operations are few.
    pub noise_floor: Option<f64>,
}

impl Witnessed {
    /// Predicts what the reads measured.
    #[must_use]
    pub fn compare(&self, settings: &Settings) -> Comparison {
        let mut by_level: BTreeMap<(bool, Level), Vec<&Measured>> = BTreeMap::new();
        for read in &self.measured {
            by_level.entry((read.faults, read.level)).or_default().push(read);
        }
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let reads = by_level.into_iter().map(|((faults, level), measured)| {
            let curve = self.curve(&measured, settings.draws, &mut rng);
            reads(faults, level, &measured, &curve, &settings.bins)
        });
        let reads = reads.collect();
        Comparison { reads, latencies: self.latencies(settings.draws, &mut rng), left_out: self.left_out }
    }

    /// From when on reads like these are fresh.
    fn curve(&self, measured: &[&Measured], draws: usize, rng: &mut StdRng) -> Curve {
        let each = draws.div_ceil(measured.len().max(1));
        let mut fresh_from = Vec::with_capacity(each * measured.len());
        for read in measured {
            for _ in 0..each {
                let (write, read) = (self.another(read.write, rng), self.another(read.read, rng));
                fresh_from.push(fresh_from_on(write, read));
            }
        }
        fresh_from.sort_unstable();
        Curve(fresh_from)
    }

    /// An operation like this one and, unless it is the only one, another: what happened is not to predict itself.
    fn another(&self, place: Place, rng: &mut StdRng) -> &Passed {
        let others = self.pools[place.pool].operations.len() - 1;
        if others == 0 {
            return self.passed(place);
        }
        let drawn = rng.random_range(0..others);
        self.passed(Place { at: drawn + usize::from(drawn >= place.at), ..place })
    }

    fn latencies(&self, draws: usize, rng: &mut StdRng) -> Vec<Latencies> {
        let mut pools: BTreeMap<(bool, bool, Level), Vec<&Pool>> = BTreeMap::new();
        for pool in &self.pools {
            let group = &pool.group;
            pools.entry((group.faults, group.is_write, group.level)).or_default().push(pool);
        }
        let latencies = pools.into_iter().filter_map(|((faults, writes, level), pools)| {
            let operations =
                pools.iter().flat_map(|pool| &pool.operations).filter(|it| it.is_measured).count();
            if operations == 0 {
                return None;
            }
            let each = draws.div_ceil(operations);
            let mut measured = Vec::with_capacity(operations);
            let mut predicted = Vec::with_capacity(operations * each);
            for pool in pools {
                for operation in pool.operations.iter().filter(|it| it.is_measured) {
                    measured.push(operation.took as f64 / 1e6);
                    predicted.extend((0..each).map(|_| drawn_latency(pool, operation, rng)));
                }
            }
            measured.sort_by(f64::total_cmp);
            predicted.sort_by(f64::total_cmp);
            let three = |samples: &[f64]| {
                let [p50, p99, p99_9] = [0.5, 0.99, 0.999].map(|share| quantile(samples, share));
                Some([p50?, p99?, p99_9?])
            };
            let score = normalized(&measured, &predicted);
            Some(Latencies {
                faults,
                writes,
                level,
                operations: operations as u64,
                measured_ms: three(&measured)?,
                predicted_ms: three(&predicted)?.map(|it| Some(it).filter(|it| it.is_finite())),
                n_rmse: score.map(|(apart, _)| apart).filter(|it| it.is_finite()),
                noise_floor: score.map(|(_, by_chance)| by_chance).filter(|it| it.is_finite()),
            })
        });
        latencies.collect()
    }
}

/// The chance of freshness by time: the distribution of the moments from which on drawn reads were fresh, ascending.
#[derive(Debug)]
struct Curve(Vec<i64>);

impl Curve {
    /// The chance that a read sent so long after the write is fresh. Of a write and a read that reach a replica in the same
    /// tick of the clock either may be first, so they count as half.
    fn at(&self, t: i64) -> f64 {
        let (before, with) = (self.0.partition_point(|it| *it < t), self.0.partition_point(|it| *it <= t));
        (before + with) as f64 / (2 * self.0.len()) as f64
    }
}

/// When a read must be sent, since the write was done, to return it.
fn fresh_from_on(write: &Passed, read: &Passed) -> i64 {
    let answers = read.replicas.iter().take(read.needed);
    let from = answers.map(|answer| match (write.served_by(answer.replica), answer.served) {
        // It was there when the client knew it done: before any read that is sent then.
        (Some(there), _) if there <= 0 => ALWAYS,
        (Some(there), Some(asked)) => there - asked,
        (None, _) | (_, None) => NEVER,
    });
    from.min().unwrap_or(NEVER)
}

/// The latency of an operation whose replicas each take what they took in some operation like it.
fn drawn_latency(pool: &Pool, operation: &Passed, rng: &mut StdRng) -> f64 {
    let rounds = operation.replicas.iter().map(|reached| {
        let other = &pool.operations[rng.random_range(0..pool.operations.len())];
        let same = other.replicas.iter().find(|it| it.replica == reached.replica);
        same.and_then(|it| it.round).unwrap_or(NEVER)
    });
    let mut rounds: Vec<i64> = rounds.collect();
    rounds.sort_unstable();
    match rounds.get(operation.needed - 1) {
        None | Some(&NEVER) => f64::INFINITY,
        Some(last_needed) => (operation.around + last_needed) as f64 / 1e6,
    }
}

fn reads(faults: bool, level: Level, measured: &[&Measured], curve: &Curve, bins: &Bins) -> Reads {
    let edges = bins.edges();
    let mut filled = vec![Bin::default(); edges.len()];
    let mut all = Bin::default();
    let mut missed = [(0u64, 0.0); MISSED_MAX];
    for read in measured {
        let Some(since) = read.since[0] else { continue };
        let (fresh, predicted) = (read.missing == 0, curve.at(since));
        all.add(since, fresh, predicted);
        if let Some(at) = bins.of(&edges, since) {
            filled[at].add(since, fresh, predicted);
        }
        let mut chance = 1.0;
        for ((k, missed), since) in (1..).zip(&mut missed).zip(read.since) {
            chance *= since.map_or(0.0, |since| 1.0 - curve.at(since));
            missed.0 += u64::from(read.missing >= k);
            missed.1 += chance;
        }
    }
    let points = edges.iter().zip(filled).filter(|(_, bin)| bin.reads > 0);
    let points: Vec<Point> = points.map(|(&from, bin)| bin.point(from)).collect();
    let apart = points.iter().map(|point| point.predicted - point.fresh.rate.unwrap_or(0.0));
    let noise = points.iter().map(|point| deviation(point.predicted, point.fresh.n));
    let missed = (1..).zip(missed).map(|(k, (count, chances))| Missed {
        k,
        measured: Rate::new(count, all.reads),
        predicted: chances / all.reads as f64,
    });
    Reads {
        faults,
        level,
        fresh: Rate::new(all.fresh, all.reads),
        predicted: all.predicted / all.reads as f64,
        rmse: root_mean_square(apart),
        noise_floor: root_mean_square(noise),
        missed: missed.collect(),
        curve: points,
    }
}

/// Reads of one range, as they come in.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    reads: u64,
    fresh: u64,
    predicted: f64,
    longest: i64,
}

impl Bin {
    fn add(&mut self, since: i64, fresh: bool, predicted: f64) {
        self.reads += 1;
        self.fresh += u64::from(fresh);
        self.predicted += predicted;
        self.longest = self.longest.max(since);
    }

    fn point(self, from: u64) -> Point {
        Point {
            from_ms: millis(from),
            longest_ms: self.longest as f64 / 1e6,
            fresh: Rate::new(self.fresh, self.reads),
            predicted: self.predicted / self.reads as f64,
        }
    }
}

impl Bins {
    /// The lower ends, ascending, in nanoseconds.
    fn edges(&self) -> Vec<u64> {
        match self {
            Self::Decades => bin_edges(),
            Self::Milliseconds(all) => all.clone().map(|at| at * 1_000_000).collect(),
        }
    }

    /// Which bin a time since the last write falls into.
    fn of(&self, edges: &[u64], since: i64) -> Option<usize> {
        let since = u64::try_from(since).ok()?;
        let at = edges.partition_point(|&edge| edge <= since).checked_sub(1)?;
        match self {
            Self::Decades => Some(at),
            Self::Milliseconds(_) => Some(at).filter(|&at| since - edges[at] < 1_000_000),
        }
    }
}

#[cfg(test)]
mod tests;
