//! Owns the outer form of everything that travels: a version byte, postcard, a bound; refuses to know what it says.

use serde::{Deserialize, Serialize};

/// No message is longer than this, encoded.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The layout of all messages, their first byte. It changes whenever a byte of one would mean something else.
pub(crate) const VERSION: u8 = 2;

/// Bytes that are no message. Who sends them does not speak this protocol; nothing has changed here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// Longer than [`MESSAGE_BYTES_MAX`].
    #[error("{0} bytes are longer than any message")]
    TooLong(usize),
    /// Another version of the layout: the members run different releases.
    #[error("message of version {0}, this member speaks {VERSION}")]
    Version(u8),
    /// Not a message, or more than one.
    #[error("not a message")]
    Garbled,
}

pub(crate) fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).expect("plain structs and sequences of known length always serialize")
}

/// Decodes anything that begins with [`VERSION`].
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, DecodeError> {
    if bytes.len() > MESSAGE_BYTES_MAX {
        return Err(DecodeError::TooLong(bytes.len()));
    }
    match bytes.first() {
        None => return Err(DecodeError::Garbled),
        Some(&VERSION) => {}
        Some(&version) => return Err(DecodeError::Version(version)),
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        Ok(_) | Err(_) => Err(DecodeError::Garbled),
    }
}
