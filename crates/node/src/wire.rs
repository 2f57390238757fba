//! The members' protocol: what one member asks of another. Types only; the bytes are `chinwag_client::codec`'s.

use bytes::Bytes;
use chinwag_client::wire::{Refusal, RequestOptions, Written};
use chinwag_membership::NodeId;
use chinwag_merkle::{Cut, Message, Roots, TreeId};
use chinwag_storage::{Causal, KeyState, StoreKey};
use serde::{Deserialize, Serialize};

/// A request from one member to another.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum MemberRequest {
    /// What do you hold of this key, hints for others included? `trace` is the number of the client's request, if an
    /// instrument follows it.
    Read { key: StoreKey, trace: Option<u64> },
    /// Take in `state`; for an absent primary, keep it as a hint until that one is back. `trace` as in `Read`.
    Write { key: StoreKey, state: KeyState, hint_for: Option<NodeId>, trace: Option<u64> },
    /// Coordinate this put: you are a replica of the key and I am not.
    Coordinate(ForwardedPut),
    /// One push/pull of the membership protocol.
    Membership(Bytes),
    /// Which of these trees differ from yours? Those that do not tell each what the other has seen.
    Compare { from: NodeId, roots: Roots },
    /// You said that you take no writes: do you now?
    Admit,
}

/// A put on its way to a replica that coordinates it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ForwardedPut {
    /// The key's bucket; `None` for `default`.
    pub(crate) bucket: Option<String>,
    /// The key as the client gave it.
    pub(crate) key: Bytes,
    /// The value; `None` deletes.
    pub(crate) value: Option<Bytes>,
    /// The sealed context, unopened.
    pub(crate) context: Option<Bytes>,
    /// The client's options; the timeout is what is left of it.
    pub(crate) options: RequestOptions,
}

/// The answer to a [`MemberRequest`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum MemberResponse {
    /// To `Read`: the whole state; without siblings if nothing is held, and then with all that is over in its context.
    State(KeyState),
    /// To `Write`: it is as durable as this member is configured to make it. To `Admit`: writes are taken.
    Stored,
    /// To `Coordinate`.
    Coordinated(Result<Written, Refusal>),
    /// To `Membership`.
    Membership(Bytes),
    /// To `Compare`: the trees that differ.
    Differing(Vec<TreeId>),
    /// To `Compare`: writes of after this cut may still be on their way to this member. Ask again as of it.
    Earlier(Cut),
    /// It could not be done, for a person to read.
    Failed(String),
    /// To `Write`, `Coordinate` and `Admit`: the disk is full, nothing was changed, and nothing will be until there is
    /// space. For a person to read.
    NoSpace(String),
}

/// What travels on an exchange's own stream, in turns. The side that opened it is the initiator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum ExchangeFrame {
    /// The initiator's first word: who it is, which tree, as of which cut, the tree's clock as it stands, and what of
    /// that is younger than the cut.
    Open { from: NodeId, tree: TreeId, cut: Cut, clock: Causal, young: Causal },
    /// The responder's first word: its clock as it stands, and what of that is younger than the cut.
    Accepted { clock: Causal, young: Causal },
    /// The responder is in another exchange; ask again later.
    Busy,
    /// A step of the tree exchange, either way.
    Tree(Message),
    /// Whole states for the other side to take in.
    States(Vec<(StoreKey, KeyState)>),
    /// That was a page of what is offered. The other side answers with what it does not hold alike of it: any number of
    /// `States` and `Gone`, then `Answered`.
    Offered,
    /// Keys that were offered and of which nothing is left here.
    Gone(Vec<StoreKey>),
    /// The end of an answer.
    Answered,
    /// That was all that this side offers; it is the other's turn. Instead of positions the responder is to offer all it
    /// holds, if the initiator lacks most of that.
    Over { everything: bool },
    /// All differences were swapped. Said by both; if there were none, each may now take in the other's clock.
    Complete,
}

#[cfg(test)]
mod tests {
    use chinwag_client::codec::{PROTOCOL_VERSION, decode};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[PROTOCOL_VERSION], &bytes[..]].concat();
            decode::<MemberRequest>(&bytes).ok();
            decode::<MemberResponse>(&bytes).ok();
            decode::<ExchangeFrame>(&bytes).ok();
        }
    }
}
