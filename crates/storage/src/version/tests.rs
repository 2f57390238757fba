//! The laws of causal sets, key states and context tokens.

use super::*;
use crate::key::{BucketId, StoreKey};
use bytes::Bytes;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;

const A: Actor = Actor(0xa);
const B: Actor = Actor(0xb);
const C: Actor = Actor(0xc);

fn value(text: &str) -> Content {
    Content::Value(Bytes::copy_from_slice(text.as_bytes()))
}

fn values(state: &KeyState) -> Vec<&str> {
    let text = |sibling: &'_ Sibling| match &sibling.content {
        Content::Value(bytes) => std::str::from_utf8(bytes).unwrap().to_owned().leak() as &str,
        Content::Tombstone => "(deleted)",
        Content::Expiring { .. } => "(expiring)",
    };
    state.siblings().iter().map(text).collect()
}

fn merged(one: &KeyState, other: &KeyState) -> KeyState {
    let mut both = one.clone();
    both.merge(other);
    both
}

fn dots() -> impl Strategy<Value = BTreeSet<Dot>> {
    btree_set((0u64..3, 1u64..9).prop_map(|(actor, seq)| Dot::new(Actor(actor), seq)), 0..14)
}

fn all_dots() -> impl Iterator<Item = Dot> {
    (0..3).flat_map(|actor| (1..10).map(move |seq| Dot::new(Actor(actor), seq)))
}

/// Any state that keeps the invariants, a dot with two contents among them.
fn states() -> impl Strategy<Value = KeyState> {
    let sibling = (0u64..3, 1u64..6, 0u8..3).prop_map(|(actor, seq, content)| Sibling {
        dot: Dot::new(Actor(actor), seq),
        written: WrittenAt::Wall(0),
        content: if content == 0 { Content::Tombstone } else { value(&content.to_string()) },
    });
    (btree_set(sibling, 0..5), dots()).prop_map(|(siblings, seen)| {
        let context = siblings.iter().map(|sibling| sibling.dot).chain(seen).collect();
        KeyState::checked(siblings.into_iter().collect(), context).unwrap()
    })
}

/// Any state of a key that was written in a bucket that keeps the latest version: stamps collide, and dots too.
fn latest_states() -> impl Strategy<Value = KeyState> {
    let content = prop_oneof![
        Just(Content::Tombstone),
        Just(value("v")),
        (0u64..3).prop_map(|expires_at| Content::Expiring { value: "w".into(), expires_at }),
    ];
    let sibling = (0u64..3, 1u64..6, 0u64..3, content).prop_map(|(actor, seq, millis, content)| Sibling {
        dot: Dot::new(Actor(actor), seq),
        written: WrittenAt::Stamp(Stamp::at(millis)),
        content,
    });
    (sibling, dots()).prop_map(|(sibling, seen)| {
        let context = seen.into_iter().chain([sibling.dot]).collect();
        KeyState::checked(vec![sibling], context).unwrap()
    })
}

fn check_join(one: &KeyState, two: &KeyState, three: &KeyState) {
    assert_eq!(merged(one, one), one.clone(), "idempotent");
    assert_eq!(merged(one, two), merged(two, one), "commutative");
    assert_eq!(merged(&merged(one, two), three), merged(one, &merged(two, three)), "associative");
    let mut both = one.clone();
    let report = both.merge(two);
    assert_eq!(report.changed, both != *one);
    assert!(!both.merge(two).changed, "a second merge finds nothing new");
}

