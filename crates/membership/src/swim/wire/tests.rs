//! The layout, byte by byte; its bounds; and whatever else may arrive.

#![expect(clippy::indexing_slicing, reason = "bytes of known length are cut up, and a test may panic")]

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::prop_oneof;

use super::*;
use crate::identity::{NAME_BYTES_MAX, Name};
use crate::ring::{Copies, KeySpace, Partitioner, Partitions, Position, TOKENS_MAX, Tokens};
use crate::swim::record::{Edition, Generation, Incarnation, VERSION_BYTES_MAX};
use crate::swim::update::Claim;

const FOUNDING: u64 = 0x0102_0304_0506_0708;

fn update(generation: u64, incarnation: u64, claim: Claim) -> Update {
    Update {
        subject: NodeId(0xa1a2_a3a4_a5a6_a7a8),
        edition: Edition {
            generation: Generation::new(generation).unwrap(),
            revision: 3,
            digest: 0xd1d2_d3d4_d5d6_d7d8,
        },
        incarnation: Incarnation::new(incarnation).unwrap(),
        claim,
    }
}

fn record(name: &str, tokens: Tokens) -> MemberRecord {
    MemberRecord {
        name: Name::new(name).unwrap(),
        directory: 7,
        generation: Generation::new(1).unwrap(),
        revision: 0,
        address: "127.0.0.1:7001".parse().unwrap(),
        gossip: "[::1]:7101".parse().unwrap(),
        tokens,
        version: "0.0.0".to_owned(),
    }
}

fn sync(record: MemberRecord, updates: Vec<Update>) -> Request {
    let founding = Founding {
        partitions: Partitions::default(),
        partitioner: Partitioner::Md5,
        key_space: KeySpace::Bytes,
        n: Copies::default(),
        buckets: String::new(),
    };
    Request::Sync(SyncRequest { founding, standing: 1, joined: false, record, updates })
}

fn updates() -> impl Strategy<Value = Update> {
    let claim = prop_oneof![
        Just(Claim::Remembered),
        Just(Claim::Alive),
        any::<u64>().prop_map(|by| Claim::Suspect { by: NodeId(by) }),
        Just(Claim::Down),
        Just(Claim::Left),
    ];
    let edition = (0..=Generation::MAX.get(), any::<u32>(), any::<u64>());
    (any::<u64>(), edition, 0..=Incarnation::MAX.get(), claim).prop_map(
        |(subject, (generation, revision, digest), incarnation, claim)| Update {
            subject: NodeId(subject),
            edition: Edition { generation: Generation::new(generation).unwrap(), revision, digest },
            incarnation: Incarnation::new(incarnation).unwrap(),
            claim,
        },
    )
}

#[test]
fn the_layout_of_a_datagram_is_fixed() {
    let mut writer = DatagramWriter::new(
        FOUNDING,
        NodeId(5),
        Message::Ping { seq: ProbeNumber(300), target: NodeId(0x0908_0706_0504_0302).into() },
    );
    assert!(writer.push(&update(2, 200, Claim::Suspect { by: NodeId(5) })));
    let expected = [
        &[WIRE_VERSION][..],                                     // version
        &[1, 2, 3, 4],                                           // founding
        &[0, 0, 0, 0, 0, 0, 0, 5],                               // sender
        &[0, 0x2c, 0x01, 2, 3, 4, 5],                            // ping, number 300, target
        &[0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7, 0xa8],       // subject
        &[2, 3, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8], // edition
        &[0xc8, 0x01],                                           // incarnation 200
        &[2, 0, 0, 0, 0, 0, 0, 0, 5],                            // suspect, by
    ];
    assert_eq!(writer.finish(), expected.concat());
}

#[test]
fn a_datagram_is_filled_and_not_overfilled() {
    let mut writer = DatagramWriter::new(FOUNDING, NodeId(5), Message::Gossip);
    let mut greatest =
        update(Generation::MAX.get(), Incarnation::MAX.get(), Claim::Suspect { by: NodeId(u64::MAX) });
    greatest.edition.revision = u32::MAX;
    assert!(encode(&greatest).len() <= UPDATE_BYTES_MAX);
    let pushed = (0..100).take_while(|_| writer.push(&greatest)).count();
    let bytes = writer.finish();
    assert!(bytes.len() <= DATAGRAM_BYTES_MAX && bytes.len() + UPDATE_BYTES_MAX > DATAGRAM_BYTES_MAX);
    assert_eq!(Datagram::read(&bytes, FOUNDING).unwrap().updates.len(), pushed);
}

#[test]
fn absurd_counters_are_refused() {
    let mut writer = DatagramWriter::new(FOUNDING, NodeId(5), Message::Gossip);
    assert!(writer.push(&update(1, 0, Claim::Alive)));
    let bytes = writer.finish();
    assert!(Datagram::read(&bytes, FOUNDING).is_ok());
    // The incarnation is the second byte from the end, the revision the eleventh, the generation the one before.
    for counter in [2, 12] {
        let at = bytes.len() - counter;
        let absurd = [&bytes[..at], &encode(&u64::MAX), &bytes[at + 1..]].concat();
        let error = Datagram::read(&absurd, FOUNDING).unwrap_err();
        assert!(matches!(error, WireError::Absurd(_)), "{error}");
    }
}

