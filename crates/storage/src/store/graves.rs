//! Owns the end of deleted and expired keys: which there are, what the other replicas are known to have seen, and when a
//! record may be removed. Refuses to know who the owners of a tree are; the caller names them.
//!
//! # Why a removed tombstone brings nothing back
//!
//! A deleted key's record is all tombstones, and its context covers every version of the key that they replaced. It is
//! removed once the clocks of this replica and of every owner are known to include that whole context. From then on each
//! of them refuses each of those versions (`store::replica`), wherever one turns up: in a late hint, with a member that
//! was away, with one that no longer owns the key, in a copy restored from long ago. Whoever still holds one learns in
//! its next exchange with any of them that it is over ([`Swap`](super::Swap)), and holds it no more. To bring a version
//! back, all clocks that cover it would have to be lost before any of them was taught to a replica that began anew: as
//! many disks as there are owners, at once.
//!
//! No time is waited for, so no member can be away for too long; an owner that is away keeps the record.
//!
//! That the *whole* context is asked for is more than would do: coordinators round contexts up over dots of other keys.
//! Clocks become dense with clean exchanges, so rounding delays and does not prevent, with one exception. A version that
//! reached nobody before its only disk was lost leaves a dot that no clock will ever cover, and deleted keys whose
//! contexts reach over it keep their tombstones. That is the safe side: a hint or a copy may still hold that version.
//! The record is removed all the same if an owner that knows more has removed it.
//!
//! An expired version is no different: it is in the record and in the tree until the record goes, and goes by the same
//! proof. Replicas whose clocks differ therefore hold the same until one of them has removed it, and then the others learn
//! from its clock that it is over; none ever takes it back.
//!
//! Only [`purge`](super::Store::purge) and exchanges remove records. What is known of others is in memory alone and
//! learned again after a restart.

use super::replica::Replica;
use super::{Store, WriteError};
use crate::engine::{Batch, Commit, ReadError};
use crate::key::StoreKey;
use crate::version::{Causal, KeyState};
use chinwag_merkle::TreeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Keys that one call of [`Store::purge`] looks at.
const PURGE_KEYS_MAX: usize = 256;

/// One life of a member: what a process that was started again no longer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// Which member, by the number the caller knows it by.
    pub member: u64,
    /// Which of its lives.
    pub generation: u64,
}

/// What a purge did.
#[derive(Debug)]
pub struct Purged {
    /// Records removed.
    pub keys: u64,
    /// True if not every such key of the tree was looked at: call again.
    pub more: bool,
    /// Resolves when the removals are durable.
    pub commit: Commit,
}

impl Store {
    /// How many keys are deleted, or were found expired, and still have a record.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        self.lock().graves.count()
    }

    /// The trees that hold a key which is deleted, or expired at `now` (milliseconds of wall time since 1970), in order.
    #[must_use]
    pub fn trees_with_tombstones(&self, now: u64) -> Vec<TreeId> {
        self.lock().graves.open(now)
    }

    /// Notes what another replica has seen of a tree, in place of what was known of it, and takes a new actor if it
    /// has seen more of this store than this store has. To be called with every clock that is heard, before the next
    /// put; a clock from a life that is over must not be.
    pub fn hear_clock(&self, tree: TreeId, who: Life, clock: &Causal) {
        let mut replica = self.lock();
        replica.renew_actor_if_forgetful(tree, clock);
        #[cfg(test)]
        if !replica.obeys(super::tests::Rule::ClocksWhenClean) {
            drop(replica.merge_clock(tree, clock));
        }
        if let Some(grave) = replica.graves.0.get_mut(&tree) {
            grave.heard.insert(who.member, (who.generation, clock.clone()));
        }
    }

    /// Removes the records of keys that are deleted, or expired at `now`, and that this replica and all `others`, the
    /// tree's owners as they live now, are known to have seen the end of. Looks at 256 keys at most.
    ///
    /// What one replica removes is over for all: `now`, in milliseconds of wall time since 1970, lags behind the clock by
    /// what clocks may differ.
    ///
    /// # Errors
    /// See [`WriteError`]; nothing was removed.
    pub fn purge(&self, tree: TreeId, others: &[Life], now: u64) -> Result<Purged, WriteError> {
        self.engine.admit()?;
        Ok(self.lock().purge(tree, others, now)?)
    }
}

