//! The figures of the report: which numbers of the summary go where in a plot.

use super::escape;
use super::plot::{Axis, LETTER_WIDTH, Plot, Size, round_step};
use crate::metrics::{Bucket, Curve, LevelMetrics, Rate};
use crate::predict::Point;
use crate::summary::Summary;
use crate::table::percent_digits;

/// More steps than this are shaded but not numbered: the numbers would cover each other.
const NUMBERED_MAX: usize = 40;

/// The colours of the style sheet; levels beyond share the last.
const COLOURS: [&str; 5] = ["c0", "c1", "c2", "c3", "c4"];

/// A figure of half a page, drawn once.
const HALF: Size = Size { width: 420.0, height: 290.0, top: 14.0 };

/// The class of a level's colour.
pub(super) fn colour(at: usize) -> &'static str {
    COLOURS[at.min(COLOURS.len() - 1)]
}

/// A figure drawn for a wide page and again for a narrow one, so that its letters are legible on both.
pub(super) fn wide_and_narrow(draw: impl Fn(Size) -> Plot) -> String {
    let sizes = [
        ("wide", Size { width: 900.0, height: 330.0, top: 40.0 }),
        ("narrow", Size { width: 380.0, height: 300.0, top: 40.0 }),
    ];
    sizes
        .map(|(class, size)| draw(size).finish(class, "A plot over time; its numbers are in summary.json"))
        .concat()
}

pub(super) fn stale_over_time(summary: &Summary, size: Size) -> Plot {
    let slices = summary.levels.iter().flat_map(|level| &level.timeline);
    let highest = slices.filter_map(|slice| slice.stale.rate).fold(0.0, f64::max);
    let y = shares("stale reads (%)", highest);
    let mut plot = over_time(summary, size, length(summary), y);
    for (at, level) in summary.levels.iter().enumerate() {
        for run in runs(&level.timeline, |slice| slice.stale.n > 0) {
            let upper = steps(run, summary, |slice| slice.stale.high);
            let lower = steps(run, summary, |slice| slice.stale.low);
            let outline: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
            plot.area(&outline, &format!("band {}", colour(at)));
        }
    }
    for (at, level) in summary.levels.iter().enumerate() {
        for run in runs(&level.timeline, |slice| slice.stale.n > 0) {
            let rates = steps(run, summary, |slice| slice.stale.rate.unwrap_or(0.0));
            plot.line(&rates, &format!("curve {}", colour(at)));
        }
    }
    number_steps(&mut plot, summary);
    plot
}

pub(super) fn latency_over_time(summary: &Summary, size: Size) -> Plot {
    let slices = || summary.levels.iter().flat_map(|level| &level.timeline);
    let longest = slices().filter_map(|slice| slice.p99_ms).fold(0.0, f64::max);
    let shortest = slices().filter_map(|slice| slice.p50_ms).fold(f64::INFINITY, f64::min);
    let (from, to) = decades(shortest, longest);
    let y = Axis { from, to, logarithmic: true, title: "latency (ms)", label: number_label };
    let mut plot = over_time(summary, size, length(summary), y);
    for (at, level) in summary.levels.iter().enumerate() {
        for run in runs(&level.timeline, |slice| slice.p50_ms.is_some()) {
            let median = steps(run, summary, |slice| slice.p50_ms.unwrap_or(0.0));
            let tail = steps(run, summary, |slice| slice.p99_ms.unwrap_or(0.0));
            plot.line(&median, &format!("curve dashed {}", colour(at)));
            plot.line(&tail, &format!("curve {}", colour(at)));
        }
    }
    number_steps(&mut plot, summary);
    plot
}

/// The keys whose owners differ, and at the foot a mark where exchanges changed something.
pub(super) fn divergence_over_time(summary: &Summary, size: Size) -> Plot {
    let divergence = &summary.divergence;
    let share = |differing: u64| differing as f64 / divergence.keys.max(1) as f64;
    let points = divergence.samples.iter().map(|it| (it.at_ms / 1000.0, share(it.differing)));
    let points: Vec<(f64, f64)> = points.collect();
    let highest = points.iter().map(|it| it.1).fold(0.0, f64::max);
    // Replicas that agree only after the load has ended are shown until they do.
    let end = points.last().map_or(0.0, |it| it.0).max(length(summary));
    let y = shares("keys that differ (%)", highest);
    let foot = y.to / 16.0;
    let mut plot = over_time(summary, size, end, y);
    let mut marks: Vec<f64> = summary.exchanges.iter().map(|it| it.at as f64 / 1e9).collect();
    marks.dedup_by(|next, kept| (*next - *kept) * size.width < end);
    for mark in marks {
        plot.line(&[(mark, 0.0), (mark, foot)], "mark c1");
    }
    plot.line(&points, "curve c2");
    number_steps(&mut plot, summary);
    plot
}

