//! Owns the contract between the store and what it rests on: ordered tables, atomic batches, commits in order. Refuses
//! to know what the bytes mean.

mod commit;
mod damage;
mod directory;
mod disk;
mod journals;
mod memory;
mod mirror;
#[cfg(test)]
mod platter;
mod salvage;
mod writer;

pub use commit::{Commit, CommitError};
pub use directory::OpenError;
pub use disk::{DiskEngine, DiskOptions, Durability};
#[cfg(test)]
pub(crate) use journals::ends_of_batches;
pub use memory::MemoryEngine;
#[cfg(test)]
pub(crate) use platter::{Fault, Platter};

use bytes::Bytes;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The tables an engine keeps. Each maps byte keys to byte records in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Key states, by bucket, position and key.
    Keys,
    /// Key states parked for absent primaries, by target and then as in `Keys`.
    Hints,
    /// Replica clocks, by partition.
    Clocks,
    /// What the directory knows of itself: identity, notes.
    Meta,
    /// Sums of the trees' leaves, by tree and position. They can be made anew from `Keys`.
    Sums,
    /// The leaves that were written to since their sums were saved.
    Marks,
}

impl Table {
    /// Every table, in order.
    pub const ALL: [Self; 6] = [Self::Keys, Self::Hints, Self::Clocks, Self::Meta, Self::Sums, Self::Marks];

    /// The table's name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Hints => "hints",
            Self::Clocks => "clocks",
            Self::Meta => "meta",
            Self::Sums => "sums",
            Self::Marks => "marks",
        }
    }
}

/// Where key states rest.
///
/// The contract every engine keeps, and `engine::tests` holds each against:
/// - A batch takes effect whole or not at all, over all tables, also when the process dies.
/// - A read that follows `commit` sees the batch, whether or not its `Commit` has resolved. Callers may therefore read,
///   modify and commit without waiting for the disk.
/// - Batches become durable in the order they were submitted. After one fails the engine is poisoned: it refuses every
///   later read and write, so that no batch can outlive an earlier one that was lost.
pub trait Engine: Send + Sync + Debug {
    /// The record at `key`.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Up to `limit` records in key order, from `from` on and below `to` (`None`: to the table's end). Fewer than
    /// `limit` means there are no more. A stretch that cannot be read because its data is damaged counts as one record,
    /// an empty one, somewhere in it: no record that was written is empty.
    ///
    /// # Errors
    /// See [`ReadError`].
    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError>;

    /// Whether the engine would take another batch now. Callers ask before they change anything on the strength of a
    /// batch to come: `commit` itself takes what it is given, so that a change once made is not refused half-way. The
    /// queue is bounded as long as every caller asks.
    ///
    /// # Errors
    /// See [`Refusal`].
    fn admit(&self) -> Result<(), Refusal>;

    /// Submits a batch. The returned future resolves when the batch, and with it every earlier one, is durable as
    /// configured; it may be dropped. An empty batch is a barrier: it resolves when all earlier ones have.
    fn commit(&self, batch: Batch) -> Commit;

    /// How many pieces of its own data the engine found damaged when it was opened, and left behind.
    fn left_behind(&self) -> u64 {
        0
    }

    /// Whether commits get through. To be asked every few seconds.
    fn health(&self) -> Health;

    /// Writes out all that was submitted, makes it durable whatever the configured durability, and stops. Blocks;
    /// calling it again does nothing.
    ///
    /// # Errors
    /// See [`CloseError`].
    fn close(&self) -> Result<(), CloseError>;
}

/// Records in key order.
pub type Page = Vec<(Bytes, Bytes)>;

/// Changes that take effect together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    changes: Vec<Change>,
    sync: bool,
}

/// One change of a batch: a record to write, or `None` to remove what is there.
#[derive(Debug, Clone)]
struct Change {
    table: Table,
    key: Bytes,
    record: Option<Bytes>,
}

