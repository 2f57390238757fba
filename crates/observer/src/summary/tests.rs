//! What scripts rely on stays where it is.

use super::{
    About, Convergence, Divergence, DivergenceSample, Exchange, Queue, Repairs, SCHEMA_VERSION, Summary,
};
use crate::beliefs::Beliefs;
use crate::history::{Event, Header, History, Kind, Level, Operation, Outcome};
use crate::ledger::Ledger;
use crate::metrics::{Settings, measure};
use crate::pacing::Load;
use std::time::Duration;

/// A small run: one fresh read, one stale read, one put of unknown outcome.
pub(crate) fn small() -> Summary {
    let ms = 1_000_000;
    let operation = |kind, id: u64, level| {
        let mut operation = Operation::new(id, 0, "replica0", kind, level, "k<&>\"'");
        (operation.sent, operation.done) = (id * ms, Some(id * ms + ms));
        operation.outcome = Outcome::Ok;
        operation
    };
    let mut put = operation(Kind::Put, 1, Level::One);
    put.value = Some("s0-1".to_owned());
    let mut fresh = operation(Kind::Get, 10, Level::Quorum);
    let dot = (1, 1).into();
    fresh.returned = vec![crate::history::Version { value: Some("s0-1".to_owned()), dot }];
    let stale = operation(Kind::Get, 20, Level::One);
    let mut unknown = operation(Kind::Put, 30, Level::One);
    unknown.value = Some("s0-2".to_owned());
    unknown.outcome = Outcome::Unknown { reason: "timeout".to_owned() };

    let step = |at, phase: &str, fault| Event {
        at: at * ms,
        phase: phase.to_owned(),
        what: format!("{phase} <now> & \"here\""),
        fault,
    };
    let history = History {
        header: Header {
            seed: Some(7),
            scenario: Some("<quick>start".to_owned()),
            configuration: serde_json::json!({"n": 3, "note": "</code><script>"}),
        },
        operations: vec![put, fresh, stale, unknown],
        events: vec![step(12, "split", true), step(25, "healed", false)],
        ..History::default()
    };
    let about = About {
        unsent: 7,
        load: Load { late: 40, behind: 30, free: 1000, lateness_p99_ms: Some(5.0), ..Load::default() },
        command: "chinwag demo --seed 7 && echo <done>".to_owned(),
        program: "chinwag 0.0.0".to_owned(),
        converged_after_ms: Some(812.5),
        violations: Vec::new(),
        repairs: Repairs { by_reads: 3, hints_delivered: 2, keys_by_anti_entropy: 1, rounds: 9 },
        exchanges: vec![Exchange {
            at: 26 * ms,
            member: "replica1".to_owned(),
            with: "replica2".to_owned(),
            partition: 3,
            keys: 1,
        }],
        divergence: Divergence {
            keys: 8,
            samples: [(0.0, 0), (15.0, 2), (31.0, 0)]
                .map(|(at_ms, differing)| DivergenceSample { at_ms, differing })
                .into(),
        },
        convergence: Convergence::new(8, [300, 812, 300].map(Duration::from_millis).into_iter()),
        queues: vec![Queue {
            name: "frames".to_owned(),
            high_water: 3,
            bound: 1024,
            member: "replica2".to_owned(),
        }],
        beliefs: Beliefs { one_view_after_ms: Some(640.0), ..Beliefs::default() },
    };
    Summary::new(&history, measure(&Ledger::of(&history), &Settings::default()), about)
}

#[test]
fn three_lines_for_scripts() {
    let json: serde_json::Value = serde_json::from_str(&small().to_json()).unwrap();
    assert_eq!(json["stale"]["rate"], 0.5);
    assert_eq!(json["stale"]["count"], 1);
    assert!(json["stale"]["low"].as_f64() < Some(0.5) && json["stale"]["high"].as_f64() > Some(0.5));
    assert_eq!(json["unknown"], 1);
    assert_eq!(json["converged_after_ms"], 812.5);
    assert_eq!(json["schema_version"], SCHEMA_VERSION);
    assert_eq!((&json["seed"], &json["configuration"]["n"]), (&7.into(), &3.into()));
    assert_eq!(json["levels"][0]["level"], "one");

    let never = Summary { converged_after_ms: None, ..small() };
    let json: serde_json::Value = serde_json::from_str(&never.to_json()).unwrap();
    assert!(json["converged_after_ms"].is_null());
}

#[test]
fn a_summary_is_read_back() {
    let summary: Summary = serde_json::from_str(&small().to_json()).unwrap();
    assert_eq!(summary, small());
}

#[test]
fn convergence_counts_keys_by_time() {
    let convergence = small().convergence;
    let steps: Vec<_> = convergence.steps.iter().map(|step| (step.after_ms, step.agreed.count)).collect();
    assert_eq!(steps, [(300.0, 2), (812.0, 3)]);
    assert_eq!([0.25, 0.3, 0.5].map(|share| convergence.reached(share)), [Some(300.0), Some(812.0), None]);
    assert_eq!(Convergence::new(0, std::iter::empty()).reached(0.0), None, "there is nothing to agree on");
}
