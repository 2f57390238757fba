//! Whatever arrives that should not: an error, never a panic and never a wrong "clean".

use chinwag_merkle::{
    Action, Cut, DecodeError, Directory, Entry, Exchange, ExchangeError, Input, Interval, MESSAGE_BYTES_MAX,
    Message, MismatchError, Roots, Side, Snapshot, TreeId, TreeKey,
};
use proptest::prelude::*;

use crate::pair::{Player, Random, TREE, key_id};
use crate::replica::Replica;

/// Two replicas whose exchange takes five messages: 40 differences of 3000 keys.
fn replicas() -> (Replica, Replica) {
    let record = |key: u64, changed: bool| (Random(key).position(), key, u64::from(changed));
    let initiator = Replica::load(Interval::WHOLE, (0..3000).map(|key| record(key, false)));
    let responder = Replica::load(Interval::WHOLE, (0..3000).map(|key| record(key, key % 75 == 0)));
    (initiator, responder)
}

/// Everything said in an exchange between the two.
fn conversation(initiator: &Replica, responder: &Replica, salt: u64) -> Vec<Message> {
    let (mut here, mut due) = Player::initiate(initiator, salt, None);
    let mut there = Player::respond(responder);
    let mut said = Vec::new();
    while let Some(message) = due.pop() {
        said.push(message.clone());
        let side = if said.len() % 2 == 1 { &mut there } else { &mut here };
        due = side.on(message).expect("nothing goes wrong between the two");
    }
    said
}

/// A side that has had its part of the first `turns` messages.
fn side_after<'a>(
    initiator: &'a Replica,
    responder: &'a Replica,
    said: &[Message],
    turns: usize,
) -> Player<'a, Replica> {
    let responds = turns.is_multiple_of(2);
    let mut side = if responds { Player::respond(responder) } else { Player::initiate(initiator, 1, None).0 };
    for (turn, message) in said[..turns].iter().enumerate() {
        if turn.is_multiple_of(2) == responds {
            side.on(message.clone()).expect("the message is the one due");
        }
    }
    side
}

#[test]
fn only_the_message_that_is_due_is_taken() {
    let (initiator, responder) = replicas();
    let said = conversation(&initiator, &responder, 1);
    assert_eq!(said.len(), 5, "the exchange is long enough to tell");
    for turns in 0..said.len() {
        for (turn, message) in said.iter().enumerate() {
            let mut side = side_after(&initiator, &responder, &said, turns);
            let result = side.on(message.clone());
            if turn == turns {
                assert!(result.is_ok(), "{result:?}");
                continue;
            }
            let [expected, got] = [turns, turn].map(|turn| u8::try_from(turn).unwrap());
            assert_eq!(result.err(), Some(ExchangeError::OutOfTurn { expected, got }));
            assert!(side.done.is_none() && side.found.is_none());
            assert_eq!(side.on(said[turns].clone()), Err(ExchangeError::Over), "an error ends an exchange");
        }
    }
}

#[test]
fn a_message_of_another_exchange_is_refused() {
    let (initiator, responder) = replicas();
    let said = conversation(&initiator, &responder, 1);
    let other = conversation(&initiator, &responder, 2);
    let equal = conversation(&initiator, &initiator, 2);
    for (turns, message) in other.iter().enumerate().skip(1) {
        let stale = side_after(&initiator, &responder, &said, turns).on(message.clone());
        assert_eq!(stale, Err(ExchangeError::OtherExchange));
    }
    let stale = side_after(&initiator, &responder, &said, 1).on(equal[1].clone());
    assert_eq!(stale, Err(ExchangeError::OtherExchange), "a stale \"equal\" makes nothing clean");
}

