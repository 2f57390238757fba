//! `chinwag observe`: plays a scenario on a cluster, in a simulation or on real sockets, once or for many seeds.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use chinwag_fuzz_net::Scenario;
use chinwag_node::membership::Preset;
use chinwag_observer::beliefs::Beliefs;
use chinwag_observer::invariants::Violation;
use chinwag_observer::lab::{Experiment, ExperimentError, Findings, Keep, Shape};
use chinwag_observer::summary::{Repairs, Summary};
use indicatif::ProgressBar;
use serde::Serialize;

use super::breach::{self, describe_breach, describe_seed, replay, shrink_into};
use super::connection::Output;
use super::experiment::{
    Display, LabError, Load, Results, describe, describe_beliefs, describe_repairs, run_live, summarize,
    verdict,
};
use super::failure::{Exit, Failure};
use super::output;
use super::threshold::Thresholds;

/// Play a scenario on a cluster in this process and report how stale its reads were
///
/// A simulation runs the members' real code on simulated sockets, disks and clocks, as fast as it can: the same seed gives
/// the same run, to the last byte of the last packet, and the trace printed at the end proves it. Exit code 1 means that
/// an invariant broke.
#[derive(Debug, clap::Args)]
pub(crate) struct ObserveCommand {
    /// The scenario, a TOML file such as scenarios/quickstart.toml
    scenario: PathBuf,

    /// Simulate (the default)
    #[arg(long, conflicts_with = "live")]
    sim: bool,

    /// Run on real sockets and disks of this machine, in real time
    #[arg(long, conflicts_with = "seeds")]
    live: bool,

    /// Decides the workload, the fate of packets and the members' randomness [default: the scenario's]
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,

    /// Simulate once for each of these seeds, e.g. 1..200, and say which broke an invariant
    #[arg(long, value_name = "FIRST..LAST", value_parser = parse_seeds, conflicts_with = "fail_if")]
    seeds: Option<RangeInclusive<u64>>,

    /// So many members named node0 and so on, on an MD5 ring, instead of the four of the preset
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=200))]
    members: Option<u16>,

    /// Do not look for a smaller scenario that breaks the same invariant
    #[arg(long)]
    no_shrink: bool,

    #[command(flatten)]
    load: Load,

    #[command(flatten)]
    thresholds: Thresholds,

    #[command(flatten)]
    output: Output,
}

fn parse_seeds(text: &str) -> Result<RangeInclusive<u64>, String> {
    let bounds = text.split_once("..").and_then(|(first, last)| {
        Some((first.parse::<u64>().ok()?, last.trim_start_matches('=').parse::<u64>().ok()?))
    });
    match bounds {
        Some((first, last)) if first <= last => Ok(first..=last),
        _ => Err("give the first seed and the last one, e.g. 1..200".to_owned()),
    }
}

