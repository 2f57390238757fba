//! The faces of the machine: what goes in, what comes out, and what it counted.

use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;

use super::founding::FoundingMismatch;
use super::member::{Life, State};
use super::record::{Incarnation, MemberRecord};
use crate::identity::Name;

/// Tells exchanges apart: a request over a reliable stream and its one answer.
///
/// The machine numbers those it opens, the shell those that others open to it; the two never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeId(pub u64);

/// Everything that can happen to the machine, apart from time.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A datagram arrived.
    Datagram {
        /// The sender's gossip address.
        from: SocketAddr,
        /// What it said.
        bytes: &'a [u8],
    },
    /// Somebody opened an exchange to this member. At most one [`Output::Reply`] answers it, at once.
    Request {
        /// The shell's number for it.
        exchange: ExchangeId,
        /// What was asked.
        bytes: &'a [u8],
    },
    /// An exchange that this member opened was answered.
    Response {
        /// The number from [`Output::Open`].
        exchange: ExchangeId,
        /// The answer.
        bytes: &'a [u8],
    },
    /// An exchange that this member opened came to nothing.
    Failed {
        /// The number from [`Output::Open`].
        exchange: ExchangeId,
    },
    /// Join the cluster of these members: the addresses of their data and clients' endpoints. They are tried for
    /// ever, and again when nobody there is alive. May be given again; this member's own address is passed over.
    Join {
        /// Where to ask. At most [`SEEDS_MAX`](super::SEEDS_MAX) are kept.
        seeds: Vec<SocketAddr>,
    },
    /// Say goodbye. The outputs that follow are the last ones; the machine hears nothing any more.
    Leave,
}

/// What the shell has to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a datagram, at most [`DATAGRAM_BYTES_MAX`](super::DATAGRAM_BYTES_MAX) long. It may be lost.
    Datagram {
        /// A gossip address.
        to: SocketAddr,
        /// What to send.
        bytes: Vec<u8>,
    },
    /// Open an exchange, and answer with [`Input::Response`] or [`Input::Failed`]. An answer that takes longer than
    /// [`Config::exchange_timeout`](super::Config::exchange_timeout) is not waited for.
    Open {
        /// The machine's number for it.
        exchange: ExchangeId,
        /// The address of a data and clients' endpoint.
        to: SocketAddr,
        /// What to ask.
        bytes: Vec<u8>,
    },
    /// Answer an exchange that somebody opened to this member.
    Reply {
        /// The number from [`Input::Request`].
        exchange: ExchangeId,
        /// The answer.
        bytes: Vec<u8>,
    },
    /// Something happened that others may want to know.
    Event(Event),
}

/// What happened to the view. The view itself is in [`Membership::members`](super::Membership::members).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member is alive that was not known, was down or had left, or has been restarted (a higher generation, also
    /// if nobody noticed that it was gone).
    Up {
        /// What it says of itself.
        record: Arc<MemberRecord>,
        /// Its incarnation.
        incarnation: Incarnation,
    },
    /// A probe of the member failed, here or elsewhere.
    Suspect(Life),
    /// A suspect has proved that it is alive.
    Refuted(Life),
    /// A member is down; or one came to be known of which that is all that is known.
    Down(Life),
    /// A member said goodbye.
    Left(Life),
    /// A known member's record differs in more than the generation. [`Event::Up`] follows if it is alive.
    MetaChanged {
        /// What it says of itself now.
        record: Arc<MemberRecord>,
    },
    /// Others believed this member to be suspect, down or gone. It has raised its incarnation or its generation.
    SelfAccused {
        /// What they believed.
        as_state: State,
        /// What this member is now.
        life: Life,
    },
    /// This member cannot be part of the cluster. The shell says why and stops.
    Refused(Refused),
    /// A seed was not reached. It will be tried again.
    SeedUnreachable {
        /// The seed.
        address: SocketAddr,
        /// How often it was tried since it was last reached.
        attempts: u32,
    },
}

/// Why this member cannot be part of the cluster. It holds nobody's place; correct the cause and start it again.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// It was started with other settings than the cluster was founded with.
    #[error("the cluster at {by} refuses this member: {mismatch}")]
    Founding {
        /// Who refused.
        by: SocketAddr,
        /// What differs.
        mismatch: FoundingMismatch,
    },
    /// Another live member has the same name.
    #[error(
        "the name {name} is in use: another member of that name answers at {address}; \
         start this one with another --name, or stop the other one first"
    )]
    NameInUse {
        /// The name.
        name: Name,
        /// Where the other member is.
        address: SocketAddr,
    },
}

/// What the machine has refused, counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams and messages that could not be read.
    pub malformed: u64,
    /// Those that were longer than any.
    pub oversized: u64,
    /// Those with values that no member could have, such as an incarnation beyond reach or a name of a megabyte.
    pub absurd: u64,
    /// Datagrams and requests of members with another founding.
    pub foreign: u64,
    /// Probes that were meant for another member.
    pub misdirected: u64,
    /// Responses and answers to probes that were not, or no longer, waited for: late, made up, or replayed.
    pub unexpected: u64,
    /// News of a member that was older than what was known: late, or replayed.
    pub stale: u64,
    /// Members that did not fit any more, records that broke a rule, and names that another member holds.
    pub refused: u64,
}
