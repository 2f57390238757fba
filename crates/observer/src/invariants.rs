//! What must never be in a history, given what the replicas hold once the run is over and quiet. Each check is a function
//! that names what it found; it trusts clients and replicas' contents, and no clock of the store.

use crate::history::{Dot, Kind, Operation, Outcome, Version};
use crate::ledger::Ledger;
use crate::metrics::{Evidence, Order, Slots};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

mod causality;

pub use causality::{false_concurrency, false_dominance, overwritten_yet_held};
pub(crate) use causality::{false_concurrency_on, false_dominance_on};

/// What each replica holds of each key at the end: replica to key to versions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FinalState {
    /// By replica name. A replica that could not be asked is not here, and counts as holding nothing.
    pub replicas: BTreeMap<String, BTreeMap<String, BTreeSet<Version>>>,
}

/// The rules a history is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Invariant {
    /// An acknowledged write is held, or overwritten by one that knew it, or all its copies may have been on lost disks.
    AcknowledgedWriteKept,
    /// A value that is read or held was put on that key, and not refused.
    ValueWritten,
    /// All owners of a key hold the same versions.
    Converged,
    /// A dot names one value for ever.
    DotUnique,
    /// Every member believes every other alive.
    ViewComplete,
    /// Versions returned together did not know each other.
    FalseConcurrency,
    /// What an acknowledged write or delete knew is held by nobody.
    OverwrittenStaysGone,
    /// What a read's context covers was returned, or overwritten by one that knew it.
    FalseDominance,
    /// No member keeps a hint for one it believes alive.
    HintsDrained,
    /// A member's trees say what its records say.
    TreesHonest,
    /// Nothing of a member runs on once it has stopped.
    TasksEnded,
    /// No bounded queue of a member ever filled up.
    QueuesBounded,
}

/// One breach of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// The rule broken.
    pub invariant: Invariant,
    /// The key it was broken on.
    pub key: String,
    /// The operations involved, by id.
    pub operations: Vec<u64>,
    /// What happened, in a sentence.
    pub what: String,
}

impl FinalState {
    /// Every version of a key that any replica holds.
    fn held(&self, key: &str) -> BTreeSet<&Version> {
        self.replicas.values().filter_map(|keys| keys.get(key)).flatten().collect()
    }

    fn by_key(&self) -> BTreeMap<&str, Held<'_>> {
        let mut held: BTreeMap<&str, Held<'_>> = BTreeMap::new();
        for (replica, keys) in &self.replicas {
            for (key, versions) in keys {
                held.entry(key).or_default().extend(versions.iter().map(|it| (replica.as_str(), it)));
            }
        }
        held
    }
}

/// What replicas hold of one key: by replica, each version.
type Held<'a> = Vec<(&'a str, &'a Version)>;

/// Acknowledged writes that are neither held by any replica nor overwritten, step by step, by a write that is. A write
/// overwrites what the operation whose context it supplied had returned, and so on back.
///
/// A delete asks for absence, so it is kept as long as nothing it deleted is held, whether or not its tombstone still is;
/// and a delete of unknown outcome explains the absence of what it knew.
///
/// A write survives the loss of as many disks as it had further copies: with `disks_lost`, one that no more than so many
/// members acknowledged may have been on exactly those, and its absence says nothing.
#[must_use]
pub fn lost_acknowledged_writes(ledger: &Ledger, state: &FinalState, disks_lost: usize) -> Vec<Violation> {
    let keys = ledger.by_key();
    keys.flat_map(|(key, operations)| lost_on_key(key, &operations, state, disks_lost)).collect()
}

