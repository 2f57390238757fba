//! Owns the bytes on disk: how keys are laid out so that their order is the useful one, and how a record proves that it
//! is what was written. Refuses to serve a record that does not.
//!
//! Every key is big-endian, so that byte order is order of bucket, position and key:
//!
//! ```text
//! keys    | bucket u32 | position u128 | key ...                    |
//!         0            4               20
//! hints   | target u64 | bucket u32    | position u128 | key ...    |
//!         0            8               12              28
//! clocks  | partition u16 | n u8 | actor u64 |
//! meta    | name, UTF-8 |          "identity", "note/<name>"
//! sums    | partition u16 | n u8 | first position u128 |
//! marks   | partition u16 | n u8 | first position u128 | depth u8 |
//! ```
//!
//! Every record is the same envelope around a postcard body:
//!
//! ```text
//! byte 0      1                      9
//! +---------+----------------------+-----------------------------------------------+
//! | version | checksum u64 BE      | body                                          |
//! +---------+----------------------+-----------------------------------------------+
//! checksum = XXH3-64( table u8 | key length u64 BE | key | version | body )
//!
//! body in keys     KeyState                      (see `version::wire`)
//!      in hints    HintBody
//!      in clocks   Causal
//!      in meta     IdentityBody | a note's bytes
//! ```
//!
//! The checksum covers table and key too, so a sound record in the wrong place is as bad as a rotten one. It guards
//! against accidents; it is no authentication. Replicas compare key states by a keyed hash over key and body, so the
//! body of a key state is also what a cluster agrees on and outlives this file's version.

use crate::engine::Table;
use crate::key::{BucketId, StoreKey};
use crate::version::{Actor, KeyState};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use chinwag_merkle::{Interval, KeyId, TreeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use xxhash_rust::xxh3::Xxh3Default;

/// The record format this code writes and reads.
const VERSION: u8 = 3;
/// Bytes before the body.
const HEADER_BYTES: usize = 1 + size_of::<u64>();
/// Bytes of the key of a clock's record.
const CLOCK_KEY_BYTES: usize = 11;
/// Bytes of the key of a sum's record.
const SUM_KEY_BYTES: usize = 19;
/// Bytes of a key before the part the client spells.
const PREFIX_BYTES: usize = size_of::<u32>() + size_of::<u128>();

/// The meta record that says who this directory is.
pub(crate) const IDENTITY: &[u8] = b"identity";

/// A hint: what is parked for one target under one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HintBody {
    /// When the oldest write in it was parked, in milliseconds of wall time.
    pub(crate) parked_at: u64,
    pub(crate) state: KeyState,
}

/// What is saved of a tree's leaf, besides where it begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SumBody {
    /// How and with which key its elements were hashed: see `chinwag_merkle::SCHEME`.
    pub(crate) scheme: u8,
    pub(crate) key: KeyId,
    /// How many leading bits its positions share.
    pub(crate) depth: u8,
    pub(crate) count: u64,
    #[serde(with = "postcard::fixint::le")]
    pub(crate) sum: u128,
}

/// Who a directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityBody {
    pub(crate) directory: u64,
    pub(crate) generation: u64,
    /// How many partitions the clocks are kept for.
    pub(crate) partitions: u32,
    /// How many replicas keys have, and those of buckets with a number of their own: by which keys belong to trees.
    pub(crate) n: u8,
    pub(crate) own_n: BTreeMap<BucketId, u8>,
}

/// Why a record cannot be used. The store treats it as absent, counts it, and lets other replicas fill it in again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// The record is shorter than any record.
    #[error("the record is cut short")]
    Truncated,
    /// The record was written by another version of chinwag.
    #[error("the record has format {found}, this chinwag reads {VERSION}")]
    Version {
        /// The format the record claims.
        found: u8,
    },
    /// The record is not what was written, or not where it was written.
    #[error("the record's checksum is wrong")]
    Checksum,
    /// The record is as it was written, and makes no sense: a defect in what wrote it.
    #[error("the record's body cannot be read: {0}")]
    Body(postcard::Error),
    /// The engine itself found its data damaged.
    #[error("{0}")]
    Engine(String),
}

