//! The summary as one HTML page that needs nothing else: own SVG, no script, no address of anywhere. It shows what the
//! summary says and computes nothing of its own.

use crate::history::Event;
use crate::invariants::Violation;
use crate::metrics::Rate;
use crate::summary::Summary;
use crate::table::{ROWS, Row, interval, load, milliseconds, percent};

mod figures;
mod plot;

const STYLE: &str = include_str!("report/style.css");

/// The most steps of a scenario, and violations, that the page spells out.
const LISTED_MAX: usize = 200;

/// The page: the content of `report.html`.
#[must_use]
pub fn report(summary: &Summary) -> String {
    let title = summary.scenario.as_deref().unwrap_or("Experiment");
    let sections = [
        headline(summary),
        violations(&summary.violations),
        levels(summary),
        load_kept(summary),
        over_time(summary),
        visibility(summary),
        predictions(summary),
        distributions(summary),
        reproduce(summary),
        definitions(),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{title}: staleness report</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <header>\n<p class=\"kind\">Staleness report</p>\n<h1>{title}</h1>\n{facts}</header>\n<main>\n{sections}</main>\n\
         <footer><p>Written by {program}. Everything on this page is in <code>summary.json</code> beside it.</p></footer>\n\
         </body>\n</html>\n",
        title = escape(title),
        facts = facts(summary),
        sections = sections.concat(),
        program = escape(&summary.program),
    )
}

fn facts(summary: &Summary) -> String {
    let seed = summary.seed.map_or_else(|| "no seed".to_owned(), |seed| format!("seed {seed}"));
    format!(
        "<p class=\"facts\">{} operations in {} · {seed}</p>\n",
        grouped(summary.operations),
        milliseconds(Some(summary.duration_ms)),
    )
}

fn headline(summary: &Summary) -> String {
    let stale = summary.stale.widest();
    let lead = match stale.rate {
        Some(rate) => format!("{} of reads were stale", percent(Some(rate))),
        None => "No read was answered".to_owned(),
    };
    let by_level: Vec<String> = summary
        .levels
        .iter()
        .map(|level| format!("{} at <em>{}</em>", percent(level.stale.rate.rate), level.level))
        .collect();
    let agreed = match summary.converged_after_ms {
        Some(after) => (milliseconds(Some(after)), "from the last heal until all replicas agreed"),
        None => ("not seen".to_owned(), "all replicas agreeing after the last heal"),
    };
    let broken = match summary.violations.len() {
        0 => ("held".to_owned(), "every invariant checked"),
        broken => (grouped(broken as u64), "breaches of invariants"),
    };
    let cards = [
        (grouped(summary.unknown), "operations whose outcome the client never learned"),
        agreed,
        broken,
        (grouped(summary.errors), "operations refused"),
    ];
    let cards = cards.map(|(number, what)| format!("<div><dt>{what}</dt><dd>{number}</dd></div>\n"));
    format!(
        "<section>\n<p class=\"lead\">{lead}</p>\n<p class=\"under\">{}: {}. Any acknowledged write missing from a read \
         makes it stale, a missing sibling too.</p>\n<dl class=\"cards\">\n{}</dl>\n</section>\n",
        with_interval(&stale),
        by_level.join(", "),
        cards.concat(),
    )
}

/// A count of trials and the interval of its share, in words.
fn with_interval(rate: &Rate) -> String {
    let (count, n) = (grouped(rate.count), grouped(rate.n));
    format!("{count} of {n} answered reads, 95 % interval {}", typeset(&interval(rate)))
}

