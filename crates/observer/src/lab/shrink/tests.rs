//! Laws of the search on pure predicates, and one small simulated cluster that fails.

use std::collections::BTreeSet;

use chinwag_fuzz_net::{Action, Scenario};
use chinwag_node::membership::Preset;
use proptest::collection::{btree_set, vec};
use proptest::prelude::{any, proptest};

use super::super::{ClusterPlan, Experiment, Findings, Shape};
use super::shrink;
use crate::history::Level;
use crate::workload::{Keys, Workload};

fn left_over(steps: &[usize], left_out: &BTreeSet<usize>) -> Vec<usize> {
    steps.iter().copied().filter(|step| !left_out.contains(step)).collect()
}

#[test]
fn a_pair_that_fails_together_is_all_that_stays() {
    let steps: Vec<usize> = (10..40).collect();
    let mut runs = 0;
    let left_out = shrink(
        &steps,
        |left_out| {
            runs += 1;
            !left_out.contains(&13) && !left_out.contains(&31)
        },
        usize::MAX,
    );
    assert_eq!(left_over(&steps, &left_out), [13, 31]);
    assert!(runs <= 40, "{runs} runs for a pair among 30");
}

#[test]
fn what_fails_without_faults_takes_one_run() {
    let steps = [1, 2, 3, 4, 5];
    let mut runs = 0;
    let left_out = shrink(
        &steps,
        |_| {
            runs += 1;
            true
        },
        40,
    );
    assert_eq!((left_over(&steps, &left_out), runs), (Vec::new(), 1));
}

#[test]
fn what_needs_every_fault_keeps_every_fault() {
    assert_eq!(shrink(&[4, 5, 6], |_| false, 40), BTreeSet::new());
    assert_eq!(shrink(&[], |_| panic!("there is nothing to leave out"), 40), BTreeSet::new());
}

proptest! {
    #[test]
    fn culprits_are_found_whatever_they_are(count in 1_usize..40, culprits in btree_set(0_usize..40, 0..5)) {
        let steps: Vec<usize> = (0..count).collect();
        let culprits: Vec<usize> = culprits.into_iter().filter(|it| *it < count).collect();
        let fails = |left_out: &BTreeSet<usize>| culprits.iter().all(|it| !left_out.contains(it));
        let left_out = shrink(&steps, fails, usize::MAX);
        assert_eq!(left_over(&steps, &left_out), culprits);
    }

    #[test]
    fn nothing_is_returned_that_was_not_seen_to_fail(
        count in 0_usize..30,
        answers in vec(any::<bool>(), 60),
        budget in 0_usize..60,
    ) {
        let steps: Vec<usize> = (0..count).collect();
        let mut failed = BTreeSet::from([BTreeSet::new()]);
        let mut runs = 0;
        let left_out = shrink(
            &steps,
            |left_out| {
                if answers[runs] {
                    failed.insert(left_out.clone());
                }
                runs += 1;
                answers[runs - 1]
            },
            budget,
        );
        assert!(runs <= budget, "{runs} runs of {budget}");
        assert!(failed.contains(&left_out), "{left_out:?}");
    }
}

const BUSY: &str = r#"
name = "busy"
duration = "4s"

[[step]]
at = "500ms"
pause = { node = "replica0", for = "300ms" }

[[step]]
at = "1s"
links = { drop = 0.05 }

[[step]]
at = "1200ms"
crash = "replica2"

[[step]]
at = "2s"
restart = "replica2"

[[step]]
at = "2s"
clear_links = true

[[step]]
at = "2200ms"
clock_jump = { node = "replica1", by = "50ms" }
"#;

fn busy() -> Experiment {
    let keys: Vec<String> = (0..16).map(|key| key.to_string()).collect();
    Experiment {
        cluster: ClusterPlan {
            shape: Shape::Preset(Preset::FourNode),
            anti_entropy: None,
            read_repair: true,
            hinted_handoff: true,
        },
        scenario: Scenario::parse(BUSY).unwrap(),
        workload: Workload {
            sessions: 4,
            rate: 40.0,
            read_share: 0.5,
            delete_share: 0.0,
            context_share: 1.0,
            levels: vec![(Level::One, 1.0)],
            ..Workload::new(Keys::zipfian(keys.clone(), 0.99, 5).unwrap(), 5)
        },
        keys,
        seed: 5,
        configuration: serde_json::Value::Null,
    }
}

/// Stands in for an invariant that a crash breaks: no member may ever be told to stop.
fn someone_crashed(findings: &Findings) -> bool {
    findings.history.events.iter().any(|event| event.what.contains("crash"))
}

#[test]
fn a_shrunk_scenario_fails_when_it_is_read_from_its_file() {
    let whole = busy();
    assert_eq!(whole.scenario.fault_steps().len(), 4);
    let mut told = Vec::new();
    let shrunk = whole.shrink(someone_crashed, 30, |runs, smallest| {
        told.push((runs, smallest.scenario.fault_steps().len()));
    });

    let faults = shrunk.scenario.fault_steps();
    let actions: Vec<&Action> = faults.iter().map(|&place| shrunk.scenario.steps()[place].action()).collect();
    assert!(matches!(actions[..], [Action::Crash { .. }]), "{actions:?}");
    assert_eq!(told.len(), shrunk.runs);
    assert_eq!(told.first(), Some(&(0, 4)));

    assert_eq!((shrunk.sessions, shrunk.rate), (1, 1.0), "no load is needed for it");
    assert!(shrunk.scenario.duration() < whole.scenario.duration());

    let workload = Workload { sessions: shrunk.sessions, rate: shrunk.rate, ..whole.workload.clone() };
    let run = |scenario| {
        let shrunk = Experiment { scenario, workload: workload.clone(), ..whole.clone() };
        shrunk.simulate(|_| {}).unwrap()
    };
    let replayed = run(Scenario::parse(&shrunk.scenario.to_toml()).unwrap());
    assert!(someone_crashed(&replayed));
    assert_eq!(replayed.trace, run(shrunk.scenario).trace);
}

/// Stands in for an invariant that only several clients can break.
fn three_sessions_wrote(findings: &Findings) -> bool {
    let writers = findings.history.operations.iter().filter(|op| op.is_acknowledged_write());
    writers.map(|op| op.session).collect::<BTreeSet<_>>().len() >= 3
}

#[test]
fn as_much_load_stays_as_it_takes() {
    let whole = busy();
    let shrunk = whole.shrink(three_sessions_wrote, 30, |_, _| {});
    assert!(shrunk.scenario.fault_steps().is_empty());
    assert_eq!(shrunk.sessions, 4, "half of them are too few");
    assert!(shrunk.rate < 40.0, "{}", shrunk.rate);
    assert!(shrunk.runs <= 30);
}