fn lost_on_key(key: &str, operations: &[Operation], state: &FinalState, disks_lost: usize) -> Vec<Violation> {
    let order = Order::new(operations.iter().collect(), Evidence::Returned);
    let held: BTreeSet<_> =
        state.held(key).into_iter().filter_map(|version| order.slot_of(version)).collect();
    let deletes = order.writes().filter(|(_, write)| write.kind == Kind::Delete).map(|(slot, _)| slot);
    // One whose tombstone is held knows that, so it is not among these; it is kept for being held.
    let effective = deletes.filter(|&slot| !held.iter().any(|&held| order.known_by(slot).contains(held)));
    let known = held.iter().copied().chain(effective).flat_map(|slot| order.known_by(slot).ranges());
    let kept = Slots::union(known.copied().collect());
    // An acknowledgement is one copy at least, whether or not its member is known.
    let outlives = |write: &Operation| write.replicas.len().max(1) > disks_lost;
    let due = order.writes().filter(|(_, write)| write.is_acknowledged_write() && outlives(write));
    let lost = due.filter(|&(slot, _)| !kept.contains(slot));
    lost.map(|(_, write)| violation_of_loss(key, write)).collect()
}

fn violation_of_loss(key: &str, write: &Operation) -> Violation {
    let what = match &write.value {
        Some(value) => format!(
            "{value} was acknowledged at {} and is neither held nor overwritten by a write that knew it",
            write.level
        ),
        None => format!("a delete was acknowledged at {}, and a value it deleted is held", write.level),
    };
    Violation {
        invariant: Invariant::AcknowledgedWriteKept,
        key: key.to_owned(),
        operations: vec![write.id],
        what,
    }
}

/// Values that a read returned or a replica holds though no put wrote them on that key, or the put was refused, or the read
/// had ended before the put was sent.
#[must_use]
pub fn values_nobody_wrote(ledger: &Ledger, state: &FinalState) -> Vec<Violation> {
    let mut held = state.by_key();
    let told = ledger.by_key().flat_map(|(key, operations)| {
        let held = held.remove(key).unwrap_or_default();
        strange_on_key(key, &operations, &held)
    });
    let mut strange: Vec<Violation> = told.collect();
    // What is left is of keys that nobody put anything on.
    strange.extend(held.into_iter().flat_map(|(key, held)| strange_on_key(key, &[], &held)));
    strange
}

fn strange_on_key(key: &str, operations: &[Operation], held: &[(&str, &Version)]) -> Vec<Violation> {
    let puts = operations.iter().filter(|op| op.kind == Kind::Put);
    let puts: BTreeMap<&str, &Operation> =
        puts.filter_map(|put| Some((put.value.as_deref()?, put))).collect();
    let check = |version: &Version, read: Option<&Operation>, by: &str| {
        let value = version.value.as_deref()?;
        let put = puts.get(value).copied();
        let fault = match put {
            None => "which no put wrote there",
            Some(put) if matches!(put.outcome, Outcome::Refused { .. }) => "whose put was refused",
            Some(put) if read.and_then(|read| read.done).is_some_and(|done| done < put.sent) => {
                "which was put only later"
            }
            Some(_) => return None,
        };
        let operations = read.into_iter().chain(put).map(|op| op.id).collect();
        let what = format!("{by} {value}, {fault}");
        Some(Violation { invariant: Invariant::ValueWritten, key: key.to_owned(), operations, what })
    };
    let reads = operations.iter().flat_map(|read| read.returned.iter().map(move |version| (read, version)));
    let read = reads.filter_map(|(read, version)| check(version, Some(read), "a get returned"));
    let held = held.iter().filter_map(|(replica, version)| check(version, None, &format!("{replica} holds")));
    read.chain(held).collect()
}

