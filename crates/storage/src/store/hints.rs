//! Owns hints: key states parked for absent primaries, until they are delivered. Refuses to know who the primaries are;
//! a target is a number the caller chose.

use super::replica::{Found, Replica};
use super::scan::{PageInMaking, Records};
use super::{StatePage, Store, WriteError};
use crate::engine::{Batch, Commit, ReadError, Refusal, Table};
use crate::format::{self, BadRecord, HintBody};
use crate::key::StoreKey;
use crate::version::KeyState;
use bytes::Bytes;
use std::collections::BTreeMap;

/// What waits for one absent primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// For whom.
    pub target: u64,
    /// How many keys wait.
    pub hints: u64,
    /// Their bytes on disk, which the quota counts.
    pub bytes: u64,
    /// When the oldest was parked, in milliseconds of wall time as it was handed in.
    pub oldest: u64,
}

/// A parked hint.
#[derive(Debug)]
pub struct Parked {
    /// Everything parked for the target under this key now.
    pub state: KeyState,
    /// Resolves when it is durable. Only then may the hint count towards a write's quorum.
    pub commit: Commit,
}

/// Why a hint was not parked. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParkError {
    /// The target's hints are at their quota. Another fallback may have room; anti-entropy delivers what none takes.
    #[error("hints for {target:016x} hold {bytes} bytes and may hold {quota}")]
    Quota {
        /// Who the hints are for.
        target: u64,
        /// What they hold.
        bytes: u64,
        /// What they may hold.
        quota: u64,
    },
    /// As for any other write.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Store {
    /// Parks a key's state for an absent primary, merged with what is already parked for it under the key. `now` is
    /// wall time in milliseconds.
    ///
    /// # Errors
    /// See [`ParkError`].
    pub fn park(&self, target: u64, key: &StoreKey, state: &KeyState, now: u64) -> Result<Parked, ParkError> {
        self.engine.admit().map_err(WriteError::from)?;
        self.lock().park(target, key, state, now)
    }

    /// What is parked for a target under a key: what a fallback answers in the absent primary's stead.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn hinted(&self, target: u64, key: &StoreKey) -> Result<Option<KeyState>, ReadError> {
        match self.lock().read::<HintBody>(Table::Hints, &format::hint_key(target, key))? {
            Found::Record { body: hint, .. } => Ok(Some(hint.state)),
            Found::Nothing | Found::Bad => Ok(None),
        }
    }

    /// A target's hints in order of key, beyond `after` or from the start, up to `limit`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn hints(&self, target: u64, after: Option<&StoreKey>, limit: usize) -> Result<StatePage, ReadError> {
        let from = after.map_or_else(
            || format::hints_of(target),
            |key| format::successor(&format::hint_key(target, key)),
        );
        let to = target.checked_add(1).map(format::hints_of);
        let read =
            |place: &Bytes, record: &Bytes| read_hint(place, record).map(|(_, key, hint)| (key, hint.state));
        let mut page = PageInMaking::new(limit);
        page.fill(&mut self.lock(), Table::Hints, from, to, read)?;
        Ok(page.finish())
    }

    /// Forgets a delivered hint, unless more was parked under the key since: then there is nothing to forget yet, and
    /// `None` is returned.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn unpark(
        &self,
        target: u64,
        key: &StoreKey,
        delivered: &KeyState,
    ) -> Result<Option<Commit>, WriteError> {
        match self.engine.admit() {
            // A hint that goes makes room.
            Ok(()) | Err(Refusal::NoSpace { .. }) => self.lock().unpark(target, key, delivered),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// What waits for whom, in order of target.
    #[must_use]
    pub fn backlogs(&self) -> Vec<Backlog> {
        self.lock().backlogs.all()
    }

    /// The most bytes that ever waited for one target since the store was opened, and the most that may.
    #[must_use]
    pub fn hint_bytes(&self) -> (u64, u64) {
        let replica = self.lock();
        (replica.backlogs.most, replica.backlogs.quota)
    }
}

impl Replica {
    fn park(&mut self, target: u64, key: &StoreKey, state: &KeyState, now: u64) -> Result<Parked, ParkError> {
        let place = format::hint_key(target, key);
        let found = self.read::<HintBody>(Table::Hints, &place).map_err(WriteError::from)?;
        let (old, old_size) = match found {
            Found::Record { body, record } => (Some(body), size(&place, &record)),
            Found::Nothing | Found::Bad => (None, 0),
        };
        let old_parked_at = old.as_ref().map(|hint| hint.parked_at);
        let mut hint = old.unwrap_or_else(|| HintBody { parked_at: now, state: KeyState::default() });
        if !hint.state.merge(state).changed {
            return Ok(Parked { state: hint.state, commit: self.engine.commit(Batch::default()) });
        }
        let record = format::seal(Table::Hints, &place, &hint);
        let new_size = size(&place, &record);
        self.backlogs.admit(target, old_size, new_size)?;

        self.renew_actor_if_forgetful(self.tree_of(key), state.context());
        let mut batch = Batch::default();
        batch.put(Table::Hints, place.clone(), record);
        self.bad.remove(&(Table::Hints, place));
        if let Some(parked_at) = old_parked_at {
            self.backlogs.remove(target, old_size, parked_at);
        }
        self.backlogs.add(target, new_size, hint.parked_at);
        Ok(Parked { state: hint.state, commit: self.engine.commit(batch) })
    }

    /// Counts anew what waits for a target, after one of its hints was found damaged.
    pub(super) fn recount_hints(&mut self, target: u64) {
        self.backlogs.forget(target);
        let to = target.checked_add(1).map(format::hints_of);
        let mut records = Records::new(Table::Hints, format::hints_of(target), to);
        while let Ok(Some((place, record))) = records.next(&*self.engine) {
            // Another bad one is reported when it is read for itself.
            if let Err(bad) = self.backlogs.recover(&place, &record) {
                tracing::debug!(%bad, "a damaged hint is not counted");
            }
        }
    }

    fn unpark(
        &mut self,
        target: u64,
        key: &StoreKey,
        delivered: &KeyState,
    ) -> Result<Option<Commit>, WriteError> {
        let place = format::hint_key(target, key);
        let Found::Record { body: hint, record } = self.read::<HintBody>(Table::Hints, &place)? else {
            return Ok(None);
        };
        if hint.state != *delivered {
            return Ok(None);
        }
        self.backlogs.remove(target, size(&place, &record), hint.parked_at);
        let mut batch = Batch::default();
        batch.remove(Table::Hints, place);
        Ok(Some(self.engine.commit(batch)))
    }
}

/// The totals of what is parked, by target.
#[derive(Debug)]
pub(super) struct Backlogs {
    quota: u64,
    /// The most that ever waited for one target.
    most: u64,
    targets: BTreeMap<u64, Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    bytes: u64,
    /// How many hints were parked at each time.
    parked: BTreeMap<u64, u64>,
}

impl Backlogs {
    pub(super) const fn new(quota: u64) -> Self {
        Self { quota, most: 0, targets: BTreeMap::new() }
    }

    /// Accounts for a hint found on disk.
    pub(super) fn recover(&mut self, place: &Bytes, record: &Bytes) -> Result<(), BadRecord> {
        let (target, _, hint) = read_hint(place, record)?;
        self.add(target, size(place, record), hint.parked_at);
        Ok(())
    }

    /// Forgets a target's totals, to be recovered anew.
    fn forget(&mut self, target: u64) {
        self.targets.remove(&target);
    }

    /// Whether a hint may grow from one size to another. One that shrinks always may.
    fn admit(&self, target: u64, old_size: u64, new_size: u64) -> Result<(), ParkError> {
        let bytes = self.targets.get(&target).map_or(0, |tally| tally.bytes);
        if new_size > old_size && bytes.saturating_sub(old_size).saturating_add(new_size) > self.quota {
            return Err(ParkError::Quota { target, bytes, quota: self.quota });
        }
        Ok(())
    }

    fn add(&mut self, target: u64, size: u64, parked_at: u64) {
        let tally = self.targets.entry(target).or_default();
        tally.bytes += size;
        self.most = self.most.max(tally.bytes);
        *tally.parked.entry(parked_at).or_default() += 1;
    }

    fn remove(&mut self, target: u64, size: u64, parked_at: u64) {
        let Some(tally) = self.targets.get_mut(&target) else { return };
        tally.bytes = tally.bytes.saturating_sub(size);
        if let Some(count) = tally.parked.get_mut(&parked_at) {
            *count -= 1;
            if *count == 0 {
                tally.parked.remove(&parked_at);
            }
        }
        if tally.parked.is_empty() {
            self.targets.remove(&target);
        }
    }

    fn all(&self) -> Vec<Backlog> {
        let backlog = |(&target, tally): (&u64, &Tally)| {
            let (&oldest, _) = tally.parked.first_key_value()?;
            Some(Backlog { target, hints: tally.parked.values().sum(), bytes: tally.bytes, oldest })
        };
        self.targets.iter().filter_map(backlog).collect()
    }
}

pub(super) fn read_hint(place: &Bytes, record: &Bytes) -> Result<(u64, StoreKey, HintBody), BadRecord> {
    let hint = format::open(Table::Hints, place, record)?;
    let (target, key) = format::parse_hint_key(place).ok_or(BadRecord::Truncated)?;
    Ok((target, key, hint))
}

fn size(place: &Bytes, record: &Bytes) -> u64 {
    (place.len() + record.len()) as u64
}
