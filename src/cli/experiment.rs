//! What commands that run an experiment share: the load, the progress display, the results.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use chinwag_fuzz_net::{LoadError, Scenario, ScenarioError};
use chinwag_node::WallClock;
use chinwag_observer::beliefs::Beliefs;
use chinwag_observer::history::History;
use chinwag_observer::lab::{Experiment, ExperimentError, Findings, Keep, Progress, Shape, Shrunk, World};
use chinwag_observer::metrics::{Settings, measure};
use chinwag_observer::report::report;
use chinwag_observer::summary::{About, Repairs, Summary};
use chinwag_observer::table::table;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::failure::Exit;
use super::load::{LoadSettings, LoadSettingsError};
use super::node::SystemClock;
use super::repairs::RepairSettings;

/// A simulation gets this long before its progress is shown.
const PATIENCE: Duration = Duration::from_secs(2);

/// The load of an experiment, what its members do against it, and where its results go.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Load {
    #[command(flatten)]
    settings: LoadSettings,

    #[command(flatten)]
    repairs: RepairSettings,

    /// Where a directory with the results is made
    #[arg(long, help_heading = "Results", value_name = "DIR", default_value = "chinwag-out")]
    out: PathBuf,
}

/// An experiment could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LabError {
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("the scenario does not fit the cluster: {0}")]
    Scenario(#[from] ScenarioError),
    #[error(transparent)]
    Settings(#[from] LoadSettingsError),
    #[error("cannot make a directory for the members' data: {0}")]
    Data(#[source] io::Error),
    #[error(transparent)]
    Experiment(Box<ExperimentError>),
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("interrupted; nothing was kept")]
    Interrupted,
}

impl From<ExperimentError> for LabError {
    fn from(error: ExperimentError) -> Self {
        Self::Experiment(Box::new(error))
    }
}

impl Load {
    /// The experiment that puts this load on a cluster of `shape` while `scenario` is played.
    pub(crate) fn experiment(
        &self,
        shape: Shape,
        scenario: Scenario,
        seed: u64,
    ) -> Result<Experiment, LabError> {
        let names = shape.names();
        let scenario = scenario.with_nemesis(seed, names.iter().map(|name| name.as_str()));
        scenario.check_nodes(names.iter().map(|name| name.as_str()))?;
        let keys = self.settings.records(shape);
        let workload = self.settings.workload(shape, seed)?;
        let mut configuration = json!({
            "members": names.len(),
            "preset": match shape {
                Shape::Preset(preset) => Some(preset.to_string()),
                Shape::Members(_) => None,
            },
            "n": 3,
            "durability": "buffered",
            "scenario": &scenario,
        });
        for (name, value) in self.settings.configuration().into_iter().chain(self.repairs.configuration()) {
            configuration[name] = value;
        }
        let cluster = self.repairs.cluster(shape);
        Ok(Experiment { cluster, scenario, workload, keys, seed, configuration })
    }

    /// The same with as many sessions and operations a second as a [shrunk](Shrunk) experiment has.
    pub(crate) fn as_shrunk(&self, shrunk: &Shrunk) -> Self {
        Self { settings: self.settings.as_shrunk(shrunk), ..self.clone() }
    }

    /// The flags that give this load again.
    pub(crate) fn flags(&self) -> String {
        self.settings.flags() + &self.repairs.flags()
    }

    /// Makes a directory for one run's results, named by the time.
    pub(crate) fn directory(&self) -> Result<PathBuf, LabError> {
        let now = SystemTime::UNIX_EPOCH + SystemClock.now();
        let name = humantime::format_rfc3339_seconds(now).to_string().replace(':', "-");
        let failed = |path: &Path, source| LabError::Write { path: path.to_owned(), source };
        std::fs::create_dir_all(&self.out).map_err(|source| failed(&self.out, source))?;
        // A second run within the second gets a number.
        let names = std::iter::once(name.clone()).chain((2..).map(|number| format!("{name}-{number}")));
        for path in names.map(|name| self.out.join(name)) {
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(failed(&path, source)),
            }
        }
        unreachable!("there is always another number")
    }
}

/// Runs an experiment on real sockets and disks of this machine until it ends or Ctrl-C, with its progress if `shown`.
pub(crate) async fn run_live(experiment: Experiment, keep: Keep, shown: bool) -> Result<Findings, LabError> {
    let data = tempfile::tempdir().map_err(LabError::Data)?;
    let world = World::Live { directory: data.path().to_owned(), clock: Arc::new(SystemClock) };
    let display = Display::new(shown);
    let before = cpu_time().zip(Some(Instant::now()));
    let running = experiment.run(world, keep, |progress| display.show(&progress));
    let findings = tokio::select! {
        biased;
        _ = tokio::signal::ctrl_c() => Err(LabError::Interrupted),
        findings = Box::pin(running) => findings.map_err(LabError::from),
    };
    display.clear();
    let spent = before.and_then(|(before, begun)| Some((cpu_time()?.checked_sub(before)?, begun.elapsed())));
    findings.map(|mut findings| {
        findings.load.cpu_share = spent.map(|(spent, wall)| spent.as_secs_f64() / wall.as_secs_f64());
        findings
    })
}

/// CPU time this process has used, as the kernel counts it: fields 14 and 15 of proc(5)'s `stat`, in ticks of 10 ms. Not
/// known where there is no such file.
fn cpu_time() -> Option<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields = stat.rsplit(')').next()?.split_whitespace();
    let ticks: u32 = fields.skip(11).take(2).map_while(|ticks| ticks.parse::<u32>().ok()).sum();
    Some(TICK * ticks)
}

