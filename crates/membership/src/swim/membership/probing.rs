//! Failure detection: one probe round per interval, indirect probes, and the local health that stretches rounds.
//! SWIM §3.1 and §4.3, Lifeguard §4.1 (local health, nacks).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tracing::trace;

use super::Membership;
use super::exchanging::Purpose;
use super::learning::Source;
use crate::identity::NodeId;
use crate::swim::member::State;
use crate::swim::time::Time;
use crate::swim::timers::Timer;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Message, ProbeNumber, Request, ShortId};

/// Most probes run for others at a time. Further requests go unanswered, as if they had been lost.
const RELAYS_MAX: usize = 256;

/// A helper says after this part of the probe timeout that the target has not answered: early enough for the
/// requester, who counts missing nacks against itself when its round ends.
const NACK_SHARE: f64 = 0.8;

/// How long helpers are waited for, as a part of the probe timeout, before the reliable transport is tried as well. Short:
/// a stream may need the rest of the round for its retransmissions. Yet most helpers answer first, and no stream is opened.
const HELPERS_SHARE: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Probing {
    round: Option<Round>,
    /// The number of the last probe sent, own or for others. Begins at random, so that an answer to a former life
    /// is no answer to this one.
    seq: ProbeNumber,
    relays: BTreeMap<ProbeNumber, Relay>,
    health: u8,
}

#[derive(Debug)]
struct Round {
    seq: ProbeNumber,
    target: NodeId,
    /// Probe intervals until the round has failed.
    intervals_left: u32,
    helpers_asked: bool,
    /// Helpers that have sent neither ack nor nack.
    helpers_silent: Vec<NodeId>,
}

#[derive(Debug)]
struct Relay {
    requester: SocketAddr,
    requester_id: NodeId,
    seq: ProbeNumber,
}

impl Probing {
    pub(super) fn new(seq: u16) -> Self {
        Self { round: None, seq: ProbeNumber(seq), relays: BTreeMap::new(), health: 0 }
    }

    pub(super) fn health(&self) -> u8 {
        self.health
    }

    fn next_seq(&mut self) -> ProbeNumber {
        self.seq = ProbeNumber(self.seq.0.wrapping_add(1));
        self.seq
    }
}

impl Membership {
    /// Ends the round that has run out of intervals, and begins the next. A round stretched by poor health makes
    /// ticks pass unused: rounds never overlap.
    pub(super) fn probe(&mut self, now: Time) {
        self.timers.set(Timer::Probe, now + self.config.probe_interval);
        if let Some(round) = &mut self.probing.round {
            round.intervals_left -= 1;
            if round.intervals_left > 0 {
                return;
            }
        }
        if let Some(round) = self.probing.round.take() {
            self.round_failed(now, &round);
        }
        let horizon = self.config.gossip_to_down;
        let view = &self.view;
        let target = self.rotation.next(
            &mut self.rng,
            |id| view.is_live(id),
            |id| view.member(id).is_some_and(|member| member.can_hear(now, horizon)),
        );
        let Some(target) = target else { return };
        let seq = self.probing.next_seq();
        let intervals_left = u32::from(self.probing.health) + 1;
        let helpers_silent = Vec::new();
        self.probing.round =
            Some(Round { seq, target, intervals_left, helpers_asked: false, helpers_silent });
        self.timers.set(Timer::ProbeTimeout, now + self.config.probe_timeout);
        self.send_to(target, Message::Ping { seq, target: target.into() });
    }

    /// Asks others to find the target.
    pub(super) fn probe_timeout(&mut self, now: Time) {
        let Some(&Round { seq, target, .. }) = self.probing.round.as_ref() else { return };
        let wanted = usize::from(self.config.indirect_probes);
        let helpers = self.rotation.pick(&mut self.rng, wanted, |id| {
            id != target && self.view.member(id).is_some_and(|member| member.state() == State::Alive)
        });
        for helper in &helpers {
            self.send_to(*helper, Message::IndirectPing { seq, target });
        }
        let patience = if helpers.is_empty() { 0.0 } else { HELPERS_SHARE };
        self.timers.set(Timer::StreamPing, now + self.config.probe_timeout.mul_f64(patience));
        if let Some(round) = &mut self.probing.round {
            round.helpers_asked = !helpers.is_empty();
            round.helpers_silent = helpers;
        }
    }

