//! Simulated clusters under hostile networks: nothing breaks that must hold, and every run can be had again.

use std::path::{Path, PathBuf};

use crate::process::{Ran, chinwag};

/// Eight members, two virtual minutes, every kind of fault.
const NEMESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/nemesis.toml");

/// Simulates the seeds and panics with what the command said if any of them broke an invariant.
fn search(seeds: &str) {
    let mut command = chinwag();
    command.args(["observe", NEMESIS, "--sim", "--seeds", seeds]);
    command.args(["--members", "8", "--rate", "10", "--sessions", "8"]);
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
