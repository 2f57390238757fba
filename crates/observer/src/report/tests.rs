//! The page stands alone, is well formed, and lets nothing of the run's text through as markup.

use super::{grouped, report};
use crate::history::Event;
use crate::invariants::{Invariant, Violation};
use crate::ledger::Ledger;
use crate::metrics::{Settings, measure};
use crate::summary::tests::small;
use crate::summary::{About, Convergence, Divergence, Summary};

/// Elements that have no end, in HTML.
const VOID: [&str; 1] = ["meta"];

/// The tags of a page, checked: every start has its end, in order, and every attribute is quoted.
fn tags(page: &str) -> Vec<String> {
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let body = page.strip_prefix("<!DOCTYPE html>").expect("a document type");
    for part in body.split('<').skip(1) {
        let (tag, text) = part.split_once('>').unwrap_or_else(|| panic!("an open tag: {part}"));
        assert!(!text.contains('>'), "a stray > after <{tag}>: {text}");
        assert_eq!(tag.matches('"').count() % 2, 0, "an open attribute: {tag}");
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).expect("a name").to_owned();
        if let Some(end) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(end), "an end without its start");
        } else if !tag.ends_with('/') {
            assert!(!VOID.contains(&name.as_str()));
            open.push(name.clone());
        }
        seen.push(name);
    }
    assert!(open.is_empty(), "still open: {open:?}");
    seen
}

fn without_style(page: &str) -> String {
    let (head, rest) = page.split_once("<style>").unwrap();
    head.to_owned()
        + "<style>"
        + rest.split_once("</style>").map(|(_, tail)| format!("</style>{tail}")).unwrap().as_str()
}

#[test]
fn it_is_well_formed_and_complete() {
    let page = without_style(&report(&small()));
    let seen = tags(&page);
    assert_eq!(
        seen.iter().filter(|tag| *tag == "svg").count(),
        2 * (4 * 2 + 1 + 2),
        "figures, starts and ends"
    );
    let spaced = page.replace('\u{a0}', " ");
    for expected in [
        "50.0 % of reads were stale",
        "1 of 2 answered reads, 95 % interval 9.4",
        "stale reads (%)",
        "latency (ms)",
        "keys that differ (%)",
        "(1, 1 key states in all)",
        "time since the start (s)",
        "fresh reads (%)",
        "values returned",
        "No read to show.",
        "seed 7",
        "812 ms",
    ] {
        assert!(spaced.contains(expected), "{expected}");
    }
}

#[test]
fn it_needs_nothing_from_anywhere() {
    let page = report(&small());
    for outside in ["http", "//", "src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn text_of_the_run_is_no_markup() {
    let mut summary = small();
    summary.violations = vec![Violation {
        invariant: Invariant::Converged,
        key: "<img onerror=\"x\">".to_owned(),
        operations: vec![1, 2],
        what: "</li><script>".to_owned(),
    }];
    let page = without_style(&report(&summary));
    let seen = tags(&page);
    assert!(!seen.iter().any(|tag| tag == "img" || tag == "script" || tag == "quick"));
    assert!(page.contains("&lt;img onerror=&quot;x&quot;&gt;") && page.contains("(operations 1, 2)"));
    assert!(page.contains("&lt;quick&gt;start") && page.contains("&amp;&amp; echo &lt;done&gt;"));
}

#[test]
fn faults_are_shaded_from_step_to_step() {
    let page = report(&small());
    // Three plots over time, each in two sizes, one stretch of faults, two steps.
    assert_eq!(page.matches("<rect class=\"fault\"").count(), 6);
    assert_eq!(page.matches("<polyline class=\"step\"").count(), 12);
    assert!(page.contains("<span class=\"phase\">split</span> split &lt;now&gt; &amp; &quot;here&quot;"));

    let mut long = small();
    let step = |at| Event { at, phase: "storm".to_owned(), what: "drop".to_owned(), fault: at % 2 == 0 };
    long.events = (0..300).map(step).collect();
    let page = report(&long);
    assert!(page.contains("And 100 more, in <code>summary.json</code>."));
    assert_eq!(page.matches("class=\"step\"").count(), 6 * 40, "beyond 40 steps are not numbered");
}

#[test]
fn slices_without_reads_have_no_rate() {
    // At level one, one slice of four has a read; two have a write only. Each plot is drawn in two sizes.
    let page = report(&small());
    assert_eq!(page.matches("class=\"band c0\"").count(), 2);
    assert_eq!(page.matches("class=\"curve dashed c0\"").count(), 2 * 2, "latency: one slice, then two");
}

#[test]
fn divergence_is_drawn_with_the_exchanges_at_its_foot() {
    let page = report(&small());
    assert_eq!(
        page.matches("<polyline class=\"curve c2\"").count(),
        2 * 2,
        "it and convergence, in two sizes"
    );
    assert_eq!(page.matches("<polyline class=\"mark c1\"").count(), 2, "one exchange");
    let page = report(&Summary { divergence: Divergence::default(), ..small() });
    assert!(!page.contains("keys that differ"), "nobody looked");
}

#[test]
fn keys_that_never_agreed_are_counted() {
    let page = report(&small());
    assert!(page.contains("since the last heal, of 8 (5 never were)"));
    let page = report(&Summary { convergence: Convergence::default(), ..small() });
    assert!(!page.contains("keys agreed on"), "nobody looked");
}

#[test]
fn a_run_without_operations_has_a_page() {
    let history = crate::history::History::default();
    let metrics = measure(&Ledger::of(&history), &Settings::default());
    let page = report(&Summary::new(&history, metrics, About::default()));
    tags(&without_style(&page));
    assert!(page.contains("No read was answered") && page.contains("No faults were injected."));
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
}

#[test]
fn thousands_are_apart() {
    let numbers = [0, 12, 123, 1234, 1_234_567].map(grouped);
    assert_eq!(numbers, ["0", "12", "123", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
}
