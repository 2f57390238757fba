//! The summary as plain text for a terminal: one column per consistency level. ASCII only where width matters, so that it
//! lines up everywhere.

use crate::metrics::{Curve, LevelMetrics, Quantiles, Rate};
use crate::pacing::Load;
use crate::steady::{Steadiness, Verdict};
use crate::summary::{Queue, Summary};

/// The narrowest column of a level.
const COLUMN_MIN: usize = 14;

/// A row's name, indented below its heading, and how its cells are made; a heading may have none.
pub(crate) type Row = (&'static str, Option<fn(&LevelMetrics) -> String>);

/// The rows, top to bottom.
pub(crate) const ROWS: &[Row] = &[
    ("operations", Some(|level| level.operations.to_string())),
    ("  reads answered", Some(|level| level.reads.to_string())),
    ("  unknown outcomes", Some(|level| level.unknown.to_string())),
    ("  errors", Some(|level| level.errors.to_string())),
    ("stale reads", Some(|level| level.stale.rate.count.to_string())),
    ("  rate", Some(|level| percent(level.stale.rate.rate))),
    ("  95 % interval", Some(|level| interval(&level.stale.widest()))),
    ("  design effect", Some(|level| decimal(level.stale.blocks.map(|blocks| blocks.design_effect), 1))),
    ("  with observed writes", Some(|level| percent(level.stale_observed.rate.rate))),
    ("  lenient", Some(|level| percent(level.stale_lenient.rate.rate))),
    ("writes missed per read", Some(|level| decimal(level.k_staleness.mean, 3))),
    ("  more than 1", Some(|level| percent(more_than_one(level)))),
    ("  most", Some(|level| level.k_staleness.max.to_string())),
    ("fresh after (no write in flight)", None),
    ("  50 % of reads", Some(|level| reached(&level.visibility.settled, 0))),
    ("  90 %", Some(|level| reached(&level.visibility.settled, 1))),
    ("  99 %", Some(|level| reached(&level.visibility.settled, 2))),
    ("  99.9 %", Some(|level| reached(&level.visibility.settled, 3))),
    ("values per read", Some(|level| decimal(level.siblings.mean, 3))),
    ("  p99", Some(|level| level.siblings.p99.to_string())),
    ("  most", Some(|level| level.siblings.max.to_string())),
    ("latency", None),
    ("  p50", Some(|level| milliseconds(level.latency.all.p50_ms))),
    ("  p99", Some(|level| at_least(&level.latency.all, level.latency.all.p99_ms, 0.01))),
    ("  p99.9", Some(|level| at_least(&level.latency.all, level.latency.all.p99_9_ms, 0.001))),
];

/// The table, each line ended. It ends with what concerns the whole run: convergence and violations.
#[must_use]
pub fn table(summary: &Summary) -> String {
    let mut lines =
        vec![(String::new(), summary.levels.iter().map(|level| level.level.to_string()).collect())];
    for (name, cell) in ROWS {
        let cells = summary.levels.iter().filter_map(|level| cell.map(|cell| cell(level))).collect();
        lines.push(((*name).to_owned(), cells));
    }
    let mut text = aligned(&lines);
    text.push('\n');
    if let Some((mean, most)) = summary.divergence.shares() {
        let (mean, most) = (percent(Some(mean)), percent(Some(most)));
        text.push_str(&format!("owners differed in {mean} of keys on average, {most} at most\n"));
    }
    let predicted = summary.predictions.in_short();
    if !predicted.is_empty() {
        text.push_str(&predicted);
        text.push('\n');
    }
    text.push_str(&match summary.converged_after_ms {
        Some(after) => {
            let [half, most] = [0.5, 0.99].map(|share| milliseconds(summary.convergence.reached(share)));
            let all = milliseconds(Some(after));
            format!("replicas agreed {all} after the last heal (on half of the keys by {half}, on 99 % by {most})\n")
        }
        None => "replicas were not seen to agree\n".to_owned(),
    });
    text.push_str(&match summary.violations.len() {
        0 => "no invariant broke\n".to_owned(),
        broken => format!("INVARIANTS BROKEN: {broken}\n"),
    });
    for violation in summary.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
        text.push_str(&format!("  {}: {}\n", violation.key, violation.what));
    }
    for line in load(&summary.load) {
        text.push_str(&format!("{line}\n"));
    }
    if !summary.queues.is_empty() {
        let row = |queue: &Queue| {
            let cells = [queue.high_water, queue.bound].map(|count| count.to_string());
            (format!("  {}", queue.name), cells.into())
        };
        let mut lines =
            vec![("queues of members".to_owned(), vec!["fullest".to_owned(), "may hold".to_owned()])];
        lines.extend(summary.queues.iter().map(row));
        text.push('\n');
        text.push_str(&aligned(&lines));
    }
    text
}

