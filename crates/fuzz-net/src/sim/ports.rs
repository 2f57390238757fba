//! Owns the addresses that are bound, and what has arrived at each and is not yet read. Refuses time.

use crate::table::{Gate, NodeId};
use bytes::Bytes;
use quinn::udp::EcnCodepoint;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::Waker;

/// What a receiver's buffer takes, in bytes of UDP payload.
pub(super) const RECEIVED_BYTES_MAX: usize = 1 << 20;

/// Ports are assigned from here (RFC 6335, section 6)
const DYNAMIC_PORTS_FIRST: u16 = 49152;
/// to here.
const DYNAMIC_PORTS_LAST: u16 = u16::MAX;

/// Tells one socket from an earlier one at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PortId(u64);

/// The node a port belongs to.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: Arc<str>,
    pub(super) id: NodeId,
    pub(super) gate: Arc<Gate>,
}

/// What has arrived.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) from: SocketAddr,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) contents: Bytes,
}

/// A bound address.
#[derive(Debug)]
pub(super) struct Port {
    id: PortId,
    /// `None` for a client's.
    owner: Option<Owner>,
    received: VecDeque<Received>,
    bytes: usize,
    reader: Option<Waker>,
}

/// All bound addresses.
#[derive(Debug, Default)]
pub(super) struct Ports {
    bound: BTreeMap<SocketAddr, Port>,
    /// The last port assigned at each address.
    assigned: BTreeMap<IpAddr, u16>,
    opened: u64,
}

impl Ports {
    pub(super) fn bind(
        &mut self,
        mut address: SocketAddr,
        owner: Option<Owner>,
    ) -> io::Result<(SocketAddr, PortId)> {
        if address.ip().is_unspecified() {
            let advice = format!("{address} is no address others could send to: name one");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, advice));
        }
        if address.port() == 0 {
            let port = self.assign(address.ip()).ok_or(io::ErrorKind::AddrNotAvailable)?;
            address.set_port(port);
        } else if self.bound.contains_key(&address) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let id = PortId(self.opened);
        self.opened += 1;
        let port = Port { id, owner, received: VecDeque::new(), bytes: 0, reader: None };
        self.bound.insert(address, port);
        Ok((address, id))
    }

    /// Closes a port, if it is still open: whose it was.
    pub(super) fn close(&mut self, address: SocketAddr, id: PortId) -> Option<Owner> {
        self.open(address, id)?;
        self.bound.remove(&address)?.owner
    }

    /// Closes all ports of a node: where they were.
    pub(super) fn close_all(&mut self, node: &str) -> Vec<(SocketAddr, NodeId)> {
        let is_its = |port: &Port| port.owner.as_ref().is_some_and(|owner| &*owner.name == node);
        let closed: Vec<_> = self.bound.extract_if(.., |_, port| is_its(port)).collect();
        closed.into_iter().filter_map(|(address, port)| Some((address, port.owner?.id))).collect()
    }

    /// The port at an address, whoever's it is.
    pub(super) fn at(&mut self, address: SocketAddr) -> Option<&mut Port> {
        self.bound.get_mut(&address)
    }

    /// This very port, unless it has been closed.
    pub(super) fn open(&mut self, address: SocketAddr, id: PortId) -> Option<&mut Port> {
        self.at(address).filter(|port| port.id == id)
    }

    /// The first free port after the last one assigned, so that a port is not soon another's.
    fn assign(&mut self, ip: IpAddr) -> Option<u16> {
        let last = self.assigned.get(&ip).copied().unwrap_or(DYNAMIC_PORTS_LAST);
        let next = last.checked_add(1).unwrap_or(DYNAMIC_PORTS_FIRST);
        let mut candidates = (next..=DYNAMIC_PORTS_LAST).chain(DYNAMIC_PORTS_FIRST..next);
        let port = candidates.find(|&port| !self.bound.contains_key(&(ip, port).into()))?;
        self.assigned.insert(ip, port);
        Some(port)
    }
}

impl Port {
    /// Keeps what has arrived; the reader to wake, if one waits. Gives it back if the buffer is full.
    pub(super) fn receive(&mut self, received: Received) -> Result<Option<Waker>, Received> {
        if self.bytes + received.contents.len() > RECEIVED_BYTES_MAX {
            return Err(received);
        }
        self.bytes += received.contents.len();
        self.received.push_back(received);
        Ok(self.reader.take())
    }

    /// What has arrived first, of what is not yet read.
    pub(super) fn read(&mut self) -> Option<Received> {
        let received = self.received.pop_front()?;
        self.bytes -= received.contents.len();
        Some(received)
    }

    /// Whom to wake when something arrives.
    pub(super) fn wait(&mut self, reader: &Waker) {
        self.reader = Some(reader.clone());
    }

    /// Bytes not yet read.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Until when what arrives must wait, if longer than now.
    pub(super) fn paused_until_ns(&self, now_ns: u64) -> Option<u64> {
        self.owner.as_ref()?.gate.paused_until_ns(now_ns)
    }

    /// Whether what arrives is lost.
    pub(super) fn is_unplugged(&self) -> bool {
        self.owner.as_ref().is_some_and(|owner| owner.gate.is_unplugged())
    }
}
