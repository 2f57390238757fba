//! Owns what a member notes in its data directory besides its data, and its reading by others than the member. Refuses
//! to know where notes are kept.

use std::collections::BTreeMap;

use bytes::Bytes;
use chinwag_membership::{Founding, KeySpace, Remembered};
use chinwag_storage::BucketId;
use serde::{Deserialize, Serialize};

use crate::buckets::FixedBucket;
use crate::config::Config;

/// Where the founding facts and the known members are noted in the store.
pub(crate) const FOUNDING: &str = "founding";
pub(crate) const MEMBERS: &str = "members";

/// The facts that a data directory was founded with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FoundingNote {
    /// Without the text of the buckets: not all of it is fixed.
    pub(crate) founding: Founding,
    pub(crate) buckets: Vec<FixedBucket>,
}

impl FoundingNote {
    pub(crate) fn of(config: &Config) -> Self {
        let founding = Founding { buckets: String::new(), ..config.founding.clone() };
        let buckets = config.buckets.fixed(founding.n);
        Self { founding, buckets }
    }
}

/// What the notes of a stopped member say of its cluster. What is missing or damaged is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// The facts its cluster was founded with.
    pub founding: Option<Founding>,
    /// The names of its buckets, by their ids.
    pub buckets: BTreeMap<BucketId, String>,
    /// The names of the other members it knew, by their ids, as hints name their targets.
    pub names: BTreeMap<u64, String>,
}

impl Notes {
    /// Reads notes as [`inspect`](chinwag_storage::inspect) finds them.
    pub fn read(notes: &BTreeMap<String, Bytes>) -> Self {
        let noted = notes.get(FOUNDING).and_then(|bytes| postcard::from_bytes::<FoundingNote>(bytes).ok());
        let (founding, buckets) = match noted {
            Some(FoundingNote { founding, buckets }) => (Some(founding), buckets),
            None => (None, Vec::new()),
        };
        let buckets = buckets.into_iter().map(|it| (BucketId::of(&it.name), it.name)).collect();
        let members: Vec<Remembered> =
            notes.get(MEMBERS).and_then(|bytes| postcard::from_bytes(bytes).ok()).unwrap_or_default();
        let names = members.iter().map(|it| (it.record.name.id().0, it.record.name.to_string())).collect();
        Self { founding, buckets, names }
    }

    /// A key as its clients write it.
    pub fn display(&self, key: &[u8]) -> Vec<u8> {
        match self.founding.as_ref().map(|founding| founding.key_space) {
            Some(space @ KeySpace::Integers) => space.display(key).into_bytes(),
            Some(KeySpace::Bytes) | None => key.to_vec(),
        }
    }
}
