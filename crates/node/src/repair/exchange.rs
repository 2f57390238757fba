//! One exchange over one tree, from either side, on a stream of its own: finds the differing positions by tree, swaps
//! the states there in both directions. If there were none, both sides take in the other's clock as it stood at the start.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::codec::{self, DecodeError};
use chinwag_client::frame::{Closed, Frame, FrameError, FrameReader, FrameSender};
use chinwag_membership::NodeId;
use chinwag_merkle::{Action, Difference, Directory, Exchange, Held, Input, TreeId};
use chinwag_storage::{Causal, Commit, CommitError, KeyState, ReadError, StoreKey, WriteError};
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
    Write(#[from] WriteError),
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
    let clock = core.store.clock(tree.partition);
    let directory = core.store.tree(tree.partition, Directory::clone).ok_or(ExchangeError::Stranger)?;
    let opening = codec::encode(&ExchangeFrame::Open { tree, clock });
    let (reader, writer) = core.links.open_exchange(address, opening).await?;
    let mut stream = Stream { reader, writer };
    let clock = match stream.next().await? {
        ExchangeFrame::Accepted { clock } => clock,
        ExchangeFrame::Busy => return Err(ExchangeError::Busy),
        _ => return Err(ExchangeError::OutOfTurn),
    };
    let salt = core.draw(|rng| rng.random());
    let (mut exchange, first) = Exchange::initiate(tree, directory, core.tree_key.id(), salt, start);
    let mut steps = Steps { todo: first.into(), differences: Vec::new(), over: None };
    while !steps.carry_out(core, &mut exchange, &stream).await? {
        let ExchangeFrame::Tree(message) = stream.next().await? else { return Err(ExchangeError::OutOfTurn) };
        steps.todo.extend(exchange.on(Input::Message(message))?);
    }
    let resume = steps.over.and_then(|done| done.resume);
    let mut swapped = Swapped { resume, ..Swapped::default() };
    for differences in steps.differences.chunks(SWAP_POSITIONS) {
        swap(core, &mut stream, differences, &mut swapped).await?;
    }
    stream.send(&ExchangeFrame::Complete).await?;
    let ExchangeFrame::Complete = stream.next().await? else { return Err(ExchangeError::OutOfTurn) };
    if steps.is_clean() {
        take_clock(core, tree, &clock).await?;
    }
    Ok(swapped)
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
    let ExchangeFrame::Open { tree, clock: theirs } = codec::decode(opening)? else {
        return Err(ExchangeError::OutOfTurn);
    };
    let Ok(_turn) = core.exchange_in.try_acquire() else {
        return stream.send(&ExchangeFrame::Busy).await;
    };
    let clock = core.store.clock(tree.partition);
    let directory = core.store.tree(tree.partition, Directory::clone).ok_or(ExchangeError::OutOfTurn)?;
    stream.send(&ExchangeFrame::Accepted { clock }).await?;
    let mut exchange = Exchange::respond(tree, directory, core.tree_key.id());
    let mut steps = Steps { todo: VecDeque::new(), differences: Vec::new(), over: None };
    loop {
        match stream.next().await? {
            ExchangeFrame::Tree(message) => {
                steps.todo.extend(exchange.on(Input::Message(message))?);
                steps.carry_out(core, &mut exchange, stream).await?;
            }
            ExchangeFrame::States(states) => drop(take_in(core, states).await?),
            ExchangeFrame::Pull(positions) => {
                send_states(core, stream, &positions).await?;
                stream.send(&ExchangeFrame::Pulled).await?;
            }
            ExchangeFrame::Complete => {
                if steps.is_clean() {
                    take_clock(core, tree, &theirs).await?;
                }
                return stream.send(&ExchangeFrame::Complete).await;
            }
            ExchangeFrame::Open { .. }
            | ExchangeFrame::Accepted { .. }
            | ExchangeFrame::Busy
            | ExchangeFrame::Pulled => return Err(ExchangeError::OutOfTurn),
        }
    }
}

/// What the tree exchange asked for and found.
#[derive(Debug)]
struct Steps {
    todo: VecDeque<Action>,
    differences: Vec<Difference>,
    over: Option<chinwag_merkle::Done>,
}

impl Steps {
    /// Does what is asked until the other side's turn; true once the exchange is over.
    async fn carry_out(
        &mut self,
        core: &Core,
        exchange: &mut Exchange,
        stream: &Stream,
    ) -> Result<bool, ExchangeError> {
        while let Some(action) = self.todo.pop_front() {
            match action {
                Action::Send(message) => stream.send(&ExchangeFrame::Tree(message)).await?,
                Action::Scan(interval) => {
                    let entries = core.store.entries(interval)?;
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

/// Hands over this side's states at differing positions and takes in the other's.
async fn swap(
    core: &Core,
    stream: &mut Stream,
    differences: &[Difference],
    swapped: &mut Swapped,
) -> Result<(), ExchangeError> {
    let held = |here: Held| {
        let at = differences.iter().filter(move |it| it.held == here || it.held == Held::Both);
        at.map(|it| it.position).collect::<Vec<_>>()
    };
    swapped.sent += send_states(core, stream, &held(Held::Here)).await?;
    stream.send(&ExchangeFrame::Pull(held(Held::There))).await?;
    loop {
        match stream.next().await? {
            ExchangeFrame::States(states) => swapped.received += take_in(core, states).await?,
            ExchangeFrame::Pulled => return Ok(()),
            _ => return Err(ExchangeError::OutOfTurn),
        }
    }
}

/// Sends the states at `positions`, which ascend, a page to a message; returns how many there were.
async fn send_states(core: &Core, stream: &Stream, positions: &[u128]) -> Result<u64, ExchangeError> {
    let mut sent = 0;
    let mut after = None;
    loop {
        let page = core.store.states_at(positions, after.as_ref(), SWAP_POSITIONS)?;
        sent += page.states.len() as u64;
        if !page.states.is_empty() {
            stream.send(&ExchangeFrame::States(page.states)).await?;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(sent),
        }
    }
}

/// Merges another replica's states; returns how many taught this one something, once they are durable.
async fn take_in(core: &Core, states: Vec<(StoreKey, KeyState)>) -> Result<u64, ExchangeError> {
    let mut changed = 0;
    let mut last: Option<Commit> = None;
    for (key, state) in states {
        let merged = core.store.merge(&key, &state)?;
        changed += u64::from(merged.changed);
        last = Some(merged.commit);
    }
    // Commits are durable in the order they were submitted.
    if let Some(commit) = last {
        commit.await?;
    }
    core.counters.keys_repaired.add(changed);
    Ok(changed)
}

async fn take_clock(core: &Core, tree: TreeId, clock: &Causal) -> Result<(), ExchangeError> {
    Ok(core.store.merge_clock(tree.partition, clock)?.await?)
}

/// The two halves of an exchange's stream.
#[derive(Debug)]
struct Stream {
    reader: FrameReader,
    writer: FrameSender,
}

impl Stream {
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