proptest! {
    #[test]
    fn a_causal_set_is_a_set_of_dots(one in dots(), two in dots(), up_to in (0u64..3, 0u64..9)) {
        let mut set: Causal = one.iter().copied().collect();
        let mut model = one.clone();
        let other: Causal = two.iter().copied().collect();
        prop_assert_eq!(set.includes(&other), two.is_subset(&one));
        prop_assert_eq!(set.unite(&other), !two.is_subset(&one));
        model.extend(&two);
        let up_to = Dot::new(Actor(up_to.0), up_to.1);
        set.advance(up_to);
        model.extend((1..=up_to.seq).map(|seq| Dot::new(up_to.actor, seq)));

        for dot in all_dots() {
            prop_assert_eq!(set.covers(dot), model.contains(&dot), "{:?} in {:?}", dot, set);
        }
        for actor in (0..3).map(Actor) {
            let highest = model.iter().filter(|dot| dot.actor == actor).map(|dot| dot.seq).max().unwrap_or(0);
            prop_assert_eq!(set.highest(actor), highest);
            prop_assert_eq!(set.next_seq(actor), highest + 1);
        }
        for (actor, seq) in set.vector() {
            prop_assert!((1..=seq).all(|seq| model.contains(&Dot::new(actor, seq))));
            prop_assert!(!model.contains(&Dot::new(actor, seq + 1)));
        }
        // Equal sets are equal values, however they came to be, and their bytes say so.
        let again: Causal = model.iter().rev().copied().collect();
        prop_assert_eq!(&again, &set);
        let bytes = postcard::to_stdvec(&set).unwrap();
        prop_assert_eq!(postcard::from_bytes::<Causal>(&bytes).unwrap(), set);
    }

    #[test]
    fn merge_is_a_join(one in states(), two in states(), three in states()) {
        check_join(&one, &two, &three);
    }

    #[test]
    fn a_merge_that_keeps_the_latest_is_a_join(
        one in latest_states(),
        two in latest_states(),
        three in latest_states(),
    ) {
        check_join(&one, &two, &three);
        let both = merged(&one, &two);
        prop_assert_eq!(both.stamp(), one.stamp().max(two.stamp()), "the latest, whatever contexts say");
        let bytes = postcard::to_stdvec(&both).unwrap();
        prop_assert_eq!(postcard::from_bytes::<KeyState>(&bytes).unwrap(), both);
    }

    #[test]
    fn a_put_is_a_merge_of_what_it_says(state in states(), seen in dots(), tail in states()) {
        let seen: Causal = seen.into_iter().collect();
        let mut past = state.context().clone();
        past.unite(&seen);
        past.unite(tail.context());
        let dot = Dot::new(Actor(1), past.next_seq(Actor(1)));

        let mut put = state.clone();
        put.put(&seen, dot, value("new"), 1);
        // The write alone, with what its writer had seen and no more.
        let mut context = seen.clone();
        context.insert(dot);
        let said = KeyState::checked(vec![Sibling { dot, written: WrittenAt::Wall(1), content: value("new") }], context).unwrap();
        let told = merged(&state, &said);
        prop_assert_eq!(put.siblings(), told.siblings());
        // The state before is part of the state after, and meeting others before or after a replication is all one.
        prop_assert_eq!(merged(&put, &state), put.clone());
        prop_assert_eq!(merged(&tail, &put), merged(&put, &merged(&state, &tail)));
    }

    #[test]
    fn a_state_has_one_encoding(state in states(), other in states()) {
        let bytes = postcard::to_stdvec(&state).unwrap();
        prop_assert_eq!(postcard::from_bytes::<KeyState>(&bytes).unwrap(), state.clone());
        prop_assert_eq!(bytes == postcard::to_stdvec(&other).unwrap(), state == other);
    }

    #[test]
    fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..64)) {
        // Both a panic and a state that breaks its invariants would fail here.
        if let Ok(state) = postcard::from_bytes::<KeyState>(&bytes) {
            prop_assert!(KeyState::checked(state.siblings().to_vec(), state.context().clone()).is_some());
        }
        let _refused = ContextKey::new([1; 16]).open(&bytes, &StoreKey::new(BucketId::DEFAULT, 0, "k")).unwrap_err();
    }
}

#[test]
fn runs_out_of_order_are_refused() {
    let decode =
        |runs: Vec<(Actor, u64, u64)>| postcard::from_bytes::<Causal>(&postcard::to_stdvec(&runs).unwrap());
    assert!(decode(vec![(A, 1, 0), (A, 3, 2), (B, 7, 0)]).is_ok());
    for (runs, why) in [
        (vec![(A, 1, 1), (A, 3, 0)], "they touch"),
        (vec![(A, 5, 0), (A, 1, 0)], "seqs descend"),
        (vec![(B, 1, 0), (A, 1, 0)], "actors descend"),
        (vec![(A, 1, 5), (A, 4, 9)], "they overlap"),
        (vec![(A, 0, 1)], "seq 0 names nothing"),
        (vec![(A, 2, u64::MAX)], "the last seq overflows"),
        (vec![(A, 1, u64::MAX - 1), (A, 1, 0)], "nothing follows the last seq there is"),
    ] {
        assert!(decode(runs).is_err(), "{why}");
    }
}

#[test]
fn the_last_seq_there_is_does_no_harm() {
    let mut set = Causal::default();
    set.insert(Dot::new(A, u64::MAX));
    set.advance(Dot::new(A, u64::MAX - 1));
    assert_eq!(set.vector().collect::<Vec<_>>(), [(A, u64::MAX)]);
    assert!(!set.unite(&set.clone()));
}

