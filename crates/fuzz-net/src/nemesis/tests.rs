//! What is drawn: as often as asked, valid however it falls, and over in the end.

use crate::clock::ClockOffset;
use crate::faults::LinkFaults;
use crate::scenario::{Action, Scenario, Step};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const EVERYTHING: &str = "
    name = 'nemesis'
    duration = '5m'
    [links]
    latency = '2ms'
    [nemesis]
    quiet = '30s'
    links = { per_minute = 4, mean = '5s' }
    partition = { per_minute = 3, mean = '8s' }
    block = { per_minute = 3, mean = '5s' }
    crash = { per_minute = 6, mean = '6s', at_once = 2, lose_disk = 0.5, disks_lost_max = 3 }
    pause = { per_minute = 6, mean = '800ms' }
    clock_skew = { per_minute = 3, mean = '10s', max = '500ms' }
    clock_jump = { per_minute = 3, max = '2s' }
";

const QUIET_BEGINS: Duration = Duration::from_secs(270);

fn names(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("replica{i}")).collect()
}

fn drawn(seed: u64, nodes: usize) -> Scenario {
    Scenario::parse(EVERYTHING).unwrap().with_nemesis(seed, names(nodes))
}

/// Times and actions; where a step stands in a file does not matter.
fn actions(scenario: &Scenario) -> Vec<(Duration, Action)> {
    scenario.steps().iter().map(|step| (step.at(), step.action().clone())).collect()
}

/// The name of an action in TOML.
fn kind(step: &Step) -> &'static str {
    match step.action() {
        Action::Links { .. } => "links",
        Action::ClearLinks => "clear_links",
        Action::Partition(_) => "partition",
        Action::Block { .. } => "block",
        Action::Heal => "heal",
        Action::Crash { .. } => "crash",
        Action::Restart(_) => "restart",
        Action::Pause { .. } => "pause",
        Action::ClockSkew { .. } => "clock_skew",
        Action::ClockJump { .. } => "clock_jump",
    }
}

#[test]
fn a_seed_and_nodes_decide_everything() {
    assert_eq!(drawn(7, 5), drawn(7, 5));
    assert_eq!(drawn(7, 5).seed, 7);
    assert_ne!(actions(&drawn(7, 5)), actions(&drawn(8, 5)));
    let nodes = ["b", "a", "b"];
    let scenario = Scenario::parse(EVERYTHING).unwrap();
    assert_eq!(scenario.with_nemesis(1, nodes), scenario.with_nemesis(1, ["a", "b"]));
}

#[test]
fn a_scenario_without_a_nemesis_takes_the_seed_alone() {
    let scenario = "name = 'x'\nduration = '5s'\n[[step]]\nat = '1s'\ncrash = 'a'";
    let scenario = Scenario::parse(scenario).unwrap();
    let mut expected = scenario.clone();
    expected.seed = 9;
    assert_eq!(scenario.with_nemesis(9, ["a"]), expected);
}

#[test]
fn every_kind_strikes_about_as_often_as_asked() {
    let mut counts = BTreeMap::<_, usize>::new();
    for seed in 0..100 {
        let scenario = drawn(seed, 8);
        for place in scenario.fault_steps() {
            *counts.entry(kind(&scenario.steps()[place])).or_default() += 1;
        }
    }
    // 450 minutes in all; those that must wait for each other happen less often than they would.
    for (kind, expected) in [
        ("links", 1200..1600),
        ("partition", 700..1000),
        ("block", 700..1000),
        ("crash", 2100..2700),
        ("pause", 2500..2800),
        ("clock_skew", 1200..1400),
        ("clock_jump", 1250..1450),
    ] {
        assert!(expected.contains(&counts[kind]), "{kind}: {counts:?}");
    }
}

#[test]
fn a_changed_rate_leaves_the_other_kinds_as_they_are() {
    let seldom = EVERYTHING.replace("links = { per_minute = 4", "links = { per_minute = 0.2");
    let seldom = Scenario::parse(&seldom).unwrap().with_nemesis(1, names(5));
    let others = |scenario: &Scenario| {
        let others = scenario.steps().iter().filter(|step| kind(step) != "links");
        others.map(|step| (step.at(), step.action().clone())).collect::<Vec<_>>()
    };
    assert_ne!(actions(&seldom), actions(&drawn(1, 5)));
    assert_eq!(others(&seldom), others(&drawn(1, 5)));
}

#[test]
fn links_become_bad_in_every_way() {
    let mut ways = LinkFaults::default();
    for seed in 0..20 {
        for (_, action) in actions(&drawn(seed, 3)) {
            let Action::Links { faults, .. } = action else { continue };
            ways.drop += faults.drop;
            ways.duplicate += faults.duplicate;
            ways.corrupt += faults.corrupt;
            ways.reorder += faults.reorder;
            ways.burst_loss = ways.burst_loss.or(faults.burst_loss);
            ways.bandwidth = ways.bandwidth.or(faults.bandwidth);
            ways.mtu = ways.mtu.or(faults.mtu);
        }
    }
    assert!([ways.drop, ways.duplicate, ways.corrupt, ways.reorder].iter().all(|&it| it > 0.0), "{ways:?}");
    assert!(ways.burst_loss.is_some() && ways.bandwidth.is_some() && ways.mtu.is_some(), "{ways:?}");
}

