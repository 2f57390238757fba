//! Datagrams between members: one connection per pair, opened on demand, the newest wins. A datagram that finds no
//! connection starts one and may be lost: the protocol above repeats itself.
//!
//! The newest wins because a member that was restarted dials anew while the other side still holds the connection to its
//! former life. Only where two members dialled each other at the same time, and each would take another connection for
//! the newest, both keep the one that the member with the smaller address dialled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::Role;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::core::{Core, Counter};
use crate::queues::Queues;
use crate::tasks::Tasks;
use crate::transport::endpoint::{DATAGRAM_BUFFER_BYTES, Endpoint};
use crate::transport::serve::{accept_loop, refuse, role_of};

/// A connection that another has replaced is read for this long: datagrams are on their way over it.
const RETIREMENT: Duration = Duration::from_millis(500);

/// A datagram that arrived, with the gossip address it came from.
pub(crate) type Received = (SocketAddr, Bytes);

/// What became of datagrams since the member's start.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    /// Those that this member dropped: too long for the path, or its own membership task lagged behind.
    pub(crate) dropped: Counter,
}

/// Sends and receives datagrams.
#[derive(Debug, Clone)]
pub(crate) struct Gossip {
    endpoint: Endpoint,
    me: SocketAddr,
    /// A dial that takes longer than a probe may is of no use to the probe; a closed port would take 30 s.
    dial_timeout: Duration,
    stop: CancellationToken,
    tasks: Tasks,
    received: mpsc::Sender<Received>,
    queues: Arc<Queues>,
    slots: Arc<Mutex<BTreeMap<SocketAddr, Slot>>>,
    datagrams: Arc<Datagrams>,
}

#[derive(Debug)]
enum Slot {
    /// A handshake is under way; the newest datagram waits for it.
    Dialling(Bytes),
    Open(Open),
}

/// The connection that is used to a member.
#[derive(Debug, Clone)]
struct Open {
    connection: quinn::Connection,
    /// Whether this member dialled it.
    dialled: bool,
    since: Instant,
}

