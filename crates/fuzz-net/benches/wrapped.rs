//! What a wrapped socket costs: bulk throughput of QUIC over loopback per second of CPU time, against a bare socket.
//!
//! `cargo bench -p chinwag-fuzz-net --bench wrapped [-- MIB]` moves 256 MiB per round, or as much as it is told. Both ends
//! are in one thread, whose CPU time is read from Linux's `/proc`. The kinds of socket take turns, so that a machine that
//! becomes slower does so for all of them.

use chinwag_fuzz_net::{FaultTable, FaultySocket, LinkFaults, Selector};
use pinned::{SERVER_NAME, configs};
use quinn::{AsyncUdpSocket, Connection, Endpoint, Runtime, TokioRuntime, TransportConfig, VarInt};
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;

#[path = "../tests/it/pinned.rs"]
#[expect(clippy::unwrap_used, reason = "shared with the tests, where it may")]
mod pinned;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const ROUNDS: usize = 9;
const MIB: usize = 1 << 20;
/// Of a stream and of what is sent and not yet acknowledged: loopback is never kept waiting.
const WINDOW: u32 = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Bare,
    Wrapped,
    Judged,
}

const KINDS: [(Kind, &str); 3] = [
    (Kind::Bare, "bare"),
    (Kind::Wrapped, "wrapped, no fault active"),
    (Kind::Judged, "wrapped, every packet judged and left alone"),
];

fn main() -> Result<()> {
    let mib = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(256);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = io::stdout().lock();
    writeln!(out, "{ROUNDS} rounds of {mib} MiB each over loopback; medians of MB per second of CPU time\n")?;
    let mut speeds = KINDS.map(|_| Vec::new());
    for round in 0..=ROUNDS {
        for (&(kind, _), speeds) in KINDS.iter().zip(&mut speeds) {
            let speed = runtime.block_on(throughput(kind, mib))?;
            // The first round warms up.
            if round > 0 {
                speeds.push(speed);
            }
        }
    }
    // Each round's ratio is of neighbours in time.
    let bare = speeds[0].clone();
    for (&(_, label), speeds) in KINDS.iter().zip(&speeds) {
        let ratios = speeds.iter().zip(&bare).map(|(speed, bare)| speed / bare).collect();
        writeln!(out, "{label:45} {:8.0} {:8.3} of bare", median(speeds.clone()), median(ratios))?;
    }
    Ok(writeln!(out, "\ngoal: no less than 0.98 of bare while no fault is active")?)
}

/// Megabytes per second of CPU time.
async fn throughput(kind: Kind, mib: usize) -> Result<f64> {
    let table = FaultTable::new(1);
    if kind == Kind::Judged {
        let harmless = LinkFaults { mtu: Some(1 << 16), ..LinkFaults::default() };
        table.set_links(&Selector::All, &Selector::All, harmless);
    }
    let (sender, receiver) = (endpoint(kind, &table, 0)?, endpoint(kind, &table, 1)?);
    let (from, to) = tokio::try_join!(biased; dial(&sender, &receiver), accept(&receiver))?;
    let before = cpu_seconds()?;
    tokio::try_join!(biased; send(&from, mib), receive(&to, mib))?;
    Ok((mib * MIB) as f64 / 1e6 / (cpu_seconds()? - before))
}

fn endpoint(kind: Kind, table: &FaultTable, node: u64) -> Result<Endpoint> {
    let mut transport = TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(WINDOW)).send_window(WINDOW.into());
    let configs = configs(1, node, 0, transport);
    let bare = TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind("127.0.0.1:0")?)?;
    let socket: Arc<dyn AsyncUdpSocket> = match kind {
        Kind::Bare => bare,
        Kind::Wrapped | Kind::Judged => FaultySocket::wrap(bare, table, &format!("node{node}"))?,
    };
    let runtime = Arc::new(TokioRuntime);
    let mut endpoint =
        Endpoint::new_with_abstract_socket(configs.endpoint, Some(configs.server), socket, runtime)?;
    endpoint.set_default_client_config(configs.client);
    Ok(endpoint)
}

async fn dial(from: &Endpoint, to: &Endpoint) -> Result<Connection> {
    Ok(from.connect(to.local_addr()?, SERVER_NAME)?.await?)
}

async fn accept(endpoint: &Endpoint) -> Result<Connection> {
    Ok(endpoint.accept().await.ok_or("the endpoint is closed")?.await?)
}

async fn send(connection: &Connection, mib: usize) -> Result<()> {
    let chunk = bytes::Bytes::from(vec![1; MIB]);
    let mut stream = connection.open_uni().await?;
    for _ in 0..mib {
        stream.write_chunk(chunk.clone()).await?;
    }
    stream.finish()?;
    stream.stopped().await?;
    Ok(())
}

async fn receive(connection: &Connection, mib: usize) -> Result<()> {
    let mut stream = connection.accept_uni().await?;
    let mut received = 0;
    while let Some(chunk) = stream.read_chunk(MIB, true).await? {
        received += chunk.bytes.len();
    }
    if received == mib * MIB { Ok(()) } else { Err("bytes are missing".into()) }
}

/// Of this thread so far; the first number is in nanoseconds.
fn cpu_seconds() -> Result<f64> {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat")?;
    let on_cpu = schedstat.split_whitespace().next().ok_or("the kernel counts no CPU time")?;
    Ok(on_cpu.parse::<f64>()? / 1e9)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
