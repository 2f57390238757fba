//! One console session: carries out commands on the coordinator, and words the answers.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chinwag_client::{Client, Consistency, Receipt, Sibling, Value};

use super::command::{self, Choice, Command, ParseError};
use super::memory::{Memory, Seen, SeenBy};
use crate::cli::failure::{Exit, Failure, HINT_UNKNOWN};
use crate::cli::get::numbered;
use crate::cli::table::{Align, fields, table};
use crate::cli::text::{self, readable};
use crate::cli::{members, ring};

/// The coordinator, and what this session knows.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    consistency: Consistency,
    memory: Memory,
}

/// A line was not carried out; the session goes on.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The line is no command. Nothing was sent.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// The coordinator did not do it.
    #[error(transparent)]
    Request(#[from] Failure),
    /// A delete or resolve of a key that was not read yet. Nothing was sent.
    #[error("nothing is known of {0} yet: get it first")]
    NothingKnown(String),
    /// A sibling's number after the key was written: what was read is no longer there. Nothing was sent.
    #[error("{0} was written since you read it: get it first")]
    NotRead(String),
    /// The number is none of the siblings last read. Nothing was sent.
    #[error("{key} had {} when last read, and number {number} is none of them", text::counted(*.siblings, "value", "values"))]
    NoSuchSibling {
        /// The key, as it is shown.
        key: String,
        /// How many there were.
        siblings: usize,
        /// The number that was asked for.
        number: usize,
    },
    /// The operator broke it off.
    #[error("interrupted{}", if *.is_write { ": the write may or may not have been applied" } else { "" })]
    Interrupted {
        /// Whether it may have changed something.
        is_write: bool,
    },
}

impl CommandError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Request(failure) => failure.exit(),
            Self::Interrupted { is_write: true } => Exit::Unknown,
            Self::Parse(_)
            | Self::NothingKnown(_)
            | Self::NotRead(_)
            | Self::NoSuchSibling { .. }
            | Self::Interrupted { .. } => Exit::Failed,
        }
    }

    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::Request(failure) => failure.hint(),
            Self::NoSuchSibling { number, .. } => {
                Some(format!("siblings KEY numbers them anew; '{number}' in quotes is a value"))
            }
            Self::Interrupted { is_write: true } => Some(HINT_UNKNOWN.to_owned()),
            Self::Parse(_) | Self::NothingKnown(_) | Self::NotRead(_) | Self::Interrupted { .. } => None,
        }
    }
}

impl Session {
    pub(super) fn new(client: Client, consistency: Consistency) -> Self {
        Self { client, consistency, memory: Memory::default() }
    }

    /// The consistency level of the requests to come.
    pub(super) fn consistency(&self) -> Consistency {
        self.consistency
    }

    /// Carries out one command, and gives what to print.
    pub(super) async fn run(&mut self, command: Command) -> Result<String, CommandError> {
        match command {
            Command::Get { key, local } => {
                let value = self.read(&key, local).await?;
                Ok(render_value(&key, &value))
            }
            Command::Siblings { key } => {
                let value = self.read(&key, false).await?;
                Ok(render_siblings(&key, &value))
            }
            Command::Put { key, value, blind } => {
                let seen = if blind { None } else { self.memory.of(&key).cloned() };
                self.put(key, value, seen).await
            }
            Command::Resolve { key, choice } => {
                let seen = self.known(&key)?;
                let value = chosen(&key, &seen, choice)?;
                self.put(key, value, Some(seen)).await
            }
            Command::Delete { key } => {
                let seen = self.known(&key)?;
                let delete = self.client.delete(key.clone(), seen.context());
                let receipt = delete.consistency(self.consistency).await.map_err(Failure::Write)?;
                Ok(self.written("deleted", key, &receipt, Some(&seen)))
            }
            Command::Consistency(level) => {
                self.consistency = level.unwrap_or(self.consistency);
                Ok(format!("consistency is {}\n", self.consistency))
            }
            Command::Members => Ok(members::render(&self.client.members().await.map_err(Failure::Read)?)),
            Command::Ring { key: None } => {
                Ok(ring::render(&self.client.ring().await.map_err(Failure::Read)?))
            }
            Command::Ring { key: Some(key) } => {
                Ok(ring::render_located(&self.client.locate(key).await.map_err(Failure::Read)?))
            }
            Command::Help(None) => Ok(command::help()),
            Command::Help(Some(entry)) => Ok(command::help_about(entry)),
            Command::Quit => Ok(String::new()),
        }
    }

    pub(super) async fn close(&self) {
        self.client.close().await;
    }

    async fn read(&mut self, key: &Bytes, local: bool) -> Result<Value, Failure> {
        let get = self.client.get(key.clone()).consistency(self.consistency).local(local);
        let value = get.await.map_err(Failure::Read)?;
        self.memory.has_read(key.clone(), &value, Instant::now());
        Ok(value)
    }

    async fn put(&mut self, key: Bytes, value: Bytes, seen: Option<Seen>) -> Result<String, CommandError> {
        let mut put = self.client.put(key.clone(), value).consistency(self.consistency);
        if let Some(context) = seen.as_ref().and_then(Seen::context) {
            put = put.context(context);
        }
        let receipt = put.await.map_err(Failure::Write)?;
        Ok(self.written("replaced", key, &receipt, seen.as_ref()))
    }

    fn written(&mut self, done: &str, key: Bytes, receipt: &Receipt, seen: Option<&Seen>) -> String {
        let now = Instant::now();
        self.memory.has_written(key, receipt, now);
        render_receipt(done, receipt, seen.map(|seen| (seen.by, now.saturating_duration_since(seen.at))))
    }

