//! One exchange over one tree, from either side, on a stream of its own: finds the differing positions by tree, swaps
//! the states there in both directions. If there were none, both sides take in the other's clock as it stood at the start.
//!
//! What is handed over and what is made of it is `chinwag_storage::Swap`'s; here it is carried.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::codec::{self, DecodeError};
use chinwag_client::frame::{Closed, Frame, FrameError, FrameReader, FrameSender};
use chinwag_membership::NodeId;
use chinwag_merkle::{self as merkle, Action, Cut, Exchange, Input, TreeId};
use chinwag_storage::{
    CommitError, KeyState, Merged, Outset, ReadError, StatePage, StoreKey, Swap, SwapError,
};
use rand::RngExt;
use tokio::task::yield_now;
use tokio::time::{Instant, timeout};

use super::log;
use crate::core::Core;
use crate::transport::data::LinkError;
use crate::wire::ExchangeFrame;

/// The other side gets this long for one step: it may have to wait for its budget a few times.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// Keys swapped at once: requests wait for no more.
const SWAP_KEYS: usize = 32;
/// The call number of all frames after the opening one.
const CALL: u64 = 1;

/// An exchange broke off. What it had repaired stays repaired; no clock was taken in. The next round tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the member is in another exchange")]
    Busy,
    #[error("the member has never been met")]
    Stranger,
    #[error("this member still reads what it holds of the partition")]
    Unsure,
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Closed(#[from] Closed),
    #[error("the stream ended early")]
    Ended,
    #[error("no answer in time")]
    Timeout,
    #[error("a key's siblings take {0} bytes, more than a message may be long: reconcile them")]
    TooLong(usize),
    #[error(transparent)]
    Decode(#[from] DecodeError),
    #[error("the member said something out of turn")]
    OutOfTurn,
    #[error(transparent)]
    Tree(#[from] chinwag_merkle::ExchangeError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Swap(#[from] SwapError),
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What an exchange did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Swapped {
    /// Whether there was no difference.
    pub(crate) clean: bool,
    /// Bytes of all frames, in both directions.
    pub(crate) bytes: u64,
    /// Turns of both sides.
    pub(crate) round_trips: u64,
    /// Key states that went to the other side.
    pub(crate) sent: u64,
    /// Key states from the other side, of which this one learned something.
    pub(crate) received: u64,
    /// Where the next exchange over the tree is to go on: one exchange swaps a bounded number.
    pub(crate) resume: Option<u128>,
}

impl Swapped {
    /// Adds what another exchange took.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.round_trips += other.round_trips;
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// Runs an exchange that this member opens, over a tree as of a cut.
pub(crate) async fn initiate(
    core: &Core,
    partner: NodeId,
    tree: TreeId,
    cut: Cut,
    start: Option<u128>,
) -> Result<Swapped, ExchangeError> {
    let address = core.view().address(partner).ok_or(ExchangeError::Stranger)?;
    let outset = outset(core, tree, cut).await?;
    let (clock, young) = (outset.clock.clone(), outset.young.clone());
    let opening = ExchangeFrame::Open { from: core.me, tree, cut, clock, young };
    let (reader, writer) = core.links.open_exchange(address, codec::encode(&opening)).await?;
    let mut stream = Stream::new(core, reader, writer);
    let (clock, young) = match stream.next().await? {
        ExchangeFrame::Accepted { clock, young } => (clock, young),
        ExchangeFrame::Busy => return Err(ExchangeError::Busy),
        _ => return Err(ExchangeError::OutOfTurn),
    };
    core.hear_clock(tree, partner, &clock);
    let swap = Swap::new(&outset, clock, young);
    let salt = core.draw(|rng| rng.random());
    let (mut exchange, first) = Exchange::initiate(tree, outset.tree, core.tree_key.id(), salt, start);
    let mut side = Side::new(core, (partner, tree), stream, swap);
    let mut steps = Steps::new(tree, cut, true, first);
    while !steps.carry_out(&mut side, &mut exchange).await? {
        let ExchangeFrame::Tree(message) = side.stream.next().await? else {
            return Err(ExchangeError::OutOfTurn);
        };
        steps.todo.extend(exchange.on(Input::Message(message))?);
    }
    if !steps.is_clean() {
        match steps.bulk {
            Some(merkle::Side::Here) => side.offer_everything().await?,
            Some(merkle::Side::There) => {}
            None => side.offer(&steps.own).await?,
        }
        let everything = steps.bulk == Some(merkle::Side::There);
        side.stream.send(&ExchangeFrame::Over { everything }).await?;
        side.take_offers().await?;
    }
    side.stream.send(&ExchangeFrame::Complete).await?;
    let ExchangeFrame::Complete = side.stream.next().await? else { return Err(ExchangeError::OutOfTurn) };
    side.swap.conclude(&core.store, steps.is_clean())?.await?;
    let Stream { bytes, turns, .. } = side.stream;
    let resume = steps.over.filter(|_| steps.bulk.is_none()).and_then(|done| done.resume);
    Ok(Swapped { resume, bytes, round_trips: turns.div_ceil(2), clean: steps.is_clean(), ..side.swapped })
}

/// This replica as it stood at a cut, once it is durable: others act upon what they are told of it.
async fn outset(core: &Core, tree: TreeId, cut: Cut) -> Result<Outset, ExchangeError> {
    let outset = core.store.outset(tree, cut).ok_or(ExchangeError::Unsure)?;
    core.store.barrier().await?;
    Ok(outset)
}

/// Serves an exchange that another member opened with `opening`; `None` if what came over it is no exchange.
pub(crate) async fn respond(
    core: &Core,
    opening: &Bytes,
    reader: FrameReader,
    writer: FrameSender,
) -> Option<()> {
    let served = serve(core, opening, reader, writer).await;
    if let Err(error) = &served {
        tracing::debug!(%error, "an exchange broke off");
    }
    let garbage =
        matches!(served, Err(ExchangeError::Decode(_) | ExchangeError::Frame(FrameError::TooLong(_))));
    (!garbage).then_some(())
}

async fn serve(
    core: &Core,
    opening: &Bytes,
    reader: FrameReader,
    writer: FrameSender,
) -> Result<(), ExchangeError> {
    let ExchangeFrame::Open { from, tree, cut, clock, young } = codec::decode(opening)? else {
        return Err(ExchangeError::OutOfTurn);
    };
    let mut stream = Stream::new(core, reader, writer);
    let Ok(_turn) = core.exchange_in.try_acquire() else {
        return stream.send(&ExchangeFrame::Busy).await;
    };
    let outset = outset(core, tree, cut).await?;
    let accepted = ExchangeFrame::Accepted { clock: outset.clock.clone(), young: outset.young.clone() };
    stream.send(&accepted).await?;
    core.hear_clock(tree, from, &clock);
    let swap = Swap::new(&outset, clock, young);
    let mut exchange = Exchange::respond(tree, outset.tree, core.tree_key.id());
    let mut side = Side::new(core, (from, tree), stream, swap);
    let mut steps = Steps::new(tree, cut, false, Vec::new());
    loop {
        match side.stream.next().await? {
            ExchangeFrame::Tree(message) => {
                steps.todo.extend(exchange.on(Input::Message(message))?);
                steps.carry_out(&mut side, &mut exchange).await?;
            }
            ExchangeFrame::States(states) => drop(side.take_in(states).await?),
            ExchangeFrame::Offered => side.answer().await?,
            ExchangeFrame::Over { everything } => {
                if everything {
                    side.offer_everything().await?;
                } else {
                    side.offer(&steps.own).await?;
                }
                side.stream.send(&ExchangeFrame::Over { everything: false }).await?;
            }
            ExchangeFrame::Complete => {
                side.swap.conclude(&core.store, steps.is_clean())?.await?;
                return side.stream.send(&ExchangeFrame::Complete).await;
            }
            ExchangeFrame::Open { .. }
            | ExchangeFrame::Accepted { .. }
            | ExchangeFrame::Busy
            | ExchangeFrame::Gone(_)
            | ExchangeFrame::Answered => return Err(ExchangeError::OutOfTurn),
        }
    }
}

/// What the tree exchange asked for and found.
#[derive(Debug)]
struct Steps {
    tree: TreeId,
    cut: Cut,
    todo: VecDeque<Action>,
    /// Where this side holds what the other does not hold alike.
    own: Vec<u128>,
    /// Whether this side decides how to go on.
    leads: bool,
    /// Who is to hand over everything instead, if the other side lacks most of it.
    bulk: Option<merkle::Side>,
    over: Option<merkle::Done>,
}

impl Steps {
    fn new(tree: TreeId, cut: Cut, leads: bool, first: Vec<Action>) -> Self {
        Self { tree, cut, todo: first.into(), own: Vec::new(), leads, bulk: None, over: None }
    }

    /// Does what is asked until the other side's turn; true once there is nothing more to find out.
    async fn carry_out(
        &mut self,
        side: &mut Side<'_>,
        exchange: &mut Exchange,
    ) -> Result<bool, ExchangeError> {
        let store = &side.core.store;
        while let Some(action) = self.todo.pop_front() {
            match action {
                Action::Send(message) => {
                    side.swap.check(store)?;
                    side.stream.send(&ExchangeFrame::Tree(message)).await?;
                }
                Action::Scan(interval) => {
                    let entries = store.entries(self.tree, interval, self.cut)?;
                    self.todo.extend(exchange.on(Input::Scanned { interval, entries })?);
                    // Requests go first, but the other side waits for all scans of a step.
                    yield_now().await;
                }
                Action::Bulk(which) if self.leads => {
                    self.bulk = Some(which);
                    return Ok(true);
                }
                Action::Bulk(_) => {}
                Action::Differ(positions) => self.own.extend(positions),
                Action::Done(done) => self.over = Some(done),
            }
        }
        Ok(self.over.is_some())
    }

    /// Whether both trees were equal at the cut: only that proves that this side has, or has seen
    /// overwritten, everything that the other's clock covered then. Short hashes may have hidden a difference from an
    /// exchange that repaired some; the next one will be clean.
    fn is_clean(&self) -> bool {
        self.over.is_some_and(|done| done.clean)
    }
}

/// One side of the swap and what it is carried over.
struct Side<'a> {
    core: &'a Core,
    /// The other side, and the tree the exchange is over.
    of: (NodeId, TreeId),
    stream: Stream<'a>,
    swap: Swap,
    swapped: Swapped,
    logged: log::Place,
}

impl<'a> Side<'a> {
    fn new(core: &'a Core, of: (NodeId, TreeId), stream: Stream<'a>, swap: Swap) -> Self {
        Self { core, of, stream, swap, swapped: Swapped::default(), logged: log::Place::default() }
    }

    /// Hands over all that this side holds at `positions`, a page at a time, and takes in what becomes of it.
    async fn offer(&mut self, positions: &[u128]) -> Result<(), ExchangeError> {
        for positions in positions.chunks(SWAP_KEYS) {
            let mut after = None;
            loop {
                let began = Instant::now();
                let page = self.swap.offer(&self.core.store, positions, after.as_ref(), SWAP_KEYS)?;
                after = self.offer_page(page, began).await?;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Hands over all that this side holds.
    async fn offer_everything(&mut self) -> Result<(), ExchangeError> {
        let mut after = None;
        loop {
            let began = Instant::now();
            let page = self.swap.offer_all(&self.core.store, after.as_ref(), SWAP_KEYS)?;
            after = self.offer_page(page, began).await?;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Hands over a page whose reading began then.
    async fn offer_page(
        &mut self,
        page: StatePage,
        began: Instant,
    ) -> Result<Option<StoreKey>, ExchangeError> {
        self.core.budget.worked(began).await;
        if !page.states.is_empty() {
            self.swapped.sent += page.states.len() as u64;
            self.stream.send_states(page.states).await?;
            self.stream.send(&ExchangeFrame::Offered).await?;
            self.take_answer().await?;
        }
        Ok(page.next)
    }

    async fn take_answer(&mut self) -> Result<(), ExchangeError> {
        loop {
            match self.stream.next().await? {
                ExchangeFrame::States(states) => self.swapped.received += self.take_in(states).await?,
                ExchangeFrame::Gone(keys) => self.swapped.received += self.let_go(&keys)?,
                ExchangeFrame::Answered => return Ok(()),
                _ => return Err(ExchangeError::OutOfTurn),
            }
        }
    }

    /// Takes in what the other side offers, until that is all.
    async fn take_offers(&mut self) -> Result<(), ExchangeError> {
        loop {
            match self.stream.next().await? {
                ExchangeFrame::States(states) => self.swapped.received += self.take_in(states).await?,
                ExchangeFrame::Offered => self.answer().await?,
                ExchangeFrame::Over { .. } => return Ok(()),
                _ => return Err(ExchangeError::OutOfTurn),
            }
        }
    }

    /// Answers what this side does not hold as the other offered it.
    async fn answer(&mut self) -> Result<(), ExchangeError> {
        loop {
            let began = Instant::now();
            let Some(answer) = self.swap.answer(&self.core.store, SWAP_KEYS)? else { break };
            self.core.budget.worked(began).await;
            self.swapped.sent += answer.states.len() as u64;
            self.stream.send_states(answer.states).await?;
            if !answer.gone.is_empty() {
                self.stream.send(&ExchangeFrame::Gone(answer.gone)).await?;
            }
        }
        self.stream.send(&ExchangeFrame::Answered).await
    }

    /// Merges another replica's states; returns how many changed what is held here.
    async fn take_in(&mut self, states: Vec<(StoreKey, KeyState)>) -> Result<u64, ExchangeError> {
        let (began, mut changed) = (Instant::now(), 0);
        for (key, state) in states {
            let merged = self.swap.accept(&self.core.store, key, &state)?;
            changed += self.count(&merged);
        }
        self.core.budget.worked(began).await;
        Ok(changed)
    }

    /// Drops what the other side has seen the end of; returns of how many keys something was.
    fn let_go(&mut self, keys: &[StoreKey]) -> Result<u64, ExchangeError> {
        let mut changed = 0;
        for key in keys {
            let merged = self.swap.gone(&self.core.store, key)?;
            changed += self.count(&merged);
        }
        Ok(changed)
    }

    /// Counts what became of one key. One whose tombstone the other side has removed already is not repaired, it is
    /// done with.
    fn count(&mut self, merged: &Merged) -> u64 {
        let (partner, tree) = self.of;
        let counters = &self.core.counters;
        if merged.tidied {
            counters.tombstones_purged.increment();
        } else if merged.changed {
            counters.keys_repaired.increment();
            self.core.repaired.note(&mut self.logged, partner, tree);
        }
        u64::from(merged.changed)
    }
}

/// The two halves of an exchange's stream, and what went over it.
#[derive(Debug)]
struct Stream<'a> {
    core: &'a Core,
    reader: FrameReader,
    writer: FrameSender,
    bytes: u64,
    /// How often the direction changed.
    turns: u64,
    sent_last: bool,
}

impl<'a> Stream<'a> {
    /// A stream on which the initiator has spoken.
    const fn new(core: &'a Core, reader: FrameReader, writer: FrameSender) -> Self {
        Self { core, reader, writer, bytes: 0, turns: 1, sent_last: true }
    }

    async fn send_states(&mut self, states: Vec<(StoreKey, KeyState)>) -> Result<(), ExchangeError> {
        if states.is_empty() { Ok(()) } else { self.send(&ExchangeFrame::States(states)).await }
    }

    /// Sends a frame, when the budget of repair allows.
    async fn send(&mut self, frame: &ExchangeFrame) -> Result<(), ExchangeError> {
        let body = codec::encode(frame);
        if body.len() > codec::MESSAGE_BYTES_MAX {
            return Err(ExchangeError::TooLong(body.len()));
        }
        self.count(body.len(), true);
        self.core.budget.spend(body.len()).await;
        Ok(self.writer.send(Frame { call: CALL, body }).await?)
    }

    async fn next(&mut self) -> Result<ExchangeFrame, ExchangeError> {
        match timeout(STEP_TIMEOUT, self.reader.next()).await {
            Ok(frame) => {
                let body = frame?.ok_or(ExchangeError::Ended)?.body;
                self.count(body.len(), false);
                Ok(codec::decode(&body)?)
            }
            Err(_elapsed) => Err(ExchangeError::Timeout),
        }
    }

    fn count(&mut self, bytes: usize, sent: bool) {
        self.bytes += bytes as u64;
        self.turns += u64::from(self.sent_last != sent);
        self.sent_last = sent;
    }
}
