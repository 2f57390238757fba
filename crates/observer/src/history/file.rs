//! The history file: JSON Lines, a header first, then operations and events as they end. It refuses what it does not
//! understand, and every refusal names its line. The schema is in `docs/history.md`.

use super::{Event, Header, History, Kind, Leg, Operation};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufWriter, Read as _, Write};

/// The version of the format written; readers refuse any other.
pub const VERSION: u32 = 1;

/// The longest line a reader takes, in bytes: a guard against files that are no histories.
pub const LINE_BYTES_MAX: u64 = 16 << 20;

/// One line after the header.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "almost every record is the large one")]
pub enum Record {
    /// An operation of a client.
    Operation(Operation),
    /// A step of the scenario.
    Event(Event),
    /// When measuring began, in nanoseconds since the run's start.
    MeasuredFrom(u64),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineOut<'a> {
    ChinwagHistory(Versioned<&'a Header>),
    Op(&'a Operation),
    Event(&'a Event),
    MeasuredFrom(u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "almost every line is the large one")]
enum LineIn {
    ChinwagHistory(Versioned<serde_json::Value>),
    Op(Operation),
    Event(Event),
    MeasuredFrom(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<T> {
    version: u32,
    run: T,
}

/// Writes a history line by line, buffered. Call [`finish`](Self::finish), or the last lines may be missing.
#[derive(Debug)]
pub struct HistoryWriter<W: Write> {
    out: BufWriter<W>,
}

impl<W: Write> HistoryWriter<W> {
    /// Begins a history with its header line.
    ///
    /// # Errors
    /// The sink's own; the history is unusable then.
    pub fn new(sink: W, header: &Header) -> io::Result<Self> {
        let mut writer = Self { out: BufWriter::new(sink) };
        writer.line(&LineOut::ChinwagHistory(Versioned { version: VERSION, run: header }))?;
        Ok(writer)
    }

    /// Adds an operation, once its fields will not change any more.
    ///
    /// # Errors
    /// The sink's own; the line may be there in part.
    pub fn operation(&mut self, operation: &Operation) -> io::Result<()> {
        self.line(&LineOut::Op(operation))
    }

    /// Adds a step of the scenario.
    ///
    /// # Errors
    /// The sink's own; the line may be there in part.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        self.line(&LineOut::Event(event))
    }

    /// Says when measuring began, in nanoseconds since the run's start. Once at most; of several the last counts.
    ///
    /// # Errors
    /// The sink's own; the line may be there in part.
    pub fn measured_from(&mut self, time: u64) -> io::Result<()> {
        self.line(&LineOut::MeasuredFrom(time))
    }

    /// Hands everything to the sink and returns it.
    ///
    /// # Errors
    /// The sink's own; the last lines may be missing.
    pub fn finish(self) -> io::Result<W> {
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn line(&mut self, line: &LineOut<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, line)?;
        self.out.write_all(b"\n")
    }
}

/// Why a history could not be read. Nothing after the named line was looked at; mend or cut the file there.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source failed; a retry may succeed.
    #[error("line {line}: {source}")]
    Io {
        /// Counted from 1.
        line: usize,
        /// The source's error.
        source: io::Error,
    },
    /// The line is no JSON of the schema: cut short, or written by something else.
    #[error("line {line}: {source}")]
    Malformed {
        /// Counted from 1.
        line: usize,
        /// What was expected, and the column.
        source: serde_json::Error,
    },
    /// The line is longer than [`LINE_BYTES_MAX`].
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Counted from 1.
        line: usize,
    },
    /// The file does not begin with a header; it is no history.
    #[error("line 1: a history begins with its `chinwag_history` header")]
    HeaderMissing,
    /// A second header: two histories in one file, whose times do not compare.
    #[error("line {line}: a second header; one file holds one history")]
    HeaderRepeated {
        /// Counted from 1.
        line: usize,
    },
    /// Another format version; use the chinwag that wrote it.
    #[error("line 1: history version {found}; this chinwag reads version {VERSION}")]
    Version {
        /// The version found.
        found: u32,
    },
    /// Two operations share an id, so no evidence can name either.
    #[error("line {line}: operation {id} was already on line {first}")]
    IdRepeated {
        /// Counted from 1.
        line: usize,
        /// The id.
        id: u64,
        /// Where it came first.
        first: usize,
    },
    /// Two puts wrote the same value: a read of it would hide staleness.
    #[error(
        "line {line}: the value of operation {id} was already written on line {first}; values must be unique"
    )]
    ValueRepeated {
        /// Counted from 1.
        line: usize,
        /// The operation.
        id: u64,
        /// Where the value came first.
        first: usize,
    },
    /// An operation or a leg of it ended before it began, or a put has no value.
    #[error("line {line}: operation {id} {what}")]
    Impossible {
        /// Counted from 1.
        line: usize,
        /// The operation.
        id: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

/// Reads a history line by line: the header at once, then each record as the iterator's next item. After an error the
/// iterator is at its end. Whether ids and values are unique is for [`History::read`] to say.
#[derive(Debug)]
pub struct HistoryReader<R> {
    source: R,
    header: Header,
    line: usize,
    buffer: Vec<u8>,
    failed: bool,
}

impl<R: BufRead> HistoryReader<R> {
    /// Reads the header line.
    ///
    /// # Errors
    /// Any [`ReadError`] of line 1.
    pub fn new(source: R) -> Result<Self, ReadError> {
        let header = Header::default();
        let mut reader = Self { source, header, line: 0, buffer: Vec::new(), failed: false };
        let Some(LineIn::ChinwagHistory(Versioned { version, run })) = reader.advance()? else {
            return Err(ReadError::HeaderMissing);
        };
        // The version is looked at first: another version's header may well have other fields.
        if version != VERSION {
            return Err(ReadError::Version { found: version });
        }
        reader.header =
            serde_json::from_value(run).map_err(|source| ReadError::Malformed { line: 1, source })?;
        Ok(reader)
    }

    /// What was run.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number of the line read last, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The next line that is not blank, or none at the end.
    fn advance(&mut self) -> Result<Option<LineIn>, ReadError> {
        loop {
            self.line += 1;
            let line = self.line;
            self.buffer.clear();
            let mut bounded = self.source.by_ref().take(LINE_BYTES_MAX + 1);
            let taken = bounded
                .read_until(b'\n', &mut self.buffer)
                .map_err(|source| ReadError::Io { line, source })?;
            if taken == 0 {
                return Ok(None);
            }
            if taken as u64 > LINE_BYTES_MAX {
                return Err(ReadError::TooLong { line });
            }
            if self.buffer.iter().any(|byte| !byte.is_ascii_whitespace()) {
                let parsed = serde_json::from_slice(&self.buffer);
                return parsed.map(Some).map_err(|source| ReadError::Malformed { line, source });
            }
        }
    }
}

impl<R: BufRead> Iterator for HistoryReader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let item = match self.advance() {
            Ok(None) => return None,
            Ok(Some(LineIn::Op(operation))) => Ok(Record::Operation(operation)),
            Ok(Some(LineIn::Event(event))) => Ok(Record::Event(event)),
            Ok(Some(LineIn::MeasuredFrom(time))) => Ok(Record::MeasuredFrom(time)),
            Ok(Some(LineIn::ChinwagHistory(_))) => Err(ReadError::HeaderRepeated { line: self.line }),
            Err(error) => Err(error),
        };
        self.failed = item.is_err();
        Some(item)
    }
}