impl ObserveCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let scenario = Scenario::load(&self.scenario).map_err(LabError::from)?;
        self.thresholds.check()?;
        if let Some(seeds) = self.seeds.clone() {
            return self.run_many(&scenario, seeds);
        }
        let seed = self.seed.unwrap_or(scenario.seed);
        let experiment = self.load.experiment(self.shape(), scenario, seed)?;
        let mut results = Results::begin(&self.load)?;
        let findings = if self.live {
            run_live(experiment.clone(), results.history(), !self.output.json).await?
        } else {
            simulate(&experiment, results.history(), !self.output.json).map_err(LabError::from)?
        };
        let summary = summarize(&findings, self.command(seed));
        let files = results.write(&summary)?;
        let text = if self.output.json { summary.to_json() } else { describe(&findings, &summary, &files) };
        output::print(&text)?;
        self.explain(results.directory(), &experiment, &findings)?;
        self.thresholds.judge(&summary, verdict(&summary))
    }

    /// Says how to run again what broke, and makes it smaller if it was a simulation.
    fn explain(&self, directory: &Path, experiment: &Experiment, findings: &Findings) -> Result<(), Failure> {
        let Some(breach) = describe_breach(findings) else { return Ok(()) };
        let seed = experiment.seed;
        self.say(&describe_seed(seed, &breach, &self.command(seed)))?;
        if self.live || self.no_shrink {
            return Ok(());
        }
        let command = |file: &Path, load: &Load| replay(file, seed, self.members, load);
        let shrunk = off_runtime(|| shrink_into(directory, experiment, findings, &self.load, command))?;
        shrunk.map_or(Ok(()), |text| self.say(&text))
    }

    /// A document on standard output stays alone there.
    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.output.json {
            output::note(text.trim_end());
            return Ok(());
        }
        output::print(text)
    }

    fn shape(&self) -> Shape {
        self.members.map_or(Shape::Preset(Preset::FourNode), Shape::Members)
    }

    /// Simulates every seed, as many at once as the machine has cores.
    fn run_many(&self, scenario: &Scenario, seeds: RangeInclusive<u64>) -> Result<Exit, Failure> {
        let (first, last) = (*seeds.start(), *seeds.end());
        let bar = if self.output.json { ProgressBar::hidden() } else { ProgressBar::new(last - first + 1) };
        let next = AtomicU64::new(first);
        let ended: Mutex<Vec<(u64, Result<Ended, LabError>)>> = Mutex::default();
        let worker = || loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed > last {
                return;
            }
            let run = self.one_of_many(scenario.clone(), seed);
            ended.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((seed, run));
            bar.inc(1);
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        std::thread::scope(|scope| {
            for _ in 0..cores {
                scope.spawn(worker);
            }
        });
        bar.finish_and_clear();
        let mut ended = ended.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        ended.sort_by_key(|(seed, _)| *seed);
        self.conclude(ended)
    }

    fn one_of_many(&self, scenario: Scenario, seed: u64) -> Result<Ended, LabError> {
        let findings = self.load.experiment(self.shape(), scenario, seed)?.simulate(|_| {})?;
        let breach = describe_breach(&findings);
        Ok(Ended { summary: summarize(&findings, self.command(seed)), breach })
    }

    /// What became of all seeds, as JSON or as a line for each that broke something and the sum.
    fn conclude(&self, ended: Vec<(u64, Result<Ended, LabError>)>) -> Result<Exit, Failure> {
        let mut sum = Many { runs: ended.len(), ..Many::default() };
        let mut text = String::new();
        for (seed, run) in ended {
            let Ended { summary, breach } = run?;
            sum.beliefs.add(summary.beliefs);
            sum.repairs += summary.repairs;
            sum.stale += summary.stale.rate.count;
            sum.reads += summary.stale.rate.n;
            if let Some(breach) = breach {
                text.push_str(&describe_seed(seed, &breach, &self.command(seed)));
                let replay = self.command(seed);
                sum.broken.push(BrokenSeed { seed, breach, replay, violations: summary.violations });
            }
        }
        let Many { runs, broken, stale, reads, repairs, beliefs } = &sum;
        let failed = broken.len();
        text.push_str(&format!("{runs} runs, {failed} broke an invariant; {stale} of {reads} reads stale\n"));
        text.push_str(&format!("{}\n", describe_repairs(*repairs)));
        text.push_str(&describe_beliefs(beliefs));
        if self.output.json {
            output::print_json(&serde_json::to_value(&sum).expect("every map of it has string keys"))?;
        } else {
            output::print(&text)?;
        }
        Ok(if sum.broken.is_empty() { Exit::Done } else { Exit::Broken })
    }

    /// The command that runs one seed again.
    fn command(&self, seed: u64) -> String {
        let world = if self.live { "--live" } else { "--sim" };
        breach::observe(world, &self.scenario, seed, self.members, &self.load)
    }
}

/// What came of many seeds.
#[derive(Debug, Default, Serialize)]
struct Many {
    runs: usize,
    /// Stale reads among all that were answered.
    stale: u64,
    reads: u64,
    /// What brought replicas together, over all runs.
    repairs: Repairs,
    /// What the members believed of each other, over all runs.
    beliefs: Beliefs,
    /// The seeds that broke something, in their order.
    broken: Vec<BrokenSeed>,
}

#[derive(Debug, Serialize)]
struct BrokenSeed {
    seed: u64,
    /// What broke first, in words.
    breach: String,
    /// The command that runs it again.
    replay: String,
    violations: Vec<Violation>,
}

/// What came of one seed of many.
struct Ended {
    summary: Summary,
    breach: Option<String>,
}

/// Simulates it, with its progress if that takes a while and `shown`.
fn simulate(experiment: &Experiment, keep: Keep, shown: bool) -> Result<Findings, ExperimentError> {
    off_runtime(|| {
        let display = Display::patient(shown);
        let findings = experiment.clone().simulate_into(keep, |progress| display.show(&progress));
        display.clear();
        findings
    })
}

/// Simulations have runtimes of their own, so they get a thread of their own.
fn off_runtime<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let done = std::thread::scope(|scope| scope.spawn(work).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_that_includes_its_end() {
        assert_eq!(parse_seeds("1..200"), Ok(1..=200));
        assert_eq!(parse_seeds("7..=7"), Ok(7..=7));
        for text in ["", "5", "9..1", "a..b", "1.."] {
            assert!(parse_seeds(text).is_err(), "{text}");
        }
    }
}
