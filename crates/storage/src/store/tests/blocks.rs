//! Bits that flip on a real disk, below the records: the store opens, serves what is sound, has the rest given back by
//! other replicas, and is whole after its next start.

use super::*;
use std::path::PathBuf;

const KEYS: u32 = 3000;

fn spread(index: u32) -> StoreKey {
    StoreKey::new(BucketId::DEFAULT, u128::from(index) << 115, format!("key-{index}"))
}

fn open(directory: &TempDir) -> Store {
    let engine = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    let store = Store::open(Arc::new(engine), &StoreOptions { cache_bytes: 0, ..options() }).unwrap();
    look_through(&store);
    store
}

/// The files of one table, as its flushes left them.
fn table_files(directory: &TempDir) -> Vec<PathBuf> {
    fn walk(path: PathBuf) -> Vec<PathBuf> {
        if path.is_dir() {
            return std::fs::read_dir(path).unwrap().flat_map(|it| walk(it.unwrap().path())).collect();
        }
        vec![path]
    }
    let mut files = walk(directory.path().join("db/keyspaces"));
    files.retain(|it| it.parent().unwrap().ends_with("tables"));
    files.sort();
    files
}

/// A directory whose every table was flushed to files, and another replica that holds the same.
fn flushed() -> (TempDir, Store) {
    let directory = TempDir::new().unwrap();
    let engine = Arc::new(DiskEngine::open(directory.path(), DiskOptions::default()).unwrap());
    let store = Store::open(engine.clone(), &options()).unwrap();
    let other = other_store(1);
    for index in 0..KEYS {
        let written =
            put(&store, &spread(index), &blind(), "a value of some length, so that there are blocks");
        other.merge(&spread(index), &written.state).unwrap();
        if index % 10 == 0 {
            drop(store.park(5, &spread(index), &written.state, 10).unwrap());
        }
    }
    store.close().unwrap();
    drop((store, engine));
    let engine = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    engine.flush();
    drop(engine);
    (directory, other)
}

fn readable(store: &Store) -> usize {
    store.scan(None, 9999).unwrap().states.len()
}

#[test]
fn a_flipped_bit_in_any_file_is_survived_and_healed() {
    let (pristine, other) = flushed();
    let files = table_files(&pristine);
    assert!(files.len() >= 4, "{files:?}");
    let mut lost_keys = 0;
    for file in &files {
        let place = file.strip_prefix(pristine.path()).unwrap();
        let size = std::fs::metadata(file).unwrap().len();
        // In the data, which is most of a file and comes first.
        for at in [size / 5, size / 3] {
            let directory = copy_of(&pristine);
            let path = directory.path().join(place);
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[usize::try_from(at).unwrap()] ^= 0x10;
            std::fs::write(&path, bytes).unwrap();
            lost_keys += survive(&directory, &other, &format!("{} at {at}", place.display()));
        }
    }
    assert!(lost_keys > 0, "some bits were those of key states");
}

fn survive(directory: &TempDir, other: &Store, about: &str) -> usize {
    let options = StoreOptions { cache_bytes: 0, ..options() };
    let opened = DiskEngine::open(directory.path(), DiskOptions::default()).map(Arc::new);
    let store = match opened.as_ref().map(|engine| Store::open(engine.clone(), &options)) {
        Ok(Ok(store)) => store,
        // Where the directory no longer knows who it is, or which files it has, it says so and is not used.
        Ok(Err(error)) => {
            assert!(
                matches!(error, StoreOpenError::Identity(_) | StoreOpenError::Read(_)),
                "{about}: {error}"
            );
            return 0;
        }
        Err(error) => {
            assert!(error.to_string().contains("cannot be opened"), "{about}: {error}");
            return 0;
        }
    };
    look_through(&store);
    let lost = KEYS as usize - readable(&store);
    for index in 0..KEYS {
        let served = store.get(&spread(index)).unwrap();
        let sound = other.get(&spread(index)).unwrap();
        assert!(served.is_none() || served == sound, "{about}: what is served is what was written");
    }
    assert_eq!(
        lost > 0,
        store.tree(tree(0), Directory::total) != other.tree(tree(0), Directory::total),
        "{about}"
    );
    store.close().unwrap();
    drop((store, opened));

    // The next start leaves the damage behind. What it lost is given back.
    let store = open(directory);
    for index in 0..KEYS {
        store.merge(&spread(index), &other.get(&spread(index)).unwrap().unwrap()).unwrap();
    }
    store.close().unwrap();
    drop(store);
    let store = open(directory);
    assert_eq!((readable(&store), store.counters().bad_records), (KEYS as usize, 0), "{about}");
    assert_eq!(store.tree(tree(0), Directory::total), other.tree(tree(0), Directory::total), "{about}");
    lost
}

fn copy_of(directory: &TempDir) -> TempDir {
    fn copy(from: PathBuf, to: PathBuf) {
        if from.is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            for entry in std::fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                copy(entry.path(), to.join(entry.file_name()));
            }
        } else {
            std::fs::copy(from, to).unwrap();
        }
    }
    let copied = TempDir::new().unwrap();
    copy(directory.path().to_owned(), copied.path().to_owned());
    copied
}
