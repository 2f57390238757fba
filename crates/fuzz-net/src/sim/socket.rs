//! Owns one simulated UDP socket, as QUIC sees it. Refuses to decide anything: it hands over to its network.

use super::ports::Owner;
use super::{Shared, Source};
use crate::table::canonical;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// Packets in one burst: as many as quinn ever sends, so that it forms the bursts it forms on Linux.
const SEGMENTS_MAX: usize = 10;

/// A socket of a [`SimNet`](super::SimNet), made by its `bind`.
pub struct SimSocket {
    net: Arc<Shared>,
    source: Source,
}

impl SimSocket {
    pub(super) fn bind(
        net: &Arc<Shared>,
        address: SocketAddr,
        owner: Option<Owner>,
    ) -> io::Result<Arc<Self>> {
        let node = owner.as_ref().map(|owner| owner.id);
        let (address, port) = net.lock().ports.bind(canonical(address), owner)?;
        Ok(Arc::new(Self { net: Arc::clone(net), source: Source { address, port, node } }))
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.source.address
    }
}

impl AsyncUdpSocket for SimSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.net.send(self.source, transmit);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.net.lock();
        let Some(port) = state.ports.open(self.source.address, self.source.port) else {
            return Poll::Pending;
        };
        let mut count = 0;
        while count < bufs.len().min(meta.len())
            && let Some(received) = port.read()
        {
            // What is larger than the reader allows for is lost, as QUIC would have it.
            let Some(buffer) = bufs[count].get_mut(..received.contents.len()) else { continue };
            buffer.copy_from_slice(&received.contents);
            meta[count] = RecvMeta {
                addr: received.from,
                len: received.contents.len(),
                stride: received.contents.len(),
                ecn: received.ecn,
                dst_ip: Some(self.source.address.ip()),
            };
            count += 1;
        }
        if count == 0 {
            port.wait(cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.source.address)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS_MAX
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        let closed = self.net.lock().ports.close(self.source.address, self.source.port);
        if let Some(owner) = closed {
            self.net.table.unregister(self.source.address, owner.id);
        }
    }
}

impl fmt::Debug for SimSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimSocket").field(&self.source.address).finish()
    }
}

/// Sends never block.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
