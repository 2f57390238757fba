//! Hints: parked, merged, served, bounded, delivered once.

use super::*;

fn park(store: &Store, target: u64, name: &'static str, state: &KeyState, now: u64) -> KeyState {
    let parked = store.park(target, &key(name), state, now).unwrap();
    parked.commit.wait().unwrap();
    parked.state
}

#[test]
fn hints_survive_and_are_listed_in_order() {
    for home in Home::both() {
        let store = home.store();
        let state = foreign_state(1, 1, "x");
        for (target, name, now) in [(9, "b", 30), (9, "a", 20), (8, "c", 10), (9, "c", 25)] {
            park(&store, target, name, &state, now);
        }
        let backlogs = store.backlogs();
        let summary: Vec<_> = backlogs.iter().map(|b| (b.target, b.hints, b.oldest)).collect();
        assert_eq!(summary, [(8, 1, 10), (9, 3, 20)]);
        assert!(store.is_empty(), "a hint is not this replica's own data");
        assert_eq!(store.clock(tree(0)), blind());
        drop(store);

        let store = home.store();
        assert_eq!(store.backlogs(), backlogs);
        assert_eq!(store.hinted(9, &key("a")).unwrap(), Some(state.clone()));
        assert_eq!(store.hinted(8, &key("a")).unwrap(), None);
        assert_eq!(store.get(&key("a")).unwrap(), None);
        let page = store.hints(9, None, 2).unwrap();
        assert_eq!(page.states, [(key("a"), state.clone()), (key("b"), state.clone())]);
        assert_eq!(page.next, Some(key("b")));
        let page = store.hints(9, page.next.as_ref(), 2).unwrap();
        assert_eq!((page.states, page.next), (vec![(key("c"), state)], None));
        for nobody in [10, u64::MAX] {
            assert_eq!(store.hints(nobody, None, 2).unwrap(), StatePage::default());
        }
    }
}

#[test]
fn later_writes_join_the_hint_and_its_age_is_the_first_ones() {
    let store = memory_store();
    let (one, two) = (foreign_state(1, 1, "one"), foreign_state(2, 1, "two"));
    park(&store, 9, "k", &one, 10);
    let both = park(&store, 9, "k", &two, 99);
    assert_eq!(contents(&both), [value("one"), value("two")]);
    assert_eq!(store.hinted(9, &key("k")).unwrap(), Some(both));
    let before = store.backlogs();
    assert_eq!((before[0].hints, before[0].oldest), (1, 10));
    park(&store, 9, "k", &one, 100);
    assert_eq!(store.backlogs(), before, "nothing new was said");
}

#[test]
fn only_what_was_delivered_is_forgotten() {
    for home in Home::both() {
        let store = home.store();
        let delivered = park(&store, 9, "k", &foreign_state(1, 1, "one"), 10);
        let newer = park(&store, 9, "k", &foreign_state(2, 1, "two"), 20);
        assert!(store.unpark(9, &key("k"), &delivered).unwrap().is_none(), "more came since");
        assert_eq!(store.hinted(9, &key("k")).unwrap(), Some(newer.clone()));
        assert!(store.unpark(8, &key("k"), &newer).unwrap().is_none());
        store.unpark(9, &key("k"), &newer).unwrap().unwrap().wait().unwrap();
        assert_eq!(store.hinted(9, &key("k")).unwrap(), None);
        assert_eq!(store.backlogs(), []);
        assert!(store.unpark(9, &key("k"), &newer).unwrap().is_none(), "delivered twice, forgotten once");
        drop(store);
        assert_eq!(home.store().backlogs(), []);
    }
}

#[test]
fn each_target_has_its_quota() {
    let state = foreign_state(1, 1, "x");
    let one = {
        let store = memory_store();
        park(&store, 9, "a", &state, 1);
        store.backlogs()[0].bytes
    };
    let with_quota = |hint_bytes_max| {
        let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
        Store::open(engine, &StoreOptions { hint_bytes_max, ..options() }).unwrap()
    };
    let quota = 2 * one;
    let store = with_quota(quota);
    park(&store, 9, "a", &state, 1);
    park(&store, 9, "b", &state, 2);
    let refused = store.park(9, &key("c"), &state, 3).unwrap_err();
    assert_eq!(refused, ParkError::Quota { target: 9, bytes: quota, quota });
    assert_eq!(store.hinted(9, &key("c")).unwrap(), None);
    park(&store, 8, "c", &state, 4);

    // A hint may shrink although its target is over: resolving siblings must not need room.
    let store = with_quota(one);
    park(&store, 9, "a", &state, 1);
    assert!(store.park(9, &key("a"), &foreign_state(2, 1, "y"), 2).is_err());
    let mut shorter = state.clone();
    shorter.put(state.context(), Dot::new(Actor(1), 2), Content::Tombstone, NOW);
    assert_eq!(contents(&park(&store, 9, "a", &shorter, 3)), [Content::Tombstone]);
    assert!(store.backlogs()[0].bytes < one);
}
