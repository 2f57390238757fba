//! Sockets whose packets to other members vanish from a moment on, without anybody having asked for it.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use chinwag_node::{Parts, SocketFactory};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

/// Writing ends with the pause; the replicas have long agreed when the sockets fall silent.
pub(super) const MUTE_AFTER_WRITING: &str = r#"
name = "mute"
duration = "25s"
[links]
latency = "2ms"
[[step]]
at = "3s"
pause = { node = "node3", for = "10ms" }
"#;

/// How long after its start a socket falls silent.
const SPEAKS: Duration = Duration::from_secs(10);
/// Where the clients of a simulation are.
const CLIENTS: Ipv4Addr = Ipv4Addr::new(10, 255, 0, 1);

/// Gives this member sockets that fall silent.
pub(super) fn mute(whom: &'static str) -> impl Fn(&str, Parts) -> Parts + Send + Sync {
    move |member, parts| match member == whom {
        true => Parts { sockets: Arc::new(Muted(parts.sockets.clone())), ..parts },
        false => parts,
    }
}

#[derive(Debug)]
struct Muted(Arc<dyn SocketFactory>);

impl SocketFactory for Muted {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Mute { socket: self.0.bind(address)?, from: Instant::now() + SPEAKS }))
    }
}

struct Mute {
    socket: Arc<dyn AsyncUdpSocket>,
    from: Instant,
}

impl AsyncUdpSocket for Mute {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.socket.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        if Instant::now() >= self.from && transmit.destination.ip() != CLIENTS {
            return Ok(());
        }
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_recv(cx, bufs, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
}

impl fmt::Debug for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mute").field(&self.socket).finish()
    }
}
