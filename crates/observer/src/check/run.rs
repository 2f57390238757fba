//! The course of a check: key by key, then once over all sessions, then names for what was found.

use super::anomaly::Anomaly;
use super::key::{Key, evidence};
use super::metric::Metric;
use super::reads::{K_MAX, ReadTally, SideOfRead, Sides, TENTHS};
use super::register::{NoTexts, RegisterTally, calls};
use super::sessions::{Breach, Sessions, Suspect, breaches};
use super::windows::{Window, Windows, windows};
use super::words::{Named, called, describe, listed};
use super::{Model, Report, Settings};
use crate::history::{Kind, Level, Operation};
use crate::invariants::{Violation, false_concurrency_on, false_dominance_on};
use crate::ledger::{Entry, Ledger};
use crate::metrics::{Evidence, Judge, Order, Place, Rate, Slot};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn run(ledger: &Ledger, settings: &Settings) -> Report {
    let mut run = Run::new(ledger, settings);
    for number in 0..ledger.keys() {
        run.check_key(number);
    }
    run.check_sessions();
    run.finish()
}

struct Run<'a> {
    ledger: &'a Ledger,
    settings: &'a Settings,
    sessions: Sessions<'a>,
    end: u64,
    report: Report,
    levels: BTreeMap<Level, ReadTally>,
    windows: Vec<Window>,
    lost: (u64, u64),
    /// Where the lost writes are in the ledger: a read that misses one is named for nothing else.
    lost_places: BTreeSet<u32>,
    registers: RegisterTally,
    /// Each read with each write it returned.
    returned: Vec<(u32, u32)>,
    suspects: Vec<Suspect>,
    named: Vec<Named>,
}

impl<'a> Run<'a> {
    fn new(ledger: &'a Ledger, settings: &'a Settings) -> Self {
        Self {
            ledger,
            settings,
            sessions: Sessions::new(ledger),
            end: ledger.end(),
            report: Report::new(ledger, settings.model),
            levels: BTreeMap::new(),
            windows: Vec::new(),
            lost: (0, 0),
            lost_places: BTreeSet::new(),
            registers: RegisterTally::default(),
            returned: Vec::new(),
            suspects: Vec::new(),
            named: Vec::new(),
        }
    }

    fn check_key(&mut self, number: usize) {
        let operations = self.ledger.operations(number);
        let order = Order::new(operations.iter().collect(), evidence(self.settings.model));
        let judge = Judge::new(&order);
        let key = Key::new(number, self.ledger.places(number), &order, &judge);

        let before = self.found();
        self.judge_reads(&key);
        self.own_session(&key);
        if self.settings.wants(Metric::Window) {
            self.windows.extend(windows(&order, &judge).into_iter().map(|(_, window)| window));
        }
        key.suspects(&self.sessions, &mut self.suspects);
        for &at in &judge.reads {
            let returned = key.returned(at);
            self.returned.extend(returned.into_iter().map(|slot| (key.place(at), key.place_of(slot))));
        }
        self.lost_updates(&key);
        self.unwritten_values(&key);
        if self.settings.model == Model::Siblings {
            self.causal_structure(number, &operations);
        }
        let is_explained = self.found() > before;
        self.as_register(&key, is_explained);
    }

    /// How many anomalies and named reads there are so far.
    fn found(&self) -> u64 {
        self.named.len() as u64 + self.report.anomalies.counts.values().sum::<u64>()
    }

    /// What each read missed, by acknowledged writes and by observed ones.
    fn judge_reads(&mut self, key: &Key<'_>) {
        let order = key.order;
        let verdicts = key.judge.verdicts();
        for (verdict, &at) in verdicts.iter().zip(&key.judge.reads) {
            let read = order.operations()[at];
            let side = |elements: &[(u64, Slot)], judgement| side_of_read(order, at, elements, judgement);
            let sides = Sides {
                acknowledged: side(&key.judge.acknowledged, verdict.acknowledged),
                observed: side(&key.judge.observed, verdict.observed),
            };
            let place = Place::new(key.number, read.sent, self.end);
            let tally = self.levels.entry(read.level).or_default();
            tally.add(place, verdict, &sides, is_stale_to_the_seed(key, at));
            let tenth = u128::from(read.sent) * TENTHS as u128 / (u128::from(self.end) + 1);
            let values = read.returned.iter().filter(|version| version.value.is_some()).count() as u64;
            tally.add_siblings(usize::try_from(tenth).unwrap_or(0).min(TENTHS - 1), values);

            if verdict.acknowledged.missing > 0 && self.settings.wants(Metric::Stale) {
                let before = key.judge.acknowledged.iter().take_while(|(end, _)| *end < read.sent);
                let missed: Vec<Slot> = before.map(|&(_, slot)| slot).collect();
                let missed: Vec<Slot> =
                    missed.into_iter().filter(|&slot| !order.known(at).contains(slot)).collect();
                if let Some(slot) = key.most_telling(&missed) {
                    self.name(Metric::Stale, key.place(at), key.place_of(slot), None);
                }
            }
        }
    }

