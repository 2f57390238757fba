//! What a history tells of the delays inside the cluster: operations with what passed between coordinator and replicas,
//! and reads with how long the last write of their key had been done. It sorts what may stand for what, and predicts
//! nothing.

use crate::history::{Event, History, Kind, Level, Operation};
use crate::ledger::Ledger;
use crate::metrics::{Evidence, Judge, Order, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// For how many of a key's last writes it is predicted whether a read misses them all.
pub const MISSED_MAX: usize = 5;

/// The operations of one or more histories with what passed inside the cluster, in numbers.
#[derive(Debug, Default)]
pub struct Witnessed {
    members: BTreeMap<String, u16>,
    groups: BTreeMap<Group, usize>,
    pub(super) pools: Vec<Pool>,
    pub(super) measured: Vec<Measured>,
    pub(super) left_out: LeftOut,
    delays: [Mean; 4],
}

/// Operations that may stand for each other: of one kind and level, through one member, to the same replicas.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Group {
    /// Whether a fault was in force while they ran. Those are scored apart: the model has none.
    pub(super) faults: bool,
    pub(super) is_write: bool,
    pub(super) level: Level,
    /// The member that was asked.
    node: u16,
    /// The replica that gave a write its version; of a read, the member that was asked.
    coordinator: u16,
    replicas: Vec<u16>,
}

/// The operations of one group.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) group: Group,
    pub(super) operations: Vec<Passed>,
}

/// What passed for one operation. Times are nanoseconds.
#[derive(Debug)]
pub(super) struct Passed {
    /// From sent to done.
    pub(super) took: i64,
    /// What of that was before the first request to a replica left, and after the last answer needed was heard.
    pub(super) around: i64,
    /// How many answers it needed.
    pub(super) needed: usize,
    /// Whether it was sent when all that is measured was.
    pub(super) is_measured: bool,
    /// The replicas in the order in which they were heard.
    pub(super) replicas: Box<[Reached]>,
}

/// One replica's part in an operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reached {
    pub(super) replica: u16,
    /// When it had served: since a write was done, or since a read was sent. None if it never had.
    pub(super) served: Option<i64>,
    /// From the first request of the operation until its answer was heard.
    pub(super) round: Option<i64>,
}

/// A read that the model speaks of.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) faults: bool,
    pub(super) level: Level,
    /// The key's last write, and the read.
    pub(super) write: Place,
    pub(super) read: Place,
    /// Nanoseconds since each of the key's last writes was done, the latest first; as many as there were.
    pub(super) since: [Option<i64>; MISSED_MAX],
    /// How many of the key's acknowledged writes it missed.
    pub(super) missing: u64,
}

/// Where an operation is: its pool and its number there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) pool: usize,
    pub(super) at: usize,
}

/// Answered reads that are compared with no prediction, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// No write of the key had been acknowledged yet.
    pub before_any_write: u64,
    /// A write of the key was in flight.
    pub contended: u64,
    /// It, or the write before it, was not followed inside the cluster.
    pub not_followed: u64,
}

/// A sum that becomes a mean.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    n: u64,
}

impl Witnessed {
    /// Adds the operations of a history. What was sent before its `measured_from` counts nowhere, and may stand for others.
    pub fn take(&mut self, history: &History) {
        let (faults, from) = (Faults::of(&history.events), history.measured_from);
        let mut places = BTreeMap::new();
        for operation in history.operations.iter().filter(|it| it.is_answered() && it.done.is_some()) {
            if let Some(place) = self.add(operation, &faults, from) {
                places.insert(operation.id, place);
            }
        }
        let writes = acknowledged_writes(history);
        for (key, operations) in Ledger::of(history).by_key() {
            let order = Order::new(operations.iter().collect(), Evidence::ReturnedOrCovered);
            let before = writes.get(key).map_or(&[][..], Vec::as_slice);
            for verdict in Judge::new(&order).verdicts().into_iter().filter(|verdict| verdict.sent >= from) {
                self.measure(&verdict, before, &places);
            }
        }
    }

    /// The means of the four delays between a coordinator and other members while no fault was in force, in milliseconds: of
    /// a write's way there and back, and of a read's.
    #[must_use]
    pub fn mean_delays_ms(&self) -> [Option<f64>; 4] {
        self.delays.map(|Mean { sum, n }| (n > 0).then(|| sum / n as f64 / 1e6))
    }

    pub(super) fn passed(&self, Place { pool, at }: Place) -> &Passed {
        &self.pools[pool].operations[at]
    }

    fn add(&mut self, operation: &Operation, faults: &Faults, from: u64) -> Option<Place> {
        let passed = self.passed_of(operation, from)?;
        let last = operation.legs.iter().filter_map(|leg| leg.heard.max(leg.served)).max();
        let is_here = operation.legs.iter().any(|leg| leg.replica == operation.node);
        let coordinator = if is_here || operation.kind == Kind::Get {
            &operation.node
        } else {
            // It was forwarded, and no message is as fast as none.
            let ways = operation.legs.iter().filter_map(|leg| Some((leg.served? - leg.asked, leg)));
            &ways.min_by_key(|(way, _)| *way)?.1.replica
        };
        let mut replicas: Vec<u16> = passed.replicas.iter().map(|it| it.replica).collect();
        replicas.sort_unstable();
        let coordinator = self.member(coordinator);
        let group = Group {
            faults: faults.within(operation.sent, operation.done.max(last.filter(|_| operation.is_write()))?),
            is_write: operation.is_write(),
            level: operation.level,
            node: self.member(&operation.node),
            coordinator,
            replicas,
        };
        if !group.faults {
            self.add_delays(operation, coordinator);
        }
        let pools = &mut self.pools;
        let pool = *self.groups.entry(group).or_insert_with_key(|group| {
            pools.push(Pool { group: group.clone(), operations: Vec::new() });
            pools.len() - 1
        });
        let operations = &mut pools[pool].operations;
        operations.push(passed);
        Some(Place { pool, at: operations.len() - 1 })
    }

