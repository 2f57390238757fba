//! Who may have a name: restarted members, impostors, and members whose past is remembered better than they do.

use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::wire::{DatagramWriter, Message};
use crate::swim::{Event, Generation, Input, Refused, State};

/// Makes the last host a claimant of the first one's name.
fn claim_name(cluster: &mut Cluster, generation: u64) -> usize {
    let claimant = cluster.hosts.len() - 1;
    cluster.hosts[claimant].record.name = cluster.hosts[0].record.name.clone();
    cluster.hosts[claimant].record.generation = Generation::new(generation).unwrap();
    claimant
}

fn refused(cluster: &Cluster, host: usize) -> bool {
    cluster
        .events
        .iter()
        .any(|(_, by, event)| *by == host && matches!(event, Event::Refused(Refused::NameInUse { .. })))
}

fn grown(members: usize, seed: u64) -> Cluster {
    let mut cluster = Cluster::settled(members, 0.0, seed);
    let mut more = Cluster::new(members + 1, 0.0, 0);
    cluster.hosts.extend(more.hosts.pop());
    cluster
}

#[test]
fn a_name_in_use_is_refused() {
    for (seed, generation) in [(0, 1), (1, 5), (2, 9)] {
        let mut cluster = grown(4, seed);
        let owner = cluster.runs(0).me().record().clone();
        let claimant = claim_name(&mut cluster, generation);
        cluster.start(claimant, &[2]);
        let taken = cluster.run_until(SECOND * 5, |cluster| refused(cluster, claimant));
        assert!(taken < SECOND * 2, "{taken:?}");
        cluster.crash(claimant);
        cluster.run(SECOND * 20);
        assert!(!refused(&cluster, 0));
        for host in 0..4 {
            let known = cluster.runs(host).member(owner.id()).unwrap();
            assert_eq!((known.state(), known.record()), (State::Alive, &owner));
        }
    }
}

#[test]
fn the_owner_itself_refuses_a_second_of_its_name() {
    let mut cluster = grown(3, 1);
    let claimant = claim_name(&mut cluster, 9);
    cluster.start(claimant, &[0]);
    cluster.run(SECOND);
    assert!(refused(&cluster, claimant) && !refused(&cluster, 0));
}

#[test]
fn the_name_of_a_member_that_is_gone_passes_on() {
    let mut cluster = grown(4, 1);
    cluster.crash(0);
    cluster.restart(0, &[1]);
    cluster.run(SECOND * 2);
    cluster.crash(0);
    let claimant = claim_name(&mut cluster, 1);
    cluster.start(claimant, &[2]);
    // Put off until the old one is down; that its generation was higher is no hindrance.
    let taken = cluster.run_until(SECOND * 30, Cluster::agrees);
    assert!(taken < SECOND * 16, "{taken:?}");
    assert_eq!(cluster.reported(|event| matches!(event, Event::Refused(_))), 0);
    assert_eq!(cluster.runs(claimant).me().record().generation, Generation::new(3).unwrap());
}

#[test]
fn a_wiped_directory_at_the_old_address_takes_over_at_once() {
    let mut cluster = Cluster::settled(4, 0.0, 1);
    cluster.crash(3);
    cluster.hosts[3].disk.clear();
    cluster.hosts[3].record.directory = 77;
    cluster.restart(3, &[0]);
    let taken = cluster.run_until(SECOND * 5, Cluster::agrees);
    assert!(taken < SECOND, "{taken:?}");
}

#[test]
fn a_member_that_moves_to_another_address_is_its_own_successor() {
    for crashed_for in [SECOND / 2, SECOND * 20] {
        let mut cluster = Cluster::settled(4, 0.05, 1);
        cluster.crash(3);
        cluster.run(crashed_for);
        cluster.hosts[3].record.address.set_port(7_777);
        cluster.restart(3, &[0]);
        let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
        assert!(taken < SECOND * 3, "{taken:?}");
    }
}

#[test]
fn a_copy_of_a_running_members_directory_is_refused() {
    let mut cluster = grown(4, 1);
    let claimant = claim_name(&mut cluster, 2);
    cluster.hosts[claimant].record.directory = cluster.hosts[0].record.directory;
    for seed in [2, 0] {
        cluster.start(claimant, &[seed]);
        let taken = cluster.run_until(SECOND * 5, |cluster| refused(cluster, claimant));
        assert!(taken < SECOND * 2, "{taken:?}");
        cluster.crash(claimant);
        cluster.events.clear();
    }
    cluster.run(SECOND * 20);
    assert!(cluster.agrees() && !refused(&cluster, 0), "{}", cluster.views());
}

#[test]
fn a_member_whose_generation_fell_back_goes_above_its_past() {
    let mut cluster = Cluster::settled(4, 0.0, 1);
    for _ in 0..3 {
        cluster.crash(3);
        cluster.restart(3, &[0]);
        cluster.run(SECOND * 2);
    }
    cluster.crash(3);
    cluster.hosts[3].record.generation = Generation::new(1).unwrap();
    cluster.hosts[3].record.directory = 77;
    cluster.start(3, &[0]);
    let taken = cluster.run_until(SECOND * 5, Cluster::agrees);
    assert!(taken < SECOND * 2, "{taken:?}");
    assert_eq!(cluster.runs(3).me().record().generation, Generation::new(5).unwrap());
}

#[test]
fn of_two_that_were_accepted_on_two_sides_one_gives_way() {
    for seed in 0..5 {
        let mut cluster = grown(5, seed);
        let claimant = claim_name(&mut cluster, 7);
        cluster.partition(&[0, 1], &[2, 3, 4, claimant]);
        cluster.run(SECOND * 25);
        cluster.start(claimant, &[3]);
        cluster.run(SECOND * 10);
        assert_eq!(cluster.reported(|event| matches!(event, Event::Refused(_))), 0, "seed {seed}");
        cluster.heal();
        cluster.run_until(SECOND * 20, |cluster| refused(cluster, 0));
        cluster.crash(0);
        cluster.run(SECOND * 20);
        assert!(!refused(&cluster, claimant), "seed {seed}");
        let record = cluster.runs(claimant).me().record().clone();
        for host in 1..5 {
            let known = cluster.runs(host).member(record.id()).unwrap();
            assert_eq!((known.state(), known.record()), (State::Alive, &record), "seed {seed}");
        }
    }
}

#[test]
fn a_rival_that_cannot_be_reached_is_asked_for_once() {
    let mut cluster = grown(5, 1);
    let claimant = claim_name(&mut cluster, 7);
    cluster.partition(&[0], &[1, 2, 3, 4, claimant]);
    cluster.run(SECOND * 25);
    cluster.start(claimant, &[3]);
    cluster.run(SECOND * 2);
    cluster.heal();
    cluster.partition(&[0], &[claimant]);
    // The owner hears of it from m2, gets the record, and tries in vain to find out whether anybody is there.
    let founding = cluster.hosts[0].founding.digest();
    let mut writer = DatagramWriter::new(founding, cluster.hosts[2].record.id(), Message::Gossip);
    assert!(writer.push(&cluster.runs(claimant).me().update));
    let (from, bytes) = (cluster.hosts[2].record.gossip, writer.finish());
    let before = cluster.exchanges;
    cluster
        .with(0, |membership, now| membership.handle(now, Input::Datagram { from, bytes: &bytes }))
        .unwrap();
    cluster.run(SECOND / 2);
    let opened = cluster.exchanges - before;
    assert!((2..30).contains(&opened), "{opened} exchanges");
}
