//! An exchange finds exactly what differs, whatever the replicas hold and however they are cut.

use std::collections::BTreeSet;

use chinwag_merkle::{DIFFERENCES_MAX, Interval, MESSAGE_BYTES_MAX, Refined, Side};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use crate::pair::{Outcome, Random, element_of, exchange};
use crate::replica::Replica;

/// How positions lie.
#[derive(Clone, Copy, Debug)]
enum Spread {
    Uniform,
    /// A few dense runs.
    Clustered,
    /// Sixteen bytes of ASCII keys with long common prefixes, of three tenants of very different size.
    Ascii,
    /// Few positions, many keys at each.
    Collided,
}

impl Spread {
    fn position(self, random: &mut Random) -> u128 {
        match self {
            Self::Uniform => random.position(),
            Self::Clustered => Random(random.next() % 5).position() + u128::from(random.next() % 4000),
            Self::Ascii => {
                let tenant = [0, 0, 0, 0, 0, 0, 1, 1, 2][below(random, 9)];
                let key = format!("usr{tenant}/{:011}", below(random, 100_000));
                u128::from_be_bytes(key.as_bytes().try_into().expect("the key has 16 bytes"))
            }
            Self::Collided => Random(random.next() % 7).position(),
        }
    }
}

/// What becomes of the differing keys.
#[derive(Clone, Copy, Debug)]
enum Divergence {
    /// Half changed, a quarter missing on each side.
    Mixed,
    /// The initiator lacks them.
    InitiatorLacks,
    /// The responder lacks them.
    ResponderLacks,
}

/// Two replicas of `n` keys of which about `d` differ. The initiator is loaded at once, the responder written key by
/// key with detours, so that their directories are cut differently.
fn replicas(
    interval: Interval,
    spread: Spread,
    divergence: Divergence,
    (n, d): (usize, usize),
    seed: u64,
) -> (Replica, Replica) {
    let mut random = Random(seed);
    let within = |position: u128| interval.first() | position & (interval.last() ^ interval.first());
    let records: Vec<(u128, u64, u64)> =
        (0..n as u64).map(|key| (within(spread.position(&mut random)), key, random.next())).collect();
    let differ: BTreeSet<usize> = (0..d).map(|_| below(&mut random, n)).collect();

    let (mut initiator, mut responder) = (Vec::new(), Replica::new(interval));
    for (index, record) in records.into_iter().enumerate() {
        let (position, key, value) = record;
        write(&mut responder, position, key, Some(value));
        match (differ.contains(&index), divergence, index % 4) {
            (false, _, _) => initiator.push(record),
            (true, Divergence::ResponderLacks, _) | (true, Divergence::Mixed, 0) => {
                initiator.push(record);
                write(&mut responder, position, key, None);
            }
            (true, Divergence::InitiatorLacks, _) | (true, Divergence::Mixed, 1) => {}
            (true, Divergence::Mixed, _) => initiator.push((position, key, value ^ 1)),
        }
    }
    // A detour: keys that come and go leave the shape they caused.
    let passing: Vec<u128> = (0..200).map(|_| within(spread.position(&mut random))).collect();
    passing.iter().for_each(|position| write(&mut responder, *position, u64::MAX, Some(0)));
    passing.iter().for_each(|position| write(&mut responder, *position, u64::MAX, None));
    (Replica::load(interval, initiator), responder)
}

fn below(random: &mut Random, bound: usize) -> usize {
    usize::try_from(random.next() % bound as u64).expect("a remainder is below its usize modulus")
}

/// Writes or deletes a key, as a replica does: the store first, then the directory, then the split it asks for.
fn write(replica: &mut Replica, position: u128, key: u64, record: Option<u64>) {
    let new = record.map(|record| element_of(key, record));
    let old = match new {
        Some(new) => replica.store.insert((position, key), new),
        None => replica.store.remove(&(position, key)),
    };
    if let Some(interval) = replica.directory.apply(position, old, new) {
        let refined = replica.directory.refine(interval, &replica.scan(interval));
        assert_eq!(refined, Ok(Refined::Exact), "the store and the directory agree");
    }
}

fn holds(replica: &Replica, position: u128) -> bool {
    replica.store.range((position, 0)..=(position, u64::MAX)).next().is_some()
}

/// Of so many keys one may be mistaken for a differing one, for sharing a short hash with one that is: it costs a read.
const MISTAKEN_ONE_IN: usize = 4096;

/// Checks an outcome against the truth, and returns how many differing keys some replica that holds them did not find.
fn check(initiator: &Replica, responder: &Replica, outcome: &Outcome) -> usize {
    let (missed, mistaken) = audit(initiator, responder, outcome);
    let differing = initiator.differing(responder).len();
    assert!(mistaken <= 1 + differing / MISTAKEN_ONE_IN, "{mistaken} held alike");
    missed
}

