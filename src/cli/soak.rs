//! `chinwag soak`: simulates one seed after the other on all cores, until the time is over or a seed breaks an invariant.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use chinwag_fuzz_net::Scenario;
use chinwag_observer::lab::{Experiment, Findings, Shape};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};

use super::breach::{describe_breach, describe_seed, replay, shrink_into};
use super::experiment::{LabError, Load, Results, summarize};
use super::failure::{Exit, Failure};
use super::output;

/// The scenario that is shipped, so that the binary searches wherever it is run.
const NEMESIS: &str = include_str!("../../scenarios/nemesis.toml");
/// The shipped scenario's name beside the results of a seed that failed on it.
const NEMESIS_FILE: &str = "nemesis.toml";
/// Where nobody watches a bar, progress is a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(30);
/// How often the bar's clock moves between two seeds.
const TICK: Duration = Duration::from_secs(1);

/// Search for a seed that breaks an invariant: simulate one after the other until the time is over or one does
///
/// Uses all cores. Exit code 1 means that a seed broke an invariant; it is printed with the command that replays it, and a
/// smaller scenario that breaks the same invariant is looked for. Ctrl-C ends the search with what it has tried so far.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakCommand {
    /// A scenario to play instead of the shipped one (scenarios/nemesis.toml)
    scenario: Option<PathBuf>,

    /// How long to search; simulations that have begun by then are brought to their end
    #[arg(long, value_name = "MINUTES", value_parser = parse_minutes)]
    minutes: Duration,

    /// So many members named node0 and so on
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=200))]
    members: u16,

    /// Try this seed and those that follow it [default: one drawn by the operating system]
    #[arg(long, value_name = "SEED")]
    first_seed: Option<u64>,

    /// Do not look for a smaller scenario that breaks the same invariant
    #[arg(long)]
    no_shrink: bool,

    #[command(flatten)]
    load: Load,
}

fn parse_minutes(text: &str) -> Result<Duration, String> {
    let minutes = text.parse::<f64>().ok().filter(|it| *it > 0.0);
    let duration = minutes.and_then(|it| Duration::try_from_secs_f64(it * 60.0).ok());
    duration.ok_or_else(|| "give a number of minutes above 0, e.g. 10 or 0.5".to_owned())
}

/// What the threads of a search share.
#[derive(Debug)]
struct Search {
    command: SoakCommand,
    scenario: Scenario,
    first_seed: u64,
    begun: AtomicU64,
    stop: AtomicBool,
}

/// What came of one seed.
#[derive(Debug)]
enum Outcome {
    Held {
        operations: usize,
    },
    Broke(Box<Findings>),
    /// The simulation panicked: the threads' hook has said where.
    Panicked,
    Unfinished(LabError),
}

/// What was tried so far.
#[derive(Debug, Default)]
struct Sum {
    seeds: u32,
    operations: usize,
    virtual_time: Duration,
}

/// How a search ended.
enum Verdict {
    AllHeld,
    Interrupted,
    Broke(u64, Box<Findings>),
    Panicked(u64),
}

impl SoakCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let scenario = match &self.scenario {
            Some(path) => Scenario::load(path).map_err(LabError::from)?,
            None => Scenario::parse(NEMESIS).map_err(LabError::from)?,
        };
        let first_seed = match self.first_seed {
            Some(seed) => seed,
            None => getrandom::u64().map_err(Failure::Entropy)?,
        };
        let (begun, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let search = Arc::new(Search { command: self, scenario, first_seed, begun, stop });
        let mut sum = Sum::default();
        let verdict = search.run(&mut sum).await?;
        let text = match &verdict {
            Verdict::AllHeld => "no invariant broke",
            Verdict::Interrupted => "interrupted, no invariant broke so far",
            Verdict::Broke(..) => "an invariant broke",
            Verdict::Panicked(_) => "a simulation panicked",
        };
        output::print(&format!("{} (first seed {first_seed}); {text}\n", sum.describe()))?;
        match verdict {
            Verdict::AllHeld | Verdict::Interrupted => return Ok(Exit::Done),
            Verdict::Broke(seed, findings) => search.explain(seed, *findings).await?,
            Verdict::Panicked(seed) => {
                let file = search.scenario_file(&search.command.load.directory()?)?;
                let command = search.replay(&file, seed);
                output::print(&describe_seed(seed, "off with a panic", &command))?;
            }
        }
        Ok(Exit::Broken)
    }
}

