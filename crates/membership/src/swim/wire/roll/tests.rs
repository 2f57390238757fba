//! The layout, what it saves, and what a roll must not be made of.

#![expect(clippy::indexing_slicing, reason = "bytes of known length are cut up, and a test may panic")]

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, proptest};
use proptest::prop_oneof;

use super::*;
use crate::identity::NodeId;
use crate::ring::Position;
use crate::swim::wire::{Knowledge, Response};

fn introduction(name: &str, address: &str, gossip: &str) -> Introduction {
    let record = MemberRecord {
        name: Name::new(name).unwrap(),
        directory: 0xd1d2_d3d4_d5d6_d7d8,
        generation: Generation::new(1).unwrap(),
        revision: 0,
        address: address.parse().unwrap(),
        gossip: gossip.parse().unwrap(),
        tokens: Tokens::Derived { count: 64 },
        version: "1.2".to_owned(),
    };
    Introduction { record: Arc::new(record), incarnation: Incarnation::default(), claim: Claim::Alive }
}

fn changed(introduction: &Introduction, change: impl FnOnce(&mut MemberRecord)) -> Introduction {
    let mut record = MemberRecord::clone(&introduction.record);
    change(&mut record);
    Introduction { record: Arc::new(record), ..introduction.clone() }
}

#[test]
fn the_layout_of_a_roll_is_fixed() {
    let first = introduction("db-1", "10.0.0.1:7001", "10.0.0.1:7101");
    let alike = introduction("db-2", "10.0.0.2:7001", "10.0.0.2:7101");
    let other = introduction("db-10", "10.0.9.3:7002", "[::1]:7102");
    let other = changed(&other, |it| {
        it.generation = Generation::new(300).unwrap();
        it.revision = 1;
    });
    let claim = Claim::Suspect { by: NodeId(5) };
    let other = Introduction { incarnation: Incarnation::new(2).unwrap(), claim, ..other };
    let directory = [0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8];
    let expected = [
        &[0b1011_0111][..],               // all but gossip host and claim
        &[0, 4, b'd', b'b', b'-', b'1'],  // name
        &directory,                       // directory
        &[0, 10, 0, 0, 1, 0x1b, 0x59],    // host, port
        &[0x1b, 0xbd, 2],                 // gossip port, generation + 1
        &[0, 0, 64, 3, b'1', b'.', b'2'], // revision, tokens, version
        &[0, b'2'],                       // nothing but a last byte
        &directory,                       //
        &[2],                             // and another
        &[0xff, 3, 2, b'1', b'0'],        // all, and of the name "db-" is as before
        &directory,                       //
        &[0, 10, 0, 9, 3, 0x1b, 0x5a],    // host, port
        &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x1b, 0xbe], // gossip host, gossip port
        &[0xd6, 0x04],                    // generation + 299
        &[2, 2, 0, 0, 0, 0, 0, 0, 0, 5],  // incarnation, suspect, by
        &[1, 0, 64, 3, b'1', b'.', b'2'], // revision, tokens, version
    ];
    let roll = [first, alike, other];
    assert_eq!(write(&roll), expected.concat());
    assert_eq!(read(&write(&roll)).unwrap(), roll);
}

#[test]
fn a_hundred_members_take_two_packets() {
    let scattered = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut roll: Vec<Introduction> = (0..100_u16)
        .map(|i| {
            let host = format!("10.0.0.{i}");
            let gossip = format!("{host}:{}", 32_768 + scattered(i.into()) % 28_000);
            let it = introduction(&format!("m{i}"), &format!("{host}:7000"), &gossip);
            changed(&it, |record| {
                record.directory = scattered(i.into());
                // A second of the last day.
                let started = 1_800_000_000 + scattered(u64::from(i) + 100) % 86_400;
                record.generation = Generation::new(started).unwrap();
            })
        })
        .collect();
    roll.sort_by(|one, other| one.record.name.cmp(&other.record.name));
    let alone: usize = roll.iter().map(|it| encode(&*it.record).len()).sum();
    let together = write(&roll).len();
    assert!(together < 1_750 && alone > 4_000, "{together} bytes in place of {alone}");
    assert_eq!(read(&write(&roll)).unwrap(), roll);
}

#[test]
fn a_list_of_tokens_is_never_said_in_a_bit() {
    let list = |it: &mut MemberRecord| it.tokens = Tokens::Explicit(vec![Position(7); 100]);
    let roll = ["a", "b"].map(|name| changed(&introduction(name, "10.0.0.1:1", "10.0.0.1:2"), list));
    let mut bytes = write(&roll);
    assert_eq!(read(&bytes).unwrap(), roll);
    // The second entry, without its list: given, name, directory, host.
    let at = bytes.len() / 2;
    let at = at + bytes[at..].iter().position(|byte| *byte == b'b').unwrap() - 1;
    assert_eq!(bytes[at], REST);
    bytes[at] = 0;
    bytes.truncate(at + 11);
    let error = read(&bytes).unwrap_err();
    assert!(error.to_string().contains("list of tokens"), "{error}");
}

