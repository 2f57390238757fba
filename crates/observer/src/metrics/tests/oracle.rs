//! The definitions of staleness applied literally to random histories of a small store, against the sweep.

use super::super::{Judgement, Verdict, verdicts};
use crate::history::{Clock, Dot, History, Kind, Level, Operation, Outcome, Version};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};

const HISTORIES: u64 = 600;
const REPLICAS: usize = 3;
const STEPS: usize = 120;
const KEYS: [&str; 2] = ["a", "b"];

/// What one replica holds of one key.
#[derive(Clone, Default)]
struct State {
    siblings: BTreeSet<Version>,
    context: BTreeSet<Dot>,
}

impl State {
    fn put(&mut self, context: &BTreeSet<Dot>, version: Version) {
        self.siblings.retain(|sibling| !context.contains(&sibling.dot));
        self.context.extend(context);
        self.context.insert(version.dot);
        self.siblings.insert(version);
    }

    fn merge(&mut self, other: &Self) {
        let stays = |sibling: &Version, there: &Self| {
            there.siblings.contains(sibling) || !there.context.contains(&sibling.dot)
        };
        let taken: Vec<Version> = other.siblings.iter().filter(|s| stays(s, self)).cloned().collect();
        self.siblings.retain(|sibling| stays(sibling, other));
        self.siblings.extend(taken);
        self.context.extend(&other.context);
    }
}

/// A store of three replicas that copy to each other at random, and clients that act at random.
struct Store {
    rng: StdRng,
    now: u64,
    replicas: Vec<BTreeMap<&'static str, State>>,
    seqs: [u64; REPLICAS],
    operations: Vec<Operation>,
    /// Sent and not yet ended; with the context the answer will carry, once the store did it.
    open: Vec<(usize, Option<BTreeSet<Dot>>)>,
    /// The contexts that answers carried, by operation.
    contexts: BTreeMap<u64, BTreeSet<Dot>>,
}

impl Store {
    fn history(seed: u64) -> History {
        let mut store = Self {
            rng: StdRng::seed_from_u64(seed),
            now: 0,
            replicas: vec![BTreeMap::new(); REPLICAS],
            seqs: [0; REPLICAS],
            operations: Vec::new(),
            open: Vec::new(),
            contexts: BTreeMap::new(),
        };
        let with_clocks = store.rng.random_bool(0.7);
        for _ in 0..STEPS {
            store.now += store.rng.random_range(0..3);
            match store.rng.random_range(0..10) {
                0..4 => store.send(),
                4..6 => store.copy(),
                _ => store.advance(with_clocks),
            }
        }
        History { operations: store.operations, ..History::default() }
    }

    fn send(&mut self) {
        let id = self.operations.len() as u64;
        let key = KEYS[self.rng.random_range(0..KEYS.len())];
        let kind = [Kind::Get, Kind::Get, Kind::Put, Kind::Put, Kind::Delete][self.rng.random_range(0..5)];
        let mut operation = Operation::new(id, 0, "", kind, Level::One, key);
        operation.sent = self.now;
        operation.value = (kind == Kind::Put).then(|| format!("v{id}"));
        if kind != Kind::Get && self.rng.random_bool(0.7) {
            let of_key: Vec<u64> =
                self.contexts.keys().copied().filter(|&id| self.at(id).key == key).collect();
            operation.basis = (!of_key.is_empty()).then(|| of_key[self.rng.random_range(0..of_key.len())]);
        }
        self.open.push((self.operations.len(), None));
        self.operations.push(operation);
    }

    fn at(&self, id: u64) -> &Operation {
        &self.operations[usize::try_from(id).unwrap()]
    }

    fn copy(&mut self) {
        let (from, to) = (self.rng.random_range(0..REPLICAS), self.rng.random_range(0..REPLICAS));
        let key = KEYS[self.rng.random_range(0..KEYS.len())];
        let state = self.replicas[from].get(key).cloned().unwrap_or_default();
        self.replicas[to].entry(key).or_default().merge(&state);
    }

