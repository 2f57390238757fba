//! t-visibility: the chance that a read sent `t` after the key's latest acknowledged write is fresh. Reads with a write of
//! their key in flight are a stratum of their own, because an overwrite cuts the wait short.

use super::{Rate, Verdict, isotonic, millis};
use serde::{Deserialize, Serialize};

/// The chances of freshness whose times are reported.
const TARGETS: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// Bins per factor of ten in `t`.
const BINS_PER_DECADE: i32 = 5;

/// The first bin holds every `t` below 10 µs, the last every `t` from 1000 s.
const DECADES: std::ops::Range<i32> = -5..3;

/// The curves of one level.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Visibility {
    /// Reads with no write of their key in flight.
    pub settled: Curve,
    /// Reads with one.
    pub contended: Curve,
}

/// The chance of freshness as a function of `t`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Bins with at least one read, ascending.
    pub bins: Vec<CurveBin>,
    /// For 50, 90, 99 and 99.9 %, the time from which the fitted chance is at least that; absent if it never is.
    pub reached: Vec<Reached>,
}

/// The reads whose `t` lies in one range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurveBin {
    /// The range's lower end, in milliseconds.
    pub from_ms: f64,
    /// The longest `t` of a read in it, in milliseconds.
    pub longest_ms: f64,
    /// How many of its reads were fresh.
    pub fresh: Rate,
    /// The chance by the monotone fit over all bins.
    pub fit: f64,
}

/// When freshness reached a chance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reached {
    /// The chance aimed at.
    pub chance: f64,
    /// The longest `t` of the first bin whose fit is at least that, in milliseconds; absent if no bin's is.
    pub t_ms: Option<f64>,
    /// The reads of that bin and all later ones, and how many were fresh: how far the claim is supported.
    pub from_there: Rate,
}

impl Visibility {
    pub(crate) fn of(verdicts: &[Verdict]) -> Self {
        let mut bins = [Bins::default(), Bins::default()];
        for read in verdicts {
            if let Some(t) = read.since_write {
                bins[usize::from(read.contended)].add(t, read.acknowledged.missing == 0);
            }
        }
        Self { settled: bins[0].curve(), contended: bins[1].curve() }
    }
}

/// Reads by `t`, as they come in.
#[derive(Debug, Clone)]
pub(crate) struct Bins {
    edges: Vec<u64>,
    /// Per bin: reads, fresh reads, longest `t`.
    filled: Vec<(u64, u64, u64)>,
}

impl Default for Bins {
    fn default() -> Self {
        let edges = bin_edges();
        Self { filled: vec![(0, 0, 0); edges.len()], edges }
    }
}

impl Bins {
    /// Adds a read by its `t` in nanoseconds and whether it was fresh.
    pub(crate) fn add(&mut self, t: u64, fresh: bool) {
        let at = self.edges.partition_point(|&edge| edge <= t) - 1;
        let (n, fresh_n, longest) = &mut self.filled[at];
        *n += 1;
        *fresh_n += u64::from(fresh);
        *longest = t.max(*longest);
    }

    /// The curve through them.
    pub(crate) fn curve(&self) -> Curve {
        let filled =
            self.edges.iter().copied().zip(self.filled.iter().copied()).filter(|(_, (n, ..))| *n > 0);
        let mut bins: Vec<CurveBin> = filled
            .map(|(from, (n, fresh, longest))| CurveBin {
                from_ms: millis(from),
                longest_ms: millis(longest),
                fresh: Rate::new(fresh, n),
                fit: 0.0,
            })
            .collect();
        let points: Vec<(f64, f64)> = bins
            .iter()
            .map(|bin| (bin.fresh.count as f64 / bin.fresh.n as f64, bin.fresh.n as f64))
            .collect();
        for (bin, fit) in bins.iter_mut().zip(isotonic(&points)) {
            bin.fit = fit;
        }
        Curve { reached: TARGETS.iter().map(|&chance| Reached::find(&bins, chance)).collect(), bins }
    }
}

impl Reached {
    fn find(bins: &[CurveBin], chance: f64) -> Self {
        let from = bins.partition_point(|bin| bin.fit < chance);
        let sum = |of: fn(&CurveBin) -> u64| bins[from..].iter().map(of).sum();
        Self {
            chance,
            t_ms: bins.get(from).map(|bin| bin.longest_ms),
            from_there: Rate::new(sum(|bin| bin.fresh.count), sum(|bin| bin.fresh.n)),
        }
    }
}

/// The lower ends of all bins in nanoseconds: 0, then five per decade from 10 µs on.
pub(crate) fn bin_edges() -> Vec<u64> {
    let steps = DECADES.start * BINS_PER_DECADE..=DECADES.end * BINS_PER_DECADE;
    let edge = |step: i32| {
        let nanoseconds = libm::round(1e9 * libm::pow(10.0, f64::from(step) / f64::from(BINS_PER_DECADE)));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rounded, and from 1e4 to 1e12"
        )]
        let nanoseconds = nanoseconds as u64;
        nanoseconds
    };
    std::iter::once(0).chain(steps.map(edge)).collect()
}
