//! Trees against plain models of what they stand for: a store that crashes, versions that arrive in any order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{Checkpoint, Tree};
use crate::cut::{CUT_MILLIS, Cut};
use crate::directory::Refined;
use crate::directory::tests::{Store, check, scan, scatter};
use crate::element::{Element, Sum};
use crate::entries::{Entry, Leaf};
use crate::interval::Interval;

/// What becomes durable together.
#[derive(Clone, Default)]
struct Batch {
    record: Option<((u128, u16), Option<Element>)>,
    mark: Option<Interval>,
    checkpoint: Checkpoint,
}

/// What a disk holds.
#[derive(Clone, Default)]
struct Disk {
    records: Store,
    saved: BTreeMap<u128, Leaf>,
    marks: BTreeSet<Interval>,
}

impl Disk {
    fn take(&mut self, batch: &Batch) {
        if let Some((at, element)) = batch.record {
            self.records.remove(&at);
            self.records.extend(element.map(|element| (at, element)));
        }
        self.saved.retain(|first, _| !batch.checkpoint.gone.contains(first));
        self.marks.retain(|mark| !batch.checkpoint.marks.contains(mark));
        self.saved.extend(batch.checkpoint.leaves.iter().map(|leaf| (leaf.interval.first(), *leaf)));
        self.marks.extend(batch.mark);
    }
}

/// A replica that writes, saves and crashes.
struct Replica {
    /// As readers see it: with every batch that was handed over.
    seen: Disk,
    /// As it would be after a crash that loses all it can.
    durable: Disk,
    /// Batches handed over and not durable yet.
    unsynced: Vec<Batch>,
    tree: Tree,
    random: u128,
}

impl Replica {
    fn new(interval: Interval, seed: u128) -> Self {
        let disks = [Disk::default(), Disk::default()];
        let [seen, durable] = disks;
        Self { seen, durable, unsynced: Vec::new(), tree: Tree::new(interval), random: seed }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.random = scatter(self.random, 1);
        usize::try_from(self.random >> 64).unwrap() % bound.max(1)
    }

    fn hand_over(&mut self, batch: Batch) {
        self.seen.take(&batch);
        self.unsynced.push(batch);
    }

    fn write(&mut self, at: (u128, u16), new: Option<Element>) {
        let mark = self.tree.mark(at.0);
        let old = self.seen.records.get(&at).copied();
        self.hand_over(Batch { record: Some((at, new)), mark, ..Batch::default() });
        if let Some(crowded) = self.tree.apply(at.0, old, new, 0) {
            let refined = self.tree.refine(crowded, &scan(&self.seen.records, crowded));
            assert!(matches!(refined, Ok(Refined::Exact | Refined::Restored)), "{refined:?}");
        }
    }

    /// A run of writes to one region: new keys, other records, or removals, so that leaves are cut and joined.
    fn write_some(&mut self) {
        let (kind, depth) = (self.below(3), self.below(3) * 40);
        let interval = self.tree.directory().interval();
        let below =
            (interval.last() ^ interval.first()).checked_shr(u32::try_from(depth).unwrap()).unwrap_or(0);
        for _ in 0..self.below(300) {
            let key = u16::try_from(self.below(1 << 12)).unwrap();
            let spread = scatter(u128::from(key), key) & below;
            let at = (interval.first() | spread, key);
            let at =
                if kind == 0 { at } else { self.seen.records.range(at..).next().map_or(at, |(at, _)| *at) };
            let element = Element(scatter(self.random, key));
            let stays = kind < 2 || self.below(20) == 0;
            self.write(at, stays.then_some(element));
        }
    }

    fn sync(&mut self, batches: usize) {
        for batch in self.unsynced.drain(..batches.min(self.unsynced.len())) {
            self.durable.take(&batch);
        }
    }

    fn checkpoint(&mut self) {
        let checkpoint = self.tree.checkpoint();
        if !checkpoint.is_empty() {
            self.hand_over(Batch { checkpoint, ..Batch::default() });
        }
    }

