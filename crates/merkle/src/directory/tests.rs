//! A directory against the plain set it stands for.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Directory, RefineError, Refined};
use crate::element::{Element, Sum};
use crate::entries::{EntriesError, Entry, LEAF_KEYS_MAX};
use crate::interval::Interval;

/// The store: keys by position and a number of their own.
type Store = BTreeMap<(u128, u16), Element>;

#[derive(Clone, Debug)]
enum Write {
    /// A new key, whose position is drawn from narrower and narrower slices.
    Insert { bits: u128, depth: u8, element: u128 },
    /// Another record for an old key.
    Update { of: Index, element: u128 },
    /// A deleted key, and the run of keys after it.
    Remove { of: Index, run: usize },
}

fn write() -> impl Strategy<Value = Write> {
    let depth = prop_oneof![3 => Just(0u8), 2 => 1u8..60, 1 => Just(127u8), 1 => Just(128u8)];
    prop_oneof![
        12 => (any::<u128>(), depth, any::<u128>())
            .prop_map(|(bits, depth, element)| Write::Insert { bits, depth, element }),
        2 => (any::<Index>(), any::<u128>()).prop_map(|(of, element)| Write::Update { of, element }),
        1 => (any::<Index>(), 1usize..40).prop_map(|(of, run)| Write::Remove { of, run }),
    ]
}

fn scan(store: &Store, interval: Interval) -> Vec<Entry> {
    let range = (interval.first(), 0)..=(interval.last(), u16::MAX);
    store
        .range(range)
        .map(|((position, _), element)| Entry { position: *position, element: *element })
        .collect()
}

/// Writes one key, and refines if asked to.
fn put(directory: &mut Directory, store: &mut Store, at: (u128, u16), new: Option<Element>) {
    let old = match new {
        Some(new) => store.insert(at, new),
        None => store.remove(&at),
    };
    if let Some(interval) = directory.apply(at.0, old, new) {
        assert_eq!(directory.refine(interval, &scan(store, interval)), Ok(Refined::Exact));
    }
}

