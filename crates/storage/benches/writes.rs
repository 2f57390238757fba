//! What trees cost the path of a write to disk: overwrites on the disk engine with what a tree needs beside them, and
//! without, in the same run.
//!
//! `cargo bench -p chinwag-storage --bench writes [-- KEYS]`: over a million keys, or as many as it is told. Every write
//! reads the record that is there and commits its new one together with the replica's clock, as the store does; with a
//! tree it also hashes both, marks the leaf if it is the first since the last checkpoint, and accounts for it. A
//! checkpoint ends each round, which is as much as a minute of 5,000 writes a second has. Times are CPU time of the
//! process, the engine's threads included, until the engine is closed. It fails if the goal is missed.

use std::error::Error;
use std::io::{self, Write};

use bytes::Bytes;
use chinwag_merkle::{Cut, Element, Entry, Interval, Tree, TreeKey, element};
use chinwag_storage::{Batch, DiskEngine, DiskOptions, Engine, Table};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rustix::time::{ClockId, clock_gettime};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Bytes of a record.
const RECORD_BYTES: usize = 200;
/// Overwrites of a round.
const WRITES: u64 = 300_000;
/// Rounds with and without a tree, in turns.
const ROUNDS: u64 = 3;
/// Writes committed before any is waited for.
const UNDER_WAY: u64 = 64;
/// Records of a batch while a directory is filled.
const FILLED_AT_ONCE: u64 = 1_000;
/// What a write may cost with a tree, of what it costs without.
const GOAL: f64 = 1.15;
/// Spreads indices over the ring, as hashing would.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

fn main() -> Result<()> {
    let keys: u64 = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000_000);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{keys} keys, records of {RECORD_BYTES} bytes, {WRITES} overwrites at random: CPU us a write"
    )?;
    let (mut plain, mut with_tree) = (f64::MAX, f64::MAX);
    for round in 1..=ROUNDS {
        let without = Round::new(keys, None)?.run(round)?;
        let with = Round::new(keys, Some(tree_of(keys)?))?.run(round)?;
        writeln!(
            out,
            "  {:.2} without a tree, {:.2} with ({} marks, {} sums saved): {:.3} times as much",
            without.micros,
            with.micros,
            with.marks,
            with.sums,
            with.micros / without.micros
        )?;
        out.flush()?;
        (plain, with_tree) = (plain.min(without.micros), with_tree.min(with.micros));
    }
    let ratio = with_tree / plain;
    writeln!(out, "with a tree, of without, the best of each: {ratio:.3} (goal: at most {GOAL})")?;
    if ratio <= GOAL { Ok(()) } else { Err("the goal is missed".into()) }
}

/// Where the record of a key is: in the order of positions.
fn place(index: u64) -> Bytes {
    let position = position(index);
    let mut place = position.to_be_bytes().to_vec();
    place.extend(format!("key-{index:016}").into_bytes());
    place.into()
}

fn position(index: u64) -> u128 {
    u128::from(index).wrapping_mul(SPREAD)
}

/// A record that nothing compresses.
fn record(rng: &mut StdRng) -> Bytes {
    let mut record = vec![0; RECORD_BYTES];
    rng.fill_bytes(&mut record);
    record.into()
}

fn tree_key() -> TreeKey {
    TreeKey::new(*b"a key for trials")
}

fn element_of(place: &[u8], record: &[u8]) -> Element {
    element(&tree_key(), place, record)
}

/// What a directory is filled with, the same in every round.
fn filling(keys: u64) -> impl Iterator<Item = (u64, Bytes)> {
    let mut rng = StdRng::seed_from_u64(0);
    (0..keys).map(move |index| (index, record(&mut rng)))
}

/// The tree of a filled directory, its sums saved.
fn tree_of(keys: u64) -> Result<Tree> {
    let entry = |(index, record): (u64, Bytes)| Entry {
        position: position(index),
        element: element_of(&place(index), &record),
    };
    let mut entries: Vec<Entry> = filling(keys).map(entry).collect();
    entries.sort_unstable();
    let mut tree = Tree::from_entries(Interval::WHOLE, entries)?;
    let _saved = tree.checkpoint();
    Ok(tree)
}

