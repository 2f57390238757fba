//! Owns packets under way, in the order in which they arrive. Refuses to know where they go.

use crate::link::Verdict;
use crate::socket::segments;
use crate::table::Ends;
use bytes::Bytes;
use quinn::udp::{EcnCodepoint, Transmit};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes that may be under way at once, with what it takes to keep them; beyond, packets are refused.
const BYTES_MAX: usize = 256 << 20;

/// One packet on its way.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) from: SocketAddr,
    pub(super) to: SocketAddr,
    /// `None` if a client sent it.
    pub(super) ends: Option<Ends>,
    pub(super) ecn: Option<EcnCodepoint>,
    pub(super) contents: Bytes,
}

/// When a packet is due, in nanoseconds since the table was made; then its place among all packets sent.
pub(super) type Due = (u64, u64);

/// The packets under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    packets: BTreeMap<Due, Packet>,
    pushed: u64,
    bytes: usize,
}

impl UnderWay {
    /// Whether there was room for the packet.
    #[must_use]
    pub(super) fn push(&mut self, due_ns: u64, packet: Packet) -> bool {
        let has_room = self.bytes + packet.bytes() <= BYTES_MAX;
        if has_room {
            self.put_back((due_ns, self.pushed), packet);
            self.pushed += 1;
        }
        has_room
    }

    /// Delays a packet, which keeps its place among those due at the same time.
    pub(super) fn put_back(&mut self, due: Due, packet: Packet) {
        self.bytes += packet.bytes();
        self.packets.insert(due, packet);
    }

    /// The first packet, if it is due.
    pub(super) fn pop_due(&mut self, now_ns: u64) -> Option<(Due, Packet)> {
        let first = self.packets.first_entry().filter(|first| first.key().0 <= now_ns)?;
        let (due, packet) = first.remove_entry();
        self.bytes -= packet.bytes();
        Some((due, packet))
    }

    pub(super) fn first_due_ns(&self) -> Option<u64> {
        self.packets.first_key_value().map(|(&(due_ns, _), _)| due_ns)
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}

impl Packet {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.contents.len()
    }
}

/// What is delivered of a burst, and how long after its sending: all first copies, then the second ones.
pub(super) fn copies(transmit: &Transmit<'_>, verdicts: &[Verdict]) -> Vec<(Duration, Bytes)> {
    let mut unread = Bytes::copy_from_slice(transmit.contents);
    let (mut firsts, mut seconds) = (Vec::with_capacity(verdicts.len()), Vec::new());
    for (segment, verdict) in segments(transmit).zip(verdicts) {
        let mut contents = unread.split_to(segment.len());
        let Verdict::Deliver { after, again_after, corruption } = *verdict else { continue };
        if let Some(corruption) = corruption {
            let mut corrupted = contents.to_vec();
            corruption.apply(&mut corrupted);
            contents = corrupted.into();
        }
        seconds.extend(again_after.map(|after| (after, contents.clone())));
        firsts.push((after, contents));
    }
    firsts.append(&mut seconds);
    firsts
}
