//! Owns a real UDP socket that misbehaves as its table says, below QUIC. Refuses to decide: every fate comes from the
//! table.

use crate::delay::{DelayLine, Parcel, SharedLine};
use crate::link::Verdict;
use crate::table::{Ends, FaultTable, Gate, NodeId, Route};
use quinn::udp::{EcnCodepoint, RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A socket of one node, with the faults of a [`FaultTable`] on what it sends.
///
/// While no fault is active for the node, a packet costs one relaxed atomic load more. Latency is kept in real time by
/// one thread for the whole process, which runs while a socket that has needed it exists.
///
/// - A burst (generic segmentation offload) stays a burst: its packets share one latency and are lost one by one. Only a
///   bandwidth spreads them, and what is held back leaves alone.
/// - For packets that a fault has touched, a full kernel buffer is one more lossy queue on the path.
/// - While its node is paused, what arrives waits in the kernel's buffer.
/// - An unplugged node's packets are swallowed in both directions; everything else is judged where it is sent, so that
///   every node of an experiment needs its sockets wrapped.
/// - Packets under way when their socket is dropped are lost with it: they do not keep its port.
#[derive(Debug)]
pub struct FaultySocket {
    inner: Arc<dyn AsyncUdpSocket>,
    address: SocketAddr,
    table: FaultTable,
    node: NodeId,
    gate: Arc<Gate>,
    /// Taken when the first packet must wait.
    line: OnceLock<Arc<DelayLine<DelayedBurst>>>,
    /// Wakes the receiver when a pause ends; set while it waits for that.
    resume: Mutex<Option<Pin<Box<Sleep>>>>,
}

/// The delay line of the process.
static DELAY_LINE: SharedLine<DelayedBurst> = SharedLine::new();

/// Receptions an unplugged node swallows before it lets other tasks run.
const SWALLOWED_MAX: usize = 32;

impl FaultySocket {
    /// Wraps a socket of `node`, and registers its local address for as long as it exists, unless that is a wildcard
    /// such as `0.0.0.0`; further addresses it can be reached at are the caller's to [register](FaultTable::register).
    ///
    /// # Errors
    ///
    /// If the inner socket does not know its address.
    pub fn wrap(inner: Arc<dyn AsyncUdpSocket>, table: &FaultTable, node: &str) -> io::Result<Arc<Self>> {
        let address = inner.local_addr()?;
        if !address.ip().is_unspecified() {
            table.register(address, node);
        }
        let (node, gate) = table.attach(node);
        Ok(Arc::new(Self {
            inner,
            address,
            table: table.clone(),
            node,
            gate,
            line: OnceLock::new(),
            resume: Mutex::default(),
        }))
    }

    fn send_judged(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let lens = segments(transmit).map(<[u8]>::len);
        let (to, at, verdicts) = match self.table.judge(self.node, transmit.destination, lens) {
            Route::Open => return self.inner.try_send(transmit),
            Route::Unplugged => return Ok(()),
            Route::Judged { to, at, verdicts } => (to, at, verdicts),
        };
        let untouched = Verdict::Deliver { after: Duration::ZERO, again_after: None, corruption: None };
        if verdicts.iter().all(|&verdict| verdict == untouched) {
            return self.inner.try_send(transmit);
        }
        let ends = (self.node, to);
        for (after, survivors) in survivors(transmit, &verdicts) {
            self.send(at, after, self.burst(transmit, ends, survivors));
        }
        for (segment, verdict) in segments(transmit).zip(&verdicts) {
            if let Verdict::Deliver { again_after: Some(after), corruption, .. } = *verdict {
                let mut copy = segment.to_vec();
                if let Some(corruption) = corruption {
                    corruption.apply(&mut copy);
                }
                self.send(at, after, self.burst(transmit, ends, copy));
            }
        }
        Ok(())
    }

    fn burst(&self, transmit: &Transmit<'_>, ends: Ends, contents: Vec<u8>) -> DelayedBurst {
        DelayedBurst {
            socket: Arc::downgrade(&self.inner),
            table: self.table.clone(),
            ends,
            destination: transmit.destination,
            ecn: transmit.ecn,
            src_ip: transmit.src_ip,
            segment_size: transmit.segment_size.filter(|&size| size < contents.len()),
            contents,
        }
    }

    fn send(&self, at: Instant, after: Duration, burst: DelayedBurst) {
        if after.is_zero() {
            return burst.release();
        }
        let refused = match self.delay_line() {
            Ok(line) => line.push(at + after, burst).err(),
            Err(error) => {
                tracing::debug!(%error, "no thread for delayed packets; they are lost");
                Some(burst)
            }
        };
        if let Some(burst) = refused {
            burst.table.count_overflow(Some(burst.ends), burst.packets());
        }
    }

    /// Ready unless the node is paused.
    fn poll_hears(&self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(ends) = self.table.pause_ends(&self.gate) {
            let mut resume = self.resume.lock().unwrap_or_else(PoisonError::into_inner);
            let mut sleep = resume.take().unwrap_or_else(|| Box::pin(sleep_until(ends)));
            if sleep.deadline() != ends {
                sleep.as_mut().reset(ends);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                *resume = Some(sleep);
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn delay_line(&self) -> io::Result<&DelayLine<DelayedBurst>> {
        if let Some(line) = self.line.get() {
            return Ok(line);
        }
        let line = DELAY_LINE.get_or_start()?;
        Ok(self.line.get_or_init(|| line))
    }
}

impl AsyncUdpSocket for FaultySocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if self.gate.is_faulty() { self.send_judged(transmit) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_hears(cx));
        for _ in 0..SWALLOWED_MAX {
            let received = ready!(self.inner.poll_recv(cx, bufs, meta))?;
            if !self.gate.is_unplugged() {
                return Poll::Ready(Ok(received));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    // Less than the inner socket's would break transfers: the kernel still coalesces, into buffers that are too small.
    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

impl Drop for FaultySocket {
    fn drop(&mut self) {
        self.table.unregister(self.address, self.node);
    }
}

/// What waits on the delay line: one packet, or a burst of them.
#[derive(Debug)]
struct DelayedBurst {
    /// Weak, so that packets under way do not keep a closed socket's port.
    socket: Weak<dyn AsyncUdpSocket>,
    table: FaultTable,
    ends: Ends,
    destination: SocketAddr,
    ecn: Option<EcnCodepoint>,
    src_ip: Option<IpAddr>,
    segment_size: Option<usize>,
    contents: Vec<u8>,
}

impl DelayedBurst {
    fn packets(&self) -> u64 {
        self.segment_size.map_or(1, |size| self.contents.len().div_ceil(size)) as u64
    }
}

impl Parcel for DelayedBurst {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.contents.len()
    }

    fn release(self) {
        let Some(socket) = self.socket.upgrade() else { return };
        if !self.table.admits(self.ends, self.packets()) {
            return;
        }
        let sent = socket.try_send(&Transmit {
            destination: self.destination,
            ecn: self.ecn,
            contents: &self.contents,
            segment_size: self.segment_size,
            src_ip: self.src_ip,
        });
        if let Err(error) = sent {
            tracing::trace!(%error, destination = %self.destination, "delayed packets lost");
            self.table.count_overflow(Some(self.ends), self.packets());
        }
    }
}

/// The packets of a transmit.
pub(crate) fn segments<'a>(transmit: &Transmit<'a>) -> impl Iterator<Item = &'a [u8]> {
    let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
    transmit.contents.chunks(size)
}

/// What is left of a burst, as it arrives: a burst again for every time at which some of its packets do, mostly one. Only
/// the last packet of a burst may be short, and it can only be the last of those it arrives with.
fn survivors(transmit: &Transmit<'_>, verdicts: &[Verdict]) -> BTreeMap<Duration, Vec<u8>> {
    let mut bursts = BTreeMap::<_, Vec<u8>>::new();
    for (segment, verdict) in segments(transmit).zip(verdicts) {
        if let Verdict::Deliver { after, corruption, .. } = *verdict {
            let burst = bursts.entry(after).or_default();
            let begins = burst.len();
            burst.extend_from_slice(segment);
            if let Some(corruption) = corruption {
                corruption.apply(&mut burst[begins..]);
            }
        }
    }
    bursts
}

#[cfg(test)]
mod tests;
