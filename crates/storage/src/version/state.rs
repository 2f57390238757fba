//! Owns what a replica knows of one key: its siblings and their causal past, and the two ways it grows, put and merge.
//! Refuses to give dots or to keep clocks; that is the store's.

use super::{Causal, Dot, Stamp, wire};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a version says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Content {
    /// The key has this value.
    Value(Bytes),
    /// The key was deleted. A version like any other, so that a delete competes with writes on equal terms.
    Tombstone,
    /// The key has this value until a certain time, and from then on reads as deleted.
    ///
    /// The time is part of the version: all replicas hold it alike, before and after, whatever their clocks say.
    Expiring {
        /// The value.
        value: Bytes,
        /// Wall time in milliseconds since 1970, given by the coordinator.
        expires_at: u64,
    },
}

impl Content {
    /// The value a reader is shown at a wall time, in milliseconds since 1970.
    #[must_use]
    pub fn value_at(&self, now: u64) -> Option<&Bytes> {
        match self {
            Self::Value(value) => Some(value),
            Self::Expiring { value, expires_at } if now < *expires_at => Some(value),
            Self::Expiring { .. } | Self::Tombstone => None,
        }
    }

    /// The bytes of its value, if it holds one.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        match self {
            Self::Value(value) | Self::Expiring { value, .. } => value.len(),
            Self::Tombstone => 0,
        }
    }

    /// From when on it has no value: 0 for a tombstone; `None` if it never ends by itself.
    const fn over_at(&self) -> Option<u64> {
        match self {
            Self::Value(_) => None,
            Self::Tombstone => Some(0),
            Self::Expiring { expires_at, .. } => Some(*expires_at),
        }
    }
}

/// One of a key's concurrent versions.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sibling {
    /// The version's name.
    pub dot: Dot,
    /// When it was written.
    pub written: WrittenAt,
    /// What it says.
    pub content: Content,
}

/// When a version was written, by its coordinator's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum WrittenAt {
    /// In milliseconds of wall time since 1970. It tells young versions from old ones and decides nothing.
    Wall(u64),
    /// In a bucket that keeps the latest version. Of versions that have a stamp the latest is kept, and never becomes a
    /// sibling of another.
    Stamp(Stamp),
}

impl WrittenAt {
    /// Milliseconds of wall time since 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        match self {
            Self::Wall(millis) => millis,
            Self::Stamp(stamp) => stamp.millis(),
        }
    }
}

impl Sibling {
    /// Its stamp, in a bucket that keeps the latest version.
    #[must_use]
    pub const fn stamp(&self) -> Option<Stamp> {
        match self.written {
            WrittenAt::Wall(_) => None,
            WrittenAt::Stamp(stamp) => Some(stamp),
        }
    }

    /// Whether this version takes the place of `other` by its stamp.
    fn is_later_than(&self, other: &Self) -> bool {
        self.stamp().is_some() && other.stamp().is_some() && (self.stamp(), self) > (other.stamp(), other)
    }
}

/// Everything a replica knows of one key, and what owners send each other: never one version alone.
///
/// Invariants: siblings are in strict order of (dot, time, content), at most one of them has a stamp, and the context
/// covers every sibling's dot.
///
/// For each dot a state says one of three things: not seen (context does not cover it), seen and current (a sibling),
/// seen and overwritten (covered, no sibling). `merge` takes the later of the two sides' words, dot by dot, which makes
/// it a join: idempotent, commutative, associative. A version with a stamp is the greatest that this state has met, and a
/// maximum is a join too.
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
    /// `seen` is the past the writer supplied, `dot` the new version's name, given by this replica, `now` its wall time in
    /// milliseconds since 1970.
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
    pub fn put(&mut self, seen: &Causal, dot: Dot, content: Content, now: u64) {
        assert!(!self.context.covers(dot) && !seen.covers(dot), "dot {dot:?} already names a version");
        self.siblings.retain(|sibling| !seen.covers(sibling.dot));
        self.context.unite(seen);
        self.context.advance(dot);
        let place = self.siblings.partition_point(|sibling| sibling.dot < dot);
        self.siblings.insert(place, Sibling { dot, written: WrittenAt::Wall(now), content });
    }

    /// Applies a write that this replica coordinates in a bucket that keeps the latest version: it takes the place of all
    /// that this replica knows of the key.
    ///
    /// # Panics
    /// If `dot` was seen before, or `stamp` is not above that of the version held.
    pub fn put_latest(&mut self, dot: Dot, stamp: Stamp, content: Content) {
        assert!(!self.context.covers(dot), "dot {dot:?} already names a version");
        assert!(self.stamp().is_none_or(|held| held < stamp), "a later version is held than {stamp:?}");
        self.siblings = vec![Sibling { dot, written: WrittenAt::Stamp(stamp), content }];
        self.context.advance(dot);
    }

    /// The stamp of the version held, in a bucket that keeps the latest.
    #[must_use]
    pub fn stamp(&self) -> Option<Stamp> {
        self.siblings.iter().find_map(Sibling::stamp)
    }

    /// Takes in what another replica knows of the key. A sibling stays if the other side has its dot too, or has not
    /// seen it; of two with a stamp the later stays; contexts unite.
    pub fn merge(&mut self, other: &Self) -> MergeReport {
        let count = self.siblings.len();
        let gained: Vec<_> = other
            .siblings
            .iter()
            .filter(|theirs| match theirs.stamp() {
                Some(_) if self.stamp().is_some() => {
                    !self.siblings.iter().any(|ours| ours.is_later_than(theirs))
                }
                Some(_) => !self.context.covers(theirs.dot),
                None => self.has(theirs.dot) || !self.context.covers(theirs.dot),
            })
            .filter(|theirs| self.siblings.binary_search(theirs).is_err())
            .cloned()
            .collect();
        let skewed = gained.iter().map(|theirs| theirs.dot).filter(|&dot| self.has(dot)).collect();
        self.siblings.retain(|ours| match ours.stamp() {
            Some(_) if other.stamp().is_some() => {
                !other.siblings.iter().any(|theirs| theirs.is_later_than(ours))
            }
            Some(_) => !other.context.covers(ours.dot),
            None => other.has(ours.dot) || !other.context.covers(ours.dot),
        });
        let mut changed = self.siblings.len() != count || !gained.is_empty();
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

    /// From when on the key has no value, in milliseconds of wall time since 1970, if nobody writes it: 0 if all its
    /// versions are tombstones; `None` if it keeps a value for ever, or was never written.
    #[must_use]
    pub fn over_at(&self) -> Option<u64> {
        let ends = self.siblings.iter().map(|sibling| sibling.content.over_at());
        ends.collect::<Option<Vec<u64>>>()?.into_iter().max()
    }

    /// When the youngest of its versions was written, in milliseconds of wall time since 1970; 0 if there is none.
    #[must_use]
    pub fn written_at(&self) -> u64 {
        self.siblings.iter().map(|sibling| sibling.written.millis()).max().unwrap_or(0)
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
        let contents: usize =
            self.siblings.iter().map(|sibling| sibling.content.value_bytes() + SIBLING).sum();
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
        let latest = siblings.iter().filter(|sibling| sibling.stamp().is_some()).count() <= 1;
        (ordered && covered && latest).then_some(Self { siblings, context })
    }
}