/// Where a key's state is, in `Table::Keys`.
pub(crate) fn state_key(key: &StoreKey) -> Bytes {
    let mut bytes = BytesMut::with_capacity(PREFIX_BYTES + key.key.len());
    put_key(&mut bytes, key);
    bytes.freeze()
}

/// The key whose state is at `bytes`; `None` if no key's is.
pub(crate) fn parse_state_key(bytes: &Bytes) -> Option<StoreKey> {
    let mut rest = bytes.clone();
    let bucket = BucketId(rest.try_get_u32().ok()?);
    let position = rest.try_get_u128().ok()?;
    Some(StoreKey { bucket, position, key: rest })
}

/// Where the states of a bucket's keys at `position` and beyond begin.
pub(crate) fn position_bound(bucket: BucketId, position: u128) -> Bytes {
    state_key(&StoreKey { bucket, position, key: Bytes::new() })
}

/// Where the states of a bucket's keys beyond `position` begin; `None` if there can be none in any bucket.
pub(crate) fn after_position(bucket: BucketId, position: u128) -> Option<Bytes> {
    match position.checked_add(1) {
        Some(next) => Some(position_bound(bucket, next)),
        None => bucket.0.checked_add(1).map(|next| position_bound(BucketId(next), 0)),
    }
}

/// Where a hint is, in `Table::Hints`.
pub(crate) fn hint_key(target: u64, key: &StoreKey) -> Bytes {
    let mut bytes = BytesMut::with_capacity(size_of::<u64>() + PREFIX_BYTES + key.key.len());
    bytes.put_u64(target);
    put_key(&mut bytes, key);
    bytes.freeze()
}

/// The target and key of the hint at `bytes`; `None` if no hint is.
pub(crate) fn parse_hint_key(bytes: &Bytes) -> Option<(u64, StoreKey)> {
    let mut rest = bytes.clone();
    let target = rest.try_get_u64().ok()?;
    Some((target, parse_state_key(&rest)?))
}

/// Where the hints for `target` begin.
pub(crate) fn hints_of(target: u64) -> Bytes {
    Bytes::copy_from_slice(&target.to_be_bytes())
}

/// Where what a tree's clock says of an actor is, in `Table::Clocks`.
pub(crate) fn clock_key(tree: TreeId, actor: Actor) -> Bytes {
    let mut bytes = BytesMut::with_capacity(CLOCK_KEY_BYTES);
    bytes.put_u16(tree.partition);
    bytes.put_u8(tree.n);
    bytes.put_u64(actor.0);
    bytes.freeze()
}

/// The tree whose clock says something at `bytes`; `None` if none does.
pub(crate) fn parse_clock_key(mut bytes: &[u8]) -> Option<TreeId> {
    let is_one = bytes.len() == CLOCK_KEY_BYTES;
    let partition = bytes.try_get_u16().ok()?;
    let n = bytes.try_get_u8().ok()?;
    is_one.then_some(TreeId { partition, n })
}

/// Where the sum of a tree's leaf is that begins at `first`, in `Table::Sums`.
pub(crate) fn sum_key(tree: TreeId, first: u128) -> Bytes {
    let mut bytes = BytesMut::with_capacity(SUM_KEY_BYTES);
    bytes.put_u16(tree.partition);
    bytes.put_u8(tree.n);
    bytes.put_u128(first);
    bytes.freeze()
}

/// Whose leaf's sum is at `bytes`, and where the leaf begins; `None` if no sum is.
pub(crate) fn parse_sum_key(mut bytes: &[u8]) -> Option<(TreeId, u128)> {
    let is_one = bytes.len() == SUM_KEY_BYTES;
    let tree = TreeId { partition: bytes.try_get_u16().ok()?, n: bytes.try_get_u8().ok()? };
    let first = bytes.try_get_u128().ok()?;
    is_one.then_some((tree, first))
}

