//! What it costs to check a history: seconds of CPU and memory for a million operations, read from JSONL, by every metric but
//! linearizability. Run with `cargo bench -p chinwag-observer --bench check`; a number of operations may follow after `--`.
//!
//! The history is that of 64 sessions on 10,000 keys, half of whose operations are reads and a tenth of whose reads are
//! stale, with contexts, as chinwag writes it.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints what it measures, or fails"
)]

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use chinwag_observer::check::{Model, Settings, check};
use chinwag_observer::history::{
    Clock, Dot, Header, HistoryWriter, Kind, Level, Operation, Outcome, Version,
};
use chinwag_observer::ledger::Ledger;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const OPERATIONS: u64 = 1_000_000;
const SESSIONS: u32 = 64;
const KEYS: usize = 10_000;
/// Nanoseconds from one operation to the next of a session.
const STEP: u64 = 1_000_000;
const GOAL_SECONDS: f64 = 10.0;
const GOAL_MIB: f64 = 1024.0;

fn main() {
    let operations = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(OPERATIONS);
    let path = std::env::temp_dir().join(format!("chinwag-check-{}.jsonl", std::process::id()));
    write(&path, operations);
    let bytes = std::fs::metadata(&path).unwrap().len();
    println!("{operations} operations, {:.0} MB of JSONL", bytes as f64 / 1e6);

    let before = cpu_seconds();
    let ledger = Ledger::read(BufReader::new(File::open(&path).unwrap())).unwrap();
    let read = cpu_seconds() - before;
    println!("read     {read:>6.2} s of CPU, {:>5.0} MiB at most so far", peak_mib());
    let report = check(&ledger, &Settings::new(Model::Siblings));
    let all = cpu_seconds() - before;
    println!("checked  {:>6.2} s of CPU", all - read);
    println!(
        "in all   {all:>6.2} s of CPU (goal {GOAL_SECONDS} for a million), {:>5.0} MiB (goal {GOAL_MIB})",
        peak_mib()
    );
    println!("anomalies {:?}", report.anomalies.counts);
    std::fs::remove_file(&path).unwrap();
}

/// Each key has one newest version, and sometimes a replica that is a version behind answers.
fn write(path: &Path, operations: u64) {
    let mut rng = StdRng::seed_from_u64(7);
    let mut writer =
        HistoryWriter::new(BufWriter::new(File::create(path).unwrap()), &Header::default()).unwrap();
    // By key: the versions made so far, and the operation that last gave its context.
    let mut keys: Vec<(u64, Option<u64>, [String; 2])> =
        vec![(0, None, [String::new(), String::new()]); KEYS];
    for id in 0..operations {
        let at = rng.random_range(0..KEYS);
        let (versions, basis, values) = &mut keys[at];
        let session = u32::try_from(id % u64::from(SESSIONS)).unwrap();
        let is_read = rng.random_bool(0.5);
        let kind = if is_read { Kind::Get } else { Kind::Put };
        let mut operation = Operation::new(id, session, "replica1", kind, Level::One, &format!("key{at:05}"));
        operation.sent = id / u64::from(SESSIONS) * STEP + u64::from(session) * 100;
        operation.intended = operation.sent;
        operation.done = Some(operation.sent + rng.random_range(STEP / 4..STEP / 2));
        operation.outcome = Outcome::Ok;
        let actor = at as u64 % 3 * 0x0123_4567_89ab_cdef + 1;
        if is_read {
            let behind = u64::from(*versions > 1 && rng.random_bool(0.1));
            let seq = *versions - behind;
            if seq == 0 {
                operation.outcome = Outcome::NotFound;
            } else {
                let value = values[usize::from(behind == 0)].clone();
                operation.returned = vec![Version { value: Some(value), dot: Dot { actor, seq } }];
            }
            operation.seen = Some(Clock { vv: vec![(actor, seq)], dots: Vec::new() });
        } else {
            *versions += 1;
            operation.basis = *basis;
            operation.dot = Some(Dot { actor, seq: *versions });
            operation.value = Some(format!("s{session}-{id}"));
            values.swap(0, 1);
            values[1] = operation.value.clone().unwrap();
            *basis = Some(id);
        }
        writer.operation(&operation).unwrap();
    }
    writer.finish().unwrap();
}

/// CPU time of this process, user and system.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    // Fields 14 and 15 of proc(5), in hundredths of a second on every Linux there is.
    (ticks(11) + ticks(12)) / 100.0
}

/// The most memory this process ever held.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
