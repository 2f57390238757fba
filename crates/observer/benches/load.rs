//! What it costs to make load: operations a second of one process against a server that answers at once, over real QUIC on
//! 127.0.0.1, with the CPU time of an operation on either side. Run with `cargo bench -p chinwag-observer --bench load`.
//!
//! The server, on a thread of its own, tells gets from puts and answers each with what it has ready, so what is measured is
//! the observer: plan, timers, client, history. DESIGN.md's goal is 50,000 operations a second on one core.
//!
//! With a number of operations after `--` it makes one run of so many, whose history goes to a file as it happens, measures
//! it, and says how much memory that took: ten million must fit in a gibibyte.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark prints what it measures, or fails, and its certificates are of today"
)]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chinwag_client::frame::{Frame, FrameReader, frame_writer};
use chinwag_client::wire::{Evidence, Got, GotSibling, Request, Response, WireDot, Written};
use chinwag_client::{Client, ClusterSecret, Credential, Role, codec};
use chinwag_observer::history::Header;
use chinwag_observer::lab::{Drive, Keep, Loaded, Recorder, Seat, drive};
use chinwag_observer::metrics::{Settings, measure};
use chinwag_observer::pacing::Pacing;
use chinwag_observer::workload::{Arrivals, Keys, ValueBytes, Workload, Ycsb};
use tokio::runtime::Runtime;
use tokio::time::Instant;

const SECONDS: u64 = 5;
/// What a second must hold.
const GOAL: f64 = 50_000.0;
/// What a long run may take of memory.
const GOAL_MIB: f64 = 1024.0;

fn main() {
    let (sender, addresses) = mpsc::channel();
    std::thread::spawn(move || runtime().block_on(serve(&sender)));
    let address = addresses.recv().unwrap();
    if let Some(operations) = std::env::args().find_map(|argument| argument.parse().ok()) {
        return long_run(address, operations);
    }
    println!(
        "100-byte values, half gets and half puts, {SECONDS} s each, CPU of the observer's thread alone"
    );
    println!(
        "load          sessions  planned/s  answered/s  CPU us/op  core %  late %  behind %  lateness p50/p99 ms  \
         latency p50/p99 ms"
    );
    for (rate, sessions) in [(10_000.0, 256), (GOAL, 1024), (60_000.0, 1024)] {
        let load = Workload { rate, sessions, ..load() };
        run(&format!("open {rate:.0}"), address, load);
    }
    for sessions in [1, 64, 512] {
        let arrivals = Arrivals::Closed { think: Duration::ZERO };
        run("closed", address, Workload { arrivals, sessions, ..load() });
    }
}

fn load() -> Workload {
    let keys = (0..10_000).map(|key| format!("key{key}")).collect();
    let workload = Workload::new(Keys::zipfian(keys, 0.99, 1).unwrap(), 1);
    Workload { value_bytes: ValueBytes::Fixed(100), ..Ycsb::A.of(workload) }
}

fn run(name: &str, address: SocketAddr, load: Workload) {
    let (rate, sessions, arrivals) = (load.rate, load.sessions, load.arrivals);
    let recorder = Recorder::new(&Keep::Memory, Header::default()).unwrap();
    let (pacing, spent, took) = make(address, load, Duration::from_secs(SECONDS), &recorder);
    let (history, ledger) = recorder.finish().unwrap();
    let kept = pacing.summary(&ledger);
    let operations = real(history.operations.len());
    let unanswered = history.operations.iter().filter(|op| !op.is_answered()).count();
    let mut latencies: Vec<u64> =
        history.operations.iter().filter_map(|op| Some(op.done? - op.intended)).collect();
    latencies.sort_unstable();
    let latency = |share: usize| latencies[(latencies.len() - 1) * share / 100] as f64 / 1e6;
    let planned = match arrivals {
        Arrivals::Closed { .. } => "-".to_owned(),
        Arrivals::Poisson | Arrivals::Fixed => format!("{rate:.0}"),
    };
    println!(
        "{name:<12}  {sessions:>8}  {planned:>9}  {:>10.0}  {:>9.1}  {:>6.0}  {:>6.2}  {:>8.2}  {:>8.2} / {:>8.2}  \
         {:>8.2} / {:>7.2}",
        operations / took,
        spent * 1e6 / operations,
        spent * 100.0 / took,
        kept.late as f64 * 100.0 / operations,
        kept.behind as f64 * 100.0 / operations,
        kept.lateness_p50_ms.unwrap_or(0.0),
        kept.lateness_p99_ms.unwrap_or(0.0),
        latency(50),
        latency(99),
    );
    if unanswered > 0 {
        println!("{:12}  {unanswered} operations got no answer within a second", "");
    }
    if let Some(why) = kept.bottleneck() {
        println!("{:12}  the load generator was the bottleneck: {why}", "");
    }
}

