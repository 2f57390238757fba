//! QUIC with nothing left to chance: every random input comes from a seed, so that the same run has the same bytes.
//! The key exchange keeps no secret: it is for simulations alone.

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, ServerConfig, TimeSource,
    TransportConfig,
};
use rustls::crypto::{
    ActiveKeyExchange, CryptoProvider, GetRandomFailed, SecureRandom, SharedSecret, SupportedKxGroup,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, UnixTime};
use rustls::{NamedGroup, PeerMisbehaved, RootCertStore};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The name in the certificate all nodes share.
pub(crate) const SERVER_NAME: &str = "node";

/// Within the certificate's time, whenever the test runs.
const NOW: Duration = Duration::from_secs(1_800_000_000);

/// A stream of bytes (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Seeded(u64);

/// What an endpoint needs.
pub(crate) struct Configs {
    pub(crate) endpoint: EndpointConfig,
    pub(crate) server: ServerConfig,
    pub(crate) client: ClientConfig,
}

impl Seeded {
    pub(crate) fn new(labels: &[u64]) -> Self {
        labels.iter().fold(Self(0), |stream, label| Self(stream.clone().next() ^ label))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.next().to_le_bytes()[0]);
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

/// `incarnation` counts a node's starts: each draws new values, but all answer for each other's connections.
pub(crate) fn configs(seed: u64, node: u64, incarnation: u64, transport: TransportConfig) -> Configs {
    let stream = |purpose| Seeded::new(&[seed, node, incarnation, purpose]);
    let mut provider = rustls::crypto::ring::default_provider();
    provider.secure_random = Box::leak(Box::new(SeededRandom(Mutex::new(stream(1)))));
    provider.kx_groups = vec![Box::leak(Box::new(OpenKeyExchange(Mutex::new(stream(2)))))];
    let (client, server) = tls(seed, Arc::new(provider));

    let token_key = ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&stream(3).bytes::<32>());
    let mut server =
        ServerConfig::new(Arc::new(QuicServerConfig::try_from(server).unwrap()), Arc::new(token_key));
    server.time_source(Arc::new(FixedTime));
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let first_ids = Mutex::new(SeededIds(stream(4)));
    client.initial_dst_cid_provider(Arc::new(move || first_ids.lock().unwrap().generate_cid()));
    let transport = Arc::new(transport);
    client.transport_config(Arc::clone(&transport));
    server.transport_config(transport);

    let reset_key = Seeded::new(&[seed, node]).bytes::<32>();
    let mut endpoint =
        EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_key)));
    let ids = stream(5);
    endpoint.cid_generator(move || Box::new(SeededIds(ids.clone())));
    endpoint.rng_seed(Some(stream(6).bytes()));
    Configs { endpoint, server, client }
}

fn tls(seed: u64, provider: Arc<CryptoProvider>) -> (rustls::ClientConfig, rustls::ServerConfig) {
    let (certificate, key) = certificate(seed);
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let tls13 = &[&rustls::version::TLS13];
    let mut client = rustls::ClientConfig::builder_with_details(Arc::clone(&provider), Arc::new(FixedTime))
        .with_protocol_versions(tls13)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.resumption = rustls::client::Resumption::disabled();
    let mut server = rustls::ServerConfig::builder_with_details(provider, Arc::new(FixedTime))
        .with_protocol_versions(tls13)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    server.send_tls13_tickets = 0;
    (client, server)
}

/// Ed25519: its signatures are of one length, and deterministic.
fn certificate(seed: u64) -> (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    // PKCS#8 around the 32 bytes that are the key.
    const PKCS8: [u8; 16] =
        [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    let key = [&PKCS8[..], &Seeded::new(&[seed]).bytes::<32>()].concat();
    let key = PrivatePkcs8KeyDer::from(key);
    let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_ED25519).unwrap();
    let mut params = rcgen::CertificateParams::new([SERVER_NAME.to_owned()]).unwrap();
    params.serial_number = Some(1_u64.into());
    (params.self_signed(&pair).unwrap().into(), key)
}

#[derive(Debug)]
struct SeededRandom(Mutex<Seeded>);

impl SecureRandom for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        self.0.lock().unwrap().fill(bytes);
        Ok(())
    }
}

struct SeededIds(Seeded);

impl ConnectionIdGenerator for SeededIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&self.0.bytes::<8>())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[derive(Debug)]
struct FixedTime;

impl TimeSource for FixedTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + NOW
    }
}

impl rustls::time_provider::TimeProvider for FixedTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(NOW))
    }
}

/// In the place of X25519: both sides take what they send each other, combined, for the secret.
#[derive(Debug)]
struct OpenKeyExchange(Mutex<Seeded>);

struct OpenKeyShare([u8; 32]);

impl SupportedKxGroup for OpenKeyExchange {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, rustls::Error> {
        Ok(Box::new(OpenKeyShare(self.0.lock().unwrap().bytes())))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for OpenKeyShare {
    fn complete(self: Box<Self>, theirs: &[u8]) -> Result<SharedSecret, rustls::Error> {
        let theirs: [u8; 32] = theirs.try_into().map_err(|_length| PeerMisbehaved::InvalidKeyShare)?;
        let secret: Vec<u8> = self.0.iter().zip(theirs).map(|(ours, theirs)| ours ^ theirs).collect();
        Ok(SharedSecret::from(&secret[..]))
    }

    fn pub_key(&self) -> &[u8] {
        &self.0
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}