/// The same, but for how many keys that are held alike were found: returns these too.
fn audit(initiator: &Replica, responder: &Replica, outcome: &Outcome) -> (usize, usize) {
    let truth = initiator.differing(responder);
    let mut missed = BTreeSet::new();
    let mut mistaken = BTreeSet::new();
    for (ended, here) in [(&outcome.initiator, initiator), (&outcome.responder, responder)] {
        assert_eq!(ended.done.clean, truth.is_empty(), "clean means equal");
        assert!(ended.found.is_sorted_by(|a, b| a < b));
        let found: BTreeSet<u128> = ended.found.iter().copied().collect();
        let own: BTreeSet<u128> = truth.iter().copied().filter(|it| holds(here, *it)).collect();
        mistaken.extend(&found - &own);
        assert!(found.iter().all(|position| holds(here, *position)), "a side reports what it holds");
        missed.extend(&own - &found);
    }
    (missed.len(), mistaken.len())
}

fn spread() -> impl Strategy<Value = Spread> {
    prop_oneof![Just(Spread::Uniform), Just(Spread::Clustered), Just(Spread::Ascii), Just(Spread::Collided)]
}

fn divergence() -> impl Strategy<Value = Divergence> {
    prop_oneof![Just(Divergence::Mixed), Just(Divergence::InitiatorLacks), Just(Divergence::ResponderLacks)]
}

/// Short hashes make an exchange miss a difference now and then, by design; a fixed seed keeps that from happening in
/// one run of the tests and not in the next.
fn reproducible(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(reproducible(96))]

    #[test]
    fn an_exchange_finds_the_symmetric_difference(
        spread in spread(),
        divergence in divergence(),
        n in 1usize..3000,
        share in prop_oneof![Just(0.0), Just(0.001), 0.0..0.1, Just(1.0)],
        depth in prop_oneof![Just(0u8), Just(8)],
        seed: u64,
    ) {
        let interval = Interval::new(if depth == 0 { 0 } else { 0x75 << 120 }, depth).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small count")]
        let d = (n as f64 * share).ceil() as usize;
        let (initiator, responder) = replicas(interval, spread, divergence, (n, d), seed);
        let outcome = exchange(&initiator, &responder, seed, None);
        prop_assert_eq!(check(&initiator, &responder, &outcome), 0);
        prop_assert_eq!(outcome.initiator.done.resume, None);

        let (again, other_way) = (exchange(&initiator, &responder, !seed, None), exchange(&responder, &initiator, seed, None));
        prop_assert_eq!(check(&initiator, &responder, &again), 0);
        prop_assert_eq!(check(&responder, &initiator, &other_way), 0);
    }
}

#[test]
fn what_an_empty_side_lacks_is_known_in_one_round_trip() {
    let full = Replica::load(Interval::WHOLE, (0..1000).map(|key| (Random(key).position(), key, key)));
    let empty = Replica::new(Interval::WHOLE);
    let outcome = exchange(&empty, &full, 1, None);
    assert_eq!((check(&empty, &full, &outcome), outcome.bytes.len()), (0, 2));
    let outcome = exchange(&full, &empty, 1, None);
    assert_eq!(check(&full, &empty, &outcome), 0);
    let outcome = exchange(&empty, &Replica::new(Interval::WHOLE), 1, None);
    assert!(outcome.initiator.done.clean && outcome.responder.done.clean);
}

#[test]
fn equal_replicas_exchange_two_short_messages_and_read_nothing() {
    let (initiator, responder) = replicas(Interval::WHOLE, Spread::Uniform, Divergence::Mixed, (5000, 0), 4);
    assert_ne!(
        initiator.directory.leaves().collect::<Vec<_>>(),
        responder.directory.leaves().collect::<Vec<_>>(),
        "the shapes differ",
    );
    let outcome = exchange(&initiator, &responder, 7, None);
    assert!(outcome.initiator.done.clean && outcome.responder.done.clean);
    assert_eq!(outcome.bytes.len(), 2);
    assert!(outcome.bytes.iter().sum::<usize>() <= 64, "{:?}", outcome.bytes);
    assert_eq!(outcome.keys_scanned(), 0);
}

#[test]
fn a_side_that_holds_far_more_is_not_mistaken() {
    // The small side's cells are wide, and what it lists is compared with thousands of keys.
    let large = Replica::load(Interval::WHOLE, (0..12_000).map(|key| (Random(key).position(), key, key)));
    let small =
        Replica::load(Interval::WHOLE, (11_950..12_050).map(|key| (Random(key).position(), key, key)));
    for (initiator, responder) in [(&large, &small), (&small, &large)] {
        let outcome = exchange(initiator, responder, 3, None);
        assert_eq!(check(initiator, responder, &outcome), 0);
    }
}

