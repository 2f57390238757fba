//! Owns the plain baseline: a tree of fixed fan-out whose levels are compared one by one, with whole hashes.

use chinwag_merkle::{Element, Entry, Interval};

use crate::data::Pair;

/// Keys in a leaf, about.
const LEAF_KEYS: f64 = 24.0;
/// Bytes of a message before its hashes, and of the number of a node.
const HEADER_BYTES: usize = 17;
const NODE_BYTES: usize = 4;
/// Bytes of an entry in a leaf's list: position and digest.
const ENTRY_BYTES: usize = 24;

pub(crate) struct Fixed {
    fan_bits: u32,
    /// The root first.
    levels: Vec<Vec<u128>>,
}

/// What comparing two of them cost.
pub(crate) struct Cost {
    pub(crate) bytes: usize,
    pub(crate) round_trips: usize,
}

impl Fixed {
    /// An empty tree whose leaves will hold about 24 of `keys` keys, as near as its depth allows.
    pub(crate) fn new(keys: usize, fan_bits: u32) -> Self {
        let depth = (1..10).min_by_key(|depth| {
            let leaves = f64::from(fan_bits * depth).exp2();
            ordered((keys as f64 / leaves / LEAF_KEYS).log2().abs())
        });
        let levels =
            (0..=depth.expect("the range is not empty")).map(|level| vec![0; 1 << (fan_bits * level)]);
        Self { fan_bits, levels: levels.collect() }
    }

    pub(crate) fn from_entries(entries: &[Entry], fan_bits: u32) -> Self {
        let mut tree = Self::new(entries.len(), fan_bits);
        entries.iter().for_each(|entry| tree.apply(entry.position, None, Some(entry.element)));
        tree
    }

    pub(crate) fn apply(&mut self, position: u128, old: Option<Element>, new: Option<Element>) {
        let number = |element: Option<Element>| element.map_or(0, |element| element.0);
        let change = number(new).wrapping_sub(number(old));
        let mut index = self.leaf_of(position);
        for level in self.levels.iter_mut().rev() {
            level[index] = level[index].wrapping_add(change);
            index >>= self.fan_bits;
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.levels.iter().map(|level| level.len() * 16).sum()
    }

    /// What it takes the first replica to know every differing key: a level for each round trip, then lists.
    pub(crate) fn compare(pair: &Pair, fan_bits: u32, hash_bytes: usize) -> Cost {
        let trees = pair.replicas.each_ref().map(|replica| Self::from_entries(&replica.entries, fan_bits));
        let differ =
            |level: usize, node: &usize| trees[0].levels[level][*node] != trees[1].levels[level][*node];
        let mut open: Vec<usize> = [0].into_iter().filter(|node| differ(0, node)).collect();
        let mut cost = Cost { bytes: HEADER_BYTES + hash_bytes + 1, round_trips: 1 };
        let fan = 1 << fan_bits;
        for level in 1..trees[0].levels.len() {
            if open.is_empty() {
                return cost;
            }
            cost.round_trips += 1;
            cost.bytes += 1 + open.len() * (NODE_BYTES + fan * hash_bytes);
            open = open
                .iter()
                .flat_map(|node| node * fan..(node + 1) * fan)
                .filter(|it| differ(level, it))
                .collect();
        }
        cost.round_trips += 1;
        let depth = u8::try_from(trees[0].depth_bits()).expect("trees are shallow");
        for leaf in open {
            let interval = Interval::new((leaf as u128) << (128 - depth), depth).expect("a leaf is a prefix");
            cost.bytes += NODE_BYTES + 2 + pair.replicas[1].within(interval).len() * ENTRY_BYTES;
        }
        cost
    }

    fn depth_bits(&self) -> u32 {
        self.fan_bits * u32::try_from(self.levels.len() - 1).expect("trees are shallow")
    }

    fn leaf_of(&self, position: u128) -> usize {
        usize::try_from(position >> (128 - self.depth_bits())).expect("trees are shallow")
    }
}

/// Floats that are numbers, in order.
fn ordered(value: f64) -> u64 {
    value.to_bits()
}
