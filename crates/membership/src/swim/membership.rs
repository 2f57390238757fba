//! The machine: what goes in, what comes out, and the state between. The protocol's parts are in the files below.

mod contacting;
mod exchanging;
mod fetching;
mod learning;
mod naming;
mod probing;
mod spreading;

use std::collections::VecDeque;
use std::iter;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tracing::debug;

use self::contacting::Contacts;
use self::exchanging::Exchanges;
use self::fetching::Wants;
use self::naming::Claims;
use self::probing::Probing;
use super::config::CheckedConfig;
use super::event::{Counters, Event, ExchangeId, Input, Output};
use super::founding::Founding;
use super::member::{Member, View};
use super::queue::GossipQueue;
use super::record::{Incarnation, MemberRecord, Meta, RecordError, Remembered};
use super::rotation::Rotation;
use super::time::Time;
use super::timers::{Timer, Timers};
use super::update::Claim;
use super::wire::{Datagram, MEMBERS_MAX, Message, Request, Response, WireError};
use crate::identity::NodeId;

pub use self::contacting::SEEDS_MAX;

/// One member's view of the cluster, and its part in keeping everybody's view right.
///
/// After each call that takes a `now`, take all outputs with [`Membership::poll`]; then sleep until
/// [`Membership::deadline`] or the next input. Time must not run backwards.
///
/// Datagrams go to a member's `gossip` address, exchanges to its `address`. Neither a lost datagram nor a failed
/// exchange needs any care by the shell.
#[derive(Debug)]
pub struct Membership {
    config: CheckedConfig,
    founding: Founding,
    founding_digest: u64,
    me: Member,
    view: View,
    rotation: Rotation,
    queue: GossipQueue,
    probing: Probing,
    exchanges: Exchanges,
    wants: Wants,
    /// How often views were compared since this member was last alone.
    syncs: u32,
    contacts: Contacts,
    claims: Claims,
    timers: Timers,
    outputs: VecDeque<Output>,
    counters: Counters,
    rng: StdRng,
}

impl Membership {
    /// A member that knows nobody but those in `known`, which it tries to contact at once. They count as down (or
    /// left) until they answer; records among them that break a rule are passed over and counted.
    ///
    /// # Errors
    ///
    /// If `me` breaks a rule of records. Nothing was started.
    pub fn new(
        config: CheckedConfig,
        me: MemberRecord,
        founding: Founding,
        known: Vec<Remembered>,
        seed: u64,
        now: Time,
    ) -> Result<Self, RecordError> {
        me.validate()?;
        let mut rng = StdRng::seed_from_u64(seed);
        let mut membership = Self {
            founding_digest: founding.digest(),
            founding,
            me: Member::new(now, Arc::new(me), Claim::Alive),
            view: View::default(),
            rotation: Rotation::default(),
            queue: GossipQueue::default(),
            probing: Probing::new(rng.random()),
            exchanges: Exchanges::default(),
            wants: Wants::default(),
            syncs: 0,
            contacts: Contacts::default(),
            claims: Claims::default(),
            timers: Timers::default(),
            outputs: VecDeque::new(),
            counters: Counters::default(),
            rng,
            config,
        };
        for remembered in known {
            membership.remember(now, &remembered);
        }
        // Members that start together must not probe in step.
        let first_probe = membership.random_part(membership.config.probe_interval);
        membership.timers.set(Timer::Probe, now + first_probe);
        Ok(membership)
    }

    /// A member in the midst of a cluster in which everybody has long known everybody: all `others` are believed as
    /// they are given, and none of it is news. Simulations begin like this where booting a cluster is not what they
    /// are about.
    ///
    /// # Errors
    ///
    /// If `me` breaks a rule of records. Nothing was started.
    pub fn settled(
        config: CheckedConfig,
        me: MemberRecord,
        founding: Founding,
        others: impl IntoIterator<Item = Member>,
        seed: u64,
        now: Time,
    ) -> Result<Self, RecordError> {
        let mut membership = Self::new(config, me, founding, Vec::new(), seed, now)?;
        membership.view = others.into_iter().collect();
        let live = membership.view.iter().filter(|member| member.is_live()).map(Member::id);
        membership.rotation = Rotation::new(&mut membership.rng, live.collect());
        membership.syncs = u32::MAX;
        let first_sync = membership.random_part(membership.config.sync_pause(membership.live()));
        membership.timers.set(Timer::Sync, now + first_sync);
        Ok(membership)
    }

    /// Takes in what happened.
    ///
    /// # Errors
    ///
    /// If bytes were not those of a member of this cluster; [`WireError`] says what to do with the connection. They
    /// changed nothing but the counters, and a request among them gets no reply.
    pub fn handle(&mut self, now: Time, input: Input<'_>) -> Result<(), WireError> {
        if self.has_left() {
            return Ok(());
        }
        let result = match input {
            Input::Datagram { from, bytes } => Datagram::read(bytes, self.founding_digest)
                .map(|datagram| self.handle_datagram(now, from, datagram)),
            Input::Request { exchange, bytes } => {
                Request::read(bytes).and_then(|request| self.handle_request(now, exchange, request))
            }
            Input::Response { exchange, bytes } => self.handle_response(now, exchange, Response::read(bytes)),
            Input::Failed { exchange } => {
                self.close_exchange(now, exchange);
                Ok(())
            }
            Input::Join { seeds } => {
                self.join(now, seeds);
                Ok(())
            }
            Input::Leave => {
                self.leave();
                Ok(())
            }
        };
        match &result {
            Ok(()) => {}
            Err(WireError::Foreign) => self.counters.foreign += 1,
            Err(WireError::TooLong(_)) => self.counters.oversized += 1,
            Err(WireError::Absurd(_)) => self.counters.absurd += 1,
            Err(WireError::Version(_) | WireError::Malformed(_)) => self.counters.malformed += 1,
        }
        result
    }

