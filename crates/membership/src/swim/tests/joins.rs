//! Starting, joining, leaving, and clusters that are told apart.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::ring::{Partitions, Position, TOKENS_MAX, Tokens};
use crate::swim::tests::sim::{Cluster, SECOND, founding};
use crate::swim::{Event, Founding, Refused, State};

#[test]
fn four_members_know_each_other_within_two_seconds() {
    for loss in [0.0, 0.05, 0.2] {
        for seed in 0..20 {
            let mut cluster = Cluster::new(4, loss, seed);
            // In every order, the seed itself among the last.
            for step in 0..4 {
                let host = (step + usize::try_from(seed).unwrap()) % 4;
                cluster.start(host, &[0]);
                cluster.run(SECOND / 3);
            }
            let taken = SECOND / 3 + cluster.run_until(SECOND * 2, Cluster::agrees);
            assert!(taken < SECOND * 2, "seed {seed} loss {loss}: {taken:?}");
            assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_) | Event::Suspect(_))), 0);
        }
    }
}

#[test]
fn sixty_members_with_long_token_lists_join_through_one() {
    let mut cluster = Cluster::new(60, 0.05, 1);
    for host in 0..60 {
        cluster.hosts[host].record.tokens = Tokens::Explicit(vec![Position(host as u128); TOKENS_MAX]);
        cluster.start(host, &[0]);
    }
    // The simulation itself refuses datagrams that are too long.
    let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
    assert!(taken < SECOND * 5, "{taken:?}");
}

#[test]
fn an_unreachable_seed_is_reported_and_found_once_it_is_there() {
    let mut cluster = Cluster::new(2, 0.0, 3);
    cluster.start(1, &[0]);
    cluster.run(SECOND * 30);
    let seed = cluster.hosts[0].record.address;
    let attempts: Vec<u32> = cluster
        .events
        .iter()
        .filter_map(|(_, _, event)| match event {
            Event::SeedUnreachable { address, attempts } if *address == seed => Some(*attempts),
            _ => None,
        })
        .collect();
    assert_eq!(attempts, (1..).take(attempts.len()).collect::<Vec<_>>());
    assert!((7..=20).contains(&attempts.len()), "{attempts:?}");
    cluster.start(0, &[]);
    let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
    assert!(taken < SECOND * 5, "{taken:?}");
}

#[test]
fn a_seed_that_comes_back_empty_is_found_again() {
    for seed in 0..10 {
        let mut cluster = Cluster::settled(4, 0.05, seed);
        cluster.crash(0);
        cluster.run(SECOND * 20);
        // Nothing is left of it: it knows nobody, and nobody told it whom to ask.
        cluster.hosts[0].disk.clear();
        cluster.hosts[0].record.directory = 99;
        cluster.restart(0, &[]);
        let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
        assert!(taken < SECOND * 6, "seed {seed}: {taken:?}");
    }
}

#[test]
fn a_seed_that_left_is_found_again() {
    let mut cluster = Cluster::settled(3, 0.0, 5);
    cluster.leave(0);
    cluster.run(SECOND * 20);
    cluster.hosts[0].disk.clear();
    cluster.restart(0, &[]);
    let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
    assert!(taken < SECOND * 6, "{taken:?}");
}

#[test]
fn who_leaves_has_left_and_not_crashed() {
    let mut late = 0;
    for seed in 0..20 {
        let mut cluster = Cluster::settled(8, 0.2, seed);
        cluster.leave(3);
        let taken = cluster.run_until(SECOND * 10, |cluster| cluster.all_see(3, State::Left));
        // In a run of sixty gossip misses somebody, who then learns from a comparison of views.
        late += usize::from(taken > SECOND * 3);
        cluster.run(SECOND * 60);
        assert!(cluster.all_see(3, State::Left), "{}", cluster.views());
        assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0);
        assert_eq!(
            cluster.reported(|event| matches!(event, Event::Left(life) if life.name.as_str() == "m3")),
            7
        );
        cluster.restart(3, &[]);
        cluster.run_until(SECOND * 5, Cluster::agrees);
    }
    assert!(late <= 2, "{late} of 20");
}

