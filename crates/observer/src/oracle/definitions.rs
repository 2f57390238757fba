//! The definitions, word by word: each is asked of all operations, and nothing is kept between two questions.

use super::store::Run;
use crate::history::{Clock, Dot, Kind, Operation, Outcome, Version};
use crate::metrics::{Judgement, Verdict};
use std::collections::BTreeSet;

mod sessions;

/// What counts as proof that an operation knew a write.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof<'a> {
    /// What clients were told.
    Evidence,
    /// What clients were told, but for contexts.
    Returned,
    /// What clients were told, of a register: it was not certainly written after what was returned.
    RealTime,
    /// What the store knows.
    Truth(&'a Run),
}

/// The operations of a history, all of them or one key's.
#[derive(Debug, Clone)]
pub(crate) struct Definitions<'a> {
    all: &'a [Operation],
    proof: Proof<'a>,
}

/// The write is there to be missed: who looks, and until when it was acknowledged.
type Op<'a> = &'a Operation;

impl<'a> Definitions<'a> {
    pub(crate) fn new(all: &'a [Operation], proof: Proof<'a>) -> Self {
        Self { all, proof }
    }

    fn of_key(&self, key: &'a str) -> impl Iterator<Item = Op<'a>> + use<'a> {
        self.all.iter().filter(move |op| op.key == key)
    }

    pub(crate) fn reads(&self) -> impl Iterator<Item = Op<'a>> + use<'a> {
        self.all.iter().filter(|op| op.is_answered_read())
    }

    fn dot(&self, write: Op<'a>) -> Option<Dot> {
        let mut returned =
            self.of_key(&write.key).filter(|op| op.is_answered_read()).flat_map(|read| &read.returned);
        let is_it = |v: &&Version| v.value.is_some() && v.value == write.value;
        match self.proof {
            Proof::Truth(run) => run.dots.get(&write.id).copied(),
            _ => write.dot.or_else(|| returned.find(is_it).map(|v| v.dot)),
        }
    }

    fn is_version(&self, write: Op<'a>, version: &Version) -> bool {
        match (write.kind, &version.value) {
            (Kind::Put, Some(value)) => write.value.as_ref() == Some(value),
            (Kind::Delete, None) => self.dot(write) == Some(version.dot),
            _ => false,
        }
    }

    pub(crate) fn returns(&self, read: Op<'a>, write: Op<'a>) -> bool {
        read.is_answered_read()
            && read.key == write.key
            && may_have_happened(write)
            && read.returned.iter().any(|version| self.is_version(write, version))
    }

    /// `write ⊑ operation`.
    pub(crate) fn knows(&self, operation: Op<'a>, write: Op<'a>) -> bool {
        match self.proof {
            Proof::Evidence | Proof::Returned => self.knows_by_evidence(operation, write),
            Proof::RealTime => !self.follows(write, operation),
            Proof::Truth(run) => {
                let seen = run.seen.get(&operation.id);
                operation.id == write.id
                    || run.dots.get(&write.id).is_some_and(|dot| seen.is_some_and(|seen| seen.contains(dot)))
            }
        }
    }

    fn knows_by_evidence(&self, operation: Op<'a>, write: Op<'a>) -> bool {
        if operation.is_write() {
            let basis = |id| self.of_key(&operation.key).find(|op| op.id == id && op.is_answered());
            return operation.id == write.id
                || operation.basis.and_then(basis).is_some_and(|basis| self.knows_by_evidence(basis, write));
        }
        let covers = |clock: &Clock| self.dot(write).is_some_and(|dot| clock.covers(dot));
        (matches!(self.proof, Proof::Evidence) && operation.seen.as_ref().is_some_and(covers))
            || self.writers(operation).any(|writer| self.knows_by_evidence(writer, write))
    }

