//! Raw packets. That something does not arrive is seen from what is sent after it and does: loopback keeps order.

use crate::support::{PATIENCE, bare_socket, faulty_socket, until};
use chinwag_fuzz_net::{FaultTable, FaultySocket, Latency, LinkFaults, Selector};
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use std::future::poll_fn;
use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout};

async fn send(
    socket: &Arc<impl AsyncUdpSocket + ?Sized>,
    to: SocketAddr,
    contents: &[u8],
    segment_size: Option<usize>,
) {
    let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
    // As QUIC does: until the reactor has seen the socket, a send would block. Loopback itself never does.
    let mut poller = Arc::clone(socket).create_io_poller();
    poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
    socket.try_send(&transmit).unwrap();
}

/// The next packets that arrive, as many as came together, and who sent them.
async fn receive(socket: &Arc<impl AsyncUdpSocket + ?Sized>) -> (Vec<Vec<u8>>, SocketAddr) {
    let mut buffer = vec![0; 1 << 16];
    let mut meta = [RecvMeta::default()];
    let received = poll_fn(|cx| socket.poll_recv(cx, &mut [IoSliceMut::new(&mut buffer)], &mut meta));
    let count = timeout(PATIENCE, received).await.expect("nothing arrives").unwrap();
    assert_eq!(count, 1);
    let [RecvMeta { len, stride, addr, .. }] = meta;
    (buffer[..len].chunks(stride.max(1)).map(<[u8]>::to_vec).collect(), addr)
}

async fn receive_one(socket: &Arc<impl AsyncUdpSocket + ?Sized>) -> Vec<u8> {
    let (mut packets, _) = receive(socket).await;
    assert_eq!(packets.len(), 1);
    packets.remove(0)
}

fn nodes(names: &[&str]) -> Selector {
    Selector::nodes(names.iter().copied())
}

fn losing_all() -> LinkFaults {
    LinkFaults { drop: 1.0, ..LinkFaults::default() }
}

fn slow(millis: u64) -> LinkFaults {
    LinkFaults { latency: Latency::Fixed(Duration::from_millis(millis)), ..LinkFaults::default() }
}

#[tokio::test]
async fn without_faults_packets_arrive_as_sent() {
    let table = FaultTable::new(1);
    let (a, a_address) = faulty_socket(&table, "a");
    let (b, b_address) = faulty_socket(&table, "b");
    send(&a, b_address, b"hello", None).await;
    assert_eq!(receive(&b).await, (vec![b"hello".to_vec()], a_address));
}

#[tokio::test]
async fn what_is_dropped_does_not_arrive() {
    let table = FaultTable::new(1);
    let (a, _) = faulty_socket(&table, "a");
    let (b, b_address) = faulty_socket(&table, "b");
    table.set_links(&nodes(&["a"]), &nodes(&["b"]), losing_all());
    for _ in 0..10 {
        send(&a, b_address, b"lost", None).await;
    }
    table.clear_links();
    send(&a, b_address, b"arrives", None).await;
    assert_eq!(receive_one(&b).await, b"arrives");
    assert_eq!(table.stats()[0].stats.dropped, 10);
}

#[tokio::test]
async fn a_block_is_one_way_until_it_is_healed() {
    let table = FaultTable::new(1);
    let (a, a_address) = faulty_socket(&table, "a");
    let (b, b_address) = faulty_socket(&table, "b");
    table.block(&nodes(&["a"]), &nodes(&["b"]));
    send(&a, b_address, b"blocked", None).await;
    send(&b, a_address, b"the other way", None).await;
    assert_eq!(receive_one(&a).await, b"the other way");
    table.heal();
    send(&a, b_address, b"healed", None).await;
    assert_eq!(receive_one(&b).await, b"healed");
}

#[tokio::test]
async fn a_partition_cuts_members_and_leaves_clients() {
    let table = FaultTable::new(1);
    let (a, _) = faulty_socket(&table, "a");
    let (b, b_address) = faulty_socket(&table, "b");
    let (client, client_address) = bare_socket();
    table.partition([["a"], ["b"]]);
    send(&a, b_address, b"cut", None).await;
    send(&a, client_address, b"answer", None).await;
    assert_eq!(receive_one(&client).await, b"answer");
    send(&client, b_address, b"request", None).await;
    assert_eq!(receive_one(&b).await, b"request");
}

