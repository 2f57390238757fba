//! `chinwag demo`: a cluster in this process, under load and faults, and what became of it.

use std::path::PathBuf;

use chinwag_fuzz_net::Scenario;
use chinwag_node::membership::Preset;
use chinwag_observer::lab::{Experiment, Shape};

use super::connection::Output;
use super::experiment::{LabError, Load, Results, describe, run_live, summarize, verdict};
use super::failure::{Exit, Failure};
use super::output;
use super::threshold::Thresholds;

/// The scenario that is shipped, so that the binary shows it wherever it is run.
const QUICKSTART: &str = include_str!("../../scenarios/quickstart.toml");

/// Run a cluster of four in this process, with load and faults, and report how stale its reads were
///
/// Takes less than a minute. Exit code 1 means that an invariant broke: an acknowledged write was lost, or the replicas did
/// not come to agree.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoCommand {
    /// A scenario to play instead of the shipped one (scenarios/quickstart.toml)
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Decides the workload, the fate of packets and the members' randomness [default: the scenario's]
    #[arg(long)]
    seed: Option<u64>,

    #[command(flatten)]
    load: Load,

    #[command(flatten)]
    thresholds: Thresholds,

    #[command(flatten)]
    output: Output,
}

impl DemoCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        self.thresholds.check()?;
        let experiment = self.experiment()?;
        let mut results = Results::begin(&self.load)?;
        let findings = run_live(experiment, results.history(), !self.output.json).await?;
        let summary = summarize(&findings, self.command());
        let files = results.write(&summary)?;
        let text = if self.output.json { summary.to_json() } else { describe(&findings, &summary, &files) };
        output::print(&text)?;
        self.thresholds.judge(&summary, verdict(&summary))
    }

    fn experiment(&self) -> Result<Experiment, LabError> {
        let scenario = match &self.scenario {
            Some(path) => Scenario::load(path)?,
            None => Scenario::parse(QUICKSTART)?,
        };
        let seed = self.seed.unwrap_or(scenario.seed);
        self.load.experiment(Shape::Preset(Preset::FourNode), scenario, seed)
    }

    /// The command that runs the same again.
    fn command(&self) -> String {
        let scenario = self.scenario.as_ref().map(|path| format!(" --scenario {}", path.display()));
        let seed = self.seed.map(|seed| format!(" --seed {seed}"));
        let given = [scenario, seed].into_iter().flatten().collect::<String>();
        format!("chinwag demo{given}{}", self.load.flags())
    }
}
