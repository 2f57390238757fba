//! A history with numbers in place of names: some 100 bytes an operation, so that ten million fit in a gibibyte. It keeps
//! what the checks need (not the member asked, nor when an operation was due) and judges nothing.

use crate::history::{Dot, History, HistoryReader, Operation, Outcome, ReadError, Record, Version};
use std::collections::BTreeMap;
use std::io::BufRead;

mod entry;
mod intern;
mod packed;

use entry::Ending;
pub(crate) use entry::{Entry, NEVER};
use intern::{Interned, NONE};
use packed::Numbers;

/// All operations of one history.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    keys: Interned,
    values: Interned,
    dots: Interned,
    lists: Interned,
    clocks: Interned,
    /// The line each value was written on, by value.
    written_on: Vec<u32>,
    /// Places in `entries`, key by key.
    by_key: Vec<u32>,
    /// Where each key's begin in `by_key`; one more than there are keys.
    starts: Vec<u32>,
}

impl Ledger {
    /// Reads a history from its file, line by line, and checks what every measurement rests on: ids and written values are
    /// unique, and nothing ends before it was sent.
    ///
    /// # Errors
    /// The first [`ReadError`] met; where an id repeats, once the whole file is read.
    pub fn read(source: impl BufRead) -> Result<Self, ReadError> {
        let mut reader = HistoryReader::new(source)?;
        let mut ledger = Self::default();
        let mut lines: Vec<u32> = Vec::new();
        while let Some(record) = reader.next().transpose()? {
            let Record::Operation(operation) = record else { continue };
            let line = reader.line();
            operation.check(line)?;
            ledger.push(&operation, line)?;
            lines.push(narrow(line));
        }
        ledger.distinct_ids(&lines)?;
        ledger.seal();
        Ok(ledger)
    }

