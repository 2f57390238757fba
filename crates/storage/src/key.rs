//! Owns how a key is named in the store and which partition it falls into. Refuses to compute positions: the
//! partitioner belongs to the ring.

use bytes::Bytes;
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
    /// log2 of Q, 0 to 16.
    bits: u8,
}

impl Slicing {
    /// `None` unless `partitions` is a power of two up to 65,536.
    pub(crate) fn new(partitions: u32) -> Option<Self> {
        let bits = u8::try_from(partitions.checked_ilog2()?).ok()?;
        (partitions.is_power_of_two() && bits <= 16).then_some(Self { bits })
    }

    pub(crate) const fn partitions(self) -> u32 {
        1 << self.bits
    }

    /// The depth of a partition's interval: how many leading bits its positions share.
    pub(crate) const fn depth(self) -> u8 {
        self.bits
    }

    pub(crate) fn partition_of(self, position: u128) -> u16 {
        let top = position.checked_shr(128 - u32::from(self.bits)).unwrap_or(0);
        u16::try_from(top).expect("the top 16 bits or fewer fit 16 bits")
    }

    /// The partition's first position.
    pub(crate) fn first_of(self, partition: u16) -> u128 {
        u128::from(partition).checked_shl(128 - u32::from(self.bits)).unwrap_or(0)
    }

    /// The partition's last position.
    pub(crate) fn last_of(self, partition: u16) -> u128 {
        self.first_of(partition) | u128::MAX.checked_shr(u32::from(self.bits)).unwrap_or(0)
    }
}
