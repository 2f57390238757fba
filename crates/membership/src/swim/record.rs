//! What a member says of itself: its record, and the counters that order one life of it after another.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::wire::Identification;
use crate::identity::{Name, NodeId, md5_prefix};
use crate::ring::{Position, Tokens, TokensError};

/// Longest version text of a record, in bytes.
pub const VERSION_BYTES_MAX: usize = 64;

/// Counts the starts of a member. It grows at every start, also when the data directory was wiped: the shell sees
/// to that. The higher generation of a name is the member; anything said of a lower one is history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Generation(u64);

/// Counts a member's refutations within one generation. Only the member itself raises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Incarnation(u64);

/// A counter is beyond what a member could have reached. Nothing was changed; the sender is broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the {counter} {value} is above {max}")]
pub struct CounterError {
    counter: &'static str,
    value: u64,
    max: u64,
}

impl Generation {
    /// The highest generation: room for nanoseconds since 1970, and absurd values beyond it are refused.
    pub const MAX: Self = Self(1 << 62);

    /// Checks a generation.
    ///
    /// # Errors
    ///
    /// If it is above [`Generation::MAX`].
    pub fn new(value: u64) -> Result<Self, CounterError> {
        if value <= Self::MAX.0 {
            Ok(Self(value))
        } else {
            Err(CounterError { counter: "generation", value, max: Self::MAX.0 })
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The generation after this one; the highest has none and stays.
    pub(super) fn next(self) -> Self {
        Self(self.0 + 1).min(Self::MAX)
    }
}

impl Incarnation {
    /// The highest incarnation: a member accused once a second takes a century to reach it.
    /// A member that gets there, because somebody made it up, goes on with a higher generation.
    pub const MAX: Self = Self(1 << 32);

    /// Checks an incarnation.
    ///
    /// # Errors
    ///
    /// If it is above [`Incarnation::MAX`].
    pub fn new(value: u64) -> Result<Self, CounterError> {
        if value <= Self::MAX.0 {
            Ok(Self(value))
        } else {
            Err(CounterError { counter: "incarnation", value, max: Self::MAX.0 })
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }

    /// The incarnation after this one, if there is one.
    pub(super) fn next(self) -> Option<Self> {
        Self::new(self.0 + 1).ok()
    }
}

impl TryFrom<u64> for Generation {
    type Error = CounterError;

    fn try_from(value: u64) -> Result<Self, CounterError> {
        Self::new(value)
    }
}

impl TryFrom<u64> for Incarnation {
    type Error = CounterError;

    fn try_from(value: u64) -> Result<Self, CounterError> {
        Self::new(value)
    }
}

impl From<Generation> for u64 {
    fn from(generation: Generation) -> Self {
        generation.0
    }
}

impl From<Incarnation> for u64 {
    fn from(incarnation: Incarnation) -> Self {
        incarnation.0
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a member tells the others about itself. What of it may change within one generation is its [`Meta`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRecord {
    /// The member's name, its identity.
    pub name: Name,
    /// A random number drawn when the data directory was created: tells a restarted member from an impostor.
    pub directory: u64,
    /// Which start of the member this is.
    pub generation: Generation,
    /// How often the rest has changed since that start. Zero to begin with; the machine counts.
    pub revision: u32,
    /// Where data and clients are served, and exchanges are opened to: the stable address, which seeds name.
    pub address: SocketAddr,
    /// Where datagrams are sent to. May change at every start.
    pub gossip: SocketAddr,
    /// The member's places on the ring.
    pub tokens: Tokens,
    /// The software's version, for people. At most [`VERSION_BYTES_MAX`] bytes.
    pub version: String,
}

/// What of a member's record may change while it runs: see [`Membership::set_meta`](super::Membership::set_meta).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// See [`MemberRecord::address`].
    pub address: SocketAddr,
    /// See [`MemberRecord::gossip`].
    pub gossip: SocketAddr,
    /// See [`MemberRecord::tokens`].
    pub tokens: Tokens,
    /// See [`MemberRecord::version`].
    pub version: String,
}

/// Why a record cannot be used. Nothing was changed; correct the field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// An address has no port or names no host, so nobody could reach the member there.
    #[error("{0} is no address that others can reach; give an IP address of this host and a port")]
    Address(SocketAddr),
    /// There are no tokens, or too many.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The version text is longer than [`VERSION_BYTES_MAX`].
    #[error("a version has at most {VERSION_BYTES_MAX} bytes, this one has {0}")]
    Version(usize),
}

impl MemberRecord {
    /// Checks what the types of the fields do not.
    ///
    /// # Errors
    ///
    /// If an address cannot be reached, or the tokens or the version are out of bounds.
    pub fn validate(&self) -> Result<(), RecordError> {
        for address in [self.address, self.gossip] {
            if address.port() == 0 || address.ip().is_unspecified() {
                return Err(RecordError::Address(address));
            }
        }
        self.tokens.validate()?;
        if self.version.len() > VERSION_BYTES_MAX {
            return Err(RecordError::Version(self.version.len()));
        }
        Ok(())
    }

    /// The handle of the member.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.name.id()
    }

    /// The member's places on the ring.
    #[must_use]
    pub fn positions(&self) -> Vec<Position> {
        self.tokens.positions(&self.name)
    }

    /// How the process with this record identifies itself.
    pub(super) fn identification(&self) -> Identification {
        Identification { id: self.id(), directory: self.directory, generation: self.generation }
    }

    /// The edition this record is.
    pub(super) fn edition(&self) -> Edition {
        let bytes = postcard::to_stdvec(self).expect("a record is made of plain values, which always encode");
        Edition { generation: self.generation, revision: self.revision, digest: md5_prefix(&bytes) }
    }

    /// Whether the records differ in nothing but their counters.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        *self == Self { generation: self.generation, revision: self.revision, ..other.clone() }
    }

    /// Whether one process could have both records, one after the other.
    pub(super) fn is_same_start(&self, other: &Self) -> bool {
        (self.generation, self.directory) == (other.generation, other.directory)
    }

    /// The same member with another meta: the next revision, or the next generation if there is none.
    pub(super) fn revised(&self, meta: Meta) -> Self {
        let Meta { address, gossip, tokens, version } = meta;
        let (generation, revision) = match self.revision.checked_add(1) {
            Some(revision) => (self.generation, revision),
            None => (self.generation.next(), 0),
        };
        let (name, directory) = (self.name.clone(), self.directory);
        Self { name, directory, generation, revision, address, gossip, tokens, version }
    }
}

/// Names one record of a member without carrying it: gossip speaks of editions, records are fetched.
///
/// The higher edition is the member. The digest decides between two records of one revision, which only a copied
/// or hand-made directory can produce: any rule does, as long as all follow the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Edition {
    pub(super) generation: Generation,
    pub(super) revision: u32,
    #[serde(with = "postcard::fixint::be")]
    pub(super) digest: u64,
}

/// A member remembered from the last run: what the shell keeps on disk, so that a restarted member finds the others
/// without seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The last known record.
    pub record: Arc<MemberRecord>,
    /// Whether the member had left, so that nobody waits for it.
    pub left: bool,
}
