//! The opaque causal context a client carries from a get to a put. Owns its text form; its meaning is the cluster's.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

/// What a client has seen of one key. Give it back with the next put of that key, unchanged.
///
/// It is sealed: only the cluster can read it, and it refuses one that was altered or belongs to another key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Context(Bytes);

/// The text is not a context. Nothing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a context: give the one that `get` or `put` printed, whole")]
pub struct ContextError;

impl Context {
    /// Whether there is nothing to give back: no write is bound to what its writer has seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn from_sealed(sealed: Bytes) -> Self {
        Self(sealed)
    }

    pub(crate) fn sealed(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(&self.0))
    }
}

impl FromStr for Context {
    type Err = ContextError;

    fn from_str(text: &str) -> Result<Self, ContextError> {
        match URL_SAFE_NO_PAD.decode(text.trim()) {
            Ok(bytes) if !bytes.is_empty() => Ok(Self(bytes.into())),
            Ok(_) | Err(_) => Err(ContextError),
        }
    }
}
