//! Owns the carrying of messages between two replicas, and the scans they ask for; refuses to judge what they find.

use std::collections::{BTreeSet, VecDeque};

use chinwag_merkle::{
    Action, Done, Element, Entry, Exchange, ExchangeError, Input, Interval, KeyId, Message, Side, Snapshot,
    TreeId, TreeKey, element,
};

pub(crate) const TREE: TreeId = TreeId { partition: 5, n: 3 };

/// A small seeded generator (splitmix64): enough to spread test data, and the same everywhere.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn position(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

pub(crate) fn key_id() -> KeyId {
    tree_key().id()
}

pub(crate) fn tree_key() -> TreeKey {
    TreeKey::new(*b"a key for trials")
}

/// The element of a numbered key with a numbered record.
pub(crate) fn element_of(key: u64, record: u64) -> Element {
    element(&tree_key(), &key.to_le_bytes(), &record.to_le_bytes())
}

/// What an exchange asks of a replica.
pub(crate) trait Host {
    fn snapshot(&self) -> Snapshot;
    fn scan(&self, interval: Interval) -> Vec<Entry>;
}

/// What an exchange came to on one side.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Positions held there and not alike on the other side.
    pub(crate) found: Vec<u128>,
    pub(crate) bulk: Option<Side>,
    pub(crate) done: Done,
}

/// What an exchange came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) initiator: Ended,
    pub(crate) responder: Ended,
    /// Encoded length of each message, in order.
    pub(crate) bytes: Vec<usize>,
}

impl Outcome {
    /// All that was found.
    pub(crate) fn positions(&self) -> BTreeSet<u128> {
        self.initiator.found.iter().chain(&self.responder.found).copied().collect()
    }

    pub(crate) fn keys_scanned(&self) -> u64 {
        self.initiator.done.stats.keys_scanned + self.responder.done.stats.keys_scanned
    }
}

/// One side of an exchange, with the host's part played.
pub(crate) struct Player<'a, H> {
    host: &'a H,
    pub(crate) exchange: Exchange,
    scanned: BTreeSet<Interval>,
    pub(crate) found: Option<Vec<u128>>,
    pub(crate) bulk: Option<Side>,
    pub(crate) done: Option<Done>,
}

impl<'a, H: Host> Player<'a, H> {
    pub(crate) fn initiate(host: &'a H, salt: u64, start: Option<u128>) -> (Self, Vec<Message>) {
        let (exchange, actions) = Exchange::initiate(TREE, host.snapshot(), key_id(), salt, start);
        let mut player = Self::of(host, exchange);
        let messages = player.act(actions).expect("nothing is wrong with the first action");
        (player, messages)
    }

    pub(crate) fn respond(host: &'a H) -> Self {
        Self::of(host, Exchange::respond(TREE, host.snapshot(), key_id()))
    }

    const fn of(host: &'a H, exchange: Exchange) -> Self {
        Self { host, exchange, scanned: BTreeSet::new(), found: None, bulk: None, done: None }
    }

    /// Feeds a message, and carries out all that follows but the sending.
    pub(crate) fn on(&mut self, message: Message) -> Result<Vec<Message>, ExchangeError> {
        let actions = self.exchange.on(Input::Message(message))?;
        self.act(actions)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<Vec<Message>, ExchangeError> {
        let mut messages = Vec::new();
        let mut due = VecDeque::from(actions);
        while let Some(action) = due.pop_front() {
            match action {
                Action::Send(message) => messages.push(message),
                Action::Scan(interval) => {
                    assert!(self.scanned.insert(interval), "{interval:?} is scanned twice");
                    let entries = self.host.scan(interval);
                    due.extend(self.exchange.on(Input::Scanned { interval, entries })?);
                }
                Action::Bulk(side) => {
                    assert!(self.scanned.is_empty() && messages.is_empty(), "it comes first");
                    assert_eq!(self.bulk.replace(side), None, "it comes once");
                }
                Action::Differ(found) => assert_eq!(self.found.replace(found), None, "differences come once"),
                Action::Done(done) => assert_eq!(self.done.replace(done), None, "an exchange ends once"),
            }
        }
        Ok(messages)
    }

    fn ended(self) -> Ended {
        let done = self.done.expect("the exchange came to an end");
        Ended { found: self.found.unwrap_or_default(), bulk: self.bulk, done }
    }
}

/// Runs one exchange to its end, every message going through its bytes.
pub(crate) fn exchange<H: Host>(initiator: &H, responder: &H, salt: u64, start: Option<u128>) -> Outcome {
    let (mut here, mut due) = Player::initiate(initiator, salt, start);
    let mut there = Player::respond(responder);
    let mut bytes = Vec::new();
    while let Some(message) = due.pop() {
        assert!(due.is_empty(), "sides take turns");
        let encoded = message.encode();
        let message = Message::decode(&encoded).expect("what was encoded decodes");
        let player = if bytes.len() % 2 == 0 { &mut there } else { &mut here };
        bytes.push(encoded.len());
        due = player.on(message).expect("nothing goes wrong between the two");
    }
    Outcome { initiator: here.ended(), responder: there.ended(), bytes }
}
