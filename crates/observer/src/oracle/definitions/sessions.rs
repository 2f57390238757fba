//! What sessions may rely on, by definition: the order of a session's operations, and who returned whose write.

use super::{Definitions, Op, may_have_happened};
use std::collections::BTreeSet;

impl<'a> Definitions<'a> {
    /// Whether one operation came before another in their session.
    fn before(&self, one: Op<'a>, other: Op<'a>) -> bool {
        one.session == other.session && (one.sent, one.id) < (other.sent, other.id)
    }

    pub(crate) fn breaks_monotonic_reads(&self, read: Op<'a>) -> Option<bool> {
        let earlier = self.reads().filter(|other| other.key == read.key && self.before(other, read));
        let last = earlier.max_by_key(|other| (other.sent, other.id))?;
        Some(self.writers(last).any(|write| !self.knows(read, write)))
    }

    pub(crate) fn breaks_read_your_writes(&self, read: Op<'a>) -> Option<bool> {
        let own = self.of_key(&read.key).filter(|op| self.is_acknowledged(op) && self.before(op, read));
        let own: Vec<Op<'a>> = own.collect();
        (!own.is_empty()).then(|| own.iter().any(|write| !self.knows(read, write)))
    }

    /// Whether the session of a read had, by its end, observed a write that its own session made after `earlier`.
    fn observed_later(&self, read: Op<'a>, earlier: Op<'a>) -> bool {
        let by_then = |other: Op<'a>| other.id == read.id || self.before(other, read);
        self.reads().filter(|&other| by_then(other)).any(|observer| {
            let mut later = self.all.iter().filter(|later| later.is_write() && self.before(earlier, later));
            later.any(|later| self.reads_from(observer, later))
        })
    }

    /// Whether a read returned a write, and after it was sent.
    fn reads_from(&self, read: Op<'a>, write: Op<'a>) -> bool {
        self.returns(read, write) && Some(write.sent) < read.done
    }

    fn missed(&self, read: Op<'a>) -> impl Iterator<Item = Op<'a>> {
        let writes = self.of_key(&read.key).filter(|op| op.is_write() && may_have_happened(op));
        writes.filter(move |write| !self.knows(read, write))
    }

    pub(crate) fn breaks_monotonic_writes(&self, read: Op<'a>) -> bool {
        self.missed(read).any(|write| self.is_acknowledged(write) && self.observed_later(read, write))
    }

    pub(crate) fn breaks_writes_follow_reads(&self, read: Op<'a>) -> bool {
        self.missed(read).any(|write| {
            self.reads().any(|other| self.reads_from(other, write) && self.observed_later(read, other))
        })
    }

    /// The ids of all operations in the causal past of one.
    fn past(&self, of: Op<'a>) -> BTreeSet<u64> {
        let mut past = BTreeSet::new();
        let mut next = vec![of];
        while let Some(operation) = next.pop() {
            let direct = self.all.iter().filter(|&other| {
                self.before(other, operation) || (other.is_write() && self.reads_from(operation, other))
            });
            next.extend(direct.filter(|other| past.insert(other.id)));
        }
        past
    }

    pub(crate) fn breaks_causality(&self, read: Op<'a>) -> bool {
        let past = self.past(read);
        self.missed(read).any(|write| {
            let by_others =
                self.reads().any(|other| past.contains(&other.id) && self.reads_from(other, write));
            (self.is_acknowledged(write) && past.contains(&write.id)) || by_others
        })
    }
}
