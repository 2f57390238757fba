//! Owns the replica's rules: how a write is named, what a merge may teach the clock, when an actor is used up. Runs
//! under the store's lock. Refuses to wait for the disk.

use super::cache::{Hot, HotStates};
use super::contents::Contents;
use super::hints::Backlogs;
use super::identity::put_identity;
use super::scan::{element_of, entries};
use super::{Counters, Identity, Merged, WriteError, Written};
use crate::engine::{Batch, Commit, Engine, ReadError, Table};
use crate::format::{self, BadRecord};
use crate::key::StoreKey;
use crate::version::{Actor, Causal, Content, Dot, KeyState};
use bytes::Bytes;
use chinwag_merkle::Element;
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) identity: Identity,
    /// What was seen of each partition. Covers the dot of every version stored here, and those another replica vouched
    /// for; a partition without a clock has seen nothing.
    pub(super) clocks: BTreeMap<u16, Causal>,
    pub(super) contents: Contents,
    pub(super) backlogs: Backlogs,
    /// Records known to be bad, so that each is counted and reported once.
    pub(super) bad: BTreeSet<(Table, Bytes)>,
    pub(super) counters: Counters,
    pub(super) hot: HotStates,
    pub(super) rng: StdRng,
}

/// What was read of a key before it is changed.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) state: Option<KeyState>,
    /// The element the key's tree accounts for.
    element: Option<Element>,
    /// True if there was a record and it is bad: this store has forgotten what it knew of the key.
    forgotten: bool,
}

impl Replica {
    pub(super) fn put(
        &mut self,
        key: &StoreKey,
        seen: &Causal,
        content: Content,
    ) -> Result<Written, WriteError> {
        let old = self.load(key)?;
        let mut batch = Batch::default();
        let partition = self.partition_of(key);
        self.renew_actor_if_forgetful(&mut batch, partition, &old, seen);
        let mut state = old.state.clone().unwrap_or_default();
        let dot = Dot::new(self.identity.actor, self.clock(partition).next_seq(self.identity.actor));
        state.put(seen, dot, content);
        let mut context = seen.clone();
        context.insert(dot);
        let commit = self.save(key, &old, &state, batch);
        Ok(Written { dot, context, state, commit })
    }

    pub(super) fn merge(&mut self, key: &StoreKey, incoming: &KeyState) -> Result<Merged, WriteError> {
        let old = self.load(key)?;
        let mut batch = Batch::default();
        self.renew_actor_if_forgetful(&mut batch, self.partition_of(key), &old, incoming.context());
        let mut state = old.state.clone().unwrap_or_default();
        let report = state.merge(incoming);
        if !report.skewed.is_empty() {
            self.counters.skewed_dots += report.skewed.len() as u64;
            tracing::error!(dots = ?report.skewed, "a dot names two values: was a data directory used twice?");
        }
        // What was here before may itself not be durable yet. An empty batch waits for it.
        let commit =
            if report.changed { self.save(key, &old, &state, batch) } else { self.engine.commit(batch) };
        Ok(Merged { changed: report.changed, state, skewed: report.skewed, commit })
    }

    pub(super) fn merge_clock(&mut self, partition: u16, clock: &Causal) -> Result<Commit, WriteError> {
        let partitions = self.contents.slicing().partitions();
        if u32::from(partition) >= partitions {
            return Err(WriteError::NoSuchPartition { partition, partitions });
        }
        let mut batch = Batch::default();
        self.renew_actor_if_forgetful(&mut batch, partition, &Loaded::default(), clock);
        let own = self.clocks.entry(partition).or_default();
        if own.unite(clock) {
            put_clock(&mut batch, partition, own);
        }
        Ok(self.engine.commit(batch))
    }

    /// What is stored of a key, from memory if it is hot.
    pub(super) fn load(&mut self, key: &StoreKey) -> Result<Loaded, ReadError> {
        if let Some(Hot { state, element }) = self.hot.get(key).cloned() {
            return Ok(Loaded { state: Some(state), element: Some(element), forgotten: false });
        }
        let place = format::state_key(key);
        match self.read(Table::Keys, &place)? {
            Found::Nothing => Ok(Loaded::default()),
            Found::Bad => Ok(Loaded { forgotten: true, ..Loaded::default() }),
            Found::Record { body: state, record } => {
                let element = element_of(self.contents.tree_key(), &place, &record);
                self.hot.insert(key, Hot { state: KeyState::clone(&state), element });
                Ok(Loaded { state: Some(state), element: Some(element), forgotten: false })
            }
        }
    }

    /// A record and what it carries; a bad one is counted and reported.
    pub(super) fn read<T: serde::de::DeserializeOwned>(
        &mut self,
        table: Table,
        place: &Bytes,
    ) -> Result<Found<T>, ReadError> {
        let bad = match self.engine.get(table, place) {
            Ok(None) => return Ok(Found::Nothing),
            Ok(Some(record)) => match format::open(table, place, &record) {
                Ok(body) => return Ok(Found::Record { body, record }),
                Err(bad) => bad,
            },
            Err(ReadError::Damaged { reason, .. }) => BadRecord::Engine(reason),
            Err(error @ (ReadError::Io { .. } | ReadError::Refused(_))) => return Err(error),
        };
        self.report_bad(table, place, &bad);
        Ok(Found::Bad)
    }

