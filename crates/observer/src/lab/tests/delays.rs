//! What members tell of their messages is how long those took, and predicts what reads see.

use std::time::Duration;

use super::{Shape, run_on};
use crate::history::{Level, Operation};
use crate::lab::{ClusterPlan, LAST_READ_MS, Ladder, Validation};
use crate::predict::{Bins, Settings, Witnessed};

const MS: u64 = 1_000_000;

const QUIET: &str = r#"
name = "quiet"
description = "Each way takes 5 ms"
duration = "4s"

[links]
latency = "5ms"
"#;

fn quiet(read_repair: bool) -> Vec<Operation> {
    let cluster =
        ClusterPlan { shape: Shape::Members(4), anti_entropy: None, read_repair, hinted_handoff: true };
    run_on(cluster, QUIET).history.operations
}

#[test]
fn every_way_between_members_takes_what_its_link_takes_and_none_within_one() {
    for operations in [quiet(true), quiet(false)] {
        assert!(operations.len() > 50);
        let (mut remote, mut slower) = (0, 0);
        for operation in &operations {
            let legs = &operation.legs;
            assert_eq!(legs.len(), 3, "{operation:?}");
            assert!(legs.is_sorted_by_key(|leg| leg.heard.unwrap()), "{operation:?}");
            let here = legs.iter().filter(|leg| leg.heard.unwrap() == leg.asked);
            let is_owner = legs.iter().any(|leg| leg.replica == operation.node);
            // A write is coordinated by an owner, a read wherever it is sent to.
            assert_eq!(here.count(), usize::from(is_owner || operation.is_write()), "{operation:?}");
            for leg in legs.iter().filter(|leg| leg.heard.unwrap() > leg.asked) {
                let (served, heard) = (leg.served.unwrap(), leg.heard.unwrap());
                assert!(served - leg.asked >= 5 * MS && heard - served >= 5 * MS, "{operation:?}");
                remote += 1;
                slower += u32::from(heard - leg.asked > 10 * MS);
            }
            assert!(legs[0].heard <= operation.done, "{operation:?}");
        }
        // The first message to a member waits for a handshake.
        assert!(slower * 5 < remote, "{slower} of {remote}");
    }
}

#[test]
fn what_never_arrived_has_no_answer_and_what_was_late_is_told_all_the_same() {
    let cut = super::cut_in_two(true).history.operations;
    let lost = cut.iter().flat_map(|it| &it.legs).filter(|leg| leg.served.is_none());
    assert!(lost.clone().count() > 0);
    assert!(lost.clone().all(|leg| leg.heard.is_none()));
    // At level one the client has its answer before the others are heard.
    let late = |it: &&Operation| it.legs.iter().any(|leg| leg.heard > it.done);
    assert!(cut.iter().filter(late).count() > 50);
}

#[test]
fn reads_of_a_cluster_with_known_delays_see_what_those_predict() {
    let validation = Validation {
        write_mean: Duration::from_millis(20),
        other_mean: Duration::from_millis(5),
        r: Level::One,
        w: Level::One,
        writes: 150,
        reads: vec![Ladder { apart_ms: 20, until_ms: 200 }, Ladder { apart_ms: 20, until_ms: 60 }],
        seed: 11,
    };
    let history = validation.run().unwrap();
    assert_eq!(history.operations.len(), 150 * 14);
    assert_eq!(validation.run().unwrap(), history, "the seed decides everything");
    let mut witnessed = Witnessed::default();
    witnessed.take(&history);
    let delays = witnessed.mean_delays_ms().map(Option::unwrap);
    for (delay, mean) in delays.into_iter().zip([20.0, 5.0, 5.0, 5.0]) {
        // The clock ticks in milliseconds, and there are 300 of the rarer.
        assert!((mean * 0.8..mean * 1.2 + 1.0).contains(&delay), "{delays:?}");
    }
    let bins = Bins::Milliseconds(1..=LAST_READ_MS);
    let found = witnessed.compare(&Settings { bins, ..Settings::default() });
    let [reads] = found.reads.as_slice() else { panic!("{found:?}") };
    assert_eq!((reads.faults, reads.fresh.n, found.left_out.before_any_write), (false, 150 * 13, 0));
    assert!(reads.fresh.rate.unwrap() < 0.95, "{reads:?}");
    assert!((reads.fresh.rate.unwrap() - reads.predicted).abs() < 0.02, "{reads:?}");
    assert!(reads.rmse.unwrap() < 1.5 * reads.noise_floor.unwrap(), "{reads:?}");
}