/// Dots are dense per partition, so a key sees only some of them. That its coordinator advances over the others is what
/// keeps its context at one run per actor.
#[test]
fn a_coordinator_covers_its_own_gaps() {
    let mut state = KeyState::default();
    for seq in [1, 4, 9, 10, 77] {
        // A client that reads before it writes.
        let seen = state.context().clone();
        state.put(&seen, Dot::new(A, seq), value(&seq.to_string()), 1);
    }
    assert_eq!(values(&state), ["77"]);
    assert_eq!(state.context().runs().collect::<Vec<_>>(), [(Dot::new(A, 1), 77)]);
}

/// A client that wrote blindly knows its own dot and none before it. Rounding its context up, as the coordinator's own
/// is, would let its next write overwrite a sibling that nobody has read.
#[test]
fn a_clients_dot_says_nothing_of_earlier_ones() {
    let mut state = KeyState::default();
    state.put(&Causal::default(), Dot::new(A, 1), value("first"), 1);
    state.put(&Causal::default(), Dot::new(A, 4), value("blind"), 1);
    let own: Causal = [Dot::new(A, 4)].into_iter().collect();
    state.put(&own, Dot::new(A, 6), value("again"), 1);
    assert_eq!(values(&state), ["first", "again"]);

    // Nor may another coordinator round it up: it has not seen A's earlier dots of this key.
    let mut elsewhere = KeyState::default();
    elsewhere.put(&own, Dot::new(B, 1), value("elsewhere"), 1);
    elsewhere.merge(&state);
    assert_eq!(values(&elsewhere), ["first", "again", "elsewhere"]);
}

#[test]
fn concurrent_writes_stay_and_a_reader_of_both_resolves_them() {
    let (mut one, mut two) = (KeyState::default(), KeyState::default());
    one.put(&Causal::default(), Dot::new(A, 1), value("a"), 1);
    two.put(&Causal::default(), Dot::new(B, 1), Content::Tombstone, 1);
    one.merge(&two);
    assert_eq!(values(&one), ["a", "(deleted)"]);
    let seen = one.context().clone();
    two.put(&seen, Dot::new(B, 2), value("both"), 1);
    one.merge(&two);
    assert_eq!(values(&one), ["both"]);
}

#[test]
fn the_latest_takes_the_place_of_all_that_was_known() {
    let (mut one, mut two) = (KeyState::default(), KeyState::default());
    one.put_latest(Dot::new(A, 1), Stamp::at(5), value("a"));
    two.put_latest(Dot::new(B, 1), Stamp::at(4), value("b"));
    assert_eq!(two.merge(&one), MergeReport { changed: true, skewed: vec![] });
    assert!(!two.merge(&one).changed);
    one.merge(&two);
    assert_eq!((values(&one), one.context()), (vec!["a"], two.context()), "what lost is seen, and gone");
    let mut read = one.clone();
    read.merge(&KeyState::vacant(two.context().clone()));
    assert_eq!(values(&read), [""; 0], "who holds nothing more has seen its end");
    assert!(!read.merge(&one).changed);
    two.put_latest(Dot::new(B, 2), Stamp::at(5).next(), Content::Tombstone);
    one.merge(&two);
    assert_eq!((values(&one), one.over_at()), (vec!["(deleted)"], Some(0)));
}

#[test]
#[should_panic(expected = "a later version is held")]
fn a_stamp_does_not_go_back() {
    let mut state = KeyState::default();
    state.put_latest(Dot::new(A, 1), Stamp::at(5), value("one"));
    state.put_latest(Dot::new(A, 2), Stamp::at(5), value("two"));
}

#[test]
fn two_stamped_versions_are_no_state() {
    let sibling = |seq| Sibling {
        dot: Dot::new(A, seq),
        written: WrittenAt::Stamp(Stamp::at(seq)),
        content: value("v"),
    };
    let siblings = vec![sibling(1), sibling(2)];
    let context: Causal = siblings.iter().map(|it| it.dot).collect();
    let bytes = postcard::to_stdvec(&(&siblings, &context)).unwrap();
    assert!(postcard::from_bytes::<KeyState>(&bytes).is_err());
    assert!(KeyState::checked(siblings[1..].to_vec(), context).is_some());
}