#[test]
fn too_many_and_impossible_members_are_refused() {
    let roll =
        [introduction("a1", "10.0.0.1:1", "10.0.0.1:2"), introduction("a2", "10.0.0.2:1", "10.0.0.2:2")];
    let bytes = write(&roll);
    let (first, second) = bytes.split_at(bytes.len() - 11);
    let most = [first, &second.repeat(MEMBERS_MAX - 1)].concat();
    assert_eq!(read(&most).unwrap().len(), MEMBERS_MAX);
    let error = read(&[&most, second].concat()).unwrap_err();
    assert!(matches!(error, WireError::Absurd(_)), "{error}");
    // A name that starts with nothing, a letter that is none, a port that is none.
    for (at, byte) in [(2, 0), (3, b'/'), (bytes.len() - 10, 0xe4), (19, 0)] {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        assert!(read(&bytes).is_err(), "{byte} at {at}");
    }
    for length in 1..first.len() {
        assert!(matches!(read(&bytes[..length]), Err(WireError::Malformed(_))), "cut off at {length}");
    }
}

#[test]
fn who_does_not_fit_is_spoken_of_without_a_record() {
    let list = Tokens::Explicit(vec![Position(u128::MAX); 1_024]);
    let members: Vec<Member> = (0..100)
        .map(|i| {
            let it = introduction(&format!("m{i}"), "10.0.0.1:1", "10.0.0.1:2");
            let it = changed(&it, |record| record.tokens = list.clone());
            Member::new(crate::swim::Time::ORIGIN, it.record, Claim::Alive)
        })
        .collect();
    let knowledge = Knowledge::new(NodeId(1), members[..10].iter(), members[10..].iter().collect());
    let (introduced, updates) = (knowledge.introduced.len(), knowledge.updates.len());
    assert_eq!(introduced + updates, 100);
    assert!((60..64).contains(&introduced), "{introduced} lists of 16 KiB");
    let read = Response::read(&Response::Knowledge(knowledge.clone()).write());
    assert_eq!(read, Ok(Response::Knowledge(knowledge)));
}

fn introductions() -> impl Strategy<Value = Introduction> {
    let claim = prop_oneof![
        Just(Claim::Alive),
        Just(Claim::Remembered),
        any::<u64>().prop_map(|by| Claim::Suspect { by: NodeId(by) }),
        Just(Claim::Down),
        Just(Claim::Left),
    ];
    let host = || {
        prop_oneof![
            (0..3_u8, any::<u8>()).prop_map(|(net, host)| IpAddr::from([10, 0, net, host])),
            any::<u8>().prop_map(|host| IpAddr::from([1, 0, 0, 0, 0, 0, 0, host.into()])),
        ]
    };
    let address = || (host(), 1..4_u16).prop_map(|(host, port)| SocketAddr::new(host, port));
    let tokens = prop_oneof![
        (1..3_u16).prop_map(|count| Tokens::Derived { count }),
        vec(any::<u128>().prop_map(Position), 1..3).prop_map(Tokens::Explicit),
    ];
    let counters = (0..2_u64, 0..2_u32, 0..2_u64);
    ("[ab]{1,4}", any::<u64>(), counters, address(), address(), any::<bool>(), tokens, "[12]", claim)
        .prop_map(
            |(
                name,
                directory,
                (generation, revision, refuted),
                address,
                gossip,
                apart,
                tokens,
                version,
                claim,
            )| {
                let record = MemberRecord {
                    name: Name::new(name).unwrap(),
                    directory,
                    generation: Generation::new(generation).unwrap(),
                    revision,
                    address,
                    gossip: if apart { gossip } else { SocketAddr::new(address.ip(), gossip.port()) },
                    tokens,
                    version,
                };
                Introduction {
                    record: Arc::new(record),
                    incarnation: Incarnation::new(refuted).unwrap(),
                    claim,
                }
            },
        )
}

proptest! {
    #[test]
    fn rolls_round_trip(roll in vec(introductions(), 0..30), room in 0..2_000_usize) {
        let bytes = write(&roll);
        let fits = fitting(&roll, room);
        prop_assert!(write(&roll[..fits]).len() <= room);
        prop_assert!(fits == roll.len() || write(&roll[..=fits]).len() > room);
        prop_assert_eq!(read(&bytes), Ok(roll));
    }

    #[test]
    fn a_damaged_roll_never_panics(
        roll in vec(introductions(), 1..9),
        damages in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = write(&roll);
        for (at, byte) in damages {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        drop(read(&bytes));
    }
}
