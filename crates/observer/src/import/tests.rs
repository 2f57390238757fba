//! Logs of other tools, by hand: what is read of them, and how they are refused.

use super::{Act, ImportError, Imported, read_edn, read_log};
use proptest::prelude::proptest;

fn edn(text: &str) -> Imported {
    read_edn(text.as_bytes()).unwrap()
}

fn line_of(error: ImportError) -> (usize, String) {
    match error {
        ImportError::Malformed { line, what } => (line, what),
        ImportError::Io { line, source } => (line, source.to_string()),
    }
}

#[test]
fn a_jepsen_history_is_read_in_a_vector_or_line_by_line() {
    let events = "{:process 0, :type :invoke, :f :write, :value 3, :time 10, :index 0}\n\
        {:process :nemesis, :type :info, :f :start, :value nil, :time 11}\n\
        {:process 1, :type :invoke, :f :read, :value nil, :time 12}\n\
        {:process 0, :type :ok, :f :write, :value 3, :time 20}\n\
        {:process 1, :type :ok, :f :read, :value 3, :time 30}\n";
    let read = edn(events);
    assert_eq!(read, edn(events), "a history is a function of its text");
    assert_eq!(edn(&format!("[{events}]")).calls.len(), 2);
    let [write, get] = read.calls.as_slice() else { panic!("{read:?}") };
    assert_eq!(
        (write.id, write.start, write.end, &write.act),
        (1, 10, Some(20), &Act::Write("3".to_owned()))
    );
    assert_eq!((get.id, get.start, get.end, &get.act), (3, 12, Some(30), &Act::Read(Some("3".to_owned()))));
    assert_eq!(read.plain().unwrap().operations.len(), 2);
}

#[test]
fn keys_stand_apart_or_with_their_values() {
    let porcupine = edn("{:process 0, :type :invoke, :f :put, :key \"7\", :value \"x 0 0 y\"}\n\
        {:process 0, :type :ok, :f :put, :key \"7\", :value \"x 0 0 y\"}");
    assert_eq!(
        (porcupine.calls[0].key.as_str(), &porcupine.calls[0].act),
        ("7", &Act::Write("x 0 0 y".to_owned()))
    );
    let independent = edn("#jepsen.history.Op{:process 0 :type :invoke :f :cas :value [k [1 2]]}\n\
        {:process 0 :type :ok :f :cas :value [k [1 2]]} ; done");
    let cas = Act::CompareAndSet(Some("1".to_owned()), "2".to_owned());
    assert_eq!((independent.calls[0].key.as_str(), &independent.calls[0].act), ("k", &cas));
    let lone = edn("{:process 0 :type :invoke :f :cas :value [1 2]}");
    assert_eq!((lone.calls[0].key.as_str(), &lone.calls[0].act, lone.calls[0].end), ("", &cas, None));
    assert!(lone.plain().is_none());
}

#[test]
fn what_failed_did_not_happen_and_what_was_not_answered_may_have() {
    let log = "INFO  jepsen.util - 0\t:invoke\t:write\t4\n\
        INFO  jepsen.core - something else\n\
        INFO  jepsen.util - 1\t:invoke\t:cas\t[4 3]\n\
        INFO  jepsen.util - 1\t:fail\t:cas\t[4 3]\n\
        INFO  jepsen.util - 0\t:info\t:write\t:timed-out\n\
        INFO  jepsen.util - 2\t:invoke\t:read\tnil\n\
        INFO  jepsen.util - 2\t:ok\t:read\tnil\n\
        INFO  jepsen.util - 2\t:invoke\t:read\tnil\n";
    let read = read_log(log.as_bytes()).unwrap();
    let told: Vec<_> = read.calls.iter().map(|call| (call.id, call.is_answered, call.act.clone())).collect();
    assert_eq!(told, [(1, false, Act::Write("4".to_owned())), (6, true, Act::Read(None))]);
}

#[test]
fn a_value_written_twice_is_no_plain_history() {
    let write = |process, kind| format!("{{:process {process} :type :{kind} :f :write :value 1}}\n");
    let twice = [write(0, "invoke"), write(0, "ok"), write(1, "invoke"), write(1, "ok")].concat();
    assert!(edn(&twice).plain().is_none());
    assert!(edn(&[write(0, "invoke"), write(0, "ok")].concat()).plain().is_some());
}

#[test]
fn refusals_name_their_line() {
    let refused = |text: &str| line_of(read_edn(text.as_bytes()).unwrap_err());
    let first = "{:process 0 :type :invoke :f :read}\n";
    assert_eq!(refused("{:process 0\n :type :invoke").0, 1);
    assert_eq!(refused(&format!("{first}{first}")).0, 2);
    assert_eq!(refused(&format!("{first}\n{{:process 1 :type :ok :f :read}}")).0, 3);
    assert_eq!(refused(&format!("{first}{{:process 0 :type :done}}")).0, 2);
    assert_eq!(
        refused(&format!("{first}{{:process 0 :type}}")),
        (2, "a map has a key without a value".to_owned())
    );
    assert_eq!(refused(&format!("{first}{{:process 1 :type :invoke :f :enqueue :value 1}}")).0, 2);
    assert_eq!(refused(&format!("{first}7")).0, 2);
    assert_eq!(refused("{:process 0 :type :invoke :f :read :value \"x}").0, 1);
}

proptest! {
    #[test]
    fn no_text_panics_a_reader(text in "[\\[\\](){}:;#_\"a0 \\\\\n]{0,60}") {
        drop(read_edn(text.as_bytes()));
        drop(read_log(format!("INFO jepsen.util - {text}").as_bytes()));
    }
}
