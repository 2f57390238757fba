//! Owns who a data directory is: its id, its generation, its actor. Refuses to decide when an actor is used up; the
//! replica does.
//!
//! An actor is drawn at every open and never written down, so no two lives of a directory give the same dot. A mark of a
//! clean stop, by which the next life might go on with the actor of the last, would be copied with the directory: whoever
//! restores such a copy would find the mark and give dots again that were given since. Nothing in a directory tells a
//! copy from its original. An actor that gives no dot leaves no trace; one that does costs a run in the clocks,
//! and on disk a record of its own that no other's writes touch.

use super::StoreOptions;
use crate::engine::{Batch, Table};
use crate::format::{self, IDENTITY, IdentityBody, note_key};
use crate::version::Actor;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Who a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Drawn at random when the directory was created. A wiped directory is another one.
    pub directory: u64,
    /// Higher at every open than at any before, also after the directory was wiped, as long as
    /// [`StoreOptions::first_generation`](super::StoreOptions::first_generation) follows wall time.
    pub generation: u64,
    /// Who gives this store's dots now: another at every open, and after anything was found lost.
    pub actor: Actor,
}

/// Notes who the directory is now, and how its keys belong to trees: as it was `stored` before, and what is new.
pub(super) fn put_identity(
    batch: &mut Batch,
    identity: &Identity,
    stored: Option<IdentityBody>,
    options: &StoreOptions,
) {
    let Identity { directory, generation, actor: _ } = *identity;
    let (n, stored) = stored.map_or_else(|| (options.n, BTreeMap::new()), |stored| (stored.n, stored.own_n));
    let mut own_n = options.own_n.clone();
    own_n.extend(stored);
    let body = IdentityBody { directory, generation, partitions: options.partitions, n, own_n };
    batch.put(Table::Meta, IDENTITY, format::seal(Table::Meta, IDENTITY, &body));
}

pub(super) fn put_note(batch: &mut Batch, name: &str, note: &[u8]) {
    let key = note_key(name);
    let record = format::seal(Table::Meta, &key, &Bytes::copy_from_slice(note));
    batch.put(Table::Meta, key, record);
}
