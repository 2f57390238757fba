//! Exchanges over reliable streams: who waits for which answer, and the comparison of views.

use std::collections::BTreeMap;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Membership;
use super::learning::Source;
use crate::identity::{NodeId, md5_prefix};
use crate::swim::event::{Event, ExchangeId, Output, Refused};
use crate::swim::member::{Member, State};
use crate::swim::record::{Edition, MemberRecord};
use crate::swim::time::Time;
use crate::swim::timers::Timer;
use crate::swim::update::Update;
use crate::swim::wire::{Knowledge, ProbeNumber, Refusal, Request, Response, SyncRequest, WireError};

/// Most exchanges that wait for an answer; further ones fail at once.
const EXCHANGES_MAX: usize = 256;

/// The pause after the first comparison of views; it doubles up to [`Config::sync_interval`](crate::swim::Config).
const SYNC_PAUSE_FIRST: Duration = Duration::from_millis(250);

/// How many times a member that has just met others tells all it knows, without asking first whether that differs.
const YOUNG_SYNCS: u32 = 4;

/// What an exchange was opened for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// To reach a seed or a down member at this address.
    Contact(SocketAddr),
    /// To find out, as every so often, whether views differ.
    Compare,
    /// To make views equal that do.
    Sync,
    /// To find a member whose datagrams do not come.
    Probe { seq: ProbeNumber, target: NodeId },
    /// To get the records of these members.
    Fetch(Vec<NodeId>),
    /// To see whether the member whose name a newcomer claims still answers.
    Claim(NodeId),
    /// To see whether the one that has this member's own name answers, and which edition of it was heard of.
    Rival(Edition),
}

#[derive(Debug, Default)]
pub(super) struct Exchanges {
    opened: u64,
    open: BTreeMap<ExchangeId, (Purpose, SocketAddr)>,
}

impl Exchanges {
    pub(super) fn any(&self, condition: impl Fn(&Purpose) -> bool) -> bool {
        self.open.values().any(|(purpose, _)| condition(purpose))
    }
}

impl Membership {
    /// Opens an exchange; it comes to nothing at once if too many are open.
    pub(super) fn open_exchange(
        &mut self,
        now: Time,
        to: SocketAddr,
        purpose: Purpose,
        request: &Request,
        timeout: Duration,
    ) {
        if self.exchanges.open.len() >= EXCHANGES_MAX {
            return self.came_to_nothing(now, purpose);
        }
        self.exchanges.opened += 1;
        let exchange = ExchangeId(self.exchanges.opened);
        self.exchanges.open.insert(exchange, (purpose, to));
        self.timers.set(Timer::Exchange(exchange), now + timeout);
        self.outputs.push_back(Output::Open { exchange, to, bytes: request.write() });
    }

    /// Gives up an exchange that failed or took too long.
    pub(super) fn close_exchange(&mut self, now: Time, exchange: ExchangeId) {
        self.timers.clear(Timer::Exchange(exchange));
        if let Some((purpose, _)) = self.exchanges.open.remove(&exchange) {
            self.came_to_nothing(now, purpose);
        }
    }

    pub(super) fn handle_request(
        &mut self,
        now: Time,
        exchange: ExchangeId,
        request: Request,
    ) -> Result<(), WireError> {
        let response = match request {
            Request::Sync(sync) => match self.objection(now, &sync) {
                Some(refusal) => Response::Refusal(refusal),
                None => Response::Knowledge(self.compare(now, sync)),
            },
            Request::Compare { founding, .. }
            | Request::Fetch { founding, .. }
            | Request::Ping { founding, .. }
                if founding != self.founding_digest =>
            {
                return Err(WireError::Foreign);
            }
            Request::Compare { view, .. } => Response::Compared { same: view == self.view_digest() },
            Request::Fetch { members, .. } => {
                let known = members.iter().filter_map(|id| self.member(*id)).collect();
                Response::Knowledge(Knowledge::new(self.me.id(), iter::empty(), known))
            }
            Request::Ping { .. } => Response::Pong(self.me.record.identification()),
        };
        self.reply(exchange, &response);
        Ok(())
    }

