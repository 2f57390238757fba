//! Members that talk nonsense: it is refused or outlived, and harms nobody.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use crate::identity::NodeId;
use crate::swim::event::Input;
use crate::swim::record::{Generation, Incarnation};
use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Datagram, DatagramWriter, Message, ProbeNumber, Request, SyncRequest, WireError};
use crate::swim::{Event, ExchangeId, MemberRecord, Output, State};

fn gossip(cluster: &mut Cluster, to: usize, updates: &[Update]) -> Result<(), WireError> {
    let mut writer = DatagramWriter::new(cluster.hosts[to].founding.digest(), NodeId(1), Message::Gossip);
    assert!(updates.iter().all(|update| writer.push(update)));
    let bytes = writer.finish();
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    cluster.with(to, |membership, now| membership.handle(now, Input::Datagram { from, bytes: &bytes }))
}

#[test]
fn the_highest_incarnation_does_not_win_for_ever() {
    for claim in [Claim::Down, Claim::Suspect { by: NodeId(1) }, Claim::Alive, Claim::Left] {
        let mut cluster = Cluster::settled(4, 0.0, 1);
        let victim = cluster.runs(3).me().update;
        gossip(&mut cluster, 0, &[Update { incarnation: Incarnation::MAX, claim, ..victim }]).unwrap();
        cluster.run(SECOND * 20);
        assert!(cluster.agrees(), "{claim:?}: {}", cluster.views());
        // It can still be found down.
        cluster.crash(3);
        cluster.run_until(SECOND * 20, |cluster| cluster.all_see(3, State::Down));
    }
}

#[test]
fn an_edition_that_nobody_has_changes_nothing() {
    let mut cluster = Cluster::settled(4, 0.0, 1);
    let mut absurd = cluster.runs(3).me().update;
    absurd.edition.generation = Generation::MAX;
    let stranger = Update { subject: NodeId(4), ..absurd };
    for host in 0..4 {
        gossip(&mut cluster, host, &[absurd, stranger]).unwrap();
    }
    cluster.run(SECOND * 30);
    assert!(cluster.agrees(), "{}", cluster.views());
    assert_eq!(cluster.events, []);
}

#[test]
fn gossip_of_another_cluster_is_dropped_and_counted() {
    let mut cluster = Cluster::settled(2, 0.0, 1);
    let bytes = DatagramWriter::new(1, NodeId(1), Message::Gossip).finish();
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let result =
        cluster.with(0, |membership, now| membership.handle(now, Input::Datagram { from, bytes: &bytes }));
    assert_eq!(result, Err(WireError::Foreign));
    assert_eq!(cluster.runs(0).counters().foreign, 1);
}

#[test]
fn a_probe_for_somebody_else_is_not_answered() {
    let mut cluster = Cluster::settled(2, 0.0, 1);
    let message = Message::Ping { seq: ProbeNumber(1), target: NodeId(77).into() };
    let bytes = DatagramWriter::new(cluster.hosts[0].founding.digest(), NodeId(1), message).finish();
    let said = cluster.datagrams;
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    cluster
        .with(0, |membership, now| membership.handle(now, Input::Datagram { from, bytes: &bytes }))
        .unwrap();
    assert_eq!((cluster.datagrams, cluster.runs(0).counters().misdirected), (said, 1));
}

#[test]
fn who_has_missed_a_refutation_is_told_with_the_answer_to_its_probe() {
    let mut cluster = Cluster::settled(4, 0.0, 1);
    let suspicion = Update { claim: Claim::Suspect { by: NodeId(1) }, ..cluster.runs(3).me().update };
    gossip(&mut cluster, 3, &[suspicion]).unwrap();
    // All have heard the refutation, and nobody speaks of it any more.
    cluster.run(SECOND * 30);
    let (founding, from) = (cluster.hosts[3].founding.digest(), SocketAddr::from(([10, 9, 9, 9], 9)));
    let message = Message::Ping { seq: ProbeNumber(1), target: suspicion.subject.into() };
    let mut probe = DatagramWriter::new(founding, NodeId(1), message);
    assert!(probe.push(&suspicion));
    let bytes = probe.finish();
    let said = cluster.with(3, |membership, now| {
        membership.handle(now, Input::Datagram { from, bytes: &bytes }).unwrap();
        std::iter::from_fn(|| membership.poll()).collect::<Vec<_>>()
    });
    let answer = said.iter().find_map(|output| match output {
        Output::Datagram { to, bytes } if *to == from => Some(Datagram::read(bytes, founding).unwrap()),
        _ => None,
    });
    let updates = answer.expect("a probe is answered").updates;
    let refutes = |it: &Update| it.claim == Claim::Alive && it.overrides(&suspicion);
    assert!(updates.iter().any(refutes), "{updates:?}");
}

