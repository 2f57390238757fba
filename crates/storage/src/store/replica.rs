//! Owns the replica's rules: how a write is named, what a merge may teach the clock and what it may not bring back. Runs
//! under the store's lock. Refuses to wait for the disk.
//!
//! A tree's **clock** covers a dot only if this replica holds the version, or has seen it overwritten. On that rests
//! everything said of deletes, so the clock learns in three ways and no other:
//!
//! - a version that is written here adds its dot;
//! - a state that arrives adds the dots of its *siblings*, those included that are dropped at once: they were seen
//!   overwritten. Its context adds nothing. Coordinators round contexts up over dots of other keys, and clients bring
//!   contexts from anywhere: neither says that this replica saw anything;
//! - another replica's clock is added whole after an exchange that found both equal ([`Swap`](super::Swap)).
//!
//! A dot that the clock covers and the key's state lacks was therefore overwritten or deleted, and is **not taken back**,
//! whoever brings it and however late: a coordinator, a read repair, a hint, an exchange, a restored copy. So the record
//! of a deleted key can be removed ([`Store::purge`](super::Store::purge)) and the key stays deleted.

use super::cache::{Hot, HotStates};
use super::contents::Contents;
use super::graves::Graves;
use super::hints::Backlogs;
use super::saved::Walk;
use super::scan::{Records, element_of, read_state};
use super::{Counters, Identity, Merged, PutLatestError, WriteError, Written};
use crate::engine::{Batch, Commit, Engine, ReadError, Table};
use crate::format::{self, BadRecord};
use crate::key::StoreKey;
use crate::version::{Actor, Causal, Content, Dot, KeyState, Sibling, Stamp};
use bytes::Bytes;
use chinwag_merkle::{Cut, Element, TreeId};
use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Replica {
    pub(super) engine: Arc<dyn Engine>,
    pub(super) identity: Identity,
    /// What was seen of each tree; one without a clock has seen nothing.
    pub(super) clocks: BTreeMap<TreeId, Causal>,
    /// The actors of whom the disk may say more or less than a tree's clock: what was forgotten, or lost, since it was
    /// stored.
    pub(super) forgotten: BTreeMap<TreeId, BTreeSet<Actor>>,
    /// How often records of a tree were found bad, since the store was opened. An exchange that is under way then ends
    /// ([`Swap`](super::Swap)).
    pub(super) losses: BTreeMap<TreeId, u64>,
    pub(super) contents: Contents,
    /// Dots the clocks learned lately, and from when on they count in comparisons: when what they stand for does.
    pub(super) young: BTreeMap<TreeId, Vec<(u64, Causal)>>,
    pub(super) walk: Walk,
    pub(super) graves: Graves,
    pub(super) backlogs: Backlogs,
    /// Records known to be bad, so that each is counted and reported once.
    pub(super) bad: BTreeSet<(Table, Bytes)>,
    pub(super) counters: Counters,
    pub(super) hot: HotStates,
    pub(super) rng: StdRng,
    /// The rule that a test takes away, to see that it is needed.
    #[cfg(test)]
    pub(super) without: Option<super::tests::Rule>,
}

/// What was read of a key before it is changed.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    pub(super) state: Option<KeyState>,
    /// The element the key's tree accounts for.
    pub(super) element: Option<Element>,
}

impl Replica {
    pub(super) fn put(
        &mut self,
        key: &StoreKey,
        seen: &Causal,
        content: Content,
        now: u64,
    ) -> Result<Written, WriteError> {
        let old = self.load(key)?;
        self.renew_actor_if_forgetful(self.tree_of(key), seen);
        let mut state = old.state.clone().unwrap_or_default();
        let dot = self.next_dot(key);
        state.put(seen, dot, content, now);
        let mut context = seen.clone();
        context.insert(dot);
        Ok(self.coordinated(key, &old, dot, context, state))
    }

    pub(super) fn put_latest(
        &mut self,
        key: &StoreKey,
        stamps: &RangeInclusive<Stamp>,
        content: Content,
    ) -> Result<Written, PutLatestError> {
        let old = self.load(key).map_err(WriteError::from)?;
        let mut state = old.state.clone().unwrap_or_default();
        let stamp = state.stamp().map_or_else(|| *stamps.start(), |held| held.next().max(*stamps.start()));
        if stamp > *stamps.end() {
            return Err(PutLatestError::Ahead(stamp));
        }
        let dot = self.next_dot(key);
        state.put_latest(dot, stamp, content);
        Ok(self.coordinated(key, &old, dot, [dot].into_iter().collect(), state))
    }