fn violations(violations: &[Violation]) -> String {
    if violations.is_empty() {
        return String::new();
    }
    let item = |violation: &Violation| {
        let operations = match violation.operations.as_slice() {
            [] => String::new(),
            ids => format!(" (operations {})", ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        };
        format!(
            "<li>Key <code>{}</code>: {}{operations}</li>\n",
            escape(&violation.key),
            escape(&violation.what)
        )
    };
    format!(
        "<section class=\"broken\">\n<h2>Invariants broken</h2>\n<ul>\n{}</ul>\n{}</section>\n",
        violations.iter().take(LISTED_MAX).map(item).collect::<String>(),
        and_more(violations.len()),
    )
}

fn and_more(count: usize) -> String {
    match count.checked_sub(LISTED_MAX) {
        None | Some(0) => String::new(),
        Some(more) => format!("<p>And {more} more, in <code>summary.json</code>.</p>\n"),
    }
}

fn levels(summary: &Summary) -> String {
    let head: String =
        summary.levels.iter().map(|level| format!("<th scope=\"col\">{}</th>", level.level)).collect();
    let row = |(name, cell): &Row| {
        let sub = if name.starts_with(' ') { " class=\"sub\"" } else { "" };
        let cells = summary.levels.iter().map(|level| {
            let text = cell.map(|cell| cell(level)).unwrap_or_default();
            format!("<td>{}</td>", typeset(&text))
        });
        format!("<tr{sub}><th scope=\"row\">{}</th>{}</tr>\n", name.trim(), cells.collect::<String>())
    };
    format!(
        "<section>\n<h2>By consistency level</h2>\n<div class=\"scroll\">\n<table>\n<thead><tr><td></td>{head}</tr></thead>\n\
         <tbody>\n{}</tbody>\n</table>\n</div>\n</section>\n",
        ROWS.iter().map(row).collect::<String>(),
    )
}

/// Whether the load was what was planned.
fn load_kept(summary: &Summary) -> String {
    let unsent = format!("{} operations not sent in time", summary.unsent);
    let lines = [unsent].into_iter().chain(load(&summary.load));
    let lines = lines.map(|line| format!("<li>{}</li>\n", escape(&line)));
    format!("<section>\n<h2>The load</h2>\n<ul>\n{}</ul>\n</section>\n", lines.collect::<String>())
}

fn over_time(summary: &Summary) -> String {
    let width = milliseconds(Some(summary.bucket_ms));
    let steps = summary.events.iter().take(LISTED_MAX).map(step).collect::<String>();
    let list = if steps.is_empty() {
        "<p>No faults were injected.</p>\n".to_owned()
    } else {
        format!("<ol class=\"steps\">\n{steps}</ol>\n{}", and_more(summary.events.len()))
    };
    format!(
        "<section>\n<h2>Over time</h2>\n{stale}{latency}{divergence}<h3>What the scenario did</h3>\n{list}</section>\n",
        stale = figure(
            &format!(
                "Stale reads among the reads sent in each {width}, with their 95 % intervals as bands. Shaded: faults in \
                 force. Numbered: the steps below."
            ),
            &legend(summary, &[]),
            &figures::wide_and_narrow(|size| figures::stale_over_time(summary, size)),
        ),
        latency = figure(
            &format!(
                "Latency of the operations sent in each {width}, counted from when the plan wanted them sent. One whose \
                 outcome stayed unknown counts as having taken the time limit."
            ),
            &legend(summary, &[("solid", "99 % quantile"), ("dashed", "median")]),
            &figures::wide_and_narrow(|size| figures::latency_over_time(summary, size)),
        ),
        divergence = divergence(summary) + &convergence(summary),
    )
}

/// How far replicas were apart, if that was looked at.
fn divergence(summary: &Summary) -> String {
    if summary.divergence.samples.is_empty() {
        return String::new();
    }
    let keys = summary.exchanges.iter().map(|it| it.keys).sum();
    let caption = format!(
        "Keys whose owners did not hold the same versions, of {}. One that is down holds what it had when it crashed. \
         Marked at the foot: exchanges of anti-entropy that changed what a member holds ({}, {} key states in all).",
        grouped(summary.divergence.keys),
        grouped(summary.exchanges.len() as u64),
        grouped(keys),
    );
    let legend = "<ul class=\"legend\"><li><i class=\"swatch c2\"></i>keys that differ</li>\
                  <li><i class=\"swatch c1\"></i>exchanges</li></ul>\n";
    figure(&caption, legend, &figures::wide_and_narrow(|size| figures::divergence_over_time(summary, size)))
}

/// How soon the owners of keys agreed, if that was looked at.
fn convergence(summary: &Summary) -> String {
    let convergence = &summary.convergence;
    let Some(last) = convergence.steps.last() else { return String::new() };
    let never = match convergence.keys - last.agreed.count {
        0 => "all of them in the end".to_owned(),
        never => format!("{} never were", grouped(never)),
    };
    let caption = format!(
        "Keys whose owners held the same versions for good, by the time since the last heal, of {} ({never}). From then on \
         nothing is written. The band is the 95 % interval of so many keys.",
        grouped(convergence.keys)
    );
    let legend = "<ul class=\"legend\"><li><i class=\"swatch c2\"></i>keys agreed on</li></ul>\n";
    figure(&caption, legend, &figures::wide_and_narrow(|size| figures::convergence(summary, size)))
}

fn step(event: &Event) -> String {
    format!(
        "<li><span class=\"at\">{}</span> <span class=\"phase\">{}</span> {}</li>\n",
        milliseconds(Some(event.at as f64 / 1e6)),
        escape(&event.phase),
        escape(&event.what),
    )
}

fn visibility(summary: &Summary) -> String {
    let legend = legend(summary, &[("points", "share of a bin, 95 % interval"), ("solid", "monotone fit")]);
    format!(
        "<section>\n<h2>How soon a write is visible</h2>\n<div class=\"pair\">\n{}{}</div>\n</section>\n",
        figure(
            "Fresh reads by the time since the key's last acknowledged write, no other write of the key being in flight.",
            &legend,
            &figures::visibility(summary, |level| &level.visibility.settled),
        ),
        figure(
            "The same with a write of the key in flight during the read: an overwrite cuts the wait short.",
            &legend,
            &figures::visibility(summary, |level| &level.visibility.contended),
        ),
    )
}

/// Predicted beside measured, if the delays inside the cluster are known.
fn predictions(summary: &Summary) -> String {
    let predictions = &summary.predictions;
    if predictions.reads.is_empty() {
        return String::new();
    }
    let left = &predictions.left_out;
    format!(
        "<section>\n<h2>Predicted from the delays</h2>\n{}<pre><code>{}</code></pre>\n\
         <p>The model (probabilistically bounded staleness) knows how long messages between members took, and no read \
         repair, hints, anti-entropy or failures. So reads during faults are scored apart, and {} reads with a write in flight, \
         {} before any write and {} that were not followed are not compared.</p>\n</section>\n",
        figure(
            "Fresh reads by the time since the key's last acknowledged write, no other write in flight and no fault in force: \
             measured, with 95 % intervals as bands, and predicted from how long the messages of such writes and reads took.",
            &legend(summary, &[("points", "measured"), ("dashed", "predicted")]),
            &figures::predicted(summary),
        ),
        escape(&predictions.in_short()),
        grouped(left.contended),
        grouped(left.before_any_write),
        grouped(left.not_followed),
    )
}

fn distributions(summary: &Summary) -> String {
    format!(
        "<section>\n<h2>How much was missed, how much was returned</h2>\n<div class=\"pair\">\n{}{}</div>\n</section>\n",
        figure(
            "Reads that missed more than so many acknowledged writes.",
            &legend(summary, &[]),
            &figures::missed(summary),
        ),
        figure(
            "Reads by the values they returned; two or more are siblings.",
            &legend(summary, &[]),
            &figures::siblings(summary),
        ),
    )
}

fn figure(caption: &str, legend: &str, svg: &str) -> String {
    format!("<figure>\n<figcaption>{caption}</figcaption>\n{legend}{svg}</figure>\n")
}

/// The colours of the levels, and what kinds of line mean.
fn legend(summary: &Summary, kinds: &[(&str, &str)]) -> String {
    let levels = summary.levels.iter().enumerate().map(|(at, level)| {
        format!("<li><i class=\"swatch {}\"></i>{}</li>", figures::colour(at), level.level)
    });
    let kinds = kinds.iter().map(|(kind, what)| format!("<li><i class=\"line {kind}\"></i>{what}</li>"));
    format!("<ul class=\"legend\">{}</ul>\n", levels.chain(kinds).collect::<String>())
}

fn reproduce(summary: &Summary) -> String {
    format!(
        "<section>\n<h2>To run this again</h2>\n<pre><code>{}</code></pre>\n<h3>Configuration</h3>\n\
         <pre><code>{}</code></pre>\n</section>\n",
        escape(&summary.command),
        escape(&format!("{:#}", summary.configuration)),
    )
}

fn definitions() -> String {
    let terms = [
        (
            "Stale read",
            "A read that neither returned nor knew to be overwritten some write acknowledged before the read was sent. \
             <em>Lenient</em>: it knew none of the newest such writes. <em>With observed writes</em>: a write of unknown outcome \
             counts too, once a read that returned it has ended.",
        ),
        (
            "Intervals",
            "95 % Wilson intervals of independent trials. Reads close in time on one key resemble each other, so take them for \
             the least uncertainty there is.",
        ),
        (
            "Fresh after",
            "The time since the last acknowledged write of a key from which the monotone fit promises so many fresh reads.",
        ),
        (
            "RMSE and noise floor",
            "The root mean square difference of the predicted and the measured points of a curve, and what it would be if the \
             prediction were the truth, because the reads of a point are few.",
        ),
        (
            "Steady",
            "No trend in the median latency nor in the operations answered over 20 windows of what was measured, by the test \
             of Mann and Kendall at 1 %.",
        ),
        (
            "Unknown",
            "The client got no answer in time. The operation may have been applied; it is never counted as failed.",
        ),
    ];
    let terms = terms.map(|(term, meaning)| format!("<dt>{term}</dt><dd>{meaning}</dd>\n"));
    format!(
        "<section>\n<h2>What the words mean</h2>\n<dl class=\"terms\">\n{}</dl>\n</section>\n",
        terms.concat()
    )
}

/// Text for HTML, inside elements and quoted attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// A cell of the plain table with the signs that print allows, and no place to break a line.
fn typeset(cell: &str) -> String {
    match cell.parse() {
        Ok(number) => grouped(number),
        Err(_not_whole) if cell == "-" => "–".to_owned(),
        Err(_not_whole) => cell
            .replace(" - ", "\u{2060}–\u{2060}")
            .replace(">= ", "≥ ")
            .replace(' ', "\u{a0}")
            .replace('<', "&lt;"),
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