/// The share of keys agreed on by the time since the last heal.
pub(super) fn convergence(summary: &Summary, size: Size) -> Plot {
    let steps = &summary.convergence.steps;
    let end = steps.last().map_or(0.0, |step| step.after_ms).max(1.0);
    let title = "time since the last heal (ms)";
    let x = Axis { from: 0.0, to: end * 1.05, logarithmic: false, title, label: number_label };
    let y =
        Axis { from: 0.0, to: 1.0, logarithmic: false, title: "keys agreed on (%)", label: percent_label };
    let mut plot = Plot::new(size, x, y);
    // Each step holds until the next one, and the last to the edge.
    let ends = steps.iter().skip(1).map(|next| next.after_ms).chain([end * 1.05]);
    let line = |of: fn(&Rate) -> f64| -> Vec<(f64, f64)> {
        let corners = steps.iter().zip(ends.clone());
        corners.flat_map(|(step, end)| [(step.after_ms, of(&step.agreed)), (end, of(&step.agreed))]).collect()
    };
    let (lower, upper) = (line(|rate| rate.low), line(|rate| rate.high));
    let outline: Vec<_> = upper.into_iter().chain(lower.into_iter().rev()).collect();
    plot.area(&outline, "band c2");
    plot.line(&line(|rate| rate.rate.unwrap_or(0.0)), "curve c2");
    plot
}

/// An axis of shares from nothing to a round one a little above `highest`.
fn shares(title: &'static str, highest: f64) -> Axis {
    let highest = (highest * 1.1).clamp(0.01, 1.0);
    let step = round_step(highest / 4.0);
    let to = (step * libm::ceil(highest / step)).min(1.0);
    Axis { from: 0.0, to, logarithmic: false, title, label: percent_label }
}

/// The whole decades that hold two positive numbers.
fn decades(shortest: f64, longest: f64) -> (f64, f64) {
    let power = |value: f64, round: fn(f64) -> f64| libm::pow(10.0, round(libm::log10(value)));
    let from = if shortest.is_finite() { power(shortest.max(0.001), libm::floor) } else { 1.0 };
    (from, power(longest.max(0.001), libm::ceil).max(from * 10.0))
}

/// The run's length in seconds; one without operations has a little all the same.
fn length(summary: &Summary) -> f64 {
    (summary.duration_ms / 1000.0).max(0.001)
}

/// An empty plot over the time until `end`, in seconds, with the run's faults in the background.
fn over_time(summary: &Summary, size: Size, end: f64, y: Axis) -> Plot {
    let title = "time since the start (s)";
    let mut plot =
        Plot::new(size, Axis { from: 0.0, to: end, logarithmic: false, title, label: number_label }, y);
    for span in faults(summary, end) {
        plot.span(span.0, span.1, "fault");
    }
    plot
}

/// The stretches of time, in seconds, with faults in force.
fn faults(summary: &Summary, end: f64) -> Vec<(f64, f64)> {
    let mut spans: Vec<(f64, f64)> = Vec::new();
    let seconds = |at: u64| (at as f64 / 1e9).min(end);
    let ends = summary.events.iter().skip(1).map(|event| seconds(event.at)).chain([end]);
    for (event, until) in summary.events.iter().zip(ends).filter(|(event, _)| event.fault) {
        match spans.last_mut() {
            Some(last) if last.1 >= seconds(event.at) => last.1 = until,
            _ => spans.push((seconds(event.at), until)),
        }
    }
    spans
}

