//! A comparison in plain text: what was predicted beside what was measured. It computes nothing.

use super::{Comparison, Latencies, Point, Reads};
use crate::metrics::Rate;
use crate::table::{aligned, interval, milliseconds, percent};
use std::fmt;

impl Comparison {
    /// What is to be known of it in one line per level: for a summary of a run.
    #[must_use]
    pub fn in_short(&self) -> String {
        let lines: Vec<(String, Vec<String>)> = self.reads.iter().map(|it| (it.name(), it.cells())).collect();
        if lines.is_empty() {
            return String::new();
        }
        let heads = ["reads", "fresh", "predicted", "RMSE", "noise floor"];
        let mut all = vec![("predicted from the delays (PBS)".to_owned(), heads.map(str::to_owned).into())];
        all.extend(lines);
        aligned(&all)
    }
}

impl Reads {
    fn name(&self) -> String {
        named(&format!("reads at {}", self.level), self.faults)
    }

    fn cells(&self) -> Vec<String> {
        vec![
            self.fresh.n.to_string(),
            percent(self.fresh.rate),
            percent(Some(self.predicted)),
            percent(self.rmse),
            percent(self.noise_floor),
        ]
    }
}

fn named(what: &str, faults: bool) -> String {
    format!("  {what}{}", if faults { ", faults" } else { "" })
}

/// All of it: the scores, each curve, the writes missed, the latencies, and what is compared with nothing.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reads.is_empty() {
            f.write_str("no read can be compared with a prediction\n")?;
        }
        f.write_str(&self.in_short())?;
        for reads in &self.reads {
            f.write_str("\n")?;
            f.write_str(&curve(reads))?;
        }
        if !self.latencies.is_empty() {
            f.write_str("\n")?;
            f.write_str(&latencies(&self.latencies))?;
        }
        let left = &self.left_out;
        writeln!(
            f,
            "\nnot compared: {} reads before any write of their key, {} with a write in flight, {} that were not followed",
            left.before_any_write, left.contended, left.not_followed
        )
    }
}

fn curve(reads: &Reads) -> String {
    let heads = ["reads", "fresh", "95 % interval", "predicted"].map(str::to_owned);
    let mut lines = vec![(format!("{}, fresh after", reads.name().trim()), heads.to_vec())];
    let row = |name: String, measured: &Rate, share: Option<f64>, predicted: f64| {
        let cells =
            vec![measured.n.to_string(), percent(share), interval(measured), percent(Some(predicted))];
        (name, cells)
    };
    let point = |it: &Point| {
        let span = format!("  {} to {}", milliseconds(Some(it.from_ms)), milliseconds(Some(it.longest_ms)));
        row(span, &it.fresh, it.fresh.rate, it.predicted)
    };
    lines.extend(reads.curve.iter().map(point));
    let missed = reads.missed.iter().take_while(|it| it.measured.count > 0 || it.predicted > 0.0);
    lines.extend(missed.map(|it| {
        let name =
            if it.k == 1 { "  missed the last".to_owned() } else { format!("  missed the last {}", it.k) };
        row(name, &it.measured, it.measured.rate, it.predicted)
    }));
    aligned(&lines)
}

fn latencies(latencies: &[Latencies]) -> String {
    let heads = ["operations", "p50", "predicted", "p99.9", "predicted", "N-RMSE", "noise floor"];
    let mut lines = vec![("latency".to_owned(), heads.map(str::to_owned).to_vec())];
    lines.extend(latencies.iter().map(|it| {
        let kind = if it.writes { "writes" } else { "reads" };
        let cells = vec![
            it.operations.to_string(),
            milliseconds(Some(it.measured_ms[0])),
            milliseconds(it.predicted_ms[0]),
            milliseconds(Some(it.measured_ms[2])),
            milliseconds(it.predicted_ms[2]),
            percent(it.n_rmse),
            percent(it.noise_floor),
        ];
        (named(&format!("{kind} at {}", it.level), it.faults), cells)
    }));
    aligned(&lines)
}
