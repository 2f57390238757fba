//! A simulated cluster: virtual time, latency, loss, partitions, crashes and pauses, all from one seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::identity::Name;
use crate::ring::{Copies, KeySpace, Partitioner, Partitions, Tokens};
use crate::swim::{
    Config, DATAGRAM_BYTES_MAX, Event, ExchangeId, Founding, Generation, Input, MemberRecord, Membership,
    Output, Remembered, State, Time,
};

pub(super) const SECOND: Duration = Duration::from_secs(1);

/// What a lost packet costs on a reliable stream.
const RETRANSMISSION: Duration = Duration::from_millis(50);

/// When the shell gives up dialling somebody who does not answer.
const DIAL_TIMEOUT: Duration = Duration::from_millis(500);

pub(super) fn founding() -> Founding {
    Founding {
        partitions: Partitions::default(),
        partitioner: Partitioner::Md5,
        key_space: KeySpace::Bytes,
        n: Copies::default(),
        buckets: String::new(),
    }
}

/// One place where a member can run, with its disk.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) record: MemberRecord,
    pub(super) founding: Founding,
    pub(super) membership: Option<Membership>,
    /// What the shell keeps across restarts.
    pub(super) disk: Vec<Remembered>,
    /// Counts starts, so that answers to a former process are not delivered to the next.
    starts: u64,
    paused_until: Time,
    held_until: Time,
}

#[derive(Clone, Debug)]
enum Delivery {
    Datagram { from: usize, to: SocketAddr, bytes: Vec<u8> },
    Request { from: usize, starts: u64, exchange: ExchangeId, to: SocketAddr, bytes: Vec<u8> },
    Response { from: usize, to: usize, starts: u64, exchange: ExchangeId, bytes: Vec<u8> },
    Failed { to: usize, starts: u64, exchange: ExchangeId },
}

#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) now: Time,
    pub(super) hosts: Vec<Host>,
    /// Everything that any member reported, in order.
    pub(super) events: Vec<(Time, usize, Event)>,
    pub(super) datagrams: u64,
    pub(super) exchanges: u64,
    /// What was asked in them, in bytes.
    pub(super) exchange_bytes: u64,
    loss: f64,
    /// Directed links that carry nothing.
    blocked: BTreeSet<(usize, usize)>,
    wire: BTreeMap<(Time, u64), Delivery>,
    /// All messages so far, if they are recorded.
    recorded: Option<Vec<Delivery>>,
    /// Requests that were delivered and not answered yet: who asked.
    asked: BTreeMap<ExchangeId, (usize, u64, ExchangeId)>,
    numbers: u64,
    rng: StdRng,
}

impl Cluster {
    /// Hosts `m0`, `m1`, ... on which nothing runs yet.
    pub(super) fn new(hosts: usize, loss: f64, seed: u64) -> Self {
        Self {
            now: Time::ORIGIN,
            hosts: (0..hosts).map(host).collect(),
            events: Vec::new(),
            datagrams: 0,
            exchanges: 0,
            exchange_bytes: 0,
            loss,
            blocked: BTreeSet::new(),
            wire: BTreeMap::new(),
            recorded: None,
            asked: BTreeMap::new(),
            numbers: 0,
            rng: StdRng::seed_from_u64(seed),
        }
    }

    /// Keeps what is said from now on, for [`Cluster::replay`].
    pub(super) fn record(&mut self) {
        self.recorded = Some(Vec::new());
    }

    /// Says all that was recorded once more, to those it was said to, in the order it was said but all within `span`.
    /// Returns how many messages that were.
    pub(super) fn replay(&mut self, span: Duration) -> usize {
        let recorded = self.recorded.take().unwrap_or_default();
        let count = recorded.len();
        for (number, mut delivery) in (0..).zip(recorded) {
            // Answers come to whoever runs there now.
            match &mut delivery {
                Delivery::Request { from: host, starts, .. }
                | Delivery::Response { to: host, starts, .. }
                | Delivery::Failed { to: host, starts, .. } => *starts = self.hosts[*host].starts,
                Delivery::Datagram { .. } => {}
            }
            let share = f64::from(number) / count as f64;
            self.put(self.now + span.mul_f64(share), delivery);
        }
        count
    }

    /// All hosts run and have joined through the first.
    pub(super) fn settled(hosts: usize, loss: f64, seed: u64) -> Self {
        let mut cluster = Self::new(hosts, loss, seed);
        for host in 0..hosts {
            cluster.start(host, &[0]);
        }
        cluster.run(SECOND * 5);
        assert!(cluster.agrees(), "seed {seed}: {}", cluster.views());
        cluster.events.clear();
        cluster
    }

    pub(super) fn start(&mut self, host: usize, seeds: &[usize]) {
        let seeds = seeds.iter().map(|seed| self.hosts[*seed].record.address).collect();
        let Host { record, founding, disk, .. } = &self.hosts[host];
        let config = Config::default().validate().unwrap();
        let mut membership = Membership::new(
            config,
            record.clone(),
            founding.clone(),
            disk.clone(),
            self.rng.random(),
            self.now,
        )
        .unwrap();
        membership.handle(self.now, Input::Join { seeds }).unwrap();
        self.hosts[host].starts += 1;
        self.hosts[host].membership = Some(membership);
        self.drain(host);
    }