/// A line for each step of the scenario and its number above, on whichever row is free there; and the names of phases that
/// last long enough to be written out.
fn number_steps(plot: &mut Plot, summary: &Summary) {
    const ROWS: [f64; 2] = [10.0, 25.0];
    let end = summary.duration_ms / 1000.0;
    let mut free_from = [f64::NEG_INFINITY; ROWS.len()];
    for (at, event) in summary.events.iter().enumerate().take(NUMBERED_MAX) {
        let seconds = event.at as f64 / 1e9;
        plot.rule(seconds, "step");
        let number = (at + 1).to_string();
        let place = plot.x(seconds);
        let Some(row) = free_from.iter().position(|free| *free <= place - 8.0) else { continue };
        free_from[row] = place + number.len() as f64 * LETTER_WIDTH + 4.0;
        plot.text((place, ROWS[row] + 4.0), "number", &number);
        let begins = at == 0 || summary.events[at - 1].phase != event.phase;
        let next = summary.events[at + 1..].first().map_or(end, |next| next.at as f64 / 1e9);
        let (text, room) = (escape(&event.phase), plot.x(next) - place);
        let width = event.phase.chars().count() as f64 * LETTER_WIDTH;
        if begins && row == 0 && width + 30.0 < room {
            plot.text((place + 9.0, ROWS[0] + 4.0), "phase start", &text);
            free_from[0] = place + width + 20.0;
        }
    }
}

/// The longest runs of slices that have something to show.
fn runs(slices: &[Bucket], has: impl Fn(&Bucket) -> bool + Copy) -> impl Iterator<Item = &[Bucket]> {
    let parts = slices.chunk_by(move |left, right| has(left) && has(right));
    // A slice with nothing to show is a part of its own.
    parts.filter(move |part| part.iter().all(has))
}

/// A value per slice as a line of steps, each as wide as its slice.
fn steps(run: &[Bucket], summary: &Summary, value: impl Fn(&Bucket) -> f64) -> Vec<(f64, f64)> {
    let corners = run.iter().flat_map(|slice| {
        let (from, to) = (slice.at_ms / 1000.0, (slice.at_ms + summary.bucket_ms) / 1000.0);
        [(from, value(slice)), (to, value(slice))]
    });
    corners.collect()
}

pub(super) fn visibility(summary: &Summary, curve: impl Fn(&LevelMetrics) -> &Curve) -> String {
    let bins = || summary.levels.iter().flat_map(|level| &curve(level).bins);
    if bins().next().is_none() {
        return NOTHING.to_owned();
    }
    let (from, to) = decades(
        bins().map(|bin| bin.longest_ms).fold(f64::INFINITY, f64::min),
        bins().map(|bin| bin.longest_ms).fold(0.0, f64::max),
    );
    let lowest = bins().filter_map(|bin| bin.fresh.rate).fold(1.0, f64::min);
    let floor = [0.99, 0.95, 0.9, 0.8, 0.5].into_iter().find(|floor| *floor <= lowest - 0.002).unwrap_or(0.0);
    let x =
        Axis { from, to, logarithmic: true, title: "time since the last write (ms)", label: number_label };
    let y = Axis { from: floor, to: 1.0, logarithmic: false, title: "fresh reads (%)", label: percent_label };
    let mut plot = Plot::new(HALF, x, y);
    for (at, level) in summary.levels.iter().enumerate() {
        let class = colour(at);
        let bins = &curve(level).bins;
        for bin in bins {
            let rate = bin.fresh.rate.unwrap_or(0.0);
            plot.line(
                &[(bin.longest_ms, bin.fresh.low), (bin.longest_ms, bin.fresh.high)],
                &format!("whisker {class}"),
            );
            plot.dot((bin.longest_ms, rate), class);
        }
        let fit: Vec<_> = bins.iter().map(|bin| (bin.longest_ms, bin.fit)).collect();
        plot.line(&fit, &format!("curve {class}"));
    }
    plot.finish("half", "Fresh reads by the time since the last write; the numbers are in summary.json")
}

