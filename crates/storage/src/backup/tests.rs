//! What goes into a backup comes out of it; what is not whole does not.

use super::*;
use crate::engine::MemoryEngine;
use crate::key::{BucketId, StoreKey};
use crate::store::{Store, StoreOptions};
use crate::version::{Causal, Content};
use chinwag_merkle::{TreeId, TreeKey};
use std::sync::Arc;

fn options() -> StoreOptions {
    StoreOptions { partitions: 4, ..StoreOptions::new(TreeKey::new([3; 16]), 42, 1000) }
}

fn key(index: u32) -> StoreKey {
    StoreKey::new(BucketId::DEFAULT, u128::from(index) << 100, format!("key-{index}"))
}

fn put(store: &Store, index: u32) {
    let value = Content::Value(vec![7; 1000].into());
    store.put(&key(index), &Causal::EMPTY, value, 0).unwrap().commit.wait().unwrap();
}

fn write(engine: &dyn Engine, mut between: impl FnMut()) -> Vec<u8> {
    let mut writer = BackupWriter::new(Vec::new()).unwrap();
    let mut page = backup_page(engine, None).unwrap();
    loop {
        between();
        let next = page.next.clone();
        writer.add(page).unwrap();
        let Some(next) = next else { return writer.finish().unwrap().0 };
        page = backup_page(engine, Some(&next)).unwrap();
    }
}

#[test]
fn a_restored_store_holds_all_and_takes_a_new_actor() {
    let engine = Arc::new(MemoryEngine::new());
    let store = Store::open(engine.clone(), &options()).unwrap();
    (0..3000).for_each(|index| put(&store, index));
    store.park(5, &key(1), &store.get(&key(1)).unwrap().unwrap(), 10).unwrap().commit.wait().unwrap();
    store.put_note("n", b"note").unwrap().wait().unwrap();
    let before = store.identity();
    store.close().unwrap();
    let file = write(&engine.reopen(), || ());
    assert_eq!(verify_backup(&file[..]).unwrap().damaged, 0);

    let directory = tempfile::TempDir::new().unwrap();
    restore_backup(&file[..], directory.path()).unwrap();
    let restored = DiskEngine::open(directory.path(), DiskOptions::default()).unwrap();
    let restored = Store::open(Arc::new(restored), &options()).unwrap();
    assert_eq!(restored.scan(None, 9999).unwrap(), store_after(&engine).scan(None, 9999).unwrap());
    assert_eq!(restored.hinted(5, &key(1)).unwrap(), restored.get(&key(1)).unwrap());
    assert_eq!(restored.note("n").unwrap().as_deref(), Some(&b"note"[..]));
    assert_ne!(restored.identity().actor, before.actor, "although the stop was clean");
    assert!(restored.identity().generation > before.generation);
}

fn store_after(engine: &MemoryEngine) -> Store {
    Store::open(Arc::new(engine.reopen()), &options()).unwrap()
}

/// A clock may know less than the versions beside it; it must not know more, or nobody would give back what is missing.
#[test]
fn writes_meanwhile_leave_no_clock_that_knows_more_than_is_there() {
    let engine = Arc::new(MemoryEngine::new());
    let store = Store::open(engine.clone(), &options()).unwrap();
    (0..3000).for_each(|index| put(&store, index));
    let mut index = 3000;
    let file = write(&*engine, || {
        (index..index + 50).for_each(|index| put(&store, index));
        index += 50;
    });
    assert!(index > 3100, "there were several pages");
    let directory = tempfile::TempDir::new().unwrap();
    restore_backup(&file[..], directory.path()).unwrap();
    let restored = Arc::new(DiskEngine::open(directory.path(), DiskOptions::default()).unwrap());
    let restored = Store::open(restored, &options()).unwrap();
    let held: Causal = {
        let states = restored.scan(None, 9999).unwrap().states;
        states.iter().flat_map(|(_, state)| state.siblings().iter().map(|it| it.dot)).collect()
    };
    for partition in 0..4 {
        let tree = TreeId { partition, n: 3 };
        assert!(held.includes(&restored.clock(tree)), "partition {partition}");
    }
}

#[test]
fn a_file_that_is_not_whole_is_refused() {
    let engine = Arc::new(MemoryEngine::new());
    let store = Store::open(engine.clone(), &options()).unwrap();
    (0..20).for_each(|index| put(&store, index));
    let file = write(&*engine, || ());
    for cut in 0..file.len() {
        assert!(matches!(verify_backup(&file[..cut]), Err(BackupError::Truncated)), "cut at {cut}");
    }
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1;
        let Err(error) = verify_backup(&damaged[..]) else { panic!("flipped at {at}") };
        match at {
            0..15 => assert!(matches!(error, BackupError::Foreign), "{at}: {error}"),
            15 => assert!(matches!(error, BackupError::Version), "{at}: {error}"),
            _ => {}
        }
    }
}

#[test]
fn damaged_records_are_left_out_and_counted() {
    let engine = MemoryEngine::new();
    let mut batch = Batch::default();
    batch.put(Table::Keys, "k", "rotten");
    engine.commit(batch).wait().unwrap();
    let page = backup_page(&engine, None).unwrap();
    assert_eq!((page.records.len(), page.damaged, page.next), (0, 1, None));
}
