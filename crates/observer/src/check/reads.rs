//! What is said of the reads of one consistency level: tallies that take one read at a time, and what comes of them.

use super::Settings;
use super::metric::Metric;
use crate::history::Level;
use crate::metrics::{Bins, Estimate, Judgement, KStaleness, Place, Trials, Verdict, Visibility, millis};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most writes that ⟨k,t⟩ looks back over.
pub(crate) const K_MAX: usize = 5;

/// The times of ⟨k,t⟩, in nanoseconds.
pub(crate) const T_STEPS: [u64; 5] = [0, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000];

/// The run is cut into this many stretches to see siblings grow.
pub(crate) const TENTHS: usize = 10;

/// Ages above this many nanoseconds (a day) count as this.
const AGE_MAX: u64 = 86_400_000_000_000;

/// A number of writes, against acknowledged writes and against acknowledged or observed ones.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sides<T> {
    /// Against writes that were acknowledged.
    pub acknowledged: T,
    /// Against these and those of unknown outcome that a read had returned.
    pub observed: T,
}

/// What was found of the reads of one level. What was not asked for is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LevelReport {
    /// The level.
    pub level: Level,
    /// Answered reads.
    pub reads: u64,
    /// The seed's rate.
    pub seed: Option<Estimate>,
    /// Reads that miss a write.
    pub stale: Option<Sides<Estimate>>,
    /// Reads that know none of the newest writes.
    pub stale_lenient: Option<Sides<Estimate>>,
    /// Writes missed per read.
    pub missed: Option<Sides<KStaleness>>,
    /// The longest chain of writes missed per read.
    pub chain: Option<Sides<KStaleness>>,
    /// How long the oldest write that a stale read misses had been there.
    pub age: Option<Sides<Ages>>,
    /// The chance of freshness by time since the last write.
    pub visibility: Option<Sides<Visibility>>,
    /// Reads at least so long after the end of the k-th latest write that miss the last k.
    pub kt: Option<Sides<Vec<KtCell>>>,
    /// Rules that sessions rely on, with the share of reads (or pairs of reads) that broke each.
    pub guarantees: BTreeMap<Metric, Estimate>,
    /// Values per read.
    pub siblings: Option<SiblingReport>,
}

/// Quantiles of ages in milliseconds, over stale reads.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ages {
    /// Stale reads.
    pub n: u64,
    /// The median.
    pub p50_ms: Option<f64>,
    /// 99 % are at most this old.
    pub p99_ms: Option<f64>,
    /// The oldest.
    pub max_ms: Option<f64>,
}

/// One cell of ⟨k,t⟩.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KtCell {
    /// How many of the latest writes.
    pub k: usize,
    /// The least time since the end of the first of them, in milliseconds.
    pub t_ms: f64,
    /// The reads that miss them all.
    pub missed: Estimate,
}

/// Values per answered read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SiblingReport {
    /// At index `i`, the reads that returned `i` values; the last of 17 holds all above.
    pub reads_by_count: Vec<u64>,
    /// The most one read returned.
    pub max: u64,
    /// The mean over reads that returned any, in each tenth of the run: whether they grow.
    pub mean_by_tenth: Vec<Option<f64>>,
}

/// Tallies of one level.
#[derive(Debug, Default)]
pub(crate) struct ReadTally {
    reads: u64,
    seed: Trials,
    sides: Sides<SideTally>,
    guarantees: BTreeMap<Metric, Trials>,
    siblings: SiblingTally,
}

#[derive(Debug)]
struct SideTally {
    stale: Trials,
    lenient: Trials,
    /// Reads by how many writes, and by how long a chain, they missed.
    missed: BTreeMap<u64, u64>,
    chain: BTreeMap<u64, u64>,
    ages: Histogram<u64>,
    bins: [Bins; 2],
    kt: Vec<Trials>,
}

#[derive(Debug, Default)]
struct SiblingTally {
    by_count: BTreeMap<u64, u64>,
    tenths: [(u64, u64); TENTHS],
}

impl Default for SideTally {
    fn default() -> Self {
        Self {
            stale: Trials::default(),
            lenient: Trials::default(),
            missed: BTreeMap::new(),
            chain: BTreeMap::new(),
            ages: Histogram::new_with_max(AGE_MAX, 3)
                .expect("a day at 3 digits is within the histogram's range"),
            bins: [Bins::default(), Bins::default()],
            kt: vec![Trials::default(); K_MAX * T_STEPS.len()],
        }
    }
}

/// What one read adds to one side.
#[derive(Debug)]
pub(crate) struct SideOfRead {
    pub(crate) judgement: Judgement,
    /// From the end of the key's latest write to the read.
    pub(crate) since_write: Option<u64>,
    /// For each `k` from 1: from the end of the k-th latest write to the read, and whether it misses the last k.
    pub(crate) latest: Vec<(u64, bool)>,
}

impl ReadTally {
    /// Adds a read: its verdict, both sides of it, and whether the seed would have called it stale.
    pub(crate) fn add(&mut self, place: Place, verdict: &Verdict, sides: &Sides<SideOfRead>, seed: bool) {
        self.reads += 1;
        self.seed.add(place, seed);
        self.sides.acknowledged.add(place, verdict.contended, &sides.acknowledged);
        self.sides.observed.add(place, verdict.contended, &sides.observed);
    }

