//! Whether reads tell the causal order that clients' own evidence proves: who supplied whose context. Refuses to guess: where
//! evidence is incomplete, nothing is reported.

use super::{FinalState, Invariant, Violation};
use crate::history::{Dot, Kind, Operation, Version};
use crate::ledger::Ledger;
use crate::metrics::{Evidence, Order, Slot};
use std::collections::{BTreeMap, BTreeSet};

/// Reads that returned two versions though the writer of one knew the other: it was given it, or a version whose writer
/// knew it, and so on back. The known one had been overwritten and should not have been returned.
///
/// A value met under two dots was written twice by some retry, and whoever knew one of them did not overwrite the other:
/// it is left out.
#[must_use]
pub fn false_concurrency(ledger: &Ledger) -> Vec<Violation> {
    let on_key = |(key, operations): (&str, Vec<Operation>)| {
        false_concurrency_on(key, &Order::new(operations.iter().collect(), Evidence::Returned))
    };
    ledger.by_key().flat_map(on_key).collect()
}

/// [`false_concurrency`] on one key.
pub(crate) fn false_concurrency_on(key: &str, order: &Order<'_>) -> Vec<Violation> {
    let once = named_once(order.operations());
    let reads = order.operations().iter().filter(|read| read.is_answered_read());
    reads.flat_map(|read| ordered_siblings(order, read, &once, key)).collect()
}

/// The values that are known under one dot only.
fn named_once<'a>(operations: &[&'a Operation]) -> BTreeSet<&'a str> {
    let mut dots: BTreeMap<&str, BTreeSet<Dot>> = BTreeMap::new();
    for operation in operations {
        let written = operation.value.as_deref().zip(operation.dot);
        let read = operation.returned.iter().filter_map(|it| Some((it.value.as_deref()?, it.dot)));
        for (value, dot) in written.into_iter().chain(read) {
            dots.entry(value).or_default().insert(dot);
        }
    }
    dots.into_iter().filter(|(_, dots)| dots.len() == 1).map(|(value, _)| value).collect()
}

fn ordered_siblings(order: &Order<'_>, read: &Operation, once: &BTreeSet<&str>, key: &str) -> Vec<Violation> {
    let is_clear = |version: &&Version| version.value.as_deref().is_none_or(|value| once.contains(value));
    let returned = read.returned.iter().filter(is_clear);
    let slots: BTreeSet<Slot> = returned.filter_map(|version| order.slot_of(version)).collect();
    let pairs = slots.iter().flat_map(|&old| slots.iter().map(move |&new| (old, new)));
    let ordered = pairs.filter(|&(old, new)| old != new && order.known_by(new).contains(old));
    ordered
        .map(|(old, new)| {
            let (old, new) = (order.write(old), order.write(new));
            let what = format!(
                "a get returned {} beside {}, whose writer knew it",
                named(old.value.as_deref()),
                named(new.value.as_deref())
            );
            violation(Invariant::FalseConcurrency, key, [read.id, old.id, new.id], what)
        })
        .collect()
}

/// Values that a replica holds at the end although the writer of an acknowledged write or delete knew them: they came back.
///
/// Retried values are left out as in [`false_concurrency`], and so are writers that no more than `disks_lost` members
/// acknowledged: what they wrote may have gone with exactly those disks.
#[must_use]
pub fn overwritten_yet_held(ledger: &Ledger, state: &FinalState, disks_lost: usize) -> Vec<Violation> {
    let keys = ledger.by_key();
    keys.flat_map(|(key, operations)| back_on_key(key, &operations, state, disks_lost)).collect()
}

fn back_on_key(key: &str, operations: &[Operation], state: &FinalState, disks_lost: usize) -> Vec<Violation> {
    let order = Order::new(operations.iter().collect(), Evidence::Returned);
    let once = named_once(order.operations());
    let is_clear = |version: &&&Version| version.value.as_deref().is_some_and(|value| once.contains(value));
    let held = state.held(key);
    let held: BTreeSet<Slot> =
        held.iter().filter(is_clear).filter_map(|version| order.slot_of(version)).collect();
    let outlives = |write: &Operation| write.replicas.len().max(1) > disks_lost;
    let due = order.writes().filter(|(_, write)| write.is_acknowledged_write() && outlives(write));
    let back = due
        .flat_map(|(new, _)| held.iter().copied().filter(move |&old| old != new).map(move |old| (old, new)));
    let back = back.filter(|&(old, new)| order.known_by(new).contains(old));
    let told = |(old, new): (Slot, Slot)| {
        let (old, new) = (order.write(old), order.write(new));
        let (value, by) = (named(old.value.as_deref()), named(new.value.as_deref()));
        let what = format!("{value} is held, although the writer of {by}, which was acknowledged, knew it");
        violation(Invariant::OverwrittenStaysGone, key, [old.id, new.id], what)
    };
    back.map(told).collect()
}

/// Acknowledged puts that a read's context covers though the read neither returned them nor any version whose writer, by
/// clients' evidence, knew them: whoever writes with that context overwrites what nobody overwrote.
///
/// A delete that knew the put explains its absence, whatever the delete's outcome and whether or not its tombstone was
/// returned.
#[must_use]
pub fn false_dominance(ledger: &Ledger) -> Vec<Violation> {
    let on_key = |(key, operations): (&str, Vec<Operation>)| {
        false_dominance_on(key, &Order::new(operations.iter().collect(), Evidence::Returned))
    };
    ledger.by_key().flat_map(on_key).collect()
}

/// [`false_dominance`] on one key.
pub(crate) fn false_dominance_on(key: &str, order: &Order<'_>) -> Vec<Violation> {
    let places = (0..order.operations().len()).filter(|&at| order.operations()[at].is_answered_read());
    places.flat_map(|at| silently_dropped(order, at, key)).collect()
}

fn silently_dropped(order: &Order<'_>, at: usize, key: &str) -> Vec<Violation> {
    let read = order.operations()[at];
    // What the writer of a value nobody wrote knew, nobody can say.
    let is_strange = |version: &Version| version.value.is_some() && order.slot_of(version).is_none();
    let Some(seen) = read.seen.as_ref().filter(|_| !read.returned.iter().any(is_strange)) else {
        return Vec::new();
    };
    let covered = order.covered_by(seen);
    let unexplained = covered.minus(order.known(at)).filter(|&slot| {
        let write = order.write(slot);
        // A dot that only reads told may be one of several.
        write.kind == Kind::Put && write.is_acknowledged_write() && write.dot.is_some()
    });
    let deleted = |slot: Slot| {
        let mut deletes = order.writes().filter(|(_, write)| write.kind == Kind::Delete);
        deletes.any(|(delete, _)| order.known_by(delete).contains(slot))
    };
    unexplained
        .filter(|&slot| !deleted(slot))
        .map(|slot| {
            let write = order.write(slot);
            let what = format!(
                "a get's context covers {}, which it did not return and no writer of what it returned knew",
                named(write.value.as_deref())
            );
            violation(Invariant::FalseDominance, key, [read.id, write.id], what)
        })
        .collect()
}

fn named(value: Option<&str>) -> &str {
    value.unwrap_or("a tombstone")
}

fn violation<const N: usize>(
    invariant: Invariant,
    key: &str,
    operations: [u64; N],
    what: String,
) -> Violation {
    Violation { invariant, key: key.to_owned(), operations: operations.to_vec(), what }
}

#[cfg(test)]
mod tests;
