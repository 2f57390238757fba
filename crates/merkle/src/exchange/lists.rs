//! Owns the matching of two replicas' items by shortened hashes; refuses to know how a list got here.

use std::collections::BTreeMap;

use super::holdings::Item;
use crate::element::salted_root;

/// How much of an item's salted hash a list shows.
///
/// A differing item is missed if as many differing items of the other side have its hash. So what counts is how many of
/// those there may be: in a long list, or in a cell where the other side holds far more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Width {
    /// Both sides hold about as much: at most one in 8,192 is missed, if all differ.
    Narrow,
    /// The other side holds far more than this one.
    Wide,
}

/// To a side that holds so many times what this one does, lists are wide.
const LOPSIDED: u64 = 8;

impl Width {
    /// Of lists by a side that holds `own` keys, for one that holds `other`.
    pub(super) const fn choose(own: u64, other: u64) -> Self {
        if other / LOPSIDED <= own { Self::Narrow } else { Self::Wide }
    }

    /// Bits for each item in a list of so many.
    pub(super) const fn bits(self, items: usize) -> u32 {
        let spare = match self {
            Self::Narrow => 13,
            Self::Wide => 22,
        };
        spare + items.next_power_of_two().ilog2()
    }
}

/// The part of an item's salted hash that a list shows.
pub(super) fn short_hash(item: &Item, salt: u64, bits: u32) -> u64 {
    salted_root(&item.sum, salt) & (u64::MAX >> (64 - bits))
}

/// The hashes of everything one side holds in a cell, in the order of positions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listed {
    pub(super) width: Width,
    pub(super) hashes: Vec<u64>,
}

impl Listed {
    pub(super) const EMPTY: Self = Self { width: Width::Narrow, hashes: Vec::new() };

    pub(super) const fn bits(&self) -> u32 {
        self.width.bits(self.hashes.len())
    }
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
    let own: Vec<u64> = items.iter().map(|item| short_hash(item, salt, listed.bits())).collect();
    own.iter().for_each(|hash| *surplus.entry(*hash).or_default() += 1);
    listed.hashes.iter().for_each(|hash| *surplus.entry(*hash).or_default() -= 1);

    let differs = |hash: &u64| surplus.get(hash) != Some(&0);
    Unmatched {
        own: own.iter().zip(items).filter(|(hash, _)| differs(hash)).map(|(_, item)| item.position).collect(),
        other: (0..listed.hashes.len()).filter(|index| differs(&listed.hashes[*index])).collect(),
    }
}
