//! A small store of three replicas that copy to each other at random, and sessions that act at random. It knows what each
//! replica had seen when it answered, which no client can tell for sure: the truth that the observer is held against.

use crate::check::Metric;
use crate::history::{Clock, Dot, History, Kind, Level, Operation, Outcome, Version};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::{BTreeMap, BTreeSet};

const REPLICAS: usize = 3;
const SESSIONS: u32 = 5;
const KEYS: [&str; 2] = ["a", "b"];

/// What one replica holds of one key.
#[derive(Debug, Clone, Default)]
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

/// A run of the store.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) history: History,
    /// By operation, the dots that the answer rested on: returned or overwritten, as its replica had seen it.
    pub(crate) seen: BTreeMap<u64, BTreeSet<Dot>>,
    /// By write, the dot it was given.
    pub(crate) dots: BTreeMap<u64, Dot>,
    /// By write that was applied, whether its client learned that or not, what its writer knew.
    pub(crate) writers: BTreeMap<u64, BTreeSet<Dot>>,
    /// The operations that were broken on purpose, lost writes or reads, each with the write it is about.
    pub(crate) planted: BTreeMap<u64, u64>,
}

/// How a run goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    pub(crate) seed: u64,
    pub(crate) steps: usize,
    /// Whether clients are told contexts.
    pub(crate) with_clocks: bool,
    /// What the store is made to break now and then, if it is one of the four it can.
    pub(crate) plant: Option<Metric>,
    /// Whether all replicas agree in the end and every key is read once more.
    pub(crate) settle: bool,
}

struct Store {
    rng: StdRng,
    course: Course,
    now: u64,
    replicas: Vec<BTreeMap<&'static str, State>>,
    seqs: [u64; REPLICAS],
    operations: Vec<Operation>,
    /// Sent and not yet ended; with the context the answer will carry, once the store did it.
    open: Vec<(usize, Option<BTreeSet<Dot>>)>,
    /// The contexts that answers carried, by operation.
    contexts: BTreeMap<u64, BTreeSet<Dot>>,
    dots: BTreeMap<u64, Dot>,
    writers: BTreeMap<u64, BTreeSet<Dot>>,
    planted: BTreeMap<u64, u64>,
}

/// Runs the store.
pub(crate) fn run(course: Course) -> Run {
    let mut store = Store {
        rng: StdRng::seed_from_u64(course.seed),
        course,
        now: 0,
        replicas: vec![BTreeMap::new(); REPLICAS],
        seqs: [0; REPLICAS],
        operations: Vec::new(),
        open: Vec::new(),
        contexts: BTreeMap::new(),
        dots: BTreeMap::new(),
        writers: BTreeMap::new(),
        planted: BTreeMap::new(),
    };
    for _ in 0..course.steps {
        store.now += store.rng.random_range(0..3);
        match store.rng.random_range(0..10) {
            0..4 => store.send(),
            4..6 => store.copy(),
            _ => store.advance(),
        }
    }
    if course.settle {
        store.settle();
    }
    let history = History { operations: store.operations, ..History::default() };
    Run { history, seen: store.contexts, dots: store.dots, writers: store.writers, planted: store.planted }
}

impl Store {
    fn send(&mut self) {
        let session = self.rng.random_range(0..SESSIONS);
        if self.open.iter().any(|&(at, _)| self.operations[at].session == session) {
            return;
        }
        let key = KEYS[self.rng.random_range(0..KEYS.len())];
        let kinds = [Kind::Get, Kind::Get, Kind::Get, Kind::Put, Kind::Put, Kind::Delete];
        let kind = kinds[self.rng.random_range(0..kinds.len())];
        self.send_as(session, key, kind);
    }

    fn send_as(&mut self, session: u32, key: &'static str, kind: Kind) {
        let id = self.operations.len() as u64;
        let mut operation = Operation::new(id, session, "", kind, Level::One, key);
        (operation.intended, operation.sent) = (self.now, self.now);
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
        let at = usize::try_from(id).expect("ids are places");
        &self.operations[at]
    }

    fn copy(&mut self) {
        let (from, to) = (self.rng.random_range(0..REPLICAS), self.rng.random_range(0..REPLICAS));
        let key = KEYS[self.rng.random_range(0..KEYS.len())];
        let state = self.replicas[from].get(key).cloned().unwrap_or_default();
        self.replicas[to].entry(key).or_default().merge(&state);
    }

    /// Lets the store do an open operation, or the client hear of it or give up.
    fn advance(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let place = self.rng.random_range(0..self.open.len());
        if self.open[place].1.is_none() && self.rng.random_bool(0.8) {
            let context = self.apply(self.open[place].0);
            self.open[place].1 = Some(context);
            return;
        }
        let (at, context) = self.open.swap_remove(place);
        self.end(at, context);
    }

    fn end(&mut self, at: usize, context: Option<BTreeSet<Dot>>) {
        self.now += 1;
        let gives_up = self.rng.random_bool(0.2);
        let operation = &mut self.operations[at];
        operation.done = Some(self.now);
        match context {
            Some(context) if !(operation.is_write() && gives_up) => {
                operation.outcome = Outcome::Ok;
                // Whoever can tell contexts can tell dots.
                operation.dot =
                    operation.dot.filter(|_| self.course.with_clocks || self.rng.random_bool(0.7));
                self.contexts.insert(operation.id, context);
            }
            // The client learns nothing, and the store may have done it.
            _ => (operation.dot, operation.returned, operation.seen) = (None, Vec::new(), None),
        }
        self.break_something(at);
    }

