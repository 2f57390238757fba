//! Members that stop, stall, and come back; and members that only seem to.

use std::time::Duration;

use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::{Event, State};

#[test]
fn a_killed_member_is_down_in_about_ten_seconds() {
    for (members, loss) in [(4, 0.0), (4, 0.2), (20, 0.05)] {
        let mut sum = Duration::ZERO;
        for seed in 0..10 {
            let mut cluster = Cluster::settled(members, loss, seed);
            cluster.crash(1);
            let taken = cluster.run_until(SECOND * 20, |cluster| cluster.all_see(1, State::Down));
            assert!(taken > SECOND * 4 && taken < SECOND * 14, "seed {seed}: {taken:?}");
            sum += taken;
            assert_eq!(
                cluster.reported(|event| matches!(event, Event::Down(life) if life.name.as_str() != "m1")),
                0
            );
        }
        assert!(sum / 10 < SECOND * 10, "{members} members, loss {loss}: {:?}", sum / 10);
    }
}

#[test]
fn the_only_other_member_is_missed_as_well() {
    let mut cluster = Cluster::settled(2, 0.0, 1);
    cluster.crash(1);
    let taken = cluster.run_until(SECOND * 20, |cluster| cluster.all_see(1, State::Down));
    assert!(taken < SECOND * 8, "{taken:?}");
}

#[test]
fn loss_alone_takes_nobody_down() {
    for seed in 0..3 {
        let mut cluster = Cluster::settled(20, 0.2, seed);
        cluster.run(SECOND * 120);
        assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0, "seed {seed}");
        assert!(cluster.agrees());
    }
}

#[test]
fn a_short_stall_is_refuted() {
    let mut refuted = 0;
    for seed in 0..10 {
        let mut cluster = Cluster::settled(6, 0.0, seed);
        cluster.pause(2, Duration::from_millis(3_500));
        cluster.run(SECOND * 15);
        assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0, "seed {seed}");
        assert!(cluster.agrees(), "seed {seed}: {}", cluster.views());
        let suspected =
            cluster.reported(|event| matches!(event, Event::Suspect(life) if life.name.as_str() == "m2"));
        let cleared =
            cluster.reported(|event| matches!(event, Event::Refuted(life) if life.name.as_str() == "m2"));
        assert_eq!(suspected, cleared, "seed {seed}");
        if suspected > 0 {
            refuted += 1;
            assert!(cluster.reported(|event| matches!(event, Event::SelfAccused { .. })) > 0);
            assert!(cluster.runs(2).me().incarnation().get() > 0);
        }
    }
    assert!(refuted >= 5, "a stall of 3.5 s is noticed more often than in {refuted} runs of 10");
}

#[test]
fn a_member_that_stalls_does_not_take_the_others_down() {
    for seed in 0..10 {
        let mut cluster = Cluster::settled(6, 0.0, seed);
        cluster.pause(2, SECOND * 20);
        cluster.run(SECOND * 40);
        let healthy = |event: &Event| matches!(event, Event::Down(life) if life.name.as_str() != "m2");
        assert_eq!(cluster.reported(healthy), 0, "seed {seed}");
        assert!(cluster.agrees(), "seed {seed}: {}", cluster.views());
    }
}

#[test]
fn a_member_that_stalls_hears_refutations_before_it_gives_anybody_up() {
    let mut stalled_in_doubt = 0;
    for seed in 0..20 {
        let mut cluster = Cluster::settled(6, 0.0, seed);
        cluster.pause(1, Duration::from_millis(3_500));
        cluster.run(SECOND * 3);
        stalled_in_doubt += usize::from(cluster.state(2, 1) == Some(State::Suspect));
        cluster.pause(2, SECOND * 40);
        cluster.run(SECOND * 60);
        let given_up = |event: &Event| matches!(event, Event::Down(life) if life.name.as_str() == "m1");
        assert_eq!(cluster.reported(given_up), 0, "seed {seed}");
    }
    assert!(stalled_in_doubt >= 5, "only {stalled_in_doubt} runs of 20 show anything");
}

#[test]
fn members_whose_messages_are_held_up_do_not_take_the_others_down() {
    for seed in 0..3 {
        let mut cluster = Cluster::settled(20, 0.05, seed);
        for _ in 0..2 {
            [3, 11].into_iter().for_each(|host| cluster.hold(host, SECOND * 12));
            cluster.run(SECOND * 40);
        }
        let healthy = |event: &Event| matches!(event, Event::Down(life) if life.name.as_str() != "m3" && life.name.as_str() != "m11");
        assert_eq!(cluster.reported(healthy), 0, "seed {seed}");
        assert!(cluster.agrees(), "seed {seed}: {}", cluster.views());
    }
}

