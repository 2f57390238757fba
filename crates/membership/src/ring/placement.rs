//! The ring: which members own each partition, and who stands in for them. A pure function of tokens.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::partition::{PartitionId, Partitions};
use super::position::Position;
use crate::identity::{NodeId, md5_prefix};

/// Most copies a partition may have (DESIGN.md §3).
pub const N_MAX: u8 = 7;

/// Most fallbacks the ring names per partition: enough for every owner to be down twice over.
pub const FALLBACKS_MAX: usize = 16;

/// N: how many members own each partition, 1 to [`N_MAX`], by default 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Copies(NonZeroU8);

/// The number of copies is out of range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("n, the number of copies, is 1 to {N_MAX}, not {0}")]
pub struct CopiesError(String);

impl Copies {
    /// Checks `n`.
    ///
    /// # Errors
    ///
    /// If `n` is 0 or above [`N_MAX`].
    pub fn new(n: u8) -> Result<Self, CopiesError> {
        match NonZeroU8::new(n) {
            Some(n) if n.get() <= N_MAX => Ok(Self(n)),
            _ => Err(CopiesError(n.to_string())),
        }
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0.get()
    }
}

impl Default for Copies {
    fn default() -> Self {
        Self::new(3).expect("3 is within the range of copies")
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Copies {
    type Err = CopiesError;

    fn from_str(text: &str) -> Result<Self, CopiesError> {
        match text.parse() {
            Ok(n) => Self::new(n),
            Err(_) => Err(CopiesError(format!("{text:?}"))),
        }
    }
}

impl TryFrom<u8> for Copies {
    type Error = CopiesError;

    fn try_from(n: u8) -> Result<Self, CopiesError> {
        Self::new(n)
    }
}

impl From<Copies> for u8 {
    fn from(copies: Copies) -> Self {
        copies.get()
    }
}

/// A hash of everything a ring is made from: equal versions, equal rings.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RingVersion(pub u64);

impl fmt::Display for RingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for RingVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RingVersion({self})")
    }
}

/// Who owns what.
///
/// A partition belongs to the first N distinct members met clockwise from its last position, that one included;
/// the next distinct members are its fallbacks, in order. Liveness has no say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ring {
    partitions: Partitions,
    n: Copies,
    version: RingVersion,
    /// All members that have a token, in order of their handles.
    members: Vec<NodeId>,
    /// For each partition in turn, `stride` distinct members clockwise from its last position.
    orders: Vec<NodeId>,
    stride: usize,
}

impl Ring {
    /// Places the members. The order in which they are given makes no difference.
    ///
    /// Where two members have the same token, the one with the lower handle comes first.
    pub fn build(
        partitions: Partitions,
        n: Copies,
        members: impl IntoIterator<Item = (NodeId, Vec<Position>)>,
    ) -> Self {
        let mut tokens: Vec<(Position, NodeId)> = members
            .into_iter()
            .flat_map(|(member, positions)| positions.into_iter().map(move |position| (position, member)))
            .collect();
        tokens.sort_unstable();
        tokens.dedup();
        let mut members: Vec<NodeId> = tokens.iter().map(|&(_, member)| member).collect();
        members.sort_unstable();
        members.dedup();

        let stride = members.len().min(usize::from(N_MAX) + FALLBACKS_MAX);
        let orders = orders(partitions, &tokens, &members, stride);
        let version = version(partitions, n, &tokens);
        Self { partitions, n, version, members, orders, stride }
    }

    /// The preference list: the members that own `partition`, the primary of all first. N of them, or all members
    /// if there are fewer. Empty for a partition that does not exist.
    #[must_use]
    pub fn owners(&self, partition: PartitionId) -> &[NodeId] {
        self.owners_of(partition, self.n.get())
    }

    /// The same in a bucket whose keys have `n` copies.
    #[must_use]
    pub fn owners_of(&self, partition: PartitionId, n: u8) -> &[NodeId] {
        let order = self.order(partition);
        &order[..order.len().min(usize::from(n))]
    }

    /// The members that stand in for owners of `partition`, in order; at least [`FALLBACKS_MAX`] if there are as many.
    #[must_use]
    pub fn fallbacks(&self, partition: PartitionId) -> &[NodeId] {
        self.fallbacks_of(partition, self.n.get())
    }

    /// The same in a bucket whose keys have `n` copies.
    #[must_use]
    pub fn fallbacks_of(&self, partition: PartitionId, n: u8) -> &[NodeId] {
        &self.order(partition)[self.owners_of(partition, n).len()..]
    }

    /// Owners and then fallbacks of `partition`, whatever N is: its first N members are the owners.
    #[must_use]
    pub fn order(&self, partition: PartitionId) -> &[NodeId] {
        let start = usize::from(partition.0) * self.stride;
        self.orders.get(start..start + self.stride).unwrap_or(&[])
    }

    /// Whether `member` owns `partition`.
    #[must_use]
    pub fn is_owner(&self, partition: PartitionId, member: NodeId) -> bool {
        self.owners(partition).contains(&member)
    }

    /// The partitions the ring is cut into.
    #[must_use]
    pub fn partitions(&self) -> Partitions {
        self.partitions
    }

    /// How many members own each partition, if there are as many.
    #[must_use]
    pub fn n(&self) -> Copies {
        self.n
    }

    /// All members on the ring, in order of their handles.
    #[must_use]
    pub fn members(&self) -> &[NodeId] {
        &self.members
    }

    /// The hash of what this ring was made from.
    #[must_use]
    pub fn version(&self) -> RingVersion {
        self.version
    }
}

/// For each partition the first `stride` distinct members clockwise from its last position.
///
/// One walk against the clock with a list of the members in which whoever's token is passed moves to the front: the
/// list is always in the order in which the members are met clockwise from here. Its cost does not depend on how
/// unevenly the tokens lie, as that of a walk from each partition to its last fallback would.
fn orders(
    partitions: Partitions,
    tokens: &[(Position, NodeId)],
    members: &[NodeId],
    stride: usize,
) -> Vec<NodeId> {
    let mut order = members.to_vec();
    let pass = |order: &mut Vec<NodeId>, member: NodeId| {
        let place = order.iter().position(|&other| other == member);
        order[..=place.expect("every token's member is listed")].rotate_right(1);
    };
    // A lap ahead, for what lies beyond position 0 as seen from the last partition.
    tokens.iter().rev().for_each(|&(_, member)| pass(&mut order, member));

    let mut tokens = tokens.iter().rev().peekable();
    let mut reversed = Vec::with_capacity(partitions.iter().count() * stride);
    for partition in partitions.iter().rev() {
        while let Some((_, member)) = tokens.next_if(|(position, _)| *position >= partitions.last(partition))
        {
            pass(&mut order, *member);
        }
        reversed.extend(order.iter().take(stride).rev());
    }
    reversed.reverse();
    reversed
}

fn version(partitions: Partitions, n: Copies, tokens: &[(Position, NodeId)]) -> RingVersion {
    let mut bytes = Vec::with_capacity(5 + tokens.len() * 24);
    bytes.extend_from_slice(&partitions.count().to_be_bytes());
    bytes.push(n.get());
    for (position, member) in tokens {
        bytes.extend_from_slice(&position.0.to_be_bytes());
        bytes.extend_from_slice(&member.0.to_be_bytes());
    }
    RingVersion(md5_prefix(&bytes))
}

#[cfg(test)]
mod tests;
