//! Bytes between members: datagrams and exchanges. Everything read here is bounded; nothing read here can panic.
//!
//! ```text
//! datagram   version (1) | founding (4, big endian) | header | update | update | ...
//! header     sender (8) | message: kind (1), of a probe number (2, little endian), of a ping target (4, little endian)
//! update     subject (8) | generation (1-9) | revision (1-5) | record digest (8) | incarnation (1-5) | claim (1, a suspect's 9)
//! exchange   version (1) | request or response (postcard) | after knowledge: a roll of members with their records
//! ```
//!
//! Updates fill what room a datagram has, least sent first; a record never travels in one.

#![deny(clippy::indexing_slicing)]

mod roll;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::founding::Founding;
use super::member::Member;
use super::record::{CounterError, Generation, MemberRecord, RecordError};
use super::update::Update;
use crate::identity::{NameError, NodeId};

pub(super) use self::roll::Introduction;

/// The layout described above.
const WIRE_VERSION: u8 = 3;

/// Longest datagram that is sent or read: fits QUIC's before it has found out the path's MTU.
pub const DATAGRAM_BYTES_MAX: usize = 1_100;

/// Longest request or response that is sent or read.
pub const EXCHANGE_BYTES_MAX: usize = 2 << 20;

/// Most members of a cluster, this one included.
pub const MEMBERS_MAX: usize = 16_384;

/// Nobody is introduced beyond this many bytes of an exchange; the other side fetches those records later.
const ROLL_BYTES_MAX: usize = EXCHANGE_BYTES_MAX / 2;

/// Longest encoding of an update: see the drawing above.
const UPDATE_BYTES_MAX: usize = 45;

// A whole view must fit an exchange beside the roll.
const _: () = assert!(MEMBERS_MAX * UPDATE_BYTES_MAX + ROLL_BYTES_MAX < EXCHANGE_BYTES_MAX);

/// Why bytes were not taken in. Nothing was changed, but for the counters.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// Longer than any message. Close the connection.
    #[error("a message of {0} bytes is longer than any")]
    TooLong(usize),
    /// Of a version this member does not speak. Keep the connection: the other side may be newer.
    #[error("the message has version {0}, this member speaks version {WIRE_VERSION}")]
    Version(u8),
    /// Cut off, or not made of what messages are made of. Close the connection.
    #[error("the message cannot be read: {0}")]
    Malformed(String),
    /// Well made, of values that no member could have: a counter beyond reach, a name or a list that is too long. Close
    /// the connection.
    #[error("the message is absurd: {0}")]
    Absurd(String),
    /// From a member with another founding. Keep the connection: an exchange tells that member why it is refused.
    #[error("the message is of a cluster with another founding")]
    Foreign,
}

impl From<postcard::Error> for WireError {
    fn from(error: postcard::Error) -> Self {
        match error {
            // The checks that types make as they are read.
            postcard::Error::SerdeDeCustom => Self::Absurd("a value is out of bounds".to_owned()),
            error => Self::Malformed(error.to_string()),
        }
    }
}

impl From<NameError> for WireError {
    fn from(error: NameError) -> Self {
        Self::Absurd(error.to_string())
    }
}

impl From<CounterError> for WireError {
    fn from(error: CounterError) -> Self {
        Self::Absurd(error.to_string())
    }
}

impl From<RecordError> for WireError {
    fn from(error: RecordError) -> Self {
        Self::Absurd(error.to_string())
    }
}

/// The number of a probe. Those of one member are used again after a day; a round lasts seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct ProbeNumber(#[serde(with = "postcard::fixint::le")] pub(super) u16);

/// The low half of a member's handle: enough to notice that another member lives at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ShortId(#[serde(with = "postcard::fixint::le")] u32);

impl From<NodeId> for ShortId {
    fn from(id: NodeId) -> Self {
        let [.., a, b, c, d] = id.0.to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

/// What a datagram is about, beside the updates it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Are you there? The target is named, since another member may live at its address by now.
    Ping { seq: ProbeNumber, target: ShortId },
    /// I am, or: the one you asked me to probe is.
    Ack { seq: ProbeNumber },
    /// The one you asked me to probe has not answered, but I have.
    Nack { seq: ProbeNumber },
    /// Probe the target for me.
    IndirectPing { seq: ProbeNumber, target: NodeId },
    /// Nothing but updates.
    Gossip,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    from: NodeId,
    message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) from: NodeId,
    pub(super) message: Message,
    pub(super) updates: Vec<Update>,
}

impl Datagram {
    pub(super) fn read(bytes: &[u8], founding: u64) -> Result<Self, WireError> {
        let rest = open(bytes, DATAGRAM_BYTES_MAX)?;
        let Some((digest, rest)) = rest.split_first_chunk() else {
            return Err(WireError::Malformed("no founding".to_owned()));
        };
        if *digest != short_founding(founding) {
            return Err(WireError::Foreign);
        }
        let (Header { from, message }, mut rest) = postcard::take_from_bytes(rest)?;
        let mut updates = Vec::new();
        while !rest.is_empty() {
            let (update, after) = postcard::take_from_bytes(rest)?;
            updates.push(update);
            rest = after;
        }
        Ok(Self { from, message, updates })
    }
}

/// A datagram in the making.
#[derive(Debug)]
pub(super) struct DatagramWriter {
    bytes: Vec<u8>,
}

impl DatagramWriter {
    pub(super) fn new(founding: u64, from: NodeId, message: Message) -> Self {
        let mut bytes = vec![WIRE_VERSION];
        bytes.extend_from_slice(&short_founding(founding));
        bytes.extend_from_slice(&encode(&Header { from, message }));
        Self { bytes }
    }

