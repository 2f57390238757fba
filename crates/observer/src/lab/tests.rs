//! Experiments whose mechanisms are broken are found out; the same ones, unbroken, are not.

mod doubles;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chinwag_fuzz_net::Scenario;
use chinwag_node::membership::Preset;

use super::cluster::{ClusterPlan, Shape};
use super::experiment::{Experiment, Findings};
use crate::history::{History, Kind, Level, Operation, Version};
use crate::invariants::{
    FinalState, Invariant, dots_naming_two_values, false_concurrency, false_dominance, overwritten_yet_held,
    values_nobody_wrote,
};
use crate::workload::{Arrivals, Keys, Workload};

const CUT_IN_TWO: &str = r#"
name = "cut in two"
description = "Both halves are written to"
duration = "16s"

[links]
latency = "2ms"

[[step]]
at = "1s"
partition = [["node0", "node1"], ["node2", "node3"]]

[[step]]
at = "13s"
heal = true
"#;

/// A cluster that is cut in two under load and healed, with or without all that brings replicas together again.
fn cut_in_two(repairs: bool) -> Findings {
    run(CUT_IN_TWO, repairs)
}

fn run(scenario: &str, repairs: bool) -> Findings {
    let cluster = ClusterPlan {
        shape: Shape::Members(4),
        anti_entropy: repairs.then_some(Duration::from_secs(2)),
        read_repair: repairs,
        hinted_handoff: repairs,
    };
    run_on(cluster, scenario)
}

fn run_on(cluster: ClusterPlan, scenario: &str) -> Findings {
    let keys: Vec<String> = (0..8).map(|key| format!("key{key}")).collect();
    let workload = Workload {
        sessions: 6,
        rate: 30.0,
        arrivals: Arrivals::Poisson,
        read_share: 0.5,
        delete_share: 0.1,
        context_share: 0.6,
        levels: vec![(Level::One, 1.0)],
        keys: Keys::uniform(keys.clone()).unwrap(),
        seed: 7,
    };
    let scenario = Scenario::parse(scenario).unwrap();
    let configuration = serde_json::Value::Null;
    Experiment { cluster, scenario, workload, keys, seed: 7, configuration }.simulate(|_| {}).unwrap()
}

#[test]
fn replicas_that_nothing_repairs_are_found_to_differ() {
    let findings = cut_in_two(false);
    assert_eq!(findings.converged_after, None);
    let differ = findings.violations.iter().filter(|it| it.invariant == Invariant::Converged);
    assert!(differ.count() > 0, "{:?}", findings.violations);
}

#[test]
fn a_sound_run_breaks_nothing_and_what_is_forged_in_its_history_is_found() {
    let findings = cut_in_two(true);
    assert_eq!(findings.violations, []);
    assert!(findings.converged_after.is_some());
    let history = findings.history;
    reuse_a_dot(history.clone());
    invent_a_value(history.clone());
    return_what_was_overwritten(history.clone());
    drop_a_sibling(&history);
    bring_a_deleted_value_back(&history);
}

/// Half a minute of quiet after the trouble: nothing is left of deleted keys, on any member.
#[test]
fn a_healed_cluster_keeps_no_tombstone() {
    let longer = CUT_IN_TWO.replace("duration = \"16s\"", "duration = \"90s\"");
    let findings = run(&longer, true);
    let deletes = findings.history.operations.iter().filter(|op| op.kind == Kind::Delete);
    assert!(deletes.filter(|op| op.is_acknowledged_write()).count() > 10);
    assert_eq!(findings.violations, []);
    assert!(findings.tombstones.values().all(|&left| left == 0), "{:?}", findings.tombstones);
}

/// Anti-entropy alone brings the halves together: the owners differ from the cut on, until exchanges after the heal.
#[test]
fn divergence_is_seen_for_as_long_as_it_lasts() {
    let cluster = ClusterPlan {
        shape: Shape::Members(4),
        anti_entropy: Some(Duration::from_secs(1)),
        read_repair: false,
        hinted_handoff: false,
    };
    let Findings { divergence, exchanges, activity, violations, .. } = run_on(cluster, CUT_IN_TWO);
    assert_eq!(violations, []);
    assert_eq!(divergence.keys, 8);
    let differing = |from: f64, to: f64| {
        let samples = divergence.samples.iter().filter(move |it| (from..to).contains(&it.at_ms));
        samples.map(|it| it.differing)
    };
    assert!(differing(0.0, 500.0).eq([0]), "nothing was written yet: {divergence:?}");
    assert_eq!(differing(5_000.0, 13_000.0).count(), 8, "a look each second");
    assert!(differing(5_000.0, 13_000.0).all(|it| it > 0), "{divergence:?}");
    assert_eq!(divergence.samples.last().map(|it| it.differing), Some(0));

    let halves = |it: &str| it == "node0" || it == "node1";
    assert!(exchanges.iter().any(|it| it.at > 13_000_000_000 && halves(&it.member) != halves(&it.with)));
    let keys: u64 = exchanges.iter().map(|it| it.keys).sum();
    assert_eq!(keys, activity.values().map(|it| it.keys_repaired).sum::<u64>());
}

