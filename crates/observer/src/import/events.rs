//! Events paired into calls: an invocation, and what became of it. A call that was never answered, or ended with `:info`, may
//! have happened or not; one that failed did not.

use super::ImportError;
use super::edn::Edn;
use std::collections::BTreeMap;

/// A key or value, as it was written.
pub type Text = String;

/// What a log tells, in the order of invocations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// The calls that may have happened.
    pub calls: Vec<ImportedCall>,
}

/// One call on a register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportedCall {
    /// The line of its invocation.
    pub id: u64,
    /// The process that made it.
    pub process: u32,
    /// The key; empty where there is only one.
    pub key: Text,
    /// When it began, in nanoseconds if the log tells times, in events otherwise.
    pub start: u64,
    /// When it ended; none if it may have happened at any later time, or never.
    pub end: Option<u64>,
    /// Whether it was answered.
    pub is_answered: bool,
    /// What it did.
    pub act: Act,
}

/// What a call did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It returned this value, or that there is none.
    Read(Option<Text>),
    /// It wrote this value.
    Write(Text),
    /// It replaced the first value, or the absence of any, by the second.
    CompareAndSet(Option<Text>, Text),
    /// It added this text.
    Append(Text),
}

/// An invocation without an answer yet.
#[derive(Debug)]
struct Open {
    line: usize,
    process: u32,
    key: Text,
    start: u64,
    f: String,
    value: Edn,
}

/// The events of one log.
#[derive(Debug, Default)]
pub(super) struct Events {
    open: BTreeMap<String, Open>,
    calls: Vec<ImportedCall>,
    seen: u64,
    processes: BTreeMap<String, u32>,
    latest: u64,
}

impl Events {
    pub(super) fn push(&mut self, line: usize, event: &Edn) -> Result<(), ImportError> {
        let malformed = |what: &str| ImportError::new(line, what);
        if !matches!(event, Edn::Map(_)) {
            return Err(malformed("an event is a map, such as {:process 0 :type :invoke :f :read}"));
        }
        let process = event.under("process").and_then(Edn::text).ok_or_else(|| malformed("no :process"))?;
        if process.starts_with(':') {
            // The nemesis.
            return Ok(());
        }
        self.seen += 1;
        let time = match event.under("time").and_then(Edn::text) {
            None => self.seen,
            Some(time) => time.parse().map_err(|_no_number| malformed("no :time in nanoseconds"))?,
        };
        if time < self.latest {
            return Err(malformed("an event before the one before it: a history is in order of time"));
        }
        self.latest = time;
        let kind = event.under("type").and_then(Edn::keyword).ok_or_else(|| malformed("no :type"))?;
        if kind == "invoke" {
            return self.invoke(line, time, process, event);
        }
        let open = self.open.remove(&process);
        let open = open.ok_or_else(|| malformed("an answer to nothing: its process has invoked nothing"))?;
        let f = event.under("f").and_then(Edn::keyword).unwrap_or(&open.f);
        if f != open.f {
            return Err(malformed("an answer to another :f than its process invoked"));
        }
        match kind {
            "ok" => {
                let value = event.under("value").cloned().unwrap_or(Edn::Nil);
                // A key of jepsen.independent is with the value again.
                let (_, value) = keyed(event, value);
                self.end(open, Some((time, value)))
            }
            "info" => self.end(open, None),
            "fail" => Ok(()),
            other => Err(malformed(&format!("`:{other}` is no :type: it is :invoke, :ok, :fail or :info"))),
        }
    }

    pub(super) fn finish(mut self) -> Result<Imported, ImportError> {
        for (_, open) in std::mem::take(&mut self.open) {
            self.end(open, None)?;
        }
        self.calls.sort_by_key(|call| (call.start, call.id));
        Ok(Imported { calls: self.calls })
    }

    fn invoke(&mut self, line: usize, start: u64, process: String, event: &Edn) -> Result<(), ImportError> {
        let f = event.under("f").and_then(Edn::keyword).ok_or_else(|| ImportError::new(line, "no :f"))?;
        let (key, value) = keyed(event, event.under("value").cloned().unwrap_or(Edn::Nil));
        let next = u32::try_from(self.processes.len()).expect("there are fewer processes than lines");
        let number = *self.processes.entry(process.clone()).or_insert(next);
        let open = Open { line, process: number, key, start, f: f.to_owned(), value };
        match self.open.insert(process, open) {
            None => Ok(()),
            Some(other) => Err(ImportError::new(
                line,
                format!("a process invokes while its call of line {} is open", other.line),
            )),
        }
    }

    fn end(&mut self, open: Open, answer: Option<(u64, Edn)>) -> Result<(), ImportError> {
        let line = open.line;
        let text =
            |value: &Edn| value.text().ok_or_else(|| ImportError::new(line, "nothing is no value to write"));
        let act = match (open.f.as_str(), &open.value) {
            ("read" | "get", _) => match &answer {
                // A read that was not answered tells nothing. Logs of texts call an absent value an empty one.
                None => return Ok(()),
                Some((_, value)) => Act::Read(value.text().filter(|text| !text.is_empty())),
            },
            ("write" | "put", value) => Act::Write(text(value)?),
            ("append", value) => Act::Append(text(value)?),
            ("cas", Edn::Sequence(pair)) if pair.len() == 2 => {
                Act::CompareAndSet(pair[0].text(), text(&pair[1])?)
            }
            ("cas", _) => return Err(ImportError::new(line, "a :cas has a pair [old new] as its value")),
            (other, _) => {
                let what = format!("`:{other}` is none of :read, :get, :write, :put, :cas and :append");
                return Err(ImportError::new(line, what));
            }
        };
        self.calls.push(ImportedCall {
            id: line as u64,
            process: open.process,
            key: open.key,
            start: open.start,
            end: answer.as_ref().map(|(time, _)| *time),
            is_answered: answer.is_some(),
            act,
        });
        Ok(())
    }
}

/// The key and the value of an event: apart, or as the pair that `jepsen.independent` makes of them, which is written as
/// `[key value]` and whose value is nil or a pair where a lone value would be neither.
fn keyed(event: &Edn, value: Edn) -> (Text, Edn) {
    if let Some(key) = event.under("key").and_then(Edn::text) {
        return (key, value);
    }
    let is_cas = event.under("f").and_then(Edn::keyword) == Some("cas");
    match value {
        Edn::Sequence(mut pair) if pair.len() == 2 && (!is_cas || matches!(pair[1], Edn::Sequence(_))) => {
            let value = pair.pop().unwrap_or(Edn::Nil);
            (pair.pop().and_then(|key| key.text()).unwrap_or_default(), value)
        }
        other => (Text::new(), other),
    }
}