    /// The name of the next version that this replica coordinates of a key.
    fn next_dot(&self, key: &StoreKey) -> Dot {
        let actor = self.identity.actor;
        Dot::new(actor, self.clock(self.tree_of(key)).next_seq(actor))
    }

    /// Stores a version that was named here, with the clock that names the next one.
    fn coordinated(
        &mut self,
        key: &StoreKey,
        old: &Loaded,
        dot: Dot,
        context: Causal,
        state: KeyState,
    ) -> Written {
        let (mut batch, tree) = (Batch::default(), self.tree_of(key));
        self.clocks.entry(tree).or_default().insert(dot);
        self.note_young(tree, state.written_at(), [dot].into_iter().collect());
        self.put_clock(&mut batch, tree, BTreeSet::from([dot.actor]));
        let (commit, _element) = self.write(key, old, Some(&state), batch);
        Written { dot, context, state, commit }
    }

    /// Takes in what another replica knows of a key. `theirs` is the clock it had when the exchange began in which it
    /// said so, and empty outside of exchanges: a sibling of ours that it covers and that `incoming` lacks was overwritten
    /// there, so it goes here too.
    pub(super) fn merge(
        &mut self,
        key: &StoreKey,
        incoming: &KeyState,
        theirs: &Causal,
    ) -> Result<Merged, WriteError> {
        let old = self.load(key)?;
        let mut batch = Batch::default();
        let tree = self.tree_of(key);
        self.renew_actor_if_forgetful(tree, incoming.context());
        let mut state = old.state.clone().unwrap_or_default();
        let mut changed = state.retain(|ours| incoming.has(ours.dot) || !theirs.covers(ours.dot));
        let report = match self.refusing(tree, old.state.as_ref(), incoming) {
            Some(admitted) => state.merge(&admitted),
            None => state.merge(incoming),
        };
        changed |= report.changed;
        if !report.skewed.is_empty() {
            self.counters.skewed_dots += report.skewed.len() as u64;
            tracing::error!(dots = ?report.skewed, "a dot names two values: was a data directory used twice?");
        }
        let news = self.see(tree, incoming, state.written_at());
        self.put_clock(&mut batch, tree, news);
        // A state without siblings says nothing that the clock does not say: it is no record.
        let kept = Some(&state).filter(|state| !state.siblings().is_empty());
        changed &= kept.is_some() || old.state.is_some();
        let tidied = old.state.as_ref().is_some_and(|old| self.is_tidied(old, &state));
        // What was here before may itself not be durable yet. An empty batch waits for it.
        let (commit, element) = if changed {
            self.write(key, &old, kept, batch)
        } else {
            (self.engine.commit(batch), old.element)
        };
        if incoming.written_at() < state.written_at() {
            self.note_late(key, element, incoming, &state);
        }
        Ok(Merged { changed, tidied, state, skewed: report.skewed, commit })
    }

    /// Whether a state is a former one without some of the versions that no reader is shown.
    fn is_tidied(&self, old: &KeyState, state: &KeyState) -> bool {
        let now = self.contents.now().unwrap_or(0);
        let is_shown = |it: &Sibling| it.content.value_at(now).is_some();
        let mut gone = old.siblings().iter().filter(|it| !state.has(it.dot)).peekable();
        gone.peek().is_some() && !gone.any(is_shown) && state.siblings().iter().all(|it| old.has(it.dot))
    }

    /// Accounts for a state that arrived after a younger version of its key: others had it for a while, so it is part of
    /// comparisons at cuts between the two. It is all that they see of the key, so that until the younger version counts
    /// the clock does not count what else is known of it: whoever is equal at such a cut may lack that.
    fn note_late(&mut self, key: &StoreKey, held: Option<Element>, late: &KeyState, state: &KeyState) {
        if late.siblings().is_empty() || self.contents.is_settled(late.written_at()) {
            return;
        }
        let place = format::state_key(key);
        let record = format::seal(Table::Keys, &place, late);
        let alone = element_of(self.contents.tree_key(), &place, &record);
        self.contents.superseded(key, held, alone, late.written_at());
        let mut hidden = state.context().clone();
        hidden.subtract(late.context());
        self.note_young(self.tree_of(key), state.written_at(), hidden);
    }

