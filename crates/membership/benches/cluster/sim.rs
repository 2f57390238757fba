//! Virtual time, the network and everybody's view. Knows nothing of any particular protocol.

use std::cmp::Ordering;
use std::collections::{BTreeSet, BinaryHeap};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::subject::{Effects, Host, MILLISECOND, Micros, Packet, Report, Subject};

/// One way, uniform.
const LATENCY: (Micros, Micros) = (MILLISECOND, 5 * MILLISECOND);
/// What a round of lost packets costs on a stream.
const RETRANSMISSION: Micros = 50 * MILLISECOND;
/// Payload of a packet on a stream; what is retransmitted counts as a full one.
const STREAM_PACKET_BYTES: usize = 1_200;
/// The longest datagram that any subject may send.
const DATAGRAM_BYTES_MAX: usize = 1_400;

/// What happens to the packets of slow members during their bursts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// Each takes longer, by a uniform draw for each slow end.
    Delay(Micros, Micros),
    /// They wait until the burst ends, while timers go on: the anomaly that Lifeguard is about.
    Hold,
}

/// A tenth of the members is slow in bursts, each at its own phase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bursts {
    pub(crate) trouble: Trouble,
    pub(crate) length: Micros,
    pub(crate) cycle: Micros,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Network {
    /// The chance of each packet to be lost.
    pub(crate) loss: f64,
    pub(crate) bursts: Option<Bursts>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// What was wrongly believed of members that run, by whether they are slow.
#[derive(Debug, Default)]
pub(crate) struct Wrongs {
    pub(crate) suspicions: u64,
    /// How often some observer gave somebody up.
    pub(crate) removals: u64,
    /// Members and lives that were given up by anybody.
    pub(crate) deaths: BTreeSet<(Host, u64)>,
}

/// Follows one member into or out of all views.
#[derive(Debug)]
pub(crate) struct Tracked {
    subject: Host,
    /// Running observers that have it in view.
    pub(crate) holders: usize,
    pub(crate) first_suspected: Option<Micros>,
    pub(crate) first_gone: Option<Micros>,
    pub(crate) last_gone: Option<Micros>,
    /// First addition per observer.
    pub(crate) up_at: Vec<Option<Micros>>,
}

enum Due {
    Packet(Host, Packet),
    Wake,
}

struct Entry {
    at: Micros,
    number: u64,
    host: Host,
    due: Due,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The heap gives the greatest first: that is the earliest.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

struct Node<S> {
    subject: Option<S>,
    /// The wake-up that counts; entries of any other time are out of date.
    wake: Option<Micros>,
    /// Where in its cycle of bursts a slow member begins.
    phase: Option<Micros>,
    /// A bit per member.
    view: Vec<u64>,
    in_view: usize,
    traffic: Traffic,
}

pub(crate) struct Cluster<'a, S: Subject> {
    pub(crate) now: Micros,
    ground: &'a S::Ground,
    network: Network,
    rng: SmallRng,
    entries: u64,
    queue: BinaryHeap<Entry>,
    nodes: Vec<Node<S>>,
    pub(crate) healthy: Wrongs,
    pub(crate) slow: Wrongs,
    pub(crate) tracked: Option<Tracked>,
}

impl<'a, S: Subject> Cluster<'a, S> {
    pub(crate) fn new(ground: &'a S::Ground, capacity: usize, network: Network, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let nodes = (0..capacity)
            .map(|number| Node {
                subject: None,
                wake: None,
                phase: network
                    .bursts
                    .filter(|_| number < capacity / 10)
                    .map(|bursts| rng.random_range(0..bursts.cycle)),
                view: vec![0; capacity.div_ceil(64)],
                in_view: 0,
                traffic: Traffic::default(),
            })
            .collect();
        Self {
            now: 0,
            ground,
            network,
            rng,
            entries: 0,
            queue: BinaryHeap::new(),
            nodes,
            healthy: Wrongs::default(),
            slow: Wrongs::default(),
            tracked: None,
        }
    }

    /// Starts `0..members`, who all know each other.
    pub(crate) fn settle(&mut self, members: usize) {
        for host in (0..).take(members) {
            let seed = self.rng.random();
            let mut effects = Effects::default();
            self.node(host).subject = Some(S::settled(self.ground, host, members, seed, &mut effects));
            (0..)
                .take(members)
                .filter(|other| *other != host)
                .for_each(|other| self.report(host, &Report::Up(other)));
            self.carry_out(host, effects);
        }
    }

    pub(crate) fn join(&mut self, host: Host, contact: Host) {
        let seed = self.rng.random();
        let mut effects = Effects::default();
        let newcomer = S::newcomer(self.ground, host, contact, seed, self.now, &mut effects);
        self.node(host).subject = Some(newcomer);
        self.carry_out(host, effects);
    }

    /// The member neither does nor hears anything any more.
    pub(crate) fn crash(&mut self, host: Host) {
        let node = self.node(host);
        node.subject = None;
        node.wake = None;
    }

    /// The member says goodbye and stops.
    pub(crate) fn leave(&mut self, host: Host) {
        self.with(host, |subject, now, effects| subject.leave(now, effects));
        self.crash(host);
    }

    pub(crate) fn track(&mut self, subject: Host) {
        let holders = (0..)
            .zip(&self.nodes)
            .filter(|(host, node)| *host != subject && node.subject.is_some() && node.sees(subject));
        self.tracked = Some(Tracked {
            subject,
            holders: holders.count(),
            first_suspected: None,
            first_gone: None,
            last_gone: None,
            up_at: vec![None; self.nodes.len()],
        });
    }

    pub(crate) fn run_until(&mut self, until: Micros) {
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until `done`, which is asked every `poll`, or until `deadline`. Returns whether it was done.
    pub(crate) fn run_while(
        &mut self,
        deadline: Micros,
        poll: Micros,
        mut done: impl FnMut(&Self) -> bool,
    ) -> bool {
        loop {
            if done(self) {
                return true;
            }
            if self.now >= deadline {
                return false;
            }
            self.run_until((self.now + poll).min(deadline));
        }
    }

    /// Forgets what was counted so far.
    pub(crate) fn count_anew(&mut self) {
        (self.healthy, self.slow) = (Wrongs::default(), Wrongs::default());
        for node in &mut self.nodes {
            node.traffic = Traffic::default();
        }
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let sum = |part: fn(&Traffic) -> u64| self.nodes.iter().map(|node| part(&node.traffic)).sum();
        Traffic { messages: sum(|it| it.messages), bytes: sum(|it| it.bytes) }
    }

    pub(crate) fn in_view(&self, host: Host) -> usize {
        self.nodes[index(host)].in_view
    }

    pub(crate) fn slow_members(&self) -> usize {
        self.nodes.iter().filter(|node| node.phase.is_some()).count()
    }

    pub(crate) fn random_below(&mut self, end: u64) -> u64 {
        self.rng.random_range(0..end)
    }

    fn node(&mut self, host: Host) -> &mut Node<S> {
        &mut self.nodes[index(host)]
    }

    /// Does the next thing that is due by `until`.
    fn step(&mut self, until: Micros) -> bool {
        let Some(entry) = self.queue.peek_mut().filter(|entry| entry.at <= until) else { return false };
        let Entry { at, host, due, .. } = std::collections::binary_heap::PeekMut::pop(entry);
        self.now = at;
        match due {
            Due::Packet(from, packet) => match self.held_until(host) {
                // Those that waited arrive in the order they came.
                Some(end) => self.put(end, host, Due::Packet(from, packet)),
                None => self.with(host, |subject, now, effects| subject.take(now, from, packet, effects)),
            },
            Due::Wake if self.node(host).wake == Some(at) => {
                self.node(host).wake = None;
                self.with(host, S::wake);
            }
            Due::Wake => {}
        }
        true
    }

    fn with(&mut self, host: Host, act: impl FnOnce(&mut S, Micros, &mut Effects)) {
        let now = self.now;
        let Some(subject) = &mut self.node(host).subject else { return };
        let mut effects = Effects::default();
        act(subject, now, &mut effects);
        self.carry_out(host, effects);
    }

    fn carry_out(&mut self, host: Host, effects: Effects) {
        for (to, packet) in effects.packets {
            self.send(host, to, packet);
        }
        for report in &effects.reports {
            self.report(host, report);
        }
        let node = self.node(host);
        let deadline = node.subject.as_ref().and_then(S::deadline);
        if let Some(at) = deadline.filter(|at| node.wake.is_none_or(|wake| *at < wake)) {
            node.wake = Some(at);
            self.put(at.max(self.now), host, Due::Wake);
        }
    }

    fn put(&mut self, at: Micros, host: Host, due: Due) {
        self.entries += 1;
        self.queue.push(Entry { at, number: self.entries, host, due });
    }

    fn send(&mut self, from: Host, to: Host, packet: Packet) {
        let mut delay = self.rng.random_range(LATENCY.0..=LATENCY.1);
        let traffic = &mut self.nodes[index(from)].traffic;
        match &packet {
            Packet::Datagram(bytes) => {
                assert!(bytes.len() <= DATAGRAM_BYTES_MAX, "a datagram of {} bytes", bytes.len());
                traffic.messages += 1;
                traffic.bytes += bytes.len() as u64;
                if self.rng.random_bool(self.network.loss) {
                    return;
                }
            }
            Packet::Request(_, bytes) | Packet::Response(_, bytes) => {
                let mut pending = bytes.len().div_ceil(STREAM_PACKET_BYTES).max(1);
                traffic.messages += pending as u64;
                traffic.bytes += bytes.len() as u64;
                loop {
                    pending = (0..pending).filter(|_| self.rng.random_bool(self.network.loss)).count();
                    if pending == 0 {
                        break;
                    }
                    traffic.messages += pending as u64;
                    traffic.bytes += (pending * STREAM_PACKET_BYTES) as u64;
                    delay += RETRANSMISSION;
                }
            }
        }
        delay += match self.network.bursts.map(|bursts| bursts.trouble) {
            Some(Trouble::Delay(min, max)) => {
                let slow = [from, to].into_iter().filter(|host| self.burst_end(*host).is_some()).count();
                (0..slow).map(|_| self.rng.random_range(min..=max)).sum()
            }
            Some(Trouble::Hold) => self.burst_end(from).map_or(0, |end| end - self.now),
            None => 0,
        };
        self.put(self.now + delay, to, Due::Packet(from, packet));
    }

    fn held_until(&self, host: Host) -> Option<Micros> {
        match self.network.bursts?.trouble {
            Trouble::Hold => self.burst_end(host),
            Trouble::Delay(..) => None,
        }
    }

    /// When the burst ends that the member is in, if it is in one.
    fn burst_end(&self, host: Host) -> Option<Micros> {
        let bursts = self.network.bursts?;
        let into = (self.now + self.nodes[index(host)].phase?) % bursts.cycle;
        (into < bursts.length).then(|| self.now + bursts.length - into)
    }

    fn report(&mut self, observer: Host, report: &Report) {
        let now = self.now;
        let (Report::Up(subject) | Report::Gone { subject, .. } | Report::Suspected(subject)) = *report;
        let about = &self.nodes[index(subject)];
        let (runs, slow) = (about.subject.is_some(), about.phase.is_some());
        let wrongs = if slow { &mut self.slow } else { &mut self.healthy };
        let node = &mut self.nodes[index(observer)];
        let tracked = self.tracked.as_mut().filter(|tracked| tracked.subject == subject);
        match *report {
            Report::Up(_) if !node.sees(subject) => {
                node.flip(subject);
                node.in_view += 1;
                if let Some(tracked) = tracked {
                    tracked.holders += 1;
                    tracked.up_at[index(observer)].get_or_insert(now);
                }
            }
            Report::Gone { life, .. } if node.sees(subject) => {
                node.flip(subject);
                node.in_view -= 1;
                if runs {
                    wrongs.removals += 1;
                    wrongs.deaths.insert((subject, life));
                }
                if let Some(tracked) = tracked {
                    tracked.holders -= 1;
                    tracked.first_gone.get_or_insert(now);
                    tracked.last_gone = Some(now);
                }
            }
            Report::Suspected(_) => {
                wrongs.suspicions += u64::from(runs);
                if let Some(tracked) = tracked {
                    tracked.first_suspected.get_or_insert(now);
                }
            }
            Report::Up(_) | Report::Gone { .. } => {}
        }
    }
}

impl<S> Node<S> {
    fn sees(&self, subject: Host) -> bool {
        self.view[index(subject) / 64] >> (subject % 64) & 1 == 1
    }

    fn flip(&mut self, subject: Host) {
        self.view[index(subject) / 64] ^= 1 << (subject % 64);
    }
}

fn index(host: Host) -> usize {
    host as usize
}