impl History {
    /// Reads a whole history and checks what every measurement rests on: ids and written values are unique, and nothing
    /// ends before it was sent.
    ///
    /// # Errors
    /// The first [`ReadError`] met.
    pub fn read(source: impl BufRead) -> Result<Self, ReadError> {
        let mut reader = HistoryReader::new(source)?;
        let (mut operations, mut events, mut measured_from) = (Vec::new(), Vec::new(), 0);
        let mut ids: BTreeMap<u64, usize> = BTreeMap::new();
        let mut values: BTreeMap<String, usize> = BTreeMap::new();
        while let Some(record) = reader.next().transpose()? {
            let line = reader.line();
            match record {
                Record::Event(event) => events.push(event),
                Record::MeasuredFrom(time) => measured_from = time,
                Record::Operation(operation) => {
                    let id = operation.id;
                    operation.check(line)?;
                    if let Some(first) = ids.insert(id, line) {
                        return Err(ReadError::IdRepeated { line, id, first });
                    }
                    let written = operation.value.clone().and_then(|value| values.insert(value, line));
                    if let Some(first) = written {
                        return Err(ReadError::ValueRepeated { line, id, first });
                    }
                    operations.push(operation);
                }
            }
        }
        events.sort_by_key(|event| event.at);
        Ok(Self { header: reader.header, operations, events, measured_from })
    }

    /// Writes the whole history.
    ///
    /// # Errors
    /// The sink's own; the file may be there in part.
    pub fn write<W: Write>(&self, sink: W) -> io::Result<W> {
        let mut writer = HistoryWriter::new(sink, &self.header)?;
        if self.measured_from > 0 {
            writer.measured_from(self.measured_from)?;
        }
        for event in &self.events {
            writer.event(event)?;
        }
        for operation in &self.operations {
            writer.operation(operation)?;
        }
        writer.finish()
    }
}

impl Leg {
    /// Whether nothing happened before what it follows from.
    fn is_possible(&self) -> bool {
        let Self { asked, served, heard, .. } = self;
        served.is_none_or(|served| *asked <= served)
            && heard.is_none_or(|heard| served.unwrap_or(*asked) <= heard)
    }
}

impl Operation {
    /// Refuses what cannot have happened.
    pub(crate) fn check(&self, line: usize) -> Result<(), ReadError> {
        let what = match self {
            Self { done: Some(done), sent, .. } if done < sent => "ended before it was sent",
            Self { done: None, .. } if self.is_answered() => "was answered at no time",
            _ if self.legs.iter().any(|leg| !leg.is_possible()) => {
                "has a leg whose end was before its beginning"
            }
            Self { kind: Kind::Put, value: None, .. } => "is a put without a value",
            Self { id: u64::MAX, .. } => "has the one id that is taken to be none",
            Self { kind: Kind::Get | Kind::Delete, value: Some(_), .. } => "has a value and is not a put",
            Self { kind: Kind::Get, dot: Some(_), .. } => "is a get with a dot of its own",
            Self { kind: Kind::Get, basis: Some(_), .. } => "is a get that supplies a context",
            Self { kind: Kind::Put | Kind::Delete, seen: Some(_), .. } => "has a context and is not a get",
            Self { kind: Kind::Put | Kind::Delete, returned, .. } if !returned.is_empty() => {
                "returned versions and is not a get"
            }
            _ => return Ok(()),
        };
        Err(ReadError::Impossible { line, id: self.id, what })
    }
}
