//! What a reader of Parquet gets is what was in the history.

use super::export;
use crate::history::{Clock, Dot, Event, History, Kind, Leg, Level, Operation, Outcome, ReadError, Version};
use bytes::Bytes;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::{Field, Row};

const BIG: u64 = u64::MAX - 1;

fn history() -> History {
    let dot = Dot { actor: BIG, seq: 3 };
    let mut put = Operation::new(1, 7, "replica0", Kind::Put, Level::Quorum, "a");
    (put.intended, put.sent, put.done) = (4, 5, Some(9));
    (put.value, put.dot, put.outcome) = (Some("x".to_owned()), Some(dot), Outcome::Ok);
    put.replicas = vec!["replica0".to_owned(), "replica2".to_owned()];
    let leg = |replica: &str, asked, served, heard| Leg { replica: replica.to_owned(), asked, served, heard };
    put.legs = vec![leg("replica2", 5, Some(7), Some(BIG)), leg("replica1", 6, None, None)];
    let mut get = Operation::new(2, 8, "replica1", Kind::Get, Level::One, "a");
    (get.sent, get.done, get.outcome) = (10, Some(14), Outcome::Ok);
    get.returned = vec![Version { value: Some("y".to_owned()), dot }, Version { value: None, dot }];
    get.seen = Some(Clock { vv: vec![(9, 300), (10, 4)], dots: vec![dot] });
    let mut delete = Operation::new(3, 7, "replica0", Kind::Delete, Level::All, "b");
    (delete.basis, delete.outcome) = (Some(2), Outcome::Unknown { reason: "late".to_owned() });
    let event = Event { at: 6, phase: String::new(), what: "cut".to_owned(), fault: true };
    History { operations: vec![put, get, delete], events: vec![event], ..History::default() }
}

fn read(history: &History) -> (Vec<Row>, Vec<(String, Option<String>)>) {
    let lines = history.write(Vec::new()).unwrap();
    let mut bytes = Vec::new();
    assert_eq!(export(lines.as_slice(), &mut bytes).unwrap(), history.operations.len() as u64);
    let reader = SerializedFileReader::new(Bytes::from(bytes)).unwrap();
    let metadata = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    (rows, metadata.into_iter().map(|entry| (entry.key, entry.value)).collect())
}

fn field<'a>(row: &'a Row, name: &str) -> &'a Field {
    row.get_column_iter().find(|(column, _)| *column == name).unwrap().1
}

#[test]
fn every_field_comes_out_as_it_went_in() {
    let (rows, metadata) = read(&history());
    assert_eq!(rows.len(), 3);
    let shown = |row: usize, name: &str| field(&rows[row], name).to_string();
    let column = |name: &str| [shown(0, name), shown(1, name), shown(2, name)];
    assert_eq!(column("id"), ["1", "2", "3"]);
    assert_eq!(column("session"), ["7", "8", "7"]);
    assert_eq!(column("node"), [r#""replica0""#, r#""replica1""#, r#""replica0""#]);
    assert_eq!(column("kind"), [r#""put""#, r#""get""#, r#""delete""#]);
    assert_eq!(column("level"), [r#""quorum""#, r#""one""#, r#""all""#]);
    assert_eq!(column("key"), [r#""a""#, r#""a""#, r#""b""#]);
    assert_eq!(column("intended"), ["4", "0", "0"]);
    assert_eq!(column("sent"), ["5", "10", "0"]);
    assert_eq!(column("done"), ["9", "14", "null"]);
    assert_eq!(column("basis"), ["null", "null", "2"]);
    assert_eq!(column("value"), [r#""x""#, "null", "null"]);
    assert_eq!(column("dot"), [format!("{{actor: {BIG}, seq: 3}}"), "null".to_owned(), "null".to_owned()]);
    assert_eq!(
        column("returned"),
        [
            "[]".to_owned(),
            format!("[{{value: \"y\", actor: {BIG}, seq: 3}}, {{value: null, actor: {BIG}, seq: 3}}]"),
            "[]".to_owned()
        ]
    );
    let seen =
        format!("{{vv: [{{actor: 9, seq: 300}}, {{actor: 10, seq: 4}}], dots: [{{actor: {BIG}, seq: 3}}]}}");
    assert_eq!(column("seen"), ["null".to_owned(), seen, "null".to_owned()]);
    assert_eq!(column("outcome"), [r#""ok""#, r#""ok""#, r#""unknown""#]);
    assert_eq!(column("reason"), ["null", "null", r#""late""#]);
    assert_eq!(column("replicas"), [r#"["replica0", "replica2"]"#, "[]", "[]"]);
    let legs = format!(
        "[{{replica: \"replica2\", asked: 5, served: 7, heard: {BIG}}}, \
         {{replica: \"replica1\", asked: 6, served: null, heard: null}}]"
    );
    assert_eq!(column("legs"), [legs, "[]".to_owned(), "[]".to_owned()]);
    assert_eq!(metadata[0], ("chinwag.run".to_owned(), Some("{}".to_owned())));
    assert!(metadata[1].1.as_ref().unwrap().contains(r#""what":"cut""#), "{metadata:?}");
}

#[test]
fn groups_of_rows_follow_each_other() {
    let operations = (0..super::ROWS_PER_GROUP as u64 + 2).map(|id| {
        let mut get = Operation::new(id, 0, "", Kind::Get, Level::One, "k");
        get.done = Some(1);
        get
    });
    let history = History { operations: operations.collect(), ..History::default() };
    let (rows, _) = read(&history);
    let ids = rows.iter().map(|row| field(row, "id").to_string());
    assert!(ids.eq((0..history.operations.len()).map(|id| id.to_string())));
}

#[test]
fn a_mistake_is_named_by_its_line() {
    let history = History { operations: history().operations[..1].to_vec(), ..History::default() };
    let mut lines = history.write(Vec::new()).unwrap();
    lines.extend(b"{\"op\":");
    let error = export(lines.as_slice(), Vec::new()).unwrap_err();
    assert!(matches!(error, super::ExportError::Read(ReadError::Malformed { line: 3, .. })), "{error}");
}
