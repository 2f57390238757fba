//! What strangers and members that talk nonsense can do: nothing, and it is counted.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::codec::{self, PROTOCOL_VERSION};
use chinwag_client::frame::Caller;
use chinwag_client::{Client, ClusterSecret, Consistency, Credential, Role, metrics::Metric};
use chinwag_node::Node;
use chinwag_node::membership::{
    self, Generation, Input, Member, MemberRecord, Membership, Name, Output, Time, Tokens,
};
use chinwag_node::storage::MemoryEngine;

use super::support::{acquainted, client, quiet, secret, start, tls, wall_time};

/// A member's metrics by name and label values.
#[derive(Debug)]
struct Counted(BTreeMap<String, u64>);

impl Counted {
    async fn of(client: &Client) -> Self {
        let name = |metric: &Metric, labels: &[(String, String)]| {
            let values = labels.iter().map(|(_, value)| format!(" {value}"));
            format!("{}{}", metric.name, values.collect::<String>())
        };
        let metrics = client.metrics().await.unwrap();
        let samples = metrics.iter().flat_map(|metric| {
            metric.samples.iter().map(move |sample| (name(metric, &sample.labels), sample.value))
        });
        Self(samples.collect())
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().expect("there is a metric of this name")
    }
}

/// Waits until a member has counted `least` of this.
async fn counted(client: &Client, name: &str, least: u64) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while Counted::of(client).await.get(name) < least {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain until {name} is {least}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A QUIC endpoint of somebody with this secret.
fn somebody(secret: &ClusterSecret, role: Role) -> quinn::Endpoint {
    let credential = Credential::mint(secret, role, [3; 32], wall_time()).unwrap().with_tls(tls());
    let mut endpoint = quinn::Endpoint::client(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(credential.quic_client().unwrap())));
    endpoint
}

async fn connect(endpoint: &quinn::Endpoint, to: SocketAddr) -> quinn::Connection {
    endpoint.connect(to, Role::Member.server_name()).unwrap().await.unwrap()
}

/// Two members that know each other.
async fn pair() -> (Node, Node) {
    let a = start(quiet("a", 2, &[]), Arc::new(MemoryEngine::new())).await;
    let b = start(quiet("b", 2, &[&a]), Arc::new(MemoryEngine::new())).await;
    acquainted(&[&a, &b]).await;
    (a, b)
}

/// Both still know each other, and store what both must store.
async fn assert_unharmed(a: &Node, b: &Node) {
    acquainted(&[a, b]).await;
    client(a).put("key", "value").consistency(Consistency::All).await.unwrap();
}

#[tokio::test]
async fn the_newest_connection_of_a_member_replaces_the_one_before() {
    let (a, b) = pair().await;
    let insider = somebody(&secret(), Role::Member);
    let first = connect(&insider, a.gossip_address()).await;
    let second = connect(&insider, a.gossip_address()).await;
    let closed = tokio::time::timeout(Duration::from_secs(60), first.closed()).await.unwrap();
    assert!(closed.to_string().contains("replaced"), "{closed}");
    second.send_datagram(foreign_gossip()).unwrap();
    counted(&client(&a), "chinwag_membership_refused_total foreign", 1).await;
    assert_unharmed(&a, &b).await;
}

/// The first byte of what members gossip: a message of another version is nobody's fault.
const GOSSIP_VERSION: u8 = 3;

/// Gossip of a cluster that was founded otherwise.
fn foreign_gossip() -> Bytes {
    [&[GOSSIP_VERSION][..], b"another founding, and then anything"].concat().into()
}

/// The fourth of a member's requests carries bytes of the membership protocol.
const MEMBERSHIP: u32 = 3;

const STALE: &str = "chinwag_membership_refused_total stale";
const MALFORMED: &str = "chinwag_membership_refused_total malformed";
const REFUSED_DATA: &str = "chinwag_transport_connections_refused_total data";
const REFUSED_GOSSIP: &str = "chinwag_transport_connections_refused_total gossip";