#[test]
fn a_link_that_fails_one_way_takes_nobody_down() {
    for seed in 0..5 {
        let mut cluster = Cluster::settled(6, 0.0, seed);
        cluster.block(1, 2);
        cluster.run(SECOND * 60);
        assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0, "seed {seed}");
    }
}

#[test]
fn a_quick_restart_on_another_gossip_port_replaces_the_old_life() {
    for seed in 0..10 {
        let mut cluster = Cluster::settled(5, 0.05, seed);
        cluster.crash(3);
        cluster.run(SECOND / 2);
        cluster.restart(3, &[]);
        let taken = cluster.run_until(SECOND * 5, Cluster::agrees);
        assert!(taken < SECOND * 2, "seed {seed}: {taken:?}");
        cluster.run(SECOND * 30);
        assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0, "seed {seed}");
        let changed =
            |event: &Event| matches!(event, Event::MetaChanged { record } if record.name.as_str() == "m3");
        assert_eq!(cluster.reported(changed), 4, "seed {seed}");
        let up = |event: &Event| matches!(event, Event::Up { record, .. } if record.name.as_str() == "m3");
        assert_eq!(cluster.reported(up), 4, "seed {seed}");
    }
}

#[test]
fn a_cluster_that_is_started_again_finds_itself_without_seeds() {
    for seed in 0..5 {
        let mut cluster = Cluster::settled(6, 0.05, seed);
        (0..6).for_each(|host| cluster.crash(host));
        cluster.run(SECOND * 10);
        (0..6).for_each(|host| cluster.restart(host, &[]));
        let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
        assert!(taken < SECOND * 3, "seed {seed}: {taken:?}");
    }
}

#[test]
fn members_that_are_down_are_told_to_newcomers() {
    let mut cluster = Cluster::settled(4, 0.0, 2);
    cluster.crash(3);
    cluster.run(SECOND * 20);
    // m2 forgets all, m1 and m0 remember.
    cluster.crash(2);
    cluster.hosts[2].disk.clear();
    cluster.restart(2, &[0]);
    cluster.run(SECOND * 2);
    assert_eq!(cluster.state(2, 3), Some(State::Down));
    // Also if nobody is left who saw it alive.
    (0..3).for_each(|host| cluster.crash(host));
    cluster.hosts[1].disk.clear();
    cluster.hosts[2].disk.clear();
    (0..3).for_each(|host| cluster.restart(host, &[0]));
    cluster.run(SECOND * 3);
    assert!(cluster.all_see(3, State::Down), "{}", cluster.views());
}

#[test]
fn a_quiet_cluster_says_little() {
    let mut cluster = Cluster::settled(20, 0.0, 1);
    cluster.run(SECOND * 20);
    let before = cluster.datagrams;
    cluster.run(SECOND * 60);
    // A ping and an ack per member and second.
    let rate = (cluster.datagrams - before) as f64 / (20.0 * 60.0);
    assert!((1.9..2.1).contains(&rate), "{rate} datagrams per member and second");
}

#[test]
fn views_that_agree_are_compared_in_a_few_bytes() {
    let mut cluster = Cluster::settled(20, 0.0, 1);
    cluster.run(SECOND * 60);
    let before = (cluster.exchanges, cluster.exchange_bytes);
    cluster.run(SECOND * 120);
    let (exchanges, bytes) = (cluster.exchanges - before.0, cluster.exchange_bytes - before.1);
    // Every 30 s or so; a whole view of 20 members has 600 bytes and more.
    assert!((50..130).contains(&exchanges), "{exchanges}");
    assert!(bytes / exchanges < 30, "{bytes} bytes in {exchanges} exchanges");
}

#[test]
fn helpers_spare_most_streams_where_datagrams_are_lost() {
    let mut cluster = Cluster::settled(20, 0.2, 1);
    cluster.run(SECOND * 60);
    let before = cluster.exchanges;
    cluster.run(SECOND * 120);
    // A third of the 2,400 probes is not answered directly; three helpers reach four of five such members.
    let opened = cluster.exchanges - before;
    assert!((120..400).contains(&opened), "{opened} exchanges");
}