/// One directory, filled, and what is measured on it.
struct Round {
    _directory: tempfile::TempDir,
    engine: DiskEngine,
    keys: u64,
    tree: Option<Tree>,
    marks: u64,
    sums: u64,
}

/// What a round came to.
struct Measured {
    micros: f64,
    marks: u64,
    sums: u64,
}

impl Round {
    fn new(keys: u64, tree: Option<Tree>) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let engine = DiskEngine::open(directory.path(), DiskOptions::default())?;
        let mut batch = Batch::default();
        for (index, record) in filling(keys) {
            batch.put(Table::Keys, place(index), record);
            if index.is_multiple_of(FILLED_AT_ONCE) {
                engine.commit(std::mem::take(&mut batch)).wait()?;
            }
        }
        engine.commit(batch).wait()?;
        // What filling left to be done is done before anything is measured.
        engine.close()?;
        let engine = DiskEngine::open(directory.path(), DiskOptions::default())?;
        Ok(Self { _directory: directory, engine, keys, tree, marks: 0, sums: 0 })
    }

    /// CPU time for each of the writes of a round.
    fn run(mut self, round: u64) -> Result<Measured> {
        let mut rng = StdRng::seed_from_u64(round);
        let before = cpu_seconds();
        for number in 0..WRITES {
            let index = rng.random_range(0..self.keys);
            let batch = self.write(number, index, record(&mut rng))?;
            let commit = self.engine.commit(batch);
            if number.is_multiple_of(UNDER_WAY) {
                commit.wait()?;
            }
        }
        let checkpoint = self.checkpoint();
        self.engine.commit(checkpoint).wait()?;
        self.engine.close()?;
        let micros = (cpu_seconds() - before) * 1e6 / WRITES as f64;
        Ok(Measured { micros, marks: self.marks, sums: self.sums })
    }

    fn write(&mut self, number: u64, index: u64, record: Bytes) -> Result<Batch> {
        let place = place(index);
        let old = self.engine.get(Table::Keys, &place)?.ok_or("a key is there")?;
        let mut batch = Batch::default();
        if let Some(tree) = &mut self.tree {
            // 5,000 writes a second.
            let now = number / 5;
            if number.is_multiple_of(5_000) {
                tree.settle(Cut::at(now, 20_000));
            }
            let (old, new) = (element_of(&place, &old), element_of(&place, &record));
            if let Some(leaf) = tree.mark(position(index)) {
                self.marks += 1;
                batch.put(Table::Marks, mark_place(leaf), Bytes::from_static(&[0; 9]));
            }
            let crowded = tree.apply(position(index), Some(old), Some(new), now);
            debug_assert_eq!(crowded, None, "no key is new");
        }
        batch.put(Table::Clocks, Bytes::from_static(&[0; 11]), Bytes::copy_from_slice(&number.to_be_bytes()));
        batch.put(Table::Keys, place, record);
        Ok(batch)
    }

    /// Saves the sums of the leaves that changed, and removes the marks.
    fn checkpoint(&mut self) -> Batch {
        let mut batch = Batch::default();
        let checkpoint = self.tree.as_mut().map(Tree::checkpoint).unwrap_or_default();
        for leaf in &checkpoint.leaves {
            let sum = [&leaf.sum.sum.to_be_bytes()[..], &leaf.sum.count.to_be_bytes(), &[0; 16]].concat();
            batch.put(Table::Sums, leaf.interval.first().to_be_bytes().to_vec(), sum);
        }
        for mark in &checkpoint.marks {
            batch.remove(Table::Marks, mark_place(*mark));
        }
        self.sums += checkpoint.leaves.len() as u64;
        batch
    }
}

fn mark_place(leaf: Interval) -> Bytes {
    [&leaf.first().to_be_bytes()[..], &[0, 0, 3, leaf.depth()]].concat().into()
}

/// CPU time of all threads of this process.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
