//! How far one key is from behaving as a single register: whether it does (atomic, which for one key is linearizable), by how
//! much its operations would have to be stretched until it did (Γ, Δ), and whether reads are at most one write behind
//! (2-atomic). It judges calls with unique values by their zones; [`search`] takes any.
//!
//! A **cluster** is a write and the reads that returned its value. Its `f` is the least end and its `m` the greatest
//! beginning of any call in it. Its zone lies between the two: forward if `f < m`, when the value must have been there from
//! `f` to `m`; otherwise backward, when one moment between `m` and `f` is enough. Equal times are no order.

use std::collections::BTreeMap;

pub(crate) mod search;
pub(crate) mod two;

/// A time: nanoseconds since the run's start, or one of the two ends.
pub(crate) type Time = i64;

/// Before everything: when the initial value was written.
pub(crate) const BEFORE: Time = i64::MIN / 8;

/// After everything: when a call of unknown outcome ends.
pub(crate) const AFTER: Time = i64::MAX / 8;

/// A value by number.
pub(crate) type Value = u32;

/// The value of a key that has none: nobody wrote it yet, or a delete was the last to write.
pub(crate) const ABSENT: Value = 0;

/// One operation on a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    /// The operation's id in its history.
    pub(crate) id: u64,
    pub(crate) start: Time,
    /// [`AFTER`] if it may have happened at any time from `start` on, or never.
    pub(crate) end: Time,
    pub(crate) action: Action,
}

/// What a call did, or was told. Reads without an answer and writes that certainly did not happen are no calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// It returned this value.
    Read(Value),
    /// It wrote this value.
    Write(Value),
    /// It replaced the first value by the second; of unknown outcome, only if the first was there.
    CompareAndSet(Value, Value),
    /// It added this text to what was there.
    Append(Value),
}

/// A write with the reads that returned it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// The id of the write; none for the initial value.
    pub(crate) write: Option<u64>,
    /// When the write began.
    start: Time,
    /// The least end, and whose it is.
    f: Time,
    f_id: Option<u64>,
    /// The greatest beginning, and whose it is.
    m: Time,
    m_id: Option<u64>,
}

impl Cluster {
    fn is_forward(&self) -> bool {
        self.f < self.m
    }

    /// Whether one of its reads ended before its write began.
    fn is_early(&self) -> bool {
        self.f < self.start
    }

    fn read(&mut self, read: &Call) {
        if read.end < self.f {
            (self.f, self.f_id) = (read.end, Some(read.id));
        }
        if read.start > self.m {
            (self.m, self.m_id) = (read.start, Some(read.id));
        }
    }
}

/// The calls of one key as clusters, in order of their values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clusters {
    list: Vec<Cluster>,
    /// The first read of a value that nobody wrote.
    unwritten: Option<u64>,
}

/// Calls whose clusters say nothing: a value was written twice (or written by a delete, and so absent like the initial one),
/// or a call is no plain read or write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotUnique;

impl Clusters {
    /// Gathers calls by value. Writes of unknown outcome that nobody read are left out: nothing says that they happened.
    pub(crate) fn of(calls: &[Call]) -> Result<Self, NotUnique> {
        let initial = Cluster { write: None, start: BEFORE, f: BEFORE, f_id: None, m: BEFORE, m_id: None };
        let mut by_value = BTreeMap::from([(ABSENT, (initial, true))]);
        let mut unwritten = None;
        for call in calls {
            let Action::Write(value) = call.action else { continue };
            let (id, start, end) = (Some(call.id), call.start, call.end);
            let cluster = Cluster { write: id, start, f: end, f_id: id, m: start, m_id: id };
            if by_value.insert(value, (cluster, end < AFTER)).is_some() {
                return Err(NotUnique);
            }
        }
        for call in calls {
            match call.action {
                Action::Read(value) => match by_value.get_mut(&value) {
                    Some((cluster, counts)) => {
                        cluster.read(call);
                        *counts = true;
                    }
                    None => unwritten = unwritten.or(Some(call.id)),
                },
                Action::Write(_) => {}
                Action::CompareAndSet(..) | Action::Append(_) => return Err(NotUnique),
            }
        }
        let list = by_value.into_values().filter(|(_, counts)| *counts).map(|(cluster, _)| cluster).collect();
        Ok(Self { list, unwritten })
    }

