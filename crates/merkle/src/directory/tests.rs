//! A directory against the plain set it stands for.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::{Directory, RefineError, Refined};
use crate::element::{Element, Sum};
use crate::entries::{EntriesError, Entry, LEAF_KEYS_MAX};
use crate::interval::Interval;

/// The store: keys by position and a number of their own.
pub(crate) type Store = BTreeMap<(u128, u16), Element>;

/// A run of writes.
#[derive(Clone, Debug)]
enum Writes {
    /// New keys, spread over the positions that share their first `depth` bits with one place.
    Insert { keys: u16, depth: u8, seed: u128 },
    /// Other records for keys that are there.
    Update { from: Index, keys: usize, seed: u128 },
    /// Neighbouring keys are deleted.
    Remove { from: Index, keys: usize },
}

fn writes() -> impl Strategy<Value = Writes> {
    let depth = prop_oneof![6 => Just(0u8), 2 => 1u8..60, 1 => 120u8..=128];
    prop_oneof![
        5 => (1u16..2500, depth, any::<u128>()).prop_map(|(keys, depth, seed)| Writes::Insert { keys, depth, seed }),
        1 => (any::<Index>(), 1usize..100, any::<u128>())
            .prop_map(|(from, keys, seed)| Writes::Update { from, keys, seed }),
        3 => (any::<Index>(), 1usize..2500).prop_map(|(from, keys)| Writes::Remove { from, keys }),
    ]
}

/// Bits without a pattern.
pub(crate) fn scatter(seed: u128, number: u16) -> u128 {
    let mixed = seed.wrapping_add(number.into()).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    (mixed ^ (mixed >> 61)).wrapping_mul(0xD6E8_FEB8_6659_FD93_A5A3_5625_3C6E_4D31)
}

pub(crate) fn scan(store: &Store, interval: Interval) -> Vec<Entry> {
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
pub(crate) fn check(directory: &Directory, store: &Store) {
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
    for (index, chunk) in directory.chunks.iter().enumerate() {
        assert_eq!((directory.firsts[index], directory.totals[index]), (chunk.first(), chunk.total()));
        assert!(chunk.is_well_sized() || directory.chunks.len() == 1, "{} leaves", chunk.leaves().len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn sums_equal_a_rebuild_after_any_writes(
        runs in proptest::collection::vec(writes(), 1..10),
        depth in prop_oneof![Just(0u8), Just(8)],
    ) {
        let interval = Interval::new(0, depth).unwrap();
        let (mut directory, mut store) = (Directory::new(interval), Store::new());
        for run in &runs {
            let neighbours = |from: &Index, keys: usize| -> Vec<(u128, u16)> {
                let skip = from.index(store.len().max(1));
                store.keys().skip(skip).take(keys).copied().collect()
            };
            match run {
                Writes::Insert { keys, depth, seed } => {
                    let below = u128::MAX.checked_shr((*depth).into()).unwrap_or(0) & interval.last();
                    for key in 0..*keys {
                        let position = 0x1234_5678_9ABC_DEF0 & !below | scatter(*seed, key) & below;
                        put(&mut directory, &mut store, (position, key), Some(Element(seed.rotate_left(key.into()))));
                    }
                }
                Writes::Update { from, keys, seed } => {
                    for at in neighbours(from, *keys) {
                        put(&mut directory, &mut store, at, Some(Element(scatter(*seed, at.1))));
                    }
                }
                Writes::Remove { from, keys } => {
                    neighbours(from, *keys).into_iter().for_each(|at| put(&mut directory, &mut store, at, None));
                }
            }
            check(&directory, &store);
        }

        let kept = directory.clone();
        let before: Vec<_> = kept.leaves().collect();
        let keys: Vec<_> = store.keys().copied().collect();
        keys.into_iter().for_each(|at| put(&mut directory, &mut store, at, None));
        check(&directory, &store);
        prop_assert_eq!(directory.leaves().count(), 1, "all leaves joined again");
        prop_assert_eq!(kept.leaves().collect::<Vec<_>>(), before, "a clone is a snapshot");
    }

    #[test]
    fn an_interval_of_whole_leaves_sums_without_a_scan(
        positions in proptest::collection::btree_set(any::<u128>(), 0..20_000),
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

/// The keys of a store on one side of a token.
fn part(store: &Store, range: std::ops::Range<u128>) -> Store {
    store.range((range.start, 0)..(range.end, 0)).map(|(at, element)| (*at, *element)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_directory_is_cut_anywhere_and_put_together_again(
        keys in 0u16..3000,
        depth in prop_oneof![3 => Just(0u8), 1 => 1u8..100],
        writes in proptest::collection::vec((any::<u128>(), 0u16..300, any::<bool>()), 0..4),
        tokens in proptest::collection::vec((any::<u128>(), any::<Index>(), 0u8..3), 1..6),
        seed: u128,
    ) {
        let below = u128::MAX.checked_shr(depth.into()).unwrap_or(0);
        let place = |number: u128, key: u16| 0x5A5A << 100 & !below | scatter(number, key) & below;
        let (mut directory, mut store) = (Directory::new(Interval::WHOLE), Store::new());
        for key in 0..keys {
            put(&mut directory, &mut store, (place(seed, key), key), Some(Element(scatter(!seed, key))));
        }
        for (token, index, kind) in tokens {
            // Far from all keys, at one of them, or at a leaf's beginning.
            let positions: Vec<u128> = match kind {
                0 => vec![token],
                1 => store.keys().map(|at| at.0).chain([token]).collect(),
                _ => directory.leaves().map(|leaf| leaf.interval.first()).collect(),
            };
            let token = *index.get(&positions);
            let around = directory.scan_to_split(token).map(|leaf| scan(&store, leaf)).unwrap_or_default();
            prop_assert!(around.len() as u64 <= LEAF_KEYS_MAX);
            let mut upper = directory.split_off(token, &around).unwrap();
            let mut stores = [part(&store, 0..token), part(&store, token..u128::MAX)];
            check(&directory, &stores[0]);
            check(&upper, &stores[1]);

            // Each part goes its own way.
            for (number, keys, removes) in &writes {
                for key in 0..*keys {
                    let position = place(*number, key);
                    let (directory, store) = if position < token { (&mut directory, &mut stores[0]) } else { (&mut upper, &mut stores[1]) };
                    let at = if *removes { store.range((position, 0)..).next().map_or((position, key), |(at, _)| *at) } else { (position, key) };
                    put(directory, store, at, (!removes).then_some(Element(position)));
                }
            }
            store = stores.into_iter().flatten().collect();
            let range = directory.scan_to_join(token, &upper);
            let around: Vec<Entry> = range.map(|range| scan(&store, Interval::WHOLE).into_iter().filter(|entry| range.contains(&entry.position)).collect()).unwrap_or_default();
            prop_assert!(around.len() as u64 <= LEAF_KEYS_MAX);
            directory = directory.join(token, &upper, &around).unwrap();
            prop_assert_eq!(directory.total(), scan(&store, Interval::WHOLE).into_iter().map(|entry| entry.element).collect());
            // Two leaves that were one may be over its limit together: the next write to it asks for a scan.
            let over: Vec<_> = directory.leaves().filter(|leaf| leaf.sum.count > LEAF_KEYS_MAX).map(|leaf| leaf.interval).collect();
            prop_assert!(over.len() <= 1);
            for leaf in over {
                prop_assert_eq!(directory.refine(leaf, &scan(&store, leaf)), Ok(Refined::Exact));
            }
            check(&directory, &store);
        }
    }
}