/// A member that is down has what it had, unless its disk is lost.
#[test]
fn a_lost_disk_is_seen_at_once() {
    const CRASH: &str = "name = 'crash'\nduration = '8s'\n[[step]]\nat = '4500ms'\ncrash = 'node0'\n";
    let loses_disk = CRASH.replace("'node0'", "{ node = 'node0', lose_disk = true }");
    let after_crash = |scenario: &str| {
        let repairs = ClusterPlan {
            shape: Shape::Members(3),
            anti_entropy: None,
            read_repair: false,
            hinted_handoff: false,
        };
        let Findings { divergence, .. } = run_on(repairs, scenario);
        divergence.samples.iter().find(|it| it.at_ms > 4_500.0).map_or(0, |it| it.differing)
    };
    let (kept, lost) = (after_crash(CRASH), after_crash(&loses_disk));
    assert!(kept < lost && lost >= 6, "{kept} of 8 keys differ, {lost} with the disk lost");
}

/// A replica on which a delete is undone.
fn bring_a_deleted_value_back(history: &History) {
    let by_id: BTreeMap<u64, &Operation> = history.operations.iter().map(|op| (op.id, op)).collect();
    let deletes =
        history.operations.iter().filter(|op| op.kind == Kind::Delete && op.is_acknowledged_write());
    let (key, back) = deletes
        .filter_map(|delete| Some((delete.key.clone(), by_id.get(&delete.basis?)?.returned.first()?.clone())))
        .find(|(_, back)| back.value.is_some())
        .expect("some delete knew a value");
    let keys = BTreeMap::from([(key.clone(), BTreeSet::from([back]))]);
    let state = FinalState { replicas: BTreeMap::from([("node0".to_owned(), keys)]) };
    let found = overwritten_yet_held(history, &state, 0);
    assert!(found.iter().any(|it| it.key == key), "{found:?}");
    assert_eq!(overwritten_yet_held(history, &FinalState::default(), 0), []);
}

/// A coordinator that counts from the start again.
fn reuse_a_dot(mut history: History) {
    let broken = |history: &History| dots_naming_two_values(history, &FinalState::default(), str::to_owned);
    let mut first = BTreeMap::new();
    let mut puts =
        history.operations.iter_mut().filter(|op| op.is_acknowledged_write() && op.value.is_some());
    let (old, new) = puts
        .find_map(|put| first.insert(put.key.clone(), put.clone()).map(|old: Operation| (old, put)))
        .expect("some key was put twice");
    new.dot = old.dot;
    let ids = [old.id, new.id];
    let found = broken(&history);
    assert!(found.iter().any(|it| ids.iter().all(|id| it.operations.contains(id))), "{found:?}");
}

fn invent_a_value(mut history: History) {
    let read = history.operations.iter_mut().find(|op| !op.returned.is_empty()).expect("some get found one");
    read.returned[0].value = Some("nobody's".to_owned());
    let id = read.id;
    let found = values_nobody_wrote(&history, &FinalState::default());
    assert_eq!(found.iter().map(|it| &it.operations[..]).collect::<Vec<_>>(), [[id]]);
}

/// A replica that keeps what a write overwrote.
fn return_what_was_overwritten(mut history: History) {
    let by_id: BTreeMap<u64, Operation> = history.operations.iter().map(|op| (op.id, op.clone())).collect();
    let overwritten: BTreeMap<&str, &Version> = by_id
        .values()
        .filter_map(|put| {
            let basis = by_id.get(&put.basis?)?;
            Some((put.value.as_deref()?, basis.returned.first()?))
        })
        .collect();
    let older = |version: &Version| overwritten.get(version.value.as_deref()?).copied();
    let mut reads = history.operations.iter_mut().filter(|op| op.is_answered_read());
    let (read, old) = reads
        .find_map(|read| read.returned.iter().find_map(older).map(|old| (read, old)))
        .expect("some get returned what overwrote another");
    read.returned.push(old.clone());
    let id = read.id;
    let found = false_concurrency(&history);
    assert!(found.iter().any(|it| it.operations[0] == id), "{found:?}");
}

/// A replica that forgets one of two siblings, and yet answers with the context of both.
fn drop_a_sibling(history: &History) {
    let reads = history.operations.iter().enumerate().filter(|(_, op)| op.returned.len() > 1);
    let found = reads.filter(|&(at, _)| {
        let mut history = history.clone();
        history.operations[at].returned.pop();
        let read = history.operations[at].id;
        false_dominance(&history).iter().any(|it| it.operations[0] == read)
    });
    assert!(found.count() > 0, "some sibling was an acknowledged put that nobody deleted");
}

#[test]
fn keys_are_grouped_by_the_members_that_own_them() {
    let keys: Vec<String> = (0..=255).map(|key| key.to_string()).collect();
    let lists = Shape::Preset(Preset::FourNode).by_preference_list(&keys);
    assert_eq!(lists.iter().map(Vec::len).collect::<Vec<_>>(), [64; 4]);
    assert!(
        lists
            .iter()
            .any(|list| list.first().is_some_and(|it| it == "64") && list.contains(&"127".to_owned()))
    );
    let lists = Shape::Members(5).by_preference_list(&keys);
    assert_eq!(lists.iter().map(Vec::len).sum::<usize>(), 256);
    assert!(lists.len() > 5, "five members share the keys in many ways");
}