    /// Stops without a word. The disk keeps what the view knew.
    pub(super) fn crash(&mut self, host: usize) {
        let membership = self.hosts[host].membership.take().expect("it runs");
        let others = membership.members().filter(|member| member.id() != membership.id());
        self.hosts[host].disk = others.map(crate::swim::Member::remember).collect();
    }

    /// Starts again with the disk, on another gossip port.
    pub(super) fn restart(&mut self, host: usize, seeds: &[usize]) {
        let record = &mut self.hosts[host].record;
        record.generation = Generation::new(record.generation.get() + 1).unwrap();
        record.gossip.set_port(record.gossip.port() + 1);
        self.start(host, seeds);
    }

    pub(super) fn leave(&mut self, host: usize) {
        self.with(host, |membership, now| membership.handle(now, Input::Leave).unwrap());
        self.crash(host);
    }

    /// The process stands still; what arrives waits.
    pub(super) fn pause(&mut self, host: usize, span: Duration) {
        self.hosts[host].paused_until = self.now + span;
    }

    /// All messages to and from the host wait, while its timers run.
    pub(super) fn hold(&mut self, host: usize, span: Duration) {
        self.hosts[host].held_until = self.now + span;
    }

    /// Cuts all links between the two groups.
    pub(super) fn partition(&mut self, one: &[usize], other: &[usize]) {
        for from in one {
            for to in other {
                self.blocked.extend([(*from, *to), (*to, *from)]);
            }
        }
    }

    /// Blocks one direction of one link.
    pub(super) fn block(&mut self, from: usize, to: usize) {
        self.blocked.insert((from, to));
    }

    pub(super) fn heal(&mut self) {
        self.blocked.clear();
    }

    pub(super) fn run(&mut self, span: Duration) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until the condition holds and returns how long that took.
    pub(super) fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> Duration {
        let begin = self.now;
        while !condition(self) {
            assert!(self.step(begin + limit), "not within {limit:?}: {}", self.views());
        }
        self.now.since(begin)
    }

    pub(super) fn runs(&self, host: usize) -> &Membership {
        self.hosts[host].membership.as_ref().expect("it runs")
    }

    /// What the member on `host` believes of the one on `other`.
    pub(super) fn state(&self, host: usize, other: usize) -> Option<State> {
        let member = self.runs(host).member(self.hosts[other].record.id())?;
        Some(member.state())
    }

    /// Whether every running member believes every running member alive, under its present record.
    pub(super) fn agrees(&self) -> bool {
        self.running().all(|host| {
            self.running().all(|other| {
                let known = self.runs(host).member(self.hosts[other].record.id());
                known.is_some_and(|known| {
                    known.state() == State::Alive && known.record() == self.runs(other).me().record()
                })
            })
        })
    }

    pub(super) fn all_see(&self, subject: usize, state: State) -> bool {
        self.running().filter(|host| *host != subject).all(|host| self.state(host, subject) == Some(state))
    }