    /// Changes what this member tells of itself while it runs. The others hear of it by gossip and fetch the record;
    /// they report [`Event::MetaChanged`] and nothing else.
    ///
    /// # Errors
    ///
    /// If `meta` breaks a rule of records. Nothing was changed.
    pub fn set_meta(&mut self, now: Time, meta: Meta) -> Result<(), RecordError> {
        let record = self.me.record.revised(meta);
        record.validate()?;
        if !self.has_left() && !record.says_the_same(&self.me.record) {
            self.me.update.edition = record.edition();
            self.me.record = Arc::new(record);
            self.enqueue(now, self.me.update);
        }
        Ok(())
    }

    /// Does what is due. Nothing happens before the deadline.
    pub fn handle_deadline(&mut self, now: Time) {
        while let Some((due, timer)) = self.timers.pop_due(now) {
            match timer {
                Timer::Exchange(exchange) => self.close_exchange(now, exchange),
                Timer::Relay(seq) => self.relay_timeout(seq),
                Timer::ProbeTimeout => self.probe_timeout(now),
                Timer::StreamPing => self.stream_ping(now),
                Timer::Probe => self.probe(now),
                Timer::Suspicion(subject) => self.suspicion_timeout(now, due, subject),
                Timer::Gossip => self.gossip(now),
                Timer::Sync => self.sync(now),
                Timer::Contact => self.contact(now),
                Timer::Fetch => self.fetch_wanted(now),
            }
        }
    }

    /// Takes the next thing to do. Until there is none, or the queue of outputs grows without bound.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Membership::handle_deadline`] is to be called next; never again after leaving.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// This member's handle.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.me.id()
    }

    /// This member as it presents itself. Its generation may be higher than the one it was started with, if the
    /// cluster remembered a higher one.
    #[must_use]
    pub fn me(&self) -> &Member {
        &self.me
    }

    /// All known members in order of their names, this one included.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        let mut members: Vec<&Member> = iter::once(&self.me).chain(self.view.iter()).collect();
        members.sort_unstable_by(|one, other| one.name().cmp(other.name()));
        members.into_iter()
    }

    /// What is known of one member, this one included.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        if id == self.me.id() { Some(&self.me) } else { self.view.member(id) }
    }

    /// What all members must share.
    #[must_use]
    pub fn founding(&self) -> &Founding {
        &self.founding
    }

    /// Local health: 0 is well, [`Config::health_max`](super::Config::health_max) is worst. A member that misses
    /// answers doubts itself before it doubts others (Lifeguard §4.1).
    #[must_use]
    pub fn health(&self) -> u8 {
        self.probing.health()
    }

    /// What was refused so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn remember(&mut self, now: Time, remembered: &Remembered) {
        let record = &remembered.record;
        if record.validate().is_err() || self.view.len() >= MEMBERS_MAX - 1 {
            self.counters.refused += 1;
        } else if record.id() != self.me.id() {
            let claim = if remembered.left { Claim::Left } else { Claim::Remembered };
            self.view.put(Member::new(now, Arc::clone(record), claim));
            if !remembered.left {
                self.want_contact(record.address, now);
            }
        }
    }

    fn handle_datagram(&mut self, now: Time, from: SocketAddr, datagram: Datagram) {
        let informer = self.view.member(datagram.from).map(|sender| sender.record.address);
        for update in datagram.updates {
            self.learn(now, update, None, learning::Source::Gossip { informer });
        }
        match datagram.message {
            Message::Ping { seq, target } => self.pinged(from, datagram.from, seq, target),
            Message::Ack { seq } => self.acked(now, seq),
            Message::Nack { seq } => self.nacked(seq, datagram.from),
            Message::IndirectPing { seq, target } => self.relay(now, from, datagram.from, seq, target),
            Message::Gossip => {}
        }
    }

    /// Says goodbye to a few members, who spread it, and falls silent.
    fn leave(&mut self) {
        debug!(name = %self.me.name(), "leaving");
        self.me.update.claim = Claim::Left;
        let told = 2 * usize::from(self.config.gossip_members);
        for id in self.rotation.pick(&mut self.rng, told, |id| self.view.is_live(id)) {
            // It goes with each of these messages, however often news is usually sent.
            self.queue.push(self.me.update);
            self.send_to(id, Message::Gossip);
        }
        self.timers.clear_all();
    }

    fn has_left(&self) -> bool {
        self.me.update.claim == Claim::Left
    }

    fn emit(&mut self, event: Event) {
        debug!(?event);
        self.outputs.push_back(Output::Event(event));
    }

    fn reply(&mut self, exchange: ExchangeId, response: &Response) {
        self.outputs.push_back(Output::Reply { exchange, bytes: response.write() });
    }

    /// A random part of `span`, more than nothing.
    fn random_part(&mut self, span: Duration) -> Duration {
        span.mul_f64(1.0 - self.rng.random::<f64>())
    }

    /// Between a half and the whole of `pause`.
    fn jitter(&mut self, pause: Duration) -> Duration {
        pause / 2 + self.random_part(pause / 2)
    }

    /// How many members are there, this one included.
    fn live(&self) -> usize {
        self.view.live() + 1
    }

    fn incarnation(&self) -> Incarnation {
        self.me.incarnation()
    }
}