/// Where it is marked that a tree's leaf was written to, in `Table::Marks`.
pub(crate) fn mark_key(tree: TreeId, leaf: Interval) -> Bytes {
    let mut bytes = BytesMut::from(sum_key(tree, leaf.first()));
    bytes.put_u8(leaf.depth());
    bytes.freeze()
}

/// The leaf that is marked at `bytes`; `None` if none is.
pub(crate) fn parse_mark_key(bytes: &[u8]) -> Option<(TreeId, Interval)> {
    let (&depth, place) = bytes.split_last()?;
    let (tree, first) = parse_sum_key(place)?;
    Some((tree, Interval::new(first, depth)?))
}

/// Where a note is, in `Table::Meta`.
pub(crate) fn note_key(name: &str) -> Bytes {
    Bytes::from([b"note/", name.as_bytes()].concat())
}

/// The name of the note at `place`; `None` if none is there.
pub(crate) fn parse_note_key(place: &[u8]) -> Option<String> {
    std::str::from_utf8(place.strip_prefix(b"note/")?).ok().map(str::to_owned)
}

/// The least key after `key`.
pub(crate) fn successor(key: &[u8]) -> Bytes {
    Bytes::from([key, &[0]].concat())
}

/// The record that carries `body` at `key`.
pub(crate) fn seal(table: Table, key: &[u8], body: &impl Serialize) -> Bytes {
    let mut record = vec![0; HEADER_BYTES];
    record = postcard::to_extend(body, record).expect("the store's own types always serialize into memory");
    let (header, body) = record.split_at_mut(HEADER_BYTES);
    let mut header = &mut *header;
    header.put_u8(VERSION);
    header.put_u64(checksum(table, key, VERSION, body));
    Bytes::from(record)
}

/// What the record at `key` carries.
pub(crate) fn open<T: DeserializeOwned>(table: Table, key: &[u8], record: &[u8]) -> Result<T, BadRecord> {
    let body = checked_body(table, key, record)?;
    match postcard::take_from_bytes(body).map_err(BadRecord::Body)? {
        (value, []) => Ok(value),
        (_, _left_over) => Err(BadRecord::Body(postcard::Error::DeserializeBadEncoding)),
    }
}

/// Whether the record at `key` is one that was written there.
pub(crate) fn is_sound(table: Table, key: &[u8], record: &[u8]) -> bool {
    checked_body(table, key, record).is_ok()
}

fn checked_body<'a>(table: Table, key: &[u8], record: &'a [u8]) -> Result<&'a [u8], BadRecord> {
    let mut header = record;
    let version = header.try_get_u8().map_err(|_short| BadRecord::Truncated)?;
    if version != VERSION {
        return Err(BadRecord::Version { found: version });
    }
    let sum = header.try_get_u64().map_err(|_short| BadRecord::Truncated)?;
    let body = header;
    if sum != checksum(table, key, version, body) {
        return Err(BadRecord::Checksum);
    }
    Ok(body)
}

/// A record's body as bytes: what replicas hash to compare.
pub(crate) fn body(record: &[u8]) -> &[u8] {
    record.get(HEADER_BYTES..).unwrap_or_default()
}

fn put_key(bytes: &mut BytesMut, key: &StoreKey) {
    bytes.put_u32(key.bucket.0);
    bytes.put_u128(key.position);
    bytes.put_slice(&key.key);
}

fn checksum(table: Table, key: &[u8], version: u8, body: &[u8]) -> u64 {
    let table = match table {
        Table::Keys => 0,
        Table::Hints => 1,
        Table::Clocks => 2,
        Table::Meta => 3,
        Table::Sums => 4,
        Table::Marks => 5,
    };
    let mut hasher = Xxh3Default::new();
    hasher.update(&[table]);
    hasher.update(&(key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(body);
    hasher.digest()
}

#[cfg(test)]
mod tests;
