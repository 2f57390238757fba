//! Clusters cut in two, and made whole again.

use crate::swim::tests::sim::{Cluster, SECOND};
use crate::swim::{Event, State};

#[test]
fn a_healed_partition_merges_within_seconds() {
    for (members, loss) in [(4, 0.0), (6, 0.05), (20, 0.05)] {
        for seed in 0..5 {
            let mut cluster = Cluster::settled(members, loss, seed);
            let (one, other): (Vec<usize>, Vec<usize>) = (0..members).partition(|host| *host < members / 2);
            cluster.partition(&one, &other);
            cluster.run(SECOND * 30);
            for (here, there) in [(&one, &other), (&other, &one)] {
                assert!(
                    here.iter()
                        .all(|host| there.iter().all(|it| cluster.state(*host, *it) == Some(State::Down)))
                );
                assert!(
                    here.iter()
                        .all(|host| here.iter().all(|it| cluster.state(*host, *it) == Some(State::Alive)))
                );
            }
            cluster.heal();
            cluster.events.clear();
            let taken = cluster.run_until(SECOND * 30, Cluster::agrees);
            assert!(taken < SECOND * 6, "seed {seed}, {members} members: {taken:?}");
            // It stays merged, and at no time did one side take the other's word that its own members are down.
            cluster.run(SECOND * 30);
            assert_eq!(cluster.reported(|event| matches!(event, Event::Down(_))), 0, "seed {seed}");
        }
    }
}

#[test]
fn a_long_partition_heals_without_seeds() {
    let mut cluster = Cluster::settled(5, 0.0, 4);
    cluster.partition(&[4], &[0, 1, 2, 3]);
    cluster.run(SECOND * 600);
    cluster.heal();
    let taken = cluster.run_until(SECOND * 30, Cluster::agrees);
    assert!(taken < SECOND * 6, "{taken:?}");
}

#[test]
fn a_member_that_was_given_up_by_mistake_comes_back() {
    let mut cluster = Cluster::settled(5, 0.0, 4);
    // Nobody hears it, while it hears everybody.
    (0..4).for_each(|host| cluster.block(4, host));
    cluster.run_until(SECOND * 20, |cluster| cluster.all_see(4, State::Down));
    cluster.heal();
    let taken = cluster.run_until(SECOND * 10, Cluster::agrees);
    assert!(taken < SECOND * 5, "{taken:?}");
}
