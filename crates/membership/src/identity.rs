//! Who a member is: its name, and the compact handle derived from it. Knows nothing of addresses or liveness.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest name of a member, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The name of a member: its identity for ever, across restarts, addresses and data directories.
///
/// 1 to [`NAME_BYTES_MAX`] bytes of ASCII letters, digits, `.`, `_` and `-`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

/// Why a text is not a name. Nothing was changed; choose another name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// The text is empty or longer than [`NAME_BYTES_MAX`].
    #[error("a member's name has 1 to {NAME_BYTES_MAX} characters, this one has {0}")]
    Length(usize),
    /// The text has a character that is not allowed in a name.
    #[error("a member's name is made of letters, digits, '.', '_' and '-'; {0:?} is not allowed")]
    Character(char),
}

impl Name {
    /// Checks `text` and makes it a name.
    ///
    /// # Errors
    ///
    /// If the text is empty, too long, or has a character that is not allowed.
    pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
        let text = text.as_ref();
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(NameError::Length(text.len()));
        }
        match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '_' | '-')) {
            Some(character) => Err(NameError::Character(character)),
            None => Ok(Self(Arc::from(text))),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The handle of the member with this name.
    #[must_use]
    pub fn id(&self) -> NodeId {
        NodeId::of(self)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.as_str().to_owned()
    }
}

/// A compact handle for a member: the first 8 bytes, big endian, of the MD5 of its name.
///
/// The name is the identity. A member whose name meets the handle of another name is refused at the door.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(#[serde(with = "postcard::fixint::be")] pub u64);

impl NodeId {
    /// The handle of the member called `name`.
    #[must_use]
    pub fn of(name: &Name) -> Self {
        Self(md5_prefix(name.as_str().as_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

/// MD5 as one number, most significant byte first.
pub(crate) fn md5_number(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(bytes).into())
}

/// The first 8 bytes of MD5 as one number, most significant byte first.
pub(crate) fn md5_prefix(bytes: &[u8]) -> u64 {
    u64::try_from(md5_number(bytes) >> 64).expect("a u128 shifted by 64 bits fits a u64")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        assert_eq!(Name::new("replica0").unwrap().as_str(), "replica0");
        assert!(Name::new("x".repeat(NAME_BYTES_MAX)).is_ok());
        assert_eq!(Name::new(""), Err(NameError::Length(0)));
        assert_eq!(Name::new("x".repeat(65)), Err(NameError::Length(65)));
        assert_eq!(Name::new("a b"), Err(NameError::Character(' ')));
        assert_eq!(Name::new("å"), Err(NameError::Character('å')));
    }

    #[test]
    fn the_handle_is_the_start_of_the_md5() {
        // MD5("a") = 0cc175b9c0f1b6a831c399e269772661 (RFC 1321, A.5)
        assert_eq!(Name::new("a").unwrap().id(), NodeId(0x0cc1_75b9_c0f1_b6a8));
    }

    #[test]
    fn a_name_is_checked_when_it_is_read() {
        let bytes = postcard::to_stdvec(&"no spaces please").unwrap();
        assert!(postcard::from_bytes::<Name>(&bytes).is_err());
    }
}
