//! The machine's timers: at most one deadline each, fired in order of time.

use std::collections::{BTreeMap, BTreeSet};

use super::event::ExchangeId;
use super::time::Time;
use super::wire::ProbeNumber;
use crate::identity::NodeId;

/// What waits for its time. Timers due at the same moment fire in the order of this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// When an exchange that was opened counts as failed.
    Exchange(ExchangeId),
    /// When the requester of an indirect probe is told that the target did not answer.
    Relay(ProbeNumber),
    /// When the probed member should have answered directly.
    ProbeTimeout,
    /// When helpers should have found the probed member.
    StreamPing,
    /// When the next probe round may begin.
    Probe,
    /// When a suspect counts as down.
    Suspicion(NodeId),
    /// When queued updates are sent out.
    Gossip,
    /// When the next push/pull exchange is due.
    Sync,
    /// When a down member or a seed is to be tried again.
    Contact,
    /// When missing records are asked for.
    Fetch,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    deadlines: BTreeMap<Timer, Time>,
    queue: BTreeSet<(Time, Timer)>,
}

impl Timers {
    /// Sets the timer, instead of what it was set to.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        self.clear(timer);
        self.deadlines.insert(timer, at);
        self.queue.insert((at, timer));
    }

    /// Sets the timer unless it is set to an earlier time.
    pub(super) fn set_by(&mut self, timer: Timer, at: Time) {
        if self.deadlines.get(&timer).is_none_or(|set| at < *set) {
            self.set(timer, at);
        }
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        if let Some(at) = self.deadlines.remove(&timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub(super) fn clear_all(&mut self) {
        self.deadlines.clear();
        self.queue.clear();
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.queue.first().map(|(at, _)| *at)
    }

    /// Takes the first timer that is due, with the time it was set to.
    pub(super) fn pop_due(&mut self, now: Time) -> Option<(Time, Timer)> {
        let &(at, timer) = self.queue.first().filter(|(at, _)| *at <= now)?;
        self.clear(timer);
        Some((at, timer))
    }
}
