//! Trees, entries and scans: they say what the records say, whatever happened before.

use super::*;
use crate::Table;
use crate::format;
use chinwag_merkle::{Directory, Entry, Interval};
use proptest::prelude::*;

fn entries(store: &Store, id: TreeId, interval: Interval) -> Vec<Entry> {
    store.entries(id, interval, Cut::NONE).unwrap()
}

/// Every tree is what would be built from the records, and the records are what was `expected`.
fn check(store: &Store, expected: &std::collections::BTreeMap<StoreKey, KeyState>) {
    let mut count = 0;
    for partition in 0..4 {
        let directory = store.tree(tree(partition), Directory::clone).unwrap();
        let all = entries(store, tree(partition), directory.interval());
        assert!(all.is_sorted_by_key(|entry| entry.position));
        let built = Directory::from_entries(directory.interval(), all.iter().copied()).unwrap();
        assert_eq!(directory.total(), built.total(), "partition {partition}");
        for leaf in directory.leaves() {
            let of_leaf = entries(store, tree(partition), leaf.interval)
                .into_iter()
                .map(|entry| entry.element)
                .collect();
            assert_eq!(leaf.sum, of_leaf, "partition {partition}, {leaf:?}");
        }
        count += all.len();
        assert_eq!(store.trees_with_data().contains(&tree(partition)), !all.is_empty());
    }
    assert_eq!(count as u64, store.len());
    let page = store.scan(None, usize::MAX).unwrap();
    assert_eq!(page.states, expected.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(page.next, None);
}

/// Few positions close together, so that leaves overflow and positions collide.
fn keys() -> impl Strategy<Value = StoreKey> {
    let position = prop_oneof![
        Just(0),
        (0u128..4).prop_map(|n| n << 126),
        (0u128..200).prop_map(|n| n << 60),
        Just(u128::MAX)
    ];
    let bucket = prop_oneof![Just(0), Just(0), Just(5), Just(u32::MAX)];
    (bucket, position, 0u8..3)
        .prop_map(|(bucket, position, key)| StoreKey::new(BucketId(bucket), position, vec![key]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn trees_follow_every_write(
        writes in proptest::collection::vec((keys(), any::<bool>(), any::<bool>()), 1..400),
        cache_bytes in prop_oneof![Just(0), Just(4000), Just(1 << 20)],
    ) {
        let home = Home::memory();
        let options = StoreOptions { cache_bytes, ..options() };
        let (store, other) = (Store::open(home.engine(), &options).unwrap(), other_store(7));
        let mut expected = std::collections::BTreeMap::new();
        for (key, here, reads) in &writes {
            let seen = if *reads { store.get(key).unwrap().unwrap_or_default().context().clone() } else { blind() };
            let at = if *here { &store } else { &other };
            let written = at.put(key, &seen, Content::Tombstone, NOW).unwrap();
            let state = if *here { written.state } else { store.merge(key, &written.state).unwrap().state };
            prop_assert_eq!(store.get(key).unwrap(), Some(state.clone()));
            expected.insert(key.clone(), state);
        }
        check(&store, &expected);
        let totals = |store: &Store| (0..4).map(|partition| store.tree(tree(partition), Directory::total)).collect::<Vec<_>>();
        let live = totals(&store);
        drop(store);
        let reopened = home.store();
        prop_assert_eq!(totals(&reopened), live);
        check(&reopened, &expected);
    }
}

#[test]
fn replicas_with_equal_states_have_equal_trees() {
    let (one, two) = (memory_store(), other_store(1));
    for name in ["a", "b", "c"] {
        let here = put(&one, &key(name), &blind(), "1").state;
        let there = put(&two, &key(name), &blind(), "2").state;
        one.merge(&key(name), &there).unwrap();
        two.merge(&key(name), &here).unwrap();
    }
    let total = |store: &Store| store.tree(tree(0), Directory::total).unwrap();
    assert_eq!(total(&one), total(&two));
    put(&one, &key("a"), &blind(), "3");
    assert_ne!(total(&one), total(&two));
}

#[test]
fn scans_page_through_every_bucket() {
    for home in Home::both() {
        let store = home.store();
        let mut keys = Vec::new();
        for bucket in [0, 1, u32::MAX] {
            for position in [0, 1, 1 << 127, u128::MAX] {
                keys.push(StoreKey::new(BucketId(bucket), position, "k"));
            }
        }
        for key in keys.iter().rev() {
            put(&store, key, &blind(), "x");
        }
        for limit in [1, 5, 12, 13] {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let page = store.scan(after.as_ref(), limit).unwrap();
                assert!(page.states.len() <= limit);
                found.extend(page.states.into_iter().map(|(key, _)| key));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, keys, "{limit} at a time");
        }
        let found = |page: &StatePage| page.states.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        let page = store.states_at(tree(0), &[5, u128::MAX], None, 3).unwrap();
        assert_eq!(found(&page), [&keys[3], &keys[7], &keys[11]].map(StoreKey::clone));
        assert_eq!(page.next, None);
        for limit in 1..=6 {
            let (mut all, mut after) = (Vec::new(), None);
            loop {
                let page = store.states_at(tree(0), &[0, 1], after.as_ref(), limit).unwrap();
                all.extend(found(&page));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(all, [0, 4, 8, 1, 5, 9].map(|index| keys[index].clone()), "{limit} at a time");
        }
        assert_eq!(store.trees_with_data(), [tree(0), tree(2), tree(3)]);
    }
}

#[test]
fn a_page_ends_where_its_bytes_do() {
    let store = memory_store();
    for name in ["a", "b", "c"] {
        store.put(&key(name), &blind(), Content::Value(vec![0; 3 << 20].into()), NOW).unwrap();
    }
    let page = store.scan(None, 99).unwrap();
    assert_eq!((page.states.len(), page.next.clone()), (2, Some(key("b"))));
    let page = store.scan(page.next.as_ref(), 99).unwrap();
    assert_eq!((page.states.len(), page.next), (1, None));
}

#[test]
fn a_tree_that_missed_a_change_is_found() {
    let engine = Arc::new(MemoryEngine::new());
    let store = Store::open(engine.clone(), &options()).unwrap();
    let (low, high) = (key("k"), StoreKey::new(BucketId::DEFAULT, u128::MAX, "k"));
    for name in [&low, &high] {
        let first = put(&store, name, &blind(), "1");
        put(&store, name, first.state.context(), "2");
    }
    assert_eq!(store.wrong_trees().unwrap(), []);

    let mut behind_its_back = Batch::default();
    behind_its_back.remove(Table::Keys, format::state_key(&high));
    engine.commit(behind_its_back).wait().unwrap();
    assert_eq!(store.wrong_trees().unwrap(), [tree(3)]);
}
