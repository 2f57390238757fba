//! The parts of an exchange on their own: bits, lists, and steps that nobody sane would send.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::answer::Limits;
use super::bits::{BitReader, BitWriter, Garbled};
use super::holdings::Item;
use super::lists::{Listed, Unmatched, Width, compare, short_hash};
use super::message::{Body, Message, Open, Step};
use super::offers::{OFFERS_MAX, Offer, hear};
use super::{Action, Done, Exchange, ExchangeError, Input};
use crate::cut::Cut;
use crate::directory::Directory;
use crate::element::{Element, TreeKey};
use crate::entries::Entry;
use crate::interval::Interval;
use crate::roots::TreeId;
use crate::tree::Snapshot;
use crate::wire::VERSION;

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
    (cell, 0usize..70, any::<bool>()).prop_map(|(cell, count, listed)| match listed {
        false => Offer::Hash { cell },
        true => Offer::List { cell, positions: vec![cell.first(); count] },
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
    ) {
        if let Ok(heard) = hear(&packed, &offers, Interval::WHOLE, start) {
            prop_assert!(heard.claims.len() <= packed.len() * 8);
            let offered = |position: &u128| offers.iter().any(|offer| match offer {
                Offer::Hash { .. } => false,
                Offer::List { positions, .. } => positions.contains(position),
            });
            prop_assert!(heard.own.iter().all(offered), "only what was listed can be picked");
        }
    }
}

#[test]
fn a_step_cannot_claim_more_than_its_bounds() {
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
    assert_eq!(hear(&bits.into_bytes(), &offers, Interval::WHOLE, 0).unwrap_err(), Garbled);
}

