//! What a member is handed instead of reaching for it: sockets, clocks, randomness, a disk. Production, a live
//! experiment and a simulation differ in these and in nothing else.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::Tls;
use chinwag_storage::Engine;

use crate::witness::Witness;

/// Opens UDP sockets: real, faulty or simulated ones.
pub trait SocketFactory: fmt::Debug + Send + Sync {
    /// A socket bound to `address`; port 0 lets the system choose.
    ///
    /// # Errors
    /// What the operating system says when the address cannot be bound.
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>>;
}

/// Tells the wall time. Nothing in a member asks the machine for it.
pub trait WallClock: fmt::Debug + Send + Sync {
    /// Time since 1970.
    fn now(&self) -> Duration;
}

/// Real UDP sockets of this machine.
#[derive(Debug, Clone, Copy)]
pub struct UdpSockets;

impl SocketFactory for UdpSockets {
    fn bind(&self, address: SocketAddr) -> io::Result<Arc<dyn quinn::AsyncUdpSocket>> {
        quinn::Runtime::wrap_udp_socket(&quinn::TokioRuntime, std::net::UdpSocket::bind(address)?)
    }
}

/// All that a member takes from its surroundings.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where its sockets come from.
    pub sockets: Arc<dyn SocketFactory>,
    /// What runs its tasks, and QUIC's timers and tasks.
    pub runtime: Arc<dyn quinn::Runtime>,
    /// Wall time, for certificates and generations, for when values expire, and for which write is the last in a bucket of
    /// kind `lww`; never for ordering other versions.
    pub clock: Arc<dyn WallClock>,
    /// Cryptography, randomness and certificate time of its handshakes: the system's in production.
    pub tls: Tls,
    /// Where its records are.
    pub engine: Arc<dyn Engine>,
    /// Seed of all its randomness: from the operating system in production, from the scenario in simulation.
    pub seed: [u8; 32],
    /// Who is told of the messages of traced requests: nobody in production.
    pub witness: Option<Arc<dyn Witness>>,
}