    /// What of an incoming state may be taken in, if that is not all of it: what the clock covers and our own state
    /// lacks is over.
    fn refusing(&self, tree: TreeId, ours: Option<&KeyState>, incoming: &KeyState) -> Option<KeyState> {
        let clock = self.clock(tree);
        let is_over = |dot| clock.covers(dot) && !ours.is_some_and(|ours| ours.has(dot));
        #[cfg(test)]
        let is_over = |dot| self.obeys(super::tests::Rule::NotTakenBack) && is_over(dot);
        if !incoming.siblings().iter().any(|theirs| is_over(theirs.dot)) {
            return None;
        }
        let mut admitted = incoming.clone();
        admitted.retain(|theirs| !is_over(theirs.dot));
        Some(admitted)
    }

    /// Teaches the clock what arrived; returns the actors of whom that was news. What was overwritten before it arrived
    /// counts, like what overwrote it, from `written_at` on.
    fn see(&mut self, tree: TreeId, incoming: &KeyState, written_at: u64) -> BTreeSet<Actor> {
        let seen: Causal = incoming.siblings().iter().map(|sibling| sibling.dot).collect();
        #[cfg(test)]
        let seen =
            if self.obeys(super::tests::Rule::SiblingsOnly) { seen } else { incoming.context().clone() };
        let news = self.clocks.entry(tree).or_default().learn(&seen);
        if !news.is_empty() {
            self.note_young(tree, written_at.max(incoming.written_at()), seen);
        }
        news
    }

    /// Adds another replica's clock. Sound after an exchange that found both equal, and then only.
    pub(super) fn merge_clock(&mut self, tree: TreeId, clock: &Causal) -> Commit {
        let mut batch = Batch::default();
        self.renew_actor_if_forgetful(tree, clock);
        let ours = self.clocks.entry(tree).or_default();
        let mut lacked = clock.clone();
        lacked.subtract(ours);
        let news = ours.learn(clock);
        self.put_clock(&mut batch, tree, news);
        // Nothing says when they were written; it was not after the other side vouched for them.
        let now = self.contents.now().unwrap_or(0);
        self.note_young(tree, now, lacked);
        self.engine.commit(batch)
    }

    /// Notes what the clock has learned, for comparisons at cuts before `written_at`.
    fn note_young(&mut self, tree: TreeId, written_at: u64, dots: Causal) {
        if !dots.is_empty() && !self.contents.is_settled(written_at) {
            self.young.entry(tree).or_default().push((written_at, dots));
        }
    }

    /// Tells the time: what was written long ago is no longer told apart.
    pub(super) fn settle(&mut self, now: u64) {
        self.contents.settle(now);
        let contents = &self.contents;
        self.young.retain(|_, young| {
            young.retain(|(written_at, _)| !contents.is_settled(*written_at));
            !young.is_empty()
        });
    }

    /// The dots of a tree's clock that do not count at a cut.
    pub(super) fn young_at(&self, tree: TreeId, cut: Cut) -> Causal {
        let mut young = Causal::default();
        #[cfg(test)]
        if !self.obeys(super::tests::Rule::ClocksAtTheCut) {
            return young;
        }
        for (_, dots) in self.young.get(&tree).into_iter().flatten().filter(|(at, _)| !cut.counts(*at)) {
            young.unite(dots);
        }
        young
    }

    /// Queues what the clock has learned, of these actors: a write costs the same whatever number of actors there ever
    /// were. If the clock has forgotten any since it was stored, it is stored anew.
    pub(super) fn put_clock(&mut self, batch: &mut Batch, tree: TreeId, news: BTreeSet<Actor>) {
        let mut actors = news;
        if let Some(forgotten) = self.forgotten.remove(&tree) {
            actors.extend(forgotten);
            actors.extend(self.clock(tree).actors());
        }
        for actor in actors {
            let (place, dots) = (format::clock_key(tree, actor), self.clock(tree).of(actor));
            if dots.is_empty() {
                batch.remove(Table::Clocks, place);
            } else {
                let record = format::seal(Table::Clocks, &place, &dots);
                batch.put(Table::Clocks, place, record);
            }
        }
    }