impl Replica {
    fn purge(&mut self, tree: TreeId, others: &[Life], now: u64) -> Result<Purged, ReadError> {
        let mut purged = Purged { keys: 0, more: false, commit: self.engine.commit(Batch::default()) };
        let Some(grave) = self.graves.0.get_mut(&tree) else { return Ok(purged) };
        let Some(heard) = grave.heard_of(others) else { return Ok(purged) };
        grave.open(now);
        let (keys, more) = grave.next_keys();
        purged.more = more;
        for key in keys {
            let old = self.load(&key)?;
            // A key of which nothing can be read is nobody's to remove.
            let Some(state) = old.state.as_ref() else { continue };
            let is_over = |clock: &Causal| clock.includes(state.context());
            let is_known = is_over(self.clock(tree)) && heard.iter().all(is_over);
            #[cfg(test)]
            let is_known = is_known || !self.obeys(super::tests::Rule::PurgedOnProof);
            if state.over_at().is_none_or(|end| end > now) {
                // It stood here for a record that rotted since.
                self.graves.note(tree, &key, None, Some(state));
            } else if is_known {
                (purged.commit, _) = self.write(&key, &old, None, Batch::default());
                purged.keys += 1;
            }
        }
        Ok(purged)
    }
}

/// The deleted and expiring keys of each tree that has any: as many entries as there are such keys, about a hundred bytes
/// each.
#[derive(Debug, Default)]
pub(super) struct Graves(BTreeMap<TreeId, Grave>);

#[derive(Debug, Default)]
struct Grave {
    /// Those that are over.
    keys: BTreeSet<StoreKey>,
    /// Those that will be, and when.
    due: BTreeSet<(u64, StoreKey)>,
    /// What other members were last heard to have seen, and in which of their lives.
    heard: BTreeMap<u64, (u64, Causal)>,
    /// Where the last purge stopped looking.
    looked: Option<StoreKey>,
}

impl Graves {
    /// Accounts for what a key's record said before and says now, as far as there was and is one.
    pub(super) fn note(
        &mut self,
        tree: TreeId,
        key: &StoreKey,
        before: Option<&KeyState>,
        now: Option<&KeyState>,
    ) {
        let end = now.and_then(KeyState::over_at);
        if !self.0.contains_key(&tree) && end.is_none() {
            return;
        }
        let grave = self.0.entry(tree).or_default();
        grave.keys.remove(key);
        if let Some(end) = before.and_then(KeyState::over_at) {
            grave.due.remove(&(end, key.clone()));
        }
        match end {
            Some(0) => {
                grave.keys.insert(key.clone());
            }
            Some(end) => {
                grave.due.insert((end, key.clone()));
            }
            None if grave.keys.is_empty() && grave.due.is_empty() => drop(self.0.remove(&tree)),
            None => {}
        }
    }

    /// The trees in which a key is over at `now`.
    fn open(&mut self, now: u64) -> Vec<TreeId> {
        let opened = self.0.iter_mut().filter_map(|(&tree, grave)| grave.open(now).then_some(tree));
        opened.collect()
    }

    fn count(&self) -> u64 {
        self.0.values().map(|grave| grave.keys.len() as u64).sum()
    }
}

impl Grave {
    /// Takes up the keys that are over at `now`; true if there are any, of these or of before.
    fn open(&mut self, now: u64) -> bool {
        while self.due.first().is_some_and(|(end, _)| *end <= now) {
            self.keys.extend(self.due.pop_first().map(|(_, key)| key));
        }
        !self.keys.is_empty()
    }

    /// What each of `others` was heard to have seen; `None` if of any nothing was heard in its present life.
    fn heard_of(&self, others: &[Life]) -> Option<Vec<Causal>> {
        let clock = |life: &Life| {
            let (generation, clock) = self.heard.get(&life.member)?;
            (*generation == life.generation).then(|| clock.clone())
        };
        others.iter().map(clock).collect()
    }

    /// The keys to look at next, and whether there are more before the first comes round again.
    fn next_keys(&mut self) -> (Vec<StoreKey>, bool) {
        let from = self.looked.take().map_or(Bound::Unbounded, Bound::Excluded);
        let keys: Vec<_> = self.keys.range((from, Bound::Unbounded)).take(PURGE_KEYS_MAX).cloned().collect();
        let more = keys.len() == PURGE_KEYS_MAX;
        self.looked = keys.last().filter(|_| more).cloned();
        (keys, more)
    }
}
