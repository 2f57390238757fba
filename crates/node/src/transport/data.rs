//! Requests to other members: connections opened on demand and reused, a few long-lived framed streams on each.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::frame::{CallError, Caller, Frame, FrameReader, FrameSender, frame_writer};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::transport::endpoint::Endpoint;
use crate::transport::serve::OPENING_CALL;

/// Framed streams per connection. Several, so that one lost packet does not hold up every request
/// (reference/performance.md section 2).
const STREAMS: usize = 4;
/// A member gets this long for a handshake; dialling a closed port would otherwise take 30 s to fail.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);

/// A request to a member got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum LinkError {
    /// It never left: nothing happened there.
    #[error("cannot reach {address}: {reason}")]
    NotSent { address: SocketAddr, reason: String },
    /// It left and no answer came: it may have been carried out.
    #[error("{address} did not answer: {reason}")]
    NoAnswer { address: SocketAddr, reason: String },
}

/// All connections to other members, by their address.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    endpoint: Endpoint,
    tasks: TaskTracker,
    links: Arc<Mutex<BTreeMap<SocketAddr, Arc<Link>>>>,
}

/// One member's connection: the lock is held while dialling, so that many requests share one handshake.
#[derive(Debug, Default)]
struct Link {
    open: tokio::sync::Mutex<Option<Open>>,
    turn: AtomicUsize,
}

#[derive(Debug)]
struct Open {
    connection: quinn::Connection,
    callers: Vec<Caller>,
}

impl Links {
    pub(crate) fn new(endpoint: Endpoint, tasks: TaskTracker) -> Self {
        Self { endpoint, tasks, links: Arc::default() }
    }

    /// Sends a request to the member at `address` and waits for its answer.
    pub(crate) async fn call(&self, address: SocketAddr, body: Bytes) -> Result<Bytes, LinkError> {
        let caller = self.caller(address).await?;
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
        let connection = self.connection(address).await?;
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
            && let Ok(mut open) = link.open.try_lock()
            && let Some(open) = open.take()
        {
            open.connection.close(0u32.into(), b"gone");
        }
    }

    async fn caller(&self, address: SocketAddr) -> Result<Caller, LinkError> {
        let link = self.link(address);
        let mut open = link.open.lock().await;
        let open = self.ensure_open(address, &mut open).await?;
        let turn = link.turn.fetch_add(1, Ordering::Relaxed) % open.callers.len();
        Ok(open.callers[turn].clone())
    }

    async fn connection(&self, address: SocketAddr) -> Result<quinn::Connection, LinkError> {
        let link = self.link(address);
        let mut open = link.open.lock().await;
        Ok(self.ensure_open(address, &mut open).await?.connection.clone())
    }

    fn link(&self, address: SocketAddr) -> Arc<Link> {
        self.lock().entry(address).or_default().clone()
    }

    async fn ensure_open<'a>(
        &self,
        address: SocketAddr,
        open: &'a mut Option<Open>,
    ) -> Result<&'a Open, LinkError> {
        let usable = open.as_ref().is_some_and(|it| {
            it.connection.close_reason().is_none() && !it.callers.iter().any(Caller::is_closed)
        });
        if !usable {
            *open = Some(self.dial(address).await?);
        }
        Ok(open.as_ref().expect("it was just opened"))
    }

    async fn dial(&self, address: SocketAddr) -> Result<Open, LinkError> {
        let not_sent = |reason: String| LinkError::NotSent { address, reason };
        let connection = match timeout(DIAL_TIMEOUT, self.endpoint.dial(address)).await {
            Ok(connection) => connection.map_err(not_sent)?,
            Err(_elapsed) => return Err(not_sent(format!("no answer within {} s", DIAL_TIMEOUT.as_secs()))),
        };
        let mut callers = Vec::with_capacity(STREAMS);
        for _ in 0..STREAMS {
            let (send, recv) = connection.open_bi().await.map_err(|error| not_sent(error.to_string()))?;
            let (caller, driver) = Caller::new(send, recv);
            self.tasks.spawn(driver.in_current_span());
            callers.push(caller);
        }
        Ok(Open { connection, callers })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
