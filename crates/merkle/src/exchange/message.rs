//! Owns what travels between two replicas in an exchange; refuses to interpret it: the turns of an exchange do that.
//!
//! ```text
//! message: version 1 | partition varint | n 1 | salt 8 | turn 1 | body
//! body:    0 open    scheme 1 | key id 4 | cut varint | depth 1 | start 0 or 1 + varint | count varint | root 8
//!          1 equal   (nothing)
//!          2 step    count varint | length varint | packed bits
//! ```

use serde::{Deserialize, Serialize};

use crate::cut::Cut;
use crate::element::KeyId;
use crate::roots::TreeId;
use crate::wire::{DecodeError, decode, encode};

/// One message of an exchange, for the other replica's [`Exchange::on`](super::Exchange::on).
///
/// [`encode`](Self::encode) and [`decode`](Self::decode) are its bytes; it may as well be a part of a larger
/// postcard value, whose receiver then bounds its length.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Message {
    pub(super) version: u8,
    pub(super) tree: TreeId,
    /// Drawn by the initiator; names the exchange, too.
    #[serde(with = "postcard::fixint::le")]
    pub(super) salt: u64,
    /// How many messages of this exchange came before.
    pub(super) turn: u8,
    pub(super) body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Body {
    Open(Open),
    /// The roots were equal.
    Equal,
    Step(Step),
}

/// What the initiator announces.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) scheme: u8,
    pub(super) key_id: KeyId,
    /// What both sides' snapshots are to be of.
    pub(super) cut: Cut,
    /// The depth of the partition's interval: members that cut the ring differently must not compare slices of it.
    pub(super) depth: u8,
    /// Differences below this position are not wanted.
    pub(super) start: Option<u128>,
    /// Keys the initiator holds.
    pub(super) count: u64,
    #[serde(with = "postcard::fixint::le")]
    pub(super) root: u64,
}

/// Answers to what the last message offered, and new offers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Step {
    /// Keys the sender holds.
    pub(super) count: u64,
    pub(super) packed: Vec<u8>,
}

impl Message {
    /// The bytes of the message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads back what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// If the bytes are anything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode(bytes)
    }

    /// The cut that the initiator asks for, if this is its first message: what the responder's snapshot is to be of.
    #[must_use]
    pub const fn cut(&self) -> Option<Cut> {
        match &self.body {
            Body::Open(open) => Some(open.cut),
            Body::Equal | Body::Step(_) => None,
        }
    }
}
