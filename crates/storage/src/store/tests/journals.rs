//! Bits that flip and ends that tear in the database's journals, with tables flushed at different times: the store opens,
//! claims nothing that it lost, and takes it all back.

use super::*;
use crate::engine::{Table, ends_of_batches};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

const KEYS: u32 = 9;
const WRITES: u32 = 60;
/// Where an older journal ends and the newest begins, once they are split.
const SPLIT: usize = 35;
/// Of what was written in advance of data.
const ZEROS: usize = 9000;

fn name(index: u32) -> StoreKey {
    StoreKey::new(BucketId::DEFAULT, u128::from(index % KEYS) << 120, format!("key-{}", index % KEYS))
}

/// A directory's files, to be written anew for each mishap.
#[derive(Debug, Clone)]
struct Image(BTreeMap<PathBuf, Vec<u8>>);

impl Image {
    fn of(directory: &TempDir) -> Self {
        fn walk(path: PathBuf) -> Vec<PathBuf> {
            if path.is_dir() {
                return std::fs::read_dir(path).unwrap().flat_map(|it| walk(it.unwrap().path())).collect();
            }
            vec![path]
        }
        let files = walk(directory.path().to_owned()).into_iter();
        Self(
            files
                .map(|file| {
                    let bytes = std::fs::read(&file).unwrap();
                    (file.strip_prefix(directory.path()).unwrap().to_owned(), bytes)
                })
                .collect(),
        )
    }

    fn restore(&self) -> TempDir {
        let directory = TempDir::new().unwrap();
        for (file, bytes) in &self.0 {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        directory
    }

    fn journal(&mut self, number: u64) -> &mut Vec<u8> {
        self.0.entry(PathBuf::from(format!("db/{number}.jnl"))).or_default()
    }
}

/// A store that was written to, batch by batch, and another replica that holds all of it.
struct Scene {
    /// Its only journal ends with a few zeros.
    image: Image,
    ends: Vec<usize>,
    other: Store,
}

impl Scene {
    /// Flushes each of these tables after so many writes.
    fn new(flushes: &[(u32, Table)]) -> Self {
        let directory = TempDir::new().unwrap();
        let engine = Arc::new(DiskEngine::open(directory.path(), DiskOptions::default()).unwrap());
        let store = Store::open(engine.clone(), &options()).unwrap();
        let other = other_store(1);
        for index in 0..WRITES {
            let key = name(index);
            let seen = store.get(&key).unwrap().filter(|_| index % 4 > 0);
            let seen = seen.map_or_else(blind, |state| state.context().clone());
            let content = if index % 11 == 10 { Content::Tombstone } else { value("of some length") };
            let (writer, reader) = if index % 3 > 0 { (&store, &other) } else { (&other, &store) };
            let written = writer.put(&key, &seen, content, NOW).unwrap();
            written.commit.wait().unwrap();
            reader.merge(&key, &written.state).unwrap().commit.wait().unwrap();
            let due = flushes.iter().filter(|(after, _)| *after == index + 1);
            due.for_each(|(_, table)| engine.flush_table(*table));
        }
        // The store is not closed: the last batch is a write, and no sum is saved.
        engine.close().unwrap();
        drop((store, engine));
        let mut image = Image::of(&directory);
        let ends = ends_of_batches(image.journal(0));
        assert!(ends.len() >= WRITES as usize, "a batch each");
        image.journal(0).truncate(ends.last().unwrap() + ZEROS);
        Self { image, ends, other }
    }

    /// With the journal split in an older one and the newest, as if it had been full.
    fn split(&self) -> Image {
        let mut image = self.image.clone();
        let newest = image.journal(0).split_off(self.ends[SPLIT]);
        image.journal(0).resize(self.ends[SPLIT] + ZEROS, 0);
        *image.journal(1) = newest;
        image
    }

