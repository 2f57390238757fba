//! Faulty sockets on real loopback UDP: raw packets, and QUIC on top.

#[cfg(test)]
mod quic;
#[cfg(test)]
mod support;
#[cfg(test)]
mod udp;
