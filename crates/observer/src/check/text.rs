//! A report as text: a table per level of reads, what is said of the history as a whole, and the anomalies by name.

use super::anomaly::Anomalies;
use super::metric::Metric;
use super::reads::{Ages, LevelReport, Sides};
use super::register::Amounts;
use super::{Model, Report};
use crate::metrics::{Curve, Estimate, KStaleness, Rate};
use crate::table::{decimal, interval, milliseconds, percent, reached};
use std::fmt::Write as _;

/// The most anomalies of one name that are shown.
const SHOWN_MAX: usize = 5;

/// The width of the first column.
const LABEL: usize = 34;

/// The report for people. Its lines may change; scripts read the JSON.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    let model = match report.model {
        Model::Siblings => "siblings",
        Model::Register => "register",
    };
    line(
        &mut out,
        "history",
        &format!(
            "{} operations on {} keys in {} sessions, {:.1} s; {} reads, {} writes, {} unknown, {} refused",
            report.operations,
            report.keys,
            report.sessions,
            report.duration_ms / 1e3,
            report.reads,
            report.writes,
            report.unknown,
            report.refused
        ),
    );
    line(&mut out, "model", model);
    if !report.is_plain {
        line(
            &mut out,
            "values",
            "not each written once by a plain write: only linearizability can be judged",
        );
    }
    for level in &report.levels {
        render_level(&mut out, level);
    }
    render_whole(&mut out, report);
    render_anomalies(&mut out, &report.anomalies);
    out
}

fn line(out: &mut String, label: &str, text: &str) {
    // Writing to a string cannot fail.
    writeln!(out, "{label:<LABEL$} {text}").ok();
}

fn render_level(out: &mut String, level: &LevelReport) {
    writeln!(out, "\nreads at {}: {}", level.level, level.reads).ok();
    if let Some(seed) = &level.seed {
        line(out, "  seed's stale rate", &estimate(seed));
    }
    both(out, "  stale", level.stale.as_ref(), estimate);
    both(out, "  stale, knowing nothing new", level.stale_lenient.as_ref(), estimate);
    both(out, "  writes missed", level.missed.as_ref(), missed);
    both(out, "  longest chain missed", level.chain.as_ref(), missed);
    both(out, "  age of what is missed", level.age.as_ref(), ages);
    both(out, "  fresh after, settled", level.visibility.as_ref(), |it| curve(&it.settled));
    both(out, "  fresh after, write in flight", level.visibility.as_ref(), |it| curve(&it.contended));
    if let Some(kt) = &level.kt {
        for cells in kt.acknowledged.chunk_by(|one, next| one.k == next.k) {
            let times =
                cells.iter().map(|cell| format!("{} {} ms on", percent(cell.missed.rate.rate), cell.t_ms));
            let label = format!("  misses last {}", cells[0].k);
            line(out, &label, &times.collect::<Vec<_>>().join(", "));
        }
    }
    for (metric, found) in &level.guarantees {
        line(out, &format!("  {metric} broken"), &estimate(found));
    }
    if let Some(siblings) = &level.siblings {
        let tenths: Vec<String> = siblings.mean_by_tenth.iter().map(|&mean| decimal(mean, 2)).collect();
        line(
            out,
            "  values per read",
            &format!("at most {}; by tenths of the run {}", siblings.max, tenths.join(" ")),
        );
    }
}

/// One line if both sides say the same, two otherwise.
fn both<T: PartialEq>(out: &mut String, label: &str, sides: Option<&Sides<T>>, text: impl Fn(&T) -> String) {
    let Some(sides) = sides else { return };
    line(out, label, &text(&sides.acknowledged));
    if sides.observed != sides.acknowledged {
        line(out, "    or observed", &text(&sides.observed));
    }
}

fn estimate(estimate: &Estimate) -> String {
    let Estimate { rate, blocks } = estimate;
    let mut text = rate_text(rate);
    if let Some(blocks) = blocks {
        let wide = Rate { low: blocks.low, high: blocks.high, ..*rate };
        write!(text, "; by blocks {}, design effect {:.1}", interval(&wide), blocks.design_effect).ok();
    }
    text
}