    /// Opens what an image holds, checks what it claims, and has it healed.
    fn survive(&self, image: &Image, about: &str) -> Survived {
        let directory = image.restore();
        let open = || {
            let engine = DiskEngine::open(directory.path(), DiskOptions::default());
            let engine = Arc::new(engine.unwrap_or_else(|error| panic!("{about}: {error}")));
            Store::open(engine, &options()).unwrap_or_else(|error| panic!("{about}: {error}"))
        };
        let store = open();
        let lost = self.check(&store, about);
        let bad_records = store.counters().bad_records;
        store.close().unwrap();
        drop(store);

        let store = open();
        assert_eq!(self.check(&store, about), lost, "{about}: a second start finds what the first one left");
        assert_eq!(store.counters().bad_records, 0, "{about}");
        let clock = all_trees().map(|tree| store.clock(tree)).collect();
        for index in 0..KEYS {
            let theirs = self.other.get(&name(index)).unwrap().unwrap();
            let merged =
                store.lock().merge(&name(index), &theirs, &self.other.clock(tree_of(index))).unwrap();
            assert_eq!(merged.state.siblings(), theirs.siblings(), "{about}");
        }
        assert_eq!(store.wrong_trees().unwrap(), []);
        Survived { lost, bad_records, clock }
    }

    /// No version that is missing may be covered: it would be refused here and dropped elsewhere.
    fn check(&self, store: &Store, about: &str) -> usize {
        let mut lost = 0;
        for index in 0..KEYS {
            let ours = store.get(&name(index)).unwrap().unwrap_or_default();
            for theirs in self.other.get(&name(index)).unwrap().unwrap().siblings() {
                if !ours.has(theirs.dot) {
                    lost += 1;
                    let clock = store.clock(tree_of(index));
                    assert!(!clock.covers(theirs.dot), "{about}: {:?} is lost and refused", theirs.dot);
                }
            }
        }
        lost
    }

