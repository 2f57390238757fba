//! Owns how a key is named in the store and which tree accounts for it. Refuses to compute positions: the
//! partitioner belongs to the ring.

use bytes::Bytes;
use chinwag_merkle::{Interval, TreeId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64;

/// Which bucket a key belongs to. Ids are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BucketId(pub u32);

impl BucketId {
    /// The bucket that is always there.
    pub const DEFAULT: Self = Self(0);

    /// The id of the bucket called `name`: 0 for `default`, the low half of the name's XXH3-64 for any other. Two names
    /// may share an id; whoever makes a table of buckets refuses that.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let [.., a, b, c, d] = xxh3_64(name.as_bytes()).to_be_bytes();
        if name == "default" { Self::DEFAULT } else { Self(u32::from_be_bytes([a, b, c, d]).max(1)) }
    }
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

/// Which trees there are, and to which one a key belongs: the ring is cut into Q equal partitions, and each has a tree for
/// every N that some bucket has, as replica sets differ by partition and by N.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// log2 of Q, 0 to 16: how many leading bits the positions of a partition share.
    bits: u8,
    /// How many replicas keys have, unless their bucket has a number of its own.
    n: u8,
    own_n: BTreeMap<BucketId, u8>,
}

impl Layout {
    /// `None` unless `partitions` is a power of two up to 65,536.
    pub(crate) fn new(partitions: u32, n: u8, own_n: BTreeMap<BucketId, u8>) -> Option<Self> {
        let bits = u8::try_from(partitions.checked_ilog2()?).ok()?;
        (partitions.is_power_of_two() && bits <= 16).then_some(Self { bits, n, own_n })
    }

    /// Q.
    pub(crate) const fn partitions(&self) -> u32 {
        1 << self.bits
    }

    /// The tree that accounts for a key.
    pub(crate) fn tree_of(&self, key: &StoreKey) -> TreeId {
        TreeId { partition: self.partition_of(key.position), n: self.n_of(key.bucket) }
    }

    /// The partition that a position falls into: its top log2(Q) bits.
    fn partition_of(&self, position: u128) -> u16 {
        let top = position.checked_shr(u128::BITS - u32::from(self.bits)).unwrap_or(0);
        u16::try_from(top).expect("the top 16 bits or fewer fit 16 bits")
    }

    /// How many replicas the keys of a bucket have.
    pub(crate) fn n_of(&self, bucket: BucketId) -> u8 {
        self.own_n.get(&bucket).copied().unwrap_or(self.n)
    }

    /// Every tree there can be, in order.
    pub(crate) fn trees(&self) -> impl Iterator<Item = TreeId> + use<> {
        let every_n: BTreeSet<u8> = self.own_n.values().copied().chain([self.n]).collect();
        let last =
            u16::try_from(self.partitions() - 1).expect("the greatest number of a partition fits 16 bits");
        (0..=last)
            .flat_map(move |partition| every_n.clone().into_iter().map(move |n| TreeId { partition, n }))
    }

    /// The positions of a tree's partition; `None` if there is no such tree.
    pub(crate) fn interval_of(&self, tree: TreeId) -> Option<Interval> {
        let is_used = tree.n == self.n || self.own_n.values().any(|&n| n == tree.n);
        if !is_used || u32::from(tree.partition) >= self.partitions() {
            return None;
        }
        let first = u128::from(tree.partition).checked_shl(u128::BITS - u32::from(self.bits)).unwrap_or(0);
        Interval::new(first, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(partitions: u32) -> Option<Layout> {
        Layout::new(partitions, 3, BTreeMap::from([(BucketId(9), 5), (BucketId(10), 3)]))
    }

    #[test]
    fn partitions_tile_the_ring() {
        for partitions in [1, 2, 256, 65_536] {
            let layout = layout(partitions).unwrap();
            let mut next = Some(0);
            for partition in 0..partitions {
                let partition = u16::try_from(partition).unwrap();
                let interval = layout.interval_of(TreeId { partition, n: 3 }).unwrap();
                assert_eq!(Some(interval.first()), next);
                assert_eq!(layout.partition_of(interval.first()), partition);
                assert_eq!(layout.partition_of(interval.last()), partition);
                next = interval.last().checked_add(1);
            }
            assert_eq!(next, None);
        }
    }

    #[test]
    fn only_powers_of_two_up_to_65536_cut_the_ring() {
        for partitions in [0, 3, 255, 131_072, u32::MAX] {
            assert_eq!(layout(partitions), None, "{partitions}");
        }
        assert_eq!(layout(256).unwrap().interval_of(TreeId { partition: 256, n: 3 }), None);
    }

    #[test]
    fn each_partition_has_a_tree_for_every_n_in_use() {
        let layout = layout(2).unwrap();
        let tree = |partition, n| TreeId { partition, n };
        assert_eq!(layout.trees().collect::<Vec<_>>(), [tree(0, 3), tree(0, 5), tree(1, 3), tree(1, 5)]);
        let tree_in = |bucket| layout.tree_of(&StoreKey::new(BucketId(bucket), u128::MAX, "k"));
        assert_eq!([tree_in(0), tree_in(9), tree_in(10)], [tree(1, 3), tree(1, 5), tree(1, 3)]);
        assert_eq!(layout.interval_of(tree(0, 4)), None);
        assert_eq!(layout.interval_of(tree(1, 3)), layout.interval_of(tree(1, 5)));
    }

    #[test]
    fn a_bucket_has_the_same_id_everywhere_and_for_ever() {
        assert_eq!(BucketId::of("default"), BucketId::DEFAULT);
        assert_eq!(BucketId::of("carts"), BucketId(1_749_125_778));
    }
}
