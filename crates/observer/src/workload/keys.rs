//! Chooses keys: evenly or skewed, over all preference lists or within some of them; the choosers are YCSB's.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys and how one is chosen. Built by [`uniform`](Self::uniform), [`zipfian`](Self::zipfian), [`records`](Self::records),
/// [`distributed`](Self::distributed) and [`clustered`](Self::clustered).
#[derive(Debug, Clone)]
pub struct Keys {
    /// One group per preference list in use, or a single one. A group is drawn evenly, then a key within it.
    groups: Vec<Group>,
    spread: Spread,
    inserted: Option<Inserted>,
}

/// Shared by the plans of many sessions, until one inserts.
#[derive(Debug, Clone)]
struct Group {
    keys: Arc<Vec<String>>,
    /// The sum of the weights of each rank and those before it.
    sums: Arc<Vec<f64>>,
    /// Keys taken so far, where they are taken in sequence.
    taken: usize,
}

/// Names of keys that are yet to be inserted.
#[derive(Debug, Clone)]
struct Inserted {
    prefix: String,
    next: usize,
}

/// How the keys of one group are chosen. Ranks count from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// All alike.
    Uniform,
    /// Rank `i` with a chance proportional to `(i + 1)^-theta`. Which key has which rank is drawn from the seed, once: YCSB
    /// scrambles by hashing ranks, so that two of its ranks may share a key.
    Zipfian {
        /// The skew, from 0 (uniform) up; 0.99 is customary.
        theta: f64,
        /// The seed of the ranks.
        seed: u64,
    },
    /// As `Zipfian`, with the key inserted last at rank 0, the one before it at rank 1 and so on.
    Latest {
        /// The skew.
        theta: f64,
    },
    /// The first keys, 20 % of all and at least one, share 80 % of the draws alike; the others the rest.
    Hotspot,
    /// Rank `i`, counted back from the last key, with a chance proportional to `exp(-i g)`, where `g` is such that 95 % of an
    /// endless such sequence lie in the first 6/7 of the keys.
    Exponential,
    /// One after the other, round and round.
    Sequential,
}

/// The share of the keys that is hot.
const HOT_KEYS: f64 = 0.2;
/// The share of draws that the hot keys get.
const HOT_DRAWS: f64 = 0.8;
/// YCSB's `exponential.percentile` and `exponential.frac`.
const EXPONENTIAL: (f64, f64) = (0.95, 0.857_142_857_1);

/// Keys that cannot be chosen from. Give other keys.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KeyError {
    /// No keys at all, or none on one preference list.
    #[error("there are no keys to choose from in group {group}")]
    NoKeys {
        /// Which group, from 0.
        group: usize,
    },
    /// No groups.
    #[error("there are no preference lists to choose keys from")]
    NoGroups,
    /// A preference list that was chosen and is not there.
    #[error("there is no preference list {chosen}; there are {groups}, counted from 0")]
    NoSuchGroup {
        /// The one chosen.
        chosen: usize,
        /// How many there are.
        groups: usize,
    },
    /// A preference list that was chosen twice.
    #[error("preference list {chosen} is chosen twice")]
    ChosenTwice {
        /// The one chosen.
        chosen: usize,
    },
    /// The skew is negative or no number.
    #[error("theta must be 0 or more, not {0}")]
    Theta(f64),
}

impl Keys {
    /// All keys alike.
    ///
    /// # Errors
    /// No keys.
    pub fn uniform(keys: Vec<String>) -> Result<Self, KeyError> {
        Self::distributed(vec![keys], Spread::Uniform)
    }

    /// Few keys popular, most not.
    ///
    /// # Errors
    /// No keys, or an impossible skew.
    pub fn zipfian(keys: Vec<String>, theta: f64, seed: u64) -> Result<Self, KeyError> {
        Self::distributed(vec![keys], Spread::Zipfian { theta, seed })
    }

    /// The keys `prefix0`, `prefix1` and so on, `count` of them, to which more can be inserted. Those are chosen only if
    /// `spread` is [`Latest`](Spread::Latest).
    ///
    /// # Errors
    /// No keys, or an impossible skew.
    pub fn records(prefix: &str, count: usize, spread: Spread) -> Result<Self, KeyError> {
        let keys = (0..count).map(|number| format!("{prefix}{number}")).collect();
        let inserted = Some(Inserted { prefix: prefix.to_owned(), next: count });
        Ok(Self { inserted, ..Self::distributed(vec![keys], spread)? })
    }

    /// Keys spread over all preference lists: each list gets the same share of operations, however many keys it has. One
    /// group of keys per list.
    ///
    /// # Errors
    /// No groups, a group without keys, or an impossible skew.
    pub fn distributed(groups: Vec<Vec<String>>, spread: Spread) -> Result<Self, KeyError> {
        if groups.is_empty() {
            return Err(KeyError::NoGroups);
        }
        let numbered = groups.into_iter().enumerate();
        let groups = numbered.map(|(group, keys)| Group::new(group, keys, spread));
        Ok(Self { groups: groups.collect::<Result<_, _>>()?, spread, inserted: None })
    }

