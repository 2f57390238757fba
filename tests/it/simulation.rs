//! Simulated clusters under hostile networks: nothing breaks that must hold, and every run can be had again.

use crate::process::chinwag;

/// Eight members, two virtual minutes, every kind of fault.
const NEMESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/nemesis.toml");

/// More of it than a cluster should ever see, a third of the writes being deletes.
const STORM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/storm.toml");

/// Simulates the seeds and panics with what the command said if any of them broke an invariant.
fn search(seeds: &str) {
    search_in(NEMESIS, seeds, &["--members", "8", "--rate", "10"]);
}

fn search_in(scenario: &str, seeds: &str, flags: &[&str]) {
    let mut command = chinwag();
    command.args(["observe", scenario, "--sim", "--seeds", seeds, "--sessions", "8"]).args(flags);
    let ran = command.output().expect("the binary under test can be started");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(said.contains(" 0 broke an invariant"), "{said}");
}

#[test]
fn twenty_hostile_runs_break_nothing() {
    search("1..20");
}

#[test]
fn five_hostile_runs_nobody_has_seen_break_nothing() {
    let first = u64::from(std::process::id()) * 1_000_003;
    let seeds = format!("{first}..{}", first + 4);
    println!("fresh seeds {seeds}");
    search(&seeds);
}

#[test]
fn storms_break_nothing() {
    search_in(STORM, "1..4", &["--members", "6", "--rate", "20", "--deletes", "0.3"]);
}

#[test]
fn many_seeds_are_told_as_json() {
    let mut command = chinwag();
    command.args(["observe", STORM, "--seeds", "1..1", "--members", "3", "--rate", "5", "--json"]);
    let ran = command.output().expect("the binary under test can be started");
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("one JSON document");
    assert_eq!((&told["runs"], &told["broken"]), (&1.into(), &serde_json::json!([])), "{told}");
    assert!(told["reads"].as_u64() > Some(0), "{told}");
}

/// Nothing is lost and some packets are very late: what is merely under way is never repaired.
#[test]
fn two_calm_minutes_leave_anti_entropy_nothing_to_repair() {
    let scenario =
        include_str!("../../scenarios/calm.toml").replace("duration = \"10m\"", "duration = \"2m\"");
    assert!(scenario.contains("2m"));
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("calm.toml");
    std::fs::write(&path, scenario).expect("a temporary file can be written");
    let mut command = chinwag();
    command.arg("observe").arg(&path).args(["--seeds", "1..3", "--rate", "200", "--json"]);
    command.args(["--read-repair", "off", "--hinted-handoff", "off"]);
    let ran = command.output().expect("the binary under test can be started");
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("one JSON document");
    assert_eq!(told["broken"], serde_json::json!([]), "{told}");
    let repairs = &told["repairs"];
    for way in ["by_reads", "hints_delivered", "keys_by_anti_entropy"] {
        assert_eq!(repairs[way], 0, "{way}: {repairs}");
    }
    // Four members, a round a second each.
    assert!(repairs["rounds"].as_u64() > Some(3 * 400), "{repairs}");
}

#[test]
fn a_seed_gives_the_same_run_in_two_processes() {
    let scenario = include_str!("../../scenarios/nemesis.toml")
        .replace("duration = \"120s\"", "duration = \"30s\"")
        .replace("quiet = \"40s\"", "quiet = \"10s\"");
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let path = directory.path().join("short.toml");
    std::fs::write(&path, scenario).expect("a temporary file can be written");
    for seed in 1..=10 {
        let run = |out: &str| {
            let out = directory.path().join(format!("{out}{seed}"));
            let mut command = chinwag();
            command.args([
                "observe",
                "--sim",
                "--seed",
                &seed.to_string(),
                "--rate",
                "40",
                "--sessions",
                "8",
            ]);
            let ran = command.arg(&path).arg("--out").arg(&out).output();
            let said = String::from_utf8(ran.expect("the binary can be started").stdout).expect("text");
            let trace = said.lines().find(|line| line.starts_with("trace ")).map(str::to_owned);
            let results = std::fs::read_dir(&out).expect("results were written").next().expect("one run");
            let history = results.expect("a directory").path().join("history.jsonl");
            (trace.expect("a simulation prints its trace"), std::fs::read(history).expect("a history"))
        };
        let (one, two) = (run("one"), run("two"));
        assert_eq!(one.0, two.0, "seed {seed}");
        assert!(one.1 == two.1, "seed {seed}: the histories differ");
        assert!(!one.1.is_empty());
    }
}
