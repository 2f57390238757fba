//! One settled member without a cluster: what is around it is what a test says.

use std::sync::Arc;
use std::time::Duration;

use crate::swim::member::Member;
use crate::swim::tests::sim::Cluster;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{DatagramWriter, Message, Request, Response};
use crate::swim::{Config, ExchangeId, Input, MemberRecord, Membership, Output, State, Time};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) struct Lone {
    pub(super) machine: Membership,
    /// Whoever there could be. The first is the machine itself.
    pub(super) members: Vec<Member>,
    pub(super) now: Time,
}

impl Lone {
    /// A member that knows the first `known` others, of so many that there could be.
    pub(super) fn new(known: usize, members: usize) -> Self {
        let hosts = Cluster::new(members, 0.0, 0).hosts;
        let founding = hosts[0].founding.clone();
        let members: Vec<Member> = hosts
            .into_iter()
            .map(|host| Member::new(Time::ORIGIN, Arc::new(host.record), Claim::Alive))
            .collect();
        let config = Config::default().validate().unwrap();
        let me = MemberRecord::clone(members[0].record());
        let others = members[1..=known].iter().cloned();
        let machine = Membership::settled(config, me, founding, others, 1, Time::ORIGIN).unwrap();
        Self { machine, members, now: Time::ORIGIN }
    }

    pub(super) fn founding(&self) -> u64 {
        self.machine.founding().digest()
    }

    /// One of the others sends a datagram.
    pub(super) fn hear(&mut self, from: usize, message: Message, updates: &[Update]) {
        let mut writer = DatagramWriter::new(self.founding(), self.members[from].id(), message);
        assert!(updates.iter().all(|update| writer.push(update)));
        let from = self.members[from].record().gossip;
        self.machine.handle(self.now, Input::Datagram { from, bytes: &writer.finish() }).unwrap();
    }

    /// Somebody opens an exchange. What else the machine had to say before is forgotten.
    pub(super) fn asked(&mut self, request: &Request) -> Response {
        let (exchange, bytes) = (ExchangeId(1), request.write());
        self.machine.handle(self.now, Input::Request { exchange, bytes: &bytes }).unwrap();
        let mut replies = std::iter::from_fn(|| self.machine.poll()).filter_map(|output| match output {
            Output::Reply { bytes, .. } => Some(Response::read(&bytes).unwrap()),
            _ => None,
        });
        replies.next().expect("a request is answered")
    }

    pub(super) fn answer(&mut self, exchange: ExchangeId, response: &Response) {
        let bytes = response.write();
        self.machine.handle(self.now, Input::Response { exchange, bytes: &bytes }).unwrap();
    }

    pub(super) fn fail(&mut self, exchange: ExchangeId) {
        self.machine.handle(self.now, Input::Failed { exchange }).unwrap();
    }

    /// Lets time pass. `act` gets what the machine has to say and may answer.
    pub(super) fn run(&mut self, span: Duration, mut act: impl FnMut(&mut Self, Output)) {
        let end = self.now + span;
        loop {
            while let Some(output) = self.machine.poll() {
                act(self, output);
            }
            let Some(due) = self.machine.deadline().filter(|due| *due <= end) else { break };
            self.now = self.now.max(due);
            self.machine.handle_deadline(self.now);
        }
        self.now = end;
    }

    /// Whose gossip address that is.
    pub(super) fn number(&self, gossip: std::net::SocketAddr) -> usize {
        let found = self.members.iter().position(|member| member.record().gossip == gossip);
        found.expect("it is one of those there could be")
    }

    pub(super) fn state(&self, number: usize) -> Option<State> {
        self.machine.member(self.members[number].id()).map(Member::state)
    }
}