#[test]
fn a_stray_answer_is_counted() {
    let mut cluster = Cluster::settled(2, 0.0, 1);
    let exchange = ExchangeId(1 << 40);
    cluster
        .with(0, |membership, now| membership.handle(now, Input::Response { exchange, bytes: &[1, 2, 3] }))
        .unwrap();
    assert_eq!(cluster.runs(0).counters().unexpected, 1);
}

proptest! {
    #[test]
    fn no_bytes_break_a_member(bytes in vec(any::<u8>(), 0..200), datagram in any::<bool>(), genuine in any::<bool>()) {
        let mut cluster = Cluster::new(1, 0.0, 1);
        cluster.start(0, &[]);
        let mut bytes = bytes;
        if genuine {
            let empty = DatagramWriter::new(cluster.hosts[0].founding.digest(), NodeId(1), Message::Gossip).finish();
            bytes.splice(0..0, empty);
        }
        let from = SocketAddr::from(([10, 9, 9, 9], 9));
        cluster.with(0, |membership, now| {
            drop(if datagram {
                membership.handle(now, Input::Datagram { from, bytes: &bytes })
            } else {
                membership.handle(now, Input::Response { exchange: ExchangeId(1), bytes: &bytes })
            });
        });
        cluster.run(SECOND);
        prop_assert!(!cluster.events.iter().any(|(_, _, event)| matches!(event, Event::Refused(_))));
    }
}

fn give(cluster: &mut Cluster, to: usize, bytes: &[u8]) -> Result<(), WireError> {
    cluster.with(to, |membership, now| {
        membership.handle(now, Input::Request { exchange: ExchangeId(1 << 40), bytes })
    })
}

/// The request with which `newcomer` introduces itself.
pub(super) fn introduction(newcomer: usize) -> Vec<u8> {
    let mut cluster = Cluster::new(newcomer + 1, 0.0, 1);
    cluster.start(newcomer, &[]);
    let me = cluster.runs(newcomer).me();
    let (record, updates) = (MemberRecord::clone(me.record()), vec![me.update]);
    let founding = cluster.hosts[newcomer].founding.clone();
    Request::Sync(SyncRequest { founding, standing: 1, joined: false, record, updates }).write()
}

#[test]
fn what_is_refused_is_counted_by_reason() {
    let mut cluster = Cluster::settled(3, 0.0, 1);
    let founding = cluster.hosts[0].founding.digest();
    let genuine = introduction(3);

    let absurd_incarnation = {
        let mut writer = DatagramWriter::new(founding, NodeId(1), Message::Gossip);
        assert!(writer.push(&cluster.runs(2).me().update));
        let mut bytes = writer.finish();
        // The incarnation stands before the claim.
        let at = bytes.len() - 2;
        bytes.splice(at..=at, [0xff; 9].into_iter().chain([0x01]));
        bytes
    };
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let result =
        cluster.with(0, |it, now| it.handle(now, Input::Datagram { from, bytes: &absurd_incarnation }));
    assert!(matches!(result, Err(WireError::Absurd(_))), "{result:?}");

    let name_of_a_megabyte = {
        let at = genuine.windows(2).position(|window| window == b"m3").unwrap();
        let mut bytes = genuine.clone();
        // 2^20 as a length, then as many letters.
        bytes
            .splice(at - 1..at + 2, [0x80, 0x80, 0x40].into_iter().chain(std::iter::repeat_n(b'x', 1 << 20)));
        bytes
    };
    assert!(matches!(give(&mut cluster, 0, &name_of_a_megabyte), Err(WireError::Absurd(_))));

    let entries = |count: usize| Request::Fetch { founding, members: vec![NodeId(1); count] }.write();
    assert!(matches!(give(&mut cluster, 0, &entries(100_000)), Err(WireError::Absurd(_))));
    assert!(matches!(give(&mut cluster, 0, &entries(1_000_000)), Err(WireError::TooLong(_))));

    for length in 0..genuine.len() {
        assert!(give(&mut cluster, 0, &genuine[..length]).is_err(), "cut off at {length}");
    }
    let counters = cluster.runs(0).counters();
    assert_eq!((counters.absurd, counters.oversized), (3, 1));
    assert_eq!(counters.malformed, genuine.len() as u64);
    cluster.run(SECOND * 20);
    assert!(cluster.agrees() && cluster.events.is_empty(), "{:?}", cluster.events);
}