impl Search {
    /// Starts the workers and listens to them. Those that are still at work when it returns end with the process.
    async fn run(self: &Arc<Self>, sum: &mut Sum) -> Result<Verdict, Failure> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (sender, mut ended) = mpsc::channel(cores);
        for _ in 0..cores {
            let (search, sender) = (self.clone(), sender.clone());
            std::thread::spawn(move || search.work(&sender));
        }
        drop(sender);
        let progress = Progress::new(self.command.minutes);
        let mut time_is_over = pin!(sleep(self.command.minutes));
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        let verdict = loop {
            tokio::select! {
                biased;
                _ = &mut interrupted => break Ok(Verdict::Interrupted),
                () = &mut time_is_over, if !self.is_stopped() => self.stop.store(true, Ordering::Relaxed),
                run = ended.recv() => {
                    let Some((seed, outcome)) = run else { break Ok(Verdict::AllHeld) };
                    let operations = match &outcome {
                        Outcome::Held { operations } => *operations,
                        Outcome::Broke(findings) => findings.ledger.len(),
                        Outcome::Panicked | Outcome::Unfinished(_) => 0,
                    };
                    sum.add(operations, self.scenario.duration());
                    match outcome {
                        Outcome::Held { .. } => progress.show(sum),
                        Outcome::Broke(findings) => break Ok(Verdict::Broke(seed, findings)),
                        Outcome::Panicked => break Ok(Verdict::Panicked(seed)),
                        Outcome::Unfinished(error) => break Err(error.into()),
                    }
                }
            }
        };
        self.stop.store(true, Ordering::Relaxed);
        progress.clear();
        verdict
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Simulates seed after seed until told to stop, or until nobody listens.
    fn work(&self, ended: &mpsc::Sender<(u64, Outcome)>) {
        while !self.is_stopped() {
            let seed = self.first_seed.wrapping_add(self.begun.fetch_add(1, Ordering::Relaxed));
            let run = catch_unwind(AssertUnwindSafe(|| self.simulate(seed)));
            let outcome = match run {
                Ok(Ok(findings)) if findings.broken().is_empty() => {
                    Outcome::Held { operations: findings.ledger.len() }
                }
                Ok(Ok(findings)) => Outcome::Broke(Box::new(findings)),
                Ok(Err(error)) => Outcome::Unfinished(error),
                Err(_) => Outcome::Panicked,
            };
            if ended.blocking_send((seed, outcome)).is_err() {
                return;
            }
        }
    }

    fn simulate(&self, seed: u64) -> Result<Findings, LabError> {
        Ok(self.experiment(seed)?.simulate(|_| {})?)
    }

    fn experiment(&self, seed: u64) -> Result<Experiment, LabError> {
        self.command.load.experiment(Shape::Members(self.command.members), self.scenario.clone(), seed)
    }

    /// Keeps the results of a seed that broke something, says how to run it again, and makes it smaller.
    async fn explain(self: Arc<Self>, seed: u64, findings: Findings) -> Result<(), Failure> {
        let mut results = Results::begin(&self.command.load)?;
        let directory = results.directory().to_owned();
        let command = self.replay(&self.scenario_file(&directory)?, seed);
        let breach = describe_breach(&findings).unwrap_or_default();
        let summary = summarize(&findings, command.clone());
        let mut text = describe_seed(seed, &breach, &command);
        results.write_history(&findings.history)?;
        for file in results.write(&summary)? {
            text.push_str(&format!("{}\n", file.display()));
        }
        output::print(&text)?;
        if self.command.no_shrink {
            return Ok(());
        }
        let experiment = self.experiment(seed)?;
        let (sender, shrunk) = oneshot::channel();
        std::thread::spawn(move || {
            let command = |file: &Path, load: &Load| replay(file, seed, Some(self.command.members), load);
            let load = &self.command.load;
            let shrunk = shrink_into(&directory, &experiment, &findings, load, command);
            // Nobody listens once the operator has interrupted it.
            sender.send(shrunk).ok();
        });
        let shrunk = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => None,
            shrunk = shrunk => shrunk.ok(),
        };
        match shrunk {
            Some(shrunk) => output::print(&shrunk?.unwrap_or_default()),
            None => {
                output::note("ended before its time; no smaller scenario was written");
                Ok(())
            }
        }
    }

    /// The scenario's file; the shipped one is written beside the results first.
    fn scenario_file(&self, directory: &Path) -> Result<PathBuf, LabError> {
        if let Some(path) = &self.command.scenario {
            return Ok(path.clone());
        }
        let path = directory.join(NEMESIS_FILE);
        std::fs::write(&path, NEMESIS).map_err(|source| LabError::Write { path: path.clone(), source })?;
        Ok(path)
    }

    fn replay(&self, scenario: &Path, seed: u64) -> String {
        replay(scenario, seed, Some(self.command.members), &self.command.load)
    }
}

impl Sum {
    fn add(&mut self, operations: usize, virtual_time: Duration) {
        self.seeds += 1;
        self.operations += operations;
        self.virtual_time += virtual_time;
    }

    fn describe(&self) -> String {
        let minutes = self.virtual_time.as_secs_f64() / 60.0;
        format!("{} seeds, {minutes:.1} minutes of virtual time, {} operations", self.seeds, self.operations)
    }
}

/// On standard error: a bar on a terminal, a line now and then elsewhere.
struct Progress {
    bar: ProgressBar,
    started: Instant,
    line: Cell<Instant>,
}

impl Progress {
    fn new(whole: Duration) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {elapsed} {msg}");
        let bar = ProgressBar::new(whole.as_secs().max(1))
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.enable_steady_tick(TICK);
        let now = Instant::now();
        Self { bar, started: now, line: now.into() }
    }

    fn show(&self, sum: &Sum) {
        self.bar.set_position(self.started.elapsed().as_secs());
        self.bar.set_message(sum.describe());
        if self.bar.is_hidden() && self.line.get().elapsed() >= LINE_INTERVAL {
            self.line.set(Instant::now());
            output::note(&sum.describe());
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_are_a_positive_number() {
        assert_eq!(parse_minutes("0.5"), Ok(Duration::from_secs(30)));
        for text in ["", "0", "-1", "nan", "inf", "ten"] {
            assert!(parse_minutes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_shipped_scenario_can_be_drawn_for_any_seed() {
        let scenario = Scenario::parse(NEMESIS).unwrap();
        for seed in [0, 7, u64::MAX] {
            let drawn = scenario.with_nemesis(seed, ["node0", "node1", "node2"]);
            assert!(!drawn.fault_steps().is_empty());
            assert_eq!(Scenario::parse(&drawn.to_toml()).unwrap().to_toml(), drawn.to_toml());
        }
    }
}
