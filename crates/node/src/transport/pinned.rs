//! What QUIC would draw or read for itself, drawn from the member's own seed and clock instead: connection ids, the key
//! of address tokens, the time of tokens.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::{ConnectionId, ConnectionIdGenerator, TimeSource};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::parts::WallClock;

/// Bytes of the ids this side hands out.
const OWN_ID: usize = 8;
/// Bytes of the id a client makes up for its first packet (RFC 9000 section 7.2 asks for 8 at least).
const FIRST_ID: usize = 20;

/// Connection ids of this side.
///
/// It takes any id for one of its own, so that a restarted member answers its predecessor's connections with a reset:
/// one that discarded unknown ids would leave its correspondents talking into a black hole for 30 s
/// (reference/membership.md section 4).
pub(super) struct SeededIds(StdRng);

impl SeededIds {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self(StdRng::from_rng(rng))
    }

    /// A function that makes generators, as QUIC asks for them.
    pub(super) fn factory(
        rng: &mut StdRng,
    ) -> impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static {
        let rng = Mutex::new(StdRng::from_rng(rng));
        move || {
            let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
            Box::new(Self::new(&mut rng))
        }
    }
}

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.random::<[u8; OWN_ID]>())
    }

    fn cid_len(&self) -> usize {
        OWN_ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Makes up the ids of first packets.
pub(super) fn first_ids(rng: &mut StdRng) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
    let rng = Mutex::new(StdRng::from_rng(rng));
    Arc::new(move || {
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionId::new(&rng.random::<[u8; FIRST_ID]>())
    })
}

/// The member's wall clock, as QUIC wants to read it.
pub(super) struct TokenTime(pub(super) Arc<dyn WallClock>);

impl TimeSource for TokenTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.0.now()
    }
}