impl Batch {
    /// Writes `record` at `key`, over what is there.
    pub fn put(&mut self, table: Table, key: impl Into<Bytes>, record: impl Into<Bytes>) {
        self.changes.push(Change { table, key: key.into(), record: Some(record.into()) });
    }

    /// Removes what is at `key`, if anything.
    pub fn remove(&mut self, table: Table, key: impl Into<Bytes>) {
        self.changes.push(Change { table, key: key.into(), record: None });
    }

    /// Asks that this batch survive a loss of power, whatever the engine's configured durability.
    #[must_use]
    pub const fn synced(mut self) -> Self {
        self.sync = true;
        self
    }

    /// What it changes, in order: where, and the record to write there or `None` to remove what is there.
    pub fn changes(&self) -> impl Iterator<Item = (Table, &Bytes, Option<&Bytes>)> {
        self.changes.iter().map(|change| (change.table, &change.key, change.record.as_ref()))
    }

    /// True if the batch changes nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn bytes(&self) -> usize {
        self.changes
            .iter()
            .map(|change| change.key.len() + change.record.as_ref().map_or(0, Bytes::len))
            .sum()
    }
}

/// Why a read failed. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What the engine itself keeps on disk is damaged where the read went. The record is lost here; other replicas
    /// have it.
    #[error("damaged data in table {}: {reason}", .table.name())]
    Damaged {
        /// The table that was read.
        table: Table,
        /// The engine's words.
        reason: String,
    },
    /// The operating system refused to read. Trying again may help; if not, the disk needs a person.
    #[error("cannot read table {}: {reason}", .table.name())]
    Io {
        /// The table that was read.
        table: Table,
        /// The system's words.
        reason: String,
    },
    /// The engine was closed or poisoned; see [`Refusal`].
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why the engine takes no batch now. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// More is queued than the disk has kept up with. Try again a little later, or elsewhere.
    #[error("the disk does not keep up: too many writes are queued")]
    Busy,
    /// Less is free on the disk than is kept in reserve for what the engine itself must go on writing. Reads go on;
    /// writes do by themselves as soon as there is space. What only removes records may be committed all the same.
    #[error(
        "the disk of {} is full: {} MiB free, {} MiB needed; reads go on, and writes will once there is space",
        .directory.display(), .free >> 20, .needed.div_ceil(1 << 20)
    )]
    NoSpace {
        /// The data directory.
        directory: Arc<Path>,
        /// Bytes free when the disk was last looked at.
        free: u64,
        /// Bytes that must be free before anything is written.
        needed: u64,
    },
    /// An earlier commit failed. The process must stop; a new start reads what the disk really holds.
    #[error("an earlier write to disk failed, nothing more is read or written until a restart")]
    Poisoned,
    /// The engine was closed. Nothing to do but stop.
    #[error("the store is closed")]
    Closed,
}

/// What an engine says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Commits get through.
    Well,
    /// The disk is full: nothing is admitted until there is space. Nothing is broken; see [`Refusal::NoSpace`].
    NoSpace {
        /// For a person: which disk, how much is free and how much is needed.
        reason: String,
    },
    /// No commit finished for longer than the configured bound although some are waiting. The engine may hang for good;
    /// the process should report it and exit, because a silent hang is worse than a crash.
    Stalled {
        /// How many submitted batches wait.
        waiting: usize,
        /// For how long nothing finished, as seen by whoever asks for the health.
        stuck: Duration,
    },
    /// A commit failed; see [`Refusal::Poisoned`].
    Poisoned {
        /// The engine's words.
        reason: String,
    },
}

/// Why closing did not end well. The process should exit either way.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// A commit failed, now or earlier. What was not acknowledged may be lost.
    #[error("not everything could be written: {reason}")]
    Poisoned {
        /// The engine's words.
        reason: String,
    },
    /// The writer did not finish within the configured bound and was left behind. What was not acknowledged may be
    /// lost; the directory stays locked until the process ends.
    #[error("the disk engine did not finish within {bound:?}")]
    Stalled {
        /// The configured bound.
        bound: Duration,
    },
}

#[cfg(test)]
mod tests;