    /// Loses memory and some of what was not durable, and starts again. Returns how many leaves it doubts.
    fn crash(&mut self) -> usize {
        let kept = self.below(self.unsynced.len() + 1);
        self.sync(kept);
        self.unsynced.clear();
        self.seen = self.durable.clone();
        let interval = self.tree.directory().interval();
        let (saved, marks) = (self.seen.saved.values().copied(), self.seen.marks.iter().copied());
        self.tree = Tree::restore(interval, saved, marks);

        let leaves: Vec<Leaf> = self.tree.directory().leaves().collect();
        let doubted = |tree: &Tree, leaf: &Leaf| {
            tree.directory.flagged_from(leaf.interval.first(), super::Flags::DOUBTED) == Some(leaf.interval)
        };
        let (doubted, trusted): (Vec<_>, Vec<_>) =
            leaves.into_iter().partition(|leaf| doubted(&self.tree, leaf));
        for leaf in trusted {
            let sum: Sum = scan(&self.seen.records, leaf.interval).into_iter().map(|it| it.element).collect();
            assert_eq!(leaf.sum, sum, "a leaf that needs no scan is right");
        }
        for leaf in &doubted {
            let touched =
                self.seen.marks.iter().any(|mark| mark.covers(&leaf.interval) || leaf.interval.covers(mark));
            assert!(
                touched || !self.seen.saved.contains_key(&leaf.interval.first()),
                "nothing else is scanned"
            );
        }
        doubted.len()
    }

    /// Scans up to so many doubted leaves.
    fn recover(&mut self, leaves: usize) {
        for _ in 0..leaves {
            let Some(leaf) = self.tree.doubted() else { return };
            let refined = self.tree.refine(leaf, &scan(&self.seen.records, leaf));
            assert_eq!(refined, Ok(Refined::Restored));
        }
    }
}

#[test]
fn trees_equal_a_rebuild_after_a_thousand_crashes() {
    let (mut crashes, mut doubted, mut rescanned_all) = (0, 0, 0);
    for seed in 0..40_u128 {
        let interval = if seed % 2 == 0 { Interval::WHOLE } else { Interval::new(0x77 << 120, 8).unwrap() };
        let mut replica = Replica::new(interval, seed);
        for _ in 0..25 {
            for _ in 0..replica.below(8) {
                match replica.below(6) {
                    0 => replica.checkpoint(),
                    1 => replica.sync(usize::MAX),
                    2 => {
                        let batches = replica.below(500);
                        replica.sync(batches);
                    }
                    3 => replica.recover(3),
                    _ => replica.write_some(),
                }
            }
            doubted += replica.crash();
            crashes += 1;
            if replica.below(2) == 0 {
                replica.recover(usize::MAX);
                check(&replica.tree.directory, &replica.seen.records);
                rescanned_all += 1;
            }
        }
        replica.recover(usize::MAX);
        check(&replica.tree.directory, &replica.seen.records);
        // A clean stop leaves nothing to scan.
        replica.checkpoint();
        replica.sync(usize::MAX);
        assert_eq!(replica.crash(), 0);
        check(&replica.tree.directory, &replica.seen.records);
    }
    assert!(crashes == 1000 && doubted > 1000 && rescanned_all > 100, "{crashes} {doubted} {rescanned_all}");
}

#[test]
fn saved_leaves_that_cannot_be_true_are_scanned_and_forgotten() {
    let store: Store = (0..500).map(|key| ((scatter(5, key), key), Element(key.into()))).collect();
    let whole = Tree::from_entries(Interval::WHOLE, scan(&store, Interval::WHOLE)).unwrap();
    let leaves: Vec<Leaf> = whole.directory.leaves().collect();
    let half = Leaf { interval: Interval::new(1 << 127, 1).unwrap(), sum: Sum::EMPTY };
    let elsewhere = Leaf { interval: Interval::new(5 << 64, 128).unwrap(), sum: Sum { count: 9, sum: 9 } };

    let mut overlapping: Vec<Leaf> = leaves.iter().copied().chain([half, elsewhere]).collect();
    overlapping.sort_by_key(|leaf| leaf.interval);
    let mut with_a_gap = leaves.clone();
    with_a_gap.remove(3);
    for saved in [overlapping, with_a_gap, Vec::new()] {
        let mut tree = Tree::restore(Interval::WHOLE, saved.iter().copied(), []);
        assert!(tree.checkpoint().is_empty(), "what is doubted is not saved");
        while let Some(leaf) = tree.doubted() {
            assert_eq!(tree.refine(leaf, &scan(&store, leaf)), Ok(Refined::Restored));
        }
        check(&tree.directory, &store);

        let Checkpoint { leaves, gone, .. } = tree.checkpoint();
        let mut disk: BTreeMap<u128, Leaf> =
            saved.iter().map(|leaf| (leaf.interval.first(), *leaf)).collect();
        disk.retain(|first, _| !gone.contains(first));
        disk.extend(leaves.iter().map(|leaf| (leaf.interval.first(), *leaf)));
        assert!(disk.values().copied().eq(tree.directory.leaves()), "what is saved is what is there");
    }
}

