//! Handshakes whose every random byte comes from a seed, so that a simulated run can be repeated to the byte. Such
//! handshakes protect nothing: anyone who knows the seed can read them. Behind the feature `pinned`, which only the
//! observer turns on and only its simulations use.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;
use rustls::{CipherSuite, NamedGroup};
use x25519_dalek::{PublicKey, StaticSecret};

use crate::credential::Tls;

/// Seeded TLS for one endpoint of a simulation, which believes it is always `now` (time since 1970).
///
/// The library wants these to live for ever, so each call leaks about a hundred bytes: a few per simulated member.
pub fn tls(seed: [u8; 32], now: Duration) -> Tls {
    let mut rng = StdRng::from_seed(seed);
    let mut provider = rustls::crypto::ring::default_provider();
    // One suite, so that a choice by hardware does not show on the wire.
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = CryptoProvider {
        secure_random: Box::leak(Box::new(SeededRandom(Mutex::new(StdRng::from_rng(&mut rng))))),
        kx_groups: vec![Box::leak(Box::new(SeededX25519(Mutex::new(StdRng::from_rng(&mut rng)))))],
        ..provider
    };
    Tls { provider: Arc::new(provider), time: Arc::new(Fixed(now)) }
}

#[derive(Debug)]
struct Fixed(Duration);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}

#[derive(Debug)]
struct SeededRandom(Mutex<StdRng>);

impl SecureRandom for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
        Ok(())
    }
}

/// X25519 (RFC 7748) with key pairs drawn from a seed.
#[derive(Debug)]
struct SeededX25519(Mutex<StdRng>);

impl SupportedKxGroup for SeededX25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        let bytes: [u8; 32] = self.0.lock().unwrap_or_else(PoisonError::into_inner).random();
        let secret = StaticSecret::from(bytes);
        let public = PublicKey::from(&secret).to_bytes();
        Ok(Box::new(Exchange { secret, public }))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

struct Exchange {
    secret: StaticSecret,
    public: [u8; 32],
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange(..)")
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, rustls::Error> {
        let theirs: [u8; 32] =
            theirs.try_into().map_err(|_wrong_length| rustls::PeerMisbehaved::InvalidKeyShare)?;
        let shared = self.secret.diffie_hellman(&PublicKey::from(theirs));
        Ok(SharedSecret::from(&shared.as_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.public
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
