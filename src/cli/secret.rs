//! The file with the cluster secret: makes a new one, and reads it for every command that talks to a cluster.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use chinwag_client::{ClusterSecret, SecretError};

use super::failure::{Exit, Failure};
use super::output;

/// Make a cluster secret
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SecretCommand {
    /// Make a new cluster secret and print it
    ///
    /// Every member and client of a cluster is given the same secret; nobody without it completes a handshake.
    /// Keep it in a file that only its owner can read (mode 0600): --out makes such a file.
    New(SecretNewCommand),
}

#[derive(Debug, clap::Args)]
pub(crate) struct SecretNewCommand {
    /// Write to FILE, made with mode 0600, instead of standard output; a file that exists is left alone
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// A new secret could not be made. No file was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretNewError {
    /// The file exists already: whoever overwrites a secret locks a cluster.
    #[error("{0} exists already and is left as it is")]
    Exists(String),
    /// The file could not be made.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The cluster secret could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretFileError {
    /// The file could not be read.
    #[error("cannot read the cluster secret {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path}: {source}")]
    Content {
        /// The file.
        path: String,
        /// What is wrong with it.
        source: SecretError,
    },
}

impl SecretFileError {
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Some(
                "--secret FILE names it; `chinwag secret new --out FILE` makes one for a new cluster"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::Content { .. } => None,
        }
    }
}

impl SecretCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let Self::New(SecretNewCommand { out }) = self;
        let mut bytes = [0; ClusterSecret::BYTES];
        getrandom::fill(&mut bytes).map_err(Failure::Entropy)?;
        let line = format!("{}\n", ClusterSecret::from_bytes(bytes).expose());
        match out {
            Some(path) => {
                write_new(&path, &line)?;
                output::note(&format!("wrote {}", path.display()));
            }
            None => {
                output::print(&line)?;
                advise_about_stdout();
            }
        }
        Ok(Exit::Done)
    }
}

/// Reads the secret in `path`, and says so if others can read it too.
pub(crate) fn read(path: &Path) -> Result<ClusterSecret, SecretFileError> {
    let unreadable = |source| SecretFileError::Read { path: path.display().to_string(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    if others_can_read(&file) {
        let path = path.display();
        output::note(&format!("warning: everyone on this machine can read {path}: chmod 600 {path}"));
    }
    let text = io::read_to_string(&mut file).map_err(unreadable)?;
    text.parse().map_err(|source| SecretFileError::Content { path: path.display().to_string(), source })
}

fn write_new(path: &Path, line: &str) -> Result<(), SecretNewError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let write = || {
        let mut file = options.open(path)?;
        file.write_all(line.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AlreadyExists => SecretNewError::Exists(path.display().to_string()),
        _ => SecretNewError::Write { path: path.display().to_string(), source },
    })
}

/// The shell made the file that standard output goes to, with whatever mode its umask gives.
fn advise_about_stdout() {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        output::note(
            "hint: keep it in a file that only you can read: chinwag secret new --out cluster.secret",
        );
    } else if duplicate_of(&stdout).is_ok_and(|file| others_can_read(&file)) {
        output::note("hint: everyone on this machine can read that file: chmod 600 it, or use --out FILE");
    }
}

#[cfg(unix)]
fn duplicate_of(stdout: &io::Stdout) -> io::Result<File> {
    use std::os::fd::AsFd;
    stdout.as_fd().try_clone_to_owned().map(File::from)
}

#[cfg(not(unix))]
fn duplicate_of(_: &io::Stdout) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(unix)]
fn others_can_read(file: &File) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o004 != 0)
}

#[cfg(not(unix))]
fn others_can_read(_: &File) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_secret_is_for_its_owner_alone_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.secret");
        let line = format!("{}\n", ClusterSecret::from_bytes([7; 32]).expose());
        write_new(&path, &line).unwrap();
        assert!(!others_can_read(&File::open(&path).unwrap()));
        assert_eq!(read(&path).unwrap(), ClusterSecret::from_bytes([7; 32]));

        assert!(matches!(write_new(&path, "other\n"), Err(SecretNewError::Exists(_))));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), line);
    }

    #[test]
    fn a_missing_file_and_a_wrong_one_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cluster.secret");
        let missing = read(&path).unwrap_err();
        assert!(missing.hint().is_some_and(|hint| hint.contains("secret new")), "{missing}");
        std::fs::write(&path, "hello").unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::Content { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::tempfile().unwrap();
        for (mode, others) in [(0o600, false), (0o640, false), (0o644, true)] {
            file.set_permissions(std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(others_can_read(&file), others, "{mode:o}");
        }
    }
}