    pub(super) fn handle_response(
        &mut self,
        now: Time,
        exchange: ExchangeId,
        response: Result<Response, WireError>,
    ) -> Result<(), WireError> {
        self.timers.clear(Timer::Exchange(exchange));
        let Some((purpose, from)) = self.exchanges.open.remove(&exchange) else {
            self.counters.unexpected += 1;
            return Ok(());
        };
        match (purpose, response) {
            (Purpose::Contact(address), Ok(Response::Knowledge(knowledge))) => {
                self.contacted(now, address, knowledge.from);
                self.take_in(now, from, knowledge);
            }
            (Purpose::Compare, Ok(Response::Compared { same: true })) => {}
            (Purpose::Compare, Ok(Response::Compared { same: false })) => {
                let request = self.sync_request();
                self.open_exchange(now, from, Purpose::Sync, &request, self.config.exchange_timeout);
            }
            (Purpose::Sync, Ok(Response::Knowledge(knowledge))) => self.take_in(now, from, knowledge),
            (Purpose::Fetch(members), Ok(Response::Knowledge(knowledge))) => {
                self.take_in(now, from, knowledge);
                self.fetched(now, members);
            }
            (Purpose::Probe { seq, target }, Ok(Response::Pong(pong))) if pong.id == target => {
                self.acked(now, seq)
            }
            (Purpose::Claim(subject), Ok(Response::Pong(pong))) => self.claim_answered(now, subject, pong),
            (Purpose::Rival(edition), Ok(Response::Pong(pong))) => {
                self.rival_answered(now, edition, from, pong);
            }
            (purpose, Ok(Response::Refusal(refusal))) => self.refused(now, from, purpose, refusal),
            (purpose, Ok(Response::Knowledge(_) | Response::Pong(_) | Response::Compared { .. })) => {
                self.counters.unexpected += 1;
                self.came_to_nothing(now, purpose);
            }
            (purpose, Err(error)) => {
                self.came_to_nothing(now, purpose);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Compares views with a random member, so that what gossip missed is not missed for long. A digest tells whether
    /// there is anything to compare: mostly there is not.
    ///
    /// Often at first: members that start together know little of each other when they ask, and gossip about a few
    /// members is sent a few times only.
    pub(super) fn sync(&mut self, now: Time) {
        let young = SYNC_PAUSE_FIRST.saturating_mul(1 << self.syncs.min(16));
        let pause = young.min(self.config.sync_pause(self.live()));
        // Members that began together must not go on together.
        let pause = pause / 2 + self.random_part(pause);
        self.timers.set(Timer::Sync, now + pause);
        self.syncs = self.syncs.saturating_add(1);
        let alive = |id| self.view.member(id).is_some_and(|member| member.state() == State::Alive);
        for id in self.rotation.pick(&mut self.rng, 1, alive) {
            if let Some(address) = self.view.member(id).map(|member| member.record.address) {
                let (purpose, request) = if self.syncs <= YOUNG_SYNCS {
                    (Purpose::Sync, self.sync_request())
                } else {
                    let (founding, view) = (self.founding_digest, self.view_digest());
                    (Purpose::Compare, Request::Compare { founding, view })
                };
                self.open_exchange(now, address, purpose, &request, self.config.exchange_timeout);
            }
        }
    }

    /// Begins to compare views: this member is no longer alone.
    pub(super) fn begin_syncs(&mut self, now: Time) {
        self.syncs = 0;
        let pause = self.random_part(SYNC_PAUSE_FIRST);
        self.timers.set(Timer::Sync, now + pause);
    }

    pub(super) fn sync_request(&self) -> Request {
        Request::Sync(SyncRequest {
            founding: self.founding.clone(),
            standing: self.standing(),
            joined: self.view.live() > 0,
            record: MemberRecord::clone(&self.me.record),
            updates: self.everybody().map(|member| member.update).collect(),
        })
    }

    /// A hash of what is believed of everybody: equal where an exchange of views would find no news.
    fn view_digest(&self) -> u64 {
        let mut everybody: Vec<&Update> = self.everybody().map(|member| &member.update).collect();
        everybody.sort_unstable_by_key(|update| update.subject);
        md5_prefix(&everybody.into_iter().flat_map(Update::essence).collect::<Vec<u8>>())
    }

    /// How many members, this one included, belong to the cluster as far as this one knows.
    fn standing(&self) -> u32 {
        u32::try_from(self.view.len() + 1).unwrap_or(u32::MAX)
    }

    fn everybody(&self) -> impl Iterator<Item = &Member> {
        iter::once(&self.me).chain(self.view.iter())
    }

    /// Whether a member with this founding and this name may be talked to.
    fn objection(&mut self, now: Time, sync: &SyncRequest) -> Option<Refusal> {
        if self.founding.compare(&sync.founding).is_err() {
            self.counters.foreign += 1;
            return Some(Refusal::Founding { founding: self.founding.clone(), standing: self.standing() });
        }
        self.name_objection(now, sync)
    }

    /// Takes in the other side's view and returns what it lacks.
    fn compare(&mut self, now: Time, sync: SyncRequest) -> Knowledge {
        let (teller, informer, edition) = (sync.record.id(), sync.record.address, sync.record.edition());
        let record = Arc::new(sync.record);
        let source = Source::Exchange { teller, informer, news: true };
        let mut theirs = BTreeMap::new();
        for update in sync.updates {
            let own = update.subject == teller && update.edition == edition;
            self.learn(now, update, own.then(|| Arc::clone(&record)), source);
            theirs.insert(update.subject, update);
        }
        let news = |member: &&Member| theirs.get(&member.id()).is_none_or(|it| member.update.overrides(it));
        let known =
            |member: &&Member| theirs.get(&member.id()).is_some_and(|it| it.edition == member.edition());
        let (known, unknown): (Vec<&Member>, Vec<&Member>) = self.everybody().filter(news).partition(known);
        Knowledge::new(self.me.id(), known.into_iter(), unknown)
    }

    fn take_in(&mut self, now: Time, informer: SocketAddr, knowledge: Knowledge) {
        // What the others tell a newcomer is news to it alone.
        let news = self.view.live() > 0;
        let source = Source::Exchange { teller: knowledge.from, informer, news };
        for introduction in knowledge.introduced {
            self.learn(now, introduction.update(), Some(introduction.record), source);
        }
        for update in knowledge.updates {
            self.learn(now, update, None, source);
        }
    }

    fn came_to_nothing(&mut self, now: Time, purpose: Purpose) {
        match purpose {
            Purpose::Contact(address) => self.contact_failed(now, address),
            Purpose::Fetch(members) => self.not_fetched(now, members),
            Purpose::Rival(edition) => self.outbid(now, edition, State::Alive),
            Purpose::Claim(subject) => self.claim_unanswered(now, subject),
            Purpose::Compare | Purpose::Sync | Purpose::Probe { .. } => {}
        }
    }

    /// Somebody does not take this member in.
    fn refused(&mut self, now: Time, by: SocketAddr, purpose: Purpose, refusal: Refusal) {
        match refusal {
            Refusal::Founding { founding, standing } => match self.founding.compare(&founding) {
                // The smaller side gives in, and of two equal ones the one that asked: one newcomer with a wrong
                // setting must not turn away a cluster that asks it.
                Err(mismatch) if standing >= self.standing() => {
                    self.emit(Event::Refused(Refused::Founding { by, mismatch }));
                }
                Ok(()) | Err(_) => self.counters.foreign += 1,
            },
            Refusal::NameInUse { address } => {
                let name = self.me.name().clone();
                self.emit(Event::Refused(Refused::NameInUse { name, address }));
            }
            Refusal::NameInDoubt => {}
            Refusal::Yourself => self.contacts.forget(by),
        }
        match purpose {
            // It was reached, after all; the next attempt may find it of another mind.
            Purpose::Contact(address) => self.contact_closed(now, address),
            other => self.came_to_nothing(now, other),
        }
    }
}
