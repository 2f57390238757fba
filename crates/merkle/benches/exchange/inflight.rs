//! Owns a simulation of writes on their way: two replicas get all of them, some late, and compare all the while.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use chinwag_merkle::{Cut, Element, Entry, Interval, Snapshot, Tree};

use crate::pair::{Host, Random, element_of, exchange};

/// Simulated milliseconds, and those before the first comparison.
const LENGTH: u64 = 60_000;
const WARM_UP: u64 = 20_000;
/// Milliseconds between comparisons.
const PAUSE: u64 = 500;
/// One delivery in so many is slow.
const SLOW_ONE_IN: u64 = 200;
/// Wall time at the start: nothing is special about it.
const EPOCH: u64 = 1_800_000_000_000;

/// How it goes.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    /// Writes in a millisecond.
    pub(crate) rate: u64,
    pub(crate) keys: u64,
    /// How long slow deliveries take at most, in milliseconds.
    pub(crate) delay_max: u64,
    /// In milliseconds.
    pub(crate) grace: u64,
}

/// What the comparisons said, while nothing was lost.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) comparisons: u64,
    /// Keys that differ for the moment: what a comparison without a cut would repair.
    pub(crate) live: u64,
    /// Comparisons whose roots at the cut were equal.
    pub(crate) clean: u64,
    /// Differences that exchanges at the cut found: each costs a read.
    pub(crate) false_differences: u64,
    /// Those that would have been repaired after that read: not equal by then, and not young.
    pub(crate) false_writes: u64,
    /// Keys remembered, of one replica, at most.
    pub(crate) young_max: usize,
}

pub(crate) fn run(case: Case) -> Found {
    let mut random = Random(case.rate ^ case.keys);
    let mut replicas = [Replica::new(case.keys), Replica::new(case.keys)];
    let mut underway: BinaryHeap<Reverse<(u64, usize, Version)>> = BinaryHeap::new();
    let mut found = Found::default();
    for now in 0..LENGTH {
        while let Some(Reverse((due, replica, version))) = underway.peek().copied()
            && due <= now
        {
            underway.pop();
            replicas[replica].take(version);
        }
        for number in 0..case.rate {
            let version = Version {
                key: random.next() % case.keys,
                stamp: EPOCH + now,
                number: now * case.rate + number,
            };
            for replica in 0..replicas.len() {
                // Mostly a few milliseconds: 63 % within four, 98 % within sixteen.
                let quick = u64::from((random.next() | 1 << 63).trailing_zeros()) * 3;
                let slow = random.next().is_multiple_of(SLOW_ONE_IN);
                let delay = if slow { random.next() % case.delay_max } else { quick };
                underway.push(Reverse((now + delay, replica, version)));
            }
        }
        if now % PAUSE == 0 {
            let cut = Cut::at(EPOCH + now, case.grace);
            replicas.iter_mut().for_each(|replica| replica.tree.settle(cut.before()));
            if now >= WARM_UP {
                compare(&replicas, cut, now, &mut found);
            }
        }
    }
    found
}

fn compare(replicas: &[Replica; 2], cut: Cut, now: u64, found: &mut Found) {
    let [one, other] = replicas;
    found.comparisons += 1;
    found.live += one.held.iter().zip(&other.held).filter(|(one, other)| one != other).count() as u64;
    found.young_max = found.young_max.max(one.tree.young());
    let [here, there] = replicas.each_ref().map(|replica| AtCut { replica, cut });
    if one.tree.total_at(cut) == other.tree.total_at(cut) {
        found.clean += 1;
        return;
    }
    let outcome = exchange(&here, &there, Random(now).next(), None);
    for position in outcome.positions() {
        found.false_differences += 1;
        let young = replicas.iter().any(|replica| replica.tree.is_young(position, cut));
        let differs = one.store.get(&position) != other.store.get(&position);
        found.false_writes += u64::from(differs && !young);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    key: u64,
    /// Wall time in milliseconds.
    stamp: u64,
    /// Later versions have higher ones.
    number: u64,
}

/// A replica that keeps the latest version of each key.
struct Replica {
    tree: Tree,
    store: BTreeMap<u128, Element>,
    /// By key: the latest version's number.
    held: Vec<u64>,
}

impl Replica {
    fn new(keys: u64) -> Self {
        let store: BTreeMap<u128, Element> =
            (0..keys).map(|key| (position(key), element_of(key, 0))).collect();
        let entries =
            store.iter().map(|(position, element)| Entry { position: *position, element: *element });
        let mut tree = Tree::from_entries(Interval::WHOLE, entries).expect("the store is in order");
        tree.settle(Cut::at(EPOCH, 0));
        let held = vec![0; usize::try_from(keys).expect("few keys")];
        Self { tree, store, held }
    }

    fn take(&mut self, version: Version) {
        let position = position(version.key);
        let held = &mut self.held[usize::try_from(version.key).expect("few keys")];
        let element = element_of(version.key, version.number + 1);
        if *held <= version.number {
            *held = version.number + 1;
            let old = self.store.insert(position, element);
            let crowded = self.tree.apply(position, old, Some(element), version.stamp);
            assert_eq!(crowded, None, "no key is new");
        } else {
            self.tree.superseded(position, self.store.get(&position).copied(), element, version.stamp);
        }
    }
}

fn position(key: u64) -> u128 {
    Random(key).position()
}

/// A replica as it was at a cut.
struct AtCut<'a> {
    replica: &'a Replica,
    cut: Cut,
}

impl Host for AtCut<'_> {
    fn snapshot(&self) -> Snapshot {
        self.replica.tree.at(self.cut).expect("the cut was not settled")
    }

    fn scan(&self, interval: Interval) -> Vec<Entry> {
        let held = self.replica.store.range(interval.first()..=interval.last());
        let entries = held.map(|(position, element)| Entry { position: *position, element: *element });
        self.replica.tree.entries_at(self.cut, interval, entries.collect())
    }
}
