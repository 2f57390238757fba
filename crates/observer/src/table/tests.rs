//! The table lines up and says what the summary says.

use super::{interval, milliseconds, percent, table};
use crate::invariants::{Invariant, Violation};
use crate::metrics::Rate;
use crate::pacing::Load;
use crate::steady::{Steadiness, Verdict};
use crate::summary::tests::small;

#[test]
fn one_column_per_level() {
    let text = table(&small());
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(rows[0], ["one", "quorum"]);
    for expected in [
        ["operations", "3", "1"],
        ["unknown outcomes", "1", "0"],
        ["stale reads", "1", "0"],
        ["rate", "100.0 %", "0 %"],
        ["95 % interval", "20.7 - 100.0 %", "0 - 79.3 %"],
        ["99 %", "never", "8.00 ms"],
    ] {
        assert!(rows.iter().any(|row| *row == expected), "{expected:?} is missing in\n{text}");
    }
    assert!(text.contains("\nreplicas agreed 812 ms after the last heal (on half of the keys by -, on 99 % by -)\nno invariant broke\n"), "{text}");

    assert!(text.contains("\nowners differed in 8.33 % of keys on average, 25.0 % at most\n"), "{text}");
    assert!(rows.iter().any(|row| *row == ["frames", "3", "1024"]), "{text}");

    let ends: Vec<usize> = text.lines().take(2).map(str::len).collect();
    assert_eq!(ends[0], ends[1], "columns end alike:\n{text}");
}

#[test]
fn it_is_said_what_became_of_the_load() {
    let mut summary = small();
    let text = table(&summary);
    assert!(text.contains("\n40 operations sent late because their session still waited\n"), "{text}");
    assert!(
        text.contains(
            "\nTHE LOAD GENERATOR WAS THE BOTTLENECK: 3.0 % of operations were sent more than 2 ms after"
        ),
        "{text}"
    );
    assert!(!text.contains("measured") && crate::report::report(&summary).contains("THE LOAD GENERATOR"));

    let steadiness =
        Steadiness { verdict: Verdict::NotSteady, latency_z: Some(3.21), throughput_z: Some(-0.5) };
    summary.load = Load { measured_from_ms: 1500.0, steadiness, ..Load::default() };
    let text = table(&summary);
    assert!(
        text.contains(
            "\nmeasured from 1.50 s on\nwhat was measured was NOT STEADY (Mann-Kendall z 3.2 of latency, -0.5 of"
        ),
        "{text}"
    );
    assert!(!text.contains("BOTTLENECK"));
}

#[test]
fn what_broke_is_said() {
    let violation = Violation {
        invariant: Invariant::Converged,
        key: "k".to_owned(),
        operations: Vec::new(),
        what: "a hold v1; b hold nothing".to_owned(),
    };
    let mut summary = small();
    (summary.violations, summary.converged_after_ms) = (vec![violation; 12], None);
    let text = table(&summary);
    assert!(text.contains(
        "replicas were not seen to agree\nINVARIANTS BROKEN: 12\n  k: a hold v1; b hold nothing\n"
    ));
    assert_eq!(text.matches("a hold v1").count(), 10, "a few examples are enough");
}

#[test]
fn numbers_have_the_digits_they_need() {
    let shares = [0.0, 0.000_18, 0.0123, 0.5, 1.0].map(|share| percent(Some(share)));
    assert_eq!(shares, ["0 %", "0.018 %", "1.23 %", "50.0 %", "100.0 %"]);
    assert_eq!((percent(None).as_str(), interval(&Rate::new(0, 0)).as_str()), ("-", "-"));
    assert_eq!(interval(&Rate::new(2, 3000)), "0.018 - 0.24 %");
    let times = [0.0, 0.001, 0.123, 12.34, 456.7, 1234.5, 23_456.0].map(|time| milliseconds(Some(time)));
    assert_eq!(times, ["0 ms", "<0.01 ms", "0.12 ms", "12.3 ms", "457 ms", "1.23 s", "23.5 s"]);
}