fn rate_text(rate: &Rate) -> String {
    if rate.n == 0 {
        return "none to judge".to_owned();
    }
    format!("{} ({} of {}; {})", percent(rate.rate), rate.count, rate.n, interval(rate))
}

fn missed(missed: &KStaleness) -> String {
    let above = |j: usize| percent(Some(missed.exceeding.get(j).copied().unwrap_or(0.0)));
    let mean = decimal(missed.mean, 3);
    format!("mean {mean}, most {}; more than 0: {}, 1: {}, 3: {}", missed.max, above(0), above(1), above(3))
}

fn ages(ages: &Ages) -> String {
    let Ages { n, p50_ms, p99_ms, max_ms } = ages;
    let [p50, p99, max] = [p50_ms, p99_ms, max_ms].map(|it| milliseconds(*it));
    format!("p50 {p50}, p99 {p99}, oldest {max} ({n} stale reads)")
}

fn curve(curve: &Curve) -> String {
    if curve.bins.is_empty() {
        return "no read to judge".to_owned();
    }
    let targets = ["50 %", "90 %", "99 %", "99.9 %"].into_iter().enumerate();
    let times = targets.map(|(target, share)| format!("{share} {}", reached(curve, target)));
    times.collect::<Vec<_>>().join(", ")
}

fn render_whole(out: &mut String, report: &Report) {
    out.push('\n');
    if let Some(windows) = &report.windows {
        let closed = windows.closed.iter().map(|closed| {
            let after = closed.after_ms.map_or_else(|| "never seen".to_owned(), |ms| milliseconds(Some(ms)));
            format!("{} by {after}", percent(Some(closed.share)))
        });
        let closed = closed.collect::<Vec<_>>().join(", ");
        let of = format!("{} writes, {} of them censored", windows.writes, windows.censored);
        line(
            out,
            "windows closed",
            &format!("{closed}; longest {} ({of})", milliseconds(Some(windows.longest_ms))),
        );
    }
    if let Some(lost) = &report.lost {
        line(out, "acknowledged writes lost", &rate_text(lost));
    }
    if !report.causality_checked {
        line(out, "causality", "not looked into: more than 4096 sessions");
    }
    let registers = &report.registers;
    let asked = [registers.gamma.is_some(), registers.delta.is_some(), registers.linearizable.is_some()];
    if !asked.contains(&true) && registers.two_atomic.is_none() {
        return;
    }
    let of =
        format!("{} of {} keys, {} of them with zones", registers.registers, registers.keys, registers.zoned);
    line(out, "keys that are registers", &of);
    for (label, amounts) in [("  gamma", &registers.gamma), ("  delta", &registers.delta)] {
        if let Some(amounts) = amounts {
            line(out, label, &amounts_text(amounts));
        }
    }
    if let Some(two_atomic) = registers.two_atomic {
        line(out, "  2-atomic", &format!("{two_atomic} keys"));
    }
    if let Some(keys) = registers.linearizable {
        let text = format!("{} keys; {} not, {} unknown within the budget", keys.yes, keys.no, keys.unknown);
        line(out, "  linearizable", &text);
    }
}

fn amounts_text(amounts: &Amounts) -> String {
    let [p50, max] = [amounts.p50_ms, amounts.max_ms].map(milliseconds);
    format!(
        "0 for {} keys; else p50 {p50}, greatest {max}; none is enough for {}",
        amounts.none, amounts.endless
    )
}

fn render_anomalies(out: &mut String, anomalies: &Anomalies) {
    if anomalies.is_empty() {
        out.push_str("\nno anomaly\n");
        return;
    }
    for metric in Metric::ALL {
        let Some(count) = anomalies.counts.get(&metric) else { continue };
        writeln!(out, "\n{metric}: {count}").ok();
        let listed: Vec<_> = anomalies.listed.iter().filter(|anomaly| anomaly.name == metric).collect();
        for anomaly in listed.iter().take(SHOWN_MAX) {
            writeln!(out, "  key {}: {}", anomaly.key, anomaly.what).ok();
        }
        if *count > SHOWN_MAX as u64 {
            writeln!(out, "  and {} more", count - SHOWN_MAX as u64).ok();
        }
    }
}
