//! QUIC between members and from clients: endpoints, connections, streams. Refuses to know what the messages mean.
//!
//! A member has two endpoints, so that bulk replication never delays a probe: [`gossip`] carries datagrams only, [`data`]
//! carries everything that travels on streams, for members and clients alike.

pub(crate) mod data;
pub(crate) mod endpoint;
pub(crate) mod gossip;
mod pinned;
pub(crate) mod serve;