/// Keys whose owners do not all hold the same versions, for the owners given of each key. A key that only has tombstones
/// is as good as none: owners remove them each in their own time.
#[must_use]
pub fn not_converged(state: &FinalState, owners: &BTreeMap<String, Vec<String>>) -> Vec<Violation> {
    let nothing = BTreeSet::new();
    let violation = |(key, owners): (&String, &Vec<String>)| {
        let held =
            |owner: &String| state.replicas.get(owner).and_then(|keys| keys.get(key)).unwrap_or(&nothing);
        let held = |owner: &String| Some(held(owner)).filter(|it| !is_deleted(it)).unwrap_or(&nothing);
        let mut alike: BTreeMap<&BTreeSet<Version>, Vec<&str>> = BTreeMap::new();
        for owner in owners {
            alike.entry(held(owner)).or_default().push(owner);
        }
        let sets =
            alike.iter().map(|(versions, owners)| format!("{} hold {}", owners.join(", "), listed(versions)));
        (alike.len() > 1).then(|| Violation {
            invariant: Invariant::Converged,
            key: key.clone(),
            operations: Vec::new(),
            what: sets.collect::<Vec<_>>().join("; "),
        })
    };
    owners.iter().filter_map(violation).collect()
}

fn is_deleted(versions: &BTreeSet<Version>) -> bool {
    versions.iter().all(|version| version.value.is_none())
}

fn listed(versions: &BTreeSet<Version>) -> String {
    let names = versions.iter().map(|version| version.value.as_deref().unwrap_or("a tombstone"));
    if versions.is_empty() { "nothing".to_owned() } else { names.collect::<Vec<_>>().join(" and ") }
}

/// Dots that name two values (or a value and a tombstone, or values of two keys) among what puts were given, reads
/// returned and replicas hold. Sequence numbers count per partition, so `partition_of` says which partition a key is in.
#[must_use]
pub fn dots_naming_two_values<P: Ord>(
    ledger: &Ledger,
    state: &FinalState,
    partition_of: impl Fn(&str) -> P,
) -> Vec<Violation> {
    let held = state.by_key();
    let mut partitions: BTreeMap<P, BTreeMap<&str, Option<usize>>> = BTreeMap::new();
    let told = (0..ledger.keys()).map(|number| (ledger.key(number), Some(number)));
    for (key, number) in held.keys().map(|key| (*key, None)).chain(told) {
        partitions.entry(partition_of(key)).or_default().insert(key, number);
    }
    partitions.into_values().flat_map(|keys| doubles_among(ledger, &held, &keys)).collect()
}

/// [`dots_naming_two_values`] in one partition, of whose keys it takes the numbers they have in the ledger.
fn doubles_among(
    ledger: &Ledger,
    held: &BTreeMap<&str, Held<'_>>,
    keys: &BTreeMap<&str, Option<usize>>,
) -> Vec<Violation> {
    type Named<'a> = (&'a str, Option<String>);
    let mut named: BTreeMap<Dot, BTreeMap<Named<'_>, BTreeSet<u64>>> = BTreeMap::new();
    let mut name = |key, dot: Dot, value: &Option<String>, operation: Option<u64>| {
        named.entry(dot).or_default().entry((key, value.clone())).or_default().extend(operation);
    };
    for (&key, &number) in keys {
        for operation in number.map(|number| ledger.operations(number)).unwrap_or_default() {
            if let Some(dot) = operation.dot {
                name(key, dot, &operation.value, Some(operation.id));
            }
            for version in &operation.returned {
                name(key, version.dot, &version.value, Some(operation.id));
            }
        }
        for (_, version) in held.get(key).into_iter().flatten() {
            name(key, version.dot, &version.value, None);
        }
    }

    let twice = named.into_iter().filter(|(_, values)| values.len() > 1);
    twice
        .map(|(dot, values)| {
            let names = values
                .keys()
                .map(|(key, value)| format!("{} of {key}", value.as_deref().unwrap_or("a tombstone")));
            let names = names.collect::<Vec<_>>().join(" and ");
            Violation {
                invariant: Invariant::DotUnique,
                key: values.keys().next().map_or_else(String::new, |(key, _)| (*key).to_owned()),
                operations: values.into_values().flatten().collect::<BTreeSet<u64>>().into_iter().collect(),
                what: format!("dot ({}, {}) names {names}", dot.actor, dot.seq),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests;
