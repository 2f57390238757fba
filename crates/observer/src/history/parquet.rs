//! The history as a Parquet file, for tools that read columns: one row per operation, with the names of `docs/history.md`. It
//! streams, a group of rows at a time, and judges nothing.

use super::{Clock, Dot, HistoryReader, Operation, Outcome, ReadError, Record};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use std::io::{BufRead, Write};
use std::sync::Arc;

/// So many operations are held in memory and make one group of rows.
const ROWS_PER_GROUP: usize = 100_000;

/// Numbers are unsigned, as in JSON. The columns follow in the order of [`Rows::columns`].
const SCHEMA: &str = "
message operation {
    required int64 id (INTEGER(64, false));
    required int64 session (INTEGER(64, false));
    required binary node (STRING);
    required binary kind (STRING);
    required binary level (STRING);
    required binary key (STRING);
    required int64 intended (INTEGER(64, false));
    required int64 sent (INTEGER(64, false));
    optional int64 done (INTEGER(64, false));
    optional int64 basis (INTEGER(64, false));
    optional binary value (STRING);
    optional group dot {
        required int64 actor (INTEGER(64, false));
        required int64 seq (INTEGER(64, false));
    }
    required group returned (LIST) {
        repeated group list {
            required group element {
                optional binary value (STRING);
                required int64 actor (INTEGER(64, false));
                required int64 seq (INTEGER(64, false));
            }
        }
    }
    optional group seen {
        required group vv (LIST) {
            repeated group list {
                required group element {
                    required int64 actor (INTEGER(64, false));
                    required int64 seq (INTEGER(64, false));
                }
            }
        }
        required group dots (LIST) {
            repeated group list {
                required group element {
                    required int64 actor (INTEGER(64, false));
                    required int64 seq (INTEGER(64, false));
                }
            }
        }
    }
    required binary outcome (STRING);
    optional binary reason (STRING);
    required group replicas (LIST) {
        repeated group list {
            required binary element (STRING);
        }
    }
    required group legs (LIST) {
        repeated group list {
            required group element {
                required binary replica (STRING);
                required int64 asked (INTEGER(64, false));
                optional int64 served (INTEGER(64, false));
                optional int64 heard (INTEGER(64, false));
            }
        }
    }
}";

/// Why a history was not written. The file is unusable then.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The history has a mistake in it; mend the line.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file could not be written.
    #[error("cannot write it: {0}")]
    Write(#[from] ParquetError),
}

/// Writes a whole history, and returns how many operations it has. Its header and its events are in the file's metadata,
/// as the JSON of their lines, under `chinwag.run` and `chinwag.events`.
///
/// # Errors
/// The first [`ExportError`] met.
pub fn export(source: impl BufRead, sink: impl Write + Send) -> Result<u64, ExportError> {
    let mut reader = HistoryReader::new(source)?;
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut file = SerializedFileWriter::new(sink, schema, Arc::new(properties))?;
    let (mut rows, mut events, mut count, mut measured_from) = (Rows::default(), Vec::new(), 0, 0);
    while let Some(record) = reader.next().transpose()? {
        match record {
            Record::Event(event) => events.push(event),
            Record::MeasuredFrom(time) => measured_from = time,
            Record::Operation(operation) => {
                operation.check(reader.line())?;
                rows.add(operation);
                count += 1;
                if rows.len == ROWS_PER_GROUP {
                    std::mem::take(&mut rows).write(file.next_row_group()?)?;
                }
            }
        }
    }
    rows.write(file.next_row_group()?)?;
    let json = |value: Result<String, serde_json::Error>| value.expect("what was read as JSON is JSON");
    let run = json(serde_json::to_string(reader.header()));
    file.append_key_value_metadata(KeyValue::new("chinwag.run".to_owned(), run));
    let events = json(serde_json::to_string(&events));
    file.append_key_value_metadata(KeyValue::new("chinwag.events".to_owned(), events));
    file.append_key_value_metadata(KeyValue::new(
        "chinwag.measured_from".to_owned(),
        measured_from.to_string(),
    ));
    file.close()?;
    Ok(count)
}

/// One column's values, and for each row how much of it is there (Dremel's definition and repetition levels).
#[derive(Debug)]
struct Column<T> {
    values: Vec<T>,
    defined: Vec<i16>,
    repeated: Vec<i16>,
}

impl<T> Default for Column<T> {
    fn default() -> Self {
        Self { values: Vec::new(), defined: Vec::new(), repeated: Vec::new() }
    }
}

impl<T> Column<T> {
    fn push(&mut self, value: Option<T>, defined: i16, repeated: i16) {
        self.values.extend(value);
        self.defined.push(defined);
        self.repeated.push(repeated);
    }

    fn required(&mut self, value: T) {
        self.push(Some(value), 0, 0);
    }

    fn optional(&mut self, value: Option<T>) {
        let defined = i16::from(value.is_some());
        self.push(value, defined, 0);
    }

    /// A list inside `around` groups that are there. The items of `items` are there themselves.
    fn list(&mut self, around: i16, items: impl IntoIterator<Item = T>) {
        self.list_of_optional(around, items.into_iter().map(|item| (Some(item), around + 1)));
    }

    /// The same, each item with how much of it is there.
    fn list_of_optional(&mut self, around: i16, items: impl IntoIterator<Item = (Option<T>, i16)>) {
        let mut repeated = 0;
        for (item, defined) in items {
            self.push(item, defined, repeated);
            repeated = 1;
        }
        if repeated == 0 {
            self.push(None, around, 0);
        }
    }
}

type Numbers = Column<i64>;
type Texts = Column<ByteArray>;

