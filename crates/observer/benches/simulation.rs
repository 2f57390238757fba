//! How much faster than real time a simulated cluster runs: virtual seconds per CPU second, by number of members, at 600
//! requests a second over a network that loses 1 % of its packets. Run with
//! `cargo bench -p chinwag-observer --bench simulation`.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints what it measures, or fails"
)]

use std::time::Duration;

use chinwag_fuzz_net::Scenario;
use chinwag_observer::history::Level;
use chinwag_observer::lab::{ClusterPlan, Experiment, Shape};
use chinwag_observer::workload::{Arrivals, Keys, Workload};

const VIRTUAL_SECONDS: u32 = 20;
const SCENARIO: &str = "name = \"speed\"\ndescription = \"1 % loss\"\nseed = 1\nduration = \"20s\"\n\
    [links]\nlatency = { log_normal = { median = \"3ms\", sigma = 0.5, cap = \"50ms\" } }\ndrop = 0.01\n";
/// What DESIGN.md section 12 asks of ten members.
const GOAL: f64 = 50.0;

fn main() {
    println!("members  operations  virtual s per CPU s");
    for members in [4, 8, 10, 20] {
        let before = cpu_seconds();
        let findings = experiment(members).simulate(|_| {}).unwrap();
        let spent = cpu_seconds() - before;
        let ratio = f64::from(VIRTUAL_SECONDS) / spent;
        let goal = if members == 10 { format!("  (goal {GOAL:.0})") } else { String::new() };
        println!("{members:>7}  {:>10}  {ratio:>19.1}{goal}", findings.history.operations.len());
    }
}

fn experiment(members: u16) -> Experiment {
    let keys: Vec<String> = (0..256).map(|key| format!("key{key}")).collect();
    let workload = Workload {
        sessions: 64,
        rate: 600.0,
        arrivals: Arrivals::Poisson,
        read_share: 0.5,
        delete_share: 0.0,
        context_share: 0.0,
        levels: vec![(Level::Quorum, 1.0)],
        keys: Keys::uniform(keys.clone()).unwrap(),
        seed: 1,
    };
    let cluster = ClusterPlan {
        shape: Shape::Members(members),
        anti_entropy: Some(Duration::from_secs(10)),
        read_repair: true,
        hinted_handoff: true,
    };
    let scenario = Scenario::parse(SCENARIO).unwrap();
    Experiment { cluster, scenario, workload, keys, seed: 1, configuration: serde_json::Value::Null }
}

/// CPU time this process has used, in seconds, as the kernel counts it (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}
