//! Every form a scenario may take, and every mistake, with the line it is found on.

use super::*;
use crate::faults::Latency;

const HEAD: &str = "name = 'test'\nduration = '10s'\n";

fn parse(steps: &str) -> Result<Scenario, ScenarioError> {
    Scenario::parse(&format!("{HEAD}{steps}"))
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

/// One `[[step]]` per line.
fn steps(steps: &[&str]) -> Scenario {
    let text: String = steps.iter().map(|step| format!("[[step]]\n{step}\n")).collect();
    parse(&text).unwrap()
}

#[test]
fn only_name_and_duration_are_needed() {
    let scenario = parse("").unwrap();
    assert_eq!((scenario.name.as_str(), scenario.description.as_str(), scenario.seed), ("test", "", 0));
    assert_eq!(scenario.duration(), secs(10));
    assert_eq!(scenario.links(), &LinkFaults::default());
    assert_eq!(scenario.steps(), []);
    assert_eq!(scenario.phases(), [Phase { begins: secs(0), ends: secs(10), label: "start" }]);
}

#[test]
fn every_action_is_read() {
    let scenario = steps(&[
        "at = '0s'\nlinks = { drop = 0.5 }",
        "at = '1s'\nlinks = { from = 'a', to = ['b', 'c'], latency = '5ms', duplicate = 0.1, fifo = false }",
        "at = '2s'\nclear_links = true",
        "at = '3s'\npartition = [['a'], ['b', 'c']]",
        "at = '4s'\nblock = { from = 'all', to = 'b' }",
        "at = '5s'\nheal = true",
        "at = '6s'\ncrash = 'a'",
        "at = '7s'\nrestart = 'a'",
        "at = '8s'\ncrash = { node = 'a', lose_disk = true }",
        "at = '8s'\ncrash = { node = 'b' }",
        "at = '9s'\npause = { node = 'c', for = '500ms' }",
        "at = '9s'\nclock_skew = { node = 'a', by = '-300ms' }",
        "at = '10s'\nclock_jump = { node = 'a', by = '5s' }",
    ]);
    let actions: Vec<_> = scenario.steps().iter().map(|step| step.action().clone()).collect();
    let lossy = LinkFaults { drop: 0.5, ..LinkFaults::default() };
    let slow = LinkFaults {
        latency: Latency::Fixed(Duration::from_millis(5)),
        duplicate: 0.1,
        fifo: false,
        ..LinkFaults::default()
    };
    assert_eq!(
        actions,
        [
            Action::Links { from: Selector::All, to: Selector::All, faults: lossy },
            Action::Links { from: Selector::nodes(["a"]), to: Selector::nodes(["b", "c"]), faults: slow },
            Action::ClearLinks,
            Action::Partition(vec![names(&["a"]), names(&["b", "c"])]),
            Action::Block { from: Selector::All, to: Selector::nodes(["b"]) },
            Action::Heal,
            Action::Crash { node: "a".into(), lose_disk: false },
            Action::Restart("a".into()),
            Action::Crash { node: "a".into(), lose_disk: true },
            Action::Crash { node: "b".into(), lose_disk: false },
            Action::Pause { node: "c".into(), lasting: Duration::from_millis(500) },
            Action::ClockSkew { node: "a".into(), by: ClockOffset::from_nanos(-300_000_000) },
            Action::ClockJump { node: "a".into(), by: ClockOffset::from_nanos(5_000_000_000) },
        ]
    );
}

const EVERY_LINK_FAULT: &str = "links = { from = 'a', to = ['b', 'c'], latency = '5ms', drop = 0.1, \
    burst_loss = { enter = 0.01, leave = 0.1 }, duplicate = 0.1, corrupt = 0.1, reorder = 0.1, reorder_by = '1ms', \
    bandwidth = { bytes_per_second = 1_000_000, queue_bytes = 64_000 }, mtu = 1300, fifo = false }";

#[test]
fn a_step_may_set_all_that_the_links_of_the_start_may() {
    let (_, faults) = EVERY_LINK_FAULT.split_once("'c'], ").unwrap();
    let faults: LinkFaults = toml::from_str(&format!("it = {{ {faults}")).map(|it: Holder| it.it).unwrap();
    let default = LinkFaults::default();
    assert!(faults.latency != default.latency && faults.drop != default.drop && faults.fifo != default.fifo);
    let step = steps(&[&format!("at = '1s'\n{EVERY_LINK_FAULT}")]);
    let Action::Links { faults: read, .. } = step.steps()[0].action() else { panic!("sets links") };
    assert_eq!(read, &faults);

    #[derive(serde::Deserialize)]
    struct Holder {
        it: LinkFaults,
    }
}

#[test]
fn steps_are_sorted_by_time_and_keep_the_order_of_the_file_within_it() {
    let scenario = steps(&["at = '5s'\nheal = true", "at = '2s'\ncrash = 'a'", "at = '2s'\nrestart = 'a'"]);
    let order: Vec<_> = scenario.steps().iter().map(|step| (step.at().as_secs(), step.line)).collect();
    assert_eq!(order, [(2, 8), (2, 11), (5, 5)]);
}

#[test]
fn mistakes_are_found_on_their_line() {
    check_mistakes(&[
        ("speed = 3", 3, "unknown field `speed`, expected one of `name`, `description`, `seed`"),
        ("[links]\ndrop = 2.0", 4, "2 is not a probability"),
        ("[links]\n\nlatency = { uniform = { min = '2ms', max = '1ms' } }", 5, "swap them"),
        ("[[step]]\nheal = true", 3, "missing field `at`"),
        (
            "[[step]]\nat = 'soon'\nheal = true",
            4,
            "\"soon\" is not a duration (expected number at 0): write it like \"2s\"",
        ),
        (
            "[[step]]\nat = '1s'\n\ncrush = 'a'",
            6,
            "unknown field `crush`, expected one of `at`, `phase`, `links`",
        ),
        (
            "[[step]]\nat = '1s'\nlinks = { dorp = 0.1 }",
            5,
            "unknown field `dorp`, expected one of `from`, `to`",
        ),
        ("[[step]]\nat = '1s'\n[step.links]\nlatency = '1ms'\ndrop = -1.0", 7, "-1 is not a probability"),
        ("[[step]]\nat = '1s'\n[step.links]\ncorrupt = 0.1\nmtu = 9", 7, "lets nothing of QUIC through"),
        ("[links]\nbandwidth = { bytes_per_second = 0, queue_bytes = 1 }", 4, "carry nothing"),
        ("[[step]]\nat = '1s'\nlinks = { from = [] }", 5, "an empty list chooses no node"),
        ("[[step]]\nat = '1s'\nlinks = { from = 3 }", 5, "expected \"all\", the name of a node, or a list"),
        ("[[step]]\nat = '1s'\nblock = { from = 'a' }", 5, "missing field `to`"),
        (
            "[[step]]\n\nat = '11s'\nheal = true",
            5,
            "at 11s comes after the end: move it, or make the duration (10s)",
        ),
        ("[[step]]\nat = '1s'\nphase = 'x'", 4, "does nothing: give it one of links, clear_links, partition"),
        ("[[step]]\nat = '1s'\nheal = true\ncrash = 'a'", 4, "several things (heal, crash): split it"),
        ("[[step]]\nat = '1s'\nheal = false", 5, "`heal = false` does nothing: write `heal = true`"),
        ("[[step]]\nat = '1s'\nclear_links = false", 5, "write `clear_links = true`"),
        ("[[step]]\nat = '1s'\npartition = [['a', 'b']]", 5, "at least two groups"),
        ("[[step]]\nat = '1s'\npartition = [['a'], []]", 5, "a group of the partition is empty"),
        ("[[step]]\nat = '1s'\npartition = [['a'], ['b', 'a']]", 5, "\"a\" is named twice"),
        ("[[step]]\nat = '1s'\ncrash = 'all'", 5, "\"all\" cannot be the name of a node"),
        ("[[step]]\nat = '1s'\nblock = { from = '', to = 'all' }", 5, "\"\" cannot be the name of a node"),
        (
            "[[step]]\nat = '1s'\nblock = { from = ['all'], to = 'a' }",
            5,
            "\"all\" cannot be the name of a node",
        ),
    ]);
}

#[test]
fn mistakes_about_a_nemesis_are_found_on_their_line() {
    check_mistakes(&[
        ("\n[nemesis]", 4, "the nemesis does nothing: give it a rate of links, partition"),
        ("[nemesis]\nlinks = { per_minute = 0, mean = '1s' }", 3, "the nemesis does nothing"),
        (
            "[nemesis]\nquiet = '10s'\nlinks = { per_minute = 1, mean = '1s' }",
            3,
            "the quiet at the end (10s) leaves no time for faults: make it shorter, or the duration (10s) longer",
        ),
        (
            "[nemesis]\nquiet = '1s'\nlinks = { per_minute = 1, mean = '1s' }\n[[step]]\nat = '1s'\nheal = true",
            7,
            "the nemesis on line 3 draws all steps",
        ),
        ("[nemesis]\nquiet = '1s'\nlinks = { per_minute = -1, mean = '1s' }", 5, "-1 per minute is no rate"),
        ("[nemesis]\nquiet = '1s'\nlinks = { per_minute = 601, mean = '1s' }", 5, "from 0 to 600"),
        (
            "[nemesis]\nquiet = '1s'\nlinks = { per_minute = 1, mean = '0s' }",
            5,
            "0s is not between 1ms and 1day",
        ),
        ("[nemesis]\nflood = 1", 4, "unknown field `flood`, expected one of `quiet`, `links`"),
        ("[nemesis]\ncrash = { per_minute = 1, mean = '1s', lose_disk = 2 }", 4, "is not a probability"),
    ]);
}

#[test]
fn seeds_above_what_toml_can_hold_are_negative_there() {
    let scenario = Scenario { seed: u64::MAX - 1, ..parse("").unwrap() };
    assert!(scenario.to_toml().contains("seed = -2"));
    assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
}

#[test]
fn mistakes_about_a_nodes_life_are_found_on_their_line() {
    check_mistakes(&[
        ("[[step]]\nat = '1s'\nrestart = 'a'", 5, "\"a\" is running at this time: crash it before"),
        (
            "[[step]]\nat = '2s'\ncrash = 'a'\n[[step]]\nat = '1s'\nrestart = 'a'",
            8,
            "\"a\" is running at this time",
        ),
        (
            "[[step]]\nat = '1s'\ncrash = 'a'\n[[step]]\nat = '2s'\ncrash = 'a'",
            8,
            "\"a\" is down since line 5: restart it",
        ),
        ("[[step]]\nat = '1s'\nheal = tru", 5, ""),
        (
            "[[step]]\nat = '1s'\ncrash = 'a'\n[[step]]\nat = '2s'\npause = { node = 'a', for = '1s' }",
            8,
            "\"a\" is down since line 5: restart it before it can pause",
        ),
        (
            "[[step]]\nat = '9s'\npause = { node = 'a', for = '1500ms' }",
            5,
            "the pause ends at 10s 500ms, after the end (10s)",
        ),
        ("[[step]]\nat = '1s'\npause = 'a'", 5, "invalid type: string"),
        ("[[step]]\nat = '1s'\npause = { node = 'all', for = '1s' }", 5, "\"all\" cannot be the name"),
        ("[[step]]\nat = '1s'\npause = { node = 'a' }", 5, "missing field `for`"),
        (
            "[[step]]\nat = '1s'\ncrash = 3",
            5,
            "expected the name of a node, or a table with `node` and `lose_disk`",
        ),
        ("[[step]]\nat = '1s'\ncrash = { node = 'a', lose_disc = true }", 5, "unknown field `lose_disc`"),
        ("[[step]]\nat = '1s'\nclock_skew = { node = 'a', by = 'soon' }", 5, "is no time a clock can be off"),
        ("[[step]]\nat = '1s'\nclock_jump = { node = '', by = '1s' }", 5, "\"\" cannot be the name"),
    ]);
}

/// A text, the line an error is on, and words of it.
fn check_mistakes(mistakes: &[(&str, usize, &str)]) {
    for &(text, line, words) in mistakes {
        let error = parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text}: {error}");
        assert!(error.to_string().starts_with(&format!("line {line}: ")), "{error}");
        assert!(error.to_string().contains(words), "{text}: {error}");
    }
}

