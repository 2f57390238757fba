//! Which write knew which: the order of one key's writes as client evidence proves it. It reads recorded operations only;
//! what a store claims counts as evidence only if the caller says so.

use super::slots::{Slot, Slots};
use crate::history::{Clock, Dot, Kind, Operation, Outcome, Version};
use std::collections::BTreeMap;

/// What proves that a version was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// A client was given it, or a version whose writer was.
    Returned,
    /// That, or a context covered its dot: the store's own claim.
    ReturnedOrCovered,
    /// It was not certainly written after what was returned: a register overwrites what came before, so a version is missed
    /// only if its write began after the returned one's had ended, or had been read.
    RealTime,
}

/// The writes of one key that may have been applied, and what each operation on the key knew of them.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    operations: Vec<&'a Operation>,
    /// Every write that was not refused: those with a dot first, in dot order, so that a clock covers runs of slots. Where
    /// time is the evidence, in order of their beginnings, so that what is known is a run from the first slot on.
    writes: Vec<usize>,
    /// The dots of the first slots.
    dots: Vec<Dot>,
    by_value: BTreeMap<&'a str, Slot>,
    by_id: BTreeMap<u64, usize>,
    /// By slot: when the write was certainly over, as it had ended or a read had returned it.
    settled: Vec<u64>,
    /// Per operation. A write knows itself.
    known: Vec<Option<Slots>>,
    evidence: Evidence,
}

impl<'a> Order<'a> {
    /// Orders the operations of one key.
    pub(crate) fn new(operations: Vec<&'a Operation>, evidence: Evidence) -> Self {
        let learned = dots_of_values(&operations);
        let dot_of = |op: &Operation| op.dot.or_else(|| learned.get(op.value.as_deref()?).copied());
        let applied = |op: &Operation| op.is_write() && !matches!(op.outcome, Outcome::Refused { .. });

        let mut writes: Vec<usize> = (0..operations.len()).filter(|&at| applied(operations[at])).collect();
        let by_time = evidence == Evidence::RealTime;
        if by_time {
            writes.sort_by_key(|&at| (operations[at].sent, operations[at].id));
        } else {
            writes.sort_by_key(|&at| dot_of(operations[at]).map_or((true, None), |dot| (false, Some(dot))));
        }
        let dotted = writes.iter().filter(|_| !by_time);
        let dots = dotted.map_while(|&at| dot_of(operations[at])).collect();
        let by_value =
            (0..).zip(&writes).filter_map(|(slot, &at)| Some((operations[at].value.as_deref()?, slot)));
        let mut order = Self {
            dots,
            by_value: by_value.collect(),
            by_id: operations.iter().enumerate().map(|(at, op)| (op.id, at)).collect(),
            settled: Vec::new(),
            known: vec![None; operations.len()],
            operations,
            writes,
            evidence,
        };
        order.settled = order.settle();
        if by_time {
            order.close_by_time()
        } else {
            order.close()
        }
        order
    }

    /// The key's operations, as given.
    pub(crate) fn operations(&self) -> &[&'a Operation] {
        &self.operations
    }

    /// Each write that may have been applied.
    pub(crate) fn writes(&self) -> impl Iterator<Item = (Slot, &'a Operation)> {
        (0..).zip(self.writes.iter().map(|&at| self.operations[at]))
    }