    /// Lets the store do an open operation, or the client hear of it or give up.
    fn advance(&mut self, with_clocks: bool) {
        if self.open.is_empty() {
            return;
        }
        let place = self.rng.random_range(0..self.open.len());
        if self.open[place].1.is_none() && self.rng.random_bool(0.8) {
            let context = self.apply(self.open[place].0, with_clocks);
            self.open[place].1 = Some(context);
            return;
        }
        let (at, context) = self.open.swap_remove(place);
        let operation = &mut self.operations[at];
        operation.done = Some(self.now);
        match context {
            Some(context) if !(operation.is_write() && self.rng.random_bool(0.2)) => {
                operation.outcome = Outcome::Ok;
                // Whoever can tell contexts can tell dots.
                if operation.kind == Kind::Put && !with_clocks && self.rng.random_bool(0.5) {
                    operation.dot = None;
                }
                self.contexts.insert(operation.id, context);
            }
            // The client gave up: it learns nothing, and the store may have done it.
            _ => (operation.dot, operation.returned, operation.seen) = (None, Vec::new(), None),
        }
    }

    /// Lets one replica do an operation, and gives the context its answer carries.
    fn apply(&mut self, at: usize, with_clocks: bool) -> BTreeSet<Dot> {
        let replica = self.rng.random_range(0..REPLICAS);
        let operation = &mut self.operations[at];
        let key = KEYS.into_iter().find(|&key| key == operation.key).unwrap();
        let state = self.replicas[replica].entry(key).or_default();
        if operation.kind == Kind::Get {
            operation.returned = state.siblings.iter().cloned().collect();
            let dots = state.context.iter().copied().collect();
            operation.seen = with_clocks.then_some(Clock { vv: Vec::new(), dots });
            return state.context.clone();
        }
        self.seqs[replica] += 1;
        let dot = Dot { actor: replica as u64, seq: self.seqs[replica] };
        operation.dot = Some(dot);
        let mut context = operation.basis.map(|basis| self.contexts[&basis].clone()).unwrap_or_default();
        state.put(&context, Version { value: operation.value.clone(), dot });
        context.insert(dot);
        context
    }
}

/// The definitions, word by word.
struct Definitions<'a> {
    of_key: Vec<&'a Operation>,
}

