//! Owns what goes in and out of an exchange; refuses to decide any of it.

use super::message::Message;
use crate::entries::Entry;
use crate::interval::Interval;

/// What the host feeds to an exchange.
#[derive(Clone, Debug)]
pub enum Input {
    /// The other side's message arrived.
    Message(Message),
    /// A scan asked for by [`Action::Scan`] is done.
    Scanned {
        /// The interval of the scan.
        interval: Interval,
        /// Every key the store holds there, in the order of positions.
        entries: Vec<Entry>,
    },
}

/// What the host does for an exchange, in the order given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Send this to the other side.
    Send(Message),
    /// Read every key in this interval, and answer with [`Input::Scanned`]; scans may be answered in any order.
    /// Each leaf is asked for once, at most [`SCANS_AHEAD_MAX`](crate::SCANS_AHEAD_MAX) at a time.
    Scan(Interval),
    /// Most of what one of the two holds is missing on the other, which would be better served by all of it in order
    /// than by being told position by position. The host may drop the exchange and do so, or go on. Comes first, and
    /// once at most.
    Bulk(Side),
    /// This side holds something at these positions that the other does not hold alike: to be sent there. They are
    /// in order; the initiator's are not more than [`DIFFERENCES_MAX`](crate::DIFFERENCES_MAX). Keys that share
    /// a position are one difference.
    Differ(Vec<u128>),
    /// The exchange is over.
    Done(Done),
}

/// One of the two replicas.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// This one.
    Here,
    /// The other one.
    There,
}

/// How an exchange ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Done {
    /// The roots were equal, by 64 bits of salted hash: both replicas held the same in the whole tree. Only that
    /// proves it; an exchange that finds nothing may have missed something.
    pub clean: bool,
    /// There may be more differences from this position on: what the next exchange is to start from. The initiator's
    /// alone.
    pub resume: Option<u128>,
    /// What it took.
    pub stats: Stats,
}

/// What an exchange took on this side.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Messages sent and received.
    pub messages: u8,
    /// Leaves known entry by entry: each was scanned once, but those of a single position, which need none.
    pub leaves: u64,
    /// Keys the host read.
    pub keys_scanned: u64,
}