#[test]
fn news_is_sent_on_at_once() {
    let mut sum = Duration::ZERO;
    for seed in 0..10 {
        let mut cluster = Cluster::settled(60, 0.0, seed);
        cluster.leave(3);
        sum += cluster.run_until(SECOND * 5, |cluster| cluster.all_see(3, State::Left));
    }
    // Rounds of gossip are 200 ms apart: waiting for the next one at each hop takes three of them.
    assert!(sum / 10 < Duration::from_millis(350), "{:?}", sum / 10);
}

#[test]
fn a_member_that_has_left_is_silent() {
    let mut cluster = Cluster::settled(3, 0.0, 1);
    cluster.with(2, |membership, now| membership.handle(now, crate::swim::Input::Leave).unwrap());
    let said = cluster.datagrams;
    assert_eq!(cluster.runs(2).deadline(), None);
    assert_eq!(cluster.runs(2).me().state(), State::Left);
    cluster.crash(1);
    cluster.crash(0);
    cluster.run(SECOND * 60);
    assert_eq!(cluster.datagrams, said);
}

#[test]
fn another_founding_is_refused_with_both_values() {
    let mut cluster = Cluster::settled(3, 0.0, 1);
    cluster.hosts.push(Cluster::new(4, 0.0, 0).hosts.remove(3));
    cluster.hosts[3].founding = Founding { partitions: Partitions::new(128).unwrap(), ..founding() };
    cluster.start(3, &[0]);
    cluster.run(SECOND);
    let refused = cluster.events.iter().find_map(|(_, host, event)| match event {
        Event::Refused(refused) if *host == 3 => Some(refused.to_string()),
        _ => None,
    });
    let message = refused.expect("it was refused");
    assert!(
        message.contains(
            "this member has partitions = 128, the cluster has 256; start it with --partitions 256"
        ),
        "{message}"
    );
    assert!(cluster.runs(0).member(cluster.hosts[3].record.id()).is_none());
    assert!(cluster.runs(0).counters().foreign > 0);
}

#[test]
fn one_newcomer_with_another_founding_does_not_turn_a_cluster_away() {
    let mut cluster = Cluster::new(4, 0.0, 1);
    cluster.hosts[0].founding = Founding { buckets: "a: lww, n 3".to_owned(), ..founding() };
    (1..3).for_each(|host| cluster.start(host, &[3, 0]));
    cluster.start(3, &[0]);
    cluster.run(SECOND * 3);
    cluster.start(0, &[]);
    cluster.run(SECOND * 30);
    assert_eq!(cluster.reported(|event| matches!(event, Event::Refused(_))), 0);
    // Until it asks itself.
    let seed = cluster.hosts[1].record.address;
    cluster.with(0, |membership, now| {
        membership.handle(now, crate::swim::Input::Join { seeds: vec![seed] }).unwrap()
    });
    cluster.run(SECOND);
    let refused = |(_, host, event): &(_, usize, Event)| {
        matches!(event, Event::Refused(Refused::Founding { .. })).then_some(*host)
    };
    let refused: BTreeSet<usize> = cluster.events.iter().filter_map(refused).collect();
    assert_eq!(refused, BTreeSet::from([0]));
}

#[test]
fn a_member_may_be_its_own_seed_under_another_address() {
    let mut cluster = Cluster::new(2, 0.0, 1);
    // The simulation delivers exchanges to the gossip address as well.
    let alias = cluster.hosts[0].record.gossip;
    cluster.start(0, &[0]);
    cluster.with(0, |membership, now| {
        membership.handle(now, crate::swim::Input::Join { seeds: vec![alias] }).unwrap()
    });
    cluster.run(SECOND * 30);
    assert_eq!(cluster.events, []);
    assert_eq!(cluster.runs(0).members().count(), 1);
}

#[test]
fn equal_seeds_give_equal_runs() {
    let run = |seed| {
        let mut cluster = Cluster::settled(8, 0.1, seed);
        cluster.crash(7);
        cluster.run(SECOND * 20);
        (cluster.datagrams, cluster.events)
    };
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).1, run(8).1);
}
