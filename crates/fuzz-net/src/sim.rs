//! Owns a network of simulated sockets on tokio's clock: what its table says of each packet, and nothing else, happens to
//! it. Refuses real time, real sockets and randomness of its own.

mod packet;
mod ports;
mod runtime;
mod socket;
mod trace;

pub use runtime::SimRuntime;
pub use socket::SimSocket;

use crate::link::{Verdict, nanos};
use crate::socket::segments;
use crate::table::{Ends, FaultTable, NodeId, Route, canonical};
use packet::{Due, Packet, UnderWay};
use ports::{Owner, PortId, Ports, Received};
use quinn::udp::Transmit;
use serde::Serialize;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use trace::Trace;

/// No packet travels faster, whoever sends it. A tick of tokio's timers, which is how exact arrivals are anyway; and
/// without it a client that asks again as soon as it is answered would stop the clock.
const TRAVEL_TIME_MIN: Duration = Duration::from_millis(1);

/// A network in memory, under the same faults and the same judge as real sockets are. A handle: clones share one network.
///
/// On a paused clock (`tokio::runtime::Builder::start_paused`, `current_thread`) a run is a function of the table's seed
/// and of what the sockets are asked to send. The clock must be paused from the start, or the fraction of a millisecond
/// at which it stops shows in every time.
///
/// - Sends never block. A burst is judged as one, as on a real socket.
/// - Arrivals keep the order of their times, and at one time that of their sending. Times round up to milliseconds,
///   tokio's own tick, and no packet arrives sooner than after one.
/// - A receiver's buffer takes 1 MiB, and 256 MiB may be under way at once; what finds either full is lost, and counted.
/// - Packets under way outlive the socket they are for: whoever binds its address next hears them, as on a real network.
#[derive(Clone, Debug)]
pub struct SimNet(Arc<Shared>);

/// What has crossed a simulated network so far. Counts are of packets (the segments of a burst, each for itself) unless
/// they say otherwise; what each link did is in [`FaultTable::stats`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SimStats {
    /// Sent, whatever became of them.
    pub sent: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Put into a receiver's buffer, second copies too.
    pub delivered: u64,
    /// Lost for want of a socket at their destination.
    pub unreachable: u64,
    /// Lost to a full buffer: the receiver's, or that of all packets under way.
    pub overflowed: u64,
    /// The most packets there ever were under way at once.
    pub under_way_max: usize,
    /// The most bytes there ever were in one receiver's buffer.
    pub received_bytes_max: usize,
}

#[derive(Debug)]
struct Shared {
    table: FaultTable,
    /// Locked before the table's own, never after.
    state: Mutex<State>,
    dispatcher: OnceLock<AbortHandle>,
}

#[derive(Debug, Default)]
struct State {
    ports: Ports,
    under_way: UnderWay,
    trace: Trace,
    stats: SimStats,
    /// Wakes the dispatcher, which sleeps until the first packet it knows of is due.
    dispatcher: Option<Waker>,
}

/// Who sends.
#[derive(Clone, Copy, Debug)]
struct Source {
    address: SocketAddr,
    port: PortId,
    /// `None` for a client.
    node: Option<NodeId>,
}

impl SimNet {
    /// A network under the faults of `table`, whose clock it shares.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: its packets are moved by a task, which ends with the last handle and socket.
    #[must_use]
    pub fn new(table: FaultTable) -> Self {
        let shared = Arc::new(Shared { table, state: Mutex::default(), dispatcher: OnceLock::new() });
        let dispatcher = tokio::spawn(tokio::task::unconstrained(dispatch(Arc::downgrade(&shared))));
        shared.dispatcher.get_or_init(|| dispatcher.abort_handle());
        Self(shared)
    }

    /// A socket of `node` at `address`, which is registered with the table for as long as it exists. Port 0 gives the next
    /// of the address's dynamic ports that is free, from 49152 on.
    ///
    /// # Errors
    ///
    /// If the address is in use ([`AddrInUse`](io::ErrorKind::AddrInUse)), is a wildcard such as `0.0.0.0`
    /// ([`InvalidInput`](io::ErrorKind::InvalidInput)), or has no free port
    /// ([`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable)).
    pub fn bind(&self, address: SocketAddr, node: &str) -> io::Result<Arc<SimSocket>> {
        let (id, gate) = self.0.table.attach(node);
        let owner = Owner { name: node.into(), id, gate };
        let socket = SimSocket::bind(&self.0, address, Some(owner))?;
        self.0.table.register(socket.address(), node);
        Ok(socket)
    }

    /// A socket that belongs to no node: a client's. Nothing happens to what it sends and receives, but by the nodes that
    /// are unplugged or paused.
    ///
    /// # Errors
    ///
    /// As [`bind`](Self::bind).
    pub fn bind_client(&self, address: SocketAddr) -> io::Result<Arc<SimSocket>> {
        SimSocket::bind(&self.0, address, None)
    }

    /// Closes all sockets of `node` at once and for good, as its crash does, whoever still holds them: what they are asked
    /// to send is swallowed, they receive nothing more, and their addresses are free.
    pub fn close_sockets(&self, node: &str) {
        let closed = self.0.lock().ports.close_all(node);
        for (address, owner) in closed {
            self.0.table.unregister(address, owner);
        }
    }