#[tokio::test]
async fn latency_is_a_lower_bound_and_keeps_order() {
    let table = FaultTable::new(1);
    let (a, _) = faulty_socket(&table, "a");
    let (b, b_address) = faulty_socket(&table, "b");
    table.set_links(
        &Selector::All,
        &Selector::All,
        LinkFaults {
            latency: Latency::Uniform { min: Duration::from_millis(4), max: Duration::from_millis(12) },
            ..LinkFaults::default()
        },
    );
    let start = Instant::now();
    for number in 0..50 {
        send(&a, b_address, &[number], None).await;
    }
    let mut arrived = Vec::new();
    while arrived.len() < 50 {
        arrived.extend(receive(&b).await.0.concat());
        assert!(start.elapsed() >= Duration::from_millis(4));
    }
    assert!(arrived.is_sorted(), "{arrived:?}");
}

#[tokio::test]
async fn an_unplugged_node_hears_not_even_clients() {
    let table = FaultTable::new(1);
    let (a, a_address) = faulty_socket(&table, "a");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let (b_address, kernel_queue) = (socket.local_addr().unwrap(), socket.try_clone().unwrap());
    let b = FaultySocket::wrap(TokioRuntime.wrap_udp_socket(socket).unwrap(), &table, "b").unwrap();
    let (client, client_address) = bare_socket();
    table.unplug("b");
    send(&client, b_address, b"lost", None).await;
    send(&a, b_address, b"lost", None).await;
    send(&b, a_address, b"lost", None).await;
    send(&b, client_address, b"lost", None).await;
    let listen =
        poll_fn(|cx| b.poll_recv(cx, &mut [IoSliceMut::new(&mut [0; 64])], &mut [RecvMeta::default()]));
    let emptied = until("the client's packet is swallowed", || kernel_queue.peek(&mut [0; 64]).is_err());
    tokio::select! {
        biased;
        received = listen => panic!("received {received:?} while unplugged"),
        () = emptied => {}
    }
    table.plug("b");
    send(&client, b_address, b"plugged in", None).await;
    assert_eq!(receive_one(&b).await, b"plugged in");
    send(&b, a_address, b"from b", None).await;
    assert_eq!(receive_one(&a).await, b"from b");
    send(&b, client_address, b"from b", None).await;
    assert_eq!(receive_one(&client).await, b"from b");
}

#[tokio::test]
async fn bursts_cross_lossy_slow_links() {
    let table = FaultTable::new(1);
    let (a, _) = faulty_socket(&table, "a");
    let (b, b_address) = faulty_socket(&table, "b");
    table.set_links(&Selector::All, &Selector::All, LinkFaults { drop: 0.3, ..slow(2) });
    let segments = a.max_transmit_segments().min(10);
    let contents: Vec<u8> = (0..segments).flat_map(|number| [u8::try_from(number).unwrap(); 100]).collect();
    send(&a, b_address, &contents, (segments > 1).then_some(100)).await;
    table.clear_links();
    send(&a, b_address, b"the end", None).await;
    let mut arrived = Vec::new();
    while arrived.last().is_none_or(|packet: &Vec<u8>| packet != b"the end") {
        arrived.extend(receive(&b).await.0);
    }
    arrived.pop();
    let lost = usize::try_from(table.stats()[0].stats.dropped).unwrap();
    assert_eq!(arrived.len(), segments - lost);
    assert!(arrived.iter().all(|packet| packet.len() == 100));
    assert!(arrived.is_sorted());
}

#[tokio::test]
async fn a_dropped_socket_frees_its_port_though_packets_are_under_way() {
    let table = FaultTable::new(1);
    let (a, a_address) = faulty_socket(&table, "a");
    let (_b, b_address) = faulty_socket(&table, "b");
    table.set_links(&Selector::All, &Selector::All, slow(3_600_000));
    send(&a, b_address, b"never", None).await;
    drop(a);
    std::net::UdpSocket::bind(a_address).expect("the port is free");
}