    /// Counts a bad record the first time it is met, and takes what it said out of the tree or backlog it was counted
    /// in. A key that is missing from the tree is what other replicas see and fill in.
    pub(super) fn report_bad(&mut self, table: Table, place: &Bytes, bad: &BadRecord) {
        if !self.bad.insert((table, place.clone())) {
            return;
        }
        self.counters.bad_records += 1;
        tracing::error!(table = table.name(), ?place, %bad, "a record is damaged; treated as absent");
        match table {
            Table::Keys => {
                let position = format::parse_state_key(place).map(|key| key.position);
                if let Some(leaf) = position.and_then(|position| self.contents.leaf_at(position)) {
                    self.recount(leaf);
                }
            }
            Table::Hints => {
                if let Some((target, _)) = format::parse_hint_key(place) {
                    self.recount_hints(target);
                }
            }
            Table::Clocks | Table::Meta => {}
        }
    }

    pub(super) fn note(&mut self, name: &str) -> Result<Option<Bytes>, ReadError> {
        match self.read(Table::Meta, &format::note_key(name))? {
            Found::Record { body, .. } => Ok(Some(body)),
            Found::Nothing | Found::Bad => Ok(None),
        }
    }

    /// Draws a new actor if anything shows that this store may have forgotten versions it once wrote: a bad record where
    /// its own state of the key was, or anyone who knows more of the present actor than its own clock does. From then on
    /// the old actor's versions are a stranger's, and no dot is ever given twice.
    pub(super) fn renew_actor_if_forgetful(
        &mut self,
        batch: &mut Batch,
        partition: u16,
        old: &Loaded,
        incoming: &Causal,
    ) {
        let actor = self.identity.actor;
        let known = self.clock(partition).highest(actor);
        let held = old.state.as_ref().map_or(0, |state| state.context().highest(actor));
        if !old.forgotten && incoming.highest(actor).max(held) <= known {
            return;
        }
        self.renew_actor(batch, incoming);
    }

    /// Draws an actor that neither this store nor `incoming` has heard of.
    pub(super) fn renew_actor(&mut self, batch: &mut Batch, incoming: &Causal) {
        let actor = self.identity.actor;
        let known = |actor| self.clocks.values().any(|clock| clock.highest(actor) > 0);
        self.identity.actor = loop {
            let drawn = Actor(self.rng.next_u64());
            if drawn != actor && incoming.highest(drawn) == 0 && !known(drawn) {
                break drawn;
            }
        };
        self.counters.actors_drawn += 1;
        let drawn = self.identity.actor;
        tracing::info!(%actor, %drawn, "this store may have forgotten writes of its own; it takes a new actor");
        put_identity(batch, &self.identity, self.contents.slicing().partitions());
    }

    /// Writes a key's new state and what follows from it. Nothing here can fail: the engine has admitted the batch.
    fn save(&mut self, key: &StoreKey, old: &Loaded, state: &KeyState, mut batch: Batch) -> Commit {
        let place = format::state_key(key);
        let record = format::seal(Table::Keys, &place, state);
        let element = element_of(self.contents.tree_key(), &place, &record);
        let partition = self.partition_of(key);
        // Storing a version adds its own dot and nothing else: a state's context covers versions that never came here.
        let clock = self.clocks.entry(partition).or_default();
        for sibling in state.siblings() {
            clock.insert(sibling.dot);
        }
        put_clock(&mut batch, partition, clock);
        batch.put(Table::Keys, place.clone(), record);
        let commit = self.engine.commit(batch);

        self.bad.remove(&(Table::Keys, place));
        self.hot.insert(key, Hot { state: state.clone(), element });
        if let Some(crowded) = self.contents.apply(key, old.element, element) {
            self.recount(crowded);
        }
        commit
    }

    /// Makes a leaf of the tree say what the records say.
    fn recount(&mut self, leaf: chinwag_merkle::Interval) {
        match entries(&*self.engine, self.contents.tree_key(), self.contents.buckets(), leaf) {
            Ok(entries) => self.contents.refine(leaf, &entries),
            Err(error) => {
                tracing::warn!(%error, "a leaf could not be read; it is asked for again at its next write")
            }
        }
    }

    pub(super) fn partition_of(&self, key: &StoreKey) -> u16 {
        self.contents.slicing().partition_of(key.position)
    }

    fn clock(&self, partition: u16) -> &Causal {
        static NOTHING: Causal = Causal::EMPTY;
        self.clocks.get(&partition).unwrap_or(&NOTHING)
    }
}

/// What there is at a place.
pub(super) enum Found<T> {
    Nothing,
    Bad,
    Record { body: T, record: Bytes },
}

fn put_clock(batch: &mut Batch, partition: u16, clock: &Causal) {
    let place = format::clock_key(partition);
    let record = format::seal(Table::Clocks, &place, clock);
    batch.put(Table::Clocks, place, record);
}
