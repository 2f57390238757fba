//! Owns a member's replica: key states, the clocks and trees that follow them, who the directory is. Refuses to know
//! other members; what they sent is handed in, what they need is handed out.

mod cache;
mod contents;
mod exchange;
mod graves;
mod hints;
mod identity;
mod inspect;
mod opening;
mod replica;
mod saved;
mod scan;

pub use exchange::{Answer, Outset, Swap, SwapError};
pub use graves::{Life, Purged};
pub use hints::{Backlog, ParkError, Parked};
pub use identity::Identity;
pub use inspect::{Fault, Inspection, Item, Size, inspect};
pub use opening::{StoreOpenError, StoreOptions};
pub use saved::Scrubbed;
pub use scan::StatePage;

use crate::backup::{BackupCursor, BackupPage, backup_page};
use crate::engine::{Batch, CloseError, Commit, Engine, ReadError, Refusal};
use crate::key::StoreKey;
use crate::version::{Causal, Content, Dot, KeyState, Stamp};
use bytes::Bytes;
use chinwag_merkle::TreeId;
use replica::Replica;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

/// A member's replica on an engine.
///
/// All methods are synchronous and short. What changes something returns a [`Commit`]: the change is visible to every
/// later call at once, and durable when the commit resolves; only then may it be acknowledged to anyone. Commits need
/// not be awaited before the next call.
///
/// A store may be dropped without [`close`](Self::close), as a crash would: what is durable is whole.
#[derive(Debug)]
pub struct Store {
    engine: Arc<dyn Engine>,
    replica: Mutex<Replica>,
}

/// What a put did.
#[derive(Debug)]
pub struct Written {
    /// The new version's name.
    pub dot: Dot,
    /// What the client has seen now: what it supplied and exactly its own dot. Not the state's context, which covers
    /// siblings that the client never saw.
    pub context: Causal,
    /// The whole state after the put: what goes to the other owners.
    pub state: KeyState,
    /// Resolves when the put is durable here.
    pub commit: Commit,
}

/// What a merge did.
#[derive(Debug)]
pub struct Merged {
    /// True if the key's state is not what it was.
    pub changed: bool,
    /// True if all that changed is that versions went which no reader is shown: tombstones, and values that have expired.
    pub tidied: bool,
    /// The whole state after the merge; without siblings if nothing is left of the key here.
    pub state: KeyState,
    /// Dots under which two different contents were met; see [`MergeReport`](crate::MergeReport).
    pub skewed: Vec<Dot>,
    /// Resolves when everything in `state` is durable here, also what was here before.
    pub commit: Commit,
}

/// What happened to this store since it was opened, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records found damaged, and journals of the engine's that were when it was opened. Each record was treated as absent;
    /// the other replicas can fill it in again.
    pub bad_records: u64,
    /// Dots met with two contents: evidence of a directory used twice. Nothing was lost; a person should look.
    pub skewed_dots: u64,
    /// Actors drawn because this store had forgotten something it once wrote.
    pub actors_drawn: u64,
}

/// Why a change was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// What is there could not be read. See [`ReadError`].
    #[error(transparent)]
    Read(ReadError),
    /// The engine takes no writes now. See [`Refusal`].
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a version that would be the latest was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PutLatestError {
    /// To be the latest it would need this stamp, beyond the last it may get.
    #[error("the key's latest version is too far ahead: the next would be of {}", .0.millis())]
    Ahead(Stamp),
    /// See [`WriteError`].
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<ReadError> for WriteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Refused(refusal) => Self::Refused(refusal),
            ReadError::Damaged { .. } | ReadError::Io { .. } => Self::Read(error),
        }
    }
}

impl Store {
    /// Opens the replica that `engine` holds, or founds one if it holds none, and reads it whole: clocks, trees and
    /// hint backlogs are rebuilt from the records. Blocks until the opening is durable.
    ///
    /// # Errors
    /// See [`StoreOpenError`].
    pub fn open(engine: Arc<dyn Engine>, options: &StoreOptions) -> Result<Self, StoreOpenError> {
        let replica = opening::open(&engine, options)?;
        Ok(Self { engine, replica: Mutex::new(replica) })
    }

