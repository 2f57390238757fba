//! Sockets on ports of the system's choice, and waiting for conditions.

use chinwag_fuzz_net::{FaultTable, FaultySocket};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long a test waits before it fails: far longer than anything it waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A socket on a port of the system's choice, not wrapped.
pub(crate) fn bare_socket() -> (Arc<dyn AsyncUdpSocket>, SocketAddr) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    (TokioRuntime.wrap_udp_socket(socket).unwrap(), address)
}

/// A wrapped socket of `node`.
pub(crate) fn faulty_socket(table: &FaultTable, node: &str) -> (Arc<FaultySocket>, SocketAddr) {
    let (socket, address) = bare_socket();
    (FaultySocket::wrap(socket, table, node).unwrap(), address)
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("still not: {what}"));
}
