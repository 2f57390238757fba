//! Owns what a member notes in its data directory besides its data, and its reading by others than the member. Refuses
//! to know where notes are kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use chinwag_membership::{Founding, KeySpace, Remembered};

/// Where the founding facts and the known members are noted in the store.
pub(crate) const FOUNDING: &str = "founding";
pub(crate) const MEMBERS: &str = "members";

/// What the notes of a stopped member say of its cluster. What is missing or damaged is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The facts its cluster was founded with.
    pub founding: Option<Founding>,
    /// The names of the other members it knew, by their ids, as hints name their targets.
    pub names: BTreeMap<u64, String>,
}

impl Notes {
    /// Reads notes as [`inspect`](chinwag_storage::inspect) finds them.
    pub fn read(notes: &BTreeMap<String, Bytes>) -> Self {
        let founding = notes.get(FOUNDING).and_then(|bytes| postcard::from_bytes(bytes).ok());
        let members: Vec<Remembered> =
            notes.get(MEMBERS).and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default();
        let names = members.iter().map(|it| (it.record.name.id().0, it.record.name.to_string())).collect();
        Self { founding, names }
    }

    /// A key as its clients write it.
    pub fn display(&self, key: &[u8]) -> Vec<u8> {
        match self.founding.map(|founding| founding.key_space) {
            Some(space @ KeySpace::Integers) => space.display(key).into_bytes(),
            Some(KeySpace::Bytes) | None => key.to_vec(),
        }
    }
}
