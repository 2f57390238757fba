//! Rates with an interval that knows how reads resemble each other: those of one key and one stretch of time are kept
//! together, and whole blocks are drawn anew (a block bootstrap). Pure arithmetic from a seed that is handed in.

use super::Rate;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

/// Keys are put into this many groups.
const KEY_GROUPS: usize = 50;

/// The run is cut into this many equal stretches.
const STRETCHES: usize = 20;

/// How often all blocks are drawn anew.
const RESAMPLES: usize = 400;

/// With fewer blocks than this that hold any trial, drawing them anew says nothing.
const BLOCKS_MIN: usize = 10;

/// A rate with both intervals.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The rate, with the interval of independent trials.
    #[serde(flatten)]
    pub rate: Rate,
    /// The interval of dependent ones; none if nothing happened, everything did, or there are fewer than 10 blocks.
    pub blocks: Option<Blocks>,
}

impl Estimate {
    /// The rate with one interval: from the lower of the two lower ends to the higher of the two upper ones.
    #[must_use]
    pub fn widest(&self) -> Rate {
        let Some(blocks) = self.blocks else { return self.rate };
        Rate { low: blocks.low.min(self.rate.low), high: blocks.high.max(self.rate.high), ..self.rate }
    }
}

/// What drawing blocks anew says of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Blocks {
    /// 2.5 % of the draws have a lower rate.
    pub low: f64,
    /// 2.5 % of the draws have a higher one.
    pub high: f64,
    /// How many times the variance of independent trials the draws vary: so many reads count as one.
    pub design_effect: f64,
}

/// Trials by block.
#[derive(Debug, Clone)]
pub(crate) struct Trials {
    blocks: Vec<(u64, u64)>,
}

/// Where a trial belongs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(usize);

impl Place {
    /// By the number of its key and its time in a run of this length.
    pub(crate) fn new(key: usize, time: u64, run: u64) -> Self {
        let stretch = u128::from(time) * STRETCHES as u128 / (u128::from(run) + 1);
        let stretch = usize::try_from(stretch).map_or(STRETCHES - 1, |it| it.min(STRETCHES - 1));
        Self(key % KEY_GROUPS * STRETCHES + stretch)
    }
}

impl Default for Trials {
    fn default() -> Self {
        Self { blocks: vec![(0, 0); KEY_GROUPS * STRETCHES] }
    }
}

impl Trials {
    pub(crate) fn add(&mut self, place: Place, hit: bool) {
        let (hits, n) = &mut self.blocks[place.0];
        *hits += u64::from(hit);
        *n += 1;
    }

    /// The rate of hits.
    pub(crate) fn estimate(&self, seed: u64) -> Estimate {
        let filled: Vec<(u64, u64)> = self.blocks.iter().copied().filter(|(_, n)| *n > 0).collect();
        let sum = |blocks: &mut dyn Iterator<Item = (u64, u64)>| {
            blocks.fold((0, 0), |(hits, n), (more, of)| (hits + more, n + of))
        };
        let (hits, n) = sum(&mut filled.iter().copied());
        let rate = Rate::new(hits, n);
        if filled.len() < BLOCKS_MIN || hits == 0 || hits == n {
            return Estimate { rate, blocks: None };
        }
        let mut rng = StdRng::seed_from_u64(seed);
        let mut draws: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let mut drawn = (0..filled.len()).map(|_| filled[rng.random_range(0..filled.len())]);
                let (hits, n) = sum(&mut drawn);
                hits as f64 / n as f64
            })
            .collect();
        draws.sort_by(f64::total_cmp);
        let mean = draws.iter().sum::<f64>() / RESAMPLES as f64;
        let variance = draws.iter().map(|it| (it - mean) * (it - mean)).sum::<f64>() / (RESAMPLES - 1) as f64;
        let share = hits as f64 / n as f64;
        let independent = share * (1.0 - share) / n as f64;
        let blocks = Blocks {
            low: draws[RESAMPLES / 40],
            high: draws[RESAMPLES - 1 - RESAMPLES / 40],
            design_effect: variance / independent,
        };
        Estimate { rate, blocks: Some(blocks) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Trials};
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    const RUN: u64 = 1000;

    /// Ten reads of each key and stretch, alike or not.
    fn effect(alike: bool) -> f64 {
        let mut rng = StdRng::seed_from_u64(1);
        let mut trials = Trials::default();
        for key in 0..50 {
            for time in (0..RUN).step_by(50) {
                let together = rng.random_bool(0.3);
                for _ in 0..10 {
                    let hit = if alike { together } else { rng.random_bool(0.3) };
                    trials.add(Place::new(key, time, RUN), hit);
                }
            }
        }
        let estimate = trials.estimate(7);
        let blocks = estimate.blocks.unwrap();
        let share = estimate.rate.rate.unwrap();
        assert!(blocks.low < share && share < blocks.high, "{estimate:?}");
        blocks.design_effect
    }

    #[test]
    fn ten_reads_that_are_one_count_as_one() {
        let (independent, alike) = (effect(false), effect(true));
        assert!((0.7..1.4).contains(&independent), "{independent}");
        assert!((8.0..12.5).contains(&alike), "{alike}");
    }

    #[test]
    fn nothing_seen_has_no_blocks_to_draw() {
        let mut trials = Trials::default();
        for key in 0..40 {
            trials.add(Place::new(key, 3, RUN), false);
        }
        let estimate = trials.estimate(1);
        assert_eq!((estimate.rate.count, estimate.rate.n, estimate.blocks), (0, 40, None));
    }
}
