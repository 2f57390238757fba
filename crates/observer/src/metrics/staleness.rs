//! Judges each answered read: one sweep per key over time, holding the maximal elements of what is acknowledged. A key
//! with `n` operations costs `O(n log n + n·|F|·log n)` and, for a stale read, the number of writes it missed.

use super::order::{Evidence, Order};
use super::slots::{Slot, Slots};
use crate::history::{History, Level, Operation, Outcome};
use std::collections::BTreeMap;

/// What one answered read missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The read's operation id.
    pub operation: u64,
    /// Its level.
    pub level: Level,
    /// When it was sent, in nanoseconds.
    pub sent: u64,
    /// Judged against acknowledged writes.
    pub acknowledged: Judgement,
    /// Judged against acknowledged or observed writes.
    pub observed: Judgement,
    /// Nanoseconds from the end of the key's latest acknowledged write to this read; none if there was no write.
    pub since_write: Option<u64>,
    /// Whether a write of the key was in flight while the read was. A write of unknown outcome counts as in flight until
    /// its client gave up: longer, and one lost answer would take its key out of the curves for the rest of the run.
    pub contended: bool,
}

/// A read against one choice of `D`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Judgement {
    /// The size of `M`.
    pub missing: u64,
    /// Whether `D` is not empty and no maximal element of it is known to the read.
    pub nothing_new: bool,
}

/// Judges every answered read, in order of key and then of time sent.
#[must_use]
pub fn verdicts(history: &History) -> Vec<Verdict> {
    let keys = history.by_key().into_values();
    keys.flat_map(|operations| judge_key(&Order::new(operations, Evidence::ReturnedOrCovered))).collect()
}

fn judge_key(order: &Order<'_>) -> Vec<Verdict> {
    let mut reads: Vec<usize> =
        (0..order.operations().len()).filter(|&at| order.operations()[at].is_answered_read()).collect();
    reads.sort_by_key(|&at| (order.operations()[at].sent, order.operations()[at].id));

    let acknowledged = acknowledged_writes(order);
    let by_acknowledged = sweep(order, &reads, &acknowledged);
    let observed = observed_writes(order);
    let by_observed = if observed.is_empty() {
        by_acknowledged.clone()
    } else {
        let mut both = [acknowledged.clone(), observed].concat();
        both.sort_unstable();
        sweep(order, &reads, &both)
    };

    let flights = Flights::of(order);
    let judged = reads.iter().zip(by_acknowledged).zip(by_observed);
    judged
        .map(|((&at, acknowledged_judgement), observed)| {
            let read = order.operations()[at];
            let before = acknowledged.partition_point(|&(end, _)| end < read.sent);
            Verdict {
                operation: read.id,
                level: read.level,
                sent: read.sent,
                acknowledged: acknowledged_judgement,
                observed,
                since_write: before.checked_sub(1).map(|last| read.sent - acknowledged[last].0),
                contended: flights.overlap(read),
            }
        })
        .collect()
}

/// Acknowledged writes and when they became elements of `D`, ascending.
fn acknowledged_writes(order: &Order<'_>) -> Vec<(u64, Slot)> {
    let writes = order.writes().filter(|&(slot, write)| write.is_answered() && order.is_recognizable(slot));
    let mut ends: Vec<(u64, Slot)> = writes.filter_map(|(slot, write)| Some((write.done?, slot))).collect();
    ends.sort_unstable();
    ends
}

/// Writes of unknown outcome that a read returned, and when the first such read ended.
fn observed_writes(order: &Order<'_>) -> Vec<(u64, Slot)> {
    let mut first: BTreeMap<Slot, u64> = BTreeMap::new();
    for read in order.operations().iter().filter(|op| op.is_answered_read()) {
        for slot in read.returned.iter().filter_map(|version| order.slot_of(version)) {
            let ended = read.done.unwrap_or(u64::MAX);
            if matches!(order.write(slot).outcome, Outcome::Unknown { .. }) {
                first.entry(slot).and_modify(|earliest| *earliest = ended.min(*earliest)).or_insert(ended);
            }
        }
    }
    first.into_iter().map(|(slot, ended)| (ended, slot)).collect()
}

/// Judges the reads, ascending by time sent, against elements of `D`, ascending by the time they enter it.
fn sweep(order: &Order<'_>, reads: &[usize], elements: &[(u64, Slot)]) -> Vec<Judgement> {
    let mut elements = elements.iter().peekable();
    let mut frontier = Frontier::new(order);
    let judge = |&at: &usize| {
        let sent = order.operations()[at].sent;
        while let Some((_, slot)) = elements.next_if(|(end, _)| *end < sent) {
            frontier.insert(*slot);
        }
        frontier.judge(order.known(at))
    };
    reads.iter().map(judge).collect()
}

/// The elements of `D`, arranged so that the maximal ones are at hand and every other one hangs below one that knew it.
/// `M` is closed upwards, so all of it is found by walking down from the maximal elements a read does not know.
struct Frontier<'a> {
    order: &'a Order<'a>,
    maximal: Vec<Slot>,
    below: BTreeMap<Slot, Vec<Slot>>,
}

impl<'a> Frontier<'a> {
    fn new(order: &'a Order<'a>) -> Self {
        Self { order, maximal: Vec::new(), below: BTreeMap::new() }
    }

    fn insert(&mut self, slot: Slot) {
        let knows_it = |&other: &Slot| self.order.known_by(other).contains(slot);
        if let Some(&newer) = self.maximal.iter().find(|other| knows_it(other)) {
            self.below.entry(newer).or_default().push(slot);
            return;
        }
        let known = self.order.known_by(slot);
        let overwritten: Vec<Slot> = self.maximal.extract_if(.., |other| known.contains(*other)).collect();
        if !overwritten.is_empty() {
            self.below.insert(slot, overwritten);
        }
        self.maximal.push(slot);
    }

    fn judge(&self, known: &Slots) -> Judgement {
        let mut unknown: Vec<Slot> =
            self.maximal.iter().copied().filter(|&slot| !known.contains(slot)).collect();
        let nothing_new = !unknown.is_empty() && unknown.len() == self.maximal.len();
        let mut missing = 0;
        while let Some(slot) = unknown.pop() {
            missing += 1;
            unknown
                .extend(self.below.get(&slot).into_iter().flatten().filter(|slot| !known.contains(**slot)));
        }
        Judgement { missing, nothing_new }
    }
}

/// When the key's writes were in flight.
struct Flights {
    sent: Vec<u64>,
    done: Vec<u64>,
}

impl Flights {
    fn of(order: &Order<'_>) -> Self {
        let mut sent: Vec<u64> = order.writes().map(|(_, write)| write.sent).collect();
        let mut done: Vec<u64> = order.writes().map(|(_, write)| write.done.unwrap_or(u64::MAX)).collect();
        sent.sort_unstable();
        done.sort_unstable();
        Self { sent, done }
    }

    /// Whether any write began before the read ended and was not over before it began: those that began, less those that
    /// were over, as whatever was over had begun.
    fn overlap(&self, read: &Operation) -> bool {
        let began = self.sent.partition_point(|&sent| read.done.is_none_or(|done| sent < done));
        let over = self.done.partition_point(|&done| done < read.sent);
        began > over
    }
}