    /// What is stored of a key, from memory if it is hot.
    pub(super) fn load(&mut self, key: &StoreKey) -> Result<Loaded, ReadError> {
        if let Some(Hot { state, element }) = self.hot.get(key).cloned() {
            return Ok(Loaded { state: Some(state), element: Some(element) });
        }
        let place = format::state_key(key);
        match self.read(Table::Keys, &place)? {
            Found::Nothing | Found::Bad => Ok(Loaded::default()),
            Found::Record { body: state, record } => {
                let element = element_of(self.contents.tree_key(), &place, &record);
                self.hot.insert(key, Hot { state: KeyState::clone(&state), element });
                Ok(Loaded { state: Some(state), element: Some(element) })
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

    /// Counts a bad record the first time it is met, and takes what it said out of the clock, tree or backlog it was
    /// counted in. A key that is missing from the tree is what other replicas see and fill in.
    pub(super) fn report_bad(&mut self, table: Table, place: &Bytes, bad: &BadRecord) {
        if !self.count_bad(table, place, bad) {
            return;
        }
        match table {
            Table::Keys => {
                let Some(key) = format::parse_state_key(place) else { return };
                // Whoever reads now reads without it, even if it can be written again.
                *self.losses.entry(self.tree_of(&key)).or_default() += 1;
                if self.rewrite(&key) {
                    return;
                }
                if let Some(leaf) = self.contents.leaf_at(&key) {
                    self.recount(self.tree_of(&key), leaf);
                }
                self.forget(self.tree_of(&key));
            }
            Table::Hints => {
                if let Some((target, _)) = format::parse_hint_key(place) {
                    self.recount_hints(target);
                }
            }
            Table::Clocks | Table::Meta | Table::Sums | Table::Marks => {}
        }
    }

    /// Writes a key's record again from memory, if its state is still there: then nothing is lost. A state that cannot be
    /// written is dropped with its record, so that what is served is what others are compared with.
    fn rewrite(&mut self, key: &StoreKey) -> bool {
        let Some(Hot { state, element }) = self.hot.get(key).cloned() else { return false };
        if self.engine.admit().is_err() {
            self.hot.remove(key);
            return false;
        }
        let old = Loaded { state: None, element: Some(element) };
        drop(self.write(key, &old, Some(&state), Batch::default()));
        true
    }

    /// Whether the record of a key was reported as bad.
    pub(super) fn is_known_bad(&self, place: &Bytes) -> bool {
        self.bad.contains(&(Table::Keys, place.clone()))
    }

    /// Counts a bad record; false if it was known.
    pub(super) fn count_bad(&mut self, table: Table, place: &Bytes, bad: &BadRecord) -> bool {
        let is_new = self.bad.insert((table, place.clone()));
        if is_new {
            self.counters.bad_records += 1;
            tracing::error!(table = table.name(), ?place, %bad, "a record is damaged; treated as absent");
        }
        is_new
    }

    pub(super) fn note(&mut self, name: &str) -> Result<Option<Bytes>, ReadError> {
        match self.read(Table::Meta, &format::note_key(name))? {
            Found::Record { body, .. } => Ok(Some(body)),
            Found::Nothing | Found::Bad => Ok(None),
        }
    }

    /// A record of the tree is lost, so its clock may cover what is no longer here, and this replica would refuse
    /// the versions it lost. The clock is made anew from what is held: it then claims less than it did, which is the
    /// safe side, and exchanges teach it the rest again.
    ///
    /// Nothing is written: as long as the record is bad the next open finds it too, and what replaces it is committed
    /// together with this clock.
    fn forget(&mut self, tree: TreeId) {
        #[cfg(test)]
        if self.without == Some(super::tests::Rule::RebuiltWhenLost) {
            return;
        }
        self.renew_actor(&Causal::EMPTY);
        self.forget_clock(tree);
        match self.held(tree) {
            Ok(held) => drop(self.clocks.insert(tree, held)),
            Err(error) => tracing::warn!(%error, "a tree could not be read; its clock begins anew"),
        }
    }

    /// Begins the clock of a tree anew. What is stored of it goes with the next write of it.
    pub(super) fn forget_clock(&mut self, tree: TreeId) {
        if let Some(clock) = self.clocks.remove(&tree) {
            self.forgotten.entry(tree).or_default().extend(clock.actors());
        }
    }

    /// The dots of every version that can be read of a tree.
    fn held(&self, tree: TreeId) -> Result<Causal, ReadError> {
        let mut held = Causal::default();
        let Some(interval) = self.contents.layout().interval_of(tree) else { return Ok(held) };
        for bucket in self.contents.buckets_of(tree) {
            let from = format::position_bound(bucket, interval.first());
            let to = format::after_position(bucket, interval.last());
            let mut records = Records::new(Table::Keys, from, to);
            while let Some((place, record)) = records.next(&*self.engine)? {
                // A bad one is reported when it is read for itself.
                if let Ok((_, state)) = read_state(&place, &record) {
                    for sibling in state.siblings() {
                        held.insert(sibling.dot);
                    }
                }
            }
        }
        Ok(held)
    }

    /// Draws a new actor if anyone knows more of the present one than this replica does: then versions were forgotten
    /// in this very life, and their dots must not be given again. From then on the old actor's are a stranger's.
    pub(super) fn renew_actor_if_forgetful(&mut self, tree: TreeId, incoming: &Causal) {
        let actor = self.identity.actor;
        if incoming.highest(actor) > self.clock(tree).highest(actor) {
            self.renew_actor(incoming);
        }
    }

    /// Takes an actor that neither this store nor `incoming` has heard of.
    fn renew_actor(&mut self, incoming: &Causal) {
        let actor = self.identity.actor;
        while self.identity.actor == actor || incoming.highest(self.identity.actor) > 0 {
            self.identity.actor = self.draw_actor();
        }
        self.counters.actors_drawn += 1;
        let drawn = self.identity.actor;
        tracing::info!(%actor, %drawn, "this store has forgotten writes of its own; it takes a new actor");
    }

    /// Draws an actor that this store has not heard of.
    pub(super) fn draw_actor(&mut self) -> Actor {
        loop {
            let drawn = Actor(self.rng.next_u64());
            if self.clocks.values().all(|clock| clock.highest(drawn) == 0) {
                return drawn;
            }
        }
    }

    /// Writes a key's new state, or removes its record, and what follows from it; returns the key's element from now on.
    /// Nothing here can fail: the engine has admitted the batch.
    pub(super) fn write(
        &mut self,
        key: &StoreKey,
        old: &Loaded,
        state: Option<&KeyState>,
        mut batch: Batch,
    ) -> (Commit, Option<Element>) {
        let place = format::state_key(key);
        let record = state.map(|state| format::seal(Table::Keys, &place, state));
        let element = record.as_ref().map(|record| element_of(self.contents.tree_key(), &place, record));
        match record {
            Some(record) => batch.put(Table::Keys, place.clone(), record),
            None => batch.remove(Table::Keys, place.clone()),
        }
        if let Some(leaf) = self.contents.mark(key) {
            let mark = format::mark_key(self.tree_of(key), leaf);
            let record = format::seal(Table::Marks, &mark, &());
            batch.put(Table::Marks, mark, record);
        }
        let commit = self.engine.commit(batch);

        self.bad.remove(&(Table::Keys, place));
        match state.zip(element) {
            Some((state, element)) => self.hot.insert(key, Hot { state: state.clone(), element }),
            None => self.hot.remove(key),
        }
        self.graves.note(self.tree_of(key), key, old.state.as_ref(), state);
        let written_at = state.map_or(0, KeyState::written_at);
        if let Some(crowded) = self.contents.apply(key, old.element, element, written_at) {
            self.recount(self.tree_of(key), crowded);
        }
        (commit, element)
    }

    /// Makes a leaf of the tree say what the records say.
    fn recount(&mut self, tree: TreeId, leaf: chinwag_merkle::Interval) {
        if let Err(error) = self.rescan(tree, leaf) {
            tracing::warn!(%error, "a leaf could not be read; it is asked for again at its next write");
        }
    }

    pub(super) fn tree_of(&self, key: &StoreKey) -> TreeId {
        self.contents.layout().tree_of(key)
    }

    pub(super) fn clock(&self, tree: TreeId) -> &Causal {
        static NOTHING: Causal = Causal::EMPTY;
        self.clocks.get(&tree).unwrap_or(&NOTHING)
    }

    pub(super) fn losses(&self, tree: TreeId) -> u64 {
        self.losses.get(&tree).copied().unwrap_or(0)
    }

    #[cfg(test)]
    pub(super) fn obeys(&self, rule: super::tests::Rule) -> bool {
        self.without != Some(rule)
    }
}

/// What there is at a place.
pub(super) enum Found<T> {
    Nothing,
    Bad,
    Record { body: T, record: Bytes },
}