#[test]
fn an_undrawn_nemesis_is_written_and_read_back() {
    let scenario = Scenario::parse(EVERYTHING).unwrap();
    let read_back = Scenario::parse(&scenario.to_toml()).unwrap();
    assert_eq!(actions(&read_back.with_nemesis(3, names(4))), actions(&scenario.with_nemesis(3, names(4))));
    assert!(scenario.nemesis().is_some() && scenario.with_nemesis(3, names(4)).nemesis().is_none());
}

/// How many are down at once at most, and how many disks are lost.
fn downs_and_disks(scenario: &Scenario) -> (usize, usize) {
    let (mut down, mut downs, mut disks) = (0, 0, 0);
    for step in scenario.steps() {
        match step.action() {
            Action::Crash { lose_disk, .. } => {
                down += 1;
                disks += usize::from(*lose_disk);
            }
            Action::Restart(_) => down -= 1,
            _ => {}
        }
        downs = downs.max(down);
    }
    (downs, disks)
}

/// The links and clocks that are not as they were at the start, and whether anything is cut, down or paused.
fn left_over(scenario: &Scenario) -> (usize, usize, bool) {
    let (mut links, mut clocks) = (BTreeMap::new(), BTreeMap::new());
    for step in scenario.steps() {
        match step.action() {
            Action::Links { from, to, faults } => {
                links.insert(format!("{from} {to}"), faults);
            }
            Action::ClockSkew { node, by } => {
                clocks.insert(node, *by);
            }
            Action::ClockJump { node, by } => {
                let offset = clocks.entry(node).or_default();
                *offset = *offset + *by;
            }
            _ => {}
        }
    }
    let bad_links = links.values().filter(|faults| **faults != scenario.links()).count();
    let wrong_clocks = clocks.values().filter(|offset| **offset != ClockOffset::NONE).count();
    let never = downs_and_disks(scenario).0 == 0
        && !scenario.steps().iter().any(|step| matches!(kind(step), "partition" | "block" | "pause"));
    let is_whole = never || scenario.last_heal().is_some_and(|at| at <= QUIET_BEGINS);
    (bad_links, wrong_clocks, is_whole)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However it falls: it can be written, read and played, keeps its limits, and is over when the quiet begins.
    #[test]
    fn what_is_drawn_is_a_scenario_that_ends_whole(seed: u64, nodes in 1..9_usize) {
        let scenario = drawn(seed, nodes);
        let read_back = Scenario::parse(&scenario.to_toml()).unwrap();
        prop_assert_eq!(actions(&read_back), actions(&scenario));
        prop_assert_eq!(read_back.seed, seed);
        prop_assert!(scenario.check_nodes(names(nodes)).is_ok());
        let (downs, disks) = downs_and_disks(&scenario);
        prop_assert!(downs <= 2.min(nodes) && disks <= 3, "{downs} down, {disks} disks lost");
        prop_assert!(scenario.steps().iter().all(|step| step.at() <= QUIET_BEGINS));
        prop_assert_eq!(scenario.phases().last().map(|it| (it.begins, it.label)), Some((QUIET_BEGINS, "quiet")));
        prop_assert_eq!(left_over(&scenario), (0, 0, true));
    }

    /// Whatever is taken out, what is left is a scenario that ends whole.
    #[test]
    fn any_faults_can_be_taken_out(seed: u64, keep in prop::collection::vec(any::<bool>(), 1..20)) {
        let scenario = drawn(seed, 5);
        let faults = scenario.fault_steps();
        let out: BTreeSet<usize> =
            faults.iter().zip(keep.iter().cycle()).filter(|(_, keep)| !**keep).map(|(&place, _)| place).collect();
        let shrunk = scenario.without_faults(&out);
        prop_assert_eq!(shrunk.fault_steps().len(), faults.len() - out.len());
        let read_back = Scenario::parse(&shrunk.to_toml()).unwrap();
        prop_assert_eq!(actions(&read_back), actions(&shrunk));
        prop_assert_eq!(left_over(&shrunk), (0, 0, true));
    }
}

#[test]
fn without_any_fault_nothing_is_left_to_end() {
    let scenario = drawn(1, 5);
    let none = scenario.without_faults(&scenario.fault_steps().into_iter().collect());
    assert_eq!(actions(&none), [(QUIET_BEGINS, Action::Heal)]);
    assert_eq!(actions(&scenario.without_faults(&BTreeSet::new())), actions(&scenario));
}
