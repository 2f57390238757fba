//! QUIC over faulty sockets: two endpoints in one process.

use crate::support::{PATIENCE, faulty_socket, until};
use chinwag_fuzz_net::{FaultTable, Latency, LinkFaults, Selector};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig, TokioRuntime, TransportConfig,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Nodes a and b with an endpoint each, and a table over both.
struct Pair {
    table: FaultTable,
    a: Endpoint,
    b: Endpoint,
    b_address: SocketAddr,
}

impl Pair {
    fn new() -> Self {
        let table = FaultTable::new(1);
        let (client, server) = configs();
        let endpoint = |node, server| {
            let (socket, address) = faulty_socket(&table, node);
            let config = EndpointConfig::default();
            let runtime = Arc::new(TokioRuntime);
            (Endpoint::new_with_abstract_socket(config, server, socket, runtime).unwrap(), address)
        };
        let (mut a, _) = endpoint("a", None);
        let (b, b_address) = endpoint("b", Some(server));
        a.set_default_client_config(client);
        Self { table, a, b, b_address }
    }

    /// A connection between them, as each of them sees it.
    async fn connect(&self) -> (Connection, Connection) {
        let dial = async { self.a.connect(self.b_address, "localhost").unwrap().await.unwrap() };
        let accept = async { self.b.accept().await.expect("the endpoint is open").await.unwrap() };
        timeout(PATIENCE, async { tokio::join!(dial, accept) }).await.expect("no connection")
    }

    fn set(&self, faults: LinkFaults) {
        self.table.set_links(&Selector::All, &Selector::All, faults);
    }

    fn stat(&self, from: &str, count: impl Fn(&chinwag_fuzz_net::LinkStats) -> u64) -> u64 {
        self.table
            .stats()
            .iter()
            .filter(|report| report.from == from)
            .map(|report| count(&report.stats))
            .sum()
    }
}

fn configs() -> (ClientConfig, ServerConfig) {
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = certified.cert.der().clone();
    let key = PrivatePkcs8KeyDer::from(certified.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let tls13 = &[&rustls::version::TLS13];
    let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(tls13)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(tls13)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
    let mut server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
    // Lost packets are sent again soon.
    let mut transport = TransportConfig::default();
    transport.initial_rtt(MS(5));
    let transport = Arc::new(transport);
    client.transport_config(Arc::clone(&transport));
    server.transport_config(transport);
    (client, server)
}

/// Sends `bytes` from one end on a stream of its own; returns what the other end read.
async fn transfer(from: &Connection, to: &Connection, bytes: &[u8]) -> Vec<u8> {
    let write = async {
        let mut stream = from.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.finish().unwrap();
    };
    let read = async { to.accept_uni().await.unwrap().read_to_end(bytes.len()).await.unwrap() };
    timeout(PATIENCE, async { tokio::join!(write, read) }).await.expect("the transfer hangs").1
}

fn megabyte() -> Vec<u8> {
    (0..1_000_000u32).map(|i| i.to_le_bytes()[i as usize % 3]).collect()
}

#[tokio::test]
async fn without_faults_quic_is_as_on_a_bare_socket() {
    let pair = Pair::new();
    let (a, b) = pair.connect().await;
    assert_eq!(transfer(&a, &b, &megabyte()).await, megabyte());
    assert_eq!(pair.table.stats(), [], "nothing was judged");
}

#[tokio::test]
async fn latency_bounds_the_handshake_from_below() {
    let pair = Pair::new();
    pair.set(LinkFaults { latency: Latency::Fixed(MS(15)), ..LinkFaults::default() });
    let start = Instant::now();
    let (a, b) = pair.connect().await;
    assert!(start.elapsed() >= MS(30), "one round trip at least");
    assert!(a.rtt() >= MS(30) && b.rtt() >= MS(30), "{:?} {:?}", a.rtt(), b.rtt());
}

#[tokio::test]
async fn bulk_data_survives_loss_latency_and_copies() {
    let pair = Pair::new();
    let (a, b) = pair.connect().await;
    let latency = Latency::LogNormal { median: MS(1), sigma: 0.5, cap: MS(5) };
    pair.set(LinkFaults { latency, drop: 0.02, duplicate: 0.05, ..LinkFaults::default() });
    assert_eq!(transfer(&a, &b, &megabyte()).await, megabyte());
    assert!(pair.stat("a", |stats| stats.dropped) > 0);
    assert!(pair.stat("a", |stats| stats.duplicated) > 0);
}

#[tokio::test]
async fn nothing_connects_while_all_is_lost_and_then_it_does() {
    let pair = Pair::new();
    pair.set(LinkFaults { drop: 1.0, ..LinkFaults::default() });
    let lose = async {
        until("three tries", || pair.stat("a", |stats| stats.dropped) >= 3).await;
        assert_eq!(pair.b.open_connections(), 0);
        pair.table.clear_links();
    };
    let ((a, b), ()) = tokio::join!(pair.connect(), lose);
    assert_eq!(transfer(&a, &b, b"hello").await, b"hello");
}

#[tokio::test]
async fn a_one_way_block_stops_one_way_only() {
    let pair = Pair::new();
    let (a, b) = pair.connect().await;
    pair.table.block(&Selector::nodes(["a"]), &Selector::nodes(["b"]));
    b.send_datagram("still heard".into()).unwrap();
    assert_eq!(timeout(PATIENCE, a.read_datagram()).await.unwrap().unwrap(), "still heard");
    a.send_datagram("blocked".into()).unwrap();
    until("the datagram is sent", || a.stats().frame_tx.datagram == 1).await;
    pair.table.heal();
    a.send_datagram("healed".into()).unwrap();
    assert_eq!(timeout(PATIENCE, b.read_datagram()).await.unwrap().unwrap(), "healed");
}

#[tokio::test]
async fn a_stream_outlives_a_partition() {
    let pair = Pair::new();
    let (a, b) = pair.connect().await;
    pair.table.partition([["a"], ["b"]]);
    let heal = async {
        until("packets are blocked", || pair.stat("a", |stats| stats.blocked) >= 3).await;
        pair.table.heal();
    };
    let (received, ()) = tokio::join!(transfer(&a, &b, b"through"), heal);
    assert_eq!(received, b"through");
}

#[tokio::test]
async fn an_unplugged_node_says_no_goodbye() {
    let pair = Pair::new();
    let (a, b) = pair.connect().await;
    pair.table.unplug("a");
    a.close(0u8.into(), b"goodbye");
    pair.a.wait_idle().await;
    // b still believes in the connection, and speaks into the void.
    b.send_datagram("anyone?".into()).unwrap();
    until("b's packets are lost", || pair.stat("b", |stats| stats.blocked) >= 1).await;
    assert_eq!(b.close_reason(), None);
}