    /// What a session may rely on within one key.
    fn own_session(&mut self, key: &Key<'_>) {
        for ((first, second), gone) in key.consecutive(&self.sessions) {
            self.guarantee(Metric::MonotonicReads, key.place(second), gone.is_some());
            if let Some(slot) = gone {
                let through = Some(key.place(first));
                self.name(Metric::MonotonicReads, key.place(second), key.place_of(slot), through);
            }
        }
        for (at, gone) in key.after_own_write(&self.sessions) {
            self.guarantee(Metric::ReadYourWrites, key.place(at), gone.is_some());
            if let Some(slot) = gone {
                self.name(Metric::ReadYourWrites, key.place(at), key.place_of(slot), None);
            }
        }
    }

    fn lost_updates(&mut self, key: &Key<'_>) {
        if !key.is_settled || !self.settings.wants(Metric::LostUpdate) {
            return;
        }
        self.lost_places.extend(key.lost.iter().map(|&slot| key.place_of(slot)));
        self.lost.0 += key.lost.len() as u64;
        self.lost.1 += key.judge.acknowledged.len() as u64;
        for &slot in &key.lost {
            let (write, read) = (key.order.write(slot), key.last_read);
            let read = read.map(|read| self.ledger.entries()[read as usize].id);
            self.report.anomalies.add(Metric::LostUpdate, || Anomaly {
                name: Metric::LostUpdate,
                key: self.ledger.key(key.number).to_owned(),
                operations: [write.id].into_iter().chain(read).collect(),
                what: format!(
                    "{} was acknowledged, and no get after the end of all writing to the key knows it{}",
                    called(write.kind, write.id),
                    read.map_or_else(String::new, |read| format!(", the last of them {read}"))
                ),
            });
        }
    }

    fn unwritten_values(&mut self, key: &Key<'_>) {
        if !self.settings.wants(Metric::UnwrittenValue) {
            return;
        }
        for (at, value) in key.unwritten() {
            let read = key.order.operations()[at];
            let writer = key.order.operations().iter().find(|op| op.value.as_ref() == Some(&value));
            self.report.anomalies.add(Metric::UnwrittenValue, || Anomaly {
                name: Metric::UnwrittenValue,
                key: self.ledger.key(key.number).to_owned(),
                operations: [read.id].into_iter().chain(writer.map(|writer| writer.id)).collect(),
                what: match writer {
                    None => format!("get {} returned {value}, which nobody wrote to the key", read.id),
                    Some(put) if put.sent > read.done.unwrap_or(0) => {
                        format!("get {} returned {value}, which put {} wrote only later", read.id, put.id)
                    }
                    Some(put) => {
                        format!("get {} returned {value} of put {}, which had been refused", read.id, put.id)
                    }
                },
            });
        }
    }

    /// Siblings that are none, and overwrites that nobody made.
    fn causal_structure(&mut self, number: usize, operations: &[Operation]) {
        let wanted =
            [Metric::FalseConcurrency, Metric::FalseDominance].map(|metric| self.settings.wants(metric));
        if wanted == [false, false] {
            return;
        }
        let key = self.ledger.key(number);
        let order = Order::new(operations.iter().collect(), Evidence::Returned);
        let found: [(Metric, Vec<Violation>); 2] = [
            (Metric::FalseConcurrency, false_concurrency_on(key, &order)),
            (Metric::FalseDominance, false_dominance_on(key, &order)),
        ];
        for (name, violations) in found.into_iter().filter(|(name, _)| self.settings.wants(*name)) {
            for Violation { key, operations, what, .. } in violations {
                self.report.anomalies.add(name, || Anomaly { name, key, operations, what });
            }
        }
    }

    /// A key with an anomaly that has a more telling name is no register's for that.
    fn as_register(&mut self, key: &Key<'_>, is_explained: bool) {
        let wanted = [Metric::Gamma, Metric::Delta, Metric::TwoAtomicity, Metric::Linearizability];
        if !wanted.iter().any(|&metric| self.settings.wants(metric)) {
            return;
        }
        let Some(calls) = calls(key.order) else { return self.registers.add_siblings() };
        let Some(shown) = self.registers.add(&calls, &mut NoTexts, self.settings) else { return };
        if !is_explained {
            self.report.anomalies.add(Metric::Linearizability, || Anomaly {
                name: Metric::Linearizability,
                key: self.ledger.key(key.number).to_owned(),
                what: format!("no order of the operations on the key explains {}", listed(&shown)),
                operations: shown,
            });
        }
    }

