//! The contract of `Engine`, held against every engine, and what only a directory on disk can get wrong.

use super::*;
use std::cell::RefCell;
use std::future::Future;
use std::sync::Arc;
use tempfile::TempDir;

/// Something that holds an engine's data while it is closed and opened again.
trait Medium {
    fn open(&self) -> Arc<dyn Engine>;
}

struct Memory(RefCell<Arc<MemoryEngine>>);

impl Medium for Memory {
    fn open(&self) -> Arc<dyn Engine> {
        let engine = Arc::new(self.0.borrow().reopen());
        self.0.replace(Arc::clone(&engine));
        engine
    }
}

struct Disk(TempDir, DiskOptions);

impl Medium for Disk {
    fn open(&self) -> Arc<dyn Engine> {
        Arc::new(DiskEngine::open(self.0.path(), self.1).unwrap())
    }
}

/// Every kind of engine, empty.
fn media() -> Vec<Box<dyn Medium>> {
    let disk =
        |durability| Disk(TempDir::new().unwrap(), DiskOptions { durability, ..DiskOptions::default() });
    vec![
        Box::new(Memory(RefCell::default())),
        Box::new(disk(Durability::Buffered)),
        Box::new(disk(Durability::Interval(Duration::from_millis(5)))),
        Box::new(disk(Durability::Fsync)),
    ]
}

fn batch(changes: &[(Table, &'static str, Option<&'static str>)]) -> Batch {
    let mut batch = Batch::default();
    for &(table, key, record) in changes {
        match record {
            Some(record) => batch.put(table, key, record),
            None => batch.remove(table, key),
        }
    }
    batch
}

fn scan(engine: &dyn Engine, from: &str, to: Option<&str>, limit: usize) -> String {
    let page = engine.scan(Table::Keys, from.as_bytes(), to.map(str::as_bytes), limit).unwrap();
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    page.iter()
        .map(|(key, record)| format!("{}{} ", text(key), text(record)))
        .collect::<String>()
        .trim_end()
        .to_owned()
}

#[test]
fn a_batch_is_seen_at_once_and_by_the_next_process() {
    for medium in media() {
        let engine = medium.open();
        let commit = engine.commit(batch(&[
            (Table::Keys, "k", Some("1")),
            (Table::Hints, "k", Some("2")),
            (Table::Clocks, "k", Some("3")),
            (Table::Meta, "k", Some("4")),
            (Table::Sums, "k", Some("5")),
            (Table::Marks, "k", Some("6")),
        ]));
        let all = |engine: &dyn Engine| Table::ALL.map(|table| engine.get(table, b"k").unwrap());
        let expected = ["1", "2", "3", "4", "5", "6"].map(|record| Some(Bytes::from(record)));
        assert_eq!(all(&*engine), expected, "before the commit resolved");
        commit.wait().unwrap();
        assert_eq!(all(&*engine), expected, "after the commit resolved");
        assert_eq!(engine.get(Table::Keys, b"kk").unwrap(), None);
        drop(engine);
        assert_eq!(all(&*medium.open()), expected, "after a restart");
    }
}

#[test]
fn batches_take_effect_in_the_order_of_submission() {
    for medium in media() {
        let engine = medium.open();
        let mut commits = Vec::new();
        for round in 0..300u32 {
            let mut batch = Batch::default();
            batch.put(Table::Keys, "last", round.to_string());
            batch.put(Table::Keys, format!("at{}", round % 7), round.to_string());
            batch.remove(Table::Keys, format!("at{}", (round + 1) % 7));
            commits.push(engine.commit(batch));
            assert_eq!(engine.get(Table::Keys, b"last").unwrap(), Some(round.to_string().into()));
        }
        let expected = "at0294 at1295 at2296 at3297 at4298 at5299 last299";
        assert_eq!(scan(&*engine, "", None, 99), expected);
        engine.commit(Batch::default()).wait().expect("a barrier");
        for mut commit in commits {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            let settled = std::pin::Pin::new(&mut commit).poll(&mut context);
            assert_eq!(settled, std::task::Poll::Ready(Ok(())), "a barrier waits for all before it");
        }
        assert_eq!(scan(&*engine, "", None, 99), expected);
        drop(engine);
        assert_eq!(scan(&*medium.open(), "", None, 99), expected);
    }
}

