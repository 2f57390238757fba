//! The wrapper over a socket that remembers what it is asked to send; real sockets are in `tests/`.

use super::*;
use crate::faults::{Bandwidth, Latency, LinkFaults};
use crate::link::LinkStats;
use crate::selector::Selector;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Wake, Waker};

const SEGMENT: usize = 4;

/// What the inner socket was asked to send.
#[derive(Debug, PartialEq)]
struct Sent {
    destination: SocketAddr,
    contents: Vec<u8>,
    segment_size: Option<usize>,
    ecn: Option<EcnCodepoint>,
    src_ip: Option<IpAddr>,
}

/// An inner socket that tells the test what it sends, and receives one empty datagram as often as `arrivals` says.
#[derive(Debug)]
struct Recorder {
    address: SocketAddr,
    sent: Mutex<Sender<Sent>>,
    full: AtomicBool,
    arrivals: AtomicUsize,
}

impl AsyncUdpSocket for Recorder {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        unreachable!("no test waits for it")
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let sent = Sent {
            destination: transmit.destination,
            contents: transmit.contents.to_vec(),
            segment_size: transmit.segment_size,
            ecn: transmit.ecn,
            src_ip: transmit.src_ip,
        };
        if self.full.load(SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.sent.lock().unwrap().send(sent).map_err(io::Error::other)
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        match self.arrivals.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Poll::Ready(Ok(1)),
            Err(_) => Poll::Pending,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        61
    }