#[tokio::test]
async fn strangers_do_not_get_past_the_handshake() {
    let a = start(quiet("a", 1, &[]), Arc::new(MemoryEngine::new())).await;
    let at_a = client(&a);
    let strangers = ClusterSecret::from_bytes([6; 32]);
    for role in [Role::Member, Role::Client] {
        let stranger = somebody(&strangers, role);
        for address in [a.address(), a.gossip_address()] {
            let connecting = stranger.connect(address, Role::Member.server_name()).unwrap();
            // Its own side refuses the member's certificate, too: what counts is what the member says.
            assert!(connecting.await.is_err());
        }
    }
    counted(&at_a, "chinwag_transport_handshakes_failed_total data", 2).await;
    counted(&at_a, "chinwag_transport_handshakes_failed_total gossip", 2).await;
    let counted = Counted::of(&at_a).await;
    assert_eq!(counted.get("chinwag_transport_datagrams_total received"), 0);
    assert_eq!(counted.get("chinwag_membership_members alive"), 1);
    assert_eq!(counted.get(MALFORMED), 0, "nothing of it reached the machine");
}

#[tokio::test]
async fn clients_are_not_heard_where_members_gossip() {
    let (a, b) = pair().await;
    let intruder = somebody(&secret(), Role::Client);
    let connection = connect(&intruder, a.gossip_address()).await;
    connection.send_datagram(Bytes::from_static(b"let me in")).ok();
    connection.closed().await;
    let at_a = client(&a);
    counted(&at_a, REFUSED_GOSSIP, 1).await;
    assert_eq!(Counted::of(&at_a).await.get(MALFORMED), 0, "it was not even read");

    // Nor may they open an exchange, which is between members.
    let connection = connect(&intruder, a.address()).await;
    let (mut send, _recv) = connection.open_bi().await.unwrap();
    send.write_all(&[0; 12]).await.unwrap();
    connection.closed().await;
    counted(&at_a, REFUSED_DATA, 1).await;
    assert_unharmed(&a, &b).await;
}

#[tokio::test]
async fn nonsense_from_a_member_costs_it_the_connection_and_nobody_else_anything() {
    let (a, b) = pair().await;
    let at_a = client(&a);
    let insider = somebody(&secret(), Role::Member);
    let nonsense: [&[u8]; 4] = [&[], &[GOSSIP_VERSION], &[GOSSIP_VERSION, 2, 3], &[0xff; 1000]];
    for (so_far, bytes) in (1..).zip(nonsense) {
        let connection = connect(&insider, a.gossip_address()).await;
        connection.send_datagram(Bytes::copy_from_slice(bytes)).unwrap();
        if bytes.first() == Some(&0xff) {
            // Of a newer version, perhaps: not understood, and no reason to be rude.
            counted(&at_a, MALFORMED, so_far).await;
        } else {
            connection.closed().await;
            counted(&at_a, REFUSED_GOSSIP, so_far).await;
        }
    }
    counted(&at_a, MALFORMED, 4).await;
    assert_eq!(Counted::of(&at_a).await.get(REFUSED_GOSSIP), 3);
    assert_unharmed(&a, &b).await;
}

#[tokio::test]
async fn nonsense_on_a_stream_is_counted_once_and_ends_the_connection() {
    let (a, b) = pair().await;
    let at_a = client(&a);
    let insider = somebody(&secret(), Role::Member);
    // A request that is none; a request of the membership protocol that is none; a frame that would never end; an
    // exchange that is none.
    let request = Bytes::from_static(&[PROTOCOL_VERSION, 0xff, 0xff]);
    let membership = codec::encode(&(MEMBERSHIP, Bytes::from_static(&[GOSSIP_VERSION, 0xff, 0xff, 0xff])));
    for (so_far, body) in (1..).zip([request, membership]) {
        let connection = connect(&insider, a.address()).await;
        let (send, recv) = connection.open_bi().await.unwrap();
        let (caller, driver) = Caller::new(connection.clone(), send, recv);
        let driving = tokio::spawn(driver);
        assert!(caller.call(body).await.is_err());
        connection.closed().await;
        counted(&at_a, REFUSED_DATA, so_far).await;
        driving.await.unwrap();
    }
    let endless = [&u32::MAX.to_le_bytes()[..], &7u64.to_le_bytes()].concat();
    let exchange = [&3u32.to_le_bytes()[..], &0u64.to_le_bytes(), &[PROTOCOL_VERSION, 0xff, 0xff]].concat();
    for (so_far, bytes) in (3..).zip([endless, exchange]) {
        let connection = connect(&insider, a.address()).await;
        let (mut send, _recv) = connection.open_bi().await.unwrap();
        send.write_all(&bytes).await.unwrap();
        connection.closed().await;
        counted(&at_a, REFUSED_DATA, so_far).await;
    }
    assert_eq!(Counted::of(&at_a).await.get(MALFORMED), 1);
    assert_unharmed(&a, &b).await;
}

