//! Packets on a paused clock, sent and received as QUIC would.

use super::*;
use crate::faults::{Bandwidth, Latency, LinkFaults};
use crate::selector::Selector;
use crate::socket::FaultySocket;
use bytes::Bytes;
use quinn::AsyncUdpSocket;
use quinn::udp::RecvMeta;
use std::io::{ErrorKind, IoSliceMut};
use tokio::time::{advance, sleep, timeout};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// The nodes a and b, and a client.
struct Rig {
    table: FaultTable,
    net: SimNet,
    a: Arc<SimSocket>,
    b: Arc<SimSocket>,
    client: Arc<SimSocket>,
}

impl Rig {
    fn new() -> Self {
        let table = FaultTable::new(1);
        let net = SimNet::new(table.clone());
        let bind = |ip, node| net.bind(address(ip, 4433), node).unwrap();
        let (a, b) = (bind(1, "a"), bind(2, "b"));
        let client = net.bind_client(address(9, 0)).unwrap();
        Self { table, net, a, b, client }
    }

    fn set(&self, faults: LinkFaults) {
        self.table.set_links(&Selector::All, &Selector::All, faults);
    }
}

fn address(ip: u8, port: u16) -> SocketAddr {
    ([10, 0, 0, ip], port).into()
}

fn slow(millis: u64) -> LinkFaults {
    LinkFaults { latency: Latency::Fixed(MS(millis)), ..LinkFaults::default() }
}

/// Sends a burst of packets of four bytes, or one packet.
fn send(from: &dyn AsyncUdpSocket, to: &SimSocket, contents: &[u8]) {
    let segment_size = (contents.len() > 4).then_some(4);
    let transmit = Transmit { destination: to.address(), ecn: None, contents, segment_size, src_ip: None };
    from.try_send(&transmit).unwrap();
}

/// The next packets that can be read at once.
async fn receive_many(socket: &SimSocket) -> Vec<(SocketAddr, Vec<u8>)> {
    let (mut buffers, mut meta) = (vec![[0; 1500]; 16], vec![RecvMeta::default(); 16]);
    let mut bufs: Vec<_> = buffers.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
    let count = poll_fn(|cx| socket.poll_recv(cx, &mut bufs, &mut meta)).await.unwrap();
    (0..count).map(|i| (meta[i].addr, bufs[i][..meta[i].len].to_vec())).collect()
}

/// The next packets that can be read at once, as text.
async fn hear(socket: &SimSocket) -> String {
    let packets = receive_many(socket).await;
    let texts: Vec<_> = packets.iter().map(|(_, contents)| str::from_utf8(contents).unwrap()).collect();
    texts.join(" ")
}