    /// Γ: the least by which all calls, longer by half of it on each side, would be atomic; none if they are. Costs
    /// O(n log n).
    ///
    /// The score of two clusters in conflict is the lesser of `m_a − f_b` and `m_b − f_a`, which is the first exactly if
    /// `f_a + m_a ≤ f_b + m_b`. So clusters in order of that sum, each held against the greatest `m` before it, give the
    /// greatest score of all; two backward zones, which cannot conflict, score nothing above zero.
    pub(crate) fn gamma(&self) -> Option<Conflict> {
        let mut order: Vec<&Cluster> = self.list.iter().collect();
        order.sort_by_key(|cluster| cluster.f + cluster.m);
        let mut longest: Option<&Cluster> = None;
        let mut worst: Option<Conflict> = None;
        for cluster in order {
            if let Some(before) = longest {
                Conflict::raise(&mut worst, before.m - cluster.f, [before, cluster]);
            }
            if longest.is_none_or(|longest| cluster.m > longest.m) {
                longest = Some(cluster);
            }
            Conflict::raise(&mut worst, cluster.start - cluster.f, [cluster, cluster]);
        }
        worst
    }

    /// Δ: the least by which reads would have to begin earlier for all to be atomic; none if they are. No Δ is enough for a
    /// read that ended before its write began: it then is [`AFTER`]. Costs O(n log n).
    ///
    /// To let `a` give way to `b` it must have been written by `f_b`. Where it was not, only the other way is left, and that
    /// costs more: `m_b − f_a`. So Δ is the greater of the score of Γ and of these.
    pub(crate) fn delta(&self) -> Option<Conflict> {
        let mut worst: Option<Conflict> = None;
        for early in self.list.iter().filter(|cluster| cluster.is_early()) {
            Conflict::raise(&mut worst, AFTER, [early, early]);
        }
        if worst.is_some() {
            return worst;
        }
        worst = self.gamma();
        let mut by_f: Vec<&Cluster> = self.list.iter().collect();
        by_f.sort_by_key(|cluster| cluster.f);
        let mut by_start: Vec<&Cluster> = self.list.iter().collect();
        by_start.sort_by_key(|cluster| cluster.start);
        let mut by_f = by_f.into_iter().peekable();
        let mut longest: Option<&Cluster> = None;
        for cluster in by_start {
            while let Some(before) = by_f.next_if(|before| before.f < cluster.start) {
                if longest.is_none_or(|longest| before.m > longest.m) {
                    longest = Some(before);
                }
            }
            if let Some(before) = longest {
                Conflict::raise(&mut worst, before.m - cluster.f, [before, cluster]);
            }
        }
        worst
    }

    /// A read of a value that nobody wrote, if there is one: then nothing makes the calls atomic.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        self.unwritten
    }
}

/// Two clusters that no single register could have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// By how much, in nanoseconds: above 0.
    pub(crate) by: Time,
    /// The calls that show it: of each cluster its write, the call that ended first and the one that began last.
    pub(crate) calls: Vec<u64>,
}

impl Conflict {
    fn raise(worst: &mut Option<Self>, by: Time, clusters: [&Cluster; 2]) {
        if by <= 0 || worst.as_ref().is_some_and(|worst| worst.by >= by) {
            return;
        }
        let named = clusters.iter().flat_map(|cluster| [cluster.write, cluster.f_id, cluster.m_id]);
        let mut calls: Vec<u64> = named.flatten().collect();
        calls.sort_unstable();
        calls.dedup();
        *worst = Some(Self { by, calls });
    }
}

#[cfg(test)]
pub(crate) mod tests;