#[test]
fn a_host_that_saves_nothing_pays_nothing_for_it() {
    let (mut tree, mut store) = (Tree::new(Interval::WHOLE), Store::new());
    let mut write = |tree: &mut Tree, key: u16, new: Option<Element>| {
        let at = (scatter(1, key), key);
        let old = match new {
            Some(new) => store.insert(at, new),
            None => store.remove(&at),
        };
        if let Some(crowded) = tree.apply(at.0, old, new, u64::MAX) {
            assert_eq!(tree.refine(crowded, &scan(&store, crowded)), Ok(Refined::Exact));
        }
    };
    (0..1000).for_each(|key| write(&mut tree, key, Some(Element(1))));
    (0..1000).for_each(|key| write(&mut tree, key, None));
    assert!(tree.gone.is_empty() && tree.marks.is_empty(), "no leaf was ever saved");
    assert_eq!(tree.young(), 0, "no cut was ever named");
}

/// A key's version: which key, when, and what.
type Version = (u16, u64, Element);

/// Takes versions in the order given, the latest stamp wins.
struct LastWrite {
    tree: Tree,
    store: Store,
    stamps: BTreeMap<u16, u64>,
}

/// Keys share positions.
fn at(key: u16) -> (u128, u16) {
    (scatter(9, key / 3), key)
}

impl LastWrite {
    fn new(floor: Cut) -> Self {
        let mut new = Self { tree: Tree::new(Interval::WHOLE), store: Store::new(), stamps: BTreeMap::new() };
        (0..200).for_each(|key| new.take((key, 0, Element(scatter(4, key)))));
        new.tree.settle(floor);
        new
    }

    fn take(&mut self, (key, stamp, element): Version) {
        let (position, _) = at(key);
        let held = self.store.get(&at(key)).copied();
        if self.stamps.get(&key).is_none_or(|newest| *newest < stamp) {
            self.stamps.insert(key, stamp);
            self.store.insert(at(key), element);
            if let Some(crowded) = self.tree.apply(position, held, Some(element), stamp) {
                assert_eq!(self.tree.refine(crowded, &scan(&self.store, crowded)), Ok(Refined::Exact));
            }
        } else {
            self.tree.superseded(position, held, element, stamp);
        }
    }
}

/// What all keys held at a cut, once every version has arrived.
fn held_at(cut: Cut, versions: &[Version]) -> Store {
    let mut held: BTreeMap<u16, (u64, Element)> =
        (0..200).map(|key| (key, (0, Element(scatter(4, key))))).collect();
    for (key, stamp, element) in versions {
        let newest = held.get_mut(key).unwrap();
        if cut.counts(*stamp) && newest.0 < *stamp {
            *newest = (*stamp, *element);
        }
    }
    held.into_iter().map(|(key, (_, element))| (at(key), element)).collect()
}

