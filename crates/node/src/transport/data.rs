//! Requests to other members: connections opened on demand and reused, a few long-lived framed streams on each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::frame::{CallError, Caller, Frame, FrameReader, FrameSender, frame_writer};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tracing::Instrument;

use crate::queues::Queues;
use crate::tasks::Tasks;
use crate::transport::endpoint::{DialError, Endpoint};
use crate::transport::serve::OPENING_CALL;

/// Framed streams per connection. Several, so that one lost packet does not hold up every request
/// (reference/performance.md section 2).
const STREAMS: usize = 4;
/// A member gets this long for a handshake; dialling a closed port would otherwise take 30 s to fail.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// After a dial failed, requests fail at once for this long instead of queueing behind new dials.
const REDIAL_PAUSE: Duration = Duration::from_millis(200);

/// A request to a member got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LinkError {
    /// It never left: nothing happened there.
    #[error("cannot reach {address}: {reason}")]
    NotSent { address: SocketAddr, reason: String },
    /// One side refused the other's certificate: nothing happened, and trying again will not help.
    #[error("{address}: {reason}")]
    Refused { address: SocketAddr, reason: String },
    /// It left and no answer came: it may have been carried out.
    #[error("{address} did not answer: {reason}")]
    NoAnswer { address: SocketAddr, reason: String },
}

/// All connections to other members, by their address.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    endpoint: Endpoint,
    tasks: Tasks,
    queues: Arc<Queues>,
    links: Arc<Mutex<BTreeMap<SocketAddr, Arc<Link>>>>,
}

/// One member's connection: the lock is held while dialling, so that many requests share one handshake.
#[derive(Debug, Default)]
struct Link {
    state: tokio::sync::Mutex<LinkState>,
    turn: AtomicUsize,
}

#[derive(Debug, Default)]
enum LinkState {
    #[default]
    Closed,
    Open(Open),
    Failed {
        at: Instant,
        error: DialError,
    },
}

#[derive(Debug)]
struct Open {
    connection: quinn::Connection,
    callers: Vec<Caller>,
}

impl Open {
    /// The connection, and the stream whose turn it is.
    fn next(&self, turn: &AtomicUsize) -> (quinn::Connection, Caller) {
        let turn = turn.fetch_add(1, Ordering::Relaxed) % self.callers.len();
        (self.connection.clone(), self.callers[turn].clone())
    }

    fn is_usable(&self) -> bool {
        self.connection.close_reason().is_none() && !self.callers.iter().any(Caller::is_closed)
    }
}

impl Links {
    pub(crate) fn new(endpoint: Endpoint, tasks: Tasks, queues: Arc<Queues>) -> Self {
        Self { endpoint, tasks, queues, links: Arc::default() }
    }

    /// Sees to it that there is a connection to the member at `address`. What fails so has sent nothing.
    pub(crate) async fn ready(&self, address: SocketAddr) -> Result<(), LinkError> {
        self.open(address).await.map(drop)
    }

    /// Sends a request to the member at `address` and waits for its answer, as long as the connection lives.
    pub(crate) async fn call(&self, address: SocketAddr, body: Bytes) -> Result<Bytes, LinkError> {
        let (_, caller) = self.open(address).await?;
        self.queues.calls.note(caller.queued() + 1);
        caller.call(body).await.map_err(|error| {
            let reason = error.to_string();
            match error {
                CallError::NotSent | CallError::TooLong => LinkError::NotSent { address, reason },
                CallError::Lost => LinkError::NoAnswer { address, reason },
            }
        })
    }

    /// Opens a stream of its own to the member at `address`, for an exchange.
    pub(crate) async fn open_exchange(
        &self,
        address: SocketAddr,
        opening: Bytes,
    ) -> Result<(FrameReader, FrameSender), LinkError> {
        let not_sent = |reason: String| LinkError::NotSent { address, reason };
        let (connection, _) = self.open(address).await?;
        let (send, recv) = connection.open_bi().await.map_err(|error| not_sent(error.to_string()))?;
        let (writer, writing) = frame_writer(send);
        self.tasks.spawn(writing.in_current_span());
        let frame = Frame { call: OPENING_CALL, body: opening };
        writer.send(frame).await.map_err(|closed| not_sent(closed.to_string()))?;
        Ok((FrameReader::new(recv), writer))
    }

    /// Closes the connection to `address`: the member there is down, or a newer one has taken its place.
    pub(crate) fn disconnect(&self, address: SocketAddr) {
        let link = self.lock().remove(&address);
        // A link that is being dialled right now ends by its own timeout.
        if let Some(link) = link
            && let Ok(mut state) = link.state.try_lock()
            && let LinkState::Open(open) = std::mem::take(&mut *state)
        {
            open.connection.close(0u32.into(), b"gone");
        }
    }

    /// The connection to `address`, dialled if there is none, and the stream whose turn it is. A dial goes on when the
    /// caller gives up: the next one finds it done.
    async fn open(&self, address: SocketAddr) -> Result<(quinn::Connection, Caller), LinkError> {
        let link = self.lock().entry(address).or_default().clone();
        if let Ok(state) = link.state.try_lock()
            && let LinkState::Open(open) = &*state
            && open.is_usable()
        {
            return Ok(open.next(&link.turn));
        }
        let links = self.clone();
        let (hand_over, opened) = oneshot::channel();
        // The caller may have given up.
        let opening = async move { drop(hand_over.send(links.open_patiently(address, &link).await)) };
        self.tasks.spawn(opening.in_current_span());
        match opened.await {
            Ok(opened) => opened,
            Err(_ended) => Err(LinkError::NotSent { address, reason: "the member is stopping".to_owned() }),
        }
    }

    async fn open_patiently(
        &self,
        address: SocketAddr,
        link: &Link,
    ) -> Result<(quinn::Connection, Caller), LinkError> {
        let mut state = link.state.lock().await;
        match &*state {
            LinkState::Open(open) if open.is_usable() => {}
            LinkState::Failed { at, error } if at.elapsed() < REDIAL_PAUSE => {
                return Err(not_dialled(address, error));
            }
            LinkState::Open(_) | LinkState::Failed { .. } | LinkState::Closed => {
                *state = match self.dial(address).await {
                    Ok(open) => LinkState::Open(open),
                    Err(error) => LinkState::Failed { at: Instant::now(), error },
                };
            }
        }
        match &*state {
            LinkState::Open(open) => Ok(open.next(&link.turn)),
            LinkState::Failed { error, .. } => Err(not_dialled(address, error)),
            LinkState::Closed => unreachable!("a dial opens the link or fails"),
        }
    }

    async fn dial(&self, address: SocketAddr) -> Result<Open, DialError> {
        let connection = match timeout(DIAL_TIMEOUT, self.endpoint.dial(address)).await {
            Ok(connection) => connection?,
            Err(_elapsed) => {
                return Err(DialError::Failed(format!("no answer within {} s", DIAL_TIMEOUT.as_secs())));
            }
        };
        let mut callers = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let (send, recv) =
                connection.open_bi().await.map_err(|error| DialError::Failed(error.to_string()))?;
            let (caller, driver) = Caller::new(connection.clone(), send, recv);
            self.tasks.spawn(driver.in_current_span());
            callers.push(caller);
        }
        Ok(Open { connection, callers })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_dialled(address: SocketAddr, error: &DialError) -> LinkError {
    let reason = error.to_string();
    match error {
        DialError::Failed(_) => LinkError::NotSent { address, reason },
        DialError::Refused(_) => LinkError::Refused { address, reason },
    }
}