#[test]
fn a_scenario_needs_a_name_and_time() {
    let error = |text| Scenario::parse(text).unwrap_err().to_string();
    assert_eq!(error("duration = '1s'"), "line 1: missing field `name`");
    assert_eq!(error("name = 'x'"), "line 1: missing field `duration`");
    assert_eq!(error("name = 'x'\nduration = '0s'"), "line 2: the duration must be longer than 0s");
}

#[test]
fn unknown_nodes_are_found_wherever_they_are_named() {
    for step in [
        "crash = 'ghost'",
        "partition = [['a'], ['ghost']]",
        "block = { from = 'ghost', to = 'all' }",
        "links = { to = ['a', 'ghost'], drop = 0.1 }",
        "pause = { node = 'ghost', for = '1s' }",
        "clock_skew = { node = 'ghost', by = '1s' }",
        "clock_jump = { node = 'ghost', by = '1s' }",
    ] {
        let scenario = steps(&["at = '0s'\nheal = true", &format!("at = '1s'\n{step}")]);
        let error = scenario.check_nodes(["b", "a"]).unwrap_err();
        assert_eq!(error.to_string(), "line 8: there is no node \"ghost\": the nodes are a, b");
        assert_eq!(scenario.check_nodes(["a", "b", "ghost"]), Ok(()));
    }
}

