//! Owns two replicas that differ in so many keys; refuses to know how that is found out.

use std::collections::BTreeSet;

use chinwag_merkle::{Directory, Entry, Interval, Snapshot};

use crate::pair::{Host, Random, element_of};

/// Where keys lie, and which of them differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Spread {
    /// Positions are hashes, and any key may differ.
    Uniform,
    /// Positions are hashes; the differing keys are half of those in one stretch.
    Clustered,
    /// Positions are the first 16 bytes of keys with long common beginnings, of three tenants of very different size.
    Ascii,
}

/// A replica in one sorted list.
pub(crate) struct Held {
    pub(crate) entries: Vec<Entry>,
    pub(crate) directory: Directory,
}

impl Held {
    pub(crate) fn new(entries: Vec<Entry>) -> Self {
        let directory = Directory::from_entries(Interval::WHOLE, entries.iter().copied());
        Self { directory: directory.expect("the entries are in order"), entries }
    }

    /// What lies in an interval.
    pub(crate) fn within(&self, interval: Interval) -> &[Entry] {
        let from = self.entries.partition_point(|entry| entry.position < interval.first());
        let to = self.entries.partition_point(|entry| entry.position <= interval.last());
        &self.entries[from..to]
    }
}

impl Host for Held {
    fn snapshot(&self) -> Snapshot {
        Snapshot::uncut(self.directory.clone())
    }

    fn scan(&self, interval: Interval) -> Vec<Entry> {
        self.within(interval).to_vec()
    }
}

/// Two replicas, and what each holds that the other does not hold alike.
pub(crate) struct Pair {
    pub(crate) replicas: [Held; 2],
    pub(crate) only: [BTreeSet<u128>; 2],
    /// Differing keys.
    pub(crate) differing: usize,
}

impl Pair {
    /// Of the `differing` keys half are changed, and a quarter is missing on each side.
    pub(crate) fn new(base: &[Entry], differing: usize, spread: Spread, seed: u64) -> Self {
        let picked = pick(base.len(), differing, spread, seed);
        let mut sides = [Vec::with_capacity(base.len()), Vec::with_capacity(base.len())];
        let mut only = [BTreeSet::new(), BTreeSet::new()];
        let mut next = picked.iter().enumerate().peekable();
        for (index, entry) in base.iter().enumerate() {
            let differs = next.next_if(|(_, picked)| **picked == index).map(|(number, _)| number % 4);
            for side in 0..2 {
                let changed = Entry { element: element_of(u64::MAX, index as u64), ..*entry };
                let held = match differs {
                    Some(missing) if missing == side => continue,
                    Some(2 | 3) if side == 1 => changed,
                    Some(_) | None => *entry,
                };
                sides[side].push(held);
                if differs.is_some() {
                    only[side].insert(entry.position);
                }
            }
        }
        Self { replicas: sides.map(Held::new), only, differing }
    }

    /// Elements that one side holds and the other does not.
    pub(crate) fn elements(&self) -> usize {
        self.only.iter().map(BTreeSet::len).sum()
    }
}

fn pick(keys: usize, differing: usize, spread: Spread, seed: u64) -> BTreeSet<usize> {
    let mut random = Random(seed);
    let mut below =
        |bound: usize| usize::try_from(random.next() % bound as u64).expect("it is below a usize");
    let (from, among) = match spread {
        Spread::Uniform | Spread::Ascii => (0, keys),
        Spread::Clustered => {
            let among = (2 * differing).min(keys);
            (below(keys - among + 1), among)
        }
    };
    let mut picked = BTreeSet::new();
    while picked.len() < differing {
        picked.insert(from + below(among));
    }
    picked
}

/// As many keys, in the order of their positions; of the skewed ones slightly fewer, since some are drawn twice.
pub(crate) fn keys(keys: usize, spread: Spread) -> Vec<Entry> {
    let mut random = Random(keys as u64);
    let mut entries: Vec<Entry> = (0..keys as u64)
        .map(|key| {
            let position = match spread {
                Spread::Uniform | Spread::Clustered => random.position(),
                Spread::Ascii => ascii(&mut random, keys),
            };
            Entry { position, element: element_of(key, 0) }
        })
        .collect();
    entries.sort_unstable();
    entries.dedup_by_key(|entry| entry.position);
    entries
}

fn ascii(random: &mut Random, keys: usize) -> u128 {
    let tenant = match random.next() % 100 {
        0..80 => 0,
        80..98 => 1,
        _ => 2,
    };
    let key = format!("usr{tenant}/{:010}.", random.next() % (4 * keys as u64));
    u128::from_be_bytes(key.as_bytes().try_into().expect("the key has 16 bytes"))
}
