//! A history's keys as single registers: which behave as one, and how far the others are from it. Keys of siblings are no
//! registers; they are counted and left out.

use super::Settings;
use super::metric::Metric;
use crate::atomicity::search::{Found, Texts, search};
use crate::atomicity::{ABSENT, AFTER, Action, Call, Clusters, Time, Value};
use crate::history::{Kind, Outcome};
use crate::ledger::NEVER;
use crate::metrics::{Order, millis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How keys did as registers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Registers {
    /// Keys with any operation.
    pub keys: u64,
    /// Of these, the ones whose operations are those of a register: no read of them returned two values.
    pub registers: u64,
    /// Of those, the ones whose values were each written once, so that they have zones: they are what Γ, Δ and 2-atomicity
    /// are about. A key with deletes has none.
    pub zoned: u64,
    /// Γ: by how much operations would have to be longer.
    pub gamma: Option<Amounts>,
    /// Δ: by how much reads would have to begin earlier.
    pub delta: Option<Amounts>,
    /// Keys each of whose reads returned one of the last two writes.
    pub two_atomic: Option<u64>,
    /// Linearizable keys, those that are not, and those not decided within the budget.
    pub linearizable: Option<Linearizable>,
}

/// An amount over all zoned keys.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Amounts {
    /// Keys for which it is 0.
    pub none: u64,
    /// The median over the others, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The greatest, in milliseconds; without keys for which no amount is enough.
    pub max_ms: Option<f64>,
    /// Keys for which no amount is enough: a read ended before what it returned was written, or nobody wrote it.
    pub endless: u64,
}

/// Verdicts on keys.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Linearizable {
    /// Keys some order explains.
    pub yes: u64,
    /// Keys none does.
    pub no: u64,
    /// Keys for which the budget was spent first.
    pub unknown: u64,
}

/// Tallies over keys.
#[derive(Debug, Default)]
pub(crate) struct RegisterTally {
    found: Registers,
    gammas: Vec<Time>,
    deltas: Vec<Time>,
    two_atomic: u64,
    linearizable: Linearizable,
}

impl RegisterTally {
    /// Adds a key of siblings, which is left out.
    pub(crate) fn add_siblings(&mut self) {
        self.found.keys += 1;
    }

    /// Adds a key by its calls; names those that show that it is not linearizable.
    pub(crate) fn add(
        &mut self,
        calls: &[Call],
        texts: &mut impl Texts,
        settings: &Settings,
    ) -> Option<Vec<u64>> {
        self.found.keys += 1;
        self.found.registers += 1;
        let clusters = Clusters::of(calls).ok();
        if let Some(clusters) = &clusters {
            self.found.zoned += 1;
            let endless = clusters.unwritten().map(|_| AFTER);
            let by =
                |conflict: Option<crate::atomicity::Conflict>| conflict.map_or(0, |conflict| conflict.by);
            self.gammas.push(endless.unwrap_or_else(|| by(clusters.gamma())));
            self.deltas.push(endless.unwrap_or_else(|| by(clusters.delta())));
            self.two_atomic += u64::from(clusters.are_two_atomic());
        }
        if !settings.wants(Metric::Linearizability) {
            return None;
        }
        let (verdict, calls) = match clusters {
            // One key is linearizable exactly if it is atomic, and zones say so at once.
            Some(clusters) => match (clusters.unwritten(), clusters.gamma()) {
                (Some(read), _) => (Found::NotLinearizable(read), Some(vec![read])),
                (None, Some(conflict)) => (Found::NotLinearizable(conflict.calls[0]), Some(conflict.calls)),
                (None, None) => (Found::Linearizable, None),
            },
            None => match search(calls, texts, settings.budget) {
                Found::NotLinearizable(call) => (Found::NotLinearizable(call), Some(vec![call])),
                other => (other, None),
            },
        };
        *match verdict {
            Found::Linearizable => &mut self.linearizable.yes,
            Found::NotLinearizable(_) => &mut self.linearizable.no,
            Found::Unknown => &mut self.linearizable.unknown,
        } += 1;
        calls
    }

    pub(crate) fn report(mut self, settings: &Settings) -> Registers {
        let wants = |metric| settings.wants(metric);
        self.found.gamma = wants(Metric::Gamma).then(|| Amounts::of(self.gammas));
        self.found.delta = wants(Metric::Delta).then(|| Amounts::of(self.deltas));
        self.found.two_atomic = wants(Metric::TwoAtomicity).then_some(self.two_atomic);
        self.found.linearizable = wants(Metric::Linearizability).then_some(self.linearizable);
        self.found
    }
}

impl Amounts {
    fn of(mut amounts: Vec<Time>) -> Self {
        amounts.sort_unstable();
        let none = amounts.partition_point(|&amount| amount <= 0);
        let endless = amounts.len() - amounts.partition_point(|&amount| amount < AFTER);
        let some = &amounts[none..amounts.len() - endless];
        let in_ms = |amount: &Time| millis(amount.unsigned_abs());
        Self {
            none: none as u64,
            p50_ms: some.get(some.len().saturating_sub(1) / 2).map(in_ms),
            max_ms: some.last().map(in_ms),
            endless: endless as u64,
        }
    }
}

/// The calls on one key; none if a read returned two values.
pub(crate) fn calls(order: &Order<'_>) -> Option<Vec<Call>> {
    let mut numbers = Numbers::default();
    let calls = order.operations().iter().filter_map(|operation| {
        let action = match operation.kind {
            Kind::Get if !operation.is_answered_read() => return None,
            Kind::Get => {
                let mut values = operation.returned.iter().filter_map(|version| version.value.as_ref());
                let value = values.next();
                if values.next().is_some() {
                    return Some(None);
                }
                Action::Read(numbers.of(value))
            }
            Kind::Put | Kind::Delete if matches!(operation.outcome, Outcome::Refused { .. }) => return None,
            Kind::Put => Action::Write(numbers.of(operation.value.as_ref())),
            Kind::Delete => Action::Write(ABSENT),
        };
        let end = if operation.is_answered() { operation.done.unwrap_or(NEVER) } else { NEVER };
        Some(Some(Call { id: operation.id, start: time(operation.sent), end: time(end), action }))
    });
    calls.collect()
}

/// A key's values by number.
#[derive(Debug, Default)]
struct Numbers<'a>(BTreeMap<&'a str, Value>);

impl<'a> Numbers<'a> {
    fn of(&mut self, value: Option<&'a String>) -> Value {
        let next = Value::try_from(self.0.len() + 1).expect("a key has fewer than 2^32 values");
        value.map_or(ABSENT, |value| *self.0.entry(value).or_insert(next))
    }
}

/// Nanoseconds as a time of a call: 36 years are as good as never.
pub(crate) fn time(nanoseconds: u64) -> Time {
    Time::try_from(nanoseconds).map_or(AFTER, |time| time.min(AFTER))
}

/// Values of histories that never append.
#[derive(Debug)]
pub(crate) struct NoTexts;

impl Texts for NoTexts {
    fn concatenated(&mut self, _: Value, _: Value) -> Value {
        ABSENT
    }
}
