//! What members tell of themselves: it changes while they run, reaches everybody, and never swells gossip.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::identity::NodeId;
use crate::ring::{Position, Tokens};
use crate::swim::member::Member;
use crate::swim::record::Incarnation;
use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{DatagramWriter, Message};
use crate::swim::{
    Config, DATAGRAM_BYTES_MAX, Event, Input, MemberRecord, Membership, Meta, Output, RecordError, State,
    Time,
};

fn meta(record: &MemberRecord) -> Meta {
    let MemberRecord { address, gossip, tokens, version, .. } = record.clone();
    Meta { address, gossip, tokens, version }
}

/// Gives the member on `host` other tokens.
fn retoken(cluster: &mut Cluster, host: usize, token: u128) {
    let tokens = Tokens::Explicit(vec![Position(token)]);
    cluster.with(host, |it, now| {
        let changed = Meta { tokens, ..meta(it.me().record()) };
        it.set_meta(now, changed).unwrap();
    });
}

#[test]
fn a_change_reaches_everybody_and_is_nothing_else() {
    for (seed, loss) in [(0, 0.0), (1, 0.05), (2, 0.2)] {
        let mut cluster = Cluster::settled(12, loss, seed);
        let before = cluster.runs(3).me().record().clone();
        retoken(&mut cluster, 3, 7);
        let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
        assert!(taken < SECOND * 3, "seed {seed}: {taken:?}");
        cluster.run(SECOND * 20);
        let changed =
            |event: &Event| matches!(event, Event::MetaChanged { record } if record.name == before.name);
        assert_eq!((cluster.reported(changed), cluster.events.len()), (11, 11), "{:?}", cluster.events);
        let after = cluster.runs(0).member(before.id()).unwrap().record();
        assert_eq!((after.generation, after.revision), (before.generation, before.revision + 1));
        assert_eq!(after.tokens, Tokens::Explicit(vec![Position(7)]));
    }
}

#[test]
fn the_last_of_many_changes_is_the_one_that_stays() {
    let mut cluster = Cluster::settled(8, 0.2, 4);
    for token in 0..10 {
        retoken(&mut cluster, 5, token);
        cluster.run(Duration::from_millis(30));
    }
    cluster.run_until(SECOND * 10, Cluster::agrees);
    assert_eq!(cluster.runs(5).me().record().tokens, Tokens::Explicit(vec![Position(9)]));
}

#[test]
fn a_member_moves_to_another_address_while_it_runs() {
    let mut cluster = Cluster::settled(5, 0.05, 2);
    cluster.hosts[3].record.address.set_port(7_777);
    cluster.hosts[3].record.gossip.set_port(7_778);
    let moved = meta(&cluster.hosts[3].record);
    cluster.with(3, |it, now| it.set_meta(now, moved).unwrap());
    let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
    assert!(taken < SECOND * 5, "{taken:?}");
    cluster.run(SECOND * 20);
    assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0);
}

#[test]
fn a_restart_after_a_change_is_the_later_one() {
    let mut cluster = Cluster::settled(4, 0.0, 3);
    retoken(&mut cluster, 2, 5);
    cluster.run(SECOND * 2);
    cluster.crash(2);
    cluster.restart(2, &[0]);
    cluster.run_until(SECOND * 5, Cluster::agrees);
    assert_eq!(cluster.runs(0).member(cluster.hosts[2].record.id()).unwrap().record().revision, 0);
}

#[test]
fn a_change_that_breaks_a_rule_or_changes_nothing_leaves_everything_as_it_is() {
    let mut cluster = Cluster::settled(2, 0.0, 1);
    let before = cluster.runs(0).me().record().clone();
    cluster.with(0, |it, now| {
        let nowhere = Meta { address: "0.0.0.0:0".parse().unwrap(), ..meta(&before) };
        assert!(matches!(it.set_meta(now, nowhere), Err(RecordError::Address(_))));
        it.set_meta(now, meta(&before)).unwrap();
        assert_eq!(it.me().record(), &before);
    });
}

/// One of a thousand settled members, each with 256 explicit tokens, and all the others.
fn one_of_a_thousand() -> (Membership, Vec<Member>) {
    let tokens = Tokens::Explicit((0..256).map(|token| Position(u128::MAX - token)).collect());
    let hosts = Cluster::new(1_000, 0.0, 0).hosts;
    let founding = hosts[0].founding.clone();
    let records: Vec<MemberRecord> =
        hosts.into_iter().map(|host| MemberRecord { tokens: tokens.clone(), ..host.record }).collect();
    let others: Vec<Member> = records[1..]
        .iter()
        .map(|record| Member::new(Time::ORIGIN, Arc::new(record.clone()), Claim::Alive))
        .collect();
    let config = Config::default().validate().unwrap();
    let me = records[0].clone();
    let machine = Membership::settled(config, me, founding, others.iter().cloned(), 1, Time::ORIGIN).unwrap();
    (machine, others)
}

#[test]
fn long_token_lists_never_swell_gossip() {
    let (mut machine, others) = one_of_a_thousand();
    let from = SocketAddr::from(([10, 9, 9, 9], 9));
    let founding = machine.founding().digest();
    // The longest news there can be of everybody, and all of it to be passed on.
    for member in &others {
        let claim = Claim::Suspect { by: NodeId(u64::MAX) };
        let update = Update { incarnation: Incarnation::MAX, claim, ..member.update };
        let mut writer = DatagramWriter::new(founding, others[0].id(), Message::Gossip);
        assert!(writer.push(&update));
        machine.handle(Time::ORIGIN, Input::Datagram { from, bytes: &writer.finish() }).unwrap();
    }
    assert_eq!(machine.members().filter(|member| member.state() == State::Suspect).count(), 999);
    let mut lengths = BTreeSet::new();
    let end = Time::after_origin(SECOND * 10);
    while let Some(due) = machine.deadline().filter(|due| *due < end) {
        machine.handle_deadline(due);
        while let Some(output) = machine.poll() {
            if let Output::Datagram { bytes, .. } = output {
                lengths.insert(bytes.len());
            }
        }
    }
    let longest = lengths.last().copied().unwrap();
    assert!(longest <= DATAGRAM_BYTES_MAX && longest > 1_050, "{longest}");
}
