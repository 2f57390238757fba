//! What counts as a key, and how keys are read from and shown to people.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4_096;

/// What keys are. Fixed when a cluster is founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeySpace {
    /// Any 1 to [`KEY_BYTES_MAX`] bytes.
    #[default]
    Bytes,
    /// The integers 0 to 255, written in decimal and kept as one byte.
    Integers,
}

/// Why a text is not a key. Nothing was sent; correct the key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The key is empty.
    #[error("the key is empty; give at least one byte")]
    Empty,
    /// The key is longer than [`KEY_BYTES_MAX`].
    #[error("the key has {0} bytes; at most {KEY_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// The cluster's keys are integers and this is none.
    #[error("the key {0:?} is not an integer; this cluster's keys are the integers 0 to 255")]
    NotAnInteger(String),
    /// The cluster's keys are integers and this one is out of range.
    #[error("the key {0} is out of range; this cluster's keys are the integers 0 to 255")]
    OutOfRange(String),
    /// One integer has one spelling, or two clients could think of one key as two.
    #[error("write the key {0:?} as {1}, without sign or leading zeros")]
    Spelling(String, u8),
}

impl KeySpace {
    /// Reads a key as a person or a client wrote it.
    ///
    /// # Errors
    ///
    /// If the text is not a key of this key space; the message says what to do.
    pub fn parse(self, text: &[u8]) -> Result<Vec<u8>, KeyError> {
        if text.is_empty() {
            return Err(KeyError::Empty);
        }
        if text.len() > KEY_BYTES_MAX {
            return Err(KeyError::TooLong(text.len()));
        }
        match self {
            Self::Bytes => Ok(text.to_vec()),
            Self::Integers => parse_integer(&String::from_utf8_lossy(text)).map(|key| vec![key]),
        }
    }

    /// Shows a key to a person. Bytes that are not printable text are escaped.
    #[must_use]
    pub fn display(self, key: &[u8]) -> String {
        match (self, key) {
            (Self::Integers, [key]) => key.to_string(),
            (Self::Integers | Self::Bytes, _) => match str::from_utf8(key) {
                Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
                _ => key.escape_ascii().to_string(),
            },
        }
    }
}

fn parse_integer(text: &str) -> Result<u8, KeyError> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(KeyError::NotAnInteger(text.to_owned()));
    }
    match text.parse::<u8>() {
        Ok(key) if key.to_string() == text => Ok(key),
        Ok(key) => Err(KeyError::Spelling(text.to_owned(), key)),
        // All digits, so the only fault left is that the number does not fit.
        Err(_) => Err(KeyError::OutOfRange(text.to_owned())),
    }
}

impl fmt::Display for KeySpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Bytes => "bytes",
            Self::Integers => "integers",
        })
    }
}

/// The text names no key space.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no key space {0:?}; use bytes or integers")]
pub struct KeySpaceError(String);

impl FromStr for KeySpace {
    type Err = KeySpaceError;

    fn from_str(text: &str) -> Result<Self, KeySpaceError> {
        match text {
            "bytes" => Ok(Self::Bytes),
            "integers" => Ok(Self::Integers),
            _ => Err(KeySpaceError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_one_byte() {
        for key in 0..=u8::MAX {
            assert_eq!(KeySpace::Integers.parse(key.to_string().as_bytes()), Ok(vec![key]));
            assert_eq!(KeySpace::Integers.display(&[key]), key.to_string());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_advice() {
        let refused = |text: &str| KeySpace::Integers.parse(text.as_bytes()).unwrap_err().to_string();
        for text in ["256", "-1", "99999999999999999999"] {
            assert!(refused(text).contains(&format!("{text} is out of range")), "{}", refused(text));
        }
        for text in ["x", "1x", "-", " 1", "1.0", "٣"] {
            assert!(refused(text).contains("is not an integer"), "{}", refused(text));
        }
        for text in ["007", "+7", "0007"] {
            assert!(refused(text).contains("as 7"), "{}", refused(text));
        }
        assert!(KeySpace::Integers.parse(&[0xff]).is_err());
        assert_eq!(KeySpace::Integers.parse(b""), Err(KeyError::Empty));
    }

    #[test]
    fn bytes_are_kept_and_bounded() {
        assert_eq!(KeySpace::Bytes.parse(b"\x00\xff"), Ok(vec![0, 255]));
        assert_eq!(KeySpace::Bytes.parse(&[7; KEY_BYTES_MAX]).unwrap().len(), KEY_BYTES_MAX);
        assert_eq!(KeySpace::Bytes.parse(&[7; KEY_BYTES_MAX + 1]), Err(KeyError::TooLong(4_097)));
        assert_eq!(KeySpace::Bytes.parse(b""), Err(KeyError::Empty));
    }

    #[test]
    fn unprintable_keys_are_escaped() {
        assert_eq!(KeySpace::Bytes.display("naïve".as_bytes()), "naïve");
        assert_eq!(KeySpace::Bytes.display(b"\xff\n"), "\\xff\\n");
    }
}
