//! Owns one exchange: two replicas of a tree find out which positions differ; refuses sockets, stores and clocks: it
//! asks its host to send, to scan, and to repair what it found.
//!
//! The sides take turns, each message answering the one before it:
//!
//! ```text
//! initiator                                      responder
//!   open: salted root                        ─►    equal, or about 512 cells with short salted hashes
//!   cells that differ, cut into leaves       ◄─►   ... cut further, listed where small
//!   lists of entry hashes                    ◄─►   which of them are not held alike
//! ```
//!
//! In the end each side knows which of its own positions the other does not hold alike, and no position was spelled
//! out: what is sent there next has its own.
//!
//! Cells are intervals of the position space, so the two directories may be cut differently. Hashes on the wire are
//! short and salted anew for every exchange: a difference is missed about once in 20,000 times, and found by the next.

mod actions;
mod answer;
mod bits;
mod error;
mod holdings;
mod lists;
mod message;
mod offers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use crate::cut::Cut;
use crate::element::{KeyId, SCHEME, salted_root};
use crate::entries::Entry;
use crate::interval::Interval;
use crate::roots::{MismatchError, TreeId, check_hashing};
use crate::tree::Snapshot;
use crate::wire::VERSION;
use answer::{Answer, Limits, Terms, answer};
use holdings::Holdings;
use lists::Listed;
use message::{Body, Open, Step};
use offers::{Claim, Heard, Offer, hear};

pub use actions::{Action, Done, Input, Side, Stats};
pub use error::ExchangeError;
pub use message::Message;
pub use offers::DIFFERENCES_MAX;

/// Scans asked for and not yet answered, at most.
pub const SCANS_AHEAD_MAX: usize = 64;
/// A tree of fewer keys is never worth a bulk transfer: its lists fit a few messages.
const BULK_KEYS_MIN: u64 = 1_024;
/// An exchange that takes more messages than this is going nowhere: each makes cells 64 times smaller.
const TURNS_MAX: u8 = 32;

/// One side of an exchange over one tree.
///
/// The host carries out every [`Action`] and feeds what comes of it to [`on`](Self::on), until [`Action::Done`] or an
/// error. It works on a snapshot; scans read the store as it is, and the host makes of them what they would have been at
/// the snapshot's cut ([`Tree::entries_at`](crate::Tree::entries_at)). Without a cut a write that lands meanwhile may
/// show as a difference, or may settle one.
pub struct Exchange {
    tree: TreeId,
    cut: Cut,
    key_id: KeyId,
    role: Role,
    terms: Terms,
    holdings: Holdings,
    state: State,
    /// Messages sent and received so far.
    turn: u8,
    /// What the last message sent offers.
    offers: Vec<Offer>,
    /// Positions this side holds that the other does not hold alike.
    own: BTreeSet<u128>,
    /// From this position on, a side has not looked.
    end: Option<u128>,
}

#[derive(Debug)]
enum State {
    /// The other side's turn.
    Listening,
    /// This side's turn; scans may be awaited.
    Answering(Vec<Claim>),
    /// Done or failed.
    Over,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Initiator,
    Responder,
}

impl Exchange {
    /// Begins an exchange over `tree`.
    ///
    /// `salt` is random and new for every exchange. `start` is the cursor a former exchange ended with
    /// ([`Done::resume`]): differences below it are not reported; a cursor outside the tree means from its beginning.
    #[must_use]
    pub fn initiate(
        tree: TreeId,
        snapshot: Snapshot,
        key_id: KeyId,
        salt: u64,
        start: Option<u128>,
    ) -> (Self, Vec<Action>) {
        let interval = snapshot.directory.interval();
        let start = start.filter(|start| interval.contains(*start));
        let total = snapshot.directory.total();
        let open = Open {
            scheme: SCHEME,
            key_id,
            cut: snapshot.cut,
            depth: interval.depth(),
            start,
            count: total.count,
            root: salted_root(&total, salt),
        };
        let mut exchange = Self::new(Role::Initiator, tree, snapshot, key_id);
        exchange.terms.salt = salt;
        exchange.terms.start = start.unwrap_or_else(|| interval.first());
        exchange.offers = vec![if total.is_empty() {
            Offer::List { cell: interval, positions: Vec::new() }
        } else {
            Offer::Hash { cell: interval }
        }];
        let send = exchange.send(Body::Open(open));
        (exchange, vec![send])
    }

