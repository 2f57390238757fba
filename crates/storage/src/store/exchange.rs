//! Owns one side of the swap of an exchange: what it hands over at the positions that differ, what it makes of what it is
//! handed, and what it may vouch for in the end. Refuses to find the positions (that is `chinwag_merkle`'s) and to carry
//! anything (that is its host's).
//!
//! ```text
//! initiator                                    responder
//!   Outset, its clock                      ─►    Outset, its clock
//!   (the trees are compared: each learns where it holds what the other does not hold alike)
//!   offer(its positions): every key there  ─►    accept(key, state), for each
//!   accept(key, state), gone(key)          ◄─    answer(): what became of those that are not held alike now
//!   accept(key, state), for each           ◄─    offer(its positions), but for keys that it was offered
//!   answer()                               ─►    accept(key, state), gone(key)
//!   conclude(clean)                       ◄─►    conclude(clean)
//! ```
//!
//! Both know what the other had seen when it began. A version that the other's clock covers and that is not in the
//! other's state of the key, read at any time since, was overwritten there. It is dropped here, so a delete reaches who
//! still holds the value, or the tombstone, although the other side no longer has anything to show for it. That a key is
//! *not* there is never concluded: the other side, which was offered the key, says so.
//!
//! If the trees were equal from the start, both replicas held the same, so each holds or has seen the end of everything
//! that the other's clock covered then. Then, and only then, the clocks are merged.
//!
//! Trees are compared as of a cut: what was written since may still be on its way. The clocks that are merged are those of
//! the cut too: without the dots of versions that were written since, and of versions that arrived when a younger one
//! had overwritten them, if that one was written since. Both are in the clock and not in the trees that were equal.
//!
//! A record found damaged meanwhile is not one that was overwritten: it ends the exchange.

use super::{Merged, StatePage, Store, WriteError};
use crate::engine::{Commit, ReadError};
use crate::key::StoreKey;
use crate::version::{Causal, KeyState};
use chinwag_merkle::{Cut, Snapshot, Sum, TreeId};
use std::collections::BTreeSet;

/// A replica as it stands when an exchange begins.
#[derive(Debug)]
pub struct Outset {
    id: TreeId,
    /// What it has seen: what the other side is told.
    pub clock: Causal,
    /// What of that does not count at the cut: the other side is told that too.
    pub young: Causal,
    /// What it holds, as of the cut.
    pub tree: Snapshot,
    losses: u64,
}

/// One side of a swap.
#[derive(Debug)]
pub struct Swap {
    id: TreeId,
    losses: u64,
    /// What the other side had seen when the exchange began.
    theirs: Causal,
    /// What of that did not count in the comparison.
    young: Causal,
    /// Keys that it sent: what is to be said of them is in the answer.
    accepted: BTreeSet<StoreKey>,
    /// Those of them that are not held here as it sent them, and it has not been told.
    unlike: BTreeSet<StoreKey>,
}

/// What a side answers to an offer.
#[derive(Debug, Default)]
pub struct Answer {
    /// What is held here of keys that were offered, and not alike.
    pub states: Vec<(StoreKey, KeyState)>,
    /// Keys that were offered and of which nothing is left here.
    pub gone: Vec<StoreKey>,
}

/// Keys of offers that are remembered so as not to be offered in turn.
const ACCEPTED_MAX: usize = 1 << 15;

