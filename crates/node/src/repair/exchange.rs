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
use chinwag_merkle::{Action, Difference, Exchange, Input, TreeId};
use chinwag_storage::{CommitError, KeyState, Outset, ReadError, StoreKey, Swap, SwapError};
use rand::RngExt;
use tokio::time::timeout;

use crate::core::Core;
use crate::transport::data::LinkError;
use crate::wire::ExchangeFrame;

/// The other side gets this long for one step.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);
/// Positions swapped at once.
const SWAP_POSITIONS: usize = 256;
/// The call number of all frames after the opening one.
const CALL: u64 = 1;

/// An exchange broke off. What it had repaired stays repaired; no clock was taken in. The next round tries again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    #[error("the member is in another exchange")]
    Busy,
    #[error("the member has never been met")]
    Stranger,
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

/// How many key states an exchange moved.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Swapped {
    /// To the other side.
    pub(crate) sent: u64,
    /// From the other side, of which this one learned something.
    pub(crate) received: u64,
    /// Where the next exchange over the tree is to go on: one exchange swaps a bounded number.
    pub(crate) resume: Option<u128>,
}

/// Runs an exchange that this member opens.
pub(crate) async fn initiate(
    core: &Core,
    partner: NodeId,
    tree: TreeId,
    start: Option<u128>,
) -> Result<Swapped, ExchangeError> {
    let address = core.view().address(partner).ok_or(ExchangeError::Stranger)?;
    let outset = outset(core, tree).await?.ok_or(ExchangeError::Stranger)?;
    let opening = ExchangeFrame::Open { from: core.me, tree, clock: outset.clock.clone() };
    let (reader, writer) = core.links.open_exchange(address, codec::encode(&opening)).await?;
    let mut stream = Stream { reader, writer };
    let theirs = match stream.next().await? {
        ExchangeFrame::Accepted { clock } => clock,
        ExchangeFrame::Busy => return Err(ExchangeError::Busy),
        _ => return Err(ExchangeError::OutOfTurn),
    };
    core.hear_clock(tree, partner, &theirs);
    let mut swap = Swap::new(&outset, theirs);
    let salt = core.draw(|rng| rng.random());
    let (mut exchange, first) = Exchange::initiate(tree, outset.tree, core.tree_key.id(), salt, start);
    let mut steps = Steps { tree, todo: first.into(), differences: Vec::new(), over: None };
    while !steps.carry_out(core, &swap, &mut exchange, &stream).await? {
        let ExchangeFrame::Tree(message) = stream.next().await? else { return Err(ExchangeError::OutOfTurn) };
        steps.todo.extend(exchange.on(Input::Message(message))?);
    }
    let resume = steps.over.and_then(|done| done.resume);
    let mut swapped = Swapped { resume, ..Swapped::default() };
    for differences in steps.differences.chunks(SWAP_POSITIONS) {
        let positions = differences.iter().map(|it| it.position).collect();
        swap_at(core, &mut stream, &mut swap, positions, &mut swapped).await?;
    }
    stream.send(&ExchangeFrame::Complete).await?;
    let ExchangeFrame::Complete = stream.next().await? else { return Err(ExchangeError::OutOfTurn) };
    swap.conclude(&core.store, steps.is_clean())?.await?;
    Ok(swapped)
}

/// This replica as it stands, once it is durable: others act upon what they are told of it.
async fn outset(core: &Core, tree: TreeId) -> Result<Option<Outset>, ExchangeError> {
    let outset = core.store.outset(tree);
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
    let mut stream = Stream { reader, writer };
    let served = serve(core, opening, &mut stream).await;
    if let Err(error) = &served {
        tracing::debug!(%error, "an exchange broke off");
    }
    let garbage =
        matches!(served, Err(ExchangeError::Decode(_) | ExchangeError::Frame(FrameError::TooLong(_))));
    (!garbage).then_some(())
}

async fn serve(core: &Core, opening: &Bytes, stream: &mut Stream) -> Result<(), ExchangeError> {
    let ExchangeFrame::Open { from, tree, clock: theirs } = codec::decode(opening)? else {
        return Err(ExchangeError::OutOfTurn);
    };
    let Ok(_turn) = core.exchange_in.try_acquire() else {
        return stream.send(&ExchangeFrame::Busy).await;
    };
    let outset = outset(core, tree).await?.ok_or(ExchangeError::OutOfTurn)?;
    stream.send(&ExchangeFrame::Accepted { clock: outset.clock.clone() }).await?;
    core.hear_clock(tree, from, &theirs);
    let mut swap = Swap::new(&outset, theirs);
    let mut exchange = Exchange::respond(tree, outset.tree, core.tree_key.id());
    let mut steps = Steps { tree, todo: VecDeque::new(), differences: Vec::new(), over: None };
    loop {
        match stream.next().await? {
            ExchangeFrame::Tree(message) => {
                steps.todo.extend(exchange.on(Input::Message(message))?);
                steps.carry_out(core, &swap, &mut exchange, stream).await?;
            }
            ExchangeFrame::States(states) => drop(take_in(core, &mut swap, states)?),
            ExchangeFrame::Pull(positions) => answer(core, stream, &mut swap, &positions).await?,
            ExchangeFrame::Complete => {
                swap.conclude(&core.store, steps.is_clean())?.await?;
                return stream.send(&ExchangeFrame::Complete).await;
            }
            ExchangeFrame::Open { .. }
            | ExchangeFrame::Accepted { .. }
            | ExchangeFrame::Busy
            | ExchangeFrame::Gone(_)
            | ExchangeFrame::Pulled => return Err(ExchangeError::OutOfTurn),
        }
    }
}

