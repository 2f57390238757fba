//! Fetching records: gossip names editions only, and whoever spoke of one can be asked for its record.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::Membership;
use super::exchanging::Purpose;
use super::learning::Source;
use crate::identity::NodeId;
use crate::swim::time::Time;
use crate::swim::timers::Timer;
use crate::swim::update::Update;
use crate::swim::wire::{MEMBERS_MAX, Request};

/// Most records asked for in one exchange.
const FETCH_MEMBERS_MAX: usize = 256;

/// How often a record is asked for before it is left to the next comparison of views.
const FETCH_ATTEMPTS_MAX: u8 = 5;

/// The pause before a record is asked for again, from somebody else.
const FETCH_PAUSE: Duration = Duration::from_millis(500);

/// Editions that were heard of and whose record is still missing. Bounded by [`MEMBERS_MAX`].
#[derive(Debug, Default)]
pub(super) struct Wants(BTreeMap<NodeId, Want>);

#[derive(Debug)]
struct Want {
    update: Update,
    informer: Option<SocketAddr>,
    attempts: u8,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Ready,
    Asked,
    Waiting,
}

impl Wants {
    /// Remembers the latest that was said of a member, and who said it.
    pub(super) fn note(&mut self, update: Update, informer: Option<SocketAddr>) {
        if let Some(want) = self.0.get_mut(&update.subject) {
            if update.overrides(&want.update) {
                want.update = update;
            }
            want.informer = informer.or(want.informer);
        } else if self.0.len() < MEMBERS_MAX {
            self.0.insert(update.subject, Want { update, informer, attempts: 0, stage: Stage::Ready });
        }
    }

    /// Lets what has waited be asked for again.
    pub(super) fn retry(&mut self) {
        for want in self.0.values_mut().filter(|want| want.stage == Stage::Waiting) {
            want.stage = Stage::Ready;
        }
    }

    /// Counts a failed attempt. Returns whether there will be another.
    fn failed(&mut self, id: NodeId) -> bool {
        let Some(want) = self.0.get_mut(&id) else { return false };
        want.attempts += 1;
        want.informer = None;
        want.stage = Stage::Waiting;
        let again = want.attempts < FETCH_ATTEMPTS_MAX;
        if !again {
            self.0.remove(&id);
        }
        again
    }
}

impl Membership {
    /// Asks for the records that are missing, each from the member that spoke of it, and otherwise from anybody.
    pub(super) fn fetch_wanted(&mut self, now: Time) {
        let mut asks: BTreeMap<SocketAddr, Vec<NodeId>> = BTreeMap::new();
        let mut unanswerable = Vec::new();
        for (id, want) in self.wants.0.iter_mut().filter(|(_, want)| want.stage == Stage::Ready) {
            want.stage = Stage::Asked;
            let anybody = || {
                let picked = self.rotation.pick(&mut self.rng, 1, |id| self.view.is_live(id));
                picked.first().and_then(|id| self.view.member(*id)).map(|member| member.record.address)
            };
            match want.informer.or_else(anybody) {
                Some(informer) => asks.entry(informer).or_default().push(*id),
                None => unanswerable.push(*id),
            }
        }
        if !unanswerable.is_empty() {
            self.not_fetched(now, unanswerable);
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
            } else if self.view.member(id).is_some_and(|it| it.edition() >= update.edition) {
                self.wants.0.remove(&id);
                self.learn(now, update, None, Source::Gossip { informer: None });
            } else {
                missing.push(id);
            }
        }
        if !missing.is_empty() {
            self.not_fetched(now, missing);
        }
    }

    pub(super) fn not_fetched(&mut self, now: Time, members: Vec<NodeId>) {
        for id in members {
            if self.wants.failed(id) {
                self.timers.set_by(Timer::Fetch, now + FETCH_PAUSE);
            }
        }
    }
}