#[test]
fn other_versions_foundings_and_lengths_are_told_apart() {
    let bytes = DatagramWriter::new(FOUNDING, NodeId(5), Message::Gossip).finish();
    assert_eq!(Datagram::read(&bytes, !FOUNDING), Err(WireError::Foreign));
    assert_eq!(Datagram::read(&[&[9], &bytes[1..]].concat(), FOUNDING), Err(WireError::Version(9)));
    assert_eq!(Datagram::read(&[1; 1_101], FOUNDING), Err(WireError::TooLong(1_101)));
    assert!(matches!(Datagram::read(&[], FOUNDING), Err(WireError::Malformed(_))));
    let long = vec![WIRE_VERSION; EXCHANGE_BYTES_MAX + 1];
    assert_eq!(Request::read(&long), Err(WireError::TooLong(EXCHANGE_BYTES_MAX + 1)));
}

#[test]
fn absurd_exchanges_are_refused() {
    let refused = |request: Request| Request::read(&request.write()).unwrap_err().to_string();
    let a_million = vec![NodeId(1); MEMBERS_MAX + 1];
    assert!(
        refused(Request::Fetch { founding: FOUNDING, members: a_million })
            .contains("more than 16384 members")
    );
    let too_many = vec![Position(0); TOKENS_MAX + 1];
    assert!(refused(sync(record("a", Tokens::Explicit(too_many)), vec![])).contains("1 to 1024 tokens"));
    let nowhere = MemberRecord { address: "0.0.0.0:1".parse().unwrap(), ..record("a", Tokens::default()) };
    assert!(refused(sync(nowhere, vec![])).contains("0.0.0.0:1"));
    let wordy = MemberRecord { version: "x".repeat(VERSION_BYTES_MAX + 1), ..record("a", Tokens::default()) };
    assert!(refused(sync(wordy, vec![])).contains("at most 64 bytes"));

    let bytes = sync(record("abcdef", Tokens::default()), vec![]).write();
    let at = bytes.windows(6).position(|window| window == b"abcdef").unwrap();
    let long = [&bytes[..at - 1], &[65], &[b'x'; NAME_BYTES_MAX + 1], &bytes[at + 6..]].concat();
    assert!(matches!(Request::read(&long), Err(WireError::Absurd(_))));
    let trailing = [&bytes[..], &[0]].concat();
    assert!(Request::read(&trailing).unwrap_err().to_string().contains("1 bytes too many"));
}

#[test]
fn a_length_that_lies_costs_no_memory() {
    // A fetch that announces 2^60 members and carries none.
    let mut bytes = vec![WIRE_VERSION, 2];
    bytes.extend_from_slice(&encode(&FOUNDING));
    bytes.extend_from_slice(&encode(&(1_u64 << 60)));
    assert!(matches!(Request::read(&bytes), Err(WireError::Malformed(_))));
}

proptest! {
    #[test]
    fn datagrams_round_trip(from in any::<u64>(), seq in any::<u16>(), updates in vec(updates(), 0..20)) {
        let message = Message::IndirectPing { seq: ProbeNumber(seq), target: NodeId(from) };
        let mut writer = DatagramWriter::new(FOUNDING, NodeId(from), message);
        prop_assert!(updates.iter().all(|update| writer.push(update)));
        let read = Datagram::read(&writer.finish(), FOUNDING);
        prop_assert_eq!(read, Ok(Datagram { from: NodeId(from), message, updates }));
    }

    #[test]
    fn exchanges_round_trip(updates in vec(updates(), 0..20), positions in vec(any::<u128>(), 1..5)) {
        let record = record("a", Tokens::Explicit(positions.into_iter().map(Position).collect()));
        let request = sync(record.clone(), updates.clone());
        prop_assert_eq!(Request::read(&request.write()), Ok(request));
        let introduction =
            Introduction { record: Arc::new(record), incarnation: Incarnation::default(), claim: Claim::Down };
        let introduced = vec![introduction; 2];
        let response = Response::Knowledge(Knowledge { from: NodeId(1), updates, introduced });
        prop_assert_eq!(Response::read(&response.write()), Ok(response));
    }

    #[test]
    fn no_bytes_panic(mut bytes in vec(any::<u8>(), 0..400)) {
        for _ in 0..2 {
            let results = (Datagram::read(&bytes, FOUNDING), Request::read(&bytes), Response::read(&bytes));
            drop(results);
            // Once more, past the first checks.
            bytes.splice(0..0, [WIRE_VERSION].into_iter().chain(short_founding(FOUNDING)));
        }
        drop((Request::read(&bytes[4..]), Response::read(&bytes[4..])));
    }

    #[test]
    fn a_damaged_exchange_never_panics(at in any::<proptest::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = sync(record("a", Tokens::default()), vec![update(1, 2, Claim::Down); 3]).write();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        drop(Request::read(&bytes));
    }
}