/// How well the load kept to its plan: what came of it, whether it was steady, and whose fault it was if it was not made.
pub(crate) fn load(load: &Load) -> Vec<String> {
    let Load { late, measured_from_ms, steadiness, .. } = load;
    let mut lines = vec![format!("{late} operations sent late because their session still waited")];
    // On a real clock the load begins some microseconds after the history.
    if *measured_from_ms >= 1.0 {
        lines.push(format!("measured from {} on", milliseconds(Some(*measured_from_ms))));
    }
    lines.extend(steady(steadiness));
    lines.extend(load.bottleneck().map(|why| format!("THE LOAD GENERATOR WAS THE BOTTLENECK: {why}")));
    lines
}

fn steady(Steadiness { verdict, latency_z, throughput_z }: &Steadiness) -> Option<String> {
    let score = |z: &Option<f64>| z.map_or_else(|| "-".to_owned(), |z| format!("{z:.1}"));
    let scores =
        format!("Mann-Kendall z {} of latency, {} of throughput", score(latency_z), score(throughput_z));
    match verdict {
        // A run of a few operations is not asked for averages.
        Verdict::TooShort => None,
        Verdict::Steady => Some(format!("what was measured was steady ({scores})")),
        Verdict::NotSteady => Some(format!("what was measured was NOT STEADY ({scores})")),
    }
}

/// How many violations the table spells out; the summary has them all.
const VIOLATIONS_SHOWN_MAX: usize = 10;

/// A first column to the left and all others to the right.
pub(crate) fn aligned(lines: &[(String, Vec<String>)]) -> String {
    let width = |text: &String| text.chars().count();
    let first = lines.iter().map(|(name, _)| width(name)).max().unwrap_or(0);
    let columns = lines.iter().flat_map(|(_, cells)| cells).map(width).max().unwrap_or(0).max(COLUMN_MIN);
    let mut text = String::new();
    for (name, cells) in lines {
        let row = cells.iter().fold(format!("{name:first$}"), |row, cell| format!("{row}  {cell:>columns$}"));
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

/// A share in percent with the digits it needs: three, or two significant ones below a tenth of a percent.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{} %", percent_digits(share)))
}

pub(crate) fn percent_digits(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        0.0 => "0".to_owned(),
        ..0.1 => format!("{percent:.3}"),
        ..10.0 => format!("{percent:.2}"),
        _ => format!("{percent:.1}"),
    }
}

/// The two ends in percent.
pub(crate) fn interval(rate: &Rate) -> String {
    if rate.n == 0 {
        return "-".to_owned();
    }
    format!("{} - {} %", percent_digits(rate.low), percent_digits(rate.high))
}

/// Milliseconds with three significant digits, as seconds from one second on.
pub(crate) fn milliseconds(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".to_owned() };
    match value {
        0.0 => "0 ms".to_owned(),
        ..0.005 => "<0.01 ms".to_owned(),
        ..10.0 => format!("{value:.2} ms"),
        ..100.0 => format!("{value:.1} ms"),
        ..1000.0 => format!("{value:.0} ms"),
        ..10_000.0 => format!("{:.2} s", value / 1000.0),
        _ => format!("{:.1} s", value / 1000.0),
    }
}

/// A latency quantile, marked if operations of unknown outcome reach into it: those took at least so long.
pub(crate) fn at_least(latency: &Quantiles, value: Option<f64>, tail: f64) -> String {
    let reaches = latency.at_least as f64 > tail * latency.n as f64;
    let mark = if reaches && value.is_some() { ">= " } else { "" };
    format!("{mark}{}", milliseconds(value))
}

pub(crate) fn decimal(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// The share of reads that missed more than one write.
pub(crate) fn more_than_one(level: &LevelMetrics) -> Option<f64> {
    (level.reads > 0).then(|| level.k_staleness.exceeding.get(1).copied().unwrap_or(0.0))
}

/// The time of one of the reported chances.
pub(crate) fn reached(curve: &Curve, target: usize) -> String {
    match curve.reached.get(target) {
        Some(reached) if reached.t_ms.is_some() => milliseconds(reached.t_ms),
        _ => "never".to_owned(),
    }
}

#[cfg(test)]
mod tests;
