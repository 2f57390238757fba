//! The parts of an exchange on their own: bits, lists, and steps that nobody sane would send.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::answer::Limits;
use super::bits::{BitReader, BitWriter, Garbled};
use super::holdings::Item;
use super::lists::{Listed, Unmatched, Width, compare};
use super::message::{Body, Message, Open, Step};
use super::offers::{OFFERS_MAX, Offer, POSITIONS_MAX, hear};
use super::{Action, Done, Exchange, ExchangeError, Input, Role};
use crate::directory::Directory;
use crate::element::{Element, TreeKey};
use crate::entries::Entry;
use crate::interval::Interval;
use crate::roots::TreeId;

#[derive(Clone, Debug)]
enum Field {
    Bits(u128, u32),
    Count(usize),
    Set(Vec<usize>, usize),
}

fn field() -> impl Strategy<Value = Field> {
    let bits = (any::<u128>(), 0u32..=128)
        .prop_map(|(value, bits)| Field::Bits(value & u128::MAX.checked_shr(128 - bits).unwrap_or(0), bits));
    let count = prop_oneof![0usize..20, 0..1usize << 31].prop_map(Field::Count);
    let set = (0usize..300, 0.0..1.0f64).prop_flat_map(|(of, share)| {
        proptest::collection::vec(proptest::bool::weighted(share), of).prop_map(|member| {
            Field::Set((0..member.len()).filter(|index| member[*index]).collect(), member.len())
        })
    });
    prop_oneof![bits, count, set]
}

fn offer() -> impl Strategy<Value = Offer> {
    let cell = (any::<u128>(), 0u8..=128).prop_map(|(bits, depth)| {
        let below = u128::MAX.checked_shr(depth.into()).unwrap_or(0);
        Interval::new(bits & !below, depth).expect("the bits below the depth are zero")
    });
    (cell, 0usize..70, 0u8..3).prop_map(|(cell, count, kind)| match kind {
        0 => Offer::Hash { cell },
        1 => Offer::List { cell, positions: vec![cell.first(); count] },
        _ => Offer::Fetch { cell, count },
    })
}

