//! What it costs the clients of other members that one has lost its disk and is filled again by anti-entropy alone.
//!
//! `cargo bench -p chinwag --bench repair` starts four processes without read repair and hinted handoff, writes keys of
//! 100 bytes, and asks three of the members at a constant rate. Then the fourth is stopped, its directory deleted and it
//! is started again; and, as a control, stopped and started with its directory, for as long as the filling took. Nothing
//! fails for being slow: it prints ratios. Latency counts from when a request was due.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant, sleep};

use cluster::Cluster;
use load::Load;
use measure::{Moved, Phase, Window};

#[path = "../../tests/it/cluster.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "shared with the tests, which use all of it"
)]
mod cluster;
mod load;
mod measure;
#[path = "../../tests/it/process.rs"]
#[expect(dead_code, clippy::panic, reason = "shared with the tests, which use all of it")]
mod process;

/// Who is asked, and who loses its disk.
const ASKED: [&str; 3] = ["a", "b", "c"];
const LOSER: &str = "d";
const MEMBERS: [&str; 4] = ["a", "b", "c", LOSER];
const FLAGS: [&str; 6] = ["--read-repair", "off", "--hinted-handoff", "off", "--anti-entropy", "1s"];
/// Members compare what they held up to ten seconds ago: the keys are to be in it.
const SETTLE: Duration = Duration::from_secs(15);
/// How often the member is asked how far it is.
const POLL: Duration = Duration::from_millis(100);
/// A member that is not whole by then never will be.
const LIMIT: Duration = Duration::from_secs(300);
/// The goal: p99 grows by less while a member is filled.
const GOAL: f64 = 1.25;

type Failed = Box<dyn Error>;

#[derive(Debug, Parser)]
struct Arguments {
    /// Keys of 100 bytes that are there from the start
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Requests a second, half of them puts
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// Seconds that are measured before each stop
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// How often the disk is lost
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Of the requests and their moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Failed> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> Result<(), Failed> {
    let &Arguments { keys, rate, seconds, rounds, seed, bench: _ } = arguments;
    let cluster = Cluster::start(&MEMBERS, &FLAGS).await;
    let contexts = load::fill(&cluster.client(&ASKED), keys).await?;
    let clients = ASKED.map(|name| cluster.client(&[name])).into();
    let load = Load::start(clients, contexts, rate, seed);
    let mut bench = Bench { cluster, load };
    sleep(SETTLE).await;
    say(&format!("{keys} keys of 100 bytes; {rate} requests a second, half of them puts"))?;
    say(Phase::HEADINGS)?;
    let (mut before, mut refilled, mut control) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let quiet = bench.quiet(Duration::from_secs(seconds)).await;
        let (refill, told) = bench.refill().await?;
        say(&format!("{:<12}{quiet}\n{:<12}{refill}\n{told}", "before", "refilled"))?;
        let again = bench.quiet(Duration::from_secs(seconds)).await;
        let restart = bench.restart(refill.length).await;
        say(&format!("{:<12}{again}\n{:<12}{restart}", "before", "restarted"))?;
        before.extend([quiet, again]);
        refilled.push(refill);
        control.push(restart);
    }
    bench.load.end().await;
    say(&format!("median of each: {}", compared(&before, &refilled, &control)))
}

/// What filling a member does to latencies. Medians: a machine that has other things to do now and then stops for longer
/// than any request takes.
fn compared(before: &[Phase], refilled: &[Phase], control: &[Phase]) -> String {
    let ratios = |quantile: fn(&Phase) -> f64| {
        let median = |phases: &[Phase]| {
            let mut quantiles: Vec<f64> = phases.iter().map(quantile).collect();
            quantiles.sort_by(f64::total_cmp);
            quantiles.get(quantiles.len() / 2).copied().unwrap_or(f64::NAN)
        };
        [before, control].map(|other| median(refilled) / median(other))
    };
    let ([p50, p50_restart], [p99, p99_restart]) = (ratios(Phase::p50), ratios(Phase::p99));
    format!(
        "while refilled p50 is {p50:.2} and p99 {p99:.2} of before (goal: p99 below {GOAL}), \
         {p50_restart:.2} and {p99_restart:.2} of a restart that lost nothing"
    )
}

/// Measurements are printed as they are made: a run takes minutes.
fn say(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Waits a little for something that began at `started`, and not for ever.
async fn pause(started: Instant) -> Result<(), Failed> {
    if started.elapsed() > LIMIT {
        return Err(format!("{LOSER} is not whole after {LIMIT:?}").into());
    }
    sleep(POLL).await;
    Ok(())
}

/// The members, under load.
struct Bench {
    cluster: Cluster,
    load: Load,
}

impl Bench {
    /// Measures while nothing happens.
    async fn quiet(&self, length: Duration) -> Phase {
        let window = Window::open(&self.cluster, &MEMBERS);
        sleep(length).await;
        window.close(&self.cluster, &self.load).await
    }

    /// Takes the member's disk away, and measures from its start until it holds as many keys as before; then waits until
    /// it was found equal to all others again. Says what that took.
    async fn refill(&mut self) -> Result<(Phase, String), Failed> {
        let (held, pairs) = (self.keys().await?, self.equal_pairs().await?);
        let before = Moved::until_now(&self.cluster, &ASKED).await?;
        self.cluster.interrupt(LOSER).await;
        std::fs::remove_dir_all(self.cluster.data(LOSER))?;
        let window = Window::open(&self.cluster, &ASKED);
        let started = Instant::now();
        self.cluster.restart(&[LOSER]).await;
        while self.keys().await? < held {
            pause(started).await?;
        }
        let filled = Moved::until_now(&self.cluster, &MEMBERS).await?.since(&before);
        let phase = window.close(&self.cluster, &self.load).await;
        while !self.equal_pairs().await?.is_superset(&pairs) {
            pause(started).await?;
        }
        let equal = Moved::until_now(&self.cluster, &MEMBERS).await?.since(&before);
        let (after, in_all) = (phase.length.as_secs_f64(), started.elapsed().as_secs_f64());
        let told = format!(
            "  {held} keys again after {after:.1} s ({filled}), found equal to the others after {in_all:.1} s ({equal})"
        );
        Ok((phase, told))
    }

    /// Stops the member and measures from its start on the directory it left, for as long as a loss was measured.
    async fn restart(&mut self, length: Duration) -> Phase {
        self.cluster.interrupt(LOSER).await;
        let window = Window::open(&self.cluster, &ASKED);
        let started = Instant::now();
        self.cluster.restart(&[LOSER]).await;
        sleep(length.saturating_sub(started.elapsed())).await;
        window.close(&self.cluster, &self.load).await
    }

    /// How many keys the member holds.
    async fn keys(&self) -> Result<u64, Failed> {
        let client = self.cluster.client(&[LOSER]);
        let metrics = client.metrics().await;
        client.close().await;
        let held = metrics?.into_iter().find(|it| it.name == "chinwag_storage_keys");
        let held = held.and_then(|it| it.samples.first().map(|it| it.value));
        held.ok_or_else(|| "a member does not say how many keys it holds".into())
    }

    /// The partitions of the member, each with another that it was found equal to since its start.
    async fn equal_pairs(&self) -> Result<BTreeSet<(u16, String)>, Failed> {
        let client = self.cluster.client(&[LOSER]);
        let pairs = client.anti_entropy(None).await;
        client.close().await;
        let equal = pairs?.into_iter().filter(|it| it.clean_ago_ms.is_some());
        Ok(equal.map(|it| (it.partition, it.member)).collect())
    }
}
