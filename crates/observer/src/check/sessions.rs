//! What sessions may rely on across keys: monotonic writes, writes follow reads, and causality. One pass over all operations
//! in time, with a vector of positions for each session; a read is looked at closely only if it misses something.
//!
//! Everything here is client evidence: the order of a session's operations, and who returned whose write. A write of unknown
//! outcome is in nobody's past until a read has returned it.

use crate::ledger::{Entry, Ledger};
use std::collections::BTreeMap;

/// With more sessions than this, causality is not looked into: a vector for each would not fit.
pub(crate) const SESSIONS_MAX: usize = 4096;

/// Where each operation stands in its session.
#[derive(Debug)]
pub(crate) struct Sessions<'a> {
    ledger: &'a Ledger,
    /// By operation: its place among its session's operations, in order of time sent.
    pub(crate) position: Vec<u32>,
    /// How many sessions there are.
    pub(crate) count: usize,
}

impl<'a> Sessions<'a> {
    pub(crate) fn new(ledger: &'a Ledger) -> Self {
        let entries = ledger.entries();
        let mut order: Vec<u32> = (0..).take(entries.len()).collect();
        order.sort_unstable_by_key(|&at| (entries[at as usize].sent, at));
        let mut next = vec![0; ledger.sessions()];
        let mut position = vec![0; entries.len()];
        for at in order {
            let next = &mut next[entries[at as usize].session as usize];
            position[at as usize] = *next;
            *next += 1;
        }
        Self { ledger, position, count: ledger.sessions() }
    }

    /// The number of an operation's session, from 0.
    pub(crate) fn of(&self, place: u32) -> u32 {
        self.ledger.entries()[place as usize].session
    }
}

/// A write that a read misses, and an operation that would oblige the read to know it if it is in the read's past: the
/// write itself, or a read that returned it. Of all in one session that a read misses, the earliest is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspect {
    /// The read that misses the write.
    pub(crate) read: u32,
    pub(crate) write: u32,
    /// The write, if it was acknowledged, or the read that returned it.
    pub(crate) obliging: u32,
}

/// A read that broke a rule, with what shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) read: u32,
    pub(crate) write: u32,
    /// The operation in between: what the reading session knew, or had read before.
    pub(crate) through: Option<u32>,
}

/// What was found of each rule: one breach at most per read.
#[derive(Debug, Default)]
pub(crate) struct Breaches {
    pub(crate) monotonic_writes: Vec<Breach>,
    pub(crate) writes_follow_reads: Vec<Breach>,
    /// None if there are more than [`SESSIONS_MAX`] sessions.
    pub(crate) causal: Option<Vec<Breach>>,
}

/// Looks for breaches.
///
/// `returned` has each read with each write it returned, once and ascending; `suspects` is ascending by read.
pub(crate) fn breaches(
    ledger: &Ledger,
    sessions: &Sessions<'_>,
    returned: &[(u32, u32)],
    suspects: &[Suspect],
) -> Breaches {
    let mut pass = Pass::new(ledger, sessions, returned);
    let mut found =
        Breaches { causal: (sessions.count <= SESSIONS_MAX).then(Vec::new), ..Breaches::default() };
    for event in pass.events() {
        let at = match event {
            Event::Begin(write) => {
                pass.begin(write);
                continue;
            }
            Event::End(read) => read,
        };
        let writes = rows(returned, at, |row| row.0);
        pass.end(at, writes);
        for &suspect in rows(suspects, at, |suspect| suspect.read) {
            pass.judge(suspect, &mut found);
        }
    }
    found
}

/// The rows of one operation among rows in order of operations.
fn rows<T>(all: &[T], at: u32, operation: impl Fn(&T) -> u32) -> &[T] {
    let from = all.partition_point(|row| operation(row) < at);
    let len = all[from..].partition_point(|row| operation(row) == at);
    &all[from..from + len]
}

/// What happens in time, by the operation's place.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A write that some read returned is sent.
    Begin(u32),
    /// An answered read ends.
    End(u32),
}

struct Pass<'a> {
    ledger: &'a Ledger,
    sessions: &'a Sessions<'a>,
    /// By session: how many operations of each session are in its past.
    pasts: Vec<Vec<u32>>,
    /// The past of each write that reads are still to return, and how many are.
    snapshots: BTreeMap<u32, Vec<u32>>,
    awaited: Vec<u32>,
    /// By session, then by session: the latest write of the other that it has read.
    read_from: Vec<BTreeMap<u32, u32>>,
}