proptest! {
    #[test]
    fn fields_read_back_as_they_were_written(fields in proptest::collection::vec(field(), 0..20), cut: prop::sample::Index) {
        // Written in two parts, to put them together at any bit.
        let mut parts = [BitWriter::default(), BitWriter::default()];
        let middle = cut.index(fields.len() + 1);
        for (index, field) in fields.iter().enumerate() {
            let writer = &mut parts[usize::from(index >= middle)];
            match field {
                Field::Bits(value, bits) => writer.put(*value, *bits),
                Field::Count(count) => writer.put_count(*count),
                Field::Set(set, of) => writer.put_set(set, *of),
            }
        }
        let [mut writer, rest] = parts;
        writer.append(&rest);
        let bytes = writer.into_bytes();

        let mut reader = BitReader::new(&bytes);
        for field in &fields {
            match field {
                Field::Bits(value, bits) => prop_assert_eq!(reader.take(*bits), Ok(*value)),
                Field::Count(count) => prop_assert_eq!(reader.take_count(), Ok(*count)),
                Field::Set(set, of) => prop_assert_eq!(reader.take_set(*of), Ok(set.clone())),
            }
        }
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn arbitrary_steps_never_panic(
        packed in proptest::collection::vec(any::<u8>(), 0..300),
        offers in proptest::collection::vec(offer(), 0..12),
        start: u128,
        initiates: bool,
    ) {
        let role = if initiates { Role::Initiator } else { Role::Responder };
        if let Ok(heard) = hear(&packed, role, &offers, start) {
            prop_assert!(heard.claims.len() <= packed.len() * 8);
            let named = |position: &u128| offers.iter().any(|offer| match offer {
                Offer::Hash { .. } => false,
                Offer::List { cell, .. } | Offer::Fetch { cell, .. } => cell.contains(*position),
            });
            prop_assert!(heard.other.iter().all(named), "a position lies in the cell it was named for");
        }
    }
}

#[test]
fn a_step_cannot_claim_more_than_its_bounds() {
    // A list at a single position costs no bits per position: only the bound ends it.
    let point = Offer::List { cell: Interval::new(7, 128).unwrap(), positions: Vec::new() };
    let step = |count: usize| {
        let mut bits = BitWriter::default();
        bits.put_bit(false);
        bits.put_set(&[0], 1);
        bits.put_count(count);
        bits.into_bytes()
    };
    assert!(hear(&step(2), Role::Initiator, std::slice::from_ref(&point), 0).is_ok());
    let too_many = hear(&step(POSITIONS_MAX + 1), Role::Initiator, std::slice::from_ref(&point), 0);
    assert_eq!(too_many.unwrap_err(), Garbled);

    // Empty cells without end: a shape that splits at every bit, again and again.
    let offers = vec![Offer::Hash { cell: Interval::WHOLE }; OFFERS_MAX / 128 + 1];
    let mut bits = BitWriter::default();
    bits.put_bit(false);
    bits.put_set(&(0..offers.len()).collect::<Vec<_>>(), offers.len());
    for _ in &offers {
        bits.put_bit(true);
        (0..127).for_each(|_| bits.put_bit(true));
        (0..129).for_each(|_| bits.put(0b10, 2));
    }
    assert_eq!(hear(&bits.into_bytes(), Role::Responder, &offers, 0).unwrap_err(), Garbled);
}

#[test]
fn a_wish_left_unanswered_is_garbled_unless_the_answer_was_cut() {
    let first = 1 << 100;
    let fetch = [Offer::Fetch { cell: Interval::new(first, 28).unwrap(), count: 1 }];
    let step = |cut: Option<u128>| {
        let mut bits = BitWriter::default();
        bits.put_bit(cut.is_some());
        cut.into_iter().for_each(|cut| bits.put(cut, 128));
        bits.put_set(&[], fetch.len());
        bits.into_bytes()
    };
    assert_eq!(hear(&step(None), Role::Initiator, &fetch, 0).unwrap_err(), Garbled);
    assert_eq!(hear(&step(Some(first + 1)), Role::Initiator, &fetch, 0).unwrap_err(), Garbled);
    assert_eq!(hear(&step(Some(first)), Role::Initiator, &fetch, 0).unwrap().cut, Some(first));
}

#[test]
fn a_cursor_that_leads_nowhere_is_garbled() {
    let entry = Entry { position: 1 << 100, element: Element(1) };
    let (tree, key_id) = (TreeId { partition: 0, n: 1 }, TreeKey::new([0; 16]).id());
    let cut_at = |cut: u128| {
        let (mut here, _) = Exchange::initiate(tree, directory(&[entry]), key_id, 9, Some(7));
        let mut bits = BitWriter::default();
        bits.put_bit(true);
        bits.put(cut, 128);
        bits.put_set(&[], 1);
        let body = Body::Step(Step { count: 1, packed: bits.into_bytes() });
        here.on(Input::Message(Message { version: 1, tree, salt: 9, turn: 1, body }))
    };
    assert_eq!(cut_at(7), Err(ExchangeError::Garbled(1)));
    let done = cut_at(8).unwrap();
    assert!(matches!(done[..], [Action::Done(Done { clean: false, resume: Some(8), .. })]), "{done:?}");
}

#[test]
fn an_ambiguous_hash_counts_as_a_difference() {
    let item =
        |position: u128, element: u128| Item { position, sum: [Element(element)].into_iter().collect() };
    let items = [item(1, 10), item(2, 20), item(3, 30)];
    let hash = |item: &Item| Width::Narrow.hash(item, 5);
    let listed = |hashes: Vec<u64>| Listed { width: Width::Narrow, hashes };

    let same = listed(items.iter().map(hash).collect());
    assert_eq!(compare(&items, &same, 5), Unmatched::default());
    assert_eq!(compare(&items, &Listed::EMPTY, 5).own, [1, 2, 3]);
    let twice = listed(vec![hash(&items[0]), hash(&items[1]), hash(&items[1])]);
    assert_eq!(compare(&items, &twice, 5), Unmatched { own: vec![2, 3], other: vec![1, 2] });
}

#[test]
fn lists_are_wider_where_they_meet_many_items() {
    assert_eq!(Width::choose(64, 1000, 1000), Width::Narrow);
    assert_eq!(Width::choose(64, 1000, 8000), Width::Narrow);
    assert_eq!(Width::choose(64, 1000, 8001), Width::Wide);
    assert_eq!(Width::choose(1, 0, u64::MAX), Width::Wide);
}

#[test]
fn the_bytes_of_messages_are_pinned() {
    let message = |turn, body| Message {
        version: 1,
        tree: TreeId { partition: 200, n: 3 },
        salt: 0x0807_0605_0403_0201,
        turn,
        body,
    };
    let key_id = TreeKey::new(*b"0123456789abcdef").id();
    let open = Open { scheme: 1, key_id, depth: 8, start: Some(5), count: 300, root: 0x1817_1615_1413_1211 };
    let head = [1, 200, 1, 3, 1, 2, 3, 4, 5, 6, 7, 8];
    let pinned = |message: Message, rest: &[u8]| {
        assert_eq!(message.encode(), [&head[..], rest].concat());
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    };
    let opened =
        [0, 0, 1, 0x35, 0x66, 0xae, 0xe7, 8, 1, 5, 0xac, 2, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
    pinned(message(0, Body::Open(open)), &opened);
    pinned(message(1, Body::Equal), &[1, 1]);
    pinned(message(2, Body::Step(Step { count: 1, packed: vec![7, 8] })), &[2, 2, 1, 2, 7, 8]);
}

/// Lets two sides with these limits exchange; returns the positions found, and how it ended for the initiator.
fn run(stores: [&[Entry]; 2], limits: Limits, salt: u64, start: Option<u128>) -> (Vec<u128>, Done) {
    run_with(stores, stores.map(directory), limits, salt, start)
}

fn directory(store: &[Entry]) -> Directory {
    Directory::from_entries(Interval::WHOLE, store.iter().copied()).unwrap()
}

fn run_with(
    stores: [&[Entry]; 2],
    [initiator, responder]: [Directory; 2],
    limits: Limits,
    salt: u64,
    start: Option<u128>,
) -> (Vec<u128>, Done) {
    let (tree, key_id) = (TreeId { partition: 0, n: 1 }, TreeKey::new([0; 16]).id());
    let (mut here, first) = Exchange::initiate(tree, initiator, key_id, salt, start);
    let mut there = Exchange::respond(tree, responder, key_id);
    here.terms.limits = limits;
    there.terms.limits = limits;

    let (mut found, mut end) = (Vec::new(), None);
    let mut due: Vec<(Role, Action)> = first.into_iter().map(|action| (Role::Initiator, action)).collect();
    while let Some((by, action)) = due.pop() {
        let (to, input) = match (action, by) {
            (Action::Send(message), Role::Initiator) => (Role::Responder, Input::Message(message)),
            (Action::Send(message), Role::Responder) => (Role::Initiator, Input::Message(message)),
            (Action::Scan(interval), _) => {
                let store = stores[usize::from(by == Role::Responder)];
                let entries =
                    store.iter().filter(|entry| interval.contains(entry.position)).copied().collect();
                (by, Input::Scanned { interval, entries })
            }
            (Action::Differ(differences), _) => {
                found.extend(differences.iter().map(|difference| difference.position));
                continue;
            }
            (Action::Done(done), Role::Initiator) => {
                end = Some(done);
                continue;
            }
            (Action::Done(_), Role::Responder) => continue,
        };
        let side = if to == Role::Initiator { &mut here } else { &mut there };
        due.extend(side.on(input).unwrap().into_iter().map(|action| (to, action)));
    }
    (found, end.expect("the initiator came to an end"))
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    /// Whatever limit cuts an exchange short, on whichever side, its cursor leads on to the rest.
    #[test]
    fn a_cursor_never_skips_a_difference(
        held in proptest::collection::btree_map(any::<u128>().prop_map(|bits| bits >> (bits % 90)), 0u8..24, 0..600),
        differences in 1usize..40,
        step_bytes in 1usize..200,
        step_leaves in 1usize..20,
        alike in 0u8..20,
    ) {
        // Of each key one side may hold nothing, or the other, or both something else.
        let store = |side: u8| -> Vec<Entry> {
            let record = |kind: u8| match kind {
                _ if kind < alike => Some(0),
                _ if kind % 3 == side => None,
                _ if kind % 3 == 2 => Some(1 + u128::from(side)),
                _ => Some(0),
            };
            let entry = |(position, kind): (&u128, &u8)| {
                let element = Element(record(*kind)?.wrapping_add(*position).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
                Some(Entry { position: *position, element })
            };
            held.iter().filter_map(entry).collect()
        };
        let stores = [store(0), store(1)];
        let of = |side: usize| stores[side].iter().copied().collect::<BTreeSet<_>>();
        let truth: BTreeSet<u128> = of(0).symmetric_difference(&of(1)).map(|entry| entry.position).collect();

        let limits = Limits { differences, step_bytes, step_leaves };
        let (mut found, mut start) = (BTreeSet::new(), None);
        for salt in 0.. {
            let (positions, done) = run([&stores[0], &stores[1]], limits, salt, start);
            prop_assert!(positions.len() <= differences);
            found.extend(positions);
            prop_assert!(done.resume.is_none() || done.resume > start, "every exchange gets further");
            start = done.resume;
            if start.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, truth);
    }
}

#[test]
fn a_directory_that_drifted_from_its_store_panics_nobody() {
    let store: Vec<Entry> =
        (0..300).map(|key| Entry { position: key << 119, element: Element(key) }).collect();
    let sound = directory(&store);
    let mut drifted = sound.clone();
    // Taken away twice: counts wrap below zero, and leaves ask for scans that do not come.
    let asked = store[100..200].iter().flat_map(|entry| [entry, entry]);
    let asked = asked.filter_map(|entry| drifted.apply(entry.position, Some(entry.element), None)).count();
    assert!(asked > 0);
    for directories in [[sound.clone(), drifted.clone()], [drifted.clone(), sound], [drifted, directory(&[])]]
    {
        let (_, done) = run_with([&store, &store], directories, Limits::DEFAULT, 1, None);
        assert!(!done.clean);
    }
}