impl Gossip {
    /// Listens at `me`, which is what the others call it; what arrives goes to `received`, and is dropped while that queue
    /// is full.
    pub(crate) fn start(
        core: &Core,
        me: SocketAddr,
        dial_timeout: Duration,
        received: mpsc::Sender<Received>,
    ) -> Self {
        let [_, endpoint] = core.endpoints.clone();
        let gossip = Self {
            endpoint,
            me,
            dial_timeout,
            stop: core.stop.clone(),
            tasks: core.tasks.clone(),
            received,
            queues: core.queues.clone(),
            slots: Arc::default(),
            datagrams: core.datagrams.clone(),
        };
        let accepting = gossip.clone();
        let accept = accept_loop(
            gossip.endpoint.clone(),
            gossip.stop.clone(),
            gossip.tasks.clone(),
            move |role, connection| {
                let gossip = accepting.clone();
                async move {
                    if role == Role::Member {
                        gossip.adopt(connection.clone(), false);
                        gossip.receive(connection).await;
                    } else {
                        refuse(&connection, &gossip.endpoint.turned_away);
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
            Some(Slot::Open(Open { connection, .. })) if connection.close_reason().is_none() => {
                self.hand_over(connection, datagram);
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
            Slot::Open(Open { connection, .. }) => {
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
        if let Some(Slot::Open(open)) = self.lock().remove(&address) {
            open.connection.close(0u32.into(), b"gone");
        }
    }

    /// Closes the connection to `address`, because of what came over it.
    pub(crate) fn refuse(&self, address: SocketAddr) {
        if let Some(Slot::Open(open)) = self.lock().remove(&address) {
            refuse(&open.connection, &self.endpoint.turned_away);
        }
    }

    async fn dial(&self, to: SocketAddr) {
        match timeout(self.dial_timeout, self.endpoint.dial(to)).await {
            Ok(Ok(connection)) if role_of(&connection) == Role::Member => {
                self.adopt(connection.clone(), true);
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

    /// Makes `connection` the one that is used, sends what waited for it, and lets the one before it go; or the other way
    /// round, if the two members dialled each other at the same time and both keep the other.
    fn adopt(&self, connection: quinn::Connection, dialled: bool) {
        let remote = connection.remote_address();
        let mut slots = self.lock();
        let previous = slots.remove(&remote);
        let mut open = Open { connection, dialled, since: Instant::now() };
        match previous {
            Some(Slot::Dialling(waiting)) => self.hand_over(&open.connection, waiting),
            Some(Slot::Open(before)) if before.connection.close_reason().is_none() => {
                let apart = before.since.elapsed();
                if keeps_older(self.me < remote, before.dialled, dialled, apart, self.dial_timeout) {
                    self.retire(std::mem::replace(&mut open, before));
                } else {
                    self.retire(before);
                }
            }
            Some(Slot::Open(_)) | None => {}
        }
        slots.insert(remote, Slot::Open(open));
    }

    /// Closes a connection that is no longer used, once what is under way over it has arrived.
    fn retire(&self, open: Open) {
        let stop = self.stop.clone();
        let retiring = async move {
            tokio::select! { biased; () = stop.cancelled() => {}, () = sleep(RETIREMENT) => {} }
            open.connection.close(0u32.into(), b"replaced");
        };
        self.tasks.spawn(retiring.in_current_span());
    }

    fn hand_over(&self, connection: &quinn::Connection, datagram: Bytes) {
        match connection.send_datagram(datagram) {
            Ok(()) => self.datagrams.sent.increment(),
            Err(error) => {
                self.datagrams.dropped.increment();
                tracing::debug!(to = %connection.remote_address(), %error, "datagram not sent");
            }
        }
    }

    async fn receive(&self, connection: quinn::Connection) {
        let remote = connection.remote_address();
        while let Ok(datagram) = connection.read_datagram().await {
            self.datagrams.received.increment();
            if self.received.try_send((remote, datagram)).is_err() {
                self.datagrams.dropped.increment();
                tracing::debug!(%remote, "datagram dropped: the membership task lags behind");
            }
            self.queues.datagrams.note_channel(&self.received);
        }
        let mut slots = self.lock();
        if let Some(Slot::Open(open)) = slots.get(&remote)
            && open.connection.stable_id() == connection.stable_id()
        {
            slots.remove(&remote);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether of two connections to one member the older is kept: if the two members dialled each other at the same time, so
/// that their dials ended within one timeout of each other, the one that the member with the smaller address dialled.
fn keeps_older(
    am_smaller: bool,
    dialled_older: bool,
    dialled_newer: bool,
    apart: Duration,
    dial_timeout: Duration,
) -> bool {
    let crossed = dialled_older != dialled_newer && apart < dial_timeout;
    crossed && dialled_older == am_smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(500);

    #[test]
    fn members_that_dialled_each_other_keep_the_same_connection_whichever_they_saw_first() {
        for (am_smaller, dialled_first) in [(true, true), (true, false), (false, true), (false, false)] {
            let older = keeps_older(am_smaller, dialled_first, !dialled_first, TIMEOUT / 2, TIMEOUT);
            let kept_was_dialled_here = if older { dialled_first } else { !dialled_first };
            assert_eq!(kept_was_dialled_here, am_smaller, "the smaller address dialled the one that is kept");
        }
    }

    #[test]
    fn otherwise_the_newest_wins() {
        for dialled in [true, false] {
            for am_smaller in [true, false] {
                let long_ago = keeps_older(am_smaller, dialled, !dialled, TIMEOUT, TIMEOUT);
                let dialled_twice = keeps_older(am_smaller, dialled, dialled, Duration::ZERO, TIMEOUT);
                assert!(!long_ago && !dialled_twice, "a restarted member would not be heard");
            }
        }
    }
}
