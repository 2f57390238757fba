//! Owns one side of the swap of an exchange: what it hands over at the positions that differ, what it makes of what it is
//! handed, and what it may vouch for in the end. Refuses to find the positions (that is `chinwag_merkle`'s) and to carry
//! anything (that is its host's).
//!
//! ```text
//! initiator                                    responder
//!   Outset, its clock                      ─►    Outset, its clock
//!   (the trees are compared)              ◄─►
//!   offer(positions): every key there      ─►    accept(key, state), for each
//!   positions                              ─►    answer(positions): what is left there that the initiator does not
//!   accept(key, state), gone(key)          ◄─       hold alike, and which of its keys are gone
//!   conclude(clean)                       ◄─►    conclude(clean)
//! ```
//!
//! Both know what the other had seen when it began. A version that the other's clock covers and that is not in the
//! other's state of the key, read at any time since, was overwritten there. It is dropped here, so a delete reaches who
//! still holds the value, or the tombstone, although the other side no longer has anything to show for it. Only a
//! listing that was complete says that something is *not* there: the initiator's before the positions, and the words of
//! the responder, who knows what it was offered. A tree's differences do not: keys share positions, and one of them may
//! be held alike.
//!
//! If the trees were equal from the start, both replicas held the same, so each holds or has seen the end of everything
//! that the other's clock covered then. Then, and only then, the clocks are merged.
//!
//! A record found damaged meanwhile is not one that was overwritten: it ends the exchange.

use super::{Merged, StatePage, Store, WriteError};
use crate::engine::{Commit, ReadError};
use crate::key::StoreKey;
use crate::version::{Causal, KeyState};
use chinwag_merkle::{Directory, TreeId};
use std::collections::BTreeMap;

/// A replica as it stands when an exchange begins.
#[derive(Debug)]
pub struct Outset {
    id: TreeId,
    /// What it has seen: what the other side is told.
    pub clock: Causal,
    /// What it holds: a snapshot.
    pub tree: Directory,
    losses: u64,
}

/// One side of a swap.
#[derive(Debug)]
pub struct Swap {
    id: TreeId,
    losses: u64,
    /// What the other side had seen when the exchange began.
    theirs: Causal,
    /// What it sent since the last answer, and whether it is held here alike.
    accepted: BTreeMap<StoreKey, bool>,
}

/// What a responder answers.
#[derive(Debug, Default)]
pub struct Answer {
    /// What is held here and not alike there.
    pub states: Vec<(StoreKey, KeyState)>,
    /// Keys that were offered and of which nothing is left here.
    pub gone: Vec<StoreKey>,
    /// Keys of which something was dropped here, since the other side has seen its end.
    pub dropped: u64,
    /// Where to go on; `None` if this is all.
    pub next: Option<StoreKey>,
}

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
    /// This replica's side of a tree as it stands; `None` if there is no such tree.
    #[must_use]
    pub fn outset(&self, id: TreeId) -> Option<Outset> {
        let replica = self.lock();
        let tree = replica.contents.tree(id, Directory::clone)?;
        let (clock, losses) = (replica.clock(id).clone(), replica.losses(id));
        Some(Outset { id, clock, tree, losses })
    }
}

impl Swap {
    /// The side that began at `outset`, with one that had seen `theirs`.
    #[must_use]
    pub const fn new(outset: &Outset, theirs: Causal) -> Self {
        let Outset { id, losses, .. } = *outset;
        Self { id, losses, theirs, accepted: BTreeMap::new() }
    }

    /// Whether all that this side said so far was true. To be asked before anything is said that the store was read for.
    ///
    /// # Errors
    /// [`SwapError::Lost`] if it was not.
    pub fn check(&self, store: &Store) -> Result<(), SwapError> {
        let losses = store.lock().losses(self.id);
        if losses == self.losses { Ok(()) } else { Err(SwapError::Lost) }
    }

    /// What this side holds at `positions`, which ascend; the page after that which ended with `after`.
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
        let page = store.states_at(self.id, positions, after, limit)?;
        self.check(store)?;
        Ok(page)
    }

    /// Takes in what the other side holds of a key.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn accept(&mut self, store: &Store, key: StoreKey, state: &KeyState) -> Result<Merged, SwapError> {
        let merged = self.merge(store, &key, state)?;
        self.accepted.insert(key, merged.state == *state);
        Ok(merged)
    }

    /// Takes in that the other side holds nothing of a key that it was offered.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn gone(&self, store: &Store, key: &StoreKey) -> Result<Merged, SwapError> {
        self.merge(store, key, &KeyState::default())
    }

    /// What the other side is to know, now that it has offered all that it holds at `positions`, which ascend; the page
    /// after that which ended with `after`.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn answer(
        &mut self,
        store: &Store,
        positions: &[u128],
        after: Option<&StoreKey>,
        limit: usize,
    ) -> Result<Answer, SwapError> {
        let page = self.offer(store, positions, after, limit)?;
        let mut answer = Answer { next: page.next, ..Answer::default() };
        for (key, state) in page.states {
            match self.accepted.remove(&key) {
                Some(true) => {}
                Some(false) => answer.states.push((key, state)),
                None => {
                    let Merged { changed, state: left, .. } = self.gone(store, &key)?;
                    answer.dropped += u64::from(changed);
                    if !left.siblings().is_empty() {
                        answer.states.push((key, left));
                    }
                }
            }
        }
        if answer.next.is_none() {
            answer.gone = std::mem::take(&mut self.accepted).into_keys().collect();
        }
        Ok(answer)
    }

    /// Ends the exchange; if both trees were equal when it began, this replica from now on vouches for what the other had
    /// seen. The commit resolves when all it took in is durable.
    ///
    /// # Errors
    /// See [`SwapError`].
    pub fn conclude(self, store: &Store, clean: bool) -> Result<Commit, SwapError> {
        store.engine.admit().map_err(WriteError::from)?;
        let mut replica = store.lock();
        if clean && replica.losses(self.id) != self.losses {
            return Err(SwapError::Lost);
        }
        let vouched = if clean { self.theirs } else { Causal::EMPTY };
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