#[test]
fn phases_cover_the_whole_time_and_the_last_of_one_moment_counts() {
    let scenario = steps(&[
        "at = '2s'\nphase = 'never seen'\nheal = true",
        "at = '2s'\nphase = 'bad'\nlinks = { drop = 1 }",
        "at = '3s'\nclear_links = true",
        "at = '6s'\nphase = 'good'\nheal = true",
    ]);
    let phase = |begins, ends, label| Phase { begins: secs(begins), ends: secs(ends), label };
    assert_eq!(scenario.phases(), [phase(0, 2, "start"), phase(2, 6, "bad"), phase(6, 10, "good")]);
}

#[test]
fn a_phase_may_begin_with_the_experiment() {
    let scenario = steps(&["at = '0s'\nphase = 'bad'\nlinks = { drop = 1 }"]);
    assert_eq!(scenario.phases(), [Phase { begins: secs(0), ends: secs(10), label: "bad" }]);
}

#[test]
fn the_last_heal_is_when_all_is_whole_for_good() {
    let last_heal = |actions: &[&str]| {
        let lines: Vec<_> =
            actions.iter().enumerate().map(|(at, action)| format!("at = '{at}s'\n{action}")).collect();
        steps(&lines.iter().map(String::as_str).collect::<Vec<_>>()).last_heal().map(|at| at.as_secs())
    };
    let cut = "partition = [['a'], ['b']]";
    let block = "block = { from = 'a', to = 'b' }";
    assert_eq!(last_heal(&[]), None);
    assert_eq!(last_heal(&["heal = true", "links = { drop = 1 }"]), None);
    assert_eq!(last_heal(&[cut, "heal = true", "heal = true", "clear_links = true"]), Some(1));
    assert_eq!(last_heal(&[cut, "crash = 'a'", "heal = true", "restart = 'a'"]), Some(3));
    assert_eq!(last_heal(&["crash = 'a'", block, "restart = 'a'", "heal = true"]), Some(3));
    assert_eq!(last_heal(&[cut, "heal = true", "crash = 'a'"]), None);
    assert_eq!(last_heal(&[cut, "heal = true", block]), None);
    assert_eq!(last_heal(&["crash = 'a'", "crash = 'b'", "restart = 'a'"]), None);
    let pause = "pause = { node = 'a', for = '5s' }";
    assert_eq!(last_heal(&["heal = true", pause]), Some(6));
    assert_eq!(last_heal(&[pause, cut, "heal = true"]), Some(5));
    assert_eq!(last_heal(&[pause, cut]), None);
    assert_eq!(last_heal(&["clock_skew = { node = 'a', by = '1s' }"]), None);
}