/// What the findings amount to; `command` runs the same again.
pub(crate) fn summarize(findings: &Findings, command: String) -> Summary {
    let about = About {
        command,
        program: concat!("chinwag ", env!("CARGO_PKG_VERSION")).to_owned(),
        converged_after_ms: findings.converged_after.map(|it| it.as_secs_f64() * 1000.0),
        violations: findings.violations.clone(),
        unsent: findings.unsent,
        load: findings.load,
        repairs: Repairs::of(findings.activity.values()),
        exchanges: findings.exchanges.clone(),
        divergence: findings.divergence.clone(),
        convergence: findings.convergence.clone(),
        queues: findings.queues.clone(),
        beliefs: findings.beliefs.clone(),
    };
    Summary::new(&findings.history, measure(&findings.ledger, &Settings::default()), about)
}

/// 0 if everything held that must hold, 1 otherwise.
pub(crate) fn verdict(summary: &Summary) -> Exit {
    let held = summary.violations.is_empty() && summary.converged_after_ms.is_some();
    if held { Exit::Done } else { Exit::Broken }
}

/// The results for a person: the table, what repaired what, the trace of a simulation, the files.
pub(crate) fn describe(findings: &Findings, summary: &Summary, files: &[PathBuf]) -> String {
    let mut text = table(summary);
    let repairs = describe_repairs(summary.repairs);
    text.push_str(&format!("\n{repairs}; operations not sent in time: {}\n", findings.unsent));
    text.push_str(&describe_beliefs(&findings.beliefs));
    if let Some(trace) = &findings.trace {
        text.push_str(&format!("trace {trace}\n"));
    }
    text.push('\n');
    for file in files {
        text.push_str(&format!("{}\n", file.display()));
    }
    text
}

/// What repaired what, as the beginning of a line.
pub(crate) fn describe_repairs(repairs: Repairs) -> String {
    let Repairs { by_reads, hints_delivered, keys_by_anti_entropy, rounds } = repairs;
    format!(
        "repairs: {by_reads} by reads, {hints_delivered} hints delivered, {keys_by_anti_entropy} keys by anti-entropy \
         in {rounds} rounds"
    )
}

/// What the members believed of each other, in a line.
pub(crate) fn describe_beliefs(beliefs: &Beliefs) -> String {
    let wrong = beliefs.wrongly_down.len();
    let mut text =
        format!("members: {wrong} times was a healthy one believed down by another that could reach it");
    if let Some(after) = beliefs.one_view_after_ms {
        text.push_str(&format!("; one view {after:.0} ms after the last heal"));
    }
    if let Some(after) = beliefs.restart_known_after_ms {
        text.push_str(&format!("; a restart known to all within {after:.0} ms"));
    }
    text.push('\n');
    text
}

/// Where the results of one run go. Dropped before they are whole, it takes away what is there of them.
#[derive(Debug)]
pub(crate) struct Results {
    directory: PathBuf,
    is_whole: bool,
}

impl Results {
    /// A new directory in `--out`.
    pub(crate) fn begin(load: &Load) -> Result<Self, LabError> {
        Ok(Self { directory: load.directory()?, is_whole: false })
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the history is written as it happens.
    pub(crate) fn history(&self) -> Keep {
        Keep::File(self.directory.join(HISTORY_FILE))
    }

    /// Writes a history that was kept in memory.
    pub(crate) fn write_history(&self, history: &History) -> Result<(), LabError> {
        let path = self.directory.join(HISTORY_FILE);
        let write = || history.write(std::fs::File::create_new(&path)?)?.flush();
        write().map_err(|source| LabError::Write { path: path.clone(), source })
    }

    /// Writes the rest, and says which files there are.
    pub(crate) fn write(&mut self, summary: &Summary) -> Result<Vec<PathBuf>, LabError> {
        let files = [HISTORY_FILE, "summary.json", "report.html"].map(|name| self.directory.join(name));
        let [_, json, html] = &files;
        for (path, text) in [(json, summary.to_json()), (html, report(summary))] {
            std::fs::write(path, text).map_err(|source| LabError::Write { path: path.clone(), source })?;
        }
        self.is_whole = true;
        Ok(files.into())
    }
}

impl Drop for Results {
    fn drop(&mut self) {
        if !self.is_whole {
            std::fs::remove_dir_all(&self.directory).ok();
        }
    }
}

/// The name of a run's history among its results.
const HISTORY_FILE: &str = "history.jsonl";

/// Shows progress on standard error: a bar on a terminal, a line per phase elsewhere.
pub(crate) struct Display {
    bar: Option<ProgressBar>,
    phase: RefCell<String>,
    lines: bool,
    /// Until then there is nothing worth a bar.
    quiet_until: Instant,
}

impl Display {
    pub(crate) fn new(shown: bool) -> Self {
        let bar = (shown && io::stderr().is_terminal()).then(|| ProgressBar::new(0).with_style(bar_style()));
        if shown && bar.is_none() {
            eprint_line("starting the members");
        } else if let Some(bar) = &bar {
            bar.set_message("starting the members");
        }
        let lines = shown && bar.is_none();
        Self { lines, bar, phase: RefCell::default(), quiet_until: Instant::now() }
    }

    /// One that says nothing of what is over within two seconds, and nothing at all where there is no terminal: a
    /// simulation that nobody watches is told by its results.
    pub(crate) fn patient(shown: bool) -> Self {
        let shown = shown && io::stderr().is_terminal();
        let bar = shown.then(|| ProgressBar::new(0).with_style(bar_style()));
        let quiet_until = Instant::now() + PATIENCE;
        Self { lines: false, bar, phase: RefCell::default(), quiet_until }
    }

    pub(crate) fn show(&self, progress: &Progress) {
        if Instant::now() < self.quiet_until {
            return;
        }
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

    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar_style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Progress nobody can read is no reason to stop.
fn eprint_line(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}
