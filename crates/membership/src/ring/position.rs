//! A place on the ring, and the two ways from a key to its place.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::identity::md5_number;

/// A place on the ring of 2^128 places. Clockwise is upwards, and the last place is followed by the first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u128);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Position({self})")
    }
}

// Positions are spread evenly over the 128 bits, so a variable-length number would cost more than 16 bytes.
impl Serialize for Position {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.to_be_bytes().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <[u8; 16]>::deserialize(deserializer).map(|bytes| Self(u128::from_be_bytes(bytes)))
    }
}

/// How a key gets its position. Fixed when a cluster is founded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitioner {
    /// The MD5 of the key: spreads any keys evenly.
    #[default]
    Md5,
    /// The key's first 16 bytes, left aligned: keys keep their order on the ring, and their imbalance.
    ByteOrdered,
}

impl Partitioner {
    /// The place of `key` on the ring.
    #[must_use]
    pub fn position(self, key: &[u8]) -> Position {
        match self {
            Self::Md5 => Position(md5_number(key)),
            Self::ByteOrdered => {
                let mut aligned = [0; 16];
                for (to, from) in aligned.iter_mut().zip(key) {
                    *to = *from;
                }
                Position(u128::from_be_bytes(aligned))
            }
        }
    }
}

impl fmt::Display for Partitioner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Md5 => "md5",
            Self::ByteOrdered => "byte-ordered",
        })
    }
}

/// The text names no partitioner.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("there is no partitioner {0:?}; use md5 or byte-ordered")]
pub struct PartitionerError(String);

impl FromStr for Partitioner {
    type Err = PartitionerError;

    fn from_str(text: &str) -> Result<Self, PartitionerError> {
        match text {
            "md5" => Ok(Self::Md5),
            "byte-ordered" => Ok(Self::ByteOrdered),
            _ => Err(PartitionerError(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_is_the_number_of_the_digest() {
        assert_eq!(Partitioner::Md5.position(b"a"), Position(0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661));
    }

    #[test]
    fn byte_order_keeps_the_order_of_keys_and_ignores_what_follows_16_bytes() {
        let place = |key: &[u8]| Partitioner::ByteOrdered.position(key);
        assert_eq!(place(&[64]), Position(64 << 120));
        assert!(place(b"apple") < place(b"banana"));
        assert_eq!(place(b"0123456789abcdefX"), place(b"0123456789abcdefY"));
    }

    #[test]
    fn names_of_partitioners_round_trip() {
        for partitioner in [Partitioner::Md5, Partitioner::ByteOrdered] {
            assert_eq!(partitioner.to_string().parse(), Ok(partitioner));
        }
        assert!("MD5".parse::<Partitioner>().unwrap_err().to_string().contains("md5 or byte-ordered"));
    }
}
