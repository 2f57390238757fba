//! Round trips, the exact text of the format, and refusals that name their line.

use super::{
    Clock, Dot, Event, Header, History, HistoryReader, Kind, Leg, Level, Operation, Outcome, ReadError,
    Version,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

fn header() -> Header {
    Header {
        seed: Some(42),
        scenario: Some("quickstart".to_owned()),
        configuration: serde_json::json!({"n": 3}),
    }
}

/// A put at quorum with everything there is to say of it.
fn put() -> Operation {
    Operation {
        intended: 1_000,
        sent: 1_250,
        done: Some(3_000),
        basis: Some(6),
        value: Some("s3-1".to_owned()),
        dot: Some(Dot { actor: u64::MAX, seq: 2 }),
        outcome: Outcome::Ok,
        replicas: vec!["replica0".to_owned(), "replica2".to_owned()],
        legs: vec![
            Leg { replica: "replica0".to_owned(), asked: 1_300, served: Some(1_300), heard: Some(1_400) },
            Leg { replica: "replica2".to_owned(), asked: 1_300, served: Some(2_000), heard: None },
        ],
        ..Operation::new(7, 3, "replica1", Kind::Put, Level::Quorum, "200")
    }
}

fn get() -> Operation {
    let dot = Dot { actor: 9, seq: 2 };
    Operation {
        sent: 5_000,
        done: Some(6_000),
        returned: vec![Version { value: Some("s3-1".to_owned()), dot }, Version { value: None, dot }],
        seen: Some(Clock { vv: vec![(9, 2)], dots: vec![Dot { actor: 8, seq: 5 }] }),
        outcome: Outcome::Ok,
        ..Operation::new(8, 0, "replica0", Kind::Get, Level::One, "200")
    }
}

fn written(history: &History) -> String {
    String::from_utf8(history.write(Vec::new()).unwrap()).unwrap()
}

#[test]
fn the_text_of_the_format_is_fixed() {
    let partition = "cut replica0 | replica1".to_owned();
    let event = Event { at: 2_000, phase: "split".to_owned(), what: partition, fault: true };
    let refused = Operation {
        done: Some(9),
        outcome: Outcome::Refused { reason: "no replica".to_owned() },
        ..Operation::new(9, 0, "replica0", Kind::Delete, "3".parse().unwrap(), "k")
    };
    let operations = vec![put(), get(), refused];
    let history = History { header: header(), operations, events: vec![event], measured_from: 900 };
    let expected = [
        r#"{"chinwag_history":{"version":1,"run":{"seed":42,"scenario":"quickstart","configuration":{"n":3}}}}"#,
        r#"{"measured_from":900}"#,
        r#"{"event":{"at":2000,"phase":"split","what":"cut replica0 | replica1","fault":true}}"#,
        concat!(
            r#"{"op":{"id":7,"session":3,"node":"replica1","kind":"put","level":"quorum","key":"200","#,
            r#""intended":1000,"sent":1250,"done":3000,"basis":6,"value":"s3-1","dot":[18446744073709551615,2],"#,
            r#""outcome":"ok","replicas":["replica0","replica2"],"legs":["#,
            r#"{"replica":"replica0","asked":1300,"served":1300,"heard":1400},"#,
            r#"{"replica":"replica2","asked":1300,"served":2000}]}}"#
        ),
        concat!(
            r#"{"op":{"id":8,"session":0,"node":"replica0","kind":"get","level":"one","key":"200","#,
            r#""intended":0,"sent":5000,"done":6000,"returned":[{"value":"s3-1","dot":[9,2]},{"dot":[9,2]}],"#,
            r#""seen":{"vv":[[9,2]],"dots":[[8,5]]},"outcome":"ok"}}"#
        ),
        concat!(
            r#"{"op":{"id":9,"session":0,"node":"replica0","kind":"delete","level":"3","key":"k","#,
            r#""intended":0,"sent":0,"done":9,"outcome":{"refused":{"reason":"no replica"}}}}"#
        ),
    ];
    assert_eq!(written(&history).lines().collect::<Vec<_>>(), expected);
    assert_eq!(History::read(written(&history).as_bytes()).unwrap(), history);
}

fn operations() -> impl Strategy<Value = Operation> {
    let dot = || any::<(u64, u64)>().prop_map(Dot::from);
    let level = prop_oneof![
        Just(Level::One),
        Just(Level::Quorum),
        Just(Level::All),
        (1u8..).prop_map(|count| Level::Count(count.try_into().unwrap())),
    ];
    let outcome = prop_oneof![
        Just(Outcome::Ok),
        Just(Outcome::NotFound),
        any::<String>().prop_map(|reason| Outcome::Refused { reason }),
        any::<String>().prop_map(|reason| Outcome::Unknown { reason }),
    ];
    let version = (option::of(any::<String>()), dot()).prop_map(|(value, dot)| Version { value, dot });
    let clock = (vec(any::<(u64, u64)>(), 0..3), vec(dot(), 0..3)).prop_map(|(vv, dots)| Clock { vv, dots });
    let leg = (any::<String>(), any::<u32>(), any::<u32>(), option::of(any::<u32>())).prop_map(
        |(replica, asked, there, back)| {
            let (asked, served) = (u64::from(asked), u64::from(asked) + u64::from(there));
            Leg { replica, asked, served: Some(served), heard: back.map(|back| served + u64::from(back)) }
        },
    );
    let texts = (any::<String>(), any::<String>(), vec(any::<String>(), 0..3), vec(leg, 0..3));
    let seen = (vec(version, 0..3), option::of(clock), option::of(dot()), option::of(any::<u64>()));
    (texts, seen, level, outcome, any::<(u32, u32, u32, u32)>()).prop_map(
        |(
            (node, key, replicas, legs),
            (returned, seen, dot, basis),
            level,
            outcome,
            (session, intended, sent, took),
        )| {
            let kind = [Kind::Get, Kind::Put, Kind::Delete][session as usize % 3];
            let operation = Operation {
                intended: u64::from(intended),
                sent: u64::from(sent),
                done: Some(u64::from(sent) + u64::from(took)),
                outcome,
                replicas,
                legs,
                ..Operation::new(0, session, &node, kind, level, &key)
            };
            match kind {
                Kind::Get => Operation { returned, seen, ..operation },
                Kind::Put | Kind::Delete => Operation { basis, dot, ..operation },
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(mut operations in vec(operations(), 0..8)) {
        for (id, operation) in (0u64..).zip(&mut operations) {
            operation.id = id;
            operation.value = (operation.kind == Kind::Put).then(|| format!("value \" \n {id}"));
        }
        let history = History { header: header(), operations, ..History::default() };
        assert_eq!(History::read(written(&history).as_bytes()).unwrap(), history);
    }

    #[test]
    fn no_bytes_panic_the_reader(bytes in vec(any::<u8>(), 0..200), line in 0usize..4) {
        let mut file = written(&History { header: header(), operations: vec![put(), get()], ..History::default() });
        let at = file.match_indices('\n').nth(line).map_or(file.len(), |(at, _)| at);
        let tail = file.split_off(at);
        drop(History::read([file.as_bytes(), &bytes, tail.as_bytes()].concat().as_slice()));
    }
}

/// The error met reading a history with these lines after its header.
fn refusal(lines: &[String]) -> ReadError {
    let file = written(&History { header: header(), ..History::default() }) + &lines.join("\n");
    History::read(file.as_bytes()).unwrap_err()
}

fn line(operation: Operation) -> String {
    let history = History { operations: vec![operation], ..History::default() };
    written(&history).lines().nth(1).unwrap().to_owned()
}

#[test]
fn a_malformed_line_is_named() {
    let cut = line(put())[..60].to_owned();
    let error = refusal(&[line(get()), String::new(), cut]);
    assert!(matches!(error, ReadError::Malformed { line: 4, .. }), "{error}");
    assert!(error.to_string().starts_with("line 4: EOF while parsing"), "{error}");

    let misspelt = line(get()).replace("returned", "retuned");
    let error = refusal(&[misspelt]).to_string();
    assert!(error.starts_with("line 2: unknown field `retuned`"), "{error}");
    let error = refusal(&[line(get()).replace("\"one\"", "\"two\"")]).to_string();
    assert!(error.starts_with("line 2: `two` is not a consistency level"), "{error}");
}

#[test]
fn what_would_mislead_is_refused() {
    let other = |change: fn(&mut Operation)| {
        let mut operation = put();
        change(&mut operation);
        line(operation)
    };
    let repeated = refusal(&[line(put()), other(|op| op.value = Some("s3-2".to_owned()))]);
    assert!(matches!(repeated, ReadError::IdRepeated { line: 3, id: 7, first: 2 }), "{repeated}");
    let collision = refusal(&[line(put()), other(|op| op.id = 70)]);
    assert!(matches!(collision, ReadError::ValueRepeated { line: 3, id: 70, first: 2 }), "{collision}");
    for impossible in [
        other(|op| op.done = Some(op.sent - 1)),
        other(|op| op.done = None),
        other(|op| op.value = None),
        other(|op| op.kind = Kind::Get),
        other(|op| (op.kind, op.value, op.dot) = (Kind::Get, None, None)),
        other(|op| (op.kind, op.value, op.basis) = (Kind::Get, None, None)),
        other(|op| op.seen = Some(Clock::default())),
        other(|op| op.returned = vec![Version { value: None, dot: Dot { actor: 1, seq: 1 } }]),
        other(|op| op.id = u64::MAX),
        other(|op| op.legs[0].served = Some(op.legs[0].asked - 1)),
        other(|op| op.legs[0].heard = op.legs[0].served.map(|served| served - 1)),
    ] {
        let error = refusal(&[impossible]);
        assert!(matches!(error, ReadError::Impossible { line: 2, .. }), "{error}");
    }
}

#[test]
fn a_file_that_is_no_history_of_this_version_is_refused() {
    let first = |line: &str| History::read(line.as_bytes()).unwrap_err();
    assert!(matches!(first(""), ReadError::HeaderMissing));
    assert!(matches!(first(&line(put())), ReadError::HeaderMissing));
    assert!(matches!(first("PK\u{3}\u{4}"), ReadError::Malformed { line: 1, .. }));
    let later = r#"{"chinwag_history":{"version":2,"run":{"other":true}}}"#;
    assert!(matches!(first(later), ReadError::Version { found: 2 }));
    let again = written(&History::default());
    assert!(matches!(refusal(&[again]), ReadError::HeaderRepeated { line: 2 }));
}

#[test]
fn the_reader_ends_after_an_error() {
    let file = written(&History::default()) + "nonsense\n" + &line(get());
    let mut reader = HistoryReader::new(file.as_bytes()).unwrap();
    assert!(matches!(reader.next(), Some(Err(ReadError::Malformed { line: 2, .. }))));
    assert!(reader.next().is_none());
}

#[test]
fn levels_are_written_as_people_say_them() {
    for text in ["one", "quorum", "all", "1", "255"] {
        assert_eq!(text.parse::<Level>().unwrap().to_string(), text);
    }
    for text in ["", "0", "256", "-1", "ONE", "most"] {
        let error = text.parse::<Level>().unwrap_err().to_string();
        assert!(error.contains(&format!("`{text}` is not a consistency level")), "{error}");
    }
}

#[test]
fn a_clock_covers_its_runs_and_its_single_dots() {
    let clock = Clock { vv: vec![(1, 3), (2, 1)], dots: vec![Dot { actor: 1, seq: 5 }] };
    let covered = |actor, seq| clock.covers(Dot { actor, seq });
    assert!(covered(1, 1) && covered(1, 3) && covered(1, 5) && covered(2, 1));
    assert!(!covered(1, 4) && !covered(1, 6) && !covered(2, 2) && !covered(3, 1));
}
