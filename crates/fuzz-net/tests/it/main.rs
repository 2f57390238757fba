//! Faulty sockets on real loopback UDP, raw and under QUIC; and QUIC on a simulated network.

#[cfg(test)]
mod pinned;
#[cfg(test)]
mod quic;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod support;
#[cfg(test)]
mod udp;
