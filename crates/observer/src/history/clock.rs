//! Dots and sets of dots as clients were told them. Contexts are opaque to clients; whoever records a history opens
//! them for the observer.

use serde::{Deserialize, Serialize};

/// The name of one version: the actor that coordinated the write and its sequence number there. Sequence numbers count
/// per partition, so a dot names a version only together with its key's partition. As text: `[actor, seq]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Dot {
    /// The actor.
    pub actor: u64,
    /// Its sequence number, from 1.
    pub seq: u64,
}

impl From<(u64, u64)> for Dot {
    fn from((actor, seq): (u64, u64)) -> Self {
        Self { actor, seq }
    }
}

impl From<Dot> for (u64, u64) {
    fn from(dot: Dot) -> Self {
        (dot.actor, dot.seq)
    }
}

/// A causal past: for each actor of `vv` all its dots up to a sequence number, and beyond them the exact `dots`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Pairs of an actor and the highest sequence number below which nothing is missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vv: Vec<(u64, u64)>,
    /// Single dots beyond `vv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dots: Vec<Dot>,
}

impl Clock {
    /// Whether the dot is in this past.
    #[must_use]
    pub fn covers(&self, dot: Dot) -> bool {
        self.vv.iter().any(|&(actor, seq)| actor == dot.actor && dot.seq <= seq) || self.dots.contains(&dot)
    }
}
