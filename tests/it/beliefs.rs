//! Simulated clusters of twenty: what members believe of each other when the network is cut or members restart. One seed
//! each; `chinwag observe scenarios/halves.toml --members 20 --rate 20 --seeds 1..50` and its like try more.

use std::path::Path;
use std::time::Duration;

use chinwag_fuzz_net::Scenario;
use chinwag_observer::history::{Kind, Level, Operation, Outcome};
use chinwag_observer::lab::{ClusterPlan, Experiment, Findings, Shape};
use chinwag_observer::workload::{Keys, Workload};

/// Plays a shipped scenario on twenty members under a light load.
fn play(scenario: &str) -> Findings {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(scenario);
    let keys: Vec<String> = (0..64).map(|key| format!("key{key}")).collect();
    let workload = Workload {
        sessions: 20,
        rate: 20.0,
        read_share: 0.5,
        delete_share: 0.0,
        context_share: 0.5,
        levels: vec![(Level::One, 1.0)],
        ..Workload::new(Keys::uniform(keys.clone()).unwrap(), 1)
    };
    let experiment = Experiment {
        cluster: ClusterPlan {
            shape: Shape::Members(20),
            anti_entropy: Some(Duration::from_secs(2)),
            read_repair: true,
            hinted_handoff: true,
        },
        scenario: Scenario::load(path).unwrap(),
        workload,
        keys,
        seed: 1,
        configuration: serde_json::Value::Null,
    };
    experiment.simulate(|_| {}).unwrap()
}

/// Nothing that must hold broke, no healthy member was given up by one that could reach it, and the end of the trouble
/// was known everywhere in time.
fn assert_sound(findings: &Findings) {
    assert_eq!(findings.violations, []);
    assert_eq!(findings.beliefs.wrongly_down, []);
    let one_view = findings.beliefs.one_view_after_ms.expect("all agree again");
    println!("one view {one_view} ms after the last heal");
    assert!(one_view <= 5000.0, "{one_view} ms");
}

#[test]
fn both_halves_serve_and_come_to_one_view_within_five_seconds() {
    let findings = play("halves.toml");
    assert_sound(&findings);
    // From when each half has given the last of the other up: one suspicion after the other runs out.
    let cut = 20_000_000_000..35_000_000_000;
    let first_half = |operation: &Operation| {
        operation.node.strip_prefix("node").and_then(|it| it.parse::<u32>().ok()).is_some_and(|it| it < 10)
    };
    for half in [true, false] {
        let during =
            findings.history.operations.iter().filter(|op| cut.contains(&op.sent) && first_half(op) == half);
        for kind in [Kind::Get, Kind::Put] {
            let asked: Vec<_> = during.clone().filter(|op| op.kind == kind).collect();
            let served =
                asked.iter().filter(|op| matches!(op.outcome, Outcome::Ok | Outcome::NotFound)).count();
            println!("{kind:?}: {served} of {} served at ONE by one half", asked.len());
            // A get is content with a fallback. A put needs one owner of its key on its side, and one key in nine has
            // none.
            let least = if kind == Kind::Get { asked.len() } else { asked.len() * 3 / 4 };
            assert!(asked.len() > 30 && served >= least, "{kind:?}: {served} of {}", asked.len());
        }
    }
}

#[test]
fn a_member_that_is_cut_off_one_way_takes_nobody_down_with_it() {
    assert_sound(&play("one-way.toml"));
}

#[test]
fn twenty_members_restart_in_turn_and_each_is_known_to_be_back_within_a_second() {
    let findings = play("rolling-restart.toml");
    assert_sound(&findings);
    let known = findings.beliefs.restart_known_after_ms.expect("members restarted");
    println!("a restart was known everywhere within {known} ms");
    assert!(known <= 1000.0, "{known} ms");
}
