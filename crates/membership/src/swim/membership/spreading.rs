//! Gossip: what is news is sent to a few members at a time and rides on every probe. SWIM §4.1.

use std::net::SocketAddr;
use std::time::Duration;

use tracing::trace;

use super::Membership;
use crate::identity::NodeId;
use crate::swim::event::Output;
use crate::swim::member::State;
use crate::swim::time::Time;
use crate::swim::timers::Timer;
use crate::swim::update::Update;
use crate::swim::wire::{DatagramWriter, Message};

/// The longest pause before news is sent on by somebody who had none: long enough for what comes in the same breath to
/// travel along. The rounds that follow keep the interval, so that this costs no message.
const FIRST_PAUSE_MAX: Duration = Duration::from_millis(20);

impl Membership {
    pub(super) fn enqueue(&mut self, now: Time, update: Update) {
        if self.queue.is_empty() {
            let pause = self.random_part(FIRST_PAUSE_MAX.min(self.config.gossip_interval));
            self.timers.set(Timer::Gossip, now + pause);
        }
        self.queue.push(update);
    }

    /// Sends queued updates to a few members. With nobody to hear them they wait for the first to come up.
    pub(super) fn gossip(&mut self, now: Time) {
        if self.queue.is_empty() {
            return;
        }
        self.timers.set(Timer::Gossip, now + self.config.gossip_interval);
        let horizon = self.config.gossip_to_down;
        let wanted = usize::from(self.config.gossip_members);
        let hearers = self.rotation.pick(&mut self.rng, wanted, |id| {
            self.view.member(id).is_some_and(|member| member.can_hear(now, horizon))
        });
        for hearer in hearers {
            if !self.queue.is_empty() {
                self.send_to(hearer, Message::Gossip);
            }
        }
    }

    /// Sends a message to a known member's gossip address.
    pub(super) fn send_to(&mut self, id: NodeId, message: Message) {
        if let Some(address) = self.view.member(id).map(|member| member.record.gossip) {
            self.send(address, id, message);
        }
    }

    /// Sends a message with as many updates as it has room for.
    ///
    /// A suspect hears of its suspicion first, before any room runs out (Lifeguard §4.3, the buddy system).
    pub(super) fn send(&mut self, to: SocketAddr, id: NodeId, message: Message) {
        trace!(%to, %id, ?message, "sending");
        let mut writer = DatagramWriter::new(self.founding_digest, self.me.id(), message);
        if let Some(suspect) = self.view.member(id).filter(|member| member.state() == State::Suspect) {
            writer.push(&suspect.update);
        }
        let sends_max = self.config.sends_max(self.live());
        self.queue.offer(sends_max, |update| writer.push(update));
        self.outputs.push_back(Output::Datagram { to, bytes: writer.finish() });
    }
}
