//! What is measured: latencies of clients, CPU time of processes, and what exchanges with one member moved. Decides
//! nothing.

use std::fmt;
use std::time::Duration;

use chinwag_client::wire::PairStatus;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::load::{Answer, Load};
use super::{Failed, LOSER, MEMBERS};

/// What Linux counts the CPU time of a process in, for everybody.
const CPU_TICK: Duration = Duration::from_millis(10);

/// A stretch of time that is being measured.
#[derive(Debug)]
pub(crate) struct Window {
    from: Instant,
    cpu: [Duration; MEMBERS.len()],
}

/// What was measured in one stretch of time.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) length: Duration,
    /// In order.
    took: Vec<Duration>,
    failed: usize,
    cpu: [Duration; MEMBERS.len()],
}

impl Window {
    /// Begins with the `running` members; those that are not among them are yet to be started.
    pub(crate) fn open(cluster: &Cluster, running: &[&str]) -> Self {
        let cpu = MEMBERS
            .map(|name| if running.contains(&name) { cpu_time(cluster, name) } else { Duration::ZERO });
        Self { from: Instant::now(), cpu }
    }

    /// Ends, with all members running, and waits for the answers to what was asked.
    pub(crate) async fn close(self, cluster: &Cluster, load: &Load) -> Phase {
        let to = Instant::now();
        let mut cpu = MEMBERS.map(|name| cpu_time(cluster, name));
        cpu.iter_mut().zip(self.cpu).for_each(|(until, before)| *until = until.saturating_sub(before));
        let answers = load.between(self.from, to).await;
        let (failed, answered): (Vec<Answer>, Vec<Answer>) = answers.into_iter().partition(|it| it.failed);
        let mut took: Vec<Duration> = answered.into_iter().map(|it| it.took).collect();
        took.sort_unstable();
        Phase { length: to - self.from, took, failed: failed.len(), cpu }
    }
}

/// All CPU time of a member's process since its start.
fn cpu_time(cluster: &Cluster, name: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", cluster.pid(name))).unwrap_or_default();
    // The name of the program, in parentheses, may hold anything.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).filter_map(|it| it.parse::<u32>().ok()).sum();
    CPU_TICK * ticks
}

impl Phase {
    pub(crate) const HEADINGS: &str =
        "                 s  requests  failed    p50 ms    p99 ms   ms of CPU a second: a, b, c, d";

    /// Milliseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Milliseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.quantile(0.99)
    }

    fn quantile(&self, share: f64) -> f64 {
        let rank = self.took.len() as f64 * share;
        let above = self.took.iter().zip(1..).find(|(_, at)| f64::from(*at) >= rank);
        above.map_or(f64::NAN, |(took, _)| took.as_secs_f64() * 1000.0)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.length.as_secs_f64();
        let (answered, failed) = (self.took.len(), self.failed);
        let (p50, p99) = (self.p50(), self.p99());
        write!(f, "{seconds:>6.1}  {answered:>8}  {failed:>6}  {p50:>8.2}  {p99:>8.2}  ")?;
        self.cpu.iter().try_for_each(|cpu| write!(f, "{:>6.0}", cpu.as_secs_f64() * 1000.0 / seconds))
    }
}

/// What exchanges between one member and the others took, whoever opened them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moved {
    exchanges: u64,
    bytes: u64,
    /// Key states that went to the member.
    keys: u64,
}

impl Moved {
    /// Since the start of each of the `members`.
    pub(crate) async fn until_now(cluster: &Cluster, members: &[&str]) -> Result<Self, Failed> {
        let mut moved = Self::default();
        for &member in members {
            let client = cluster.client(&[member]);
            let pairs = client.anti_entropy(None).await;
            client.close().await;
            for pair in pairs?.iter().filter(|it| member == LOSER || it.member == LOSER) {
                let PairStatus { exchanges, bytes, keys_sent, keys_received, .. } = pair;
                moved.exchanges += exchanges;
                moved.bytes += bytes;
                moved.keys += if member == LOSER { keys_received } else { keys_sent };
            }
        }
        Ok(moved)
    }

    pub(crate) const fn since(self, before: &Self) -> Self {
        Self {
            exchanges: self.exchanges - before.exchanges,
            bytes: self.bytes - before.bytes,
            keys: self.keys - before.keys,
        }
    }
}

impl fmt::Display for Moved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exchanges, bytes, keys } = self;
        let megabytes = *bytes as f64 / 1e6;
        write!(f, "{keys} key states in {exchanges} exchanges of {megabytes:.1} MB in all")
    }
}