    /// The write in a slot.
    pub(crate) fn write(&self, slot: Slot) -> &'a Operation {
        self.operations[self.writes[slot as usize]]
    }

    /// The place of the write in a slot among [`operations`](Self::operations).
    pub(crate) fn place(&self, slot: Slot) -> usize {
        self.writes[slot as usize]
    }

    /// The write that made a version: by its value, or for a tombstone by its dot.
    pub(crate) fn slot_of(&self, version: &Version) -> Option<Slot> {
        match &version.value {
            Some(value) => self.by_value.get(value.as_str()).copied(),
            None => self
                .slots_up_to_dot(version.dot, version.dot)
                .find(|&slot| self.write(slot).kind == Kind::Delete),
        }
    }

    /// Whether a client can recognize the write in what a read returns. A register whose value is absent shows a delete.
    pub(crate) fn is_recognizable(&self, slot: Slot) -> bool {
        self.is_by_time() || self.write(slot).kind == Kind::Put || (slot as usize) < self.dots.len()
    }

    /// Whether time is the evidence.
    pub(crate) fn is_by_time(&self) -> bool {
        self.evidence == Evidence::RealTime
    }

    /// When the write in a slot was certainly over.
    pub(crate) fn settled(&self, slot: Slot) -> u64 {
        self.settled[slot as usize]
    }

    /// When a read first ended that had returned the write in each slot.
    pub(crate) fn first_read(&self) -> Vec<Option<u64>> {
        let mut first: Vec<Option<u64>> = vec![None; self.writes.len()];
        for read in self.operations.iter().filter(|op| op.is_answered_read()) {
            for slot in read.returned.iter().filter_map(|version| self.slot_of(version)) {
                let at = &mut first[slot as usize];
                *at = Some(at.unwrap_or(u64::MAX).min(read.done.unwrap_or(u64::MAX)));
            }
        }
        first
    }

    /// What the operation at this place among [`operations`](Self::operations) knew.
    pub(crate) fn known(&self, at: usize) -> &Slots {
        self.known[at].as_ref().expect("`close` fills every place")
    }

    /// What the write in a slot knew, itself included.
    pub(crate) fn known_by(&self, slot: Slot) -> &Slots {
        self.known(self.writes[slot as usize])
    }

    fn settle(&self) -> Vec<u64> {
        let ended = |at: &usize| match self.operations[*at] {
            write if write.is_answered() => write.done.unwrap_or(u64::MAX),
            _ => u64::MAX,
        };
        let first = self.first_read();
        let over = self.writes.iter().map(ended).zip(first).map(|(end, read)| end.min(read.unwrap_or(end)));
        // What was read before it was sent (a history may say so) was over no sooner.
        over.zip(&self.writes).map(|(over, &at)| over.max(self.operations[at].sent)).collect()
    }

    /// Fills `known` where time is the evidence.
    fn close_by_time(&mut self) {
        let begun_by = |time: u64| -> Slots {
            let until = self.writes.partition_point(|&at| self.operations[at].sent <= time);
            Slots::union(vec![(0, Slot::try_from(until).expect("a key has fewer than 2^32 writes"))])
        };
        let deletes = self.writes().filter(|(_, write)| write.kind == Kind::Delete);
        let deletes: Vec<(Slot, u64)> = deletes.map(|(slot, write)| (slot, write.sent)).collect();
        let mut known: Vec<Option<Slots>> = self.operations.iter().map(|_| Some(Slots::default())).collect();
        for (slot, &at) in (0..).zip(&self.writes) {
            known[at] = Some(begun_by(self.settled(slot)));
        }
        for (at, read) in self.operations.iter().enumerate().filter(|(_, op)| op.is_answered_read()) {
            let returned = read.returned.iter().filter_map(|version| self.slot_of(version));
            let mut latest = returned.map(|slot| self.settled(slot)).max();
            if read.returned.iter().all(|version| version.value.is_none()) {
                let possible = deletes.iter().filter(|(_, sent)| read.done.is_none_or(|done| *sent < done));
                latest = latest.max(possible.map(|&(slot, _)| self.settled(slot)).max());
            }
            known[at] = Some(latest.map(begun_by).unwrap_or_default());
        }
        self.known = known;
    }

    /// Fills `known`, each operation after those it rests on. A recorded history has no circle; in a forged one the
    /// operation that closes it counts as knowing nothing there.
    fn close(&mut self) {
        let mut opened = vec![false; self.operations.len()];
        let slot_at: BTreeMap<usize, Slot> = self.writes.iter().copied().zip(0..).collect();
        for start in 0..self.operations.len() {
            let mut path = vec![start];
            while let Some(&at) = path.last() {
                if self.known[at].is_some() {
                    path.pop();
                } else if opened[at] {
                    self.known[at] = Some(self.knowledge(at, slot_at.get(&at).copied()));
                    path.pop();
                } else {
                    opened[at] = true;
                    path.extend(self.rests_on(at).filter(|&on| !opened[on]));
                }
            }
        }
    }

    /// The operations whose knowledge this one inherits: for a write, the one whose context it supplied; for a get, the
    /// writes of what it returned.
    fn rests_on(&self, at: usize) -> impl Iterator<Item = usize> {
        let operation = self.operations[at];
        let basis =
            operation.basis.filter(|_| operation.is_write()).and_then(|id| self.by_id.get(&id).copied());
        // Only an answer carries a context.
        let basis = basis.filter(|&on| self.operations[on].is_answered());
        let returned = operation.returned.iter().filter(|_| operation.is_answered_read());
        let writers = returned.filter_map(|version| self.slot_of(version));
        basis.into_iter().chain(writers.map(|slot| self.writes[slot as usize]))
    }

    fn knowledge(&self, at: usize, own: Option<Slot>) -> Slots {
        let mut ranges: Vec<(Slot, Slot)> = own.map(|slot| (slot, slot + 1)).into_iter().collect();
        for known in self.rests_on(at).filter_map(|on| self.known[on].as_ref()) {
            ranges.extend(known.ranges());
        }
        let operation = self.operations[at];
        if self.evidence == Evidence::ReturnedOrCovered && operation.is_answered_read() {
            ranges.extend(operation.seen.iter().flat_map(|clock| self.covered(clock)));
        }
        Slots::union(ranges)
    }

    /// The writes whose dots a clock covers.
    pub(crate) fn covered_by(&self, clock: &Clock) -> Slots {
        Slots::union(self.covered(clock).collect())
    }

    fn covered(&self, clock: &Clock) -> impl Iterator<Item = (Slot, Slot)> {
        let runs = clock.vv.iter().map(|&(actor, seq)| (Dot { actor, seq: 0 }, Dot { actor, seq }));
        let single = clock.dots.iter().map(|&dot| (dot, dot));
        runs.chain(single).map(|(from, to)| {
            let slots = self.slots_up_to_dot(from, to);
            (slots.start, slots.end)
        })
    }

    fn slots_up_to_dot(&self, from: Dot, to: Dot) -> std::ops::Range<Slot> {
        let before =
            |bound: usize| Slot::try_from(bound).expect("a key has fewer than 2^32 writes in one history");
        let start = self.dots.partition_point(|&dot| dot < from);
        let end = self.dots.partition_point(|&dot| dot <= to);
        before(start)..before(end)
    }
}

/// The dots of written values, as reads told them.
fn dots_of_values<'a>(operations: &[&'a Operation]) -> BTreeMap<&'a str, Dot> {
    let mut learned = BTreeMap::new();
    for operation in operations.iter().filter(|op| op.is_answered_read()) {
        for version in &operation.returned {
            if let Some(value) = &version.value {
                learned.entry(value.as_str()).or_insert(version.dot);
            }
        }
    }
    learned
}