    /// What a history in memory holds. Of two puts with one value the later counts as having written it.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut ledger = Self::default();
        for operation in &history.operations {
            // A value that repeats is refused in files only.
            ledger.push(operation, 0).ok();
        }
        ledger.seal();
        ledger
    }

    /// Moves every beginning earlier and every end later by `bound` nanoseconds: what is certain when clients' clocks may be
    /// that far apart from each other.
    pub fn widen(&mut self, bound: u64) {
        for entry in &mut self.entries {
            entry.sent = entry.sent.saturating_sub(bound);
            entry.done = if entry.done == NEVER { NEVER } else { entry.done.saturating_add(bound) };
        }
    }

    /// How many operations there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last moment in it, in nanoseconds since the run's start.
    #[must_use]
    pub fn end(&self) -> u64 {
        let last = |entry: &Entry| if entry.done == NEVER { entry.sent } else { entry.done };
        self.entries.iter().map(last).max().unwrap_or(0)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many keys there are.
    pub(crate) fn keys(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, number: usize) -> &str {
        text(self.keys.at(narrow(number)))
    }

    /// The places of one key's operations among all entries, in recorded order.
    pub(crate) fn places(&self, key: usize) -> &[u32] {
        &self.by_key[self.starts[key] as usize..self.starts[key + 1] as usize]
    }

    /// One operation as the history tells it, without its key, the member asked, the replicas and the reasons.
    pub(crate) fn operation(&self, place: u32) -> Operation {
        let entry = &self.entries[place as usize];
        Operation {
            id: entry.id,
            session: entry.session,
            node: String::new(),
            kind: entry.kind,
            level: entry.level,
            key: String::new(),
            intended: entry.sent,
            sent: entry.sent,
            done: (entry.done != NEVER).then_some(entry.done),
            basis: entry.basis,
            value: self.value_of(entry.value),
            dot: (entry.dot != NONE).then(|| Numbers(self.dots.at(entry.dot)).dot()).flatten(),
            returned: self.returned(entry),
            seen: (entry.seen != NONE).then(|| packed::clock(self.clocks.at(entry.seen))),
            outcome: match entry.ending {
                Ending::Ok => Outcome::Ok,
                Ending::NotFound => Outcome::NotFound,
                Ending::Refused => Outcome::Refused { reason: String::new() },
                Ending::Unknown => Outcome::Unknown { reason: String::new() },
            },
            replicas: Vec::new(),
        }
    }

    fn value_of(&self, value: u32) -> Option<String> {
        (value != NONE).then(|| text(self.values.at(value)).to_owned())
    }

    fn returned(&self, entry: &Entry) -> Vec<Version> {
        let mut numbers = Numbers(if entry.returned == NONE { &[] } else { self.lists.at(entry.returned) });
        let version = |value: u64, dot: Dot| Version {
            // Shifted by one, so that 0 is a tombstone.
            value: value.checked_sub(1).and_then(|value| self.value_of(u32::try_from(value).ok()?)),
            dot,
        };
        std::iter::from_fn(|| Some(version(numbers.next()?, numbers.dot()?))).collect()
    }

    fn push(&mut self, operation: &Operation, line: usize) -> Result<(), ReadError> {
        let mut scratch = Vec::new();
        let value = operation.value.as_ref().map_or(NONE, |value| self.values.intern(value.as_bytes()));
        if value != NONE {
            self.note_writer(value, operation.id, line)?;
        }
        let dot = operation.dot.map_or(NONE, |dot| {
            packed::push_dot(&mut scratch, dot);
            self.dots.intern(&scratch)
        });
        scratch.clear();
        for version in &operation.returned {
            let value = version.value.as_ref().map(|value| self.values.intern(value.as_bytes()));
            packed::push(&mut scratch, value.map_or(0, |value| u64::from(value) + 1));
            packed::push_dot(&mut scratch, version.dot);
        }
        let returned = if scratch.is_empty() { NONE } else { self.lists.intern(&scratch) };
        scratch.clear();
        let seen = operation.seen.as_ref().map_or(NONE, |clock| {
            packed::push_clock(&mut scratch, clock);
            self.clocks.intern(&scratch)
        });
        self.entries.push(Entry {
            id: operation.id,
            sent: operation.sent,
            done: operation.done.unwrap_or(NEVER),
            basis: operation.basis,
            key: self.keys.intern(operation.key.as_bytes()),
            session: operation.session,
            value,
            dot,
            returned,
            seen,
            kind: operation.kind,
            level: operation.level,
            ending: match operation.outcome {
                Outcome::Ok => Ending::Ok,
                Outcome::NotFound => Ending::NotFound,
                Outcome::Refused { .. } => Ending::Refused,
                Outcome::Unknown { .. } => Ending::Unknown,
            },
        });
        Ok(())
    }

    fn note_writer(&mut self, value: u32, id: u64, line: usize) -> Result<(), ReadError> {
        let at = value as usize;
        if self.written_on.len() <= at {
            self.written_on.resize(at + 1, NONE);
        }
        match self.written_on[at] {
            first if first != NONE => Err(ReadError::ValueRepeated { line, id, first: first as usize }),
            _ => {
                self.written_on[at] = narrow(line);
                Ok(())
            }
        }
    }

    fn distinct_ids(&self, lines: &[u32]) -> Result<(), ReadError> {
        // Our own files are in order of ids, and no list is needed.
        if self.entries.is_sorted_by(|one, next| one.id < next.id) {
            return Ok(());
        }
        let mut first: BTreeMap<u64, u32> = BTreeMap::new();
        for (entry, &line) in self.entries.iter().zip(lines) {
            if let Some(first) = first.insert(entry.id, line) {
                let (line, first) = (line as usize, first as usize);
                return Err(ReadError::IdRepeated { line, id: entry.id, first });
            }
        }
        Ok(())
    }

    /// Arranges operations by key, and drops what only reading needed.
    fn seal(&mut self) {
        for interned in [&mut self.keys, &mut self.values, &mut self.dots, &mut self.lists, &mut self.clocks]
        {
            interned.seal();
        }
        self.written_on = Vec::new();
        self.entries.shrink_to_fit();
        let mut starts = vec![0u32; self.keys.len() + 1];
        for entry in &self.entries {
            starts[entry.key as usize + 1] += 1;
        }
        for key in 1..starts.len() {
            starts[key] += starts[key - 1];
        }
        let mut next = starts.clone();
        self.by_key = vec![0; self.entries.len()];
        for (place, entry) in (0..).zip(&self.entries) {
            let at = &mut next[entry.key as usize];
            self.by_key[*at as usize] = place;
            *at += 1;
        }
        self.starts = starts;
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("only texts were interned here")
}

fn narrow(number: usize) -> u32 {
    u32::try_from(number).expect("a history has fewer than 2^32 operations")
}

#[cfg(test)]
mod tests;