    /// What has crossed the network so far.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.0.lock().stats
    }

    /// A hash over every packet sent so far: its time, its ends, its length, its bytes and its fate. Two runs with the same
    /// hash were the same to the last byte. 32 hexadecimal digits.
    #[must_use]
    pub fn trace_hash(&self) -> String {
        self.0.lock().trace.hash()
    }
}

impl Shared {
    /// Nothing, if the source has been closed.
    fn send(&self, source: Source, transmit: &Transmit<'_>) {
        let mut state = self.lock();
        if state.ports.open(source.address, source.port).is_none() {
            return;
        }
        let destination = canonical(transmit.destination);
        let (ends, now_ns, verdicts) = self.judge(source, destination, transmit);
        for (segment, verdict) in segments(transmit).zip(&verdicts) {
            state.trace.record(now_ns, (source.address, destination), segment, verdict);
            state.stats.sent += 1;
            state.stats.bytes += segment.len() as u64;
        }
        let first_due_ns = state.under_way.first_due_ns();
        for (after, contents) in packet::copies(transmit, &verdicts) {
            let due_ns = now_ns.saturating_add(nanos(after.max(TRAVEL_TIME_MIN)));
            let packet = Packet { from: source.address, to: destination, ends, ecn: transmit.ecn, contents };
            if !state.under_way.push(due_ns, packet) {
                self.table.count_overflow(ends, 1);
                state.stats.overflowed += 1;
            }
        }
        state.stats.under_way_max = state.stats.under_way_max.max(state.under_way.len());
        if state.under_way.first_due_ns() != first_due_ns
            && let Some(dispatcher) = state.dispatcher.take()
        {
            drop(state);
            dispatcher.wake();
        }
    }

    /// The fates of a burst's packets, and since when; between whom, unless a client sends.
    fn judge(
        &self,
        source: Source,
        destination: SocketAddr,
        transmit: &Transmit<'_>,
    ) -> (Option<Ends>, u64, Vec<Verdict>) {
        let lens = segments(transmit).map(<[u8]>::len);
        let all = |verdict| segments(transmit).map(|_| verdict).collect();
        let at_once = Verdict::Deliver { after: Duration::ZERO, again_after: None, corruption: None };
        let route = source.node.map_or(Route::Open, |node| self.table.judge(node, destination, lens));
        let (to, at, verdicts) = match route {
            Route::Judged { to, at, verdicts } => (to, at, verdicts),
            Route::Open => (None, Instant::now(), all(at_once)),
            Route::Unplugged => (None, Instant::now(), all(Verdict::Blocked)),
        };
        (source.node.map(|node| (node, to)), self.table.nanos_at(at), verdicts)
    }

    /// Moves what is due now to its receivers, and gives the time of what is due next. `receivers` are to be woken.
    fn deliver_due(&self, dispatcher: &Waker, receivers: &mut Vec<Waker>) -> Option<u64> {
        let (_, now_ns) = self.table.now();
        let mut state = self.lock();
        while let Some(packet) = state.under_way.pop_due(now_ns) {
            receivers.extend(state.deliver(&self.table, now_ns, packet));
        }
        state.dispatcher = Some(dispatcher.clone());
        state.under_way.first_due_ns()
    }

    /// A panic elsewhere leaves nothing half done that matters here, and its own thread reports it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(dispatcher) = self.dispatcher.get() {
            dispatcher.abort();
        }
    }
}

impl State {
    /// Puts a packet that is due where it belongs. Whom to wake, if its receiver waits for it.
    fn deliver(&mut self, table: &FaultTable, now_ns: u64, (due, packet): (Due, Packet)) -> Option<Waker> {
        let Some(port) = self.ports.at(packet.to) else {
            self.stats.unreachable += 1;
            return None;
        };
        if let Some(until_ns) = port.paused_until_ns(now_ns) {
            self.under_way.put_back((until_ns, due.1), packet);
            return None;
        }
        let Packet { from, ends, ecn, contents, .. } = packet;
        if port.is_unplugged() || !ends.is_none_or(|ends| table.admits(ends, 1)) {
            return None;
        }
        let Ok(reader) = port.receive(Received { from, ecn, contents }) else {
            self.stats.overflowed += 1;
            table.count_overflow(ends, 1);
            return None;
        };
        self.stats.delivered += 1;
        self.stats.received_bytes_max = self.stats.received_bytes_max.max(port.bytes());
        reader
    }
}

/// The one task that moves packets, in the order of their times.
async fn dispatch(shared: Weak<Shared>) {
    let mut sleep = pin!(sleep_until(Instant::now()));
    let mut receivers = Vec::new();
    poll_fn(|cx| {
        loop {
            let Some(shared) = shared.upgrade() else { return Poll::Ready(()) };
            let next = shared.deliver_due(cx.waker(), &mut receivers);
            receivers.drain(..).for_each(Waker::wake);
            let Some(next_ns) = next else { return Poll::Pending };
            sleep.as_mut().reset(shared.table.instant_at(next_ns));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

#[cfg(test)]
mod tests;
