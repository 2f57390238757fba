//! How much faster than real time a simulated cluster runs: virtual seconds per CPU second, by number of members and
//! load, over a network that loses 1 % of its packets. Run with `cargo bench -p chinwag-observer --bench simulation`.
//!
//! Clients read, and read and then write what they read, at QUORUM. A request of a client makes several between members,
//! and it is requests that cost: the goal is stated for 600 a second in all, as reference/simulation.md counts them.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints what it measures, or fails"
)]

use std::time::Duration;

use chinwag_fuzz_net::Scenario;
use chinwag_observer::history::Level;
use chinwag_observer::lab::{ClusterPlan, Experiment, Shape};
use chinwag_observer::workload::{Keys, Workload};

const VIRTUAL_SECONDS: f64 = 60.0;
const SCENARIO: &str = "name = \"speed\"\ndescription = \"1 % loss\"\nseed = 1\nduration = \"60s\"\n\
    [links]\nlatency = { log_normal = { median = \"3ms\", sigma = 0.5, cap = \"50ms\" } }\ndrop = 0.01\n";
/// What DESIGN.md section 12 asks of ten members at 600 requests a second.
const GOAL: f64 = 50.0;
/// Operations a second that clients plan: the first makes about 600 requests a second, the second as many of clients
/// alone.
const LOADS: [f64; 2] = [107.0, 400.0];

fn main() {
    println!(
        "members  client requests/s  all requests/s  packets/request  CPU us/request  virtual s per CPU s"
    );
    for members in [4, 8, 10, 20] {
        for load in LOADS {
            run(members, load);
        }
    }
}

fn run(members: u16, load: f64) {
    let before = cpu_seconds();
    let findings = experiment(members, load).simulate(|_| {}).unwrap();
    let spent = cpu_seconds() - before;
    assert!(findings.violations.is_empty(), "{:?}", findings.violations);
    let clients = real(u64::try_from(findings.history.operations.len()).unwrap());
    let between: u64 = findings.activity.values().map(|it| it.member_requests).sum();
    let packets: u64 = findings.links.iter().map(|it| it.stats.sent).sum();
    let requests = clients + real(between);
    let goal = if members == 10 && load == LOADS[0] { format!("  (goal {GOAL:.0})") } else { String::new() };
    println!(
        "{members:>7}  {:>17.0}  {:>14.0}  {:>15.1}  {:>14.1}  {:>19.1}{goal}",
        clients / VIRTUAL_SECONDS,
        requests / VIRTUAL_SECONDS,
        real(packets) / requests,
        spent * 1e6 / requests,
        VIRTUAL_SECONDS / spent,
    );
}

fn experiment(members: u16, load: f64) -> Experiment {
    let keys: Vec<String> = (0..256).map(|key| format!("key{key}")).collect();
    let workload = Workload {
        sessions: 64,
        rate: load,
        read_share: 0.5,
        delete_share: 0.0,
        context_share: 1.0,
        levels: vec![(Level::Quorum, 1.0)],
        ..Workload::new(Keys::uniform(keys.clone()).unwrap(), 1)
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

fn real(of: u64) -> f64 {
    f64::from(u32::try_from(of).unwrap())
}

/// CPU time this process has used, in seconds, as the kernel counts it (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}
