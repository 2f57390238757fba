//! One small history, judged twice: by the check, and by the definitions. Says which metrics disagree.

use super::definitions::{Definitions, Proof};
use crate::check::{Metric, Model, Report, Settings, check};
use crate::history::{History, Operation};
use crate::ledger::Ledger;
use crate::metrics::{KStaleness, Rate, Verdict, Visibility, millis};
use std::collections::{BTreeMap, BTreeSet};

/// The metrics judged here, and whether they agree on a history.
pub(super) fn compare(history: &History, model: Model) -> BTreeMap<Metric, bool> {
    let report = check(&Ledger::of(history), &Settings::new(model));
    let proof = match model {
        Model::Siblings => Proof::Evidence,
        Model::Register => Proof::RealTime,
    };
    let defined = Definitions::new(&history.operations, proof);
    let reads: Vec<&Operation> = defined.reads().collect();
    let verdicts: Vec<Verdict> = reads.iter().map(|read| defined.verdict(read)).collect();
    let mut agree = BTreeMap::from([
        (Metric::Stale, stale(&report, &verdicts)),
        (Metric::KStaleness, k_staleness(&report, &verdicts)),
        (Metric::Age, ages(&report, &verdicts)),
        (Metric::TVisibility, visibility(&report, &verdicts)),
        (Metric::KtStaleness, kt(&report, &defined, &reads)),
        (Metric::Seed, {
            let stale = reads.iter().filter(|read| defined.is_stale_to_the_seed(read)).count();
            of_level(&report, |level| level.seed.as_ref().map(|it| it.rate), stale, reads.len())
        }),
        (Metric::Window, windows(&report, &defined, &history.operations)),
        (Metric::LostUpdate, lost(&report, &defined, history)),
        (Metric::UnwrittenValue, unwritten(&report, &defined, &reads)),
        (Metric::Siblings, siblings(&report, &reads)),
    ]);
    agree.extend(guarantees(&report, &defined, &reads));
    if model == Model::Siblings {
        let returned = Definitions::new(&history.operations, Proof::Returned);
        let count = |metric| report.anomalies.counts.get(&metric).copied().unwrap_or(0);
        let concurrent: u64 = reads.iter().map(|read| returned.false_siblings(read) as u64).sum();
        let dominated: u64 = reads.iter().map(|read| returned.silently_covered(read) as u64).sum();
        agree.insert(Metric::FalseConcurrency, count(Metric::FalseConcurrency) == concurrent);
        agree.insert(Metric::FalseDominance, count(Metric::FalseDominance) == dominated);
    }
    agree
}

/// Whether a rate of the only level is `count` of `n`.
fn of_level(
    report: &Report,
    rate: impl Fn(&crate::check::LevelReport) -> Option<Rate>,
    count: usize,
    n: usize,
) -> bool {
    match report.levels.first().and_then(rate) {
        Some(found) => (found.count, found.n) == (count as u64, n as u64),
        None => n == 0,
    }
}

fn stale(report: &Report, verdicts: &[Verdict]) -> bool {
    let count = |of: fn(&Verdict) -> bool| verdicts.iter().filter(|verdict| of(verdict)).count();
    let counts = [
        count(|it| it.acknowledged.missing > 0),
        count(|it| it.observed.missing > 0),
        count(|it| it.acknowledged.nothing_new),
        count(|it| it.observed.nothing_new),
    ];
    let Some(level) = report.levels.first() else { return verdicts.is_empty() };
    let sides = [&level.stale, &level.stale_lenient].into_iter().flatten();
    let found = sides.flat_map(|sides| [sides.acknowledged.rate.count, sides.observed.rate.count]);
    found.eq(counts.map(|count| count as u64))
}

fn k_staleness(report: &Report, verdicts: &[Verdict]) -> bool {
    let of = |number: fn(&Verdict) -> u64| {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for verdict in verdicts {
            *counts.entry(number(verdict)).or_default() += 1;
        }
        KStaleness::of(&counts)
    };
    let Some(level) = report.levels.first() else { return verdicts.is_empty() };
    let expected = [
        of(|it| it.acknowledged.missing),
        of(|it| it.observed.missing),
        of(|it| it.acknowledged.chain),
        of(|it| it.observed.chain),
    ];
    let sides = [&level.missed, &level.chain].into_iter().flatten();
    sides.flat_map(|sides| [&sides.acknowledged, &sides.observed]).eq(&expected)
}

fn ages(report: &Report, verdicts: &[Verdict]) -> bool {
    let of = |age: fn(&Verdict) -> Option<u64>| {
        let ages: Vec<u64> = verdicts.iter().filter_map(age).collect();
        (ages.len() as u64, ages.iter().max().map(|&age| millis(age)))
    };
    let Some(level) = report.levels.first() else { return verdicts.is_empty() };
    level.age.as_ref().is_some_and(|sides| {
        [&sides.acknowledged, &sides.observed].map(|ages| (ages.n, ages.max_ms))
            == [of(|it| it.acknowledged.age), of(|it| it.observed.age)]
    })
}

fn visibility(report: &Report, verdicts: &[Verdict]) -> bool {
    let Some(level) = report.levels.first() else { return verdicts.is_empty() };
    level.visibility.as_ref().is_some_and(|sides| sides.acknowledged == Visibility::of(verdicts))
}