    /// Waits for another replica to begin an exchange over `tree`. The snapshot has to be of the cut that its first
    /// message names ([`Message::cut`]).
    #[must_use]
    pub fn respond(tree: TreeId, snapshot: Snapshot, key_id: KeyId) -> Self {
        Self::new(Role::Responder, tree, snapshot, key_id)
    }

    /// Takes what happened, and says what to do next. It may be nothing, while scans are awaited.
    ///
    /// # Errors
    /// Whatever arrives that should not ends the exchange with an error, never with a false result.
    pub fn on(&mut self, input: Input) -> Result<Vec<Action>, ExchangeError> {
        let result = match input {
            Input::Message(message) => self.on_message(message),
            Input::Scanned { interval, entries } => self.on_scanned(interval, &entries),
        };
        if result.is_err() {
            self.state = State::Over;
        }
        result
    }

    fn new(role: Role, tree: TreeId, snapshot: Snapshot, key_id: KeyId) -> Self {
        let Snapshot { directory, cut } = snapshot;
        let start = directory.interval().first();
        let terms = Terms { salt: 0, start, other_count: 0, limits: Limits::DEFAULT };
        Self {
            tree,
            cut,
            key_id,
            role,
            terms,
            holdings: Holdings::new(directory),
            state: State::Listening,
            turn: 0,
            offers: Vec::new(),
            own: BTreeSet::new(),
            end: None,
        }
    }

    fn on_message(&mut self, message: Message) -> Result<Vec<Action>, ExchangeError> {
        self.check(&message)?;
        self.turn += 1;
        match (message.body, self.role, message.turn) {
            (Body::Open(open), Role::Responder, 0) => {
                self.terms.salt = message.salt;
                self.on_open(&open)
            }
            (Body::Equal, Role::Initiator, 1) => Ok(vec![self.done(true)]),
            (Body::Step(step), _, 1..) => self.on_step(message.turn, &step),
            (Body::Open(_) | Body::Equal | Body::Step(_), _, turn) => Err(ExchangeError::Unexpected(turn)),
        }
    }

    fn check(&self, message: &Message) -> Result<(), ExchangeError> {
        if matches!(self.state, State::Over) {
            return Err(ExchangeError::Over);
        }
        if message.version != VERSION {
            return Err(MismatchError::Version(message.version).into());
        }
        if message.tree != self.tree {
            return Err(ExchangeError::OtherTree(message.tree));
        }
        // The responder learns the salt from the first message.
        if message.salt != self.terms.salt && self.turn > 0 {
            return Err(ExchangeError::OtherExchange);
        }
        if message.turn != self.turn {
            return Err(ExchangeError::OutOfTurn { expected: self.turn, got: message.turn });
        }
        if !matches!(self.state, State::Listening) {
            return Err(ExchangeError::Unexpected(message.turn));
        }
        if self.turn >= TURNS_MAX { Err(ExchangeError::Endless) } else { Ok(()) }
    }

    fn on_open(&mut self, open: &Open) -> Result<Vec<Action>, ExchangeError> {
        check_hashing(open.scheme, open.key_id, self.key_id)?;
        let cell = self.holdings.directory().interval();
        if open.depth != cell.depth() {
            return Err(ExchangeError::Depth { own: cell.depth(), other: open.depth });
        }
        if open.cut != self.cut {
            return Err(ExchangeError::Cut { own: self.cut, other: open.cut });
        }
        let start = open.start.unwrap_or_else(|| cell.first());
        if !cell.contains(start) {
            return Err(ExchangeError::Garbled(0));
        }
        self.terms.start = start;
        self.terms.other_count = open.count;
        if salted_root(&self.holdings.directory().total(), self.terms.salt) == open.root {
            return Ok(vec![self.send(Body::Equal), self.done(true)]);
        }
        self.state = State::Answering(vec![if open.count == 0 {
            Claim::List { cell, listed: Listed::EMPTY }
        } else {
            Claim::Unequal { cell }
        }]);
        let mut actions = self.bulk();
        actions.append(&mut self.proceed());
        Ok(actions)
    }

