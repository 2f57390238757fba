//! Whether calls are linearizable, whatever their values: the search of Wing and Gong with Lowe's memory of configurations.
//! The problem is NP-complete, so it gives up after a number of steps and then says that it does not know.

use super::{ABSENT, AFTER, Action, Call, Value};
use std::collections::BTreeSet;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Some order of the calls explains every answer.
    Linearizable,
    /// None does. The call is the one whose end no order reached.
    NotLinearizable(u64),
    /// The budget was spent first.
    Unknown,
}

/// What appending does to values, which the search knows by number only.
pub(crate) trait Texts {
    /// The number of the two texts together.
    fn concatenated(&mut self, first: Value, second: Value) -> Value;
}

/// Looks for an order of the calls in which each answer is what a register would have given, in at most `budget` steps.
pub(crate) fn search(calls: &[Call], texts: &mut impl Texts, budget: u64) -> Found {
    let mut search = Search::new(calls);
    let mut state = ABSENT;
    let mut at = search.next[search.head()];
    // The latest end any order came to.
    let mut furthest = (0, None);
    for _ in 0..budget {
        if search.ends_left == 0 {
            return Found::Linearizable;
        }
        let call = search.events[at].call;
        if search.events[at].is_end {
            if at > furthest.0 {
                furthest = (at, Some(calls[call].id));
            }
            // The call at whose end we stand is in no order begun this way: take the last choice back.
            let Some((taken, before)) = search.taken.pop() else {
                return Found::NotLinearizable(furthest.1.unwrap_or(calls[call].id));
            };
            search.put_back(taken);
            state = before;
            at = search.next[search.begins[taken]];
            continue;
        }
        match step(&calls[call], state, texts) {
            Some(after) if search.is_new(call, after) => {
                search.taken.push((call, state));
                search.take(call);
                state = after;
                at = search.next[search.head()];
            }
            _ => at = search.next[at],
        }
    }
    if search.ends_left == 0 { Found::Linearizable } else { Found::Unknown }
}

/// The value after a call, if it could have been answered so.
fn step(call: &Call, state: Value, texts: &mut impl Texts) -> Option<Value> {
    match call.action {
        Action::Read(value) => (value == state).then_some(state),
        Action::Write(value) => Some(value),
        Action::CompareAndSet(old, new) => (old == state).then_some(new),
        Action::Append(text) => Some(texts.concatenated(state, text)),
    }
}

/// A call's beginning or end.
#[derive(Debug, Clone, Copy)]
struct Event {
    call: usize,
    is_end: bool,
}

/// The events of the calls that are not in the order yet, as a linked list in time; and the configurations met.
struct Search {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
    /// By call: its events. A call of unknown outcome has no end.
    begins: Vec<usize>,
    ends: Vec<Option<usize>>,
    ends_left: usize,
    /// The calls in the order, with the value before each.
    taken: Vec<(usize, Value)>,
    /// Which are taken, a bit each: calls that ended by their place in time, then those of unknown outcome.
    bits: [Vec<u64>; 2],
    bit_of: Vec<(usize, usize)>,
    met: BTreeSet<Vec<u64>>,
}

impl Search {
    fn new(calls: &[Call]) -> Self {
        let begin = |(call, it): (usize, &Call)| (it.start, false, call);
        let end = |(call, it): (usize, &Call)| (it.end < AFTER).then_some((it.end, true, call));
        let mut times: Vec<_> = calls.iter().enumerate().map(begin).collect();
        times.extend(calls.iter().enumerate().filter_map(end));
        // At one time beginnings come first: equal times are no order.
        times.sort_unstable();

        let events: Vec<Event> = times.iter().map(|&(_, is_end, call)| Event { call, is_end }).collect();
        let (mut begins, mut ends) = (vec![0; calls.len()], vec![None; calls.len()]);
        let mut bit_of = vec![(0, 0); calls.len()];
        let mut counts = [0usize, 0];
        for (at, event) in events.iter().enumerate() {
            if event.is_end {
                ends[event.call] = Some(at);
            } else {
                begins[event.call] = at;
                let kind = usize::from(calls[event.call].end >= AFTER);
                bit_of[event.call] = (kind, counts[kind]);
                counts[kind] += 1;
            }
        }
        // The place after the last event is the list's head and its end.
        let head = events.len();
        Self {
            next: (1..=head).chain([0]).collect(),
            previous: std::iter::once(head).chain(0..head).collect(),
            ends_left: ends.iter().flatten().count(),
            events,
            begins,
            ends,
            taken: Vec::new(),
            bits: counts.map(|count| vec![0; count.div_ceil(64)]),
            bit_of,
            met: BTreeSet::new(),
        }
    }

    fn head(&self) -> usize {
        self.events.len()
    }

    /// Whether these calls with this one and this value were never met together; they are now.
    fn is_new(&mut self, call: usize, state: Value) -> bool {
        let (kind, bit) = self.bit_of[call];
        self.bits[kind][bit / 64] |= 1 << (bit % 64);
        // Calls are taken nearly in order of time: long runs of ones in front and of zeros behind go without saying.
        let [ended, unknown] = &self.bits;
        let ones = ended.iter().take_while(|word| **word == u64::MAX).count();
        let used = ended.iter().rposition(|word| *word != 0).map_or(0, |last| last + 1);
        let mut configuration = vec![u64::from(state), ones as u64];
        configuration.extend(unknown);
        configuration.extend(&ended[ones..used.max(ones)]);
        self.bits[kind][bit / 64] &= !(1 << (bit % 64));
        self.met.insert(configuration)
    }

    fn take(&mut self, call: usize) {
        let (kind, bit) = self.bit_of[call];
        self.bits[kind][bit / 64] |= 1 << (bit % 64);
        self.unlink(self.begins[call]);
        if let Some(end) = self.ends[call] {
            self.unlink(end);
            self.ends_left -= 1;
        }
    }

    fn put_back(&mut self, call: usize) {
        let (kind, bit) = self.bit_of[call];
        self.bits[kind][bit / 64] &= !(1 << (bit % 64));
        if let Some(end) = self.ends[call] {
            self.link(end);
            self.ends_left += 1;
        }
        self.link(self.begins[call]);
    }

    fn unlink(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = after;
        self.previous[after] = before;
    }

    /// Links in again what was unlinked last.
    fn link(&mut self, at: usize) {
        let (before, after) = (self.previous[at], self.next[at]);
        self.next[before] = at;
        self.previous[after] = at;
    }
}