    fn known(&self, key: &Bytes) -> Result<Seen, CommandError> {
        let unknown = || CommandError::NothingKnown(readable(key).into_owned());
        self.memory.of(key).cloned().ok_or_else(unknown)
    }
}

/// The value that `choice` stands for, among the siblings last `seen`.
fn chosen(key: &[u8], seen: &Seen, choice: Choice) -> Result<Bytes, CommandError> {
    let key = || readable(key).into_owned();
    match choice {
        Choice::Value(value) => Ok(value),
        Choice::Sibling(_) if seen.by == SeenBy::Write => Err(CommandError::NotRead(key())),
        Choice::Sibling(number) => {
            let sibling = number.checked_sub(1).and_then(|index| seen.siblings.get(index));
            let none = || CommandError::NoSuchSibling { key: key(), siblings: seen.siblings.len(), number };
            sibling.map(|sibling| sibling.value.clone()).ok_or_else(none)
        }
    }
}

fn render_value(key: &[u8], value: &Value) -> String {
    let key = readable(key);
    match value.siblings.as_slice() {
        [] => format!("{key} has no value\n"),
        [only] => format!("{}\n", readable(&only.value)),
        several => format!("{}`resolve {key} N|VALUE` replaces them\n", fields(&numbered(several))),
    }
}

fn render_siblings(key: &[u8], value: &Value) -> String {
    if value.siblings.is_empty() {
        return format!("{} has no value\n", readable(key));
    }
    let row = |(number, sibling): (usize, &Sibling)| {
        vec![number.to_string(), text::dot(sibling.dot), readable(&sibling.value).into_owned()]
    };
    let rows: Vec<_> = (1..).zip(&value.siblings).map(row).collect();
    table(&[("#", Align::Right), ("version", Align::Left), ("value", Align::Left)], &rows)
}

/// `done` says what happened to what was `seen`: by which kind of request, and how long ago.
fn render_receipt(done: &str, receipt: &Receipt, seen: Option<(SeenBy, Duration)>) -> String {
    let what = match seen {
        _ if receipt.context.is_empty() => format!("{done} whatever was there"),
        Some((SeenBy::Read, age)) => format!("{done} what you read {}", ago(age)),
        Some((SeenBy::Write, age)) => format!("{done} what you wrote {}", ago(age)),
        None => "replaced nothing, other values stay as siblings".to_owned(),
    };
    format!("ok on {}: {what}\n", receipt.replicas.join(", "))
}

fn ago(age: Duration) -> String {
    match age.as_secs() {
        0 => "just now".to_owned(),
        seconds => format!("{} ago", humantime::format_duration(Duration::from_secs(seconds))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(values: &[&'static str]) -> Value {
        let siblings = (1..)
            .zip(values)
            .map(|(seq, &value)| Sibling { dot: (0xab, seq), value: value.into() })
            .collect();
        Value { siblings, context: "YQ".parse().unwrap(), evidence: None }
    }

    #[test]
    fn a_value_is_shown_alone_and_siblings_numbered() {
        assert_eq!(render_value(b"cart", &value(&[])), "cart has no value\n");
        assert_eq!(render_value(b"cart", &value(&["tea"])), "tea\n");
        assert_eq!(
            render_value(b"cart", &value(&["tea", "milk"])),
            "sibling 1  tea\nsibling 2  milk\n`resolve cart N|VALUE` replaces them\n"
        );
        assert_eq!(
            render_siblings(b"cart", &value(&["tea", "milk"])),
            "#  version             value\n1  00000000000000ab:1  tea\n2  00000000000000ab:2  milk\n"
        );
    }

    #[test]
    fn a_write_says_what_it_replaced() {
        let receipt =
            Receipt { context: "YQ".parse().unwrap(), dot: (1, 1), replicas: vec!["a".into(), "b".into()] };
        let seen = |by, seconds| Some((by, Duration::from_secs(seconds)));
        assert_eq!(
            render_receipt("replaced", &receipt, seen(SeenBy::Read, 0)),
            "ok on a, b: replaced what you read just now\n"
        );
        assert_eq!(
            render_receipt("deleted", &receipt, seen(SeenBy::Write, 65)),
            "ok on a, b: deleted what you wrote 1m 5s ago\n"
        );
        assert_eq!(
            render_receipt("replaced", &receipt, None),
            "ok on a, b: replaced nothing, other values stay as siblings\n"
        );
    }

    #[test]
    fn a_choice_is_one_of_the_siblings_last_read_or_a_value() {
        let Value { siblings, context, .. } = value(&["tea", "milk"]);
        let read = Seen { context, siblings, by: SeenBy::Read, at: Instant::now() };
        let choose = |seen, choice| chosen(b"cart", seen, choice).map_err(|error| error.to_string());
        assert_eq!(choose(&read, Choice::Sibling(2)), Ok("milk".into()));
        assert_eq!(choose(&read, Choice::Value("rum".into())), Ok("rum".into()));
        for number in [0, 3, usize::MAX] {
            let none = format!("cart had 2 values when last read, and number {number} is none of them");
            assert_eq!(choose(&read, Choice::Sibling(number)), Err(none));
        }
        let written = Seen { by: SeenBy::Write, siblings: Vec::new(), ..read.clone() };
        let stale = "cart was written since you read it: get it first".to_owned();
        assert_eq!(choose(&written, Choice::Sibling(1)), Err(stale));
        assert_eq!(choose(&written, Choice::Value("rum".into())), Ok("rum".into()));
    }
}
