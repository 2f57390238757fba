//! The check agrees with fjall about what fjall writes, and tells a torn end from damage.

use super::*;
use crate::engine::{Batch as Changes, DiskEngine, DiskOptions, Engine, Table};
use proptest::prelude::*;
use tempfile::TempDir;

/// A journal of batches of every kind, as fjall writes it, in a database that is closed.
fn written() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let engine = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    for (round, length) in [0, 10, 4_095, 4_096, 100_000].into_iter().enumerate() {
        let mut batch = Changes::default();
        for table in Table::ALL {
            batch.put(table, format!("key {round}"), vec![b'v'; length]);
            batch.remove(table, "another");
        }
        engine.commit(batch).wait().unwrap();
        engine.commit(Changes::default().synced()).wait().unwrap();
    }
    engine.close().unwrap();
    let journal = directory.path().join("db/0.jnl");
    (directory, journal)
}

/// Replaces a journal's bytes, and checks.
fn checked(journal: &Path, bytes: &[u8]) -> (Checked, Vec<u8>) {
    fs::write(journal, bytes).unwrap();
    let database = journal.parent().unwrap();
    let checked = check(database).unwrap();
    trust(database).unwrap();
    (checked, fs::read(journal).unwrap())
}

#[test]
fn what_the_database_writes_is_read_to_its_end() {
    let (directory, journal) = written();
    let whole = fs::metadata(&journal).unwrap().len();
    assert_eq!(whole, 64 << 20, "made long beforehand");
    let bytes = data_of(&journal).unwrap();
    assert!(bytes.len() < 30_000, "compressed");
    let ends = ends_of_batches(&bytes);
    assert_eq!((ends.len(), ends.last()), (5, Some(&bytes.len())), "a batch for each that changes anything");
    let Checked { last, damaged: 0, distrust: false } = check(&directory.path().join("db")).unwrap() else {
        panic!("nothing is wrong");
    };
    assert!(last.is_some());
    assert_eq!(fs::metadata(&journal).unwrap().len(), whole, "nothing was done");
}

#[test]
fn what_no_version_marks_is_left_alone() {
    let (directory, journal) = written();
    let version = directory.path().join("db/version");
    for mark in [&b"FJL\x04"[..], b""] {
        fs::write(&version, mark).unwrap();
        assert_eq!(
            checked(&journal, b"not to be judged"),
            (Checked::default(), b"not to be judged".to_vec())
        );
    }
    fs::remove_file(version).unwrap();
    assert_eq!(checked(&journal, b"not to be judged").0, Checked::default());
}

#[test]
fn an_end_that_is_torn_anywhere_is_cut_off() {
    let (_directory, journal) = written();
    let bytes = data_of(&journal).unwrap();
    let ends = ends_of_batches(&bytes);
    let whole = |length: usize| ends.iter().copied().filter(|end| *end <= length).max().unwrap_or(0);
    let last = checked(&journal, &bytes).0.last;
    let around = ends.iter().flat_map(|end| [end - 40, end - 1, end + 1, end + 13, end + 50]);
    for length in around.filter(|length| *length < bytes.len()).chain([0, 1, 200]) {
        for zeros in [0, 1000] {
            let torn = [&bytes[..length], &vec![0; zeros]].concat();
            let (found, left) = checked(&journal, &torn);
            assert_eq!((found.damaged, found.distrust), (0, false), "{length} bytes and {zeros} zeros");
            assert!(found.last < last);
            assert_eq!(left, torn[..left.len()]);
            assert_eq!(ends_of_batches(&left).last().copied().unwrap_or(0), whole(length));
        }
    }
}

#[test]
fn of_a_damaged_journal_the_sound_batches_stay_and_the_rest_is_set_aside() {
    let (directory, journal) = written();
    let bytes = data_of(&journal).unwrap();
    let ends = ends_of_batches(&bytes);
    let mut damaged = bytes.clone();
    damaged[ends[1] + 20] ^= 4;
    let sound = [&bytes[..ends[1]], &bytes[ends[2]..]].concat();
    let (found, left) = checked(&journal, &damaged);
    assert_eq!((found.damaged, found.distrust), (1, true));
    assert_eq!(left, sound);
    assert_eq!(fs::read(directory.path().join("db.damaged-journals/0.jnl")).unwrap(), damaged);
    let (found, left) = checked(&journal, &sound);
    assert_eq!((found.damaged, found.distrust, left), (0, false, sound));
}

/// Nobody stores batches by storing a value that looks like some.
#[test]
fn what_stands_in_a_damaged_value_is_not_taken_for_batches() {
    let (directory, journal) = written();
    let engine = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    let mut value = data_of(&journal).unwrap();
    let ends = ends_of_batches(&value);
    value.truncate(ends[1]);
    // Later numbers, as another member's might be.
    [0, ends[0]].into_iter().for_each(|start| value[start + 5 + 3] = 1);
    let mut batch = Changes::default();
    batch.put(Table::Keys, "a journal", value);
    engine.commit(batch).wait().unwrap();
    let mut batch = Changes::default();
    batch.put(Table::Keys, "the last", "1");
    engine.commit(batch).wait().unwrap();
    engine.close().unwrap();
    let mut bytes = data_of(&journal).unwrap();
    let ends = ends_of_batches(&bytes);
    bytes[ends[4]] = 0;
    let (found, left) = checked(&journal, &bytes);
    assert_eq!(found.damaged, 1);
    assert_eq!(left, [&bytes[..ends[4]], &bytes[ends[5]..]].concat());
}

#[test]
fn without_any_journal_there_is_an_empty_one_and_distrust_until_it_is_lifted() {
    let (directory, journal) = written();
    fs::remove_file(&journal).unwrap();
    let database = directory.path().join("db");
    assert_eq!(check(&database).unwrap(), Checked { last: None, damaged: 1, distrust: true });
    assert_eq!(check(&database).unwrap(), Checked { last: None, damaged: 0, distrust: true });
    trust(&database).unwrap();
    assert_eq!(check(&database).unwrap(), Checked::default());
    assert_eq!(fs::read(&journal).unwrap(), b"");
}

proptest! {
    #[test]
    fn numbers_ascend_among_what_is_left(numbers in prop::collection::vec(0..40u64, 0..30)) {
        let batches = numbers.iter().map(|number| ((), Batch { place: 0..1, number: *number })).collect();
        let left: Vec<_> = ascending(batches).into_iter().map(|((), batch)| batch.number).collect();
        prop_assert!(left.is_sorted_by(|a, b| a < b), "{left:?}");
    }

    #[test]
    fn of_ascending_numbers_one_that_is_changed_costs_one(
        gaps in prop::collection::vec(1..4u64, 3..30),
        at: prop::sample::Index,
        bit in 0..63,
    ) {
        let numbers: Vec<u64> = gaps.iter().scan(100, |sum, gap| { *sum += gap; Some(*sum) }).collect();
        let mut changed = numbers.clone();
        let at = at.index(numbers.len());
        changed[at] ^= 1u64 << bit;
        let batches = changed.into_iter().enumerate();
        let batches = batches.map(|(index, number)| (index, Batch { place: 0..1, number })).collect();
        let left: Vec<_> = ascending(batches).into_iter().map(|(index, _)| index).collect();
        prop_assert!(left.len() >= numbers.len() - 1);
        prop_assert!(left.is_sorted());
    }
}
