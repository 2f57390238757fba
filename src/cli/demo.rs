//! `chinwag demo`: a cluster in this process, under load and faults, and what became of it.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chinwag_fuzz_net::{LoadError, Scenario, ScenarioError};
use chinwag_node::WallClock;
use chinwag_node::membership::Preset;
use chinwag_observer::history::Level;
use chinwag_observer::lab::{ClusterPlan, Experiment, ExperimentError, Findings, Progress};
use chinwag_observer::metrics::{Settings, measure};
use chinwag_observer::report::report;
use chinwag_observer::summary::{About, Summary};
use chinwag_observer::table::table;
use chinwag_observer::workload::{Arrivals, KeyError, Keys, Workload};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::connection::Output;
use super::failure::{Exit, Failure};
use super::node::SystemClock;

/// The scenario that is shipped, so that the binary shows it wherever it is run.
const QUICKSTART: &str = include_str!("../../scenarios/quickstart.toml");

/// Members of one process need not spare each other: they compare trees about once a second.
const ANTI_ENTROPY: Duration = Duration::from_secs(1);

/// Run a cluster of four in this process, with load and faults, and report how stale its reads were
///
/// Takes about half a minute. Exit code 1 means that an invariant broke: an acknowledged write was lost, or the replicas
/// did not come to agree.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoCommand {
    /// A scenario to play instead of the shipped one (scenarios/quickstart.toml)
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Decides the workload, the fate of packets and the members' randomness [default: the scenario's]
    #[arg(long)]
    seed: Option<u64>,

    /// Operations per second, over all sessions
    #[arg(long, value_name = "OPS", default_value_t = 500.0)]
    rate: f64,

    /// Concurrent sessions
    #[arg(long, value_name = "COUNT", default_value_t = 32)]
    sessions: u32,

    /// Where a directory with the results is made
    #[arg(long, value_name = "DIR", default_value = "chinwag-out")]
    out: PathBuf,

    #[command(flatten)]
    output: Output,
}

/// The demonstration could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the scenario does not fit the cluster: {0}")]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("cannot make a directory for the members' data: {0}")]
    Data(#[source] io::Error),
    #[error(transparent)]
    Experiment(Box<ExperimentError>),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("interrupted; nothing was kept")]
    Interrupted,
}

impl DemoCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let findings = tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(DemoError::Interrupted),
            findings = self.experiment() => findings,
        };
        let findings = findings?;
        let directory = self.directory()?;
        let summary = self.summarize(&findings);
        let files = write_results(&directory, &findings, &summary)?;
        self.print(&findings, &summary, &files).map_err(Failure::Output)?;
        Ok(if summary.violations.is_empty() && summary.converged_after_ms.is_some() {
            Exit::Done
        } else {
            Exit::NotFound
        })
    }

    async fn experiment(&self) -> Result<Findings, DemoError> {
        let scenario = match &self.scenario {
            Some(path) => Scenario::load(path)?,
            None => Scenario::parse(QUICKSTART)?,
        };
        let members = Preset::FourNode.members();
        scenario.check_nodes(members.iter().map(|(name, _)| name.as_str()))?;
        let seed = self.seed.unwrap_or(scenario.seed);
        let data = tempfile::tempdir().map_err(DemoError::Data)?;
        let cluster = ClusterPlan {
            preset: Preset::FourNode,
            directory: data.path().to_owned(),
            anti_entropy: ANTI_ENTROPY,
        };
        let experiment = Experiment {
            cluster,
            workload: self.workload(seed)?,
            configuration: self.configuration(&scenario),
            scenario,
            seed,
        };
        let display = Display::new(!self.output.json);
        let findings = experiment.run(Arc::new(SystemClock), |progress| display.show(&progress)).await;
        display.clear();
        findings.map_err(|error| DemoError::Experiment(Box::new(error)))
    }

    fn workload(&self, seed: u64) -> Result<Workload, KeyError> {
        let keys = (0..=255).map(|key| key.to_string()).collect();
        Ok(Workload {
            sessions: self.sessions,
            rate: self.rate,
            arrivals: Arrivals::Poisson,
            read_share: 0.6,
            delete_share: 0.03,
            context_share: 0.95,
            levels: vec![(Level::One, 1.0), (Level::Quorum, 1.0)],
            keys: Keys::zipfian(keys, 0.99, seed)?,
            seed,
        })
    }

    fn configuration(&self, scenario: &Scenario) -> serde_json::Value {
        json!({
            "preset": Preset::FourNode.to_string(),
            "n": Preset::FourNode.n().get(),
            "read_repair": true,
            "hinted_handoff": true,
            "anti_entropy_ms": ANTI_ENTROPY.as_millis(),
            "durability": "buffered",
            "sessions": self.sessions,
            "rate": self.rate,
            "keys": "integers 0 to 255, zipfian 0.99",
            "levels": ["one", "quorum"],
            "scenario": scenario,
        })
    }

    fn summarize(&self, findings: &Findings) -> Summary {
        let about = About {
            command: self.command(),
            program: concat!("chinwag ", env!("CARGO_PKG_VERSION")).to_owned(),
            converged_after_ms: findings.converged_after.map(|it| it.as_secs_f64() * 1000.0),
            violations: findings.violations.clone(),
        };
        Summary::new(&findings.history, measure(&findings.history, &Settings::default()), about)
    }

    /// The command that runs the same again.
    fn command(&self) -> String {
        let mut command = "chinwag demo".to_owned();
        if let Some(path) = &self.scenario {
            command.push_str(&format!(" --scenario {}", path.display()));
        }
        if let Some(seed) = self.seed {
            command.push_str(&format!(" --seed {seed}"));
        }
        command.push_str(&format!(" --rate {} --sessions {}", self.rate, self.sessions));
        command
    }

    /// Makes the directory for this run's results, named by the time.
    fn directory(&self) -> Result<PathBuf, DemoError> {
        let now = SystemTime::UNIX_EPOCH + SystemClock.now();
        let name = humantime::format_rfc3339_seconds(now).to_string().replace(':', "-");
        let path = self.out.join(name);
        std::fs::create_dir_all(&path).map_err(|source| DemoError::Write { path: path.clone(), source })?;
        Ok(path)
    }

    fn print(&self, findings: &Findings, summary: &Summary, files: &[PathBuf]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.output.json {
            return out.write_all(summary.to_json().as_bytes());
        }
        writeln!(out, "{}", table(summary))?;
        let total =
            |of: fn(&chinwag_node::Activity) -> u64| -> u64 { findings.activity.values().map(of).sum() };
        writeln!(
            out,
            "repairs: {} by reads, {} hints delivered, {} keys by anti-entropy; operations not sent in time: {}",
            total(|it| it.read_repairs),
            total(|it| it.hints_delivered),
            total(|it| it.keys_repaired),
            findings.unsent,
        )?;
        writeln!(out)?;
        for file in files {
            writeln!(out, "{}", file.display())?;
        }
        Ok(())
    }
}