    /// Adds an update if there is room for it.
    pub(super) fn push(&mut self, update: &Update) -> bool {
        let update = encode(update);
        let fits = self.bytes.len() + update.len() <= DATAGRAM_BYTES_MAX;
        if fits {
            self.bytes.extend_from_slice(&update);
        }
        fits
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// What one member asks another over an exchange.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Request {
    /// Here is who I am and all I know; tell me what I do not.
    Sync(SyncRequest),
    /// All I know amounts to this; do you know anything else?
    Compare { founding: u64, view: u64 },
    /// Give me the records of these members.
    Fetch { founding: u64, members: Vec<NodeId> },
    /// Are you there? For when datagrams are not answered.
    Ping { founding: u64, target: NodeId },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SyncRequest {
    pub(super) founding: Founding,
    /// How many members, itself included, the sender knows or remembers.
    pub(super) standing: u32,
    /// Whether the sender has met any live member since its start.
    pub(super) joined: bool,
    pub(super) record: MemberRecord,
    /// All it knows of anybody, itself included.
    pub(super) updates: Vec<Update>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Response {
    Knowledge(Knowledge),
    Pong(Identification),
    Refusal(Refusal),
    /// Whether what I know is the same as what you know.
    Compared {
        same: bool,
    },
}

/// Which process it is that answers: no two that run at a time have all of this in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identification {
    pub(super) id: NodeId,
    pub(super) directory: u64,
    pub(super) generation: Generation,
}

/// What the answering member knows and the asking one does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Knowledge {
    pub(super) from: NodeId,
    /// What is said of members without their records.
    pub(super) updates: Vec<Update>,
    #[serde(skip)]
    pub(super) introduced: Vec<Introduction>,
}

impl Knowledge {
    /// Introduces the members that are `unknown` to the asking one as far as there is room, and speaks of all others.
    pub(super) fn new<'a>(
        from: NodeId,
        known: impl Iterator<Item = &'a Member>,
        mut unknown: Vec<&'a Member>,
    ) -> Self {
        // Names that are alike stand together: a roll tells what differs.
        unknown.sort_unstable_by_key(|member| member.name());
        let mut introduced: Vec<Introduction> =
            unknown.iter().map(|member| Introduction::of(member)).collect();
        let fitting = roll::fitting(&introduced, ROLL_BYTES_MAX);
        introduced.truncate(fitting);
        let updates = known.chain(unknown.into_iter().skip(fitting)).map(|member| member.update).collect();
        Self { from, updates, introduced }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Refusal {
    /// We were founded otherwise, and are this many.
    Founding { founding: Founding, standing: u32 },
    /// Another member that has your name answers.
    NameInUse { address: SocketAddr },
    /// Somebody seems to have your name; ask again while I find out whether it answers.
    NameInDoubt,
    /// You are talking to yourself.
    Yourself,
}

impl Request {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let (request, rest) = postcard::take_from_bytes(open(bytes, EXCHANGE_BYTES_MAX)?)?;
        nothing_follows(rest)?;
        match &request {
            Self::Sync(sync) => {
                sync.record.validate()?;
                bounded(sync.updates.len())?;
            }
            Self::Fetch { members, .. } => bounded(members.len())?,
            Self::Compare { .. } | Self::Ping { .. } => {}
        }
        Ok(request)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        write_exchange(self)
    }
}

impl Response {
    pub(super) fn read(bytes: &[u8]) -> Result<Self, WireError> {
        let (mut response, rest) = postcard::take_from_bytes(open(bytes, EXCHANGE_BYTES_MAX)?)?;
        match &mut response {
            Self::Knowledge(knowledge) => {
                bounded(knowledge.updates.len())?;
                knowledge.introduced = roll::read(rest)?;
            }
            Self::Pong(_) | Self::Refusal(_) | Self::Compared { .. } => nothing_follows(rest)?,
        }
        Ok(response)
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = write_exchange(self);
        if let Self::Knowledge(knowledge) = self {
            bytes.extend(roll::write(&knowledge.introduced));
        }
        bytes
    }
}

/// The half of a founding's digest that datagrams carry: it guards against mistakes, not against members.
fn short_founding(digest: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = digest.to_be_bytes();
    [a, b, c, d]
}

fn bounded(entries: usize) -> Result<(), WireError> {
    if entries <= MEMBERS_MAX {
        Ok(())
    } else {
        Err(WireError::Absurd(format!("{entries} entries are more than {MEMBERS_MAX} members")))
    }
}

fn nothing_follows(rest: &[u8]) -> Result<(), WireError> {
    if rest.is_empty() { Ok(()) } else { Err(WireError::Malformed(format!("{} bytes too many", rest.len()))) }
}

fn write_exchange(message: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![WIRE_VERSION];
    bytes.extend_from_slice(&encode(message));
    bytes
}

/// Checks length and version and returns what follows.
fn open(bytes: &[u8], bytes_max: usize) -> Result<&[u8], WireError> {
    if bytes.len() > bytes_max {
        return Err(WireError::TooLong(bytes.len()));
    }
    match bytes.split_first() {
        Some((&WIRE_VERSION, rest)) => Ok(rest),
        Some((&version, _)) => Err(WireError::Version(version)),
        None => Err(WireError::Malformed("it is empty".to_owned())),
    }
}

fn encode(message: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(message).expect("messages are made of plain values, which always encode")
}

#[cfg(test)]
mod tests;