    fn max_receive_segments(&self) -> usize {
        62
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

/// Node a's socket, and nodes b and c to send to.
struct Rig {
    table: FaultTable,
    inner: Arc<Recorder>,
    socket: Arc<FaultySocket>,
    sent: Receiver<Sent>,
}

impl Rig {
    fn new() -> Self {
        let table = FaultTable::new(1);
        let (sender, sent) = channel();
        let inner = Arc::new(Recorder {
            address: address(1),
            sent: Mutex::new(sender),
            full: AtomicBool::new(false),
            arrivals: AtomicUsize::new(0),
        });
        let socket = FaultySocket::wrap(Arc::clone(&inner) as Arc<dyn AsyncUdpSocket>, &table, "a").unwrap();
        table.register(address(2), "b");
        table.register(address(3), "c");
        Self { table, inner, socket, sent }
    }

    fn set(&self, to: &str, faults: LinkFaults) {
        self.table.set_links(&Selector::All, &Selector::nodes([to]), faults);
    }

    fn send(&self, to: u16, contents: &[u8]) -> io::Result<()> {
        let segment_size = (contents.len() > SEGMENT).then_some(SEGMENT);
        self.socket.try_send(&Transmit { segment_size, ..transmit(to, contents) })
    }

    fn stats(&self) -> LinkStats {
        self.table.stats()[0].stats
    }

    /// What has been sent without waiting.
    fn sent(&self) -> Vec<Sent> {
        self.sent.try_iter().collect()
    }

    fn poll_recv(&self, waker: &Waker) -> Poll<usize> {
        let received = self.socket.poll_recv(&mut Context::from_waker(waker), &mut [], &mut []);
        received.map(|received| received.unwrap())
    }
}

fn address(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn transmit(to: u16, contents: &[u8]) -> Transmit<'_> {
    let ecn = EcnCodepoint::from_bits(1);
    let src_ip = Some([127, 0, 0, 7].into());
    Transmit { destination: address(to), ecn, contents, segment_size: None, src_ip }
}

fn sent(to: u16, contents: &[u8], segment_size: Option<usize>) -> Sent {
    let Transmit { destination, ecn, src_ip, .. } = transmit(to, contents);
    Sent { destination, contents: contents.to_vec(), segment_size, ecn, src_ip }
}

fn slow(millis: u64) -> LinkFaults {
    LinkFaults { latency: Latency::Fixed(Duration::from_millis(millis)), ..LinkFaults::default() }
}

fn lossy(drop: f64) -> LinkFaults {
    LinkFaults { drop, ..LinkFaults::default() }
}

#[test]
fn without_faults_everything_passes_as_it_is() {
    let rig = Rig::new();
    let contents = *b"aaaabbbbcc";
    rig.send(2, &contents).unwrap();
    assert_eq!(rig.sent(), [sent(2, &contents, Some(SEGMENT))]);
    rig.inner.full.store(true, SeqCst);
    assert_eq!(rig.send(2, &contents).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    rig.inner.arrivals.store(1, SeqCst);
    assert_eq!(rig.poll_recv(Waker::noop()), Poll::Ready(1));
    assert_eq!(rig.poll_recv(Waker::noop()), Poll::Pending);
    assert_eq!(rig.table.stats(), []);
    assert!(rig.socket.line.get().is_none(), "no thread is needed");
}

#[test]
fn the_inner_sockets_abilities_are_its_own() {
    let Rig { socket, .. } = Rig::new();
    assert_eq!(socket.local_addr().unwrap(), address(1));
    assert_eq!((socket.max_transmit_segments(), socket.max_receive_segments()), (61, 62));
    assert!(!socket.may_fragment());
}

#[test]
fn what_faults_elsewhere_do_not_touch_passes_as_it_is() {
    let rig = Rig::new();
    rig.set("b", lossy(1.0));
    let contents = *b"aaaabbbbcc";
    for to in [3, 9] {
        rig.send(to, &contents).unwrap();
        assert_eq!(rig.sent(), [sent(to, &contents, Some(SEGMENT))]);
    }
    rig.inner.full.store(true, SeqCst);
    assert_eq!(rig.send(3, &contents).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    assert!(rig.send(2, &contents).is_ok(), "a lost packet meets no buffer");
}

#[test]
fn what_is_left_of_a_burst_is_one_burst() {
    let rig = Rig::new();
    rig.set("b", lossy(0.5));
    let contents: Vec<u8> = (0..38).map(|i| i / 4).collect();
    for _ in 0..100 {
        rig.send(2, &contents).unwrap();
        let Ok([burst]) = <[Sent; 1]>::try_from(rig.sent()) else { continue };
        let numbers: Vec<u8> = burst.contents.chunks(SEGMENT).map(|segment| segment[0]).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "in order and each once: {numbers:?}");
        let expected: Vec<u8> = contents.iter().copied().filter(|byte| numbers.contains(byte)).collect();
        assert_eq!(burst, sent(2, &expected, (expected.len() > SEGMENT).then_some(SEGMENT)));
    }
    let LinkStats { sent, dropped, .. } = rig.stats();
    assert_eq!(sent, 1000);
    assert!((400..600).contains(&dropped), "{dropped}");
}

#[test]
fn copies_follow_one_by_one() {
    let rig = Rig::new();
    rig.set("b", LinkFaults { duplicate: 1.0, ..LinkFaults::default() });
    rig.send(2, b"aaaabb").unwrap();
    assert_eq!(rig.sent(), [sent(2, b"aaaabb", Some(SEGMENT)), sent(2, b"aaaa", None), sent(2, b"bb", None)]);
    assert_eq!(rig.stats().duplicated, 2);
}

#[test]
fn corruption_changes_one_byte_of_each_packet_and_of_its_copy_alike() {
    let rig = Rig::new();
    rig.set("b", LinkFaults { corrupt: 1.0, duplicate: 1.0, ..LinkFaults::default() });
    rig.send(2, b"aaaabb").unwrap();
    let [burst, first_copy, second_copy] = <[Sent; 3]>::try_from(rig.sent()).unwrap();
    let changed = |bytes: &[u8], was: u8| bytes.iter().filter(|&&byte| byte != was).count();
    assert_eq!((changed(&burst.contents[..4], b'a'), changed(&burst.contents[4..], b'b')), (1, 1));
    assert_eq!(first_copy.contents, burst.contents[..4]);
    assert_eq!(second_copy.contents, burst.contents[4..]);
}

#[test]
fn what_is_held_back_leaves_its_burst() {
    let rig = Rig::new();
    rig.set("b", LinkFaults { reorder: 0.5, reorder_by: Duration::from_millis(2), ..LinkFaults::default() });
    let contents: Vec<u8> = (0..38).map(|i| i / 4).collect();
    rig.send(2, &contents).unwrap();
    let [at_once, late] = [(); 2].map(|()| rig.sent.recv().unwrap());
    assert!(at_once.contents.is_sorted() && late.contents.is_sorted());
    assert_eq!(late.contents.len().div_ceil(4) as u64, rig.stats().reordered);
    let mut all = [at_once.contents, late.contents].concat();
    all.sort_unstable();
    assert_eq!(all, contents);
}

#[test]
fn a_narrow_link_spreads_a_burst_and_drops_what_does_not_fit() {
    let rig = Rig::new();
    let bandwidth = Bandwidth { bytes_per_second: 1000.try_into().unwrap(), queue_bytes: 12 };
    rig.set("b", LinkFaults { bandwidth: Some(bandwidth), ..LinkFaults::default() });
    let start = Instant::now();
    rig.send(2, b"aaaabbbbccccdddd").unwrap();
    for (contents, millis) in [(b"aaaa", 4), (b"bbbb", 8), (b"cccc", 12)] {
        assert_eq!(rig.sent.recv().unwrap(), sent(2, contents, None));
        assert!(start.elapsed() >= Duration::from_millis(millis));
    }
    assert_eq!(rig.stats().overflowed, 1);
}

#[test]
fn delayed_bursts_arrive_whole_in_order_and_not_early() {
    let rig = Rig::new();
    rig.set("b", slow(3));
    let start = Instant::now();
    rig.send(2, b"aaaabb").unwrap();
    rig.send(2, b"cccc").unwrap();
    assert_eq!(rig.sent.recv().unwrap(), sent(2, b"aaaabb", Some(SEGMENT)));
    assert!(start.elapsed() >= Duration::from_millis(3));
    assert_eq!(rig.sent.recv().unwrap(), sent(2, b"cccc", None));
    assert_eq!(rig.stats().delayed, 3);
}

#[test]
fn a_cut_loses_what_is_under_way() {
    let rig = Rig::new();
    // Longer than any pause of this thread, lest the packet arrive before the cut.
    rig.set("b", slow(200));
    rig.set("c", slow(201));
    rig.send(2, b"aaaabb").unwrap();
    rig.send(3, b"marker").unwrap();
    rig.table.partition([["a"], ["b"]]);
    assert_eq!(rig.sent.recv().unwrap().destination, address(3));
    assert_eq!(rig.stats().blocked, 2);
}

#[test]
fn a_full_kernel_buffer_loses_what_is_due() {
    let rig = Rig::new();
    rig.set("b", LinkFaults { duplicate: 1.0, ..LinkFaults::default() });
    rig.inner.full.store(true, SeqCst);
    rig.send(2, b"aaaabb").unwrap();
    assert_eq!(rig.stats().overflowed, 4);
}

#[test]
fn an_unplugged_node_swallows_both_ways() {
    struct Woken(AtomicBool);
    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }
    let rig = Rig::new();
    let woken = Arc::new(Woken(AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&woken));
    rig.table.unplug("a");
    for to in [2, 9] {
        rig.send(to, b"aaaa").unwrap();
    }
    assert_eq!(rig.sent(), []);
    rig.inner.arrivals.store(SWALLOWED_MAX + 2, SeqCst);
    assert_eq!(rig.poll_recv(&waker), Poll::Pending);
    assert!(woken.0.load(SeqCst), "there is more to swallow");
    assert_eq!(rig.poll_recv(&waker), Poll::Pending);
    assert_eq!(rig.inner.arrivals.load(SeqCst), 0);
    rig.table.plug("a");
    rig.inner.arrivals.store(1, SeqCst);
    assert_eq!(rig.poll_recv(&waker), Poll::Ready(1));
    rig.send(2, b"aaaa").unwrap();
    assert_eq!(rig.sent().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_hears_nothing_until_the_pause_ends() {
    let rig = Rig::new();
    rig.inner.arrivals.store(1, SeqCst);
    rig.table.pause("a", Duration::from_secs(5));
    let start = Instant::now();
    std::future::poll_fn(|cx| rig.socket.poll_recv(cx, &mut [], &mut [])).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[test]
fn what_a_paused_node_sends_waits() {
    let rig = Rig::new();
    rig.table.pause("a", Duration::from_millis(5));
    let start = Instant::now();
    for to in [9, 2] {
        rig.send(to, b"aaaabb").unwrap();
    }
    for to in [9, 2] {
        assert_eq!(rig.sent.recv().unwrap(), sent(to, b"aaaabb", Some(SEGMENT)));
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
}

#[test]
fn packets_under_way_do_not_keep_a_dropped_socket() {
    let rig = Rig::new();
    rig.set("b", slow(60_000));
    rig.send(2, b"aaaa").unwrap();
    drop(rig.socket);
    assert_eq!(Arc::strong_count(&rig.inner), 1);
}

#[test]
fn a_dropped_socket_leaves_its_address_to_others() {
    let rig = Rig::new();
    let (b, _) = rig.table.attach("b");
    let send_to_a = || rig.table.judge(b, address(1), [100]);
    assert!(matches!(send_to_a(), Route::Judged { .. }));
    drop(rig.socket);
    assert_eq!(send_to_a(), Route::Open);
}

#[test]
fn a_wildcard_address_is_not_registered() {
    let table = FaultTable::new(1);
    let inner = Recorder {
        address: ([0, 0, 0, 0], 1).into(),
        sent: Mutex::new(channel().0),
        full: AtomicBool::new(false),
        arrivals: AtomicUsize::new(0),
    };
    FaultySocket::wrap(Arc::new(inner), &table, "a").unwrap();
    table.unplug("a");
    let (b, _) = table.attach("b");
    assert_eq!(table.judge(b, ([0, 0, 0, 0], 1).into(), [100]), Route::Open);
}
