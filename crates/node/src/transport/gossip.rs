//! Datagrams between members: one connection per pair, opened on demand, the newest wins. A datagram that finds no
//! connection starts one and may be lost: the protocol above repeats itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::Role;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::queues::Queues;
use crate::tasks::Tasks;
use crate::transport::endpoint::{DATAGRAM_BUFFER_BYTES, Endpoint};
use crate::transport::serve::{accept_loop, role_of};

/// A dial that takes longer than a probe may is of no use to the probe.
const DIAL_TIMEOUT: Duration = Duration::from_millis(500);

/// A datagram that arrived, with the gossip address it came from.
pub(crate) type Received = (SocketAddr, Bytes);

/// Sends and receives datagrams.
#[derive(Debug, Clone)]
pub(crate) struct Gossip {
    endpoint: Endpoint,
    stop: CancellationToken,
    tasks: Tasks,
    received: mpsc::Sender<Received>,
    queues: Arc<Queues>,
    slots: Arc<Mutex<BTreeMap<SocketAddr, Slot>>>,
}

#[derive(Debug)]
enum Slot {
    /// A handshake is under way; the newest datagram waits for it.
    Dialling(Bytes),
    Open(quinn::Connection),
}

impl Gossip {
    /// Listens on `endpoint`; what arrives goes to `received`, and is dropped while that queue is full.
    pub(crate) fn start(
        endpoint: Endpoint,
        stop: CancellationToken,
        tasks: Tasks,
        received: mpsc::Sender<Received>,
        queues: Arc<Queues>,
    ) -> Self {
        let gossip = Self { endpoint, stop, tasks, received, queues, slots: Arc::default() };
        let accepting = gossip.clone();
        let accept = accept_loop(
            gossip.endpoint.clone(),
            gossip.stop.clone(),
            gossip.tasks.clone(),
            move |role, connection| {
                let gossip = accepting.clone();
                async move {
                    if role == Role::Member {
                        gossip.adopt(connection.clone());
                        gossip.receive(connection).await;
                    } else {
                        connection.close(1u32.into(), b"members only");
                    }
                }
            },
        );
        gossip.tasks.spawn(accept.in_current_span());
        gossip
    }

    /// Sends one datagram to the gossip address of a member. Never waits, never fails: it may be lost.
    pub(crate) fn send(&self, to: SocketAddr, datagram: Bytes) {
        let mut slots = self.lock();
        match slots.get_mut(&to) {
            Some(Slot::Open(connection)) if connection.close_reason().is_none() => {
                if let Err(error) = connection.send_datagram(datagram) {
                    tracing::debug!(%to, %error, "datagram not sent");
                }
            }
            Some(Slot::Dialling(waiting)) => *waiting = datagram,
            Some(Slot::Open(_)) | None => {
                slots.insert(to, Slot::Dialling(datagram));
                let gossip = self.clone();
                let stop = self.stop.clone();
                let dialling = async move {
                    tokio::select! { biased; () = stop.cancelled() => {}, () = gossip.dial(to) => {} }
                };
                self.tasks.spawn(dialling.in_current_span());
            }
        }
    }

    /// Waits until every datagram handed in has left, or was lost with its connection.
    pub(crate) async fn flush(&self) {
        const POLL: Duration = Duration::from_millis(2);
        let pending = |slot: &Slot| match slot {
            Slot::Dialling(_) => true,
            Slot::Open(connection) => {
                connection.close_reason().is_none()
                    && connection.datagram_send_buffer_space() < DATAGRAM_BUFFER_BYTES
            }
        };
        while self.lock().values().any(pending) {
            sleep(POLL).await;
        }
    }

    /// Closes the connection to `address`: the member there is down, or a newer one has taken its place.
    pub(crate) fn disconnect(&self, address: SocketAddr) {
        if let Some(Slot::Open(connection)) = self.lock().remove(&address) {
            connection.close(0u32.into(), b"gone");
        }
    }

    async fn dial(&self, to: SocketAddr) {
        match timeout(DIAL_TIMEOUT, self.endpoint.dial(to)).await {
            Ok(Ok(connection)) if role_of(&connection) == Role::Member => {
                self.adopt(connection.clone());
                self.receive(connection).await;
            }
            Ok(Ok(_)) | Ok(Err(_)) | Err(_) => {
                let mut slots = self.lock();
                if let Some(Slot::Dialling(_)) = slots.get(&to) {
                    slots.remove(&to);
                }
            }
        }
    }

    /// Makes `connection` the one that is used, and sends what waited for it.
    fn adopt(&self, connection: quinn::Connection) {
        let remote = connection.remote_address();
        let previous = self.lock().insert(remote, Slot::Open(connection.clone()));
        if let Some(Slot::Dialling(waiting)) = previous {
            connection.send_datagram(waiting).ok();
        }
    }

    async fn receive(&self, connection: quinn::Connection) {
        let remote = connection.remote_address();
        while let Ok(datagram) = connection.read_datagram().await {
            if self.received.try_send((remote, datagram)).is_err() {
                tracing::debug!(%remote, "datagram dropped: the membership task lags behind");
            }
            self.queues.datagrams.note_channel(&self.received);
        }
        let mut slots = self.lock();
        if let Some(Slot::Open(open)) = slots.get(&remote)
            && open.stable_id() == connection.stable_id()
        {
            slots.remove(&remote);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
