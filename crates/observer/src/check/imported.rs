//! Checks of imported logs: everything if the log is as plain as a history of our own, and otherwise what can be said of
//! registers whose values repeat, which is whether they are linearizable.

use super::anomaly::Anomaly;
use super::metric::Metric;
use super::register::{RegisterTally, time};
use super::{Report, Settings, check};
use crate::atomicity::search::Texts;
use crate::atomicity::{ABSENT, AFTER, Action, Call, Value};
use crate::import::{Act, Imported, ImportedCall};
use crate::ledger::Ledger;
use std::collections::BTreeMap;

/// Checks an imported log.
#[must_use]
pub fn check_imported(log: &Imported, settings: &Settings) -> Report {
    if let Some(history) = log.plain() {
        return check(&Ledger::of(&history), settings);
    }
    let only = settings.only.clone().unwrap_or_else(|| [Metric::Linearizability].into());
    let settings = Settings { only: Some(only), ..settings.clone() };
    let mut report = Report::new(&Ledger::default(), settings.model);
    report.count(log);
    let mut keys: BTreeMap<&str, Vec<&ImportedCall>> = BTreeMap::new();
    for call in &log.calls {
        keys.entry(&call.key).or_default().push(call);
    }
    report.keys = keys.len() as u64;
    report.is_plain = false;
    let mut tally = RegisterTally::default();
    for (key, calls) in keys {
        let mut numbers = Numbers::default();
        let calls: Vec<Call> = calls.into_iter().map(|call| numbers.call(call)).collect();
        let Some(shown) = tally.add(&calls, &mut numbers, &settings) else { continue };
        report.anomalies.add(Metric::Linearizability, || Anomaly {
            name: Metric::Linearizability,
            key: key.to_owned(),
            what: format!("no order of the calls explains the one of line {}", shown[0]),
            operations: shown,
        });
    }
    report.registers = tally.report(&settings);
    report
}

impl Report {
    fn count(&mut self, log: &Imported) {
        let count = |of: fn(&ImportedCall) -> bool| log.calls.iter().filter(|call| of(call)).count() as u64;
        self.operations = log.calls.len() as u64;
        self.reads = count(|call| matches!(call.act, Act::Read(_)));
        self.writes = self.operations - self.reads;
        self.unknown = count(|call| !call.is_answered);
        let sessions: std::collections::BTreeSet<u32> = log.calls.iter().map(|call| call.process).collect();
        self.sessions = sessions.len() as u64;
        let end = log.calls.iter().map(|call| call.end.unwrap_or(call.start)).max();
        self.duration_ms = crate::metrics::millis(end.unwrap_or(0));
    }
}

/// The values of one key by number.
#[derive(Debug, Default)]
struct Numbers {
    of: BTreeMap<String, Value>,
    texts: Vec<String>,
}

impl Numbers {
    fn number(&mut self, text: &str) -> Value {
        if let Some(&known) = self.of.get(text) {
            return known;
        }
        self.texts.push(text.to_owned());
        let number = Value::try_from(self.texts.len()).expect("a key has fewer than 2^32 values");
        self.of.insert(text.to_owned(), number);
        number
    }

    fn text(&self, value: Value) -> &str {
        if value == ABSENT { "" } else { &self.texts[value as usize - 1] }
    }

    fn call(&mut self, call: &ImportedCall) -> Call {
        let mut number = |text: &Option<String>| text.as_ref().map_or(ABSENT, |text| self.number(text));
        let action = match &call.act {
            Act::Read(value) => Action::Read(number(value)),
            Act::CompareAndSet(old, new) => {
                let old = number(old);
                Action::CompareAndSet(old, self.number(new))
            }
            Act::Write(value) => Action::Write(self.number(value)),
            Act::Append(text) => Action::Append(self.number(text)),
        };
        let end = call.end.filter(|_| call.is_answered).map_or(AFTER, time);
        Call { id: call.id, start: time(call.start), end, action }
    }
}

impl Texts for Numbers {
    fn concatenated(&mut self, first: Value, second: Value) -> Value {
        let text = [self.text(first), self.text(second)].concat();
        self.number(&text)
    }
}
