//! Buckets: those with an N of their own have trees and clocks of their own, those that keep the latest version agree on
//! which that is, and what expires goes the way of what is deleted.

use super::graves::{OTHERS, hear_all};
use super::*;

/// A bucket whose keys have five replicas.
const FIVE: BucketId = BucketId(9);
const TREE_OF_FIVE: TreeId = TreeId { partition: 0, n: 5 };

fn store_with_five(engine: Arc<dyn Engine>) -> Store {
    let options = StoreOptions { own_n: [(FIVE, 5)].into_iter().collect(), ..options() };
    let store = Store::open(engine, &options).unwrap();
    look_through(&store);
    store
}

fn key_of_five(name: &'static str) -> StoreKey {
    StoreKey { bucket: FIVE, ..key(name) }
}

/// Who owns a partition for N = 5 and not for N = 3 must not vouch for versions it was never sent: a clock for both would
/// claim them.
#[test]
fn keys_of_one_partition_and_two_ns_share_neither_tree_nor_clock() {
    for home in Home::both() {
        let store = store_with_five(home.engine());
        let three = put(&store, &key("k"), &blind(), "3");
        let five = put(&store, &key_of_five("k"), &blind(), "5");
        assert_eq!((three.dot.seq, five.dot.seq), (1, 1), "each tree counts for itself");
        put(&store, &key_of_five("l"), &blind(), "5");
        let counts = |store: &Store| {
            [tree(0), TREE_OF_FIVE].map(|id| store.tree(id, |tree| tree.total().count).unwrap())
        };
        assert_eq!(counts(&store), [1, 2]);
        assert_eq!(store.trees_with_data(), [tree(0), TREE_OF_FIVE]);
        assert!(store.outset(TreeId { partition: 0, n: 4 }, Cut::NONE).is_none(), "no bucket has this N");
        let interval = store.outset(tree(0), Cut::NONE).unwrap().tree.directory.interval();
        assert_eq!(
            [tree(0), TREE_OF_FIVE].map(|id| store.entries(id, interval, Cut::NONE).unwrap().len()),
            [1, 2]
        );
        let at = |id| store.states_at(id, &[key("k").position], None, 9).unwrap().states.len();
        assert_eq!([tree(0), TREE_OF_FIVE].map(at), [1, 2]);
        let clocks = [tree(0), TREE_OF_FIVE].map(|id| store.clock(id));
        assert_ne!(clocks[0], clocks[1]);
        store.close().unwrap();
        drop(store);

        let store = store_with_five(home.engine());
        assert_eq!((counts(&store), store.wrong_trees().unwrap()), ([1, 2], vec![]));
        assert_eq!([tree(0), TREE_OF_FIVE].map(|id| store.clock(id)), clocks);
    }
}

#[test]
fn a_tombstone_is_purged_by_the_clocks_of_its_own_tree() {
    let store = store_with_five(Arc::new(MemoryEngine::new()));
    let written = put(&store, &key_of_five("k"), &blind(), "v");
    store.put(&key_of_five("k"), written.state.context(), Content::Tombstone, NOW).unwrap();
    assert_eq!(store.trees_with_tombstones(NOW), [TREE_OF_FIVE]);
    hear_all(&store);
    let purged = || store.purge(TREE_OF_FIVE, &OTHERS, NOW).unwrap().keys;
    assert_eq!(purged(), 0, "what was heard is of the other tree");
    OTHERS.iter().for_each(|&who| store.hear_clock(TREE_OF_FIVE, who, &store.clock(TREE_OF_FIVE)));
    assert_eq!(purged(), 1);
}

/// Up to a second after its clock.
fn stamps(now: u64) -> RangeInclusive<Stamp> {
    Stamp::at(now)..=Stamp::at(now + 1000)
}

fn put_latest(store: &Store, now: u64, content: Content) -> KeyState {
    store.put_latest(&key("k"), &stamps(now), content).unwrap().state
}