#[tokio::test]
async fn gossip_of_another_cluster_is_passed_over_and_its_sender_stays() {
    let (a, b) = pair().await;
    let at_a = client(&a);
    let insider = somebody(&secret(), Role::Member);
    let connection = connect(&insider, a.gossip_address()).await;
    for _ in 0..100 {
        connection.send_datagram(foreign_gossip()).unwrap();
    }
    counted(&at_a, "chinwag_membership_refused_total foreign", 100).await;
    assert!(connection.close_reason().is_none(), "an exchange would tell it why");
    assert_unharmed(&a, &b).await;
    let counted = Counted::of(&at_a).await;
    assert_eq!(counted.get("chinwag_membership_events_total up"), 1, "b came, and nobody else");
    assert_eq!((counted.get(MALFORMED), counted.get(REFUSED_GOSSIP)), (0, 0));
}

/// What a member with `b`'s name and addresses said in an earlier life: the request to be let in, and the goodbye.
fn said_by_a_former_b(a: &Node, b: &Node) -> (Vec<u8>, Vec<u8>) {
    let founding = quiet("b", 2, &[]).founding;
    let machine = |name: &str, node: &Node, others: Vec<Member>| {
        let record = MemberRecord {
            name: Name::new(name).unwrap(),
            directory: 1,
            generation: Generation::new(0).unwrap(),
            revision: 0,
            address: node.address(),
            gossip: node.gossip_address(),
            tokens: Tokens::default(),
            version: "0.0.0".to_owned(),
        };
        let settings = membership::Config::default().validate().unwrap();
        Membership::settled(settings, record, founding.clone(), others, 1, Time::ORIGIN).unwrap()
    };
    let mut joining = machine("b", b, vec![]);
    joining.handle(Time::ORIGIN, Input::Join { seeds: vec![a.address()] }).unwrap();
    joining.handle_deadline(Time::ORIGIN);
    let Some(Output::Open { bytes: request, .. }) = joining.poll() else { unreachable!("it asks its seed") };
    let mut leaving = machine("b", b, vec![machine("a", a, vec![]).me().clone()]);
    leaving.handle(Time::ORIGIN, Input::Leave).unwrap();
    let Some(Output::Datagram { bytes: goodbye, .. }) = leaving.poll() else {
        unreachable!("it says goodbye")
    };
    (request, goodbye)
}

#[tokio::test]
async fn what_a_member_said_in_an_earlier_life_harms_nobody_when_it_is_said_again() {
    let (a, b) = pair().await;
    let at_a = client(&a);
    let (request, goodbye) = said_by_a_former_b(&a, &b);
    let insider = somebody(&secret(), Role::Member);
    let gossip = connect(&insider, a.gossip_address()).await;
    let data = connect(&insider, a.address()).await;
    let (send, recv) = data.open_bi().await.unwrap();
    let (caller, driver) = Caller::new(data.clone(), send, recv);
    let driving = tokio::spawn(driver);
    let before = Counted::of(&at_a).await.get(STALE);
    for round in 1..=10 {
        gossip.send_datagram(goodbye.clone().into()).unwrap();
        caller.call(codec::encode(&(MEMBERSHIP, Bytes::from(request.clone())))).await.unwrap();
        counted(&at_a, STALE, before + 2 * round).await;
    }
    assert!(gossip.close_reason().is_none() && data.close_reason().is_none(), "it was genuine once");
    assert_unharmed(&a, &b).await;
    let counted = Counted::of(&at_a).await;
    assert_eq!(counted.get("chinwag_membership_events_total up"), 1, "b came once");
    assert_eq!(counted.get("chinwag_membership_events_total left"), 0);
    drop(caller);
    driving.abort();
}