fn check_at(replica: &LastWrite, cut: Cut, versions: &[Version]) {
    let truth = held_at(cut, versions);
    let total: Sum = truth.values().copied().collect();
    assert_eq!(replica.tree.total_at(cut), Some(total));
    let snapshot = replica.tree.at(cut).unwrap();
    assert_eq!(snapshot.directory.total(), total);
    for leaf in snapshot.directory.leaves() {
        let entries = replica.tree.entries_at(cut, leaf.interval, scan(&replica.store, leaf.interval));
        let mut sorted = entries.clone();
        sorted.sort_unstable();
        let mut expected = scan(&truth, leaf.interval);
        expected.sort_unstable();
        assert_eq!(sorted, expected);
        assert!(entries.is_sorted_by_key(|entry| entry.position));
        assert_eq!(leaf.sum, entries.iter().map(|entry| entry.element).collect());
    }
    let young: BTreeSet<u128> =
        replica.stamps.iter().filter(|(_, stamp)| !cut.counts(**stamp)).map(|(key, _)| at(*key).0).collect();
    for key in 0..200 {
        assert_eq!(replica.tree.is_young(at(key).0, cut), young.contains(&at(key).0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn replicas_agree_at_a_cut_in_whatever_order_versions_came(
        writes in proptest::collection::vec((0u16..200, 0u64..6 * CUT_MILLIS, any::<u128>()), 0..400),
        order in any::<u128>(),
    ) {
        let start = 1_000 * CUT_MILLIS;
        // Coordinators give no two versions of a key the same stamp.
        let mut stamps = BTreeSet::new();
        let versions: Vec<Version> = writes
            .into_iter()
            .filter(|(key, after, _)| stamps.insert((*key, *after)))
            .map(|(key, after, element)| (key, start + after, Element(element)))
            .collect();
        let floor = Cut::at(start, 0);
        let mut shuffled = versions.clone();
        shuffled.sort_by_key(|(key, stamp, _)| scatter(order ^ u128::from(*stamp), *key));
        let (mut one, mut other) = (LastWrite::new(floor), LastWrite::new(floor));
        versions.iter().for_each(|version| one.take(*version));
        shuffled.iter().for_each(|version| other.take(*version));

        for replica in [&mut one, &mut other] {
            for settled in 0..7 {
                for later in settled..8 {
                    check_at(replica, Cut::at(start + later * CUT_MILLIS, 0), &versions);
                }
                prop_assert!(settled == 0 || replica.tree.at(floor).is_none(), "what is settled is forgotten");
                replica.tree.settle(Cut::at(start + (settled + 1) * CUT_MILLIS, 0));
            }
            prop_assert_eq!(replica.tree.young(), 0);
        }
    }
}

#[test]
fn a_record_that_goes_and_one_that_comes_are_seen_as_they_were() {
    let start = 50 * CUT_MILLIS;
    let (old, now) = (Cut::at(start, 0), Cut::at(start + 3 * CUT_MILLIS, 0));
    let (first, second) = (Element(7), Element(8));
    let mut tree = Tree::from_entries(Interval::WHOLE, [Entry { position: 5, element: first }]).unwrap();
    tree.settle(old);
    assert_eq!(tree.apply(5, Some(first), None, start), None);
    assert_eq!(tree.apply(6, None, Some(second), start), None);
    let at = |tree: &Tree, cut, entries: &[u128]| {
        let entries =
            entries.iter().map(|position| Entry { position: *position, element: Element(position + 2) });
        tree.entries_at(cut, Interval::WHOLE, entries.collect())
            .iter()
            .map(|it| it.position)
            .collect::<Vec<_>>()
    };
    assert_eq!(at(&tree, old, &[6]), [5]);
    assert_eq!(at(&tree, now, &[6]), [6]);
    assert_eq!(tree.total_at(old), Some([first].into_iter().collect()));
    assert_eq!(tree.total_at(now), Some([second].into_iter().collect()));
    // Gone and back, within one time.
    assert_eq!(tree.apply(5, None, Some(first), start + 1), None);
    assert_eq!(tree.total_at(old), Some([first].into_iter().collect()));
    assert_eq!(tree.total_at(now), Some([first, second].into_iter().collect()));
}

#[test]
fn a_hot_key_is_remembered_once_for_each_time_between_cuts() {
    let start = 50 * CUT_MILLIS;
    let mut tree = Tree::new(Interval::WHOLE);
    tree.settle(Cut::at(start, 0));
    let mut held = None;
    for write in 0..10_000_u64 {
        let new = Some(Element(u128::from(write) + 1));
        assert_eq!(tree.apply(1, held, new, start + write * 1_000), None);
        held = new;
    }
    let kept: usize = tree.pending.lines().map(|(_, versions)| versions).sum();
    assert!(tree.young() == 1 && kept <= super::pending::VERSIONS_MAX, "{kept}");
    let last = Cut::at(start + 10_000 * 1_000, 0);
    assert_eq!(tree.total_at(last.before()), Some([Element(9_995)].into_iter().collect()));
}