#[test]
fn members_that_cannot_be_compared_are_told_apart() {
    let open = |directory: Directory, id| {
        let (_, actions) = Exchange::initiate(TREE, Snapshot::uncut(directory), id, 1, None);
        let [Action::Send(message)] = &actions[..] else { panic!("{actions:?}") };
        Input::Message(message.clone())
    };
    let empty = || Snapshot::uncut(Directory::new(Interval::WHOLE));
    let respond = |tree| Exchange::respond(tree, empty(), key_id());

    let other = TreeKey::new([0; 16]).id();
    let refused = respond(TREE).on(open(Directory::new(Interval::WHOLE), other));
    assert_eq!(refused, Err(MismatchError::Key { own: key_id(), other }.into()));

    let refused = respond(TREE).on(open(Directory::new(Interval::new(0, 8).unwrap()), key_id()));
    assert_eq!(refused, Err(ExchangeError::Depth { own: 0, other: 8 }));

    let cut = Cut::at(1_800_000_000_000, 5_000);
    let mut earlier = Exchange::respond(TREE, Snapshot { cut, ..empty() }, key_id());
    let refused = earlier.on(open(Directory::new(Interval::WHOLE), key_id()));
    assert_eq!(refused, Err(ExchangeError::Cut { own: cut, other: Cut::NONE }));

    let neighbour = TreeId { partition: TREE.partition + 1, ..TREE };
    let refused = respond(neighbour).on(open(Directory::new(Interval::WHOLE), key_id()));
    assert_eq!(refused, Err(ExchangeError::OtherTree(TREE)));
}

#[test]
fn a_scan_that_cannot_be_right_ends_the_exchange() {
    let (_, responder) = replicas();
    let (_, mut opened) = Player::initiate(&Replica::new(Interval::WHOLE), 1, None);
    let open = opened.pop().unwrap();
    let scan = |spoil: fn(Interval, Vec<Entry>) -> (Interval, Vec<Entry>)| {
        let mut exchange = Exchange::respond(TREE, Snapshot::uncut(responder.directory.clone()), key_id());
        let actions = exchange.on(Input::Message(open.clone())).unwrap();
        assert_eq!(actions[0], Action::Bulk(Side::Here), "the other side holds nothing");
        let Action::Scan(interval) = actions[1] else { panic!("{actions:?}") };
        let (interval, entries) = spoil(interval, responder.scan(interval));
        exchange.on(Input::Scanned { interval, entries })
    };
    assert_eq!(scan(|interval, entries| (interval, entries)), Ok(vec![]), "63 more are awaited");
    let unordered = scan(|interval, entries| (interval, entries.into_iter().rev().collect()));
    assert!(matches!(unordered, Err(ExchangeError::Scan(..))), "{unordered:?}");
    let elsewhere = scan(|_, entries| (Interval::WHOLE, entries));
    assert_eq!(elsewhere, Err(ExchangeError::UnexpectedScan(Interval::WHOLE)));
}

#[test]
fn lengths_and_versions_are_checked_before_anything_else() {
    assert_eq!(Message::decode(&[]), Err(DecodeError::Garbled));
    assert_eq!(Message::decode(&[9, 1, 2]), Err(DecodeError::Version(9)));
    let long = vec![2; MESSAGE_BYTES_MAX + 1];
    assert_eq!(Message::decode(&long), Err(DecodeError::TooLong(MESSAGE_BYTES_MAX + 1)));

    let (initiator, responder) = replicas();
    let mut bytes = conversation(&initiator, &responder, 1)[0].encode();
    bytes.push(0);
    assert_eq!(Message::decode(&bytes), Err(DecodeError::Garbled), "nothing may follow");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Message::decode(&bytes).is_ok(), Roots::decode(&bytes).is_ok());
        if let Some(version) = bytes.first_mut() {
            *version = 2;
        }
        let _ = (Message::decode(&bytes).is_ok(), Roots::decode(&bytes).is_ok());
    }

    #[test]
    fn a_damaged_message_never_panics_and_never_makes_clean(
        turn in 0usize..5,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<proptest::sample::Index>(),
        shorten: bool,
    ) {
        let (initiator, responder) = replicas();
        let said = conversation(&initiator, &responder, 1);
        let mut bytes = said[turn].encode();
        damage.iter().for_each(|(at, value)| bytes[at.index(said[turn].encode().len())] = *value);
        if shorten {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(message) = Message::decode(&bytes) {
            let mut side = side_after(&initiator, &responder, &said, turn);
            if side.on(message).is_ok() {
                prop_assert!(side.done.is_none_or(|done| !done.clean));
            }
        }
    }
}
