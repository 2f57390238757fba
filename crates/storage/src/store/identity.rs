//! Owns who a data directory is: its id, its generation, its actor, and whether it stopped cleanly. Refuses to decide
//! when an actor is used up; the replica does.

use crate::engine::{Batch, Table};
use crate::format::{self, CLEAN, CleanBody, IDENTITY, IdentityBody, note_key};
use crate::version::Actor;
use bytes::Bytes;

/// Who a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random when the directory was created. A wiped directory is another one.
    pub directory: u64,
    /// Higher at every open than at any before, also after the directory was wiped, as long as
    /// [`StoreOptions::first_generation`](super::StoreOptions::first_generation) follows wall time.
    pub generation: u64,
    /// Who gives this store's dots now.
    pub actor: Actor,
}

pub(super) fn put_identity(batch: &mut Batch, identity: &Identity, partitions: u32) {
    let Identity { directory, generation, actor } = *identity;
    let body = IdentityBody { directory, generation, actor, partitions };
    batch.put(Table::Meta, IDENTITY, format::seal(Table::Meta, IDENTITY, &body));
}

pub(super) fn mark_clean(batch: &mut Batch, identity: &Identity) {
    let body = CleanBody { generation: identity.generation };
    batch.put(Table::Meta, CLEAN, format::seal(Table::Meta, CLEAN, &body));
}

pub(super) fn unmark_clean(batch: &mut Batch) {
    batch.remove(Table::Meta, CLEAN);
}

pub(super) fn put_note(batch: &mut Batch, name: &str, note: &[u8]) {
    let key = note_key(name);
    let record = format::seal(Table::Meta, &key, &Bytes::copy_from_slice(note));
    batch.put(Table::Meta, key, record);
}