    /// Who this directory is. The actor changes when the store learns that it has forgotten something.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.lock().identity
    }

    /// What happened since the store was opened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.lock().counters
    }

    /// How many keys have a state, tombstones included.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.lock().contents.len()
    }

    /// True if no key has a state.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What this replica knows of a key; `None` if nothing. A damaged record counts as nothing.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn get(&self, key: &StoreKey) -> Result<Option<KeyState>, ReadError> {
        Ok(self.lock().load(key)?.state)
    }

    /// What a reader of a key is to know. As [`get`](Self::get), but where there is no record the state says what this
    /// replica has seen the end of: it has no siblings, and its context is the partition's clock. So a read of a key whose
    /// tombstone was removed has seen the delete, and outdoes a replica that still holds what was deleted.
    ///
    /// For readers alone: merged into a record, the clock would be kept with every key.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, key: &StoreKey) -> Result<KeyState, ReadError> {
        let mut replica = self.lock();
        // Loaded first: a record that is found bad takes its versions out of the clock.
        let state = replica.load(key)?.state;
        Ok(state.unwrap_or_else(|| KeyState::vacant(replica.clock(replica.tree_of(key)).clone())))
    }

    /// Coordinates a write: gives it a dot of this store's own and adds it to the key's state, dropping the siblings
    /// that `seen`, the past its client supplied, covers. `now` is wall time in milliseconds since 1970.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put(
        &self,
        key: &StoreKey,
        seen: &Causal,
        content: Content,
        now: u64,
    ) -> Result<Written, WriteError> {
        self.engine.admit()?;
        self.lock().put(key, seen, content, now)
    }

    /// Coordinates a write in a bucket that keeps the latest version: gives it a dot of this store's own and a stamp above
    /// that of the version held, one of `stamps`, and puts it in the place of all that is known here.
    ///
    /// # Errors
    /// See [`PutLatestError`].
    pub fn put_latest(
        &self,
        key: &StoreKey,
        stamps: &RangeInclusive<Stamp>,
        content: Content,
    ) -> Result<Written, PutLatestError> {
        self.engine.admit().map_err(WriteError::from)?;
        self.lock().put_latest(key, stamps, content)
    }

    /// Takes in what another replica knows of a key, but for what this one has seen the end of.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn merge(&self, key: &StoreKey, state: &KeyState) -> Result<Merged, WriteError> {
        self.engine.admit()?;
        self.lock().merge(key, state, &Causal::EMPTY)
    }

    /// Whether changes would be taken now, without making one.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn admit(&self) -> Result<(), Refusal> {
        self.engine.admit()
    }

    /// A page of everything that is stored, for a backup.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn backup_page(&self, cursor: Option<&BackupCursor>) -> Result<BackupPage, ReadError> {
        backup_page(&*self.engine, cursor)
    }

    /// The tree that accounts for a key.
    #[must_use]
    pub fn tree_of(&self, key: &StoreKey) -> TreeId {
        self.lock().tree_of(key)
    }

    /// What this replica has seen of a tree; empty for one that holds nothing, or that is none.
    #[must_use]
    pub fn clock(&self, tree: TreeId) -> Causal {
        self.lock().clocks.get(&tree).cloned().unwrap_or_default()
    }

    /// Resolves when everything this store has said so far is durable.
    pub fn barrier(&self) -> Commit {
        self.engine.commit(Batch::default())
    }

    /// The trees in which any key has a state, in order.
    #[must_use]
    pub fn trees_with_data(&self) -> Vec<TreeId> {
        self.lock().contents.trees()
    }

    /// Keeps a few bytes under a name, in place of what was there: what a member must remember besides its data. The
    /// commit resolves when they survive a loss of power.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn put_note(&self, name: &str, note: &[u8]) -> Result<Commit, WriteError> {
        self.engine.admit()?;
        let mut batch = Batch::default();
        identity::put_note(&mut batch, name, note);
        Ok(self.engine.commit(batch.synced()))
    }

    /// The bytes kept under a name; `None` if there are none, or if they rotted.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn note(&self, name: &str) -> Result<Option<Bytes>, ReadError> {
        self.lock().note(name)
    }

    /// Stops: everything submitted is written and durable, and the next start has nothing to scan. Closes the engine, whatever the outcome. Blocks.
    ///
    /// # Errors
    /// See [`CloseError`].
    pub fn close(&self) -> Result<(), CloseError> {
        if let Err(refusal) = self.checkpoint() {
            tracing::debug!(%refusal, "the sums of the trees are not saved; the next start scans what changed");
        }
        self.engine.close()
    }

    fn lock(&self) -> MutexGuard<'_, Replica> {
        self.replica.lock().expect("no code panics while it holds the replica")
    }
}

#[cfg(test)]
mod tests;
