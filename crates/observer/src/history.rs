//! What clients saw: one record per operation and per scenario step, on one timeline. It holds facts only and judges
//! nothing. The file format is in [`file`] and described in `docs/history.md`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

mod clock;
mod file;
#[cfg(feature = "parquet")]
mod parquet;

pub use clock::{Clock, Dot};
pub use file::{HistoryReader, HistoryWriter, LINE_BYTES_MAX, ReadError, Record, VERSION};
#[cfg(feature = "parquet")]
pub use parquet::{ExportError, export};

/// The operations and scenario steps of one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// What was run.
    pub header: Header,
    /// Every operation the workload planned and sent, in the order they were recorded.
    pub operations: Vec<Operation>,
    /// What the scenario did, in time order.
    pub events: Vec<Event>,
    /// Nanoseconds since the run's start: what was sent earlier prepared the run and is not measured.
    pub measured_from: u64,
}

/// What was run: enough to run it again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// The seed of workload and faults, if the run had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The scenario's name, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    /// The configuration of the run, in its owner's own shape.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub configuration: serde_json::Value,
}

/// One operation of one session, as its client saw it. Times are nanoseconds since the run's start, on one monotonic
/// clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Unique in the history.
    pub id: u64,
    /// The session that asked.
    pub session: u32,
    /// The member it was sent to, which coordinates it.
    pub node: String,
    /// What was asked.
    pub kind: Kind,
    /// The consistency level it was asked at.
    pub level: Level,
    /// The key asked for.
    pub key: String,
    /// When the plan wanted it sent. Latency counts from here, so that waiting for a slow cluster is not left out.
    pub intended: u64,
    /// When it was sent.
    pub sent: u64,
    /// When its answer came, or when the client gave up on it. Absent if the run ended before either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// The earlier operation on this key whose context was supplied with this write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<u64>,
    /// What a put wrote: a value no other put of the history wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The dot a write was given, when the client learned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dot: Option<Dot>,
    /// The versions a get returned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub returned: Vec<Version>,
    /// The context a get returned: every version it covers was returned or had been overwritten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<Clock>,
    /// How it ended.
    pub outcome: Outcome,
    /// The members that answered the coordinator, where known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<String>,
    /// What passed between its coordinator and each replica, where somebody saw both: those that the coordinator heard, in
    /// that order, before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub legs: Vec<Leg>,
}

/// What passed between the coordinator of an operation and one replica of its key. Times are of the operation's clock: all
/// members share it, so one way there and one way back are known, and not their sum alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leg {
    /// The replica, which may be the coordinator itself, or a fallback.
    pub replica: String,
    /// When the coordinator sent the request.
    pub asked: u64,
    /// When the replica had read the key, or had the write where reads see it. Absent if the request was lost, or refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served: Option<u64>,
    /// When the coordinator had the answer. Absent if it was lost, or came after the coordinator had given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<u64>,
}

impl Operation {
    /// An operation that was just planned: all times 0, nothing returned, its outcome unknown.
    #[must_use]
    pub fn new(id: u64, session: u32, node: &str, kind: Kind, level: Level, key: &str) -> Self {
        Self {
            id,
            session,
            node: node.to_owned(),
            kind,
            level,
            key: key.to_owned(),
            intended: 0,
            sent: 0,
            done: None,
            basis: None,
            value: None,
            dot: None,
            returned: Vec::new(),
            seen: None,
            outcome: Outcome::Unknown { reason: "the run ended first".to_owned() },
            replicas: Vec::new(),
            legs: Vec::new(),
        }
    }

    /// Whether it is a put or a delete.
    #[must_use]
    pub fn is_write(&self) -> bool {
        self.kind != Kind::Get
    }

    /// Whether it is a get that was answered, with versions or with their absence.
    #[must_use]
    pub fn is_answered_read(&self) -> bool {
        self.kind == Kind::Get && self.is_answered() && self.done.is_some()
    }

    /// Whether it is a write the client was told is stored.
    #[must_use]
    pub fn is_acknowledged_write(&self) -> bool {
        self.is_write() && self.is_answered() && self.done.is_some()
    }

    /// Whether the client was told a result: neither refused nor unknown.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Ok | Outcome::NotFound)
    }
}

/// What an operation asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Read a key's versions.
    Get,
    /// Write a value.
    Put,
    /// Write a tombstone.
    Delete,
}

/// How an operation ended, as its client was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Answered; a write is stored at as many replicas as its level asks for.
    Ok,
    /// A get was answered: the key has no value (tombstones may be returned).
    NotFound,
    /// Nothing happened, and nothing will.
    Refused {
        /// In the words the client was told.
        reason: String,
    },
    /// A write may have been applied, or may still be; a get gave nothing.
    Unknown {
        /// In the words the client was told.
        reason: String,
    },
}

/// One version of a key, as a read returned it or a replica holds it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// The value; absent for a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The dot of the write that made it.
    pub dot: Dot,
}

/// How many replicas must answer an operation. As text: `one`, `quorum`, `all`, or a number from 1 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Level {
    /// One replica.
    One,
    /// A majority of the key's replicas.
    Quorum,
    /// Every replica.
    All,
    /// This many.
    Count(NonZeroU8),
}

/// The text names no consistency level; nothing was done. Write `one`, `quorum`, `all` or a number from 1 to 255.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a consistency level: write one, quorum, all, or a number from 1 to 255")]
pub struct LevelError(String);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Delete => "delete",
        })
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `pad` rather than `write!`, so that a width given by the caller is kept.
        match self {
            Self::One => f.pad("one"),
            Self::Quorum => f.pad("quorum"),
            Self::All => f.pad("all"),
            Self::Count(count) => fmt::Display::fmt(count, f),
        }
    }
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        match text {
            "one" => Ok(Self::One),
            "quorum" => Ok(Self::Quorum),
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Count).map_err(|_not_a_number| LevelError(number.to_owned())),
        }
    }
}

impl TryFrom<String> for Level {
    type Error = LevelError;

    fn try_from(text: String) -> Result<Self, LevelError> {
        text.parse()
    }
}

impl From<Level> for String {
    fn from(level: Level) -> Self {
        level.to_string()
    }
}

/// One step of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When it happened: nanoseconds since the run's start.
    pub at: u64,
    /// The phase of the scenario that it begins or belongs to, in a word or two.
    pub phase: String,
    /// What happened, in a sentence.
    pub what: String,
    /// Whether any fault is in force from here until the next event.
    #[serde(default)]
    pub fault: bool,
}

#[cfg(test)]
mod tests;
