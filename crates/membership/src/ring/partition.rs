//! The equal slices of the ring: how many there are, and which one a position falls into.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::position::Position;

/// Most partitions a cluster may be founded with.
pub const PARTITIONS_MAX: u32 = 65_536;

/// Partitions per member below which ownership gets uneven (DESIGN.md §3).
const PARTITIONS_PER_MEMBER: usize = 10;

/// One of the cluster's partitions: its number, counted clockwise from position 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u16);

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How many partitions the ring is cut into: a power of two from 1 to [`PARTITIONS_MAX`], by default 256.
///
/// Fixed when a cluster is founded: the partition is what is stored, hashed, repaired and handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Partitions {
    /// The number of partitions is 2 to this power, 0 to 16.
    bits: u32,
}

/// The number is not one a ring can be cut into. Choose a power of two in range.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the number of partitions is a power of two from 1 to {PARTITIONS_MAX}, not {0}")]
pub struct PartitionsError(String);

impl Partitions {
    /// Cuts the ring into `count` partitions.
    ///
    /// # Errors
    ///
    /// If `count` is not a power of two from 1 to [`PARTITIONS_MAX`].
    pub fn new(count: u32) -> Result<Self, PartitionsError> {
        if count.is_power_of_two() && count <= PARTITIONS_MAX {
            Ok(Self { bits: count.trailing_zeros() })
        } else {
            Err(PartitionsError(count.to_string()))
        }
    }

    /// The number to found a cluster of `members` with: the least that gives each member about ten partitions.
    #[must_use]
    pub fn advised(members: usize) -> Self {
        let wanted = members.saturating_mul(PARTITIONS_PER_MEMBER).max(Self::default().count_usize());
        let power = wanted.checked_next_power_of_two().unwrap_or(usize::MAX);
        Self::new(u32::try_from(power).unwrap_or(PARTITIONS_MAX).min(PARTITIONS_MAX))
            .expect("a power of two cut off at the greatest one is in range")
    }

    /// Whether ownership stays even among this many members. If not, warn and name [`Partitions::advised`].
    #[must_use]
    pub fn suits(self, members: usize) -> bool {
        members.saturating_mul(PARTITIONS_PER_MEMBER) <= self.count_usize()
    }

    /// How many partitions there are.
    #[must_use]
    pub fn count(self) -> u32 {
        1 << self.bits
    }

    /// The partition that `position` falls into.
    #[must_use]
    pub fn of(self, position: Position) -> PartitionId {
        // A shift by all 128 bits is out of range for the operator; the one partition is number 0.
        let number = position.0.checked_shr(128 - self.bits).unwrap_or(0);
        PartitionId(u16::try_from(number).expect("at most 16 bits are left after the shift"))
    }

    /// The lowest position of `partition`.
    #[must_use]
    pub fn first(self, partition: PartitionId) -> Position {
        Position(u128::from(partition.0).checked_shl(128 - self.bits).unwrap_or(0))
    }

    /// The highest position of `partition`.
    #[must_use]
    pub fn last(self, partition: PartitionId) -> Position {
        Position(self.first(partition).0 | u128::MAX.checked_shr(self.bits).unwrap_or(0))
    }

    /// Whether a partition of that number exists.
    #[must_use]
    pub fn contains(self, partition: PartitionId) -> bool {
        u32::from(partition.0) < self.count()
    }

    /// All partitions, clockwise.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = PartitionId> + Clone {
        let last = u16::try_from(self.count() - 1).expect("the greatest number of a partition fits 16 bits");
        (0..=last).map(PartitionId)
    }

    fn count_usize(self) -> usize {
        1 << self.bits
    }
}

impl Default for Partitions {
    fn default() -> Self {
        Self { bits: 8 }
    }
}

impl fmt::Display for Partitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.count(), f)
    }
}

impl FromStr for Partitions {
    type Err = PartitionsError;

    fn from_str(text: &str) -> Result<Self, PartitionsError> {
        match text.parse() {
            Ok(count) => Self::new(count),
            Err(_) => Err(PartitionsError(format!("{text:?}"))),
        }
    }
}

impl TryFrom<u32> for Partitions {
    type Error = PartitionsError;

    fn try_from(count: u32) -> Result<Self, PartitionsError> {
        Self::new(count)
    }
}

impl From<Partitions> for u32 {
    fn from(partitions: Partitions) -> Self {
        partitions.count()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};
    use proptest::prop_assert_eq;

    use super::*;

    #[test]
    fn the_ends_of_the_range_work() {
        let one = Partitions::new(1).unwrap();
        assert_eq!(one.of(Position(u128::MAX)), PartitionId(0));
        assert_eq!((one.first(PartitionId(0)), one.last(PartitionId(0))), (Position(0), Position(u128::MAX)));
        let most = Partitions::new(PARTITIONS_MAX).unwrap();
        assert_eq!(most.of(Position(u128::MAX)), PartitionId(u16::MAX));
        assert_eq!(most.iter().count(), 65_536);
    }

    #[test]
    fn other_numbers_are_refused() {
        for text in ["0", "3", "131072", "-1", "many"] {
            let error = text.parse::<Partitions>().unwrap_err().to_string();
            assert!(error.contains("power of two from 1 to 65536") && error.contains(text), "{error}");
        }
    }

    #[test]
    fn advice_is_ten_partitions_per_member() {
        let default = Partitions::default();
        assert!(default.suits(25) && !default.suits(26));
        assert_eq!(Partitions::advised(4), default);
        assert_eq!(Partitions::advised(100).count(), 1_024);
        assert_eq!(Partitions::advised(usize::MAX).count(), PARTITIONS_MAX);
    }

    proptest! {
        #[test]
        fn every_position_lies_within_its_partition(bits in 0_u32..=16, position in any::<u128>()) {
            let partitions = Partitions::new(1 << bits).unwrap();
            let partition = partitions.of(Position(position));
            prop_assert_eq!(partitions.contains(partition), true);
            prop_assert_eq!((partitions.first(partition)..=partitions.last(partition)).contains(&Position(position)), true);
            prop_assert_eq!(partitions.of(partitions.first(partition)), partition);
            prop_assert_eq!(partitions.of(partitions.last(partition)), partition);
        }
    }
}
