//! Runs one client request: finds the replicas, asks them, decides when enough have answered.

mod get;
mod put;
mod replicas;

pub(crate) use get::get;
pub(crate) use put::{put, put_forwarded};

use bytes::Bytes;
use chinwag_client::wire::{Consistency, Refusal, RefusalCode, RequestOptions};
use chinwag_membership::PartitionId;
use chinwag_storage::{BucketId, StoreKey};

use crate::core::Core;

/// A key and where it lives.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) key: StoreKey,
    pub(crate) partition: PartitionId,
}

impl Core {
    /// Where `key`, as a client writes it, lives.
    pub(crate) fn place(&self, key: &Bytes) -> Result<Place, Refusal> {
        let key = self.founding.key_space.parse(key).map_err(|error| invalid(error.to_string()))?;
        let position = self.founding.partitioner.position(&key);
        let partition = self.founding.partitions.of(position);
        Ok(Place { key: StoreKey::new(BucketId::DEFAULT, position.0, key), partition })
    }

    /// Whether fallbacks may stand in: they keep hints, so not where hinted handoff is switched off.
    fn is_sloppy(&self, options: RequestOptions) -> bool {
        !options.primaries && self.config.hinted_handoff
    }

    /// How many replicas `consistency` asks for.
    fn needed(&self, consistency: Consistency) -> Result<usize, Refusal> {
        let n = self.founding.n.get();
        consistency.needed(n).map(usize::from).ok_or_else(|| {
            invalid(format!(
                "consistency {consistency} asks for more replicas than there are: keys have N = {n}"
            ))
        })
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::Invalid, message: message.into() }
}

fn unknown(message: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::Unknown, message: message.into() }
}

pub(crate) fn internal(message: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::Internal, message: message.into() }
}

fn unavailable(reachable: usize, needed: usize, what: &str) -> Refusal {
    let message = format!("{needed} replicas must answer and {reachable} of the key's {what} can be reached");
    Refusal { code: RefusalCode::Unavailable, message }
}