impl<'a> Pass<'a> {
    fn new(ledger: &'a Ledger, sessions: &'a Sessions<'a>, returned: &[(u32, u32)]) -> Self {
        let width = if sessions.count <= SESSIONS_MAX { sessions.count } else { 0 };
        let mut awaited = vec![0; ledger.len()];
        for &(_, write) in returned {
            awaited[write as usize] += 1;
        }
        Self {
            ledger,
            sessions,
            pasts: vec![vec![0; width]; sessions.count],
            snapshots: BTreeMap::new(),
            awaited,
            read_from: vec![BTreeMap::new(); sessions.count],
        }
    }

    /// The beginnings of writes and the ends of answered reads, in time. At one time ends come first: a session may ask on
    /// at the moment it was answered, and nothing is returned at the moment it is sent.
    fn events(&self) -> impl Iterator<Item = Event> + use<'a> {
        let entries = self.ledger.entries();
        let in_time = |wanted: &dyn Fn(u32, &Entry) -> bool, time: fn(&Entry) -> u64| {
            let mut places: Vec<u32> =
                (0..).zip(entries).filter(|&(at, entry)| wanted(at, entry)).map(|(at, _)| at).collect();
            places.sort_unstable_by_key(|&at| {
                (time(&entries[at as usize]), self.sessions.position[at as usize], at)
            });
            places
        };
        let begins =
            in_time(&|at, entry| entry.is_write() && self.awaited[at as usize] > 0, |entry| entry.sent);
        let ends = in_time(&|_, entry| entry.is_answered_read(), |entry| entry.done);
        let (mut begins, mut ends) = (begins.into_iter().peekable(), ends.into_iter().peekable());
        let ledger = self.ledger;
        std::iter::from_fn(move || {
            let begin = begins.peek().map(|&at| ledger.entries()[at as usize].sent);
            let ended =
                ends.next_if(|&at| begin.is_none_or(|begin| ledger.entries()[at as usize].done <= begin));
            ended.map(Event::End).or_else(|| begins.next().map(Event::Begin))
        })
    }

    fn begin(&mut self, write: u32) {
        let (session, position) = self.place(write);
        let mut past = self.pasts[session as usize].clone();
        if let Some(own) = past.get_mut(session as usize) {
            *own = position + 1;
        }
        self.snapshots.insert(write, past);
    }

    fn end(&mut self, read: u32, returned: &[(u32, u32)]) {
        let (session, position) = self.place(read);
        for &(_, write) in returned {
            let (writer, written) = self.place(write);
            // One that is not there was returned before it was sent: that is an unwritten value, and no evidence.
            let Some(past) = self.snapshots.get(&write) else { continue };
            for (known, &more) in self.pasts[session as usize].iter_mut().zip(past) {
                *known = more.max(*known);
            }
            let latest = self.read_from[session as usize].entry(writer).or_insert(write);
            if self.sessions.position[*latest as usize] < written {
                *latest = write;
            }
            self.awaited[write as usize] -= 1;
            if self.awaited[write as usize] == 0 {
                self.snapshots.remove(&write);
            }
        }
        if let Some(own) = self.pasts[session as usize].get_mut(session as usize) {
            *own = (*own).max(position + 1);
        }
    }

    fn judge(&self, suspect: Suspect, found: &mut Breaches) {
        let Suspect { read, write, obliging } = suspect;
        let (reader, _) = self.place(read);
        let (session, position) = self.place(obliging);
        let push = |breaches: &mut Vec<Breach>, through| {
            if breaches.last().is_none_or(|last| last.read != read) {
                breaches.push(Breach { read, write, through });
            }
        };
        let later = self.read_from[reader as usize].get(&session).copied();
        if let Some(later) = later.filter(|&later| self.sessions.position[later as usize] > position) {
            let is_own = obliging == write;
            push(
                if is_own { &mut found.monotonic_writes } else { &mut found.writes_follow_reads },
                Some(later),
            );
        }
        let known = self.pasts[reader as usize].get(session as usize).copied().unwrap_or(0);
        // Its own place is in its own past by now, and no obligation.
        if let Some(causal) = &mut found.causal
            && known > position
            && obliging != read
        {
            push(causal, later.filter(|&later| self.sessions.position[later as usize] > position));
        }
    }

    fn place(&self, at: u32) -> (u32, u32) {
        (self.sessions.of(at), self.sessions.position[at as usize])
    }
}
