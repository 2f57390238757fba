//! Members with one broken part each, in a running cluster: an engine, a seed or a socket that lies in place of an honest
//! one. For every invariant there is one here, and it is the one that fires.

mod engine;
mod socket;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chinwag_fuzz_net::{FaultTable, Scenario};
use chinwag_node::{Parts, WallClock};

use super::super::cluster::{ClusterPlan, Shape};
use super::super::experiment::{Experiment, Findings, virtual_time};
use super::super::ground::{Ground, Tamper};
use super::super::recorder::Keep;
use crate::history::Level;
use crate::invariants::Invariant;
use crate::workload::{Keys, Workload};
use engine::{
    AddsAStranger, CommitsLate, CommitsNever, DropsASibling, DropsWrites, HidesHints, KeepsOverwritten,
    LeaksTasks, Lie, Lying, WritesAnotherPast,
};

/// Written to for four seconds. What is found broken after the restart is what the engine made of the records: until then
/// the member has them in memory as they should be.
const RESTARTED: &str = r#"
name = "restarted"
duration = "6s"
[[step]]
at = "4s"
crash = "node0"
[[step]]
at = "4500ms"
restart = "node0"
"#;

const CALM: &str = "name = 'calm'\nduration = '5s'\n[links]\nlatency = '2ms'";

fn experiment(members: u16, scenario: &str) -> Experiment {
    let keys: Vec<String> = (0..8).map(|key| format!("key{key}")).collect();
    Experiment {
        cluster: ClusterPlan {
            shape: Shape::Members(members),
            anti_entropy: Some(Duration::from_secs(1)),
            read_repair: true,
            hinted_handoff: true,
        },
        scenario: Scenario::parse(scenario).unwrap(),
        workload: Workload {
            sessions: 6,
            rate: 40.0,
            read_share: 0.5,
            delete_share: 0.0,
            context_share: 0.6,
            levels: vec![(Level::One, 1.0)],
            ..Workload::new(Keys::uniform(keys.clone()).unwrap(), 7)
        },
        keys,
        seed: 7,
        configuration: serde_json::Value::Null,
    }
}

/// What a run finds whose members are handed what `tamper` makes of their parts.
fn simulate(
    experiment: Experiment,
    tamper: impl Fn(&str, Parts) -> Parts + Send + Sync + 'static,
) -> Findings {
    virtual_time().block_on(async {
        let table = FaultTable::new(experiment.seed);
        let mut ground = Ground::simulated(table.clone());
        ground.tamper = Tamper(Box::new(tamper));
        Box::pin(experiment.run_on(ground, table, &Keep::Memory, |_| {})).await.unwrap()
    })
}

/// Lets the engine of this member tell `lie`.
fn liar(whom: &'static str, lie: impl Lie + Clone + 'static) -> impl Fn(&str, Parts) -> Parts + Send + Sync {
    move |member, parts| match member == whom {
        true => Parts { engine: Arc::new(Lying { honest: parts.engine.clone(), lie: lie.clone() }), ..parts },
        false => parts,
    }
}

/// A write that is answered only after the restart stands in the tree as the store wrote it and on the disk as the engine
/// did: whether one is depends on chance.
fn trees_aside(mut findings: Findings) -> Findings {
    findings.violations.retain(|it| it.invariant != Invariant::TreesHonest);
    findings
}

#[track_caller]
fn assert_breaks<const N: usize>(findings: &Findings, invariants: [Invariant; N]) {
    let violations = &findings.violations;
    assert_eq!(findings.broken(), BTreeSet::from(invariants), "{violations:#?}");
    assert!(violations.iter().map(|it| it.invariant).collect::<BTreeSet<_>>() == findings.broken());
}

/// The same experiments break nothing if nobody lies.
#[test]
fn honest_parts_break_nothing() {
    for (members, scenario) in [(1, RESTARTED), (4, CALM), (4, socket::MUTE_AFTER_WRITING)] {
        let findings = simulate(experiment(members, scenario), |_, parts| parts);
        assert_breaks(&findings, []);
        assert!(findings.history.operations.iter().any(|op| op.returned.len() > 1), "siblings were read");
        assert!(findings.queues.iter().any(|queue| queue.high_water > 0), "{:?}", findings.queues);
    }
}

#[test]
fn a_replica_that_drops_writes_loses_what_it_acknowledged() {
    let findings = simulate(experiment(1, RESTARTED), liar("node0", DropsWrites::default()));
    assert_breaks(&findings, [Invariant::AcknowledgedWriteKept]);
}

