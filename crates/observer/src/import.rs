//! Histories of other tools: EDN as Jepsen and Knossos write it, and the text logs that porcupine is tested with. They are
//! histories of registers: each key has one value, which is read, written, compared and set, or appended to.
//!
//! Where each value is written once, and by a plain write, the result is a history like our own and everything can be
//! checked. Otherwise only linearizability can, and [`Imported::plain`] is none.

use crate::history::{Dot, History, Kind, Level, Operation, Outcome, Version};
use std::collections::BTreeMap;
use std::io::{self, BufRead};

mod edn;
mod events;
mod log;

pub use edn::Edn;
pub use events::{Act, Imported, ImportedCall, Text};

/// A log that cannot be read. Every variant names its line.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The source failed; a retry may succeed.
    #[error("line {line}: {source}")]
    Io {
        /// Counted from 1.
        line: usize,
        /// The source's error.
        source: io::Error,
    },
    /// The text is not of the form.
    #[error("line {line}: {what}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What was expected.
        what: String,
    },
}

impl ImportError {
    pub(crate) fn new(line: usize, what: impl Into<String>) -> Self {
        Self::Malformed { line, what: what.into() }
    }
}

/// Reads an EDN history: maps with `:process`, `:type`, `:f`, `:value` and perhaps `:key` and `:time`, one after another or in
/// one vector. This is also the form of porcupine's key-value logs.
///
/// # Errors
/// The first [`ImportError`] met.
pub fn read_edn(source: impl BufRead) -> Result<Imported, ImportError> {
    let mut events = events::Events::default();
    edn::read(source, |line, form| events.push(line, &form))?;
    events.finish()
}

/// Reads a log of lines like `INFO  jepsen.util - 3 :invoke :write 4`, each with a process, what became of an operation, the
/// operation, and its value.
///
/// # Errors
/// The first [`ImportError`] met.
pub fn read_log(source: impl BufRead) -> Result<Imported, ImportError> {
    let mut events = events::Events::default();
    log::read(source, |line, form| events.push(line, &form))?;
    events.finish()
}

impl Imported {
    /// With every beginning earlier and every end later by `bound`, in the log's unit of time.
    #[must_use]
    pub fn widened(mut self, bound: u64) -> Self {
        for call in &mut self.calls {
            call.start = call.start.saturating_sub(bound);
            call.end = call.end.map(|end| end.saturating_add(bound));
        }
        self
    }

    /// The calls as a history of our own, if each value was written once, and by a plain write.
    #[must_use]
    pub fn plain(&self) -> Option<History> {
        let mut writers: BTreeMap<(&Text, &Text), ()> = BTreeMap::new();
        let mut operations = Vec::with_capacity(self.calls.len());
        for call in &self.calls {
            let (kind, value, returned) = match &call.act {
                Act::Read(value) => (Kind::Get, None, value.clone()),
                Act::Write(value) => {
                    if writers.insert((&call.key, value), ()).is_some() {
                        return None;
                    }
                    (Kind::Put, Some(self.unique(&call.key, value)), None)
                }
                Act::CompareAndSet(..) | Act::Append(_) => return None,
            };
            let mut operation = Operation::new(call.id, call.process, "", kind, Level::One, &call.key);
            (operation.intended, operation.sent, operation.done) = (call.start, call.start, call.end);
            operation.value = value;
            if call.is_answered {
                operation.outcome =
                    if kind == Kind::Get && returned.is_none() { Outcome::NotFound } else { Outcome::Ok };
            }
            let version = |value: String| Version {
                value: Some(self.unique(&call.key, &value)),
                dot: Dot { actor: 0, seq: 0 },
            };
            operation.returned = returned.into_iter().map(version).collect();
            operations.push(operation);
        }
        Some(History { operations, ..History::default() })
    }

    /// Values are unique per key there, and in all of a history here.
    fn unique(&self, key: &str, value: &str) -> String {
        if key.is_empty() { value.to_owned() } else { format!("{value} of {key}") }
    }
}

#[cfg(test)]
mod tests;