/// The rows of one group, by column.
#[derive(Debug, Default)]
struct Rows {
    len: usize,
    id: Numbers,
    session: Numbers,
    node: Texts,
    kind: Texts,
    level: Texts,
    key: Texts,
    intended: Numbers,
    sent: Numbers,
    done: Numbers,
    basis: Numbers,
    value: Texts,
    dot: [Numbers; 2],
    returned_value: Texts,
    returned_dot: [Numbers; 2],
    seen_vv: [Numbers; 2],
    seen_dots: [Numbers; 2],
    outcome: Texts,
    reason: Texts,
    replicas: Texts,
    leg_replica: Texts,
    leg_asked: Numbers,
    leg_served: Numbers,
    leg_heard: Numbers,
}

/// A column of either type.
enum Either {
    Numbers(Numbers),
    Texts(Texts),
}

impl Rows {
    fn add(&mut self, operation: Operation) {
        let Operation { id, session, node, kind, level, key, intended, sent, done, basis, .. } = operation;
        let Operation { value, dot, returned, seen, outcome, replicas, legs, .. } = operation;
        self.len += 1;
        self.id.required(id.cast_signed());
        self.session.required(i64::from(session));
        self.node.required(text(node));
        self.kind.required(text(kind.to_string()));
        self.level.required(text(level.to_string()));
        self.key.required(text(key));
        self.intended.required(intended.cast_signed());
        self.sent.required(sent.cast_signed());
        self.done.optional(done.map(u64::cast_signed));
        self.basis.optional(basis.map(u64::cast_signed));
        self.value.optional(value.map(text));
        for (column, of) in self.dot.iter_mut().zip(HALVES) {
            column.optional(dot.as_ref().map(|dot| of(dot).cast_signed()));
        }
        for (column, of) in self.returned_dot.iter_mut().zip(HALVES) {
            column.list(0, returned.iter().map(|version| of(&version.dot).cast_signed()));
        }
        let values = returned.into_iter().map(|version| version.value.map(text));
        self.returned_value.list_of_optional(
            0,
            values.map(|value| {
                let defined = 1 + i16::from(value.is_some());
                (value, defined)
            }),
        );
        let around = i16::from(seen.is_some());
        let Clock { vv, dots } = seen.unwrap_or_default();
        let vv: Vec<Dot> = vv.into_iter().map(Dot::from).collect();
        for (columns, dots) in [(&mut self.seen_vv, vv), (&mut self.seen_dots, dots)] {
            for (column, of) in columns.iter_mut().zip(HALVES) {
                column.list(around, dots.iter().map(|dot| of(dot).cast_signed()));
            }
        }
        let (outcome, reason) = match outcome {
            Outcome::Ok => ("ok", None),
            Outcome::NotFound => ("not_found", None),
            Outcome::Refused { reason } => ("refused", Some(reason)),
            Outcome::Unknown { reason } => ("unknown", Some(reason)),
        };
        self.outcome.required(text(outcome.to_owned()));
        self.reason.optional(reason.map(text));
        self.replicas.list(0, replicas.into_iter().map(text));
        let optional = |time: Option<u64>| (time.map(u64::cast_signed), 1 + i16::from(time.is_some()));
        self.leg_asked.list(0, legs.iter().map(|leg| leg.asked.cast_signed()));
        self.leg_served.list_of_optional(0, legs.iter().map(|leg| optional(leg.served)));
        self.leg_heard.list_of_optional(0, legs.iter().map(|leg| optional(leg.heard)));
        self.leg_replica.list(0, legs.into_iter().map(|leg| text(leg.replica)));
    }

    /// In the order of [`SCHEMA`].
    fn columns(self) -> impl Iterator<Item = Either> {
        use Either::{Numbers, Texts};
        let pair = |[actor, seq]: [Column<i64>; 2]| [Numbers(actor), Numbers(seq)];
        let head = [
            Numbers(self.id),
            Numbers(self.session),
            Texts(self.node),
            Texts(self.kind),
            Texts(self.level),
            Texts(self.key),
            Numbers(self.intended),
            Numbers(self.sent),
            Numbers(self.done),
            Numbers(self.basis),
            Texts(self.value),
        ];
        head.into_iter()
            .chain(pair(self.dot))
            .chain([Texts(self.returned_value)])
            .chain([self.returned_dot, self.seen_vv, self.seen_dots].into_iter().flat_map(pair))
            .chain([Texts(self.outcome), Texts(self.reason), Texts(self.replicas)])
            .chain([Texts(self.leg_replica), Numbers(self.leg_asked)])
            .chain([Numbers(self.leg_served), Numbers(self.leg_heard)])
    }

    fn write<W: Write + Send>(self, mut group: SerializedRowGroupWriter<'_, W>) -> Result<(), ParquetError> {
        for column in self.columns() {
            let mut writer = group.next_column()?.expect("the schema has as many columns as the rows");
            match column {
                Either::Numbers(Column { values, defined, repeated }) => {
                    writer.typed::<Int64Type>().write_batch(&values, Some(&defined), Some(&repeated))?;
                }
                Either::Texts(Column { values, defined, repeated }) => {
                    writer.typed::<ByteArrayType>().write_batch(&values, Some(&defined), Some(&repeated))?;
                }
            }
            writer.close()?;
        }
        group.close()?;
        Ok(())
    }
}

/// The two numbers of a dot.
const HALVES: [fn(&Dot) -> u64; 2] = [|dot| dot.actor, |dot| dot.seq];

fn text(text: String) -> ByteArray {
    text.into_bytes().into()
}

#[cfg(test)]
mod tests;
