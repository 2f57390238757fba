//! Owns the opaque form in which clients carry a context: versioned, bound to one key, authenticated. Refuses contexts
//! that this cluster did not hand out for this key. The textual form (base64url) is the client protocol's business.
//!
//! ```text
//! byte 0        1 .. n-16                     n-16 .. n
//! +---------+-----------------------------+----------------------------+
//! | version | postcard Causal             | tag, u128 big-endian       |
//! +---------+-----------------------------+----------------------------+
//! tag = SipHash-2-4-128( secret, version | bucket u32 BE | key length u64 BE | key | Causal bytes )
//! ```

use super::Causal;
use crate::key::StoreKey;
use bytes::{BufMut, Bytes, BytesMut};
use siphasher::sip128::{Hasher128, SipHasher24};
use std::fmt;
use std::hash::Hasher;

const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;

/// The secret that authenticates contexts, the same on every member of a cluster.
///
/// SipHash-2-4 with 128 bits of output is a keyed pseudorandom function; what is asked of it here is that a client who
/// sees many tags cannot make one for a context it was not given.
#[derive(Clone)]
pub struct ContextKey([u8; 16]);

/// Why a context was refused. Nothing was done; the request that carried it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContextError {
    /// Too short, or not a context inside. The client should send back exactly what it was given.
    #[error("this is not a context: send back exactly what a get or put returned")]
    Malformed,
    /// Made by another version of chinwag. The client should read again and use the context it gets.
    #[error("the context has format {found}, this member understands {VERSION}: read the key again")]
    Version {
        /// The format version the context claims.
        found: u8,
    },
    /// Made for another key or by another cluster, or altered. The client should read this key and use what it gets.
    #[error("the context was not made for this key by this cluster, or was altered: read the key again")]
    Foreign,
}

impl ContextKey {
    /// A key from 16 secret bytes.
    #[must_use]
    pub const fn new(secret: [u8; 16]) -> Self {
        Self(secret)
    }

    /// The token by which a client carries `context` until it next writes `key`.
    #[must_use]
    pub fn seal(&self, context: &Causal, key: &StoreKey) -> Bytes {
        let body = postcard::to_stdvec(context).expect("a causal set always serializes into memory");
        let mut token = BytesMut::with_capacity(1 + body.len() + TAG_BYTES);
        token.put_u8(VERSION);
        token.put_slice(&body);
        token.put_u128(self.tag(&body, key));
        token.freeze()
    }

    /// The context inside a token.
    ///
    /// # Errors
    /// See [`ContextError`]; the token may hold any bytes.
    pub fn open(&self, token: &[u8], key: &StoreKey) -> Result<Causal, ContextError> {
        let (&version, rest) = token.split_first().ok_or(ContextError::Malformed)?;
        if version != VERSION {
            return Err(ContextError::Version { found: version });
        }
        let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(ContextError::Malformed)?;
        // One 128-bit comparison: it takes the same time wherever the first difference is.
        if u128::from_be_bytes(*tag) != self.tag(body, key) {
            return Err(ContextError::Foreign);
        }
        match postcard::take_from_bytes(body) {
            Ok((context, [])) => Ok(context),
            Ok(_) | Err(_) => Err(ContextError::Malformed),
        }
    }

    fn tag(&self, body: &[u8], key: &StoreKey) -> u128 {
        let mut hasher = SipHasher24::new_with_key(&self.0);
        hasher.write(&[VERSION]);
        hasher.write(&key.bucket.0.to_be_bytes());
        hasher.write(&(key.key.len() as u64).to_be_bytes());
        hasher.write(&key.key);
        hasher.write(body);
        hasher.finish128().as_u128()
    }
}

impl fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContextKey(secret)")
    }
}