    /// Tries to find the target over the reliable transport.
    pub(super) fn stream_ping(&mut self, now: Time) {
        let Some(&Round { seq, target, .. }) = self.probing.round.as_ref() else { return };
        if let Some(address) = self.view.member(target).map(|member| member.record.address) {
            let request = Request::Ping { founding: self.founding_digest, target };
            let timeout = self.config.exchange_timeout;
            self.open_exchange(now, address, Purpose::Probe { seq, target }, &request, timeout);
        }
    }

    pub(super) fn pinged(&mut self, from: SocketAddr, sender: NodeId, seq: ProbeNumber, target: ShortId) {
        if target == self.me.id().into() {
            self.send(from, sender, Message::Ack { seq });
        } else {
            self.counters.misdirected += 1;
        }
    }

    /// Somebody is there: the target of this round, or one that was probed for another member.
    pub(super) fn acked(&mut self, now: Time, seq: ProbeNumber) {
        if self.probing.round.take_if(|round| round.seq == seq).is_some() {
            self.timers.clear(Timer::ProbeTimeout);
            self.timers.clear(Timer::StreamPing);
            self.probing.health = self.probing.health.saturating_sub(1);
        } else if let Some(relay) = self.probing.relays.remove(&seq) {
            trace!(%now, requester = %relay.requester_id, "relaying an ack");
            self.timers.clear(Timer::Relay(seq));
            self.send(relay.requester, relay.requester_id, Message::Ack { seq: relay.seq });
        } else {
            self.counters.unexpected += 1;
        }
    }

    pub(super) fn nacked(&mut self, seq: ProbeNumber, helper: NodeId) {
        if let Some(round) = self.probing.round.as_mut().filter(|round| round.seq == seq) {
            round.helpers_silent.retain(|silent| *silent != helper);
        }
    }

    /// Probes `target` for somebody else.
    pub(super) fn relay(
        &mut self,
        now: Time,
        from: SocketAddr,
        sender: NodeId,
        theirs: ProbeNumber,
        target: NodeId,
    ) {
        if self.view.member(target).is_none() {
            return self.send(from, sender, Message::Nack { seq: theirs });
        }
        if self.probing.relays.len() >= RELAYS_MAX {
            return;
        }
        let seq = self.probing.next_seq();
        self.probing.relays.insert(seq, Relay { requester: from, requester_id: sender, seq: theirs });
        self.timers.set(Timer::Relay(seq), now + self.config.probe_timeout.mul_f64(NACK_SHARE));
        self.send_to(target, Message::Ping { seq, target: target.into() });
    }

    pub(super) fn relay_timeout(&mut self, seq: ProbeNumber) {
        if let Some(relay) = self.probing.relays.remove(&seq) {
            self.send(relay.requester, relay.requester_id, Message::Nack { seq: relay.seq });
        }
    }

    /// Nobody refuted in time: the suspect is down.
    pub(super) fn suspicion_timeout(&mut self, now: Time, due: Time, subject: NodeId) {
        // A member that was itself held up, by a pause or a suspended machine, finds suspicions expired whose
        // refutations still wait to be read.
        let held_up = now.since(due) > self.config.probe_interval;
        if held_up
            && let Some(suspicion) = self.view.suspicion_mut(subject)
            && suspicion.put_off(now)
        {
            return self.timers.set(Timer::Suspicion(subject), suspicion.deadline());
        }
        if let Some(suspect) = self.view.member(subject) {
            let update = Update { claim: Claim::Down, ..suspect.update };
            self.learn(now, update, None, Source::Own);
        }
    }

    pub(super) fn degrade(&mut self, by: usize) {
        let by = u8::try_from(by).unwrap_or(u8::MAX);
        self.probing.health = self.probing.health.saturating_add(by).min(self.config.health_max);
    }

    fn round_failed(&mut self, now: Time, round: &Round) {
        // Helpers that do not even nack cast doubt on this member rather than on the target.
        self.degrade(if round.helpers_asked { round.helpers_silent.len() } else { 1 });
        if let Some(target) = self.view.member(round.target)
            && target.is_live()
        {
            let update = Update { claim: Claim::Suspect { by: self.me.id() }, ..target.update };
            self.learn(now, update, None, Source::Own);
        }
    }
}