    fn clock(&self) -> Vec<Causal> {
        all_trees().map(|tree| self.other.clock(tree)).collect()
    }
}

/// What the first start found.
struct Survived {
    /// How many of the versions that it held.
    lost: usize,
    bad_records: u64,
    /// What every tree's clock covered before it was healed.
    clock: Vec<Causal>,
}

fn all_trees() -> impl Iterator<Item = TreeId> {
    (0..4).map(tree)
}

fn tree_of(index: u32) -> TreeId {
    tree(u16::try_from((name(index).position >> 126) & 3).unwrap())
}

/// What may be flushed when: nothing, clocks before and after key states, one alone, both.
static SCENES: LazyLock<Vec<Scene>> = LazyLock::new(|| {
    let flushes: [&[(u32, Table)]; 6] = [
        &[],
        &[(WRITES, Table::Clocks)],
        &[(20, Table::Keys), (50, Table::Clocks)],
        &[(20, Table::Clocks), (50, Table::Keys)],
        &[(WRITES, Table::Keys)],
        &[(40, Table::Keys), (40, Table::Clocks), (40, Table::Meta)],
    ];
    flushes.into_iter().map(Scene::new).collect()
});

#[test]
fn sound_journals_lose_nothing() {
    for scene in SCENES.iter() {
        for image in [&scene.image, &scene.split()] {
            let survived = scene.survive(image, "nothing happened");
            assert_eq!((survived.lost, survived.bad_records), (0, 0));
            assert_eq!(survived.clock, scene.clock());
        }
    }
}

/// Each field of a batch, by its place from the batch's start.
const PLACES: [(&str, usize); 12] = [
    ("start", 0),
    ("entries", 1),
    ("number, low", 5),
    ("number, high", 10),
    ("number, highest", 12),
    ("item", 13),
    ("kind", 14),
    ("compression", 15),
    ("table", 16),
    ("key length", 24),
    ("value length", 26),
    ("length here", 30),
];

/// And from its end.
const LAST_PLACES: [(&str, usize); 5] =
    [("value", 60), ("end", 13), ("checksum", 12), ("magic", 4), ("version", 1)];

/// Of both journals the first batch, one in the middle and the last.
const BATCHES: [usize; 6] = [0, 22, SPLIT, SPLIT + 1, 48, WRITES as usize];

#[test]
fn a_flipped_bit_anywhere_in_a_batch_is_survived() {
    for (pattern, scene) in SCENES.iter().enumerate() {
        let split = scene.split();
        for turn in 0..PLACES.len() + LAST_PLACES.len() {
            // Every field in every batch, and every field in every scene.
            let batch = BATCHES[(turn + pattern) % BATCHES.len()];
            let (start, end) = (batch.checked_sub(1).map_or(0, |it| scene.ends[it]), scene.ends[batch]);
            let (field, at) = match PLACES.get(turn) {
                Some((field, at)) => (field, start + at),
                None => {
                    let (field, before) = &LAST_PLACES[turn - PLACES.len()];
                    (field, end - before)
                }
            };
            let mut image = split.clone();
            let bit = [0x80, 0x01][turn % 2];
            match at.checked_sub(scene.ends[SPLIT]) {
                Some(at) => image.journal(1)[at] ^= bit,
                None => image.journal(0)[at] ^= bit,
            }
            let about = format!("pattern {pattern}, batch {batch}, {field}, bit {bit:#x}");
            let survived = scene.survive(&image, &about);
            assert!(survived.lost <= 2, "{about}: nearly all is kept, {} is lost", survived.lost);
        }
    }
}

#[test]
fn a_flipped_bit_after_the_data_loses_nothing() {
    for scene in SCENES.iter() {
        for journal in [0, 1] {
            let mut image = scene.split();
            let at = image.journal(journal).len() - 4000;
            image.journal(journal)[at] ^= 0x08;
            let survived = scene.survive(&image, &format!("journal {journal}"));
            assert_eq!(survived.lost, 0);
            // After an older journal's last batch there may have been another.
            assert_eq!(survived.bad_records, u64::from(journal == 0));
            assert_eq!(survived.clock == scene.clock(), journal == 1);
        }
    }
}

/// Parts of what was not synced reach the disk in any order; what was synced, and what was known by then, stays.
#[test]
fn a_torn_end_costs_what_was_not_synced_and_no_clock() {
    const PARTS: usize = 4;
    let scene = &SCENES[5];
    let (synced, end) = (scene.ends[scene.ends.len() - 2], *scene.ends.last().unwrap());
    let torn = |lost: u32| {
        let mut image = scene.image.clone();
        for (at, byte) in image.journal(0)[synced..end].iter_mut().enumerate() {
            let part = at * PARTS / (end - synced);
            *byte = if lost >> part & 1 == 1 { 0 } else { *byte };
        }
        scene.survive(&image, &format!("without parts {lost:#b}"))
    };
    let without = torn((1 << PARTS) - 1);
    for lost in 1..(1 << PARTS) - 1 {
        let survived = torn(lost);
        assert_eq!((survived.lost, survived.bad_records), (without.lost, 0));
        assert_eq!(survived.clock, without.clock);
    }
    let unsynced = scene.clock().iter().zip(&without.clock).filter(|(all, left)| all != left).count();
    assert_eq!((without.lost, unsynced), (1, 1), "one write");
}

/// A directory that forgot its clocks knows again what it holds as soon as it was read.
#[test]
fn forgotten_clocks_are_on_disk_again_once_the_records_were_read() {
    let scene = &SCENES[0];
    let mut image = scene.image.clone();
    image.journal(0)[scene.ends[20] + 20] ^= 1;
    let directory = image.restore();
    let engine = || Arc::new(DiskEngine::open(directory.path(), DiskOptions::default()).unwrap());
    let store = Store::open(engine(), &options()).unwrap();
    assert_eq!(store.counters().bad_records, 1);
    let faults = |engine: &DiskEngine| inspect(engine, |_| ()).unwrap().fault_count;
    mend(&store);
    store.barrier().wait().unwrap();
    drop(store);
    assert_eq!(faults(&engine()), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_flips_or_is_missing_is_survived(
        pattern in 0..6usize,
        split: bool,
        mishaps in prop::collection::vec((0..2u64, 0..4u8, any::<prop::sample::Index>(), 0..300usize, any::<u8>()), 1..4),
    ) {
        let scene = &SCENES[pattern];
        let mut image = if split { scene.split() } else { scene.image.clone() };
        for (journal, kind, at, length, byte) in &mishaps {
            let bytes = image.journal(if split { *journal } else { 0 });
            let at = at.index(bytes.len().max(1));
            let until = (at + length).min(bytes.len());
            match kind {
                0 => bytes.truncate(at),
                1 => bytes.iter_mut().skip(at).take(1).for_each(|it| *it ^= byte),
                2 => bytes[at..until].fill(0),
                _ => bytes[at..until].fill(*byte),
            }
        }
        scene.survive(&image, &format!("pattern {pattern}, {mishaps:?}"));
    }
}
