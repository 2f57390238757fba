//! Owns the ways an exchange fails; refuses to say what the host makes of it, beyond trying again or not.

use super::TURNS_MAX;
use crate::cut::Cut;
use crate::entries::EntriesError;
use crate::interval::Interval;
use crate::roots::{MismatchError, TreeId};

/// The exchange failed and is over. No difference was reported and none may be taken as settled; the host ends the
/// session, and tries again with a new salt unless the variant says otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The two members' trees cannot be compared. Trying again will not help.
    #[error(transparent)]
    Mismatch(#[from] MismatchError),
    /// The other member cuts the ring into another number of partitions. Trying again will not help.
    #[error("the other member's partition is {other} bits deep, this one's {own}")]
    Depth {
        /// The depth of this side's interval.
        own: u8,
        /// The depth the other announced.
        other: u8,
    },
    /// The other side's snapshot is of another cut than this one's: the responder's has to be of the cut that
    /// [`Message::cut`](crate::Message::cut) names.
    #[error("the other side compares at {other:?}, this one at {own:?}")]
    Cut {
        /// The cut of this side's snapshot.
        own: Cut,
        /// The cut the other announced.
        other: Cut,
    },
    /// The message is about another tree.
    #[error("a message about {0:?} came to another exchange")]
    OtherTree(TreeId),
    /// The message belongs to another exchange over the same tree.
    #[error("a message of another exchange")]
    OtherExchange,
    /// A message was lost, repeated or reordered.
    #[error("message {got} came where message {expected} was due")]
    OutOfTurn {
        /// The turn that was due.
        expected: u8,
        /// The turn of the message.
        got: u8,
    },
    /// A message of a kind that has no place in this turn.
    #[error("message {0} is of a kind that has no place there")]
    Unexpected(u8),
    /// A message whose packed part does not fit what was offered.
    #[error("message {0} is garbled")]
    Garbled(u8),
    /// The exchange took more turns than it could need.
    #[error("no end after {TURNS_MAX} messages")]
    Endless,
    /// The host's scan cannot be right.
    #[error("scan of {0:?}: {1}")]
    Scan(Interval, #[source] EntriesError),
    /// The host brought a scan that was not asked for.
    #[error("a scan of {0:?} that was not asked for")]
    UnexpectedScan(Interval),
    /// The exchange was over before.
    #[error("the exchange is over")]
    Over,
}
