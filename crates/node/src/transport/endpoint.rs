//! A QUIC endpoint with chinwag's settings. Each deviation from the library's defaults has its measured reason.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chinwag_client::credential::is_refused_handshake;
use chinwag_client::ids::{SeededIds, first_ids};
use chinwag_client::{ClusterSecret, Credential, CredentialError, Role};
use quinn::{AckFrequencyConfig, IdleTimeout, TimeSource, VarInt};
use rand::RngExt;
use rand::rngs::StdRng;

use crate::core::Counter;
use crate::parts::{Parts, WallClock};

/// Datagrams that wait to be sent on one connection, in bytes.
pub(crate) const DATAGRAM_BUFFER_BYTES: usize = 64 << 10;

/// The two endpoints of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Channel {
    /// Datagrams of the membership protocol.
    Gossip,
    /// Streams: members' requests, exchanges, clients.
    Data,
}

impl Channel {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Gossip => "gossip",
            Self::Data => "data",
        }
    }
}

/// An endpoint could not be opened. Nothing is listening.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The address cannot be bound: taken by another process, not of this machine, or not permitted.
    #[error("cannot listen on {address} ({channel}): {source}; is another process using it?")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// `gossip` or `data`.
        channel: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// The cluster's certificate cannot be used.
    #[error(transparent)]
    Credential(#[from] CredentialError),
}

/// A member could not be connected to. Nothing was sent.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum DialError {
    /// It did not answer, or cannot be reached.
    #[error("{0}")]
    Failed(String),
    /// One side refused the other's certificate.
    #[error("the handshake was refused ({0}): is it the same cluster secret?")]
    Refused(String),
}

/// What an endpoint has turned away since it was opened.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    /// Handshakes of others that came to nothing: strangers, and connections that broke off.
    pub(crate) handshakes: Counter,
    /// Connections that were closed because something came over them that had no place there.
    pub(crate) connections: Counter,
}

/// A listening endpoint and what is needed to dial from it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    pub(crate) channel: Channel,
    pub(crate) quic: quinn::Endpoint,
    client: quinn::ClientConfig,
    pub(crate) turned_away: Arc<TurnedAway>,
}

impl Endpoint {
    /// Binds `address` and listens.
    pub(crate) fn open(
        channel: Channel,
        name: &str,
        address: SocketAddr,
        secret: &ClusterSecret,
        parts: &Parts,
        rng: &mut StdRng,
    ) -> Result<Self, EndpointError> {
        let credential = Credential::mint(secret, Role::Member, rng.random(), parts.clock.now())?
            .with_tls(parts.tls.clone());
        let bind = |source| EndpointError::Bind { address, channel: channel.label(), source };
        let socket = parts.sockets.bind(address).map_err(bind)?;
        let transport = Arc::new(transport(channel));
        let token_key =
            ring::hkdf::Salt::new(ring::hkdf::HKDF_SHA256, &[]).extract(&rng.random::<[u8; 32]>());
        let mut server = quinn::ServerConfig::new(Arc::new(credential.quic_server()?), Arc::new(token_key));
        server.time_source(Arc::new(TokenTime(parts.clock.clone())));
        server.transport_config(transport.clone());
        let mut client = quinn::ClientConfig::new(Arc::new(credential.quic_client()?));
        client.initial_dst_cid_provider(first_ids(rng));
        client.transport_config(transport);
        let quic = quinn::Endpoint::new_with_abstract_socket(
            endpoint_config(channel, name, secret, rng),
            Some(server),
            socket,
            parts.runtime.clone(),
        )
        .map_err(bind)?;
        Ok(Self { channel, quic, client, turned_away: Arc::default() })
    }

    /// Shakes hands with the member at `address`.
    pub(crate) async fn dial(&self, address: SocketAddr) -> Result<quinn::Connection, DialError> {
        let connecting = self
            .quic
            .connect_with(self.client.clone(), address, Role::Member.server_name())
            .map_err(|error| DialError::Failed(error.to_string()))?;
        connecting.await.map_err(|error| {
            let reason = error.to_string();
            if is_refused_handshake(&error) { DialError::Refused(reason) } else { DialError::Failed(reason) }
        })
    }
}

/// The reset key is fixed per member, so that a restarted one can end its predecessor's connections.
fn endpoint_config(
    channel: Channel,
    name: &str,
    secret: &ClusterSecret,
    rng: &mut StdRng,
) -> quinn::EndpointConfig {
    let reset_key = secret.derive(&format!("quic stateless reset {} {name}", channel.label()));
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &reset_key);
    let mut config = quinn::EndpointConfig::new(Arc::new(reset_key));
    config.cid_generator(SeededIds::factory(rng));
    config.rng_seed(Some(rng.random()));
    config
}

/// The member's wall clock, as QUIC reads it to date its address tokens.
struct TokenTime(Arc<dyn WallClock>);

impl TimeSource for TokenTime {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + self.0.now()
    }
}

fn transport(channel: Channel) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    // The first packets are repeated after three times this, if they are lost: the default of 333 ms would make a dial
    // across a lossy or just healed link take seconds.
    transport.initial_rtt(Duration::from_millis(100));
    match channel {
        Channel::Gossip => {
            // Probes are the keep-alive. A full buffer drops the oldest datagram: keep little, so that what leaves is fresh.
            transport.max_idle_timeout(Some(idle(Duration::from_secs(600))));
            transport.datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
            transport.datagram_receive_buffer_size(Some(256 << 10));
        }
        Channel::Data => {
            // Longer than a short partition, so that service resumes at once when it heals.
            transport.max_idle_timeout(Some(idle(Duration::from_secs(30))));
            // The default of 25 ms is the tail of every lost packet (reference/performance.md section 2).
            let mut ack = AckFrequencyConfig::default();
            ack.max_ack_delay(Some(Duration::from_millis(1)));
            transport.ack_frequency_config(Some(ack));
        }
    }
    transport
}

fn idle(timeout: Duration) -> IdleTimeout {
    let millis = u32::try_from(timeout.as_millis()).expect("idle timeouts are minutes at most");
    VarInt::from_u32(millis).into()
}
