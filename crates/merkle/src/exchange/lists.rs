//! Owns the matching of two replicas' items by shortened hashes; refuses to know how a list got here.

use std::collections::BTreeMap;

use super::holdings::Item;
use crate::element::salted_root;

/// How much of an item's salted hash a list shows.
///
/// An item of one side is missed if the other side's list or cell has another of the same hash, so what counts is how
/// many items it is compared with: 24 bits among 512 items miss 3e-5, 40 bits among 16 million as much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    Narrow,
    Wide,
}

/// Most items on the other side for which narrow hashes will do.
const NARROW_ITEMS_MAX: u64 = 512;

impl Width {
    /// Chooses by how many items the other side may hold where this one holds `items`, if its keys lie as this
    /// side's do.
    pub(super) fn choose(items: usize, own_count: u64, other_count: u64) -> Self {
        let ratio = other_count.div_ceil(own_count.max(1));
        if (items as u64).saturating_mul(ratio) <= NARROW_ITEMS_MAX { Self::Narrow } else { Self::Wide }
    }

    pub(super) const fn bits(self) -> u32 {
        match self {
            Self::Narrow => 24,
            Self::Wide => 40,
        }
    }

    pub(super) fn hash(self, item: &Item, salt: u64) -> u64 {
        salted_root(&item.sum, salt) & (u64::MAX >> (64 - self.bits()))
    }
}

/// The hashes of everything one side holds in a cell, in the order of positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    pub(super) width: Width,
    pub(super) hashes: Vec<u64>,
}

impl Listed {
    pub(super) const EMPTY: Self = Self { width: Width::Narrow, hashes: Vec::new() };
}

/// What two sides do not have in common.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Unmatched {
    /// Positions of this side's items.
    pub(super) own: Vec<u128>,
    /// Indices into the other side's list.
    pub(super) other: Vec<usize>,
}

/// Matches items with a list. Where a hash occurs more often on one side, all of it counts as unmatched: a false
/// difference costs a read, a false match would cost an exchange.
pub(super) fn compare(items: &[Item], listed: &Listed, salt: u64) -> Unmatched {
    let mut surplus: BTreeMap<u64, i64> = BTreeMap::new();
    let own: Vec<u64> = items.iter().map(|item| listed.width.hash(item, salt)).collect();
    own.iter().for_each(|hash| *surplus.entry(*hash).or_default() += 1);
    listed.hashes.iter().for_each(|hash| *surplus.entry(*hash).or_default() -= 1);

    let differs = |hash: &u64| surplus.get(hash) != Some(&0);
    Unmatched {
        own: own.iter().zip(items).filter(|(hash, _)| differs(hash)).map(|(_, item)| item.position).collect(),
        other: (0..listed.hashes.len()).filter(|index| differs(&listed.hashes[*index])).collect(),
    }
}