#[test]
fn replayed_news_is_old_news() {
    let mut cluster = Cluster::settled(4, 0.0, 1);
    let mut old = cluster.runs(3).me().update;
    old.claim = Claim::Suspect { by: NodeId(1) };
    gossip(&mut cluster, 0, &[old]).unwrap();
    cluster.run(SECOND * 2);
    assert!(cluster.agrees() && cluster.runs(3).me().incarnation().get() == 1, "{}", cluster.views());
    cluster.events.clear();
    let before = cluster.runs(0).counters().stale;
    for claim in [old.claim, Claim::Down, Claim::Alive] {
        gossip(&mut cluster, 0, &[Update { claim, ..old }]).unwrap();
    }
    assert_eq!(cluster.runs(0).counters().stale, before + 3);
    cluster.run(SECOND * 20);
    assert_eq!(cluster.events, []);
}

#[test]
fn an_answer_to_a_probe_that_was_not_asked_is_counted() {
    let mut cluster = Cluster::settled(2, 0.0, 1);
    let ack = Message::Ack { seq: ProbeNumber(1) };
    let bytes = DatagramWriter::new(cluster.hosts[0].founding.digest(), NodeId(1), ack).finish();
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let before = cluster.runs(0).counters().unexpected;
    cluster.with(0, |it, now| it.handle(now, Input::Datagram { from, bytes: &bytes })).unwrap();
    assert_eq!(cluster.runs(0).counters().unexpected, before + 1);
}

proptest! {
    #[test]
    fn damaged_and_replayed_messages_harm_nobody(
        damages in vec((any::<proptest::sample::Index>(), any::<u8>(), any::<bool>()), 1..20),
        seed in 0..1_000_u64,
    ) {
        let mut cluster = Cluster::settled(3, 0.0, seed);
        let founding = cluster.hosts[0].founding.digest();
        let mut writer = DatagramWriter::new(founding, cluster.runs(1).id(), Message::Gossip);
        for host in 0..3 {
            let update = Update { claim: Claim::Suspect { by: NodeId(9) }, ..cluster.runs(host).me().update };
            prop_assert!(writer.push(&update));
        }
        let (datagram, request) = (writer.finish(), introduction(1));
        let from = cluster.hosts[1].record.gossip;
        for (at, byte, cut) in damages {
            for genuine in [&datagram, &request] {
                let mut bytes = genuine.clone();
                let at = at.index(bytes.len());
                if cut { bytes.truncate(at) } else { bytes[at] ^= byte }
                let exchange = ExchangeId(1 << 40);
                cluster.with(0, |it, now| {
                    it.handle(now, Input::Datagram { from, bytes: &bytes }).ok();
                    it.handle(now, Input::Request { exchange, bytes: &bytes }).ok();
                    it.handle(now, Input::Response { exchange, bytes: &bytes }).ok();
                    // Nobody waits for these answers.
                    while it.poll().is_some() {}
                });
            }
        }
        cluster.run(SECOND * 60);
        for (host, other) in [(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)] {
            prop_assert_eq!(cluster.state(host, other), Some(State::Alive), "{}", cluster.views());
        }
    }
}