#[test]
fn a_scan_keeps_its_bounds() {
    for medium in media() {
        let engine = medium.open();
        let earlier = [("b", "1"), ("d", "1"), ("f", "1"), ("h", "1")];
        let changes = earlier.map(|(key, record)| (Table::Keys, key, Some(record)));
        engine.commit(batch(&changes)).wait().unwrap();
        // Over what is stored: one more, one less, one changed, and a neighbour table that must not show.
        let commit = engine.commit(batch(&[
            (Table::Keys, "c", Some("2")),
            (Table::Keys, "d", None),
            (Table::Keys, "f", Some("2")),
            (Table::Keys, "i", Some("2")),
            (Table::Hints, "a", Some("2")),
        ]));
        let check = |engine: &dyn Engine| {
            assert_eq!(scan(engine, "", None, 99), "b1 c2 f2 h1 i2");
            assert_eq!(scan(engine, "c", Some("h"), 99), "c2 f2", "from is within, to is not");
            assert_eq!(scan(engine, "bb", Some("cc"), 99), "c2");
            assert_eq!(scan(engine, "d", Some("e"), 99), "");
            assert_eq!(scan(engine, "z", None, 99), "");
            assert_eq!(scan(engine, "h", Some("b"), 99), "", "to before from");
            for (limit, expected) in ["", "b1", "b1 c2", "b1 c2 f2"].into_iter().enumerate() {
                assert_eq!(scan(engine, "", None, limit), expected);
            }
        };
        check(&*engine);
        commit.wait().unwrap();
        check(&*engine);
    }
}

#[test]
fn a_closed_engine_refuses() {
    for medium in media() {
        let engine = medium.open();
        engine.commit(batch(&[(Table::Keys, "k", Some("1"))])).wait().unwrap();
        engine.close().unwrap();
        engine.close().expect("closing twice is closing once");
        assert_eq!(engine.admit(), Err(Refusal::Closed));
        assert_eq!(engine.commit(batch(&[(Table::Keys, "k", Some("2"))])).wait(), Err(CommitError::Closed));
        assert_eq!(engine.get(Table::Keys, b"k"), Err(Refusal::Closed.into()));
        assert_eq!(engine.scan(Table::Keys, b"", None, 1), Err(Refusal::Closed.into()));
        // The directory is free although a handle lingers.
        assert_eq!(scan(&*medium.open(), "", None, 9), "k1");
        assert_eq!(engine.health(), Health::Well);
    }
}

#[test]
fn a_commit_may_be_dropped() {
    for medium in media() {
        let engine = medium.open();
        drop(engine.commit(batch(&[(Table::Keys, "k", Some("1"))])));
        engine.commit(batch(&[(Table::Keys, "l", Some("2"))])).wait().unwrap();
        assert_eq!(scan(&*engine, "", None, 9), "k1 l2");
    }
}

#[test]
fn a_directory_serves_one_engine_at_a_time() {
    let directory = TempDir::new().unwrap();
    let first = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    let error = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap_err();
    assert!(matches!(&error, OpenError::InUse { path } if path == directory.path()), "{error}");
    assert!(error.to_string().contains(&directory.path().display().to_string()), "{error}");
    drop(first);
    DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("thesis.tex"), "years of work").unwrap();
    let error = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was added");

    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("chinwag-store"), "chinwag store, layout 7\n").unwrap();
    let error = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap_err();
    assert!(matches!(&error, OpenError::Layout { found, .. } if found == "7"), "{error}");

    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("chinwag-store"), vec![0xff; 999]).unwrap();
    let error = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}

#[test]
fn a_directory_that_cannot_be_is_an_error() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = DiskEngine::open(&path, DiskOptions::default()).unwrap_err();
        assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains("file"), "{error}");
    }
}

#[test]
fn a_missing_directory_is_made_and_a_first_start_cut_short_is_gone_on_with() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a/b");
    drop(DiskEngine::open(&path, DiskOptions::default()).unwrap());
    let path = directory.path().join("c");
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("chinwag-store"), "").unwrap();
    drop(DiskEngine::open(&path, DiskOptions::default()).unwrap());
    drop(DiskEngine::open(&path, DiskOptions::default()).unwrap());
}