#[test]
fn cursors_lead_through_more_differences_than_one_exchange_reports() {
    let keys = 40_000;
    let full = Replica::load(Interval::WHOLE, (0..keys).map(|key| (Random(key).position(), key, key)));
    let changed = Replica::load(Interval::WHOLE, (0..keys).map(|key| (Random(key).position(), key, key + 1)));
    let sparse = (0..keys).step_by(100).map(|key| (Random(key).position(), key, key));
    let sparse = Replica::load(Interval::WHOLE, sparse);
    let empty = Replica::new(Interval::WHOLE);
    for (initiator, responder) in
        [(&full, &empty), (&empty, &full), (&full, &sparse), (&sparse, &full), (&full, &changed)]
    {
        let (mut found, mut start, mut exchanges) = (BTreeSet::new(), None, 0);
        loop {
            let outcome = exchange(initiator, responder, 8 + exchanges, start);
            exchanges += 1;
            let sides = [&outcome.initiator, &outcome.responder];
            // Where one side holds nearly nothing, the other reads no more than it may report.
            let scanned = sides.map(|side| side.done.stats.keys_scanned);
            let lopsided = initiator.store.len() != responder.store.len();
            assert!(
                !lopsided || scanned.iter().all(|keys| *keys <= 5 * DIFFERENCES_MAX as u64 / 4),
                "{scanned:?}"
            );
            assert!(outcome.bytes.iter().all(|bytes| *bytes <= MESSAGE_BYTES_MAX));
            let resume = outcome.initiator.done.resume;
            assert!(outcome.initiator.found.len() <= DIFFERENCES_MAX);
            assert!(outcome.initiator.found.last() < resume.as_ref().or(Some(&u128::MAX)));
            assert!(sides.iter().all(|side| side.found.first().is_none_or(|first| Some(*first) >= start)));
            found.extend(outcome.positions());
            match resume {
                Some(resume) => {
                    assert!(Some(resume) > start, "every exchange gets further");
                    start = Some(resume);
                }
                None => break,
            }
        }
        let truth = initiator.differing(responder);
        assert!(found.is_superset(&truth) && found.len() <= truth.len() + truth.len() / MISTAKEN_ONE_IN);
        assert_eq!(
            exchanges,
            keys.div_ceil(DIFFERENCES_MAX as u64),
            "each exchange reports as much as it may"
        );
    }
}

#[test]
fn many_keys_at_one_position_are_one_difference() {
    let position = Random(9).position();
    let records = |changed: u64| (0..5000).map(move |key| (position, key, u64::from(key == changed)));
    let initiator = Replica::load(Interval::WHOLE, records(0));
    let mut responder = Replica::new(Interval::WHOLE);
    records(1).for_each(|(position, key, record)| write(&mut responder, position, key, Some(record)));
    let outcome = exchange(&initiator, &responder, 2, None);
    assert_eq!(check(&initiator, &responder, &outcome), 0);
    assert_eq!(
        (outcome.initiator.found.as_slice(), outcome.responder.found.as_slice()),
        (&[position][..], &[position][..])
    );
    assert!(outcome.bytes.iter().sum::<usize>() < 400, "{:?}", outcome.bytes);
}

#[test]
fn what_one_salt_misses_another_finds() {
    let keys = 20_000;
    let record = |key: u64, changed: bool| (Random(key).position(), key, u64::from(changed));
    let initiator = Replica::load(Interval::WHOLE, (0..keys).map(|key| record(key, false)));
    let responder = Replica::load(Interval::WHOLE, (0..keys).map(|key| record(key, key % 40 == 0)));
    let truth = initiator.differing(&responder);
    let (mut missed, mut mistaken, mut differences) = (0, 0, 0);
    for salt in 0..40 {
        let outcome = exchange(&initiator, &responder, salt, None);
        differences += truth.len();
        let (unseen, alike) = audit(&initiator, &responder, &outcome);
        (missed, mistaken) = (missed + unseen, mistaken + alike);
        let again = exchange(&initiator, &responder, !salt, None);
        assert!(truth.is_subset(&(&outcome.positions() | &again.positions())), "two in a row miss nothing");
    }
    // 2e-4 are allowed; most levels that a difference passes through miss 2^-15.
    assert!(missed * 5000 <= differences, "{missed} of {differences} missed");
    assert!(mistaken <= 1 + differences / MISTAKEN_ONE_IN, "{mistaken} of {differences} held alike");
}

#[test]
fn a_side_that_lacks_most_is_told_that_all_of_it_would_be_cheaper() {
    let part =
        |keys: u64| Replica::load(Interval::WHOLE, (0..keys).map(|key| (Random(key).position(), key, key)));
    let bulk = |initiator: u64, responder: u64| {
        let outcome = exchange(&part(initiator), &part(responder), 5, None);
        (outcome.initiator.bulk, outcome.responder.bulk)
    };
    assert_eq!(bulk(3000, 1400), (Some(Side::Here), Some(Side::There)));
    assert_eq!(bulk(0, 3000), (Some(Side::There), Some(Side::Here)));
    assert_eq!(bulk(3000, 1600), (None, None), "half of it is there");
    assert_eq!(bulk(1000, 0), (None, None), "too little to matter");
    let resumed = exchange(&part(3000), &part(0), 5, Some(1 << 127));
    assert_eq!(resumed.initiator.bulk, None, "whoever goes on has been told");
}