#[test]
fn a_cursor_that_leads_nowhere_is_garbled() {
    let entry = Entry { position: 1 << 100, element: Element(1) };
    let (tree, key_id) = (TreeId { partition: 0, n: 1 }, TreeKey::new([0; 16]).id());
    let cut_at = |cut: u128| {
        let (mut here, _) = Exchange::initiate(tree, snapshot(&[entry]), key_id, 9, Some(7));
        let mut bits = BitWriter::default();
        bits.put_bit(true);
        bits.put(cut, 128);
        bits.put_set(&[], 1);
        let body = Body::Step(Step { count: 1, packed: bits.into_bytes() });
        here.on(Input::Message(Message { version: VERSION, tree, salt: 9, turn: 1, body }))
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
    let hash = |item: &Item| short_hash(item, 5, Width::Narrow.bits(3));
    let listed = |hashes: Vec<u64>| Listed { width: Width::Narrow, hashes };

    let same = listed(items.iter().map(hash).collect());
    assert_eq!(compare(&items, &same, 5), Unmatched::default());
    assert_eq!(compare(&items, &Listed::EMPTY, 5).own, [1, 2, 3]);
    let twice = listed(vec![hash(&items[0]), hash(&items[1]), hash(&items[1])]);
    assert_eq!(compare(&items, &twice, 5), Unmatched { own: vec![2, 3], other: vec![1, 2] });
}

#[test]
fn lists_are_wider_where_they_meet_many_items() {
    assert_eq!(Width::choose(1000, 8007), Width::Narrow);
    assert_eq!(Width::choose(1000, 8008), Width::Wide);
    assert_eq!(Width::choose(8000, 1), Width::Narrow);
    assert_eq!([1, 2, 3, 64, 65].map(|items| Width::Narrow.bits(items)), [13, 14, 15, 19, 20]);
    assert!(Width::Wide.bits(usize::try_from(u32::MAX).unwrap()) <= 64);
}

#[test]
fn the_bytes_of_messages_are_pinned() {
    let message = |turn, body| Message {
        version: VERSION,
        tree: TreeId { partition: 200, n: 3 },
        salt: 0x0807_0605_0403_0201,
        turn,
        body,
    };
    let key_id = TreeKey::new(*b"0123456789abcdef").id();
    let cut = Cut::at(1_500_000, 0);
    let open =
        Open { scheme: 1, key_id, cut, depth: 8, start: Some(5), count: 300, root: 0x1817_1615_1413_1211 };
    let head = [2, 200, 1, 3, 1, 2, 3, 4, 5, 6, 7, 8];
    let pinned = |message: Message, rest: &[u8]| {
        assert_eq!(message.encode(), [&head[..], rest].concat());
        assert_eq!(Message::decode(&message.encode()), Ok(message));
    };
    let opened = [
        0, 0, 1, 0x35, 0x66, 0xae, 0xe7, 0xac, 2, 8, 1, 5, 0xac, 2, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17,
        0x18,
    ];
    pinned(message(0, Body::Open(open)), &opened);
    pinned(message(1, Body::Equal), &[1, 1]);
    pinned(message(2, Body::Step(Step { count: 1, packed: vec![7, 8] })), &[2, 2, 1, 2, 7, 8]);
}

fn directory(store: &[Entry]) -> Directory {
    Directory::from_entries(Interval::WHOLE, store.iter().copied()).unwrap()
}

fn snapshot(store: &[Entry]) -> Snapshot {
    Snapshot::uncut(directory(store))
}

/// What both sides found, and how it ended for the initiator.
type Result = ([Vec<u128>; 2], Done);

/// Lets two sides with these limits exchange.
fn run(
    stores: [&[Entry]; 2],
    [initiator, responder]: [Snapshot; 2],
    limits: Limits,
    salt: u64,
    start: Option<u128>,
) -> Result {
    let (tree, key_id) = (TreeId { partition: 0, n: 1 }, TreeKey::new([0; 16]).id());
    let (here, first) = Exchange::initiate(tree, initiator, key_id, salt, start);
    let there = Exchange::respond(tree, responder, key_id);
    let mut sides = [here, there];
    sides.iter_mut().for_each(|side| side.terms.limits = limits);

    let (mut found, mut end) = ([Vec::new(), Vec::new()], None);
    let mut due: Vec<(usize, Action)> = first.into_iter().map(|action| (0, action)).collect();
    while let Some((by, action)) = due.pop() {
        let (to, input) = match action {
            Action::Send(message) => (1 - by, Input::Message(message)),
            Action::Scan(interval) => {
                let held = stores[by].iter().filter(|entry| interval.contains(entry.position));
                (by, Input::Scanned { interval, entries: held.copied().collect() })
            }
            Action::Differ(positions) => {
                found[by] = positions;
                continue;
            }
            Action::Done(done) => {
                end = if by == 0 { Some(done) } else { end };
                continue;
            }
            Action::Bulk(_) => continue,
        };
        due.extend(sides[to].on(input).unwrap().into_iter().map(|action| (to, action)));
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
        let only = |side: usize| of(side).difference(&of(1 - side)).map(|entry| entry.position).collect::<BTreeSet<u128>>();

        let limits = Limits { differences, step_bytes, step_leaves };
        let (mut found, mut start) = ([BTreeSet::new(), BTreeSet::new()], None);
        for salt in 0.. {
            let slices = [&stores[0][..], &stores[1][..]];
            let (positions, done) = run(slices, slices.map(snapshot), limits, salt, start);
            prop_assert!(positions[0].len() <= differences);
            for (found, positions) in found.iter_mut().zip(positions) {
                found.extend(positions);
            }
            prop_assert!(done.resume.is_none() || done.resume > start, "every exchange gets further");
            start = done.resume;
            if start.is_none() {
                break;
            }
        }
        for (side, found) in found.iter().enumerate() {
            let missed: Vec<_> = only(side).difference(found).copied().collect();
            prop_assert!(missed.is_empty(), "{:?}", missed);
            // Short hashes of two keys may be equal, and nobody can tell which of them differs.
            let mistaken: Vec<_> = found.difference(&only(side)).copied().collect();
            prop_assert!(mistaken.len() <= 2, "{:?}", mistaken);
        }
    }

    /// Claims that no honest side would make cost no more than the limits allow.
    #[test]
    fn hostile_claims_are_bounded(
        empties in proptest::collection::vec(any::<bool>(), 1..64),
        hashes: u64,
        step_leaves in 1usize..20,
        differences in 1usize..200,
    ) {
        let store: Vec<Entry> = (0..4000_u128).map(|key| Entry { position: key.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835), element: Element(key) }).collect::<BTreeSet<_>>().into_iter().collect();
        let (tree, key_id) = (TreeId { partition: 0, n: 1 }, TreeKey::new([0; 16]).id());
        let (mut side, _) = Exchange::initiate(tree, snapshot(&store), key_id, 9, None);
        let limits = Limits { differences, step_bytes: 2_000, step_leaves };
        side.terms.limits = limits;

        // The whole is cut into 64 cells, each of them empty or of any hash.
        let mut bits = BitWriter::default();
        bits.put_bit(false);
        bits.put_set(&[0], 1);
        let mut cells = vec![6];
        while let Some(depth) = cells.pop() {
            bits.put_bit(depth > 0);
            if depth > 0 {
                cells.extend([depth - 1; 2]);
            } else if empties[cells.len() % empties.len()] {
                bits.put_bit(true);
            } else {
                bits.put_bit(false);
                bits.put(u128::from(hashes.rotate_left(u32::try_from(cells.len()).unwrap())), 18);
            }
        }
        let body = Body::Step(Step { count: 4000, packed: bits.into_bytes() });
        let message = Message { version: VERSION, tree, salt: 9, turn: 1, body };

        let (mut scanned, mut sent) = (0, None);
        let mut due = side.on(Input::Message(message)).unwrap();
        while let Some(action) = due.pop() {
            match action {
                Action::Scan(interval) => {
                    scanned += 1;
                    let held = store.iter().filter(|entry| interval.contains(entry.position));
                    let input = Input::Scanned { interval, entries: held.copied().collect() };
                    due.extend(side.on(input).unwrap());
                }
                Action::Send(message) => sent = Some(message.encode().len()),
                Action::Differ(found) => prop_assert!(found.len() <= differences),
                Action::Done(_) | Action::Bulk(_) => {}
            }
        }
        prop_assert!(scanned <= step_leaves + 8, "{scanned} leaves");
        prop_assert!(sent.is_some_and(|bytes| bytes <= 2 * limits.step_bytes), "{sent:?} bytes");
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
        let (_, done) = run([&store, &store], directories.map(Snapshot::uncut), Limits::DEFAULT, 1, None);
        assert!(!done.clean);
    }
}