#[test]
fn damage_below_the_records_is_an_error() {
    let directory = TempDir::new().unwrap();
    let open = || DiskEngine::open(directory.path(), DiskOptions::default());
    let engine = open().unwrap();
    engine
        .commit(batch(&[(Table::Keys, "k", Some("record")), (Table::Meta, "k", Some("1"))]))
        .wait()
        .unwrap();
    engine.flush();
    drop(engine);
    flip_in_table(&directory, b"record");
    let engine = open().unwrap();
    assert!(matches!(engine.get(Table::Keys, b"k"), Err(ReadError::Damaged { table: Table::Keys, .. })));
    let page = engine.scan(Table::Keys, b"", None, 9).unwrap();
    assert!(
        matches!(&page[..], [(_, record)] if record.is_empty()),
        "a stretch that cannot be read: {page:?}"
    );
    assert_eq!(engine.get(Table::Meta, b"k").unwrap(), Some("1".into()), "the rest can be read");
    drop(engine);

    std::fs::write(directory.path().join("db/version"), "").unwrap();
    let error = open().unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
}

/// A compaction reads all that it merges, and may be the first to. The database fails then without saying why.
#[test]
fn what_stops_a_compaction_is_left_behind_at_the_next_start() {
    // The first file moves to the last level as it is; four more are merged.
    const FLUSHES_TO_COMPACT: usize = 5;
    let directory = TempDir::new().unwrap();
    let open = || DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    let engine = open();
    let flush = |engine: &DiskEngine, round: usize| {
        for key in if round == 2 { ["m", "n"] } else { ["a", "z"] } {
            let mut batch = Batch::default();
            batch.put(Table::Keys, format!("{key}{round}"), format!("record {round}"));
            engine.commit(batch).wait().unwrap();
        }
        engine.flush_table(Table::Keys);
    };
    (1..FLUSHES_TO_COMPACT).for_each(|round| flush(&engine, round));
    drop(engine);
    flip_in_table(&directory, b"record 2");

    let engine = open();
    flush(&engine, FLUSHES_TO_COMPACT);
    let refused =
        |engine: &DiskEngine| engine.commit(batch(&[(Table::Meta, "k", Some("1"))])).wait().is_err();
    while !refused(&engine) {}
    assert!(matches!(engine.health(), Health::Poisoned { .. }));
    drop(engine);

    let engine = open();
    assert_eq!(
        scan(&engine, "", None, 99),
        "z1record 1 z3record 3 z4record 4 z5record 5",
        "beyond the block"
    );
    (0..FLUSHES_TO_COMPACT).for_each(|round| flush(&engine, round));
    engine.close().expect("compactions get through");
    drop(engine);

    // What is only suspected is not copied.
    std::fs::write(directory.path().join("suspected"), "").unwrap();
    let files = walk(&directory.path().join("db"));
    drop(open());
    assert!(files.iter().filter(|file| file.parent().unwrap().ends_with("tables")).all(|file| file.exists()));
    assert!(!directory.path().join("suspected").exists());
}

/// Flips a bit in the first block of the one file of a table that holds `what`.
fn flip_in_table(directory: &TempDir, what: &[u8]) {
    let files = walk(&directory.path().join("db/keyspaces")).into_iter();
    let files: Vec<_> = files.filter(|file| holds(file, what)).collect();
    let [file] = &files[..] else { panic!("one file of one flush: {files:?}") };
    let mut bytes = std::fs::read(file).unwrap();
    bytes[40] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

fn walk(path: &Path) -> Vec<std::path::PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    std::fs::read_dir(path).unwrap().flat_map(|entry| walk(&entry.unwrap().path())).collect()
}

fn holds(file: &Path, what: &[u8]) -> bool {
    // The journal is made 64 MiB long and stays mostly empty; what is looked for is at its start.
    let mut start = Vec::new();
    std::io::Read::read_to_end(
        &mut std::io::Read::take(std::fs::File::open(file).unwrap(), 1 << 16),
        &mut start,
    )
    .unwrap();
    start.windows(what.len()).any(|window| window == what)
}