#[test]
fn concurrent_writes_of_clocks_that_differ_end_in_one_value_everywhere() {
    // The clock of the second store is behind.
    let (one, two) = (memory_store(), other_store(1));
    let first = put_latest(&one, NOW, value("early, by a clock ahead"));
    let second = put_latest(&two, NOW - 500, value("late, by a clock behind"));
    one.merge(&key("k"), &second).unwrap();
    two.merge(&key("k"), &first).unwrap();
    let ahead = vec![value("early, by a clock ahead")];
    assert_eq!([stored(&one, &key("k")), stored(&two, &key("k"))], [ahead.clone(), ahead]);
    assert_eq!(one.get(&key("k")).unwrap(), two.get(&key("k")).unwrap());
    assert_eq!(one.clock(tree(0)), two.clock(tree(0)), "both have seen both");

    // It has seen that value: what it writes now is later, whatever its clock says.
    let third = put_latest(&two, NOW - 400, value("knew of it"));
    one.merge(&key("k"), &third).unwrap();
    assert_eq!(stored(&one, &key("k")), [value("knew of it")]);
    assert!(!one.merge(&key("k"), &first).unwrap().changed, "what was replaced is not taken back");
}

#[test]
fn a_version_that_could_only_be_the_latest_by_leaping_ahead_is_refused() {
    let store = memory_store();
    let held = put_latest(&store, NOW + 5000, value("by a clock far ahead"));
    let error = store.put_latest(&key("k"), &stamps(NOW), value("now")).unwrap_err();
    assert_eq!(error, PutLatestError::Ahead(Stamp::at(NOW + 5000).next()));
    assert_eq!(store.get(&key("k")).unwrap(), Some(held), "nothing was changed");
    assert_eq!(store.clock(tree(0)).highest(store.identity().actor), 1, "and no dot was given");
    put_latest(&store, NOW + 4001, value("once the clock is near"));
}

#[test]
fn a_deleted_latest_version_is_purged_and_stays_deleted() {
    let store = memory_store();
    let before = put_latest(&store, NOW, value("v"));
    put_latest(&store, NOW, Content::Tombstone);
    hear_all(&store);
    assert_eq!(store.purge(tree(0), &OTHERS, NOW).unwrap().keys, 1);
    assert!(!store.merge(&key("k"), &before).unwrap().changed);
    assert_eq!(store.get(&key("k")).unwrap(), None);
}

fn expiring(expires_at: u64) -> Content {
    Content::Expiring { value: "v".into(), expires_at }
}

#[test]
fn what_expired_is_removed_once_every_owner_has_seen_it_and_is_not_taken_back() {
    for home in Home::both() {
        let mut store = home.store();
        let written = store.put(&key("k"), &blind(), expiring(NOW), NOW).unwrap().state;
        if matches!(home, Home::Disk(_)) {
            store.close().unwrap();
            drop(store);
            store = home.store();
            assert!(store.trees_with_tombstones(NOW).is_empty(), "nobody has read the record yet");
            look_through(&store);
        }
        let purged = |now| store.purge(tree(0), &OTHERS, now).unwrap().keys;
        hear_all(&store);
        assert_eq!((store.trees_with_tombstones(NOW - 1), purged(NOW - 1)), (vec![], 0), "it lives");
        assert_eq!(store.trees_with_tombstones(NOW), [tree(0)]);
        let restarted = Life { generation: 99, ..OTHERS[0] };
        assert_eq!(store.purge(tree(0), &[restarted], NOW).unwrap().keys, 0, "one was not heard");
        let total = store.tree(tree(0), |tree| tree.total().count);
        assert_eq!(total, Some(1), "until then it is in the tree of everyone");
        assert_eq!(purged(NOW), 1);
        assert_eq!((store.len(), store.tombstones()), (0, 0));
        assert!(!store.merge(&key("k"), &written).unwrap().changed);
        assert_eq!(store.get(&key("k")).unwrap(), None);
    }
}

#[test]
fn a_key_written_again_lives_as_long_as_its_last_version() {
    let store = memory_store();
    let first = store.put(&key("k"), &blind(), expiring(NOW), NOW).unwrap();
    let second = store.put(&key("k"), first.state.context(), expiring(NOW + 9), NOW).unwrap();
    hear_all(&store);
    assert_eq!(store.purge(tree(0), &OTHERS, NOW + 8).unwrap().keys, 0);
    assert_eq!(store.trees_with_tombstones(NOW + 8), []);
    // Found over, and then written before anyone removed it.
    assert_eq!(store.trees_with_tombstones(NOW + 9), [tree(0)]);
    put(&store, &key("k"), second.state.context(), "for ever");
    hear_all(&store);
    assert_eq!(store.trees_with_tombstones(u64::MAX), []);
    assert_eq!(store.purge(tree(0), &OTHERS, u64::MAX).unwrap().keys, 0);
    assert_eq!(stored(&store, &key("k")), [value("for ever")]);
}
