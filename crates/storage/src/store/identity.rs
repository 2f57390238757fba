//! Owns who a data directory is: its id, its generation, its actor, and whether it stopped cleanly. Refuses to decide
//! when an actor is used up; the replica does.

use crate::engine::{Batch, Table};
use crate::format::{self, CLEAN, IDENTITY, note_key};
use crate::version::Actor;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Who a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Drawn at random when the directory was created. A wiped directory is another one.
    pub directory: u64,
    /// Higher at every open than at any before, also after the directory was wiped, as long as
    /// [`StoreOptions::first_generation`](super::StoreOptions::first_generation) follows wall time.
    pub generation: u64,
    /// Who gives this store's dots now.
    pub actor: Actor,
}

/// The identity as it is kept, with what may never change beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct IdentityRecord {
    pub(super) identity: Identity,
    /// How many partitions the clocks are kept for.
    pub(super) partitions: u32,
}

/// Says that the directory was closed, in which generation, and nothing was lost. It is removed as soon as the
/// directory is opened, so that it is absent whenever the process ends in any other way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CleanMark {
    pub(super) generation: u64,
}

pub(super) fn put_identity(batch: &mut Batch, record: &IdentityRecord) {
    batch.put(Table::Meta, IDENTITY, format::seal(Table::Meta, IDENTITY, record));
}

pub(super) fn mark_clean(batch: &mut Batch, identity: &Identity) {
    let mark = CleanMark { generation: identity.generation };
    batch.put(Table::Meta, CLEAN, format::seal(Table::Meta, CLEAN, &mark));
}

pub(super) fn unmark_clean(batch: &mut Batch) {
    batch.remove(Table::Meta, CLEAN);
}

pub(super) fn put_note(batch: &mut Batch, name: &str, note: &[u8]) {
    let key = note_key(name);
    let record = format::seal(Table::Meta, &key, &Bytes::copy_from_slice(note));
    batch.put(Table::Meta, key, record);
}
