//! chinwag's machine as a subject.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use chinwag_membership::{
    CheckedConfig, Config, Copies, Event, ExchangeId, Founding, Generation, Input, KeySpace, Life, Member,
    MemberRecord, Membership, Name, Output, Partitioner, Partitions, Time, Tokens,
};

use crate::subject::{Effects, Host, Micros, Packet, Report, Subject};

const FIRST_ADDRESS: u32 = 0x0a00_0000;

pub(crate) struct Ground {
    config: CheckedConfig,
    founding: Founding,
    /// All members, as those that are settled know them.
    members: Vec<Member>,
}

pub(crate) struct Chinwag {
    machine: Membership,
    /// Who opened the exchange that is being answered, and its number there.
    asked: BTreeMap<ExchangeId, (Host, u64)>,
    requests: u64,
}

impl Subject for Chinwag {
    type Ground = Ground;

    const NAME: &'static str = "chinwag";

    fn ground(members: usize) -> Ground {
        let config = Config::default().validate().expect("the default settings are in range");
        let founding = Founding {
            partitions: Partitions::default(),
            partitioner: Partitioner::Md5,
            key_space: KeySpace::Bytes,
            n: Copies::default(),
            buckets: String::new(),
        };
        let hosts = 0..Host::try_from(members).expect("members are counted in thousands");
        let members = hosts
            .map(|host| {
                let machine =
                    Membership::new(config.clone(), record(host), founding.clone(), vec![], 0, Time::ORIGIN);
                machine.expect("the record keeps the rules").me().clone()
            })
            .collect();
        Ground { config, founding, members }
    }

    fn settled(ground: &Ground, host: Host, members: usize, seed: u64, _: &mut Effects) -> Self {
        let others = ground.members[..members].iter().filter(|member| number(member.record()) != host);
        let machine = Membership::settled(
            ground.config.clone(),
            record(host),
            ground.founding.clone(),
            others.cloned(),
            seed,
            Time::ORIGIN,
        );
        Self::running(machine.expect("the record keeps the rules"))
    }

    fn newcomer(
        ground: &Ground,
        host: Host,
        contact: Host,
        seed: u64,
        now: Micros,
        effects: &mut Effects,
    ) -> Self {
        let machine = Membership::new(
            ground.config.clone(),
            record(host),
            ground.founding.clone(),
            vec![],
            seed,
            time(now),
        );
        let mut newcomer = Self::running(machine.expect("the record keeps the rules"));
        newcomer.feed(now, Input::Join { seeds: vec![record(contact).address] }, effects);
        newcomer
    }

    fn take(&mut self, now: Micros, from: Host, packet: Packet, effects: &mut Effects) {
        match &packet {
            Packet::Datagram(bytes) => {
                self.feed(now, Input::Datagram { from: gossip_address(from), bytes }, effects);
            }
            Packet::Request(number, bytes) => {
                self.requests += 1;
                let exchange = ExchangeId(self.requests);
                self.asked.insert(exchange, (from, *number));
                self.feed(now, Input::Request { exchange, bytes }, effects);
                self.asked.remove(&exchange);
            }
            Packet::Response(number, bytes) => {
                self.feed(now, Input::Response { exchange: ExchangeId(*number), bytes }, effects);
            }
        }
    }

    fn leave(&mut self, now: Micros, effects: &mut Effects) {
        self.feed(now, Input::Leave, effects);
    }

    fn deadline(&self) -> Option<Micros> {
        let at = self.machine.deadline()?.elapsed().as_nanos().div_ceil(1_000);
        Some(Micros::try_from(at).expect("runs take hours, not ages"))
    }

    fn wake(&mut self, now: Micros, effects: &mut Effects) {
        self.machine.handle_deadline(time(now));
        self.drain(true, effects);
    }
}

impl Chinwag {
    fn running(machine: Membership) -> Self {
        Self { machine, asked: BTreeMap::new(), requests: 0 }
    }

    fn feed(&mut self, now: Micros, input: Input<'_>, effects: &mut Effects) {
        self.machine.handle(time(now), input).expect("members understand each other");
        self.drain(false, effects);
    }

    /// Passes outputs on. A suspicion that begins at a deadline is this member's own; others are hearsay.
    fn drain(&mut self, own: bool, effects: &mut Effects) {
        while let Some(output) = self.machine.poll() {
            match output {
                Output::Datagram { to, bytes } => {
                    effects.packets.push((host(to), Packet::Datagram(bytes)));
                }
                Output::Open { exchange, to, bytes } => {
                    effects.packets.push((host(to), Packet::Request(exchange.0, bytes)));
                }
                Output::Reply { exchange, bytes } => {
                    let (to, number) = self.asked.remove(&exchange).expect("it was asked, once");
                    effects.packets.push((to, Packet::Response(number, bytes)));
                }
                Output::Event(event) => effects.reports.extend(report(&event, own)),
            }
        }
    }
}

fn report(event: &Event, own: bool) -> Option<Report> {
    match event {
        Event::Up { record, .. } => Some(Report::Up(number(record))),
        Event::Down(life) | Event::Left(life) => {
            Some(Report::Gone { subject: named(life), life: life.incarnation.get() })
        }
        Event::Suspect(life) if own => Some(Report::Suspected(named(life))),
        Event::Suspect(_)
        | Event::Refuted(_)
        | Event::MetaChanged { .. }
        | Event::SelfAccused { .. }
        | Event::Refused(_)
        | Event::SeedUnreachable { .. } => None,
    }
}

/// As a member's record is by default: it was started at a second of its own within the last day, and the system has
/// chosen its gossip port and drawn its directory's number.
fn record(host: Host) -> MemberRecord {
    let scattered = u64::from(host + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    MemberRecord {
        name: Name::new(format!("m{host}")).expect("it is short and plain"),
        directory: scattered,
        generation: Generation::new(1_800_000_000 + scattered % 86_400).expect("it is low"),
        revision: 0,
        address: address(host, 7_000),
        gossip: gossip_address(host),
        tokens: Tokens::default(),
        version: "0.0.0".to_owned(),
    }
}

fn gossip_address(host: Host) -> SocketAddr {
    let port = 32_768 + host.wrapping_mul(40_503) % 28_232;
    address(host, u16::try_from(port).expect("it is below 61,000"))
}

fn address(host: Host, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(FIRST_ADDRESS + host), port))
}

fn host(address: SocketAddr) -> Host {
    match address {
        SocketAddr::V4(address) => u32::from(*address.ip()) - FIRST_ADDRESS,
        SocketAddr::V6(_) => unreachable!("all simulated addresses are of version 4"),
    }
}

fn number(record: &MemberRecord) -> Host {
    host(record.address)
}

fn named(life: &Life) -> Host {
    life.name.as_str()[1..].parse().expect("a name is m and a number")
}

fn time(now: Micros) -> Time {
    Time::after_origin(Duration::from_micros(now))
}