async fn hears_nothing(socket: &SimSocket) -> bool {
    timeout(Duration::from_secs(60), receive_many(socket)).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn packets_arrive_after_their_latency_in_order() {
    let rig = Rig::new();
    rig.set(slow(5));
    let start = Instant::now();
    send(&*rig.a, &rig.b, b"aaaabbbbcc");
    sleep(MS(2)).await;
    send(&*rig.a, &rig.b, b"late");
    let packets = receive_many(&rig.b).await;
    assert_eq!(start.elapsed(), MS(5));
    assert!(packets.iter().all(|(from, _)| *from == address(1, 4433)));
    assert_eq!(
        packets.iter().map(|(_, contents)| &contents[..]).collect::<Vec<_>>(),
        [&b"aaaa"[..], b"bbbb", b"cc"]
    );
    assert_eq!(hear(&rig.b).await, "late");
    assert_eq!(start.elapsed(), MS(7));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_packet_wakes_the_dispatcher() {
    let rig = Rig::new();
    rig.set(LinkFaults { fifo: false, ..slow(5000) });
    send(&*rig.a, &rig.b, b"slow");
    sleep(MS(2)).await;
    rig.set(LinkFaults { fifo: false, ..slow(10) });
    let start = Instant::now();
    send(&*rig.a, &rig.b, b"fast");
    assert_eq!(hear(&rig.b).await, "fast");
    assert_eq!(start.elapsed(), MS(10));
    assert_eq!(hear(&rig.b).await, "slow");
}

#[tokio::test(start_paused = true)]
async fn no_packet_is_faster_than_a_millisecond() {
    let rig = Rig::new();
    for (from, to) in [(&rig.a, &rig.b), (&rig.client, &rig.a), (&rig.a, &rig.client), (&rig.a, &rig.a)] {
        let start = Instant::now();
        send(&**from, to, b"fast");
        hear(to).await;
        assert_eq!(start.elapsed(), MS(1));
    }
}

#[tokio::test(start_paused = true)]
async fn faults_are_for_nodes_and_clients_are_left_alone() {
    let rig = Rig::new();
    rig.set(LinkFaults { drop: 1.0, ..LinkFaults::default() });
    send(&*rig.a, &rig.b, b"lost");
    send(&*rig.client, &rig.b, b"ask");
    assert_eq!(hear(&rig.b).await, "ask");
    send(&*rig.b, &rig.client, b"answer");
    assert_eq!(hear(&rig.client).await, "answ er");
}

#[tokio::test(start_paused = true)]
async fn cuts_lose_what_is_under_way() {
    let rig = Rig::new();
    rig.set(slow(10));
    send(&*rig.a, &rig.b, b"cut");
    rig.table.partition([["a"], ["b"]]);
    assert!(hears_nothing(&rig.b).await);
    rig.table.heal();
    send(&*rig.a, &rig.b, b"far");
    assert_eq!(hear(&rig.b).await, "far");
    send(&*rig.a, &rig.client, b"lost");
    send(&*rig.client, &rig.a, b"lost");
    rig.table.unplug("a");
    send(&*rig.a, &rig.client, b"lost");
    assert!(hears_nothing(&rig.client).await && hears_nothing(&rig.a).await);
    assert_eq!(rig.table.stats()[0].stats.blocked, 1);
}

#[tokio::test(start_paused = true)]
async fn copies_and_corruption_arrive() {
    let rig = Rig::new();
    rig.set(LinkFaults { duplicate: 1.0, corrupt: 1.0, ..LinkFaults::default() });
    send(&*rig.a, &rig.b, &[7; 6]);
    let packets = receive_many(&rig.b).await;
    let [first, second, first_copy, second_copy] = &packets[..] else { panic!("{packets:?}") };
    assert_eq!((first, second), (first_copy, second_copy));
    for ((_, contents), len) in [(first, 4), (second, 2)] {
        assert_eq!(contents.len(), len);
        assert_eq!(contents.iter().filter(|&&byte| byte != 7).count(), 1);
    }
    assert_eq!(rig.net.stats().delivered, 4);
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_hears_and_is_heard_afterwards_in_order() {
    let rig = Rig::new();
    rig.set(slow(5));
    send(&*rig.a, &rig.b, b"1");
    sleep(MS(2)).await;
    rig.table.pause("b", MS(20));
    send(&*rig.client, &rig.b, b"2");
    // Due at the very end of the pause: it keeps its place among those that are held.
    rig.set(slow(20));
    send(&*rig.a, &rig.b, b"3");
    send(&*rig.client, &rig.b, b"4");
    rig.set(slow(1));
    send(&*rig.b, &rig.a, b"x");
    send(&*rig.b, &rig.client, b"y");
    let start = Instant::now();
    assert_eq!(hear(&rig.b).await, "1 2 3 4");
    assert_eq!((hear(&rig.a).await, hear(&rig.client).await), ("x".into(), "y".into()));
    assert_eq!(start.elapsed(), MS(20));
}

#[tokio::test(start_paused = true)]
async fn addresses_are_bound_once_and_ports_assigned_in_order() {
    let rig = Rig::new();
    let error = |address| rig.net.bind(address, "c").unwrap_err().kind();
    assert_eq!(error(address(1, 4433)), ErrorKind::AddrInUse);
    assert_eq!(error(([0, 0, 0, 0], 1).into()), ErrorKind::InvalidInput);
    let assigned = |ip| rig.net.bind(address(ip, 0), "c").unwrap().address();
    assert_eq!(rig.client.address(), address(9, 49152));
    assert_eq!(
        [assigned(9), assigned(9), assigned(8)],
        [address(9, 49153), address(9, 49154), address(8, 49152)]
    );
    let taken: Vec<_> = (0..16383).map(|_| rig.net.bind_client(address(9, 0)).unwrap()).collect();
    assert_eq!(error(address(9, 0)), ErrorKind::AddrNotAvailable);
    drop(taken);
    assert_eq!(assigned(9), address(9, 49155), "not one that was just given up");
}

#[tokio::test(start_paused = true)]
async fn who_binds_an_address_next_hears_what_was_under_way() {
    let Rig { table, net, a, b, .. } = Rig::new();
    table.set_links(&Selector::All, &Selector::All, slow(10));
    send(&*a, &b, b"old");
    drop(b);
    let b = net.bind(address(2, 4433), "b").unwrap();
    assert_eq!(hear(&b).await, "old");
    send(&*a, &b, b"gone");
    drop(b);
    sleep(MS(20)).await;
    assert_eq!(net.stats().unreachable, 1);
    let client = net.bind_client(address(2, 4433)).unwrap();
    table.block(&Selector::All, &Selector::All);
    send(&*a, &client, b"no node");
    assert_eq!(hear(&client).await, "no n ode");
}

#[tokio::test(start_paused = true)]
async fn closed_sockets_are_silent_and_their_addresses_free() {
    let rig = Rig::new();
    let second = rig.net.bind(address(2, 0), "b").unwrap();
    send(&*rig.a, &rig.b, b"read too late");
    sleep(MS(5)).await;
    rig.net.close_sockets("b");
    for socket in [&rig.b, &second] {
        send(&**socket, &rig.a, b"swallowed");
        assert!(hears_nothing(socket).await);
        rig.net.bind(socket.address(), "b").unwrap();
    }
    assert!(hears_nothing(&rig.a).await);
    let b = rig.net.bind(address(2, 4433), "b").unwrap();
    drop(rig.b);
    send(&*rig.a, &b, b"new");
    assert_eq!(hear(&b).await, "new", "the old socket's end does not close the new one");
    rig.table.block(&Selector::nodes(["a"]), &Selector::nodes(["b"]));
    send(&*rig.a, &b, b"cut");
    assert!(hears_nothing(&b).await, "nor is it unregistered");
}

#[tokio::test(start_paused = true)]
async fn a_full_receivers_buffer_loses_what_arrives() {
    let rig = Rig::new();
    for _ in 0..ports::RECEIVED_BYTES_MAX / 1024 + 3 {
        let contents = [0; 1024];
        let destination = rig.b.address();
        let transmit =
            Transmit { destination, ecn: None, contents: &contents, segment_size: None, src_ip: None };
        rig.a.try_send(&transmit).unwrap();
    }
    sleep(MS(5)).await;
    let stats = rig.net.stats();
    assert_eq!((stats.delivered, stats.overflowed), (1024, 3));
    assert_eq!((stats.under_way_max, stats.received_bytes_max), (1027, ports::RECEIVED_BYTES_MAX));
    assert_eq!(rig.table.stats()[0].stats.overflowed, 3);
    assert_eq!(receive_many(&rig.b).await.len(), 16);
    send(&*rig.a, &rig.b, b"room");
    sleep(MS(5)).await;
    assert_eq!(rig.net.stats().delivered, 1025);
}

#[test]
fn what_may_be_under_way_is_bounded() {
    let contents = Bytes::from(vec![0; 64 << 20]);
    let packet = || Packet {
        from: address(1, 1),
        to: address(2, 2),
        ends: None,
        ecn: None,
        contents: contents.clone(),
    };
    let mut under_way = UnderWay::default();
    for due_ns in [3, 2, 1] {
        assert!(under_way.push(due_ns, packet()));
    }
    assert!(!under_way.push(0, packet()));
    assert_eq!(under_way.pop_due(1).unwrap().0, (1, 2));
    assert!(under_way.pop_due(1).is_none());
    assert!(under_way.push(0, packet()));
}

#[tokio::test(start_paused = true)]
async fn packets_larger_than_the_readers_buffer_are_lost() {
    let rig = Rig::new();
    for contents in [&[0; 1501][..], b"fits"] {
        let destination = rig.b.address();
        let transmit = Transmit { destination, ecn: None, contents, segment_size: None, src_ip: None };
        rig.a.try_send(&transmit).unwrap();
    }
    assert_eq!(hear(&rig.b).await, "fits");
}

#[tokio::test(start_paused = true)]
async fn the_trace_tells_runs_apart_by_anything_that_differs() {
    async fn trace(seed: u64, contents: &[u8], wait: u64, drop: f64) -> String {
        let table = FaultTable::new(seed);
        let net = SimNet::new(table.clone());
        table.set_links(&Selector::All, &Selector::All, LinkFaults { drop, ..LinkFaults::default() });
        let [a, b] = [(1, "a"), (2, "b")].map(|(ip, node)| net.bind(address(ip, 1), node).unwrap());
        advance(MS(wait)).await;
        (0..20).for_each(|_| send(&*a, &b, contents));
        net.trace_hash()
    }
    let hash = trace(1, b"x", 1, 0.5).await;
    assert_eq!(hash.len(), 32);
    assert_eq!(hash, trace(1, b"x", 1, 0.5).await);
    let others = [
        trace(2, b"x", 1, 0.5).await,
        trace(1, b"y", 1, 0.5).await,
        trace(1, b"x", 2, 0.5).await,
        trace(1, b"x", 1, 0.0).await,
    ];
    assert!(!others.contains(&hash), "{hash} {others:?}");
}

#[tokio::test(start_paused = true)]
async fn the_dispatcher_ends_with_the_last_socket() {
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let Rig { net, a, b, client, .. } = Rig::new();
    drop((net, a, b));
    sleep(MS(1)).await;
    assert_eq!(alive(), 1);
    drop(client);
    sleep(MS(1)).await;
    assert_eq!(alive(), 0);
}

/// All faults that let a packet go at once or never.
fn timeless() -> LinkFaults {
    LinkFaults {
        drop: 0.1,
        burst_loss: Some(crate::GilbertElliott { enter: 0.05, leave: 0.2, drop: 0.9 }),
        duplicate: 0.2,
        corrupt: 0.2,
        mtu: Some(30),
        ..LinkFaults::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_socket_and_a_simulated_one_do_the_same_to_the_same_packets() {
    let simulated = Rig::new();
    simulated.set(timeless());
    // The same nodes, as wrappers around sockets to which nothing happens.
    let (wire, table) = (Rig::new(), FaultTable::new(1));
    let inner = wire.net.bind_client(address(7, 1)).unwrap();
    let wrapped = FaultySocket::wrap(inner, &table, "a").unwrap();
    table.register(wire.client.address(), "b");
    table.set_links(&Selector::All, &Selector::All, timeless());

    let (mut touched, mut untouched) = (0, 0);
    for round in 0..200_u8 {
        let contents: Vec<u8> = (0..round % 40).collect();
        let segment_size = (round % 3 == 0).then_some(7);
        let transmit = |to: &SimSocket| Transmit {
            destination: to.address(),
            ecn: None,
            contents: &contents,
            segment_size,
            src_ip: None,
        };
        simulated.a.try_send(&transmit(&simulated.b)).unwrap();
        wrapped.try_send(&transmit(&wire.client)).unwrap();
        sleep(MS(2)).await;
        let arrived = |socket| async move {
            let packets = timeout(Duration::ZERO, receive_many(socket)).await.unwrap_or_default();
            packets.into_iter().map(|(_, contents)| contents).collect::<Vec<_>>()
        };
        let expected = arrived(&*simulated.b).await;
        assert_eq!(arrived(&*wire.client).await, expected, "round {round}");
        if expected.concat() == contents { untouched += 1 } else { touched += 1 }
    }
    assert!(touched > 50 && untouched > 50, "{touched} {untouched}");
    assert_eq!(simulated.table.stats(), table.stats());
}

#[tokio::test(start_paused = true)]
async fn their_links_count_the_same_when_packets_take_time() {
    let hours = LinkFaults {
        latency: Latency::Uniform { min: Duration::from_secs(1800), max: Duration::from_secs(3600) },
        bandwidth: Some(Bandwidth { bytes_per_second: 500.try_into().unwrap(), queue_bytes: 100 }),
        reorder: 0.3,
        ..timeless()
    };
    let simulated = Rig::new();
    simulated.set(hours.clone());
    let (wire, table) = (Rig::new(), FaultTable::new(1));
    let inner = wire.net.bind_client(address(7, 1)).unwrap();
    let wrapped = FaultySocket::wrap(inner, &table, "a").unwrap();
    table.register(wire.client.address(), "b");
    table.set_links(&Selector::All, &Selector::All, hours);
    for _ in 0..500 {
        send(&*simulated.a, &simulated.b, b"aaaabbbbcc");
        send(&*wrapped, &wire.client, b"aaaabbbbcc");
        sleep(MS(10)).await;
    }
    let stats = simulated.table.stats();
    assert_eq!(stats, table.stats());
    let stats = stats[0].stats;
    assert!(
        [stats.dropped, stats.overflowed, stats.reordered, stats.delayed].iter().all(|&it| it > 50),
        "{stats:?}"
    );
}
