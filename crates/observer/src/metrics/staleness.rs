//! Judges each answered read: one sweep per key over time, holding the maximal elements of what is acknowledged. A key
//! with `n` operations costs `O(n log n + n·|F|·log n)` and, for a stale read, the number of writes it missed.

use super::chain::longest_chain;
use super::frontier::Frontier;
use super::order::Order;
use super::slots::Slot;
use crate::history::{Level, Operation, Outcome};

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
    /// The length of the longest chain in `M`, each write of it having known the one before.
    pub chain: u64,
    /// Nanoseconds from when the first element of `M` entered `D` to the read; none if nothing is missing.
    pub age: Option<u64>,
    /// Whether `D` is not empty and no maximal element of it is known to the read.
    pub nothing_new: bool,
}

/// Judges the reads of one key.
#[derive(Debug)]
pub(crate) struct Judge<'a> {
    order: &'a Order<'a>,
    /// The places of answered reads, by time sent.
    pub(crate) reads: Vec<usize>,
    /// The elements of `D` and when they enter it, ascending: acknowledged writes, at their end.
    pub(crate) acknowledged: Elements,
    /// As above, with each write of unknown outcome once a read that returned it has ended.
    pub(crate) observed: Elements,
}

/// Elements of `D` and when they enter it, ascending by that.
pub(crate) type Elements = Vec<(u64, Slot)>;

impl<'a> Judge<'a> {
    pub(crate) fn new(order: &'a Order<'a>) -> Self {
        let operations = order.operations();
        let mut reads: Vec<usize> =
            (0..operations.len()).filter(|&at| operations[at].is_answered_read()).collect();
        reads.sort_by_key(|&at| (operations[at].sent, operations[at].id));
        let acknowledged = acknowledged_writes(order);
        let mut observed = [acknowledged.clone(), observed_writes(order)].concat();
        observed.sort_unstable();
        Self { order, reads, acknowledged, observed }
    }

    /// What each answered read missed, by time sent.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        let order = self.order;
        let by_acknowledged = self.judgements(&self.acknowledged);
        let by_observed = if self.observed.len() == self.acknowledged.len() {
            by_acknowledged.clone()
        } else {
            self.judgements(&self.observed)
        };
        let flights = Flights::of(order);
        let judged = self.reads.iter().zip(by_acknowledged).zip(by_observed);
        judged
            .map(|((&at, acknowledged), observed)| {
                let read = order.operations()[at];
                let before = self.acknowledged.partition_point(|&(end, _)| end < read.sent);
                Verdict {
                    operation: read.id,
                    level: read.level,
                    sent: read.sent,
                    acknowledged,
                    observed,
                    since_write: before.checked_sub(1).map(|last| read.sent - self.acknowledged[last].0),
                    contended: flights.overlap(read),
                }
            })
            .collect()
    }

    fn judgements(&self, elements: &Elements) -> Vec<Judgement> {
        let mut entered = vec![0; self.order.writes().count()];
        for &(time, slot) in elements {
            entered[slot as usize] = time;
        }
        let mut judgements = Vec::with_capacity(self.reads.len());
        let reads = self.reads.iter().map(|&at| (self.order.operations()[at].sent, at));
        sweep(self.order, reads, elements, |at, missing, nothing_new| {
            let sent = self.order.operations()[at].sent;
            judgements.push(Judgement {
                missing: missing.len() as u64,
                chain: longest_chain(self.order, missing),
                age: missing.iter().map(|&slot| sent - entered[slot as usize]).max(),
                nothing_new,
            });
        });
        judgements
    }
}

/// Calls `judge` with the place of each read, the elements it misses among those that entered `D` before its time, and
/// whether it knows none of the maximal ones. Reads come ascending by their times.
pub(crate) fn sweep(
    order: &Order<'_>,
    reads: impl Iterator<Item = (u64, usize)>,
    elements: &Elements,
    mut judge: impl FnMut(usize, &[Slot], bool),
) {
    let mut elements = elements.iter().peekable();
    let mut frontier = Frontier::new(order);
    let mut missing = Vec::new();
    for (time, at) in reads {
        while let Some(&(entered, slot)) = elements.next_if(|(entered, _)| *entered < time) {
            frontier.insert(entered, slot);
        }
        let nothing_new = frontier.missing(order.known(at), &mut missing);
        judge(at, &missing, nothing_new);
    }
}

/// Acknowledged writes and when they became elements of `D`, ascending.
fn acknowledged_writes(order: &Order<'_>) -> Elements {
    let writes = order.writes().filter(|&(slot, write)| write.is_answered() && order.is_recognizable(slot));
    let mut ends: Elements = writes.filter_map(|(slot, write)| Some((write.done?, slot))).collect();
    ends.sort_unstable();
    ends
}

/// Writes of unknown outcome that a read returned, and when the first such read ended.
fn observed_writes(order: &Order<'_>) -> Elements {
    let first = order.first_read();
    let unknown = order.writes().filter(|(_, write)| matches!(write.outcome, Outcome::Unknown { .. }));
    unknown.filter_map(|(slot, _)| Some((first[slot as usize]?, slot))).collect()
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