    /// What sessions may rely on across keys.
    fn check_sessions(&mut self) {
        self.returned.sort_unstable();
        self.returned.dedup();
        self.suspects.sort_by_key(|suspect| suspect.read);
        let found = breaches(self.ledger, &self.sessions, &self.returned, &self.suspects);
        self.report.causality_checked = found.causal.is_some();
        self.rule(Metric::MonotonicWrites, &found.monotonic_writes);
        self.rule(Metric::WritesFollowReads, &found.writes_follow_reads);
        if let Some(causal) = found.causal {
            self.rule(Metric::Causal, &causal);
        }
    }

    fn rule(&mut self, metric: Metric, breaches: &[Breach]) {
        let mut broken = breaches.iter().map(|breach| breach.read).collect::<Vec<_>>();
        broken.sort_unstable();
        let reads = (0..).zip(self.ledger.entries()).filter(|(_, entry)| entry.is_answered_read());
        for (place, _) in reads.collect::<Vec<(u32, &Entry)>>() {
            self.guarantee(metric, place, broken.binary_search(&place).is_ok());
        }
        for &Breach { read, write, through } in breaches {
            self.name(metric, read, write, through);
        }
    }

    fn guarantee(&mut self, metric: Metric, read: u32, broken: bool) {
        let entry = &self.ledger.entries()[read as usize];
        let place = Place::new(entry.key as usize, entry.sent, self.end);
        self.levels.entry(entry.level).or_default().add_guarantee(metric, place, broken);
    }

    fn name(&mut self, name: Metric, read: u32, write: u32, through: Option<u32>) {
        if self.settings.wants(name) {
            self.named.push(Named { read, name, write, through });
        }
    }

    fn finish(mut self) -> Report {
        self.named.retain(|named| !self.lost_places.contains(&named.write));
        self.named.sort_unstable();
        self.named.dedup_by_key(|named| named.read);
        for named in std::mem::take(&mut self.named) {
            let ledger = self.ledger;
            self.report.anomalies.add(named.name, || describe(ledger, named));
        }
        self.report.anomalies.sort();
        let settings = self.settings;
        let levels = self.levels.iter().filter(|(_, tally)| tally.has_reads());
        self.report.levels = levels.map(|(&level, tally)| tally.report(level, settings)).collect();
        self.report.windows = settings.wants(Metric::Window).then(|| Windows::of(self.windows));
        self.report.lost = settings.wants(Metric::LostUpdate).then(|| Rate::new(self.lost.0, self.lost.1));
        self.report.registers = self.registers.report(settings);
        self.report
    }
}

fn side_of_read(
    order: &Order<'_>,
    at: usize,
    elements: &[(u64, Slot)],
    judgement: crate::metrics::Judgement,
) -> SideOfRead {
    let sent = order.operations()[at].sent;
    let before = &elements[..elements.partition_point(|&(end, _)| end < sent)];
    let mut misses_all = true;
    let mut since = |&(end, slot): &(u64, Slot)| {
        misses_all &= !order.known(at).contains(slot);
        (sent - end, misses_all)
    };
    SideOfRead {
        judgement,
        since_write: before.last().map(|&(end, _)| sent - end),
        latest: before.iter().rev().take(K_MAX).map(&mut since).collect(),
    }
}

/// Whether the seed would have called a read stale: it returned neither the last write that was completed before it began,
/// nor one that was not finished when that began.
fn is_stale_to_the_seed(key: &Key<'_>, at: usize) -> bool {
    let order = key.order;
    let read = order.operations()[at];
    let before = key.judge.acknowledged.partition_point(|&(end, _)| end < read.sent);
    let Some(&(_, last)) = before.checked_sub(1).and_then(|last| key.judge.acknowledged.get(last)) else {
        return false;
    };
    let began = order.write(last).sent;
    let is_acceptable = |slot: Slot| {
        let write = order.write(slot);
        slot == last || !write.is_answered() || write.done.is_none_or(|done| done >= began)
    };
    let has_value = read.returned.iter().any(|version| version.value.is_some());
    if has_value {
        return !key.returned(at).into_iter().any(is_acceptable);
    }
    let mut deletes = order.writes().filter(|(_, write)| write.kind == Kind::Delete);
    !deletes.any(|(slot, _)| is_acceptable(slot))
}
