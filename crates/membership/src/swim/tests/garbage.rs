//! Members that talk nonsense: it is refused or outlived, and harms nobody.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::{any, prop_assert, proptest};

use crate::identity::NodeId;
use crate::swim::event::Input;
use crate::swim::record::{Generation, Incarnation};
use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{DatagramWriter, Message, ProbeNumber, WireError};
use crate::swim::{Event, ExchangeId, State};

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
