//! Owns what a version is: actors, dots, causal sets, key states, and the tokens clients carry. Refuses storage and
//! the network: everything here is a value with pure operations.

mod causal;
mod stamp;
mod state;
mod token;
mod wire;

pub use causal::Causal;
pub use stamp::Stamp;
pub use state::{Content, KeyState, MergeReport, Sibling, WrittenAt};
pub use token::{ContextError, ContextKey};

use serde::{Deserialize, Serialize};
use std::fmt;

/// Who gives dots: one life of one data directory.
///
/// Drawn at random whenever a directory is opened, and anew if its store then finds that it has forgotten anything, so that
/// a dot names one value for ever (DESIGN.md §4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Actor(pub u64);

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The name of one version: the `seq`-th version that `actor` wrote in a tree, counted from 1 without gaps.
///
/// Dense per (actor, tree) rather than per key, so that one vector per tree says what a replica has seen. (A tree holds the
/// keys that the same members replicate: those of one partition and one N.)
/// A single key therefore sees only some of an actor's dots.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Dot {
    /// Who wrote the version.
    pub actor: Actor,
    /// Which of the actor's versions in the tree it is; the first is 1.
    pub seq: u64,
}

impl Dot {
    /// The dot of `actor`'s version number `seq`.
    #[must_use]
    pub const fn new(actor: Actor, seq: u64) -> Self {
        Self { actor, seq }
    }
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.actor, self.seq)
    }
}

#[cfg(test)]
mod tests;