    fn on_step(&mut self, turn: u8, step: &Step) -> Result<Vec<Action>, ExchangeError> {
        let whole = self.holdings.directory().interval();
        let heard = hear(&step.packed, &self.offers, whole, self.terms.start);
        let Ok(Heard { claims, own, end }) = heard else { return Err(ExchangeError::Garbled(turn)) };
        // An end at or below the start would begin the same exchange again, for ever.
        if end.is_some_and(|end| end <= self.terms.start) {
            return Err(ExchangeError::Garbled(turn));
        }
        self.own.extend(own);
        self.end = self.end.into_iter().chain(end).min();
        self.terms.other_count = step.count;
        let mut actions = if turn == 1 { self.bulk() } else { Vec::new() };
        if claims.is_empty() {
            actions.append(&mut self.finish());
        } else {
            self.state = State::Answering(claims);
            actions.append(&mut self.proceed());
        }
        Ok(actions)
    }

    /// Says so if most of what one side holds is missing on the other. An exchange that goes on from a cursor has heard.
    fn bulk(&self) -> Vec<Action> {
        let whole = self.holdings.directory();
        let (own, other) = (whole.total().count, self.terms.other_count);
        if self.terms.start > whole.interval().first() || own.max(other) < BULK_KEYS_MIN {
            Vec::new()
        } else if own / 2 > other {
            vec![Action::Bulk(Side::Here)]
        } else if other / 2 > own {
            vec![Action::Bulk(Side::There)]
        } else {
            Vec::new()
        }
    }

    fn on_scanned(&mut self, interval: Interval, entries: &[Entry]) -> Result<Vec<Action>, ExchangeError> {
        if matches!(self.state, State::Over) {
            return Err(ExchangeError::Over);
        }
        match self.holdings.accept(interval, entries) {
            None => Err(ExchangeError::UnexpectedScan(interval)),
            Some(Err(error)) => Err(ExchangeError::Scan(interval, error)),
            Some(Ok(())) => Ok(self.proceed()),
        }
    }

    /// Answers, or asks for the scans it takes to answer.
    fn proceed(&mut self) -> Vec<Action> {
        if !self.holdings.is_waiting()
            && let State::Answering(claims) = &self.state
            && let Some(answer) = answer(claims, self.terms, &mut self.holdings)
        {
            return self.answered(answer);
        }
        self.holdings.ask(SCANS_AHEAD_MAX).into_iter().map(Action::Scan).collect()
    }

    fn answered(&mut self, answer: Answer) -> Vec<Action> {
        let Answer { packed, offers, found, end } = answer;
        self.own.extend(found);
        self.end = self.end.into_iter().chain(end).min();
        self.offers = offers;
        self.state = State::Listening;
        let step = Step { count: self.holdings.directory().total().count, packed };
        let mut actions = vec![self.send(Body::Step(step))];
        if self.offers.is_empty() {
            actions.append(&mut self.finish());
        }
        actions
    }

    /// Ends an exchange in which all was said.
    fn finish(&mut self) -> Vec<Action> {
        let found = self.differences();
        let differ = (!found.is_empty()).then_some(Action::Differ(found));
        differ.into_iter().chain([self.done(false)]).collect()
    }

    /// What was found from the start up to the end. If that is too much for the initiator the end moves down; the
    /// responder has no say in it any more.
    fn differences(&mut self) -> Vec<u128> {
        let wanted =
            |position: &u128| *position >= self.terms.start && self.end.is_none_or(|end| *position < end);
        let mut found: Vec<u128> = self.own.iter().copied().filter(wanted).collect();
        match self.role {
            Role::Initiator => {
                let limit = self.terms.limits.differences;
                self.end = found.get(limit).copied().or(self.end);
                found.truncate(limit);
            }
            Role::Responder => self.end = None,
        }
        found
    }

    fn send(&mut self, body: Body) -> Action {
        let turn = self.turn;
        self.turn += 1;
        Action::Send(Message { version: VERSION, tree: self.tree, salt: self.terms.salt, turn, body })
    }

    fn done(&mut self, clean: bool) -> Action {
        self.state = State::Over;
        let (leaves, keys_scanned) = self.holdings.scanned();
        let stats = Stats { messages: self.turn, leaves, keys_scanned };
        Action::Done(Done { clean, resume: self.end, stats })
    }
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Exchange")
            .field("tree", &self.tree)
            .field("role", &self.role)
            .field("turn", &self.turn)
            .finish_non_exhaustive()
    }
}
