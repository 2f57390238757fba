//! Chooses keys: evenly or skewed, over all preference lists or within some of them.

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeSet;

/// Keys and how one is chosen. Built by [`uniform`](Self::uniform), [`zipfian`](Self::zipfian),
/// [`distributed`](Self::distributed) and [`clustered`](Self::clustered).
#[derive(Debug, Clone)]
pub struct Keys {
    /// One group per preference list in use, or a single one. A group is drawn evenly, then a key within it.
    groups: Vec<Group>,
}

#[derive(Debug, Clone)]
struct Group {
    keys: Vec<String>,
    /// The chance of each key or an earlier one.
    cumulative: Vec<f64>,
}

/// How the keys of one group are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// All alike.
    Uniform,
    /// The i-th most popular with a chance proportional to `i^-theta`. Which key is how popular is drawn from the seed.
    Zipfian {
        /// The skew, from 0 (uniform) up; 0.99 is customary.
        theta: f64,
        /// The seed of the popularity.
        seed: u64,
    },
}

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
        Ok(Self { groups: groups.collect::<Result<_, _>>()? })
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

    /// Chooses one key, in two draws.
    pub(super) fn choose(&self, rng: &mut StdRng) -> &str {
        let group = &self.groups[rng.random_range(0..self.groups.len())];
        let draw: f64 = rng.random();
        let at = group.cumulative.partition_point(|&chance| chance <= draw);
        // Rounding may leave the last chance a sliver below 1.
        &group.keys[at.min(group.keys.len() - 1)]
    }
}

impl Group {
    fn new(group: usize, mut keys: Vec<String>, spread: Spread) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::NoKeys { group });
        }
        let theta = match spread {
            Spread::Uniform => 0.0,
            Spread::Zipfian { theta, .. } if !theta.is_finite() || theta < 0.0 => {
                return Err(KeyError::Theta(theta));
            }
            Spread::Zipfian { theta, seed } => {
                keys.shuffle(&mut StdRng::seed_from_u64(seed));
                theta
            }
        };
        let mut sum = 0.0;
        // Not the standard library's `powf`, whose last digit differs between machines.
        let sums: Vec<f64> = (1..=keys.len())
            .map(|popularity| {
                sum += libm::pow(popularity as f64, -theta);
                sum
            })
            .collect();
        Ok(Self { keys, cumulative: sums.into_iter().map(|part| part / sum).collect() })
    }
}