    fn break_something(&mut self, at: usize) {
        let Some(plant) = self.course.plant.filter(|_| self.rng.random_bool(0.1)) else { return };
        let operation = &self.operations[at];
        let (is_write, is_read) = (operation.is_acknowledged_write(), operation.is_answered_read());
        match plant {
            Metric::LostUpdate if is_write && operation.kind == Kind::Put => self.lose(at),
            Metric::UnwrittenValue if is_read => {
                let operation = &mut self.operations[at];
                let dot = Dot { actor: 99, seq: operation.id + 1 };
                operation.returned.push(Version { value: Some(format!("ghost{}", operation.id)), dot });
                self.planted.insert(operation.id, operation.id);
            }
            Metric::FalseConcurrency if is_read => self.bring_back(at),
            Metric::FalseDominance if is_read => self.cover(at),
            _ => {}
        }
    }

    /// Gives a read a put back that the writer of what it returned knew.
    fn bring_back(&mut self, at: usize) {
        let read = &self.operations[at];
        let by_dot = |dot: Dot| self.dots.iter().find(|(_, given)| **given == dot).map(|(&id, _)| id);
        let writers = read.returned.iter().filter_map(|version| by_dot(version.dot));
        let known = writers.filter_map(|id| self.contexts.get(&id).map(|context| (id, context)));
        let dots = &self.dots;
        let old = known.flat_map(|(id, context)| context.iter().filter(move |dot| dots[&id] != **dot));
        let old = old.copied().find(|&dot| read.returned.iter().all(|version| version.dot != dot));
        let Some(put) = old.and_then(by_dot).map(|id| self.at(id)).filter(|op| op.kind == Kind::Put) else {
            return;
        };
        let (id, version) = (put.id, Version { value: put.value.clone(), dot: self.dots[&put.id] });
        self.operations[at].returned.push(version);
        self.planted.insert(at as u64, id);
    }

    /// Makes a read's context cover an acknowledged put that its replica had not seen.
    fn cover(&mut self, at: usize) {
        let read = &self.operations[at];
        let seen = &self.contexts[&read.id];
        let puts = self.operations.iter().filter(|op| op.kind == Kind::Put && op.is_acknowledged_write());
        let of_key = puts.filter(|put| put.key == read.key);
        let mut unseen = of_key.filter(|put| !seen.contains(&self.dots[&put.id]));
        let Some((put, dot)) = unseen.find_map(|put| Some((put.id, put.dot?))) else { return };
        if let Some(seen) = &mut self.operations[at].seen {
            seen.dots.push(dot);
            self.planted.insert(at as u64, put);
        }
    }

    /// Takes a write from every replica, if none has overwritten it yet.
    fn lose(&mut self, at: usize) {
        let (id, key) = (self.operations[at].id, self.operations[at].key.clone());
        let dot = self.dots[&id];
        let states = || self.replicas.iter().filter_map(|keys| keys.get(key.as_str()));
        let is_held = |state: &State| state.siblings.iter().any(|version| version.dot == dot);
        if states().any(|state| state.context.contains(&dot) && !is_held(state)) {
            return;
        }
        for state in self.replicas.iter_mut().filter_map(|keys| keys.get_mut(key.as_str())) {
            state.siblings.retain(|version| version.dot != dot);
            state.context.remove(&dot);
        }
        self.planted.insert(id, id);
    }

    /// Lets one replica do an operation, and gives the context its answer carries.
    fn apply(&mut self, at: usize) -> BTreeSet<Dot> {
        let replica = self.rng.random_range(0..REPLICAS);
        let operation = &mut self.operations[at];
        let key = KEYS.into_iter().find(|&key| key == operation.key).expect("it was sent for one of them");
        let state = self.replicas[replica].entry(key).or_default();
        if operation.kind == Kind::Get {
            operation.returned = state.siblings.iter().cloned().collect();
            let dots = state.context.iter().copied().collect();
            operation.seen = self.course.with_clocks.then_some(Clock { vv: Vec::new(), dots });
            return state.context.clone();
        }
        self.seqs[replica] += 1;
        let dot = Dot { actor: replica as u64, seq: self.seqs[replica] };
        operation.dot = Some(dot);
        let id = operation.id;
        self.dots.insert(id, dot);
        let mut context = operation.basis.map(|basis| self.contexts[&basis].clone()).unwrap_or_default();
        state.put(&context, Version { value: operation.value.clone(), dot });
        context.insert(dot);
        self.writers.insert(id, context.clone());
        context
    }

    /// Ends what is open, lets all replicas agree, and has every session read every key.
    fn settle(&mut self) {
        for (at, context) in std::mem::take(&mut self.open) {
            self.now += 1;
            self.end(at, context);
        }
        for key in KEYS {
            let mut all = State::default();
            for replica in &self.replicas {
                all.merge(&replica.get(key).cloned().unwrap_or_default());
            }
            for replica in &mut self.replicas {
                replica.insert(key, all.clone());
            }
            for session in 0..SESSIONS {
                self.now += 1;
                self.send_as(session, key, Kind::Get);
                let at = self.operations.len() - 1;
                let context = self.apply(at);
                self.open.clear();
                self.end(at, Some(context));
            }
        }
    }
}
