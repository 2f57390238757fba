//! Runs one client request: finds the replicas, asks them, decides when enough have answered.

mod get;
mod put;
mod replicas;

pub(crate) use get::get;
pub(crate) use put::{put, put_forwarded};

use std::sync::Arc;

use bytes::Bytes;
use chinwag_client::wire::{Consistency, Refusal, RefusalCode, RequestOptions};
use chinwag_merkle::TreeId;
use chinwag_storage::StoreKey;

use crate::buckets::{self, Bucket};
use crate::core::Core;

/// A key and where it lives.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) key: StoreKey,
    pub(crate) bucket: Arc<Bucket>,
    /// Its partition and N: who owns it.
    pub(crate) tree: TreeId,
}

impl Core {
    /// The bucket of that name, `default` if none is given.
    pub(crate) fn bucket(&self, name: Option<&str>) -> Result<&Arc<Bucket>, Refusal> {
        let name = name.unwrap_or(buckets::DEFAULT);
        let buckets = &self.config.buckets;
        buckets.named(name).ok_or_else(|| {
            let known: Vec<_> = buckets.names().collect();
            invalid(format!("there is no bucket {name:?}: there are {}", known.join(", ")))
        })
    }

    /// Where `key`, as a client writes it, lives.
    pub(crate) fn place(&self, bucket: Option<&str>, key: &Bytes) -> Result<Place, Refusal> {
        let bucket = self.bucket(bucket)?.clone();
        let key = self.founding.key_space.parse(key).map_err(|error| invalid(error.to_string()))?;
        let position = self.founding.partitioner.position(&key);
        let partition = self.founding.partitions.of(position).0;
        let tree = TreeId { partition, n: bucket.copies(self.founding.n).get() };
        Ok(Place { key: StoreKey::new(bucket.id(), position.0, key), bucket, tree })
    }

    /// Whether fallbacks may stand in: they keep hints, so not where hinted handoff is switched off.
    fn is_sloppy(&self, options: RequestOptions) -> bool {
        !options.primaries && self.config.hinted_handoff
    }
}

impl Place {
    /// How many replicas `consistency` asks for.
    fn needed(&self, consistency: Consistency) -> Result<usize, Refusal> {
        let (n, bucket) = (self.tree.n, &self.bucket.name);
        consistency.needed(n).map(usize::from).ok_or_else(|| {
            invalid(format!(
                "consistency {consistency} asks for more replicas than there are: keys have N = {n} in the bucket {bucket}"
            ))
        })
    }
}

pub(crate) fn invalid(message: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::Invalid, message: message.into() }
}

/// The bucket is of another kind than the request.
fn wrong_kind(message: impl Into<String>) -> Refusal {
    Refusal { code: RefusalCode::WrongKind, message: message.into() }
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
