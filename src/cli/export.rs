//! `chinwag export`: a history as a Parquet file.

use std::fs::Permissions;
use std::io::{self, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use chinwag_observer::history::{ExportError, export};
use clap::Args;

use super::failure::{Exit, Failure};
use super::{output, source};

/// Write a history as a Parquet file, for tools that read columns
///
/// One row per operation, with the names and meanings of docs/history.md; versions, contexts and replicas are lists. What was
/// run and the steps of the scenario are in the file's metadata.
#[derive(Debug, Args)]
pub(crate) struct ExportCommand {
    /// The history.jsonl, or - for standard input
    #[arg(value_name = "HISTORY")]
    history: PathBuf,
    /// The file to write; one that is there is replaced once the new one is whole
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// A history that was not exported. A file that was there is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExportFailure {
    /// It cannot be opened.
    #[error("cannot read {path}: {source}")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
    /// It has a mistake, or the file could not be written.
    #[error("{path}: {source}")]
    Export {
        path: String,
        #[source]
        source: ExportError,
    },
    /// The new file could not be begun or put in place.
    #[error("cannot write {path}: {source}")]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
}

impl ExportCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let count = self.export()?;
        output::print(&format!("{count} operations written to {}\n", self.file.display()))?;
        Ok(Exit::Done)
    }

    fn export(&self) -> Result<u64, ExportFailure> {
        let path = |path: &Path| path.display().to_string();
        let open = |source| ExportFailure::Open { path: path(&self.history), source };
        let write = |source| ExportFailure::Write { path: path(&self.file), source };
        let source = BufReader::new(source::open(&self.history).map_err(open)?);
        let folder =
            self.file.parent().filter(|folder| *folder != Path::new("")).unwrap_or_else(|| Path::new("."));
        // A history is no secret, and temporary files are made as if they were.
        let readable = Permissions::from_mode(0o644);
        let mut file = tempfile::Builder::new().permissions(readable).tempfile_in(folder).map_err(write)?;
        let count = export(source, file.as_file_mut())
            .map_err(|source| ExportFailure::Export { path: path(&self.history), source })?;
        file.persist(&self.file).map_err(|error| write(error.error))?;
        Ok(count)
    }
}