    /// Adds the values that a read returned in one tenth of the run.
    pub(crate) fn add_siblings(&mut self, tenth: usize, values: u64) {
        *self.siblings.by_count.entry(values).or_default() += 1;
        if values > 0 {
            let (sum, n) = &mut self.siblings.tenths[tenth];
            *sum += values;
            *n += 1;
        }
    }

    /// Whether any read was added.
    pub(crate) fn has_reads(&self) -> bool {
        self.reads > 0
    }

    pub(crate) fn add_guarantee(&mut self, metric: Metric, place: Place, broken: bool) {
        self.guarantees.entry(metric).or_default().add(place, broken);
    }

    pub(crate) fn report(&self, level: Level, settings: &Settings) -> LevelReport {
        let seed = settings.seed;
        let wants = |metric| settings.wants(metric);
        let both = |of: &dyn Fn(&SideTally) -> Estimate| Sides {
            acknowledged: of(&self.sides.acknowledged),
            observed: of(&self.sides.observed),
        };
        let counts = |of: &dyn Fn(&SideTally) -> &BTreeMap<u64, u64>| Sides {
            acknowledged: KStaleness::of(of(&self.sides.acknowledged)),
            observed: KStaleness::of(of(&self.sides.observed)),
        };
        let sides = &self.sides;
        let wanted = self.guarantees.iter().filter(|(metric, _)| wants(**metric));
        LevelReport {
            level,
            reads: self.reads,
            seed: wants(Metric::Seed).then(|| self.seed.estimate(seed)),
            stale: wants(Metric::Stale).then(|| both(&|side| side.stale.estimate(seed))),
            stale_lenient: wants(Metric::Stale).then(|| both(&|side| side.lenient.estimate(seed))),
            missed: wants(Metric::KStaleness).then(|| counts(&|side| &side.missed)),
            chain: wants(Metric::KStaleness).then(|| counts(&|side| &side.chain)),
            age: wants(Metric::Age)
                .then(|| Sides { acknowledged: sides.acknowledged.ages(), observed: sides.observed.ages() }),
            visibility: wants(Metric::TVisibility).then(|| Sides {
                acknowledged: sides.acknowledged.visibility(),
                observed: sides.observed.visibility(),
            }),
            kt: wants(Metric::KtStaleness).then(|| Sides {
                acknowledged: sides.acknowledged.kt(seed),
                observed: sides.observed.kt(seed),
            }),
            guarantees: wanted.map(|(&metric, trials)| (metric, trials.estimate(seed))).collect(),
            siblings: wants(Metric::Siblings).then(|| self.siblings.report()),
        }
    }
}

impl SideTally {
    fn add(&mut self, place: Place, contended: bool, read: &SideOfRead) {
        let Judgement { missing, chain, age, nothing_new } = read.judgement;
        self.stale.add(place, missing > 0);
        self.lenient.add(place, nothing_new);
        *self.missed.entry(missing).or_default() += 1;
        *self.chain.entry(chain).or_default() += 1;
        if let Some(age) = age {
            self.ages.saturating_record(age);
        }
        if let Some(t) = read.since_write {
            self.bins[usize::from(contended)].add(t, missing == 0);
        }
        for (k, &(since, missed)) in read.latest.iter().enumerate() {
            for (step, _) in T_STEPS.iter().enumerate().filter(|(_, t)| since >= **t) {
                self.kt[k * T_STEPS.len() + step].add(place, missed);
            }
        }
    }

    fn ages(&self) -> Ages {
        let quantile = |q| (!self.ages.is_empty()).then(|| millis(self.ages.value_at_quantile(q)));
        Ages { n: self.ages.len(), p50_ms: quantile(0.5), p99_ms: quantile(0.99), max_ms: quantile(1.0) }
    }

    fn visibility(&self) -> Visibility {
        let [settled, contended] = &self.bins;
        Visibility { settled: settled.curve(), contended: contended.curve() }
    }

    fn kt(&self, seed: u64) -> Vec<KtCell> {
        let cells = self.kt.iter().enumerate().map(|(cell, trials)| KtCell {
            k: cell / T_STEPS.len() + 1,
            t_ms: millis(T_STEPS[cell % T_STEPS.len()]),
            missed: trials.estimate(seed),
        });
        cells.filter(|cell| cell.missed.rate.n > 0).collect()
    }
}

impl SiblingTally {
    fn report(&self) -> SiblingReport {
        let mut reads_by_count = Vec::new();
        for (&values, &reads) in &self.by_count {
            let last = crate::metrics::DISTRIBUTION_LEN_MAX - 1;
            let at = usize::try_from(values).map_or(last, |values| values.min(last));
            if reads_by_count.len() <= at {
                reads_by_count.resize(at + 1, 0);
            }
            reads_by_count[at] += reads;
        }
        let mean = |&(sum, n): &(u64, u64)| (n > 0).then(|| sum as f64 / n as f64);
        SiblingReport {
            reads_by_count,
            max: self.by_count.last_key_value().map_or(0, |(&values, _)| values),
            mean_by_tenth: self.tenths.iter().map(mean).collect(),
        }
    }
}