    /// None if the history does not say whose answers an operation was made of.
    fn passed_of(&mut self, operation: &Operation, from: u64) -> Option<Passed> {
        let done = operation.done?;
        let first_asked = operation.legs.iter().map(|leg| leg.asked).min()?;
        let needed = match operation.kind {
            Kind::Get if !operation.replicas.is_empty() => operation.replicas.len(),
            _ => needed(operation.level, operation.legs.len()),
        };
        let last_needed = operation.legs.get(needed.checked_sub(1)?)?.heard?;
        let since = if operation.is_write() { done } else { operation.sent };
        let replicas = operation.legs.iter().map(|leg| Reached {
            replica: self.member(&leg.replica),
            served: leg.served.map(|served| difference(served, since)),
            round: leg.heard.map(|heard| difference(heard, first_asked)),
        });
        Some(Passed {
            took: difference(done, operation.sent),
            around: difference(first_asked, operation.sent) + difference(done, last_needed),
            needed,
            is_measured: operation.sent >= from,
            replicas: replicas.collect(),
        })
    }

    fn add_delays(&mut self, operation: &Operation, coordinator: u16) {
        let (there, back) = if operation.is_write() { (0, 1) } else { (2, 3) };
        for leg in &operation.legs {
            if self.member(&leg.replica) == coordinator {
                continue;
            }
            if let Some(served) = leg.served {
                self.delays[there].add(difference(served, leg.asked));
                if let Some(heard) = leg.heard {
                    self.delays[back].add(difference(heard, served));
                }
            }
        }
    }

    /// Takes in a read, given the ends and ids of its key's acknowledged writes, ascending.
    fn measure(&mut self, read: &Verdict, writes: &[(u64, u64)], places: &BTreeMap<u64, Place>) {
        let before = &writes[..writes.partition_point(|&(done, _)| done < read.sent)];
        let Some(&(_, last)) = before.last() else {
            self.left_out.before_any_write += 1;
            return;
        };
        if read.contended {
            self.left_out.contended += 1;
            return;
        }
        let (Some(&write), Some(&place)) = (places.get(&last), places.get(&read.operation)) else {
            self.left_out.not_followed += 1;
            return;
        };
        let mut since = [None; MISSED_MAX];
        for (since, &(done, _)) in since.iter_mut().zip(before.iter().rev()) {
            *since = Some(difference(read.sent, done));
        }
        self.measured.push(Measured {
            faults: [write, place].iter().any(|it| self.pools[it.pool].group.faults),
            level: read.level,
            write,
            read: place,
            since,
            missing: read.acknowledged.missing,
        });
    }

    fn member(&mut self, name: &str) -> u16 {
        if let Some(&number) = self.members.get(name) {
            return number;
        }
        let number = u16::try_from(self.members.len()).unwrap_or(u16::MAX);
        self.members.insert(name.to_owned(), number);
        number
    }
}

impl Passed {
    /// When the replica had a write, since the write was done.
    pub(super) fn served_by(&self, replica: u16) -> Option<i64> {
        self.replicas.iter().find(|it| it.replica == replica)?.served
    }
}

impl Mean {
    fn add(&mut self, value: i64) {
        self.sum += value as f64;
        self.n += 1;
    }
}

/// When faults were in force: from when until when.
struct Faults(Vec<(u64, u64)>);

impl Faults {
    fn of(events: &[Event]) -> Self {
        let ends = events.iter().skip(1).map(|event| event.at).chain([u64::MAX]);
        Self(
            events
                .iter()
                .zip(ends)
                .filter(|(event, _)| event.fault)
                .map(|(event, end)| (event.at, end))
                .collect(),
        )
    }

    fn within(&self, from: u64, to: u64) -> bool {
        self.0.iter().any(|&(begins, ends)| begins <= to && from < ends)
    }
}

/// Per key, when each acknowledged write was done, and its id; ascending.
fn acknowledged_writes(history: &History) -> BTreeMap<&str, Vec<(u64, u64)>> {
    let mut writes: BTreeMap<&str, Vec<(u64, u64)>> = BTreeMap::new();
    for operation in history.operations.iter().filter(|it| it.is_acknowledged_write()) {
        if let Some(done) = operation.done {
            writes.entry(&operation.key).or_default().push((done, operation.id));
        }
    }
    for writes in writes.values_mut() {
        writes.sort_unstable();
    }
    writes
}

/// How many of so many replicas must answer.
fn needed(level: Level, replicas: usize) -> usize {
    match level {
        Level::One => 1,
        Level::Quorum => replicas / 2 + 1,
        Level::All => replicas,
        Level::Count(count) => usize::from(count.get()),
    }
}

/// How much later, in nanoseconds; 292 years at most.
fn difference(later: u64, earlier: u64) -> i64 {
    i64::try_from(i128::from(later) - i128::from(earlier)).unwrap_or(i64::MAX)
}