/// What the tree exchange asked for and found.
#[derive(Debug)]
struct Steps {
    tree: TreeId,
    todo: VecDeque<Action>,
    differences: Vec<Difference>,
    over: Option<chinwag_merkle::Done>,
}

impl Steps {
    /// Does what is asked until the other side's turn; true once the exchange is over.
    async fn carry_out(
        &mut self,
        core: &Core,
        swap: &Swap,
        exchange: &mut Exchange,
        stream: &Stream,
    ) -> Result<bool, ExchangeError> {
        while let Some(action) = self.todo.pop_front() {
            match action {
                Action::Send(message) => {
                    swap.check(&core.store)?;
                    stream.send(&ExchangeFrame::Tree(message)).await?;
                }
                Action::Scan(interval) => {
                    let entries = core.store.entries(self.tree, interval)?;
                    self.todo.extend(exchange.on(Input::Scanned { interval, entries })?);
                }
                Action::Differ(differences) => self.differences.extend(differences),
                Action::Done(done) => self.over = Some(done),
            }
        }
        Ok(self.over.is_some())
    }

    /// Whether both trees were equal when the exchange began: only that proves that this side has, or has seen
    /// overwritten, everything that the other's clock covered then. Short hashes may have hidden a difference from an
    /// exchange that repaired some; the next one will be clean.
    fn is_clean(&self) -> bool {
        self.over.is_some_and(|done| done.clean)
    }
}

/// Hands over all that this side holds at differing positions and takes in what the other side does not hold alike.
async fn swap_at(
    core: &Core,
    stream: &mut Stream,
    swap: &mut Swap,
    positions: Vec<u128>,
    swapped: &mut Swapped,
) -> Result<(), ExchangeError> {
    let mut after = None;
    loop {
        let page = swap.offer(&core.store, &positions, after.as_ref(), SWAP_POSITIONS)?;
        swapped.sent += page.states.len() as u64;
        stream.send_states(page.states).await?;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    stream.send(&ExchangeFrame::Pull(positions)).await?;
    loop {
        match stream.next().await? {
            ExchangeFrame::States(states) => swapped.received += take_in(core, swap, states)?,
            ExchangeFrame::Gone(keys) => {
                let mut changed = 0;
                for key in &keys {
                    changed += u64::from(swap.gone(&core.store, key)?.changed);
                }
                core.counters.keys_repaired.add(changed);
                swapped.received += changed;
            }
            ExchangeFrame::Pulled => return Ok(()),
            _ => return Err(ExchangeError::OutOfTurn),
        }
    }
}

/// Answers what this side does not hold as the other offered it at `positions`, a page to a message.
async fn answer(
    core: &Core,
    stream: &Stream,
    swap: &mut Swap,
    positions: &[u128],
) -> Result<(), ExchangeError> {
    let mut after = None;
    loop {
        let answer = swap.answer(&core.store, positions, after.as_ref(), SWAP_POSITIONS)?;
        core.counters.keys_repaired.add(answer.dropped);
        stream.send_states(answer.states).await?;
        for keys in answer.gone.chunks(SWAP_POSITIONS) {
            stream.send(&ExchangeFrame::Gone(keys.to_vec())).await?;
        }
        after = answer.next;
        if after.is_none() {
            return stream.send(&ExchangeFrame::Pulled).await;
        }
    }
}

/// Merges another replica's states; returns how many changed what is held here.
fn take_in(core: &Core, swap: &mut Swap, states: Vec<(StoreKey, KeyState)>) -> Result<u64, ExchangeError> {
    let mut changed = 0;
    for (key, state) in states {
        changed += u64::from(swap.accept(&core.store, key, &state)?.changed);
    }
    core.counters.keys_repaired.add(changed);
    Ok(changed)
}

/// The two halves of an exchange's stream.
#[derive(Debug)]
struct Stream {
    reader: FrameReader,
    writer: FrameSender,
}

impl Stream {
    async fn send_states(&self, states: Vec<(StoreKey, KeyState)>) -> Result<(), ExchangeError> {
        if states.is_empty() { Ok(()) } else { self.send(&ExchangeFrame::States(states)).await }
    }

    async fn send(&self, frame: &ExchangeFrame) -> Result<(), ExchangeError> {
        let body = codec::encode(frame);
        if body.len() > codec::MESSAGE_BYTES_MAX {
            return Err(ExchangeError::TooLong(body.len()));
        }
        Ok(self.writer.send(Frame { call: CALL, body }).await?)
    }

    async fn next(&mut self) -> Result<ExchangeFrame, ExchangeError> {
        match timeout(STEP_TIMEOUT, self.reader.next()).await {
            Ok(frame) => Ok(codec::decode(&frame?.ok_or(ExchangeError::Ended)?.body)?),
            Err(_elapsed) => Err(ExchangeError::Timeout),
        }
    }
}