    fn writers(&self, read: Op<'a>) -> impl Iterator<Item = Op<'a>> {
        self.of_key(&read.key).filter(move |write| write.is_write() && self.returns(read, write))
    }

    /// When a write was certainly over.
    fn settled(&self, write: Op<'a>) -> u64 {
        let reads = self.of_key(&write.key).filter(|read| self.returns(read, write));
        let end = write.done.filter(|_| write.is_answered());
        let over = reads.filter_map(|read| read.done).chain(end).min().unwrap_or(u64::MAX);
        // What was read before it was sent was over no sooner.
        over.max(write.sent)
    }

    /// Whether a write began only after all that an operation shows was certainly over.
    fn follows(&self, write: Op<'a>, operation: Op<'a>) -> bool {
        let over = if operation.is_write() {
            Some(self.settled(operation))
        } else {
            let values = operation.returned.iter().any(|version| version.value.is_some());
            let deletes = self.of_key(&operation.key).filter(|op| {
                !values && op.kind == Kind::Delete && may_have_happened(op) && Some(op.sent) < operation.done
            });
            self.writers(operation).chain(deletes).map(|shown| self.settled(shown)).max()
        };
        over.is_none_or(|over| over < write.sent)
    }

    pub(crate) fn is_recognizable(&self, write: Op<'a>) -> bool {
        matches!(self.proof, Proof::RealTime) || write.kind == Kind::Put || self.dot(write).is_some()
    }

    pub(crate) fn is_acknowledged(&self, write: Op<'a>) -> bool {
        write.is_acknowledged_write() && self.is_recognizable(write)
    }

    /// When a write entered `D`, by acknowledgement or by observation.
    pub(crate) fn entered(&self, write: Op<'a>, by_observation: bool) -> Option<u64> {
        if self.is_acknowledged(write) {
            return write.done;
        }
        let reads = self.of_key(&write.key).filter(|read| self.returns(read, write));
        let is_unknown = matches!(write.outcome, Outcome::Unknown { .. });
        reads.filter_map(|read| read.done).min().filter(|_| by_observation && is_unknown)
    }

    fn d(&self, read: Op<'a>, by_observation: bool) -> Vec<Op<'a>> {
        let writes = self.of_key(&read.key).filter(|op| op.is_write());
        writes
            .filter(|write| self.entered(write, by_observation).is_some_and(|end| end < read.sent))
            .collect()
    }

    fn precedes(&self, one: Op<'a>, other: Op<'a>) -> bool {
        match self.proof {
            Proof::RealTime => self.settled(one) < other.sent,
            _ => one.id != other.id && self.knows(other, one),
        }
    }

    fn chain_up_to(&self, top: Op<'a>, of: &[Op<'a>]) -> u64 {
        let before = of.iter().filter(|write| self.precedes(write, top));
        1 + before.map(|write| self.chain_up_to(write, of)).max().unwrap_or(0)
    }

    fn judge(&self, read: Op<'a>, by_observation: bool) -> Judgement {
        let d = self.d(read, by_observation);
        let missing: Vec<Op<'a>> = d.iter().copied().filter(|write| !self.knows(read, write)).collect();
        let chain = missing.iter().map(|write| self.chain_up_to(write, &missing)).max().unwrap_or(0);
        let entered = |write: &Op<'a>| self.entered(write, by_observation).unwrap_or(read.sent);
        let is_maximal = |w: &&Op<'a>| !d.iter().any(|other| self.precedes(w, other));
        let maximal: Vec<_> = d.iter().filter(is_maximal).collect();
        Judgement {
            missing: missing.len() as u64,
            chain,
            age: missing.iter().map(|write| read.sent - entered(write)).max(),
            nothing_new: !maximal.is_empty() && maximal.iter().all(|write| !self.knows(read, write)),
        }
    }

    pub(crate) fn verdict(&self, read: Op<'a>) -> Verdict {
        let ends = self.d(read, false).into_iter().filter_map(|write| write.done);
        let in_flight = |op: Op<'a>| {
            may_have_happened(op)
                && op.is_write()
                && read.done.is_none_or(|done| op.sent < done)
                && op.done.is_none_or(|done| done >= read.sent)
        };
        Verdict {
            operation: read.id,
            level: read.level,
            sent: read.sent,
            acknowledged: self.judge(read, false),
            observed: self.judge(read, true),
            since_write: ends.max().map(|last| read.sent - last),
            contended: self.of_key(&read.key).any(in_flight),
        }
    }

    /// Whether the last `k` writes to enter `D` are all missed, with the time since the first of them; none if there are
    /// fewer.
    pub(crate) fn misses_last(&self, read: Op<'a>, k: usize) -> Option<(u64, bool)> {
        let mut d: Vec<(u64, Op<'a>)> =
            self.d(read, false).into_iter().filter_map(|write| Some((write.done?, write))).collect();
        // Which of two that ended together was later is anybody's choice: then there is none to judge.
        d.sort_by_key(|&(end, write)| (end, write.id));
        let first = d.len().checked_sub(k)?;
        let last = &d[first..];
        Some((read.sent - last[0].0, last.iter().all(|(_, write)| !self.knows(read, write))))
    }

    /// Whether the seed would call a read stale.
    pub(crate) fn is_stale_to_the_seed(&self, read: Op<'a>) -> bool {
        let Some(last) = self.d(read, false).into_iter().max_by_key(|write| write.done) else { return false };
        let is_acceptable = |write: Op<'a>| {
            write.id == last.id || !write.is_answered() || write.done.is_none_or(|done| done >= last.sent)
        };
        if read.returned.iter().any(|version| version.value.is_some()) {
            return !self.writers(read).any(is_acceptable);
        }
        let mut deletes =
            self.of_key(&read.key).filter(|op| op.kind == Kind::Delete && may_have_happened(op));
        !deletes.any(is_acceptable)
    }

