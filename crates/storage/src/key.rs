//! Owns how a key is named in the store and which partition it falls into. Refuses to compute positions: the
//! partitioner belongs to the ring.

use bytes::Bytes;
use chinwag_merkle::Interval;
use serde::{Deserialize, Serialize};

/// Which bucket a key belongs to. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketId(pub u32);

impl BucketId {
    /// The bucket that is always there.
    pub const DEFAULT: Self = Self(0);
}

/// A key as the store knows it. Ordered as on disk: by bucket, then position on the ring, then key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StoreKey {
    /// The key's bucket.
    pub bucket: BucketId,
    /// Where the partitioner places the key on the ring; the same key always has the same position.
    pub position: u128,
    /// The key as the client spells it.
    pub key: Bytes,
}

impl StoreKey {
    /// The key `key` of `bucket`, placed at `position`.
    pub fn new(bucket: BucketId, position: u128, key: impl Into<Bytes>) -> Self {
        Self { bucket, position, key: key.into() }
    }
}

/// How the ring is cut into Q equal partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slicing {
    /// log2 of Q, 0 to 16: how many leading bits the positions of a partition share.
    bits: u8,
}

impl Slicing {
    /// `None` unless `partitions` is a power of two up to 65,536.
    pub(crate) fn new(partitions: u32) -> Option<Self> {
        let bits = u8::try_from(partitions.checked_ilog2()?).ok()?;
        (partitions.is_power_of_two() && bits <= 16).then_some(Self { bits })
    }

    /// Q.
    pub(crate) const fn partitions(self) -> u32 {
        1 << self.bits
    }

    /// The partition that a position falls into: its top log2(Q) bits.
    pub(crate) fn partition_of(self, position: u128) -> u16 {
        let top = position.checked_shr(u128::BITS - u32::from(self.bits)).unwrap_or(0);
        u16::try_from(top).expect("the top 16 bits or fewer fit 16 bits")
    }

    /// The positions of a partition; `None` if there are not that many partitions.
    pub(crate) fn interval_of(self, partition: u16) -> Option<Interval> {
        if u32::from(partition) >= self.partitions() {
            return None;
        }
        let first = u128::from(partition).checked_shl(u128::BITS - u32::from(self.bits)).unwrap_or(0);
        Interval::new(first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_tile_the_ring() {
        for partitions in [1, 2, 256, 65_536] {
            let slicing = Slicing::new(partitions).unwrap();
            let mut next = Some(0);
            for partition in 0..partitions {
                let partition = u16::try_from(partition).unwrap();
                let interval = slicing.interval_of(partition).unwrap();
                assert_eq!(Some(interval.first()), next);
                assert_eq!(slicing.partition_of(interval.first()), partition);
                assert_eq!(slicing.partition_of(interval.last()), partition);
                next = interval.last().checked_add(1);
            }
            assert_eq!(next, None);
        }
    }

    #[test]
    fn only_powers_of_two_up_to_65536_cut_the_ring() {
        for partitions in [0, 3, 255, 131_072, u32::MAX] {
            assert_eq!(Slicing::new(partitions), None, "{partitions}");
        }
        assert_eq!(Slicing::new(256).unwrap().interval_of(256), None);
    }
}