fn kt(report: &Report, defined: &Definitions<'_>, reads: &[&Operation]) -> bool {
    let Some(level) = report.levels.first() else { return reads.is_empty() };
    let cells = level.kt.iter().flat_map(|sides| &sides.acknowledged);
    // These histories last microseconds: every time but 0 is out of reach.
    let at_once: BTreeMap<usize, Rate> =
        cells.filter(|cell| cell.t_ms == 0.0).map(|cell| (cell.k, cell.missed.rate)).collect();
    (1..=5).all(|k| {
        let of_k: Vec<bool> =
            reads.iter().filter_map(|read| defined.misses_last(read, k)).map(|(_, missed)| missed).collect();
        let missed = of_k.iter().filter(|missed| **missed).count() as u64;
        let found = at_once.get(&k).map_or((0, 0), |rate| (rate.count, rate.n));
        found == (missed, of_k.len() as u64)
    })
}

fn windows(report: &Report, defined: &Definitions<'_>, operations: &[Operation]) -> bool {
    let writes = operations.iter().filter(|op| defined.is_acknowledged(op));
    let mut windows: Vec<(u64, bool)> = writes.map(|write| defined.window(write)).collect();
    windows.sort_unstable();
    let Some(found) = &report.windows else { return false };
    let censored = windows.iter().filter(|(_, censored)| *censored).count() as u64;
    let longest = windows.last().map_or(0.0, |(length, _)| millis(*length));
    // The product that Kaplan and Meier's estimate is, over the writes at risk at each length.
    let closed_by = |share: f64| {
        let survival = |until: u64| -> f64 {
            let ends = windows.iter().filter(|(length, censored)| !censored && *length <= until);
            let lengths: BTreeSet<u64> = ends.map(|(length, _)| *length).collect();
            let factor = |length: &u64| {
                let at_risk = windows.iter().filter(|(other, _)| other >= length).count() as f64;
                let ended = windows.iter().filter(|it| **it == (*length, false)).count() as f64;
                1.0 - ended / at_risk
            };
            lengths.iter().map(factor).product()
        };
        let ends = windows.iter().filter(|(_, censored)| !censored).map(|(length, _)| *length);
        ends.into_iter().find(|&length| 1.0 - survival(length) >= share - 1e-12).map(millis)
    };
    (found.writes, found.censored) == (windows.len() as u64, censored)
        && found.longest_ms == longest
        && found.closed.iter().all(|closed| closed.after_ms == closed_by(closed.share))
}

fn lost(report: &Report, defined: &Definitions<'_>, history: &History) -> bool {
    let keys: BTreeSet<&str> = history.operations.iter().map(|op| op.key.as_str()).collect();
    let settled: Vec<(usize, BTreeSet<u64>)> = keys.into_iter().filter_map(|key| defined.lost(key)).collect();
    let due: usize = settled.iter().map(|(due, _)| due).sum();
    let lost: BTreeSet<u64> = settled.into_iter().flat_map(|(_, lost)| lost).collect();
    let rate = report.lost.map(|rate| (rate.count, rate.n));
    rate == Some((lost.len() as u64, due as u64)) && named(report, Metric::LostUpdate) == lost
}

fn unwritten(report: &Report, defined: &Definitions<'_>, reads: &[&Operation]) -> bool {
    let returned = reads.iter().filter(|read| defined.returns_unwritten(read));
    named(report, Metric::UnwrittenValue) == returned.map(|read| read.id).collect()
}

/// The operations that anomalies of a name are about.
pub(super) fn named(report: &Report, name: Metric) -> BTreeSet<u64> {
    let of_name = report.anomalies.listed.iter().filter(|anomaly| anomaly.name == name);
    of_name.filter_map(|anomaly| anomaly.operations.first().copied()).collect()
}

fn siblings(report: &Report, reads: &[&Operation]) -> bool {
    let mut expected: Vec<u64> = Vec::new();
    for read in reads {
        let values = read.returned.iter().filter(|version| version.value.is_some()).count().min(16);
        expected.resize(expected.len().max(values + 1), 0);
        expected[values] += 1;
    }
    let Some(level) = report.levels.first() else { return reads.is_empty() };
    level.siblings.as_ref().is_some_and(|siblings| siblings.reads_by_count == expected)
}

fn guarantees(report: &Report, defined: &Definitions<'_>, reads: &[&Operation]) -> Vec<(Metric, bool)> {
    let judged: [(Metric, Vec<bool>); 5] = [
        (
            Metric::MonotonicReads,
            reads.iter().filter_map(|read| defined.breaks_monotonic_reads(read)).collect(),
        ),
        (
            Metric::ReadYourWrites,
            reads.iter().filter_map(|read| defined.breaks_read_your_writes(read)).collect(),
        ),
        (Metric::MonotonicWrites, reads.iter().map(|read| defined.breaks_monotonic_writes(read)).collect()),
        (
            Metric::WritesFollowReads,
            reads.iter().map(|read| defined.breaks_writes_follow_reads(read)).collect(),
        ),
        (Metric::Causal, reads.iter().map(|read| defined.breaks_causality(read)).collect()),
    ];
    let agrees = |(metric, broken): (Metric, Vec<bool>)| {
        let count = broken.iter().filter(|it| **it).count();
        let rate = |level: &crate::check::LevelReport| level.guarantees.get(&metric).map(|it| it.rate);
        (metric, of_level(report, rate, count, broken.len()))
    };
    judged.into_iter().map(agrees).collect()
}