fn write_results(
    directory: &Path,
    findings: &Findings,
    summary: &Summary,
) -> Result<Vec<PathBuf>, DemoError> {
    let files = ["history.jsonl", "summary.json", "report.html"].map(|name| directory.join(name));
    let [history, json, html] = &files;
    let wrote = |path: &PathBuf, result: io::Result<()>| {
        result.map_err(|source| DemoError::Write { path: path.clone(), source })
    };
    let write_history = || -> io::Result<()> {
        findings.history.write(io::BufWriter::new(std::fs::File::create(history)?))?.flush()
    };
    wrote(history, write_history())?;
    wrote(json, std::fs::write(json, summary.to_json()))?;
    wrote(html, std::fs::write(html, report(summary)))?;
    Ok(files.into())
}

/// Shows progress on standard error: a bar on a terminal, a line per phase elsewhere.
struct Display {
    bar: Option<ProgressBar>,
    phase: std::cell::RefCell<String>,
    lines: bool,
}

impl Display {
    fn new(shown: bool) -> Self {
        let bar = (shown && io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:30} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        if shown && bar.is_none() {
            eprint_line("starting four members");
        } else if let Some(bar) = &bar {
            bar.set_message("starting four members");
        }
        Self { lines: shown && bar.is_none(), bar, phase: std::cell::RefCell::default() }
    }

    fn show(&self, progress: &Progress) {
        let Progress { elapsed, duration, phase, operations } = progress;
        let (elapsed, duration) = (elapsed.min(duration), duration);
        let waiting = elapsed == duration;
        let phase = if waiting { "waiting until the replicas agree" } else { phase };
        if let Some(bar) = &self.bar {
            bar.set_length(duration.as_millis().try_into().unwrap_or(u64::MAX));
            bar.set_position(elapsed.as_millis().try_into().unwrap_or(u64::MAX));
            bar.set_message(format!("{:>4.1} s  {operations:>6} operations  {phase}", elapsed.as_secs_f64()));
        }
        if self.lines && *self.phase.borrow() != phase {
            eprint_line(&format!("{:>4.1} s  {phase}", elapsed.as_secs_f64()));
            phase.clone_into(&mut self.phase.borrow_mut());
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Progress nobody can read is no reason to stop.
fn eprint_line(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}