/// Makes the load, and gives the CPU time of this thread and the time that took, in seconds.
fn make(address: SocketAddr, load: Workload, duration: Duration, recorder: &Recorder) -> (Pacing, f64, f64) {
    runtime().block_on(async {
        let client = Client::new(&[address], &credential(Role::Client)).unwrap();
        // The handshake is no operation.
        client.get("0").await.unwrap();
        let seats = [Seat { node: "null".to_owned(), client }];
        let plan = load.plan().unwrap();
        let (before, start) = (cpu_seconds(), Instant::now());
        let how = Drive {
            zero: start,
            start,
            duration,
            writes_until: duration,
            timeout: Duration::from_secs(1),
            finished: Arc::default(),
            recorder: recorder.clone(),
        };
        let pacing = drive(plan, &seats, Loaded::default(), how).await;
        seats[0].client.close().await;
        (pacing, cpu_seconds() - before, start.elapsed().as_secs_f64())
    })
}

fn long_run(address: SocketAddr, operations: u64) {
    const RATE: f64 = 30_000.0;
    let path = std::env::temp_dir().join(format!("chinwag-load-{}.jsonl", std::process::id()));
    let recorder = Recorder::new(&Keep::File(path.clone()), Header::default()).unwrap();
    // A session remembers a context of each key it met: what that takes is not the history's.
    let keys = (0..10_000).map(|key| format!("key{key}")).collect();
    let load = Workload { rate: RATE, sessions: 64, keys: Keys::uniform(keys).unwrap(), ..load() };
    let duration = Duration::from_secs_f64(operations as f64 / RATE);
    let (pacing, spent, took) = make(address, load, duration, &recorder);
    let (_, ledger) = recorder.finish().unwrap();
    let len = real(ledger.len());
    println!("{len} operations made in {took:.0} s with {spent:.0} s of CPU, {} never sent", pacing.unsent);
    println!(
        "history   {:>6.0} MB in its file, {:>5.0} MiB of memory at most so far",
        file_mb(&path),
        peak_mib()
    );
    let before = cpu_seconds();
    let measured = measure(&ledger, &Settings::default());
    println!(
        "measured  {:>6.1} s of CPU, {} of {} reads stale",
        cpu_seconds() - before,
        measured.stale.rate.count,
        measured.stale.rate.n
    );
    println!("in all    {:>6.0} MiB of memory (goal {GOAL_MIB:.0})", peak_mib());
    std::fs::remove_file(&path).unwrap();
}

fn file_mb(path: &Path) -> f64 {
    std::fs::metadata(path).unwrap().len() as f64 / 1e6
}

/// The most memory this process ever held.
fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn credential(role: Role) -> Credential {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Credential::mint(&ClusterSecret::from_bytes([7; 32]), role, [8; 32], now).unwrap()
}

/// Answers every request of every connection at once.
async fn serve(address: &mpsc::Sender<SocketAddr>) {
    let crypto = Arc::new(credential(Role::Member).quic_server().unwrap());
    let config = quinn::ServerConfig::with_crypto(crypto);
    let endpoint = quinn::Endpoint::server(config, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    address.send(endpoint.local_addr().unwrap()).unwrap();
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async move {
            let Ok(connection) = incoming.await else { return };
            while let Ok((send, recv)) = connection.accept_bi().await {
                let (writer, writing) = frame_writer(send);
                tokio::spawn(writing);
                tokio::spawn(async move {
                    let (got, written) = answers();
                    let mut reader = FrameReader::new(recv);
                    while let Ok(Some(Frame { call, body })) = reader.next().await {
                        let is_put = matches!(codec::decode(&body), Ok(Request::Put { .. }));
                        let body = if is_put { written.clone() } else { got.clone() };
                        writer.send(Frame { call, body }).await.unwrap();
                    }
                });
            }
        });
    }
}

/// What a member of a cluster of three would say of a value of 100 bytes, and of a put.
fn answers() -> (Bytes, Bytes) {
    let dot: WireDot = (7, 3);
    let replicas = || vec!["node0".to_owned(), "node1".to_owned()];
    let context = Bytes::from_static(&[9; 40]);
    let got = Got {
        siblings: vec![GotSibling { dot, value: vec![b'x'; 100].into() }],
        context: context.clone(),
        evidence: Some(Evidence {
            vv: vec![dot],
            dots: Vec::new(),
            tombstones: Vec::new(),
            replicas: replicas(),
        }),
    };
    let written = Written { context, dot, replicas: replicas() };
    (codec::encode(&Response::Got(got)), codec::encode(&Response::Written(written)))
}

fn real(of: usize) -> f64 {
    f64::from(u32::try_from(of).unwrap())
}

/// CPU time this thread has used, in seconds, as the kernel counts it (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}
