//! Owns what it costs to keep a tree: time for each write, memory, recovery, and cutting it at tokens.

use std::hint::black_box;

use chinwag_merkle::{Cut, Directory, Element, Entry, Interval, Tree, element};

use crate::cpu::{nanos_each, seconds};
use crate::data::Held;
use crate::fixed::Fixed;
use crate::pair::{Random, tree_key};

/// Writes that are timed.
const WRITES: usize = 1 << 18;

/// Nanoseconds of CPU for each write, both elements hashed.
pub(crate) struct Updates {
    pub(crate) fixed: [(u32, f64); 3],
    pub(crate) directory: f64,
    /// With a mark asked for before, and a young version remembered.
    pub(crate) tree: f64,
    /// The two hashes alone.
    pub(crate) hashes: f64,
}

/// An overwrite of a key that is there.
struct Write {
    position: u128,
    old: u64,
    new: u64,
}

impl Write {
    fn elements(&self) -> (Option<Element>, Option<Element>) {
        let key = self.position.to_be_bytes();
        let of = |value: u64| Some(element(&tree_key(), &key, &value.to_le_bytes()));
        (of(self.old), of(self.new))
    }
}

/// What accounts for a write: where it was, what was there before, and what is there now.
type Apply<'a> = Box<dyn FnMut(u128, Option<Element>, Option<Element>) + 'a>;

pub(crate) fn updates(replica: &Held) -> Updates {
    let mut random = Random(1);
    let writes: Vec<Write> = (0..WRITES)
        .map(|_| {
            let [key, old, new] = [random.next(), random.next(), random.next()];
            let key = usize::try_from(key % replica.entries.len() as u64).expect("it is below a usize");
            Write { position: replica.entries[key].position, old, new }
        })
        .collect();
    let each = |mut apply: Apply<'_>| {
        nanos_each(&writes, |write| {
            let (old, new) = write.elements();
            apply(write.position, old, new);
        })
    };
    let fixed = [4, 6, 8].map(|fan_bits| {
        let mut tree = Fixed::from_entries(&replica.entries, fan_bits);
        (1 << fan_bits, each(Box::new(move |position, old, new| tree.apply(position, old, new))))
    });
    let mut directory = replica.directory.clone();
    let mut tree =
        Tree::from_entries(Interval::WHOLE, replica.entries.iter().copied()).expect("it is in order");
    tree.settle(Cut::at(1_000_000, 0));
    let mut now = 1_000_000;
    Updates {
        fixed,
        directory: each(Box::new(move |position, old, new| {
            black_box(directory.apply(position, old, new));
        })),
        tree: each(Box::new(move |position, old, new| {
            // Ten thousand writes a second.
            now += 1;
            if now % 50_000 == 0 {
                tree.settle(Cut::at(now / 10, 5_000).before());
            }
            black_box(tree.mark(position));
            black_box(tree.apply(position, old, new, now / 10));
        })),
        hashes: each(Box::new(|_, old, new| {
            black_box((old, new));
        })),
    }
}

/// Bytes of a tree that grew key by key, and what growing cost: keys read again for each that came.
pub(crate) struct Growth {
    pub(crate) bytes: usize,
    pub(crate) keys_read: u64,
}

pub(crate) fn grow(entries: &[Entry]) -> Growth {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    let mut random = Random(2);
    order.sort_by_cached_key(|_| random.next());
    let mut here = std::collections::BTreeMap::new();
    let (mut directory, mut keys_read) = (Directory::new(Interval::WHOLE), 0);
    for index in order {
        let Entry { position, element } = entries[index];
        here.insert(position, element);
        if let Some(leaf) = directory.apply(position, None, Some(element)) {
            let held = here.range(leaf.first()..=leaf.last());
            let scan: Vec<Entry> =
                held.map(|(position, element)| Entry { position: *position, element: *element }).collect();
            keys_read += scan.len() as u64;
            let _refined = directory.refine(leaf, &scan).expect("the leaf is there");
        }
    }
    Growth { bytes: directory.bytes(), keys_read }
}

/// CPU seconds to take a snapshot.
pub(crate) fn snapshot_seconds(replica: &Held) -> f64 {
    nanos_each(&[(); 100], |()| drop(black_box(replica.directory.clone()))) / 1e9
}

/// CPU seconds to put a tree together of which every leaf is in doubt, the reading of the store aside.
pub(crate) fn recovery_seconds(replica: &Held) -> f64 {
    let (seconds, tree) = seconds(|| {
        let leaves = replica.directory.leaves();
        let mut tree = Tree::restore(Interval::WHOLE, leaves, [Interval::WHOLE]);
        while let Some(leaf) = tree.doubted() {
            let _restored = tree.refine(leaf, replica.within(leaf)).expect("the leaf is there");
        }
        tree
    });
    assert_eq!(tree.directory().total(), replica.directory.total(), "nothing was lost");
    seconds
}

/// Most leaves scanned to cut the directory at a token and to put it together again, over so many tokens.
pub(crate) fn leaves_scanned_at_tokens(replica: &Held, tokens: u64) -> (u64, u64) {
    let (mut split, mut joined) = (0, 0);
    let mut random = Random(3);
    for _ in 0..tokens {
        let token = random.position();
        let mut lower = replica.directory.clone();
        let leaf = lower.scan_to_split(token);
        split = split.max(u64::from(leaf.is_some()));
        let scan = leaf.map(|leaf| replica.within(leaf)).unwrap_or_default();
        let upper = lower.split_off(token, scan).expect("the scan is in order");
        joined = joined.max(u64::from(lower.scan_to_join(token, &upper).is_some()));
        let whole = lower.join(token, &upper, &[]).expect("they were one");
        assert!(whole.leaves().eq(replica.directory.leaves()), "nothing has changed");
    }
    (split, joined)
}