    /// How long after its end a write was missed, and whether it may have been for longer.
    pub(crate) fn window(&self, write: Op<'a>) -> (u64, bool) {
        let end = write.done.unwrap_or(0);
        let others = self.of_key(&write.key).filter(|op| op.is_write() && may_have_happened(op));
        let overwrites = others.filter(|other| match self.proof {
            Proof::RealTime => self.settled(write) < other.sent,
            _ => other.id != write.id && self.knows(other, write),
        });
        let until = overwrites.map(|other| other.sent).min().unwrap_or(u64::MAX);
        let reads = self.reads().filter(|read| read.key == write.key && end < read.sent && read.sent < until);
        let reads: Vec<Op<'a>> = reads.collect();
        let old = reads.iter().filter(|read| !self.knows(read, write)).map(|read| read.sent).max();
        let closed = reads.iter().any(|read| read.sent > old.unwrap_or(end));
        (old.map_or(0, |old| old - end), !closed)
    }

    /// Acknowledged writes of a key that was read after all writing to it had ended, the last two times to the same effect;
    /// and which of them no such read knows.
    pub(crate) fn lost(&self, key: &'a str) -> Option<(usize, BTreeSet<u64>)> {
        let writes: Vec<Op<'a>> =
            self.of_key(key).filter(|op| op.is_write() && may_have_happened(op)).collect();
        let quiet = writes.iter().map(|write| write.done.unwrap_or(u64::MAX)).max().unwrap_or(0);
        let late: Vec<Op<'a>> = self.reads().filter(|read| read.key == key && read.sent > quiet).collect();
        let mut in_order = late.clone();
        in_order.sort_by_key(|read| (read.sent, read.id));
        let dots = |read: Op<'a>| read.returned.iter().map(|version| version.dot).collect::<BTreeSet<Dot>>();
        let [.., one, other] = in_order.as_slice() else { return None };
        if dots(one) != dots(other) {
            return None;
        }
        let held = |write: Op<'a>| late.iter().any(|read| self.returns(read, write));
        let effective = writes.iter().filter(|delete| {
            delete.kind == Kind::Delete
                && !writes.iter().any(|held_one| {
                    held_one.id != delete.id && held(held_one) && self.knows(delete, held_one)
                })
        });
        let effective: Vec<Op<'a>> = effective.copied().collect();
        let is_kept = |write: Op<'a>| {
            late.iter().any(|read| self.knows(read, write))
                || effective.iter().any(|delete| self.knows(delete, write))
        };
        let due: Vec<Op<'a>> = writes.iter().copied().filter(|write| self.is_acknowledged(write)).collect();
        let lost = due.iter().filter(|write| !is_kept(write)).map(|write| write.id).collect();
        Some((due.len(), lost))
    }

    /// Pairs of returned versions of which the writer of one had been given the other.
    pub(crate) fn false_siblings(&self, read: Op<'a>) -> usize {
        let returned: Vec<Op<'a>> = self.writers(read).collect();
        let known =
            |new: &Op<'a>| returned.iter().filter(|old| old.id != new.id && self.knows(new, old)).count();
        returned.iter().map(known).sum()
    }

    /// Acknowledged puts that a read's context covers though no client was given a reason for that.
    pub(crate) fn silently_covered(&self, read: Op<'a>) -> usize {
        let Some(seen) = &read.seen else { return 0 };
        let values = read.returned.iter().filter(|version| version.value.is_some());
        if values.into_iter().any(|v| !self.writers(read).any(|write| write.value == v.value)) {
            return 0;
        }
        let puts = self.of_key(&read.key).filter(|op| op.kind == Kind::Put && op.is_acknowledged_write());
        let covered =
            puts.filter(|put| put.dot.is_some_and(|dot| seen.covers(dot)) && !self.knows(read, put));
        let is_deleted = |put: Op<'a>| {
            let deletes =
                self.of_key(&read.key).filter(|op| op.kind == Kind::Delete && may_have_happened(op));
            deletes.into_iter().any(|delete| self.knows(delete, put))
        };
        covered.filter(|put| !is_deleted(put)).count()
    }

    /// Whether a read returned a value that nobody had written by its end, or that was refused.
    pub(crate) fn returns_unwritten(&self, read: Op<'a>) -> bool {
        let values = read.returned.iter().filter(|version| version.value.is_some());
        let was_written = |version: &Version| {
            let mut writes = self.of_key(&read.key).filter(|op| op.is_write() && may_have_happened(op));
            writes.any(|write| self.is_version(write, version) && Some(write.sent) <= read.done)
        };
        values.into_iter().any(|version| !was_written(version))
    }
}

fn may_have_happened(operation: &Operation) -> bool {
    !matches!(operation.outcome, Outcome::Refused { .. })
}
