//! `chinwag check`: judges a history, ours or another tool's, by every metric there is.

use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chinwag_observer::check::{Metric, Model, Report, Settings, check, check_imported, render};
use chinwag_observer::history::ReadError;
use chinwag_observer::import::{ImportError, read_edn, read_log};
use chinwag_observer::ledger::Ledger;
use clap::{Args, ValueEnum};

use super::failure::{Exit, Failure};
use super::{output, source};

/// How much of a file is looked at to tell what it is.
const HEAD_BYTES: usize = 64;

/// Find what is wrong with a history, and how stale it is
///
/// HISTORY is a history.jsonl of chinwag, a history of Jepsen or Knossos in EDN, or a text log as porcupine reads them: which
/// of them is seen from its first characters. Prints every metric, and each anomaly by name with the operations that show
/// it. Exits with 0 if there is no anomaly, 1 if there is one, 2 if the file cannot be read or a line of it is malformed.
#[derive(Debug, Args)]
pub(crate) struct CheckCommand {
    /// The file, or - for standard input
    #[arg(value_name = "HISTORY", required_unless_present = "self_test")]
    history: Option<PathBuf>,
    /// How values come about: siblings (a put overwrites what its context covers) or a register (a put overwrites
    /// whatever is there). Siblings by default for our own histories, a register for those of other tools
    #[arg(long, value_enum)]
    model: Option<ModelName>,
    /// Only these metrics, by the names that are printed
    #[arg(long, value_name = "METRIC", value_delimiter = ',')]
    only: Vec<Metric>,
    /// How far clients' clocks may be apart: every operation is taken to begin so much earlier and end so much later
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    clock_bound: Duration,
    /// The most steps to look for a linear order of one key's operations; then the answer is "unknown"
    #[arg(long, value_name = "STEPS", default_value_t = 10_000_000)]
    budget: u64,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
    /// Check the checker instead: every metric against a second opinion, and against truth that is known
    #[arg(long, conflicts_with_all = ["history", "model", "only", "clock_bound", "budget"])]
    self_test: bool,
}

/// The models by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModelName {
    Siblings,
    Register,
}

/// A file that cannot be judged. Nothing was printed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    /// It cannot be opened.
    #[error("cannot read {path}: {source}")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
    /// It is a history of ours with a mistake in it.
    #[error("{path}: {source}")]
    History {
        path: String,
        #[source]
        source: ReadError,
    },
    /// It is another tool's, with a mistake in it.
    #[error("{path}: {source}")]
    Import {
        path: String,
        #[source]
        source: ImportError,
    },
    /// There is nothing in it that is known.
    #[error(
        "{0}: no operation found: a history of chinwag, an EDN history, or a log with lines of jepsen.util"
    )]
    Empty(String),
}

impl CheckCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let Some(path) = &self.history else { return self.self_test() };
        let report = self.judge(path)?;
        if self.json {
            let document = serde_json::to_value(&report).expect("every map of a report has string keys");
            output::print_json(&document)?;
        } else {
            output::print(&render(&report))?;
        }
        Ok(if report.anomalies.is_empty() { Exit::Done } else { Exit::Broken })
    }

    fn judge(&self, path: &Path) -> Result<Report, CheckError> {
        let name = path.display().to_string();
        let open = |source| CheckError::Open { path: name.clone(), source };
        let mut source = BufReader::new(source::open(path).map_err(open)?);
        let kind = FileKind::of(source.fill_buf().map_err(open)?);
        let import = |source| CheckError::Import { path: name.clone(), source };
        let log = match kind {
            FileKind::Ours => {
                let history = |source| CheckError::History { path: name.clone(), source };
                let mut ledger = Ledger::read(source).map_err(history)?;
                ledger.widen(u64::try_from(self.clock_bound.as_nanos()).unwrap_or(u64::MAX));
                return Ok(check(&ledger, &self.settings(Model::Siblings)));
            }
            FileKind::Edn => read_edn(source).map_err(import)?,
            FileKind::Log => read_log(source).map_err(import)?,
        };
        if log.calls.is_empty() {
            return Err(CheckError::Empty(name));
        }
        let log = log.widened(u64::try_from(self.clock_bound.as_nanos()).unwrap_or(u64::MAX));
        Ok(check_imported(&log, &self.settings(Model::Register)))
    }

    fn settings(&self, by_default: Model) -> Settings {
        let model = match self.model {
            None => by_default,
            Some(ModelName::Siblings) => Model::Siblings,
            Some(ModelName::Register) => Model::Register,
        };
        let only = (!self.only.is_empty()).then(|| self.only.iter().copied().collect());
        Settings { only, budget: self.budget, ..Settings::new(model) }
    }

    fn self_test(&self) -> Result<Exit, Failure> {
        let found = chinwag_observer::oracle::self_test(chinwag_observer::oracle::Effort::FULL);
        if self.json {
            let document = serde_json::to_value(&found).expect("every map of a self-test has string keys");
            output::print_json(&document)?;
        } else {
            output::print(&found.render())?;
        }
        Ok(if found.is_clean() { Exit::Done } else { Exit::Broken })
    }
}

/// What a file is, by its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    Ours,
    Edn,
    Log,
}

impl FileKind {
    fn of(head: &[u8]) -> Self {
        let head = &head[..head.len().min(HEAD_BYTES)];
        let mut text = head.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        match (text.next(), text.next()) {
            (Some(b'{'), Some(b'"')) => Self::Ours,
            (Some(b'{' | b'[' | b'(' | b';' | b'#'), _) => Self::Edn,
            _ => Self::Log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FileKind;

    #[test]
    fn a_file_is_known_by_its_beginning() {
        assert_eq!(FileKind::of(b"{\"chinwag_history\":{}}"), FileKind::Ours);
        for edn in ["{:process 0}", "[{:process 0}]", "; notes", "#jepsen.history.Op{}"] {
            assert_eq!(FileKind::of(edn.as_bytes()), FileKind::Edn, "{edn}");
        }
        assert_eq!(FileKind::of(b"INFO  jepsen.util - 0"), FileKind::Log);
        assert_eq!(FileKind::of(b""), FileKind::Log);
    }
}
