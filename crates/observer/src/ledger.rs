//! A history with numbers in place of names: less than 100 bytes an operation, so that ten million fit in a gibibyte. It keeps
//! what measuring and checking need (not which members were asked and answered) and judges nothing.

use crate::history::{Dot, History, HistoryReader, Operation, Outcome, ReadError, Record, Version};
use std::collections::BTreeMap;
use std::io::BufRead;

mod entry;
mod intern;
mod packed;

use entry::{Deed, Ending, LATER, NO_BASIS};
pub(crate) use entry::{Entry, NEVER};
use intern::{Interned, NONE};
use packed::Numbers;

/// All operations of one history.
#[derive(Debug, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
    measured_from: u64,
    keys: Interned,
    values: Interned,
    dots: Interned,
    lists: Interned,
    clocks: Interned,
    /// The sessions, by number.
    sessions: Vec<u32>,
    /// The numbers of sessions.
    numbers: BTreeMap<u32, u32>,
    /// What is late by more than an entry can say, by place: nanoseconds from when it was due to when it was sent.
    later: BTreeMap<u32, u64>,
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
            let operation = match record {
                Record::Operation(operation) => operation,
                Record::MeasuredFrom(time) => {
                    ledger.measure_from(time);
                    continue;
                }
                Record::Event(_) => continue,
            };
            let line = reader.line();
            operation.check(line)?;
            ledger.push(&operation);
            ledger.note_writer(&operation, line)?;
            lines.push(narrow(line));
        }
        ledger.distinct_ids(&lines)?;
        ledger.seal();
        Ok(ledger)
    }

    /// What a history in memory holds. Unlike in a file, a value may be written twice.
    #[must_use]
    pub fn of(history: &History) -> Self {
        let mut ledger = Self { measured_from: history.measured_from, ..Self::default() };
        for operation in &history.operations {
            ledger.push(operation);
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

    /// Says when measuring began, in nanoseconds since the run's start.
    pub(crate) fn measure_from(&mut self, time: u64) {
        self.measured_from = time;
    }

    /// When measuring began, in nanoseconds since the run's start: what was sent earlier prepared the run.
    #[must_use]
    pub fn measured_from(&self) -> u64 {
        self.measured_from
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

    /// Key by key, with what [`operation`](Self::operation) tells of each of its operations, in recorded order.
    pub(crate) fn by_key(&self) -> impl Iterator<Item = (&str, Vec<Operation>)> {
        (0..self.keys()).map(|key| (self.key(key), self.operations(key)))
    }

    /// The operations on one key, in recorded order.
    pub(crate) fn operations(&self, key: usize) -> Vec<Operation> {
        self.places(key).iter().map(|&place| self.operation(place)).collect()
    }

    /// When an operation was due, in nanoseconds since the run's start.
    pub(crate) fn intended(&self, place: u32) -> u64 {
        let entry = &self.entries[place as usize];
        let late = if entry.late == LATER { self.later[&place] } else { u64::from(entry.late) };
        entry.sent.saturating_sub(late)
    }

    /// One operation as the history tells it, without its key, the member asked, the names of replicas,
    /// the legs and the reasons.
    pub(crate) fn operation(&self, place: u32) -> Operation {
        let entry = &self.entries[place as usize];
        let mut operation = Operation {
            id: entry.id,
            session: self.sessions[entry.session as usize],
            intended: self.intended(place),
            sent: entry.sent,
            done: (entry.done != NEVER).then_some(entry.done),
            basis: (entry.basis != NO_BASIS).then_some(entry.basis),
            outcome: match entry.deed.ending() {
                Ending::Ok => Outcome::Ok,
                Ending::NotFound => Outcome::NotFound,
                Ending::Refused => Outcome::Refused { reason: String::new() },
                Ending::Unknown => Outcome::Unknown { reason: String::new() },
            },
            replicas: vec![String::new(); usize::from(entry.replicas)],
            ..Operation::new(entry.id, 0, "", entry.kind(), entry.level, "")
        };
        let (first, second) = (entry.written_or_returned, entry.dot_or_seen);
        if entry.is_write() {
            operation.value = (first != NONE).then(|| self.value(first));
            operation.dot = (second != NONE).then(|| Numbers(self.dots.at(second)).dot()).flatten();
        } else {
            operation.returned = self.returned(first);
            operation.seen = (second != NONE).then(|| packed::clock(self.clocks.at(second)));
        }
        operation
    }

    /// How many sessions there are. They are numbered from 0.
    pub(crate) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    fn value(&self, number: u32) -> String {
        text(self.values.at(number)).to_owned()
    }

    fn returned(&self, list: u32) -> Vec<Version> {
        let mut numbers = Numbers(if list == NONE { &[] } else { self.lists.at(list) });
        let version = |value: u64, dot: Dot| Version {
            // Shifted by one, so that 0 is a tombstone.
            value: value.checked_sub(1).and_then(|value| Some(self.value(u32::try_from(value).ok()?))),
            dot,
        };
        std::iter::from_fn(|| Some(version(numbers.next()?, numbers.dot()?))).collect()
    }

    /// Takes one more operation. The ledger must be sealed before anything is asked of it.
    pub(crate) fn push(&mut self, operation: &Operation) {
        let (written_or_returned, dot_or_seen) = if operation.is_write() {
            let value = operation.value.as_ref();
            let value = value.map_or(NONE, |value| self.values.intern(value.as_bytes()));
            (value, self.dot(operation.dot))
        } else {
            self.read_result(operation)
        };
        let next = narrow(self.sessions.len());
        let session = *self.numbers.entry(operation.session).or_insert(next);
        if session == next {
            self.sessions.push(operation.session);
        }
        let ending = match operation.outcome {
            Outcome::Ok => Ending::Ok,
            Outcome::NotFound => Ending::NotFound,
            Outcome::Refused { .. } => Ending::Refused,
            Outcome::Unknown { .. } => Ending::Unknown,
        };
        let entry = Entry {
            id: operation.id,
            sent: operation.sent,
            done: operation.done.unwrap_or(NEVER),
            basis: operation.basis.unwrap_or(NO_BASIS),
            key: self.keys.intern(operation.key.as_bytes()),
            session,
            written_or_returned,
            dot_or_seen,
            late: self.late(operation),
            level: operation.level,
            deed: Deed::new(operation.kind, ending),
            replicas: u8::try_from(operation.replicas.len()).unwrap_or(u8::MAX),
        };
        self.entries.push(entry);
    }

    fn late(&mut self, operation: &Operation) -> u32 {
        let late = operation.sent.saturating_sub(operation.intended);
        u32::try_from(late).ok().filter(|&late| late != LATER).unwrap_or_else(|| {
            self.later.insert(narrow(self.entries.len()), late);
            LATER
        })
    }

    fn dot(&mut self, dot: Option<Dot>) -> u32 {
        let Some(dot) = dot else { return NONE };
        let mut packed = Vec::new();
        packed::push_dot(&mut packed, dot);
        self.dots.intern(&packed)
    }

    fn read_result(&mut self, operation: &Operation) -> (u32, u32) {
        let mut packed = Vec::new();
        for version in &operation.returned {
            let value = version.value.as_ref().map(|value| self.values.intern(value.as_bytes()));
            packed::push(&mut packed, value.map_or(0, |value| u64::from(value) + 1));
            packed::push_dot(&mut packed, version.dot);
        }
        let returned = if packed.is_empty() { NONE } else { self.lists.intern(&packed) };
        packed.clear();
        let seen = operation.seen.as_ref().map_or(NONE, |clock| {
            packed::push_clock(&mut packed, clock);
            self.clocks.intern(&packed)
        });
        (returned, seen)
    }

    /// Refuses a value that was written before.
    fn note_writer(&mut self, operation: &Operation, line: usize) -> Result<(), ReadError> {
        let Some(value) = &operation.value else { return Ok(()) };
        let (at, id) = (self.values.intern(value.as_bytes()) as usize, operation.id);
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
        // What is in order of ids needs no list of them.
        if self.entries.is_sorted_by(|one, next| one.id < next.id) {
            return Ok(());
        }
        let mut by_id: Vec<u32> = (0..narrow(self.entries.len())).collect();
        by_id.sort_unstable_by_key(|&place| (self.entries[place as usize].id, place));
        let id = |place: u32| self.entries[place as usize].id;
        let again = by_id.array_windows().filter(|[one, next]| id(*one) == id(*next));
        let Some(&[first, place]) = again.min_by_key(|[_, place]| *place) else { return Ok(()) };
        let line = |place: u32| lines[place as usize] as usize;
        Err(ReadError::IdRepeated { line: line(place), id: id(place), first: line(first) })
    }

    /// Arranges operations by key, and drops what only taking them needed: none may follow.
    pub(crate) fn seal(&mut self) {
        for interned in [&mut self.keys, &mut self.values, &mut self.dots, &mut self.lists, &mut self.clocks]
        {
            interned.seal();
        }
        (self.written_on, self.numbers) = (Vec::new(), BTreeMap::new());
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