#[test]
fn what_is_written_is_read_back() {
    let scenario = Scenario::parse(QUICKSTART).unwrap();
    let mut read_back = Scenario::parse(&scenario.to_toml()).unwrap();
    for (step, original) in read_back.steps.iter_mut().zip(&scenario.steps) {
        step.line = original.line;
    }
    assert_eq!(read_back, scenario);
    for action in [
        "heal = true",
        "clear_links = true",
        "block = { from = 'a', to = 'all' }",
        "links = { from = 'a' }",
        EVERY_LINK_FAULT,
        "crash = { node = 'a', lose_disk = true }",
        "pause = { node = 'a', for = '2s' }",
        "clock_skew = { node = 'a', by = '-300ms' }",
        "clock_jump = { node = 'a', by = '1m 5s' }",
    ] {
        let scenario = steps(&[&format!("at = '1s'\n{action}")]);
        let read_back = Scenario::parse(&scenario.to_toml()).unwrap();
        assert_eq!(read_back.steps[0].action, scenario.steps[0].action);
    }
}

#[test]
fn the_json_of_a_scenario_is_its_toml() {
    let scenario = steps(&["at = '1s 500ms'\nphase = 'x'\ncrash = 'a'"]);
    let json = serde_json::to_value(&scenario).unwrap();
    assert_eq!(json["duration"], "10s");
    assert_eq!(json["step"][0], serde_json::json!({ "at": "1s 500ms", "phase": "x", "crash": "a" }));
}

const QUICKSTART_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/quickstart.toml");
const QUICKSTART: &str =
    include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/quickstart.toml"));

#[test]
fn the_shipped_scenario_is_valid_and_ends_quietly() {
    let scenario = Scenario::load(QUICKSTART_PATH).unwrap();
    scenario.check_nodes(["replica0", "replica1", "replica2", "replica3"]).unwrap();
    assert_eq!(scenario.duration(), secs(40));
    assert_eq!(scenario.last_heal(), Some(secs(33)));
    assert!(scenario.steps().iter().all(|step| step.at() <= secs(33)));
    let labels: Vec<_> = scenario.phases().iter().map(|phase| phase.label).collect();
    assert_eq!(
        labels,
        [
            "a quiet network",
            "slow and lossy links",
            "replica2 crashed",
            "replica2 is back",
            "cut in two",
            "healing"
        ]
    );
}

#[test]
fn a_missing_file_is_named() {
    let error = Scenario::load("/no/such/scenario.toml").unwrap_err();
    assert_eq!(error.to_string(), "cannot read the scenario /no/such/scenario.toml");
}
