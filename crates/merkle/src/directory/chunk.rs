//! Owns a run of neighbouring leaves, shared between the clones of a directory; refuses to know how leaves are cut.

use std::sync::Arc;

use super::leaf::{Flags, Kept};
use super::search::covering_few;
use crate::element::Sum;
use crate::interval::Interval;

/// Most leaves in one chunk: what a write to a shared chunk copies, and a search in it goes through.
const CHUNK_LEAVES_MAX: usize = 32;
/// Leaves in a newly packed chunk, so that the next cuts find room.
const CHUNK_LEAVES_PACKED: usize = CHUNK_LEAVES_MAX * 3 / 4;
/// A chunk with fewer leaves is packed anew together with a neighbour.
const CHUNK_LEAVES_MIN: usize = CHUNK_LEAVES_MAX / 4;

/// Neighbouring leaves in the order of positions.
#[derive(Clone, Debug)]
pub(super) struct Chunk(Arc<[Kept]>);

impl Chunk {
    /// Packs leaves into chunks of good and even size.
    pub(super) fn pack(leaves: &[Kept]) -> impl Iterator<Item = Self> + '_ {
        let chunks = leaves.len().div_ceil(CHUNK_LEAVES_PACKED).max(1);
        let size = leaves.len().div_ceil(chunks).max(1);
        leaves.chunks(size).map(|leaves| Self(leaves.into()))
    }

    /// Adds to a leaf, which then has changed; the leaf, if it is now over its limit.
    pub(super) fn add(&mut self, index: usize, change: Sum) -> Option<Interval> {
        let leaf = &mut Arc::make_mut(&mut self.0)[index];
        leaf.add(change);
        leaf.is_over().then(|| leaf.interval())
    }

    pub(super) fn set_flags(&mut self, index: usize, flags: Flags) {
        Arc::make_mut(&mut self.0)[index].flags = flags;
    }

    /// Puts any number of leaves in the place of one.
    pub(super) fn replace(&mut self, index: usize, by: &[Kept]) {
        self.0 = [&self.0[..index], by, &self.0[index + 1..]].concat().into();
    }

    pub(super) fn leaves(&self) -> &[Kept] {
        &self.0
    }

    pub(super) fn total(&self) -> Sum {
        self.0.iter().map(Kept::sum).sum()
    }

    /// The leaf that covers a position at or after the first.
    pub(super) fn index_of(&self, position: u128) -> usize {
        covering_few(&self.0, Kept::first, position)
    }

    /// The lowest position of the chunk. A chunk emptied for a moment sorts last and is packed away before it is
    /// searched.
    pub(super) fn first(&self) -> u128 {
        self.0.first().map_or(u128::MAX, Kept::first)
    }

    pub(super) fn is_short(&self) -> bool {
        self.0.len() < CHUNK_LEAVES_MIN
    }

    pub(super) fn is_well_sized(&self) -> bool {
        !self.is_short() && self.0.len() <= CHUNK_LEAVES_MAX
    }

    /// Bytes of memory behind the pointer, the allocator's own aside.
    pub(super) fn bytes(&self) -> usize {
        let counters = 2 * size_of::<usize>();
        counters + size_of_val(&*self.0)
    }
}
