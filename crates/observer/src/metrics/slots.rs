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

    /// Those that are not in `other`, ascending. Costs a search for each range of both and a step for each slot it gives.
    pub(crate) fn minus<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = Slot> + 'a {
        self.0.iter().flat_map(|&(from, to)| {
            let first = other.0.partition_point(|&(_, end)| end <= from);
            let inside = other.0[first..].iter().take_while(move |(start, _)| *start < to);
            let ends = std::iter::once(from).chain(inside.clone().map(|&(_, end)| end));
            let starts = inside.map(|&(start, _)| start).chain(std::iter::once(to));
            ends.zip(starts).flat_map(|(end, start)| end..start)
        })
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

    fn ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
        prop::collection::vec((0u32..60, 0u32..8).prop_map(|(from, len)| (from, from + len)), 0..12)
    }

    proptest! {
        #[test]
        fn ranges_are_the_set_they_stand_for(
            ranges in ranges()
        ) {
            let set: BTreeSet<u32> = ranges.iter().flat_map(|&(from, to)| from..to).collect();
            let slots = Slots::union(ranges);
            assert!((0..70).all(|slot| slots.contains(slot) == set.contains(&slot)));
            assert!(slots.ranges().windows(2).all(|pair| pair[0].1 < pair[1].0), "touching ranges are one");
        }

        #[test]
        fn a_difference_has_what_only_the_first_has(first in ranges(), second in ranges()) {
            let (first, second) = (Slots::union(first), Slots::union(second));
            let expected = (0..70).filter(|&slot| first.contains(slot) && !second.contains(slot));
            assert_eq!(first.minus(&second).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}
