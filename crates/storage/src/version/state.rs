//! Owns what a replica knows of one key: its siblings and their causal past, and the two ways it grows, put and merge.
//! Refuses to give dots or to keep clocks; that is the store's.

use super::{Causal, Dot, wire};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a version says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// The key has this value.
    Value(Bytes),
    /// The key was deleted. A version like any other, so that a delete competes with writes on equal terms.
    Tombstone,
}

/// One of a key's concurrent versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sibling {
    /// The version's name.
    pub dot: Dot,
    /// What it says.
    pub content: Content,
}

/// Everything a replica knows of one key, and what owners send each other: never one version alone.
///
/// Invariants: siblings are in strict order of (dot, content); the context covers every sibling's dot.
///
/// For each dot a state says one of three things: not seen (context does not cover it), seen and current (a sibling),
/// seen and overwritten (covered, no sibling). `merge` takes the later of the two sides' words, dot by dot, which makes
/// it a join: idempotent, commutative, associative.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "wire::UncheckedState")]
pub struct KeyState {
    siblings: Vec<Sibling>,
    context: Causal,
}

/// What a merge did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergeReport {
    /// True if the state is not what it was before.
    pub changed: bool,
    /// Dots under which this merge met two different contents. A dot names one value for ever, so each of these is
    /// evidence of a directory used twice or restored behind the store's back. All contents are kept as siblings.
    pub skewed: Vec<Dot>,
}

impl KeyState {
    /// The state of a key of which nothing is left: every version in `context` is over.
    pub(crate) const fn vacant(context: Causal) -> Self {
        Self { siblings: Vec::new(), context }
    }

    /// Applies a write that this replica coordinates: drops the siblings the writer had seen, adds the new version.
    ///
    /// `seen` is the past the writer supplied, `dot` the new version's name, given by this replica.
    ///
    /// The context is *advanced* to the new dot, that is it then covers every earlier dot of this replica's actor in
    /// the partition, although the key saw only some of them. That is sound for this actor alone: the coordinator's
    /// state contains all its own earlier dots of this key that are not over, so the others that are rounded in belong to
    /// other keys and never appear here; and whoever receives this context receives the whole state with it. It keeps
    /// contexts at one run per actor. A context that a *client* brings is united as it is: the client may know a later
    /// dot of an actor and not an earlier one, and rounding up there would overwrite siblings nobody has read.
    ///
    /// # Panics
    /// If `dot` was seen before: the caller would be giving one name to two values.
    pub fn put(&mut self, seen: &Causal, dot: Dot, content: Content) {
        assert!(!self.context.covers(dot) && !seen.covers(dot), "dot {dot:?} already names a version");
        self.siblings.retain(|sibling| !seen.covers(sibling.dot));
        self.context.unite(seen);
        self.context.advance(dot);
        let place = self.siblings.partition_point(|sibling| sibling.dot < dot);
        self.siblings.insert(place, Sibling { dot, content });
    }

    /// Takes in what another replica knows of the key. A sibling stays if the other side has its dot too, or has not
    /// seen it; contexts unite.
    pub fn merge(&mut self, other: &Self) -> MergeReport {
        let count = self.siblings.len();
        let gained: Vec<_> = other
            .siblings
            .iter()
            .filter(|theirs| self.has(theirs.dot) || !self.context.covers(theirs.dot))
            .filter(|theirs| self.siblings.binary_search(theirs).is_err())
            .cloned()
            .collect();
        self.siblings.retain(|ours| other.has(ours.dot) || !other.context.covers(ours.dot));
        let mut changed = self.siblings.len() != count || !gained.is_empty();
        let skewed = gained.iter().map(|theirs| theirs.dot).filter(|&dot| self.has(dot)).collect();
        if !gained.is_empty() {
            self.siblings.extend(gained);
            self.siblings.sort_unstable();
        }
        changed |= self.context.unite(&other.context);
        MergeReport { changed, skewed }
    }

    /// Drops the siblings that `keep` does not want, without any word of them in the context; true if any went.
    ///
    /// Only someone who knows that they were overwritten may say so: see `store::replica`.
    pub(crate) fn retain(&mut self, keep: impl FnMut(&Sibling) -> bool) -> bool {
        let count = self.siblings.len();
        self.siblings.retain(keep);
        self.siblings.len() != count
    }

    /// True if the key was deleted and nobody has written it since: there are siblings, and all are tombstones.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        !self.siblings.is_empty() && self.siblings.iter().all(|sibling| sibling.content == Content::Tombstone)
    }

    /// The key's concurrent versions, in order of dot. None at all means the key was never written.
    #[must_use]
    pub fn siblings(&self) -> &[Sibling] {
        &self.siblings
    }

    /// Every dot this state has seen of the key: what a reader of this state has seen too.
    #[must_use]
    pub const fn context(&self) -> &Causal {
        &self.context
    }

    /// Rough size in memory in bytes: what quotas and caches count.
    #[must_use]
    pub(crate) fn weight(&self) -> usize {
        const SIBLING: usize = size_of::<Sibling>();
        const RUN: usize = 32;
        let contents: usize = self
            .siblings
            .iter()
            .map(|sibling| match &sibling.content {
                Content::Value(value) => value.len() + SIBLING,
                Content::Tombstone => SIBLING,
            })
            .sum();
        size_of::<Self>() + contents + self.context.runs().len() * RUN
    }

    /// True if one of the siblings has this dot.
    pub(crate) fn has(&self, dot: Dot) -> bool {
        let place = self.siblings.partition_point(|sibling| sibling.dot < dot);
        self.siblings.get(place).is_some_and(|sibling| sibling.dot == dot)
    }

    /// A state from parts that came from elsewhere; `None` if they break an invariant.
    pub(super) fn checked(siblings: Vec<Sibling>, context: Causal) -> Option<Self> {
        let ordered = siblings.is_sorted_by(|a, b| a < b);
        let covered = siblings.iter().all(|sibling| sibling.dot.seq > 0 && context.covers(sibling.dot));
        (ordered && covered).then_some(Self { siblings, context })
    }
}
