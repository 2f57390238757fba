//! QUIC connection ids drawn from a seed that is handed in, where the library would draw them for itself.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Bytes of the ids this side hands out.
const OWN_ID: usize = 8;
/// Bytes of the id a client makes up for its first packet (RFC 9000 section 7.2 asks for 8 at least).
const FIRST_ID: usize = 20;

/// Connection ids of this side.
///
/// It takes any id for one of its own, so that a restarted member answers its predecessor's connections with a reset:
/// one that discarded unknown ids would leave its correspondents talking into a black hole for 30 s
/// (reference/membership.md section 4).
pub struct SeededIds(StdRng);

impl SeededIds {
    /// A function that makes generators, as an endpoint's configuration wants it.
    pub fn factory(rng: &mut StdRng) -> impl Fn() -> Box<dyn ConnectionIdGenerator> + Send + Sync + 'static {
        let rng = Mutex::new(StdRng::from_rng(rng));
        move || {
            let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
            Box::new(Self(StdRng::from_rng(&mut *rng)))
        }
    }
}

impl fmt::Debug for SeededIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeededIds(..)")
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

/// A function that makes up the ids of first packets, as a client's configuration wants it.
pub fn first_ids(rng: &mut StdRng) -> Arc<dyn Fn() -> ConnectionId + Send + Sync> {
    let rng = Mutex::new(StdRng::from_rng(rng));
    Arc::new(move || {
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionId::new(&rng.random::<[u8; FIRST_ID]>())
    })
}