#[test]
fn a_key_is_over_when_its_last_version_is() {
    let expiring = |expires_at| Content::Expiring { value: "v".into(), expires_at };
    assert_eq!(expiring(7).value_at(6), Some(&"v".into()));
    assert_eq!(expiring(7).value_at(7), None);
    let mut state = KeyState::default();
    assert_eq!(state.over_at(), None, "it was never written");
    state.put(&Causal::EMPTY, Dot::new(A, 1), expiring(7), 1);
    state.put(&Causal::EMPTY, Dot::new(B, 1), expiring(5), 1);
    state.put(&Causal::EMPTY, Dot::new(C, 1), Content::Tombstone, 1);
    assert_eq!(state.over_at(), Some(7));
    state.put(&Causal::EMPTY, Dot::new(C, 2), value("for ever"), 1);
    assert_eq!(state.over_at(), None);
}

#[test]
fn an_overwritten_version_does_not_come_back() {
    let mut old = KeyState::default();
    old.put(&Causal::default(), Dot::new(A, 1), value("old"), 1);
    let mut new = old.clone();
    new.put(&old.context().clone(), Dot::new(C, 1), value("new"), 1);
    assert!(!new.merge(&old).changed);
    assert!(old.merge(&new).changed);
    assert_eq!(values(&old), ["new"]);
}

#[test]
fn a_dot_with_two_contents_keeps_both_and_is_reported() {
    let (mut one, mut two) = (KeyState::default(), KeyState::default());
    one.put(&Causal::default(), Dot::new(A, 1), value("one"), 1);
    two.put(&Causal::default(), Dot::new(A, 1), value("two"), 1);
    assert_eq!(one.merge(&two), MergeReport { changed: true, skewed: vec![Dot::new(A, 1)] });
    assert_eq!(values(&one), ["one", "two"]);
    assert_eq!(one.merge(&two), MergeReport::default(), "it is news once");
    assert_eq!(two.merge(&one).skewed, [Dot::new(A, 1)]);
    assert_eq!(one, two);
}

#[test]
#[should_panic(expected = "already names a version")]
fn a_dot_is_not_given_twice() {
    let mut state = KeyState::default();
    state.put(&Causal::default(), Dot::new(A, 2), value("one"), 1);
    state.put(&Causal::default(), Dot::new(A, 1), value("two"), 1);
}

mod tokens {
    use super::*;

    fn key() -> StoreKey {
        StoreKey::new(BucketId(7), 99, "cart")
    }

    fn context() -> Causal {
        [Dot::new(A, 1), Dot::new(A, 2), Dot::new(B, 5)].into_iter().collect()
    }

    #[test]
    fn a_context_comes_back_as_it_was() {
        let secret = ContextKey::new([9; 16]);
        for context in [Causal::default(), context()] {
            let token = secret.seal(&context, &key());
            assert_eq!(secret.open(&token, &key()), Ok(context));
        }
    }

    #[test]
    fn a_token_has_these_bytes() {
        let token = ContextKey::new(*b"0123456789abcdef").seal(&context(), &key());
        let hex: String = token.iter().map(|byte| format!("{byte:02x}")).collect();
        // version | 2 runs: a 1 +1, b 5 +0 | tag
        assert_eq!(hex, "01020a01010b05003207553ef3831e91263ceb01f853ce0d");
    }

    #[test]
    fn another_keys_context_is_foreign() {
        let secret = ContextKey::new([9; 16]);
        let token = secret.seal(&context(), &key());
        for other in [StoreKey::new(BucketId(8), 99, "cart"), StoreKey::new(BucketId(7), 99, "card")] {
            assert_eq!(secret.open(&token, &other), Err(ContextError::Foreign));
        }
        assert_eq!(ContextKey::new([8; 16]).open(&token, &key()), Err(ContextError::Foreign));
    }

    #[test]
    fn no_altered_token_opens() {
        let secret = ContextKey::new([9; 16]);
        let token = secret.seal(&context(), &key());
        for bit in 0..token.len() * 8 {
            let mut forged = token.to_vec();
            forged[bit / 8] ^= 1 << (bit % 8);
            let expected =
                if bit < 8 { ContextError::Version { found: forged[0] } } else { ContextError::Foreign };
            assert_eq!(secret.open(&forged, &key()), Err(expected), "bit {bit}");
        }
        for end in 0..token.len() {
            assert!(secret.open(&token[..end], &key()).is_err(), "{end} bytes");
        }
        assert_eq!(secret.open(b"", &key()), Err(ContextError::Malformed));
        assert_eq!(secret.open(&[1, 2, 3], &key()), Err(ContextError::Malformed));
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", ContextKey::new([9; 16])), "ContextKey(secret)");
    }
}
