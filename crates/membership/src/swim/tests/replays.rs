//! Messages that were genuine once, said again later.

use std::time::Duration;

use crate::ring::{Position, Tokens};
use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::{Event, Meta, State};

/// A minute in which five members meet, one is suspected and refutes, one changes its tokens, one is killed and comes
/// back, one leaves and comes back; all of it recorded.
fn eventful(seed: u64) -> Cluster {
    let mut cluster = Cluster::new(6, 0.05, seed);
    cluster.record();
    for host in 0..6 {
        cluster.start(host, &[0]);
    }
    cluster.run(SECOND * 5);
    cluster.pause(1, Duration::from_millis(3_500));
    cluster.run(SECOND * 10);
    cluster.with(2, |it, now| {
        let record = it.me().record();
        let (address, gossip, version) = (record.address, record.gossip, "other".to_owned());
        let tokens = Tokens::Explicit(vec![Position(7)]);
        it.set_meta(now, Meta { address, gossip, tokens, version }).unwrap();
    });
    cluster.crash(3);
    cluster.run(SECOND * 15);
    cluster.restart(3, &[0]);
    cluster.leave(4);
    cluster.run(SECOND * 10);
    cluster.restart(4, &[0]);
    cluster.run(SECOND * 20);
    assert!(cluster.agrees(), "seed {seed}: {}", cluster.views());
    let happened = |condition: fn(&Event) -> bool| cluster.reported(condition) > 0;
    assert!(
        happened(|event| matches!(event, Event::Down(_)))
            && happened(|event| matches!(event, Event::Left(_)))
    );
    assert!(happened(|event| matches!(event, Event::Refuted(_))), "seed {seed}");
    cluster.events.clear();
    cluster
}

#[test]
fn all_that_was_ever_said_may_be_said_again() {
    for seed in 0..3 {
        let mut cluster = eventful(seed);
        let stale: u64 = (0..6).map(|host| cluster.runs(host).counters().stale).sum();
        let said = cluster.replay(SECOND * 3);
        assert!(said > 1_000, "{said}");
        cluster.run(SECOND * 60);
        assert!(cluster.agrees(), "seed {seed}: {}", cluster.views());
        assert_eq!(cluster.events, [], "seed {seed}");
        let now_stale: u64 = (0..6).map(|host| cluster.runs(host).counters().stale).sum();
        assert!(now_stale > stale + 100, "{stale} became {now_stale}");
    }
}

#[test]
fn what_was_said_by_members_that_are_gone_does_not_bring_them_back() {
    let mut cluster = eventful(7);
    cluster.crash(3);
    cluster.leave(4);
    cluster.run(SECOND * 30);
    cluster.events.clear();
    cluster.replay(SECOND * 3);
    cluster.run(SECOND * 60);
    assert!(cluster.all_see(3, State::Down) && cluster.all_see(4, State::Left), "{}", cluster.views());
    let about_others = |event: &Event| !matches!(event, Event::SeedUnreachable { .. });
    assert_eq!(cluster.reported(about_others), 0, "{:?}", cluster.events);
}
