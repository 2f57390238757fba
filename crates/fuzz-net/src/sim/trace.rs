//! Owns the running hash over all packets of a simulation. Refuses to keep them: who wants each one turns on this crate's
//! log at level `trace`, and compares two runs line by line.

use crate::link::{Corruption, Verdict, nanos};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use xxhash_rust::xxh3::Xxh3Default;

/// The hash so far.
#[derive(Default)]
pub(super) struct Trace(Xxh3Default);

impl Trace {
    /// Adds one packet, as it was sent.
    pub(super) fn record(
        &mut self,
        now_ns: u64,
        (from, to): (SocketAddr, SocketAddr),
        contents: &[u8],
        verdict: &Verdict,
    ) {
        tracing::trace!(now_ns, %from, %to, len = contents.len(), ?verdict, "packet");
        self.number(now_ns);
        self.address(from);
        self.address(to);
        self.number(contents.len() as u64);
        self.0.update(contents);
        self.verdict(verdict);
    }

    /// 32 hexadecimal digits.
    pub(super) fn hash(&self) -> String {
        format!("{:032x}", self.0.digest128())
    }

    fn address(&mut self, address: SocketAddr) {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        self.0.update(&ip.octets());
        self.0.update(&address.port().to_le_bytes());
    }

    fn verdict(&mut self, verdict: &Verdict) {
        match *verdict {
            Verdict::Blocked => self.number(0),
            Verdict::Dropped => self.number(1),
            Verdict::TooLarge => self.number(2),
            Verdict::Overflowed => self.number(3),
            Verdict::Deliver { after, again_after, corruption } => {
                self.number(4);
                self.number(nanos(after));
                self.number(again_after.map_or(u64::MAX, |after: Duration| nanos(after)));
                if let Some(Corruption { offset, mask }) = corruption {
                    self.number(offset as u64);
                    self.number(u64::from(mask.get()));
                }
            }
        }
    }

    fn number(&mut self, number: u64) {
        self.0.update(&number.to_le_bytes());
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Trace").field(&self.hash()).finish()
    }
}