/// Why an exchange must end. Nothing was taken in wrongly; what was swapped before stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwapError {
    /// A record of the tree was found damaged since the exchange began. The next exchange begins with what is left.
    #[error("a record was found damaged meanwhile")]
    Lost,
    /// See [`ReadError`].
    #[error(transparent)]
    Read(#[from] ReadError),
    /// See [`WriteError`].
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Store {
    /// This replica's side of a tree as it stood at a cut; `None` if there is no such tree, if it is not
    /// [mended](Self::mend) yet, or if the cut is too long ago.
    #[must_use]
    pub fn outset(&self, id: TreeId, cut: Cut) -> Option<Outset> {
        let replica = self.lock();
        if !replica.contents.is_sure(id) {
            return None;
        }
        let tree = replica.contents.tree(id, |tree| tree.at(cut))??;
        let (clock, young) = (replica.clock(id).clone(), replica.young_at(id, cut));
        Some(Outset { id, clock, young, tree, losses: replica.losses(id) })
    }

    /// The sum of all that a tree held at a cut, and what this replica had seen of it; `None` as for
    /// [`outset`](Self::outset).
    #[must_use]
    pub fn root(&self, id: TreeId, cut: Cut) -> Option<(Sum, Causal)> {
        let replica = self.lock();
        if !replica.contents.is_sure(id) {
            return None;
        }
        let sum = replica.contents.tree(id, |tree| tree.total_at(cut))??;
        let mut clock = replica.clock(id).clone();
        clock.subtract(&replica.young_at(id, cut));
        Some((sum, clock))
    }

    /// Tells the time, in milliseconds of wall time since 1970: to be called at the start and every few seconds. From the
    /// first call on it is remembered for 20 s what keys were before they were written.
    pub fn settle(&self, now: u64) {
        self.lock().settle(now);
    }
}

impl Swap {
    /// The side that began at `outset`, with one that had seen `theirs`, of which `young` did not count at the cut.
    #[must_use]
    pub const fn new(outset: &Outset, theirs: Causal, young: Causal) -> Self {
        let Outset { id, losses, .. } = *outset;
        Self { id, losses, theirs, young, accepted: BTreeSet::new(), unlike: BTreeSet::new() }
    }

    /// Whether all that this side said so far was true. To be asked before anything is said that the store was read for.
    ///
    /// # Errors
    /// [`SwapError::Lost`] if it was not.
    pub fn check(&self, store: &Store) -> Result<(), SwapError> {
        let losses = store.lock().losses(self.id);
        if losses == self.losses { Ok(()) } else { Err(SwapError::Lost) }
    }

    /// What this side holds at `positions`, which ascend, but for what the other side sent; the page after that which ended
    /// with `after`.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn offer(
        &self,
        store: &Store,
        positions: &[u128],
        after: Option<&StoreKey>,
        limit: usize,
    ) -> Result<StatePage, SwapError> {
        let mut page = store.states_at(self.id, positions, after, limit)?;
        self.check(store)?;
        page.states.retain(|(key, _)| !self.accepted.contains(key));
        Ok(page)
    }

    /// Everything this side holds in the tree, for one that holds little of it; the page after that which ended with
    /// `after`.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn offer_all(
        &self,
        store: &Store,
        after: Option<&StoreKey>,
        limit: usize,
    ) -> Result<StatePage, SwapError> {
        let page = store.states_of(self.id, after, limit)?;
        self.check(store)?;
        Ok(page)
    }

    /// Takes in what the other side holds of a key.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn accept(&mut self, store: &Store, key: StoreKey, state: &KeyState) -> Result<Merged, SwapError> {
        let merged = self.merge(store, &key, state)?;
        if merged.state != *state {
            self.unlike.insert(key.clone());
        }
        if self.accepted.len() < ACCEPTED_MAX {
            self.accepted.insert(key);
        }
        Ok(merged)
    }

    /// Takes in that the other side holds nothing of a key that it was offered.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn gone(&self, store: &Store, key: &StoreKey) -> Result<Merged, SwapError> {
        self.merge(store, key, &KeyState::default())
    }

    /// What the other side is to know of keys that it sent, up to `limit` of them; `None` once it knows all.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn answer(&mut self, store: &Store, limit: usize) -> Result<Option<Answer>, SwapError> {
        let mut answer = Answer::default();
        while answer.states.len() + answer.gone.len() < limit.max(1)
            && let Some(key) = self.unlike.pop_first()
        {
            match store.get(&key)? {
                Some(state) => answer.states.push((key, state)),
                None => answer.gone.push(key),
            }
        }
        self.check(store)?;
        Ok(Some(answer).filter(|answer| !answer.states.is_empty() || !answer.gone.is_empty()))
    }

    /// Ends the exchange; if both trees were equal at the cut, this replica from now on vouches for what the other had
    /// seen by then. The commit resolves when all it took in is durable.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn conclude(self, store: &Store, clean: bool) -> Result<Commit, SwapError> {
        store.engine.admit().map_err(WriteError::from)?;
        let mut replica = store.lock();
        if clean && replica.losses(self.id) != self.losses {
            return Err(SwapError::Lost);
        }
        let mut vouched = if clean { self.theirs } else { Causal::EMPTY };
        vouched.subtract(&self.young);
        Ok(replica.merge_clock(self.id, &vouched))
    }

    fn merge(&self, store: &Store, key: &StoreKey, state: &KeyState) -> Result<Merged, SwapError> {
        store.engine.admit().map_err(WriteError::from)?;
        let mut replica = store.lock();
        #[cfg(test)]
        if !replica.obeys(super::tests::Rule::HolderLearns) {
            return Ok(replica.merge(key, state, &Causal::EMPTY)?);
        }
        Ok(replica.merge(key, state, &self.theirs)?)
    }
}
