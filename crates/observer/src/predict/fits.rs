//! The delays that were published with the model, and others of the same shape. Times are in milliseconds.

use rand::RngExt as _;
use rand::rngs::StdRng;
use serde::{Deserialize, Serialize};
use std::str::FromStr;

/// One way there, in the mean, between two sites of the WAN fit.
const WAN_ONE_WAY_MS: f64 = 75.0;

/// One part of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// At least `scale`; longer ones are rarer by the power `shape`.
    Pareto {
        /// The least.
        scale: f64,
        /// The power.
        shape: f64,
    },
    /// With this mean.
    Exponential {
        /// The mean.
        mean: f64,
    },
}

/// A one-way delay: one of its parts, by chance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delay {
    /// The share of the first part.
    pub share: f64,
    /// The first part.
    pub first: Part,
    /// The second, for the rest.
    pub second: Part,
}

/// The delays of a deployment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Its name.
    pub name: String,
    /// From a coordinator to a replica that stores a write.
    pub write: Delay,
    /// The three other ways: the acknowledgement, a read, and its answer.
    pub other: Delay,
    /// What one way takes more between replicas that are not at the coordinator's site; none if all are at one.
    pub apart_ms: Option<f64>,
}

/// The text names no published fit; nothing was computed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no published fit: choose from lnkd-ssd, lnkd-disk, ymmr and wan")]
pub struct FitError(String);

impl Fit {
    /// The published fits.
    #[must_use]
    pub fn published() -> [Self; 4] {
        let mixture = |share, scale, shape, rate: f64| Delay {
            share,
            first: Part::Pareto { scale, shape },
            second: Part::Exponential { mean: 1.0 / rate },
        };
        let ssd = mixture(0.9122, 0.235, 10.0, 1.66);
        let disk = mixture(0.38, 1.05, 1.51, 0.183);
        let fit = |name: &str, write: &Delay, other: &Delay, apart_ms| Self {
            name: name.to_owned(),
            write: write.clone(),
            other: other.clone(),
            apart_ms,
        };
        [
            fit("lnkd-ssd", &ssd, &ssd, None),
            fit("lnkd-disk", &disk, &ssd, None),
            fit("ymmr", &mixture(0.939, 3.0, 3.35, 0.0028), &mixture(0.982, 1.5, 3.8, 0.0217), None),
            fit("wan", &disk, &ssd, Some(WAN_ONE_WAY_MS)),
        ]
    }

    /// Exponential delays with these means.
    #[must_use]
    pub fn exponential(write_mean: f64, other_mean: f64) -> Self {
        let delay = |mean| Delay {
            share: 1.0,
            first: Part::Exponential { mean },
            second: Part::Exponential { mean },
        };
        let name = format!("exponential, writes {write_mean} ms, others {other_mean} ms");
        Self { name, write: delay(write_mean), other: delay(other_mean), apart_ms: None }
    }

    /// The replicas that are at the site of a write's coordinator and of a read's, if there are several sites: a site has one
    /// replica, and requests come to all alike.
    pub(super) fn nearest(&self, n: usize, rng: &mut StdRng) -> [Option<usize>; 2] {
        [(); 2].map(|()| self.apart_ms.map(|_| rng.random_range(0..n)))
    }

    /// What one way between a coordinator at this site and a replica takes more.
    pub(super) fn apart(&self, near: Option<usize>, replica: usize) -> f64 {
        match (near, self.apart_ms) {
            (Some(near), Some(apart_ms)) if near != replica => apart_ms,
            _ => 0.0,
        }
    }
}

impl FromStr for Fit {
    type Err = FitError;

    fn from_str(text: &str) -> Result<Self, FitError> {
        let mut published = Self::published().into_iter();
        published.find(|fit| fit.name == text).ok_or_else(|| FitError(text.to_owned()))
    }
}

impl Delay {
    pub(super) fn draw(&self, rng: &mut StdRng) -> f64 {
        let [which, draw] = [(); 2].map(|()| rng.random::<f64>());
        match if which < self.share { self.first } else { self.second } {
            // 1 − draw is above 0.
            Part::Pareto { scale, shape } => scale * libm::exp(-libm::log1p(-draw) / shape),
            Part::Exponential { mean } => -mean * libm::log1p(-draw),
        }
    }
}