    /// Keys confined to the chosen preference lists, named by their place among the groups.
    ///
    /// # Errors
    /// A chosen group that is not there or chosen twice, none chosen, or any error of [`distributed`](Self::distributed).
    pub fn clustered(
        mut groups: Vec<Vec<String>>,
        chosen: &[usize],
        spread: Spread,
    ) -> Result<Self, KeyError> {
        let count = groups.len();
        let mut taken = BTreeSet::new();
        let take = |&chosen: &usize| {
            let group = groups.get_mut(chosen).ok_or(KeyError::NoSuchGroup { chosen, groups: count })?;
            if !taken.insert(chosen) {
                return Err(KeyError::ChosenTwice { chosen });
            }
            Ok(std::mem::take(group))
        };
        Self::distributed(chosen.iter().map(take).collect::<Result<_, _>>()?, spread)
    }

    /// All keys there are now, one group after the other.
    pub(super) fn all(&self) -> Vec<String> {
        self.groups.iter().flat_map(|group| group.keys.iter().cloned()).collect()
    }

    pub(super) fn can_grow(&self) -> bool {
        self.inserted.is_some()
    }

    /// Chooses one key, in two draws.
    pub(super) fn choose(&mut self, rng: &mut StdRng) -> &str {
        let group = rng.random_range(0..self.groups.len());
        let draw: f64 = rng.random();
        let Group { keys, sums, taken } = &mut self.groups[group];
        // Rounding may leave the last sum a sliver below the total.
        let rank = || {
            let at = draw * sums.last().copied().unwrap_or(0.0);
            sums.partition_point(|&sum| sum <= at).min(keys.len() - 1)
        };
        let place = match self.spread {
            Spread::Uniform | Spread::Zipfian { .. } | Spread::Hotspot => rank(),
            Spread::Latest { .. } | Spread::Exponential => keys.len() - 1 - rank(),
            Spread::Sequential => {
                let place = *taken % keys.len();
                *taken += 1;
                place
            }
        };
        &keys[place]
    }

    /// A key that was not there before. Only for keys that [can grow](Self::can_grow).
    pub(super) fn insert(&mut self) -> String {
        let Inserted { prefix, next } = self.inserted.as_mut().expect("a plan inserts where it can");
        let key = format!("{prefix}{next}");
        *next += 1;
        if let (Spread::Latest { theta }, [group]) = (self.spread, &mut self.groups[..]) {
            let sum = group.sums.last().copied().unwrap_or(0.0);
            let rank = group.keys.len();
            Arc::make_mut(&mut group.keys).push(key.clone());
            Arc::make_mut(&mut group.sums).push(sum + zipfian(rank, theta));
        }
        key
    }
}

impl Group {
    fn new(group: usize, mut keys: Vec<String>, spread: Spread) -> Result<Self, KeyError> {
        let count = keys.len();
        if count == 0 {
            return Err(KeyError::NoKeys { group });
        }
        if let Spread::Zipfian { theta, .. } | Spread::Latest { theta } = spread
            && (!theta.is_finite() || theta < 0.0)
        {
            return Err(KeyError::Theta(theta));
        }
        if let Spread::Zipfian { seed, .. } = spread {
            keys.shuffle(&mut StdRng::seed_from_u64(seed));
        }
        let mut sum = 0.0;
        let sums = (0..count).map(|rank| {
            sum += weight(spread, rank, count);
            sum
        });
        Ok(Self { sums: Arc::new(sums.collect()), keys: Arc::new(keys), taken: 0 })
    }
}

/// What the chance of a rank among `count` is proportional to. The functions are not the standard library's, whose last
/// digits differ between machines.
fn weight(spread: Spread, rank: usize, count: usize) -> f64 {
    match spread {
        Spread::Uniform | Spread::Sequential => 1.0,
        Spread::Zipfian { theta, .. } | Spread::Latest { theta } => zipfian(rank, theta),
        Spread::Hotspot => {
            let hot = libm::fmax(1.0, libm::floor(count as f64 * HOT_KEYS));
            let cold = count as f64 - hot;
            if (rank as f64) < hot { HOT_DRAWS / hot } else { (1.0 - HOT_DRAWS) / cold }
        }
        Spread::Exponential => {
            let (percentile, within) = EXPONENTIAL;
            let gamma = -libm::log(1.0 - percentile) / (count as f64 * within);
            libm::exp(-gamma * rank as f64)
        }
    }
}

fn zipfian(rank: usize, theta: f64) -> f64 {
    libm::pow((rank + 1) as f64, -theta)
}

#[cfg(test)]
mod tests;
