//! Stores against an oracle that keeps every causal past as a plain set.
//!
//! Three replicas, a few keys in one partition so that each key's dots have gaps, clients that write with whatever
//! contexts they hold, whole states merged between any two replicas at any time. After every step each replica must
//! hold exactly the versions that no version known to it has overwritten: a missing one was falsely dominated or lost,
//! one too many is a false sibling.

use super::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};

const RUNS: u64 = 1500;
const STEPS: usize = 60;
const KEYS: usize = 3;
const CLIENTS: usize = 4;

/// A version, by the value it wrote: every write has its own.
type Version = u32;

/// What a replica or a client truly knows of a key.
type Past = BTreeSet<Version>;

struct World {
    stores: Vec<Store>,
    keys: Vec<StoreKey>,
    /// By replica and key: the versions that went into its state.
    known: Vec<Vec<Past>>,
    /// By version: what its writer had seen.
    pasts: BTreeMap<Version, Past>,
    /// By client and key: the context it holds and what that truly covers.
    clients: Vec<Vec<(Causal, Past)>>,
}

impl World {
    fn new(seed: u64) -> Self {
        let spellings: [&'static str; KEYS] = ["a", "b", "c"];
        Self {
            stores: (0..3).map(|replica| other_store(seed * 3 + replica)).collect(),
            keys: spellings.map(key).to_vec(),
            known: vec![vec![Past::new(); KEYS]; 3],
            pasts: BTreeMap::new(),
            clients: vec![vec![(blind(), Past::new()); KEYS]; CLIENTS],
        }
    }

    fn step(&mut self, rng: &mut StdRng) {
        let (replica, other) = (rng.random_range(0..3), rng.random_range(0..3));
        let (client, key) = (rng.random_range(0..CLIENTS), rng.random_range(0..KEYS));
        match rng.random_range(0..10) {
            0..=1 => self.read(client, replica, key, rng.random()),
            2..=5 => self.write(client, replica, key, rng.random_range(0..4) == 0),
            6..=8 => self.replicate(replica, other, key),
            _ => self.clients[client][key] = (blind(), Past::new()),
        }
        self.check(replica, key);
        self.check(other, key);
    }

    /// A client reads, and holds the context beside or in place of what it held.
    fn read(&mut self, client: usize, replica: usize, key: usize, beside: bool) {
        let state = self.stores[replica].get(&self.keys[key]).unwrap().unwrap_or_default();
        let (context, past) = &mut self.clients[client][key];
        if !beside {
            (*context, *past) = (blind(), Past::new());
        }
        context.unite(state.context());
        past.extend(&self.known[replica][key]);
    }

    /// A client writes with the context it holds and goes on with the one the write returned.
    fn write(&mut self, client: usize, replica: usize, key: usize, delete: bool) {
        let version = Version::try_from(self.pasts.len()).unwrap();
        let (context, past) = &mut self.clients[client][key];
        // A tombstone has no value to tell it by; its dot does.
        let content =
            if delete { Content::Tombstone } else { Content::Value(version.to_be_bytes().to_vec().into()) };
        let written = self.stores[replica].put(&self.keys[key], context, content, NOW).unwrap();
        self.pasts.insert(version, past.clone());
        past.insert(version);
        *context = written.context;
        self.known[replica][key].extend(&*past);
        DOTS.with_borrow_mut(|dots| dots.insert(written.dot, version));
    }

    fn replicate(&mut self, from: usize, to: usize, key: usize) {
        let Some(state) = self.stores[from].get(&self.keys[key]).unwrap() else { return };
        let merged = self.stores[to].merge(&self.keys[key], &state).unwrap();
        assert_eq!(merged.skewed, []);
        let past = self.known[from][key].clone();
        let news = !past.is_subset(&self.known[to][key]);
        assert!(merged.changed || !news, "a merge that taught something says so");
        self.known[to][key].extend(past);
    }

    fn check(&self, replica: usize, key: usize) {
        let known = &self.known[replica][key];
        let overwritten: Past = known.iter().flat_map(|version| &self.pasts[version]).copied().collect();
        let current: Past = known.difference(&overwritten).copied().collect();
        let state = self.stores[replica].get(&self.keys[key]).unwrap().unwrap_or_default();
        let held: Past =
            DOTS.with_borrow(|dots| state.siblings().iter().map(|sibling| dots[&sibling.dot]).collect());
        assert_eq!(held, current, "replica {replica}, key {key}");
    }

    /// Everyone merges with everyone; then all replicas hold the same, and nothing overwritten.
    fn settle(&mut self) {
        for key in 0..KEYS {
            for (from, to) in [(0, 1), (1, 2), (2, 0), (0, 1)] {
                self.replicate(from, to, key);
            }
            for replica in 0..3 {
                self.check(replica, key);
                let states = [0, replica].map(|replica| self.stores[replica].get(&self.keys[key]).unwrap());
                assert_eq!(states[0], states[1], "the whole state, context and all");
                let runs = states[0].as_ref().map_or(0, |state| state.context().runs().len());
                assert!(runs <= 3, "{runs} runs for three actors: gaps must close once all is known");
            }
        }
        assert!(self.stores.iter().all(|store| store.counters().actors_drawn == 0));
    }
}

thread_local! {
    /// Which version each dot of this run names.
    static DOTS: RefCell<BTreeMap<Dot, Version>> = RefCell::default();
}

#[test]
fn replicas_hold_exactly_what_nobody_has_overwritten() {
    for seed in 0..RUNS {
        DOTS.take();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step(&mut rng);
        }
        world.settle();
    }
}

/// Clients that read before they write leave no more siblings than there are of them, however long they go on and
/// however little the replicas talk.
#[test]
fn siblings_are_bounded_by_true_concurrency() {
    for seed in 0..20 {
        DOTS.take();
        let mut rng = StdRng::seed_from_u64(seed);
        let mut world = World::new(seed);
        for _ in 0..200 {
            let (client, replica) = (rng.random_range(0..CLIENTS), rng.random_range(0..3));
            world.read(client, replica, 0, false);
            world.write(client, replica, 0, false);
            world.replicate(rng.random_range(0..3), rng.random_range(0..3), 0);
            for replica in 0..3 {
                let siblings = stored(&world.stores[replica], &world.keys[0]).len();
                assert!(siblings <= 3, "{siblings} siblings: one current line of writes per replica");
            }
        }
        world.settle();
    }
}
