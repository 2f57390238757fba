//! Owns a run of neighbouring leaves and their total; refuses to know how leaves are cut.

use crate::element::Sum;
use crate::entries::Leaf;

/// Most leaves in one chunk: what a write to a shared chunk copies, and what a sum over half a chunk adds up.
const CHUNK_LEAVES_MAX: usize = 128;
/// Leaves in a newly packed chunk, so that the next cuts find room.
const CHUNK_LEAVES_PACKED: usize = CHUNK_LEAVES_MAX * 3 / 4;
/// A chunk with fewer leaves is packed anew together with a neighbour.
const CHUNK_LEAVES_MIN: usize = CHUNK_LEAVES_MAX / 8;

/// Neighbouring leaves in the order of positions, and their sum.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    pub(super) leaves: Vec<Leaf>,
    pub(super) total: Sum,
}

impl Chunk {
    pub(super) fn new(leaves: Vec<Leaf>) -> Self {
        let total = leaves.iter().map(|leaf| leaf.sum).sum();
        Self { leaves, total }
    }

    /// Packs leaves into chunks of good and even size.
    pub(super) fn pack(leaves: &[Leaf]) -> impl Iterator<Item = Self> + '_ {
        let chunks = leaves.len().div_ceil(CHUNK_LEAVES_PACKED).max(1);
        let size = leaves.len().div_ceil(chunks).max(1);
        leaves.chunks(size).map(|leaves| Self::new(leaves.to_vec()))
    }

    pub(super) fn remove(&mut self, index: usize) -> Leaf {
        let leaf = self.leaves.remove(index);
        self.total -= leaf.sum;
        leaf
    }

    /// The lowest position of the chunk. A chunk emptied for a moment sorts last and is packed away before it is
    /// searched.
    pub(super) fn first(&self) -> u128 {
        self.leaves.first().map_or(u128::MAX, |leaf| leaf.interval.first())
    }

    pub(super) const fn is_short(&self) -> bool {
        self.leaves.len() < CHUNK_LEAVES_MIN
    }

    pub(super) const fn is_well_sized(&self) -> bool {
        !self.is_short() && self.leaves.len() <= CHUNK_LEAVES_MAX
    }
}