/// What must hold of a directory at any time.
fn check(directory: &Directory, store: &Store) {
    let rebuilt = Directory::from_entries(directory.interval(), scan(store, directory.interval())).unwrap();
    assert_eq!(directory.total(), rebuilt.total());
    assert_eq!(directory.total().count, store.len() as u64);
    let mut next = Some(directory.interval().first());
    for leaf in directory.leaves() {
        assert_eq!(Some(leaf.interval.first()), next, "leaves tile the interval");
        next = leaf.interval.last().checked_add(1);
        let sum: Sum = scan(store, leaf.interval).into_iter().map(|entry| entry.element).collect();
        assert_eq!(leaf.sum, sum, "{:?}", leaf.interval);
        assert!(leaf.sum.count <= LEAF_KEYS_MAX || leaf.interval.is_point());
        assert_eq!(directory.leaf_at(leaf.interval.last()), Some(leaf));
    }
    assert_eq!(next, directory.interval().last().checked_add(1), "leaves tile the interval");
    for chunk in &directory.chunks {
        assert_eq!(chunk.total, chunk.leaves.iter().map(|leaf| leaf.sum).sum());
        assert!(chunk.is_well_sized() || directory.chunks.len() == 1, "{} leaves", chunk.leaves.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sums_equal_a_rebuild_after_any_writes(
        writes in proptest::collection::vec(write(), 1..1200),
        depth in prop_oneof![Just(0u8), Just(8)],
    ) {
        let interval = Interval::new(0, depth).unwrap();
        let (mut directory, mut store) = (Directory::new(interval), Store::new());
        for (number, write) in (0..).zip(&writes) {
            let nth = |of: &Index| store.keys().nth(of.index(store.len().max(1))).copied();
            match write {
                Write::Insert { bits, depth, element } => {
                    let slice = u128::MAX.checked_shr((*depth).into()).unwrap_or(0);
                    let position = 0x1234_5678_9ABC_DEF0_u128 & !slice | bits & slice & interval.last();
                    put(&mut directory, &mut store, (position, number), Some(Element(*element)));
                }
                Write::Update { of, element } => {
                    if let Some(at) = nth(of) {
                        put(&mut directory, &mut store, at, Some(Element(*element)));
                    }
                }
                Write::Remove { of, run } => {
                    let from = nth(of).unwrap_or_default();
                    let run: Vec<_> = store.range(from..).take(*run).map(|(at, _)| *at).collect();
                    run.into_iter().for_each(|at| put(&mut directory, &mut store, at, None));
                }
            }
        }
        check(&directory, &store);

        let kept = directory.clone();
        let before: Vec<_> = kept.leaves().collect();
        store.keys().copied().collect::<Vec<_>>().into_iter().for_each(|at| put(&mut directory, &mut store, at, None));
        check(&directory, &store);
        prop_assert_eq!(directory.leaves().count(), 1, "all leaves joined again");
        prop_assert_eq!(kept.leaves().collect::<Vec<_>>(), before, "a clone is a snapshot");
    }

    #[test]
    fn an_interval_of_whole_leaves_sums_without_a_scan(
        positions in proptest::collection::btree_set(any::<u128>(), 0..3000),
        bits: u128,
        depth in 0u8..24,
    ) {
        let store: Store = positions.iter().map(|position| ((*position, 0), Element(position.rotate_left(17)))).collect();
        let directory = Directory::from_entries(Interval::WHOLE, scan(&store, Interval::WHOLE)).unwrap();
        let interval = Interval::new(if depth == 0 { 0 } else { bits >> (128 - depth) << (128 - depth) }, depth).unwrap();
        let sum: Sum = scan(&store, interval).into_iter().map(|entry| entry.element).collect();
        let leaf = directory.leaf_at(interval.first()).unwrap();
        let expected = interval.covers(&leaf.interval).then_some(sum);
        prop_assert_eq!(directory.sum_of(interval), expected);
        let overlapping = directory.leaves_over(interval).map(|leaf| leaf.interval).collect::<Vec<_>>();
        let expected = directory.leaves().map(|leaf| leaf.interval);
        let expected: Vec<_> = expected.filter(|leaf| leaf.covers(&interval) || interval.covers(leaf)).collect();
        prop_assert_eq!(overlapping, expected);
    }
}

fn entry(position: u128, element: u128) -> Entry {
    Entry { position, element: Element(element) }
}

#[test]
fn keys_at_one_position_are_cut_no_further_than_that_position() {
    let (mut directory, mut store) = (Directory::new(Interval::WHOLE), Store::new());
    (0..500).for_each(|key| put(&mut directory, &mut store, (77, key), Some(Element(key.into()))));
    check(&directory, &store);
    assert_eq!(directory.leaf_at(77).map(|leaf| (leaf.interval.depth(), leaf.sum.count)), Some((128, 500)));
    assert_eq!(directory.leaves().count(), 129, "one cut for each bit");
}

#[test]
fn a_split_nobody_answers_is_asked_for_again() {
    let mut directory = Directory::new(Interval::WHOLE);
    let asked = (0..=LEAF_KEYS_MAX + 1)
        .map(|key| directory.apply(key.into(), None, Some(Element(1))))
        .collect::<Vec<_>>();
    let (quiet, asking) = asked.split_at(usize::try_from(LEAF_KEYS_MAX).unwrap());
    assert!(quiet.iter().all(Option::is_none));
    assert_eq!(asking, [Some(Interval::WHOLE); 2]);
    assert_eq!(directory.total().count, LEAF_KEYS_MAX + 2);
}

#[test]
fn a_scan_is_believed_over_a_drifted_sum() {
    let mut directory = Directory::from_entries(Interval::WHOLE, [entry(1, 10), entry(2, 20)]).unwrap();
    assert_eq!(directory.refine(Interval::WHOLE, &[entry(1, 10), entry(2, 20)]), Ok(Refined::Exact));
    assert_eq!(directory.refine(Interval::WHOLE, &[entry(2, 21)]), Ok(Refined::Drifted));
    assert_eq!(directory.total(), Sum { count: 1, sum: 21 });
    // A record nobody counted is taken away: the count wraps, the leaf asks to be scanned, and the scan mends it.
    assert_eq!(directory.apply(3, Some(Element(1)), None), None);
    assert_eq!(directory.apply(3, Some(Element(1)), None), Some(Interval::WHOLE));
    assert_eq!(directory.refine(Interval::WHOLE, &[]), Ok(Refined::Drifted));
    assert_eq!(directory.total(), Sum::EMPTY);
}

#[test]
fn a_wrong_scan_changes_nothing() {
    let half = Interval::new(1 << 127, 1).unwrap();
    let mut directory =
        Directory::from_entries(half, (0..100).map(|key| entry(1 << 127 | key << 100, key))).unwrap();
    let before = directory.clone();
    let leaf = directory.leaves().next().unwrap().interval;
    let refine = |directory: &mut Directory, interval, entries: &[Entry]| directory.refine(interval, entries);
    assert_eq!(refine(&mut directory, Interval::WHOLE, &[]), Err(RefineError::NotALeaf(Interval::WHOLE)));
    assert_eq!(refine(&mut directory, half, &[]), Err(RefineError::NotALeaf(half)));
    let outside = EntriesError::Outside { position: 0, interval: leaf };
    assert_eq!(refine(&mut directory, leaf, &[entry(0, 1)]), Err(outside.into()));
    let (low, high) = (leaf.first(), leaf.first() + 1);
    let unordered = EntriesError::Unordered { position: low, previous: high };
    assert_eq!(refine(&mut directory, leaf, &[entry(high, 1), entry(low, 1)]), Err(unordered.into()));
    assert!(directory.leaves().eq(before.leaves()) && directory.total() == before.total());
    assert!(Directory::from_entries(half, [entry(5, 1)]).is_err());
}
