//! What is said when an experiment broke an invariant: what happened, how to run it again, and the smallest scenario found
//! that still breaks it.

use std::path::Path;

use chinwag_fuzz_net::Scenario;
use chinwag_observer::invariants::Invariant;
use chinwag_observer::lab::{Experiment, Findings};
use indicatif::{ProgressBar, ProgressStyle};

use super::experiment::{LabError, Load};
use super::output;

/// Simulations spent on a smaller experiment.
const SHRINK_RUNS_MAX: usize = 60;
/// The smallest failing scenario, beside the other results.
const SHRUNK_FILE: &str = "shrunk.toml";

/// The command that simulates `scenario` with `seed` and the same cluster and load; a nemesis draws the same again.
pub(crate) fn replay(scenario: &Path, seed: u64, members: Option<u16>, load: &Load) -> String {
    observe("--sim", scenario, seed, members, load)
}

/// As [`replay`], in either `world`: `--sim` or `--live`.
pub(crate) fn observe(world: &str, scenario: &Path, seed: u64, members: Option<u16>, load: &Load) -> String {
    let members = members.map(|count| format!(" --members {count}")).unwrap_or_default();
    format!("chinwag observe {} {world} --seed {seed}{members}{}", scenario.display(), load.flags())
}

/// The lines about a seed that broke something: `breach` is what [`describe_breach`] says, `command` runs it again.
pub(crate) fn describe_seed(seed: u64, breach: &str, command: &str) -> String {
    format!("seed {seed} broke {breach}\n  replay: {command}\n")
}

/// The invariant that broke first and what happened, in one line; `None` if all held.
pub(crate) fn describe_breach(findings: &Findings) -> Option<String> {
    let invariant = chief(findings)?;
    let violation = findings.violations.iter().find(|it| it.invariant == invariant);
    let what = violation.map_or("the replicas did not agree in time", |it| it.what.as_str());
    let key = violation.map(|it| it.key.as_str()).filter(|key| !key.is_empty());
    let of_key = key.map(|key| format!(" (key {key})")).unwrap_or_default();
    Some(format!("{}: {what}{of_key}", name(invariant)))
}

/// The name of an invariant, as it stands in a summary.
fn name(invariant: Invariant) -> String {
    serde_json::to_value(invariant)
        .ok()
        .and_then(|it| it.as_str().map(str::to_owned))
        .unwrap_or_else(|| format!("{invariant:?}"))
}

/// The one to look at of all that broke: the first found, or convergence if nothing else did.
fn chief(findings: &Findings) -> Option<Invariant> {
    findings.violations.first().map(|it| it.invariant).or_else(|| findings.broken().first().copied())
}

/// Simulates `experiment`, whose `findings` broke an invariant, with fewer and fewer faults and less and less `load`, and
/// writes the smallest scenario that breaks the same one into `directory`. Says what came of it, with the command that
/// `replay` makes of the file and the load; `None` if all held. Takes as long as its simulations, and must not be called from within a runtime.
pub(crate) fn shrink_into(
    directory: &Path,
    experiment: &Experiment,
    findings: &Findings,
    load: &Load,
    replay: impl Fn(&Path, &Load) -> String,
) -> Result<Option<String>, LabError> {
    let Some(broken) = chief(findings) else { return Ok(None) };
    let before = Size::of(&experiment.scenario, experiment.workload.sessions, experiment.workload.rate);
    let bar = progress();
    let shrunk = experiment.shrink(
        |smaller| {
            // Replicas that could not agree in time are less than replicas that were seen to differ.
            let is_seen = |it: &Findings| it.violations.iter().any(|it| it.invariant == broken);
            if is_seen(findings) { is_seen(smaller) } else { smaller.broken().contains(&broken) }
        },
        SHRINK_RUNS_MAX,
        |runs, smallest| {
            bar.set_position(runs.try_into().unwrap_or(u64::MAX));
            let Experiment { scenario, workload, .. } = smallest;
            let size = Size::of(scenario, workload.sessions, workload.rate);
            bar.set_message(format!("{} still break it", size.out_of(&before)));
        },
    );
    bar.finish_and_clear();
    let file = directory.join(SHRUNK_FILE);
    std::fs::write(&file, shrunk.scenario.to_toml())
        .map_err(|source| LabError::Write { path: file.clone(), source })?;
    let after = Size::of(&shrunk.scenario, shrunk.sessions, shrunk.rate);
    Ok(Some(format!(
        "shrunk in {} runs: {} break it as well: {}\n  replay: {}\n",
        shrunk.runs,
        after.out_of(&before),
        file.display(),
        replay(&file, &load.as_shrunk(&shrunk)),
    )))
}