#[test]
fn a_replica_that_invents_a_value_is_found() {
    let findings = simulate(experiment(1, RESTARTED), liar("node0", AddsAStranger::default()));
    assert_breaks(&trees_aside(findings), [Invariant::ValueWritten]);
}

#[test]
fn a_replica_that_keeps_what_was_overwritten_is_found() {
    let findings = simulate(experiment(1, RESTARTED), liar("node0", KeepsOverwritten));
    assert_breaks(&trees_aside(findings), [Invariant::FalseConcurrency, Invariant::OverwrittenStaysGone]);
}

/// A sibling that nobody overwrote is a write that is lost, so this breaks two rules at once.
#[test]
fn a_replica_that_drops_a_sibling_it_vouches_for_is_found() {
    let findings = simulate(experiment(1, RESTARTED), liar("node0", DropsASibling));
    assert_breaks(&findings, [Invariant::AcknowledgedWriteKept, Invariant::FalseDominance]);
}

/// The same seed at the same time draws the same actor, which counts from one again on an empty disk. (Nobody is there who
/// could tell it that it did so before; blind puts alone, as a context would tell it too.)
#[test]
fn a_coordinator_that_reuses_dots_is_found() {
    #[derive(Debug)]
    struct Stopped;
    impl WallClock for Stopped {
        fn now(&self) -> Duration {
            Duration::from_secs(1_800_000_000)
        }
    }
    let forgets =
        RESTARTED.replace("\"node0\"\n[[step]]", "{ node = \"node0\", lose_disk = true }\n[[step]]");
    // Writing goes on until the last pause is over.
    let forgets = forgets + "[[step]]\nat = '5500ms'\npause = { node = 'node0', for = '1ms' }";
    let mut experiment = experiment(1, &forgets);
    (experiment.workload.read_share, experiment.workload.context_share) = (0.0, 0.0);
    let again = |_: &str, parts| Parts { seed: [7; 32], clock: Arc::new(Stopped), ..parts };
    assert_breaks(&simulate(experiment, again), [Invariant::DotUnique]);
}

#[test]
fn hints_that_are_never_found_again_are_missed() {
    let crash =
        CALM.to_owned() + "\n[[step]]\nat = '1s'\ncrash = 'node2'\n[[step]]\nat = '3s'\nrestart = 'node2'";
    let findings = simulate(experiment(4, &crash), liar("node1", HidesHints));
    assert_breaks(&findings, [Invariant::HintsDrained]);
}

#[test]
fn a_tree_that_says_something_else_than_the_records_is_found() {
    let findings = simulate(experiment(4, CALM), liar("node1", WritesAnotherPast));
    assert_breaks(&findings, [Invariant::TreesHonest]);
    assert!(findings.violations.iter().all(|it| it.what.contains("node1")), "{:?}", findings.violations);
}

#[test]
fn a_member_that_the_others_no_longer_hear_is_missed() {
    let findings = simulate(experiment(4, socket::MUTE_AFTER_WRITING), socket::mute("node1"));
    assert_breaks(&findings, [Invariant::ViewComplete]);
}

#[test]
fn tasks_that_a_member_cannot_end_are_found() {
    let crash =
        CALM.to_owned() + "\n[[step]]\nat = '2s'\ncrash = 'node1'\n[[step]]\nat = '3s'\nrestart = 'node1'";
    let findings = simulate(experiment(4, &crash), liar("node1", CommitsNever::default()));
    assert_breaks(&findings, [Invariant::TasksEnded]);
    let told: Vec<&str> = findings.violations.iter().map(|it| it.what.as_str()).collect();
    assert!(told.iter().any(|it| it.ends_with("of node1 ran on after it had crashed")), "{told:?}");
    assert!(told.iter().any(|it| it.ends_with("of node1 ran on after all members had stopped")), "{told:?}");
}

#[test]
fn tasks_that_nobody_counted_are_found() {
    let findings = simulate(experiment(4, CALM), liar("node1", LeaksTasks));
    assert_breaks(&findings, [Invariant::TasksEnded]);
    assert!(findings.violations[0].what.contains(" of nobody "), "{:?}", findings.violations);
}

#[test]
fn a_queue_that_fills_up_is_found() {
    let mut experiment = experiment(1, CALM);
    let Workload { sessions, rate, read_share, context_share, .. } = &mut experiment.workload;
    (*sessions, *rate, *read_share, *context_share) = (1000, 1000.0, 0.0, 1.0);
    let findings = simulate(experiment, liar("node0", CommitsLate));
    assert_breaks(&findings, [Invariant::QueuesBounded]);
    assert!(findings.violations[0].what.starts_with("requests under way"), "{:?}", findings.violations);
}