/// Curves predicted and measured without faults.
pub(super) fn predicted(summary: &Summary) -> String {
    let curves = || summary.predictions.reads.iter().filter(|reads| !reads.faults);
    let points = || curves().flat_map(|reads| &reads.curve);
    if points().next().is_none() {
        return NOTHING.to_owned();
    }
    let (from, to) = decades(
        points().map(|point| point.longest_ms).fold(f64::INFINITY, f64::min),
        points().map(|point| point.longest_ms).fold(0.0, f64::max),
    );
    let lowest =
        points().map(|point| point.predicted.min(point.fresh.rate.unwrap_or(1.0))).fold(1.0, f64::min);
    let floor = [0.99, 0.95, 0.9, 0.8, 0.5].into_iter().find(|floor| *floor <= lowest - 0.002).unwrap_or(0.0);
    let x =
        Axis { from, to, logarithmic: true, title: "time since the last write (ms)", label: number_label };
    let y = Axis { from: floor, to: 1.0, logarithmic: false, title: "fresh reads (%)", label: percent_label };
    let mut plot = Plot::new(HALF, x, y);
    for reads in curves() {
        let class = colour(summary.levels.iter().position(|it| it.level == reads.level).unwrap_or(0));
        let at = |of: fn(&Point) -> f64| reads.curve.iter().map(move |it| (it.longest_ms, of(it)));
        let band: Vec<_> = at(|it| it.fresh.high).chain(at(|it| it.fresh.low).rev()).collect();
        plot.area(&band, &format!("band {class}"));
        for point in at(|it| it.fresh.rate.unwrap_or(0.0)) {
            plot.dot(point, class);
        }
        plot.line(&at(|it| it.predicted).collect::<Vec<_>>(), &format!("curve dashed {class}"));
    }
    plot.finish("half", "Fresh reads, measured and predicted; the numbers are in summary.json")
}

/// What stands in place of a figure without data.
const NOTHING: &str = "<p class=\"nothing\">No read to show.</p>\n";

pub(super) fn missed(summary: &Summary) -> String {
    let shares = |level: &LevelMetrics| {
        let shares = level.k_staleness.exceeding.iter().copied();
        shares.take_while(|share| *share > 0.0).collect::<Vec<f64>>()
    };
    bars(summary, "acknowledged writes missed, more than", shares)
}

pub(super) fn siblings(summary: &Summary) -> String {
    let shares = |level: &LevelMetrics| {
        let reads = level.siblings.reads_by_count.iter();
        reads.map(|&reads| reads as f64 / level.reads.max(1) as f64).collect::<Vec<f64>>()
    };
    bars(summary, "values returned", shares)
}

/// Groups of bars, one group per number from 0 and one bar per level.
fn bars(summary: &Summary, title: &'static str, shares: impl Fn(&LevelMetrics) -> Vec<f64>) -> String {
    let shares: Vec<Vec<f64>> = summary.levels.iter().map(shares).collect();
    let groups = shares.iter().map(Vec::len).max().unwrap_or(0);
    if groups == 0 {
        return NOTHING.to_owned();
    }
    let highest = shares.iter().flatten().copied().fold(0.001, f64::max);
    let to = (highest * 1.12).min(1.08);
    let x = Axis { from: -0.5, to: groups as f64 - 0.5, logarithmic: false, title, label: whole_label };
    let y = Axis { from: 0.0, to, logarithmic: false, title: "reads (%)", label: percent_label };
    let mut plot = Plot::new(HALF, x, y);
    let group_width = plot.x(1.0) - plot.x(0.0);
    let bar_width = (group_width * 0.8 / shares.len() as f64).min(46.0);
    for (at, level) in shares.iter().enumerate() {
        for (group, &share) in level.iter().enumerate() {
            let middle = plot.x(group as f64) + (at as f64 - (shares.len() as f64 - 1.0) / 2.0) * bar_width;
            plot.bar((middle - bar_width / 2.0 + 1.0, middle + bar_width / 2.0 - 1.0), share, colour(at));
            let label = percent_digits(share);
            if label.len() as f64 * LETTER_WIDTH < bar_width + 4.0 {
                plot.text((middle, plot.y(share) - 5.0), "value", &label);
            }
        }
    }
    plot.finish("half", "Shares of reads as bars; the numbers are in summary.json")
}

fn percent_label(share: f64) -> String {
    number_label(libm::round(share * 1e8) / 1e6)
}

/// A number as short as it can be written.
fn number_label(value: f64) -> String {
    format!("{}", libm::round(value * 1e6) / 1e6)
}

/// Whole numbers; the places between them stay empty.
fn whole_label(value: f64) -> String {
    if (value - libm::round(value)).abs() < 1e-9 { format!("{value:.0}") } else { String::new() }
}