/// How much there is to look at in an experiment.
struct Size {
    faults: usize,
    sessions: u32,
    rate: f64,
    seconds: f64,
}

impl Size {
    fn of(scenario: &Scenario, sessions: u32, rate: f64) -> Self {
        let (faults, seconds) = (scenario.fault_steps().len(), scenario.duration().as_secs_f64());
        Self { faults, sessions, rate, seconds }
    }

    fn out_of(&self, whole: &Self) -> String {
        format!(
            "{} of {} faults, {} of {} sessions, {} of {} operations a second and {} of {} s",
            self.faults,
            whole.faults,
            self.sessions,
            whole.sessions,
            self.rate,
            whole.rate,
            self.seconds,
            whole.seconds
        )
    }
}

/// On a terminal a bar on standard error, elsewhere one line.
fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template("shrinking {bar:30} run {pos} of {len}  {msg}");
    let bar = ProgressBar::new(SHRINK_RUNS_MAX.try_into().unwrap_or(u64::MAX));
    if bar.is_hidden() {
        output::note(&format!("shrinking the scenario, in {SHRINK_RUNS_MAX} runs at most"));
    }
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chinwag_node::membership::Preset;
    use chinwag_observer::invariants::Violation;
    use chinwag_observer::lab::Shape;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        load: Load,
    }

    /// A second of light load with two faults, and what its run would find had it broken `invariant`.
    fn broken(invariant: Option<Invariant>) -> (Load, Experiment, Findings) {
        let load = Flags::parse_from(["chinwag", "--rate", "20", "--sessions", "2"]).load;
        let text = r#"
            name = "brief"
            duration = "1s"
            [[step]]
            at = "200ms"
            pause = { node = "replica0", for = "100ms" }
            [[step]]
            at = "400ms"
            pause = { node = "replica1", for = "100ms" }
        "#;
        let scenario = Scenario::parse(text).unwrap();
        let experiment = load.experiment(Shape::Preset(Preset::FourNode), scenario, 7).unwrap();
        let mut findings = experiment.clone().simulate(|_| {}).unwrap();
        assert_eq!(describe_breach(&findings), None);
        findings.violations.extend(invariant.map(|invariant| Violation {
            invariant,
            key: "k".to_owned(),
            operations: Vec::new(),
            what: "a value is gone".to_owned(),
        }));
        (load, experiment, findings)
    }

    #[test]
    fn a_breach_is_named_with_its_key() {
        let (load, _, mut findings) = broken(Some(Invariant::AcknowledgedWriteKept));
        let breach = describe_breach(&findings).unwrap();
        assert_eq!(breach, "acknowledged_write_kept: a value is gone (key k)");
        let command = replay(Path::new("a.toml"), 7, Some(8), &load);
        assert_eq!(
            describe_seed(7, &breach, &command),
            format!(
                "seed 7 broke {breach}\n  replay: chinwag observe a.toml --sim --seed 7 --members 8 --rate 20 --sessions 2\n"
            )
        );

        findings.violations.clear();
        findings.converged_after = None;
        assert_eq!(describe_breach(&findings).unwrap(), "converged: the replicas did not agree in time");
        findings.converged_after = Some(Duration::ZERO);
        assert_eq!(describe_breach(&findings), None);
    }

    #[test]
    fn what_cannot_be_shrunk_is_written_whole() {
        let (load, experiment, findings) = broken(Some(Invariant::DotUnique));
        let directory = tempfile::tempdir().unwrap();
        let command = |file: &Path, load: &Load| replay(file, 7, None, load);
        let text = shrink_into(directory.path(), &experiment, &findings, &load, command).unwrap().unwrap();
        let file = directory.path().join(SHRUNK_FILE);
        assert!(
            text.contains("2 of 2 faults, 2 of 2 sessions") && text.contains(&command(&file, &load)),
            "{text}"
        );
        let written = Scenario::load(&file).unwrap();
        assert_eq!(written.to_toml(), experiment.scenario.to_toml());

        let (_, experiment, findings) = broken(None);
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(shrink_into(empty.path(), &experiment, &findings, &load, command).unwrap(), None);
        assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0);
    }
}