    pub(super) fn running(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.hosts.len()).filter(|host| self.hosts[*host].membership.is_some())
    }

    pub(super) fn reported(&self, condition: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, _, event)| condition(event)).count()
    }

    /// Gives a running member something, and takes its outputs.
    pub(super) fn with<T>(&mut self, host: usize, act: impl FnOnce(&mut Membership, Time) -> T) -> T {
        let result = act(self.hosts[host].membership.as_mut().expect("it runs"), self.now);
        self.drain(host);
        result
    }

    pub(super) fn views(&self) -> String {
        let mut views = format!("at {}", self.now);
        for host in self.running() {
            let view: Vec<String> = self
                .runs(host)
                .members()
                .filter(|member| member.state() != State::Alive)
                .map(|member| format!("{}={} {}", member.name(), member.state(), member.incarnation()))
                .collect();
            let known = self.runs(host).members().count();
            views.push_str(&format!("\nm{host} knows {known}: {}", view.join(", ")));
        }
        views
    }

    /// Does the next thing that is due by `end`.
    fn step(&mut self, end: Time) -> bool {
        let delivery = self.wire.first_key_value().map(|((at, _), _)| *at);
        let deadline = self
            .running()
            .filter_map(|host| {
                let deadline = self.runs(host).deadline()?;
                Some((deadline.max(self.hosts[host].paused_until), host))
            })
            .min();
        let next = delivery.into_iter().chain(deadline.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|at| *at <= end) else { return false };
        self.now = self.now.max(next);
        match deadline {
            Some((at, host)) if delivery.is_none_or(|delivery| at <= delivery) => {
                self.with(host, Membership::handle_deadline);
            }
            _ => {
                let (_, delivery) = self.wire.pop_first().expect("a delivery is due");
                self.deliver(delivery);
            }
        }
        true
    }

    fn deliver(&mut self, delivery: Delivery) {
        let target = match &delivery {
            Delivery::Datagram { from, to, .. } => self.listening(*from, *to),
            Delivery::Request { from, to, .. } => self.listening(*from, *to),
            Delivery::Response { from, to, starts, .. } => {
                (!self.blocked.contains(&(*from, *to)) && self.hosts[*to].starts == *starts).then_some(*to)
            }
            Delivery::Failed { to, starts, .. } => (self.hosts[*to].starts == *starts).then_some(*to),
        };
        let target = target.filter(|host| self.hosts[*host].membership.is_some());
        let wait = target.map(|host| self.hosts[host].paused_until.max(self.hosts[host].held_until));
        if let Some(until) = wait.filter(|until| *until > self.now) {
            return self.put(until, delivery);
        }
        match (delivery, target) {
            (Delivery::Datagram { from, bytes, .. }, Some(host)) => {
                let from = self.hosts[from].record.gossip;
                self.with(host, |it, now| it.handle(now, Input::Datagram { from, bytes: &bytes }).ok());
            }
            (Delivery::Request { from, starts, exchange, bytes, .. }, Some(host)) => {
                self.numbers += 1;
                let number = ExchangeId(self.numbers);
                self.asked.insert(number, (from, starts, exchange));
                self.with(host, |it, now| {
                    it.handle(now, Input::Request { exchange: number, bytes: &bytes }).ok()
                });
                if let Some((to, starts, exchange)) = self.asked.remove(&number) {
                    self.put(self.now, Delivery::Failed { to, starts, exchange });
                }
            }
            (Delivery::Response { exchange, bytes, .. }, Some(host)) => {
                self.with(host, |it, now| it.handle(now, Input::Response { exchange, bytes: &bytes }).ok());
            }
            (Delivery::Failed { exchange, .. }, Some(host)) => {
                self.with(host, |it, now| it.handle(now, Input::Failed { exchange }).unwrap());
            }
            (Delivery::Request { from, starts, exchange, .. }, None) => {
                self.put(self.now + DIAL_TIMEOUT, Delivery::Failed { to: from, starts, exchange });
            }
            (Delivery::Datagram { .. } | Delivery::Response { .. } | Delivery::Failed { .. }, None) => {}
        }
    }

    fn drain(&mut self, host: usize) {
        while let Some(output) = self.hosts[host].membership.as_mut().and_then(Membership::poll) {
            match output {
                Output::Datagram { to, bytes } => {
                    assert!(bytes.len() <= DATAGRAM_BYTES_MAX);
                    self.datagrams += 1;
                    if !self.rng.random_bool(self.loss) {
                        let at = self.sent(host) + self.latency();
                        self.put(at, Delivery::Datagram { from: host, to, bytes });
                    }
                }
                Output::Open { exchange, to, bytes } => {
                    self.exchanges += 1;
                    self.exchange_bytes += bytes.len() as u64;
                    let at = self.sent(host) + self.stream_latency();
                    let starts = self.hosts[host].starts;
                    self.put(at, Delivery::Request { from: host, starts, exchange, to, bytes });
                }
                Output::Reply { exchange, bytes } => {
                    let (to, starts, exchange) = self.asked.remove(&exchange).expect("it was asked, once");
                    let at = self.sent(host) + self.stream_latency();
                    self.put(at, Delivery::Response { from: host, to, starts, exchange, bytes });
                }
                Output::Event(event) => self.events.push((self.now, host, event)),
            }
        }
    }

    /// When what the host sends now gets onto the wire.
    fn sent(&self, host: usize) -> Time {
        self.now.max(self.hosts[host].held_until)
    }

    fn put(&mut self, at: Time, delivery: Delivery) {
        self.numbers += 1;
        if let Some(recorded) = &mut self.recorded {
            recorded.push(delivery.clone());
        }
        self.wire.insert((at, self.numbers), delivery);
    }

    fn listening(&self, from: usize, to: SocketAddr) -> Option<usize> {
        self.running().find(|host| {
            let record = &self.hosts[*host].record;
            (record.address == to || record.gossip == to) && !self.blocked.contains(&(from, *host))
        })
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(1_000..5_000))
    }

    fn stream_latency(&mut self) -> Duration {
        let mut latency = self.latency();
        while self.rng.random_bool(self.loss) {
            latency += RETRANSMISSION;
        }
        latency
    }
}

fn host(number: usize) -> Host {
    let octet = u8::try_from(number % 250).unwrap();
    let address =
        |port: u16| SocketAddr::from(([10, u8::try_from(number / 250).unwrap(), 0, octet + 1], port));
    let record = MemberRecord {
        name: Name::new(format!("m{number}")).unwrap(),
        directory: number as u64,
        generation: Generation::new(1).unwrap(),
        revision: 0,
        address: address(7_000),
        gossip: address(8_000),
        tokens: Tokens::default(),
        version: "test".to_owned(),
    };
    Host {
        record,
        founding: founding(),
        membership: None,
        disk: Vec::new(),
        starts: 0,
        paused_until: Time::ORIGIN,
        held_until: Time::ORIGIN,
    }
}
