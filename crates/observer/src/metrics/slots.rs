//! A set of small numbers kept as ranges: what an operation knows of its key's writes. Writes that are overwritten in
//! turn make long runs, so a set of thousands is a handful of ranges.

/// The place of a write in its key's list of writes.
pub(crate) type Slot = u32;

/// A set of slots: half-open ranges, ascending, none touching the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Slots(Vec<(Slot, Slot)>);

impl Slots {
    /// The union of any ranges, empty ones included.
    pub(crate) fn union(mut ranges: Vec<(Slot, Slot)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(Slot, Slot)> = Vec::new();
        for (from, to) in ranges.into_iter().filter(|(from, to)| from < to) {
            match merged.last_mut() {
                Some((_, end)) if from <= *end => *end = to.max(*end),
                _ => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        let after = self.0.partition_point(|&(from, _)| from <= slot);
        after > 0 && slot < self.0[after - 1].1
    }

    pub(crate) fn ranges(&self) -> &[(Slot, Slot)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::Slots;
    use proptest::prelude::{Strategy, prop, proptest};
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn ranges_are_the_set_they_stand_for(
            ranges in prop::collection::vec((0u32..60, 0u32..8).prop_map(|(from, len)| (from, from + len)), 0..12)
        ) {
            let set: BTreeSet<u32> = ranges.iter().flat_map(|&(from, to)| from..to).collect();
            let slots = Slots::union(ranges);
            assert!((0..70).all(|slot| slots.contains(slot) == set.contains(&slot)));
            assert!(slots.ranges().windows(2).all(|pair| pair[0].1 < pair[1].0), "touching ranges are one");
        }
    }
}
