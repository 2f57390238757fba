//! Fetching records: gossip names editions only, and whoever spoke of one can be asked for its record.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::Membership;
use super::exchanging::Purpose;
use super::learning::Source;
use crate::identity::NodeId;
use crate::swim::member::Member;
use crate::swim::time::Time;
use crate::swim::timers::Timer;
use crate::swim::update::Update;
use crate::swim::wire::{MEMBERS_MAX, Request};

/// Most records asked for in one exchange.
const FETCH_MEMBERS_MAX: usize = 256;

/// How often a record is asked for before it is left to the next comparison of views.
const FETCH_ATTEMPTS_MAX: u8 = 5;

/// The pause before a record is asked for again, from somebody else. Doubles with each attempt.
const FETCH_PAUSE: Duration = Duration::from_millis(125);

/// The longest pause before a record is asked for at all. Who hears of a newcomer hears it from somebody who tells several
/// others in the same moment; and what is heard of within the pause is asked for together.
const FETCH_JITTER: Duration = Duration::from_millis(10);

/// Editions that were heard of and whose record is still missing. Bounded by [`MEMBERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Wants(BTreeMap<NodeId, Want>);

#[derive(Debug)]
struct Want {
    update: Update,
    informer: Option<SocketAddr>,
    attempts: u8,
    /// When it is to be asked for; nothing while somebody is being asked.
    due: Option<Time>,
}

impl Wants {
    /// When the next record is to be asked for.
    fn next(&self) -> Option<Time> {
        self.0.values().filter_map(|want| want.due).min()
    }

    /// Counts a failed attempt. Returns when there will be another, if there will.
    fn failed(&mut self, now: Time, id: NodeId) -> Option<Time> {
        let want = self.0.get_mut(&id)?;
        let again = now + FETCH_PAUSE * (1 << want.attempts);
        want.attempts += 1;
        if want.attempts == FETCH_ATTEMPTS_MAX {
            self.0.remove(&id);
            return None;
        }
        want.informer = None;
        want.due = Some(again);
        Some(again)
    }
}

impl Membership {
    /// Remembers the latest that was said of a member whose record is missing, and who said it.
    pub(super) fn want_record(&mut self, now: Time, update: Update, informer: Option<SocketAddr>) {
        let soon = now + self.random_part(FETCH_JITTER);
        if let Some(want) = self.wants.0.get_mut(&update.subject) {
            if update.overrides(&want.update) {
                want.update = update;
            }
            // Somebody who surely knows it need not be waited for.
            if informer.is_some() && want.informer.is_none() {
                want.due = want.due.map(|due| due.min(soon));
            }
            want.informer = informer.or(want.informer);
        } else if self.wants.0.len() < MEMBERS_MAX {
            self.wants.0.insert(update.subject, Want { update, informer, attempts: 0, due: Some(soon) });
        }
        self.timers.set_by(Timer::Fetch, soon);
    }

    /// Asks for the records that are due, or soon will be, each from the member that spoke of it, and otherwise from
    /// anybody.
    pub(super) fn fetch_wanted(&mut self, now: Time) {
        let due = |want: &Want| want.due.is_some_and(|due| due <= now + FETCH_JITTER);
        let ready: Vec<NodeId> =
            self.wants.0.iter().filter(|(_, want)| due(want)).map(|(id, _)| *id).collect();
        // Some have come in an exchange of views meanwhile.
        let (come, missing): (Vec<NodeId>, Vec<NodeId>) =
            ready.into_iter().partition(|id| self.has_come(*id));
        self.fetched(now, come);
        let mut asks: BTreeMap<SocketAddr, Vec<NodeId>> = BTreeMap::new();
        let mut unanswerable = Vec::new();
        for id in missing {
            let Some(want) = self.wants.0.get_mut(&id) else { continue };
            want.due = None;
            let anybody = || {
                let picked = self.rotation.pick(&mut self.rng, 1, |id| self.view.is_live(id));
                picked.first().and_then(|id| self.view.member(*id)).map(|member| member.record.address)
            };
            match want.informer.or_else(anybody) {
                Some(informer) => asks.entry(informer).or_default().push(id),
                None => unanswerable.push(id),
            }
        }
        self.not_fetched(now, unanswerable);
        if let Some(due) = self.wants.next() {
            self.timers.set_by(Timer::Fetch, due);
        }
        for (informer, members) in asks {
            for members in members.chunks(FETCH_MEMBERS_MAX) {
                let request = Request::Fetch { founding: self.founding_digest, members: members.to_vec() };
                let purpose = Purpose::Fetch(members.to_vec());
                self.open_exchange(now, informer, purpose, &request, self.config.exchange_timeout);
            }
        }
    }

    /// Believes what was said of members whose records have now come; asks somebody else for the others'.
    pub(super) fn fetched(&mut self, now: Time, members: Vec<NodeId>) {
        let mut missing = Vec::new();
        for id in members {
            let Some(want) = self.wants.0.get(&id) else { continue };
            let update = want.update;
            if id == self.me.id() {
                // The record was for finding out who has this member's name, which is under way now.
                self.wants.0.remove(&id);
            } else if self.has_come(id) {
                self.wants.0.remove(&id);
                self.learn(now, update, None, Source::Gossip { informer: None });
            } else {
                missing.push(id);
            }
        }
        self.not_fetched(now, missing);
    }

    /// Whether the record that was wanted, or a later one, is known.
    fn has_come(&self, id: NodeId) -> bool {
        let wanted = self.wants.0.get(&id).map(|want| want.update.edition);
        wanted <= self.view.member(id).map(Member::edition)
    }

    pub(super) fn not_fetched(&mut self, now: Time, members: Vec<NodeId>) {
        for id in members {
            if let Some(again) = self.wants.failed(now, id) {
                self.timers.set_by(Timer::Fetch, again);
            }
        }
    }
}