impl<'a> Definitions<'a> {
    fn reads(&self) -> impl Iterator<Item = &'a Operation> {
        self.of_key.iter().copied().filter(|op| op.is_answered_read())
    }

    fn dot(&self, write: &Operation) -> Option<Dot> {
        let returned = self.reads().flat_map(|read| &read.returned);
        write.dot.or_else(|| {
            returned.filter(|v| v.value.is_some()).find(|v| v.value == write.value).map(|v| v.dot)
        })
    }

    fn is_version(&self, write: &Operation, version: &Version) -> bool {
        match (write.kind, &version.value) {
            (Kind::Put, Some(value)) => write.value.as_ref() == Some(value),
            (Kind::Delete, None) => self.dot(write) == Some(version.dot),
            _ => false,
        }
    }

    fn write_of(&self, version: &Version) -> Option<&'a Operation> {
        self.of_key.iter().copied().find(|write| self.is_version(write, version))
    }

    /// `write ⊑ operation`.
    fn knows(&self, operation: &Operation, write: &Operation) -> bool {
        if operation.is_write() {
            let basis = |id| self.of_key.iter().find(|op| op.id == id && op.is_answered());
            return operation.id == write.id
                || operation.basis.and_then(basis).is_some_and(|basis| self.knows(basis, write));
        }
        let covers = |clock: &Clock| self.dot(write).is_some_and(|dot| clock.covers(dot));
        operation.seen.as_ref().is_some_and(covers)
            || operation
                .returned
                .iter()
                .any(|v| self.write_of(v).is_some_and(|writer| self.knows(writer, write)))
    }

    /// When a write entered `D`: at its end, or if that is unknown, at the end of the first read that returned it.
    fn entered(&self, write: &Operation) -> u64 {
        let returned = |read: &&Operation| read.returned.iter().any(|v| self.is_version(write, v));
        if write.is_answered() {
            return write.done.unwrap();
        }
        self.reads().filter(returned).map(|read| read.done.unwrap()).min().unwrap()
    }

    /// The longest chain of these writes that ends below `top`, `top` included.
    fn chain_below(&self, top: &Operation, of: &[&Operation]) -> u64 {
        let known = of.iter().filter(|write| write.id != top.id && self.knows(top, write));
        1 + known.map(|write| self.chain_below(write, of)).max().unwrap_or(0)
    }

    fn judge(&self, read: &Operation, in_d: impl Fn(&Operation) -> bool) -> Judgement {
        let d: Vec<&Operation> = self.of_key.iter().copied().filter(|op| op.is_write() && in_d(op)).collect();
        let missing: Vec<&Operation> = d.iter().copied().filter(|write| !self.knows(read, write)).collect();
        let chain = missing.iter().map(|write| self.chain_below(write, &missing)).max().unwrap_or(0);
        let age = missing.iter().map(|write| read.sent - self.entered(write)).max();
        let is_maximal = |w: &&&Operation| !d.iter().any(|other| other.id != w.id && self.knows(other, w));
        let maximal: Vec<_> = d.iter().filter(is_maximal).collect();
        let nothing_new = !maximal.is_empty() && maximal.iter().all(|write| !self.knows(read, write));
        Judgement { missing: missing.len() as u64, chain, age, nothing_new }
    }

    fn verdict(&self, read: &Operation) -> Verdict {
        let recognizable = |op: &Operation| op.kind == Kind::Put || self.dot(op).is_some();
        let acknowledged =
            |op: &Operation| op.is_acknowledged_write() && recognizable(op) && op.done.unwrap() < read.sent;
        let returns = |op: &Operation| {
            self.reads()
                .any(|r| r.done.unwrap() < read.sent && r.returned.iter().any(|v| self.is_version(op, v)))
        };
        let observed = |op: &Operation| acknowledged(op) || (!op.is_answered() && returns(op));
        let ends = self.of_key.iter().filter(|op| op.is_write() && acknowledged(op)).filter_map(|op| op.done);
        let in_flight = |op: &&&Operation| {
            op.is_write() && op.sent < read.done.unwrap() && op.done.is_none_or(|done| done >= read.sent)
        };
        Verdict {
            operation: read.id,
            level: read.level,
            sent: read.sent,
            acknowledged: self.judge(read, acknowledged),
            observed: self.judge(read, observed),
            since_write: ends.max().map(|last| read.sent - last),
            contended: self.of_key.iter().any(|op| in_flight(&op)),
        }
    }
}

#[test]
fn the_sweep_agrees_with_the_definitions() {
    let (mut reads, mut stale, mut partly, mut by_observation) = (0, 0, 0, 0);
    for seed in 0..HISTORIES {
        let history = Store::history(seed);
        let mut expected = Vec::new();
        for key in KEYS {
            let definitions =
                Definitions { of_key: history.operations.iter().filter(|op| op.key == key).collect() };
            expected.extend(definitions.reads().map(|read| definitions.verdict(read)));
        }
        let mut found = verdicts(&history);
        found.sort_by_key(|verdict| verdict.operation);
        expected.sort_by_key(|verdict| verdict.operation);
        assert_eq!(found, expected, "seed {seed}");
        reads += found.len();
        stale += found.iter().filter(|verdict| verdict.acknowledged.missing > 0).count();
        partly += found.iter().filter(|v| v.acknowledged.missing > 0 && !v.acknowledged.nothing_new).count();
        by_observation += found.iter().filter(|verdict| verdict.acknowledged != verdict.observed).count();
    }
    // The histories are worth comparing only if they are of every kind.
    assert!(
        reads > 3000 && stale > 400 && partly > 100 && by_observation > 50,
        "{reads} {stale} {partly} {by_observation}"
    );
}
