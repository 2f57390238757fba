//! Experiments whose mechanisms are broken are found out; the same ones, unbroken, are not.

mod delays;
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
use crate::ledger::Ledger;
use crate::workload::{Arrivals, Keys, SessionsAt, Spread, ValueBytes, Workload, Ycsb};

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
        read_share: 0.5,
        delete_share: 0.1,
        context_share: 0.6,
        levels: vec![(Level::One, 1.0)],
        ..Workload::new(Keys::uniform(keys.clone()).unwrap(), 7)
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
    let differ = differ.count() as u64;
    assert!(differ > 0, "{:?}", findings.violations);
    let agreed = findings.convergence.steps.last().map_or(0, |step| step.agreed.count);
    assert_eq!((findings.convergence.keys, agreed), (8, 8 - differ), "{:?}", findings.convergence);
}

#[test]
fn a_sound_run_breaks_nothing_and_what_is_forged_in_its_history_is_found() {
    let findings = cut_in_two(true);
    assert_eq!(findings.violations, []);
    let converged = findings.converged_after.unwrap().as_secs_f64() * 1000.0;
    let last = findings.convergence.steps.last().unwrap();
    assert_eq!((last.after_ms, last.agreed.count), (converged, 8), "{:?}", findings.convergence);
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

/// Each put is followed by one get, of another session at another member, as long after its acknowledgement as was
/// planned; no later put of the key comes between.
#[test]
fn probes_read_elsewhere_at_their_times() {
    let keys: Vec<String> = (0..16).map(|key| format!("key{key}")).collect();
    let workload = Workload {
        sessions: 12,
        rate: 50.0,
        levels: vec![(Level::One, 1.0)],
        probe: Some(Duration::from_millis(100)),
        ..Workload::new(Keys::uniform(keys.clone()).unwrap(), 7)
    };
    let planned: Vec<Duration> =
        workload.clone().plan().unwrap().take(250).map(|it| it.then_read.unwrap().after).collect();
    let cluster = ClusterPlan {
        shape: Shape::Members(3),
        anti_entropy: None,
        read_repair: false,
        hinted_handoff: false,
    };
    let scenario = "name = 'calm'\nduration = '6s'\n[links]\nlatency = '4ms'";
    let scenario = Scenario::parse(scenario).unwrap();
    let configuration = serde_json::Value::Null;
    let experiment = Experiment { cluster, scenario, workload, keys, seed: 7, configuration };
    let operations = experiment.simulate(|_| {}).unwrap().history.operations;
    let by_id: BTreeMap<u64, &Operation> = operations.iter().map(|op| (op.id, op)).collect();
    let mut seats = BTreeSet::new();
    for (probe, after) in (0..).zip(planned) {
        let [put, get] = [2 * probe, 2 * probe + 1].map(|id| by_id[&id]);
        assert_eq!((put.kind, get.kind, put.session + 1), (Kind::Put, Kind::Get, get.session));
        assert_eq!(put.key, get.key);
        // The clock of a simulation has ticks of a millisecond.
        let waited = Duration::from_nanos(get.sent - put.done.unwrap());
        assert!(waited >= after && waited < after + Duration::from_millis(2), "{waited:?} for {after:?}");
        let later = operations.iter().filter(|op| op.key == put.key && op.is_write() && op.sent > put.sent);
        assert!(later.map(|op| op.sent).all(|sent| sent > get.done.unwrap()));
        assert!(get.returned.len() <= 1, "a put replaces what its session put before");
        seats.insert((&put.node, &get.node));
    }
    assert_eq!(seats.len(), 6, "every two members: {seats:?}");
}

/// Five seconds of workload on three members without faults.
fn calm(workload: Workload) -> Findings {
    let cluster =
        ClusterPlan { shape: Shape::Members(3), anti_entropy: None, read_repair: true, hinted_handoff: true };
    let scenario = "name = 'calm'\nduration = '5s'\n[links]\nlatency = '4ms'";
    let scenario = Scenario::parse(scenario).unwrap();
    let keys = (0..16).map(|key| format!("key{key}")).collect();
    let configuration = serde_json::Value::Null;
    let experiment = Experiment { cluster, scenario, workload, keys, seed: 7, configuration };
    let findings = experiment.simulate(|_| {}).unwrap();
    assert_eq!(findings.violations, []);
    findings
}

fn sixteen_keys() -> Workload {
    let keys = Keys::records("key", 16, Spread::Latest { theta: 0.99 }).unwrap();
    Workload { sessions: 6, rate: 100.0, levels: vec![(Level::One, 1.0)], ..Workload::new(keys, 7) }
}

#[test]
fn records_are_there_before_the_load_and_measuring_begins_later() {
    let second = Duration::from_secs(1);
    let workload = Workload { ramp: second, warm_up: second, ..Ycsb::D.of(sixteen_keys()) };
    let workload = Workload { value_bytes: ValueBytes::Fixed(50), ..workload };
    let history = calm(workload).history;
    let (records, load) = history.operations.split_at(16);
    assert!(records.iter().all(|op| op.is_acknowledged_write() && op.replicas.len() == 3));
    let loaded = records.iter().filter_map(|op| op.done).max().unwrap();
    assert!(load.iter().all(|op| op.sent >= loaded));
    assert_eq!(history.measured_from, loaded + 2_000_000_000);
    let found = load.iter().filter(|op| op.is_answered_read() && !op.returned.is_empty());
    assert!(found.count() > 300, "nearly all that is read was put before");
    assert!(load.iter().any(|op| op.kind == Kind::Put && op.key == "key16"), "keys are inserted");

    let measured = crate::metrics::measure(&Ledger::of(&history), &crate::metrics::Settings::default());
    let later = load.iter().filter(|op| op.sent >= history.measured_from).count();
    assert_eq!(measured.operations, later as u64);
    assert!(later < 330, "{later} of {}", load.len());
}

/// Who was away has missed nothing, and knows at once whom to ask for what it does not own. When clients try again to reach
/// it is up to them, so it comes back at several times.
#[test]
fn a_restarted_member_does_not_deny_what_was_never_written_again() {
    let mut asked = 0;
    for tenth in 0..10 {
        let history = back_after(Duration::from_millis(9_000 + 100 * tenth));
        let back = history.events.last().unwrap().at;
        let reads = || history.operations.iter().filter(|op| op.is_answered_read());
        let soon = |op: &&Operation| {
            op.node == "replica2" && op.done.is_some_and(|at| (back..back + 50_000_000).contains(&at))
        };
        asked += reads().filter(soon).count();
        let denied = reads().filter(|op| op.returned.is_empty());
        assert_eq!(denied.collect::<Vec<_>>(), Vec::<&Operation>::new());
    }
    assert!(asked > 10, "{asked} reads asked it before it can have heard of anybody");
}

/// Reads of records that all replicas have, one of which is away until then.
fn back_after(time: Duration) -> History {
    let scenario = format!(
        "name = 'back again'\nduration = '11s'\n[links]\nlatency = '20ms'\n\
         [[step]]\nat = '1s'\ncrash = 'replica2'\n[[step]]\nat = '{}ms'\nrestart = 'replica2'",
        time.as_millis()
    );
    let keys: Vec<String> = (0..=255).map(|key| key.to_string()).collect();
    let workload = Workload::new(Keys::uniform(keys.clone()).unwrap(), 7);
    let workload =
        Workload { rate: 200.0, sessions: 64, levels: vec![(Level::One, 1.0)], ..Ycsb::C.of(workload) };
    let shape = Shape::Preset(Preset::FourNode);
    let cluster = ClusterPlan { shape, anti_entropy: None, read_repair: false, hinted_handoff: true };
    let configuration = serde_json::Value::Null;
    let scenario = Scenario::parse(&scenario).unwrap();
    Experiment { cluster, scenario, workload, keys, seed: 7, configuration }.simulate(|_| {}).unwrap().history
}

#[test]
fn updates_replace_the_records_they_know() {
    let keys: Vec<String> = (0..16).map(|key| format!("key{key}")).collect();
    let workload = Workload { sessions: 1, rate: 50.0, ..Ycsb::A.of(sixteen_keys()) };
    let workload = Workload { keys: Keys::uniform(keys).unwrap(), ..workload };
    let history = calm(workload).history;
    let puts = || history.operations[16..].iter().filter(|op| op.kind == Kind::Put);
    assert!(puts().count() > 80 && puts().all(|op| op.basis.is_some()), "each knows what was there");
    assert!(history.operations.iter().all(|op| op.returned.len() <= 1), "one session makes no siblings");
}

#[test]
fn a_closed_loop_asks_on_when_it_is_answered() {
    let think = Duration::from_millis(20);
    let workload = Workload { arrivals: Arrivals::Closed { think }, ..sixteen_keys() };
    let Findings { history, load, unsent, .. } = calm(workload);
    assert!(unsent <= 6, "a write whose read was the last thing a session did");
    assert_eq!((load.late, load.free), (0, 0));
    for session in 0..6 {
        let mine: Vec<&Operation> = history.operations.iter().filter(|op| op.session == session).collect();
        assert!(mine.len() > 100, "{} operations in 5 s of 20 ms and a few each", mine.len());
        let pauses = mine.windows(2).map(|pair| pair[1].sent - pair[0].done.unwrap());
        // A write that reads first follows its read at once.
        assert!(
            pauses.into_iter().all(|pause| pause <= 1_000_000 || (20..22).contains(&(pause / 1_000_000)))
        );
    }
}

#[test]
fn roaming_sessions_ask_the_members_in_turn() {
    let workload = Workload { sessions_at: SessionsAt::Roaming, context_share: 0.0, ..sixteen_keys() };
    let workload = Workload { delete_share: 0.0, ..workload };
    let nodes = |history: &History, session| {
        let mine = history.operations.iter().filter(|op| op.session == session);
        mine.map(|op| op.node.clone()).collect::<Vec<_>>()
    };
    let history = calm(workload.clone()).history;
    assert_eq!(nodes(&history, 0)[..4], ["node0", "node1", "node2", "node0"]);
    assert_eq!(nodes(&history, 1)[..2], ["node1", "node2"]);
    for at in [SessionsAt::Pinned, SessionsAt::Nearest] {
        let history = calm(Workload { sessions_at: at, ..workload.clone() }).history;
        for session in 0..6 {
            let asked: BTreeSet<String> = nodes(&history, session).into_iter().collect();
            assert_eq!(asked.len(), 1, "{at:?}");
        }
    }
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
    let found = overwritten_yet_held(&Ledger::of(history), &state, 0);
    assert!(found.iter().any(|it| it.key == key), "{found:?}");
    assert_eq!(overwritten_yet_held(&Ledger::of(history), &FinalState::default(), 0), []);
}

/// A coordinator that counts from the start again.
fn reuse_a_dot(mut history: History) {
    let broken = |history: &History| {
        dots_naming_two_values(&Ledger::of(history), &FinalState::default(), str::to_owned)
    };
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
    let found = values_nobody_wrote(&Ledger::of(&history), &FinalState::default());
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
    let found = false_concurrency(&Ledger::of(&history));
    assert!(found.iter().any(|it| it.operations[0] == id), "{found:?}");
}

/// A replica that forgets one of two siblings, and yet answers with the context of both.
fn drop_a_sibling(history: &History) {
    let reads = history.operations.iter().enumerate().filter(|(_, op)| op.returned.len() > 1);
    let found = reads.filter(|&(at, _)| {
        let mut history = history.clone();
        history.operations[at].returned.pop();
        let read = history.operations[at].id;
        false_dominance(&Ledger::of(&history)).iter().any(|it| it.operations[0] == read)
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
