//! Why a command did not do what it was asked, what the operator can try, and the exit code a script is told.

use std::io;
use std::process::ExitCode;

use chinwag_client::{RequestError, SetupError};
use chinwag_observer::predict::PredictError;

use super::backup::BackupFailure;
use super::check::CheckError;
use super::connection::AddressError;
use super::experiment::LabError;
#[cfg(feature = "parquet")]
use super::export::ExportFailure;
use super::node::NodeError;
use super::secret::{SecretFileError, SecretNewError};
use super::store::StoreError;
use super::threshold::Missing;

/// How a command that ran to its end came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// It did what was asked.
    Done,
    /// Nothing failed, but what was asked for is not there: an absent key, a repair that could not reach every member.
    NotFound,
    /// Something is broken that must hold: an experiment, or a check of a store or of a history, found it.
    Broken,
    /// It failed; a put or delete that failed so has changed nothing.
    Failed,
    /// A write failed in a way that leaves open whether it was applied.
    Unknown,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::NotFound | Exit::Broken => 1,
            Exit::Failed => 2,
            Exit::Unknown => 3,
        })
    }
}

/// Why a client command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The cluster secret could not be read. Nothing was sent.
    #[error(transparent)]
    Secret(#[from] SecretFileError),
    /// A new secret could not be made or written.
    #[error(transparent)]
    SecretNew(#[from] SecretNewError),
    /// There is no randomness for keys. Nothing was sent or written.
    #[error("the operating system gives no randomness: {0}")]
    Entropy(getrandom::Error),
    /// No address to connect to. Nothing was sent.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The client could not be set up. Nothing was sent.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// A request that changes nothing failed.
    #[error("{}", describe_read(.0))]
    Read(RequestError),
    /// A write failed; the error says whether it may have been applied.
    #[error(transparent)]
    Write(RequestError),
    /// A delete without context. Nothing was sent.
    #[error("a delete needs the context of what it deletes")]
    ContextMissing {
        /// The key as the shell would take it again.
        key: String,
    },
    /// `--raw` of a key with siblings. Nothing was printed.
    #[error("the key has {0} siblings, and --raw prints exactly one value")]
    RawSiblings(usize),
    /// The table of keys was asked of a cluster whose keys are not numbers.
    #[error("this cluster's keys are not the integers 0 to 255: there is no table of all its keys")]
    KeysNotIntegers,
    /// The value could not be read. Nothing was sent.
    #[error("cannot read the value from standard input: {0}")]
    Input(#[source] io::Error),
    /// The value is larger than any request may be. Nothing was sent.
    #[error("the value on standard input is larger than {0} bytes")]
    InputTooLong(usize),
    /// What was found could not be printed.
    #[error("cannot write to standard output: {0}")]
    Output(#[source] io::Error),
    /// A member did not start, or could not go on.
    #[error(transparent)]
    Node(Box<NodeError>),
    /// A backup could not be made or restored.
    #[error(transparent)]
    Backup(#[from] BackupFailure),
    /// A stopped member's directory could not be looked into.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A history could not be judged.
    #[error(transparent)]
    Check(#[from] CheckError),
    /// A history was not exported.
    #[cfg(feature = "parquet")]
    #[error(transparent)]
    Export(#[from] ExportFailure),
    /// Nothing can be predicted for these numbers.
    #[error(transparent)]
    Predict(PredictError),
    /// A condition asks for a number that a summary does not have.
    #[error(transparent)]
    Threshold(#[from] Missing),
    /// An experiment could not be run to its end.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// A write was done, and its answer could not be printed.
    #[error("the write is done, but standard output does not take the answer: {0}")]
    AnswerLost(#[source] io::Error),
    /// Ctrl-C cannot be waited for.
    #[error("cannot wait for signals: {0}")]
    Signal(#[source] io::Error),
    /// The console's prompt does not work.
    #[error("cannot read a line: {0}")]
    Prompt(#[source] rustyline::error::ReadlineError),
}

impl From<NodeError> for Failure {
    fn from(error: NodeError) -> Self {
        Self::Node(Box::new(error))
    }
}
/// What to do about a write that may have been applied.
pub(crate) const HINT_UNKNOWN: &str =
    "get the key before you repeat this: if it was applied, repeating leaves a sibling";

impl Failure {
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Write(error) if !error.nothing_changed() => Exit::Unknown,
            Self::AnswerLost(_) => Exit::Unknown,
            _ => Exit::Failed,
        }
    }

    /// Whether whoever read our output has stopped reading: `chinwag dump | head` is no failure.
    pub(crate) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) | Self::AnswerLost(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// What the operator can try, where that is not plain from the message.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Secret(error) => error.hint(),
            Self::Store(error) => error.hint(),
            Self::Node(error) if matches!(**error, NodeError::Seed(AddressError::Form(_))) => {
                Some("an address is HOST:PORT".to_owned())
            }
            Self::Address(AddressError::Form(_)) => Some("an address is HOST:PORT".to_owned()),
            Self::Write(error) if !error.nothing_changed() => Some(HINT_UNKNOWN.to_owned()),
            Self::Read(error) | Self::Write(error) => hint_about_request(error).map(str::to_owned),
            Self::ContextMissing { key } => {
                Some(format!("`chinwag get {key}` prints it: give it with --context"))
            }
            Self::RawSiblings(_) => Some("get without --raw shows them all".to_owned()),
            Self::KeysNotIntegers => {
                Some("ring without --keys shows partitions, ring --key KEY one key".to_owned())
            }
            #[cfg(feature = "parquet")]
            Self::Export(_) => None,
            Self::SecretNew(_)
            | Self::Entropy(_)
            | Self::Address(AddressError::Resolve { .. })
            | Self::Setup(_)
            | Self::Input(_)
            | Self::InputTooLong(_)
            | Self::Output(_)
            | Self::Node(_)
            | Self::Check(_)
            | Self::Predict(_)
            | Self::Threshold(_)
            | Self::Lab(_)
            | Self::Backup(_)
            | Self::AnswerLost(_)
            | Self::Signal(_)
            | Self::Prompt(_) => None,
        }
    }
}

/// "Outcome unknown" is for writes; a read that got no answer has none.
fn describe_read(error: &RequestError) -> String {
    match error {
        RequestError::Unknown(reason) => format!("no answer in time: {reason}"),
        other => other.to_string(),
    }
}

fn hint_about_request(error: &RequestError) -> Option<&'static str> {
    match error {
        RequestError::Connect { .. } => {
            Some("--connect HOST:PORT names a member, and --secret the file of its cluster")
        }
        RequestError::Unavailable(_) => {
            Some("`chinwag members` shows who is down; --consistency one needs one replica")
        }
        RequestError::Protocol(_) => Some("compare `chinwag --version` with the version the member runs"),
        RequestError::Invalid(_)
        | RequestError::WrongKind(_)
        | RequestError::Unknown(_)
        | RequestError::Internal(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_write_that_may_have_been_applied_is_unknown() {
        let unknown = || RequestError::Unknown("2 of 3 replicas".to_owned());
        let unavailable = RequestError::Unavailable("1 of 3 replicas".to_owned());
        assert_eq!(Failure::Write(unknown()).exit(), Exit::Unknown);
        assert_eq!(Failure::Write(RequestError::Internal("disk".to_owned())).exit(), Exit::Unknown);
        assert_eq!(Failure::Write(unavailable).exit(), Exit::Failed);
        assert_eq!(Failure::Read(unknown()).exit(), Exit::Failed);
        assert_eq!(Failure::Read(unknown()).to_string(), "no answer in time: 2 of 3 replicas");
    }

    #[test]
    fn a_reader_that_left_is_told_apart_from_a_full_disk() {
        let output = |kind: io::ErrorKind| Failure::Output(kind.into());
        assert!(output(io::ErrorKind::BrokenPipe).is_broken_pipe());
        assert!(!output(io::ErrorKind::StorageFull).is_broken_pipe());
    }
}
