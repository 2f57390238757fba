//! foca 2.0 as a subject: `Config::new_lan`, a fixed-width codec, and an announcement that is repeated every second
//! until somebody answers.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use bytes::{Buf, BufMut};
use foca::{
    Codec, Config, Header, Identity, Member, Message, NoCustomBroadcast, Notification, Runtime, State, Timer,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::subject::{Effects, Host, Micros, Packet, Report, SECOND, Subject};

/// On the wire an address of 6 bytes and a generation of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Id {
    host: Host,
    generation: u64,
}

const ID_BYTES: usize = 14;
const MEMBER_BYTES: usize = ID_BYTES + 3;
const PORT: u16 = 7_946;

impl Id {
    fn first(host: Host) -> Self {
        Self { host, generation: 1 }
    }
}

impl Identity for Id {
    type Addr = Host;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation + 1, ..*self })
    }

    fn addr(&self) -> Host {
        self.host
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.generation > adversary.generation
    }
}

enum Due {
    Foca(Timer<Id>),
    Announce(Host),
}

/// foca has timers by the dozen and never takes one back; they fire in order of time, then of setting.
#[derive(Default)]
struct Agenda {
    due: BTreeMap<(Micros, u64), Due>,
    set: u64,
}

impl Agenda {
    fn set(&mut self, at: Micros, due: Due) {
        self.set += 1;
        self.due.insert((at, self.set), due);
    }
}

/// Passes foca's effects on.
struct Shell<'a> {
    now: Micros,
    agenda: &'a mut Agenda,
    /// The longest first pause is drawn from this, so that members that begin together do not go on together.
    phase: Option<&'a mut SmallRng>,
    effects: &'a mut Effects,
}

impl Runtime<Id> for Shell<'_> {
    fn notify(&mut self, notification: Notification<'_, Id>) {
        match notification {
            Notification::MemberUp(id) => self.effects.reports.push(Report::Up(id.host)),
            Notification::MemberDown(id) => {
                self.effects.reports.push(Report::Gone { subject: id.host, life: id.generation });
            }
            _ => {}
        }
    }

    fn send_to(&mut self, to: Id, data: &[u8]) {
        self.effects.packets.push((to.host, Packet::Datagram(data.to_vec())));
    }

    fn submit_after(&mut self, timer: Timer<Id>, after: Duration) {
        if let Timer::ChangeSuspectToDown { member_id, .. } = &timer {
            self.effects.reports.push(Report::Suspected(member_id.host));
        }
        let mut after = Micros::try_from(after.as_micros()).expect("timers are set for minutes, not ages");
        if let Some(phase) = &mut self.phase {
            after = phase.random_range(0..after);
        }
        self.agenda.set(self.now + after, Due::Foca(timer));
    }
}

pub(crate) struct Foca {
    machine: foca::Foca<Id, FixedWidth, SmallRng, NoCustomBroadcast>,
    agenda: Agenda,
}

impl Foca {
    fn new(config: &Config, host: Host, seed: u64) -> Self {
        let rng = SmallRng::seed_from_u64(seed);
        let machine = foca::Foca::new(Id::first(host), config.clone(), rng, FixedWidth);
        Self { machine, agenda: Agenda::default() }
    }
}

impl Subject for Foca {
    type Ground = Config;

    const NAME: &'static str = "foca 2.0";

    fn ground(members: usize) -> Config {
        let members = u32::try_from(members).ok().and_then(NonZeroU32::new);
        Config::new_lan(members.expect("members are counted in thousands"))
    }

    fn settled(config: &Config, host: Host, members: usize, seed: u64, effects: &mut Effects) -> Self {
        let mut this = Self::new(config, host, seed);
        let others = (0..).take(members).filter(|other| *other != host);
        let mut phase = SmallRng::seed_from_u64(!seed);
        let shell = Shell { now: 0, agenda: &mut this.agenda, phase: Some(&mut phase), effects };
        let others = others.map(|it| Member::alive(Id::first(it)));
        this.machine.apply_many(others, false, shell).expect("all are strangers to each other");
        this
    }

    fn newcomer(
        config: &Config,
        host: Host,
        contact: Host,
        seed: u64,
        now: Micros,
        effects: &mut Effects,
    ) -> Self {
        let mut this = Self::new(config, host, seed);
        this.agenda.set(now, Due::Announce(contact));
        this.wake(now, effects);
        this
    }

    fn take(&mut self, now: Micros, _from: Host, packet: Packet, effects: &mut Effects) {
        let Packet::Datagram(bytes) = packet else { unreachable!("foca sends datagrams only") };
        let shell = Shell { now, agenda: &mut self.agenda, phase: None, effects };
        // What it refuses is out of date, and lost.
        self.machine.handle_data(&bytes, shell).ok();
    }

    fn leave(&mut self, now: Micros, effects: &mut Effects) {
        let shell = Shell { now, agenda: &mut self.agenda, phase: None, effects };
        self.machine.leave_cluster(shell).expect("it is a member");
        self.agenda.due.clear();
    }

    fn deadline(&self) -> Option<Micros> {
        self.agenda.due.first_key_value().map(|((at, _), _)| *at)
    }

    fn wake(&mut self, now: Micros, effects: &mut Effects) {
        while let Some(first) = self.agenda.due.first_entry().filter(|first| first.key().0 <= now) {
            let due = first.remove();
            if let Due::Announce(contact) = due {
                if self.machine.num_members() > 0 {
                    continue;
                }
                self.agenda.set(now + SECOND, Due::Announce(contact));
            }
            let shell = Shell { now, agenda: &mut self.agenda, phase: None, effects };
            match due {
                // Timers that are out of date are refused.
                Due::Foca(timer) => self.machine.handle_timer(timer, shell).ok(),
                Due::Announce(contact) => self.machine.announce(Id::first(contact), shell).ok(),
            };
        }
    }
}

/// Identity 14 bytes, member 17, header of a ping or ack 32.
struct FixedWidth;

#[derive(Debug, thiserror::Error)]
#[error("cut off, or of an unknown kind")]
struct Unreadable;

fn put_id(id: &Id, mut buf: impl BufMut) {
    buf.put_u32(id.host);
    buf.put_u16(PORT);
    buf.put_u64(id.generation);
}

fn take_id(buf: &mut impl Buf) -> Result<Id, Unreadable> {
    let host = buf.try_get_u32().ok();
    let port = buf.try_get_u16().ok();
    let generation = buf.try_get_u64().ok();
    match (host, port, generation) {
        (Some(host), Some(_), Some(generation)) => Ok(Id { host, generation }),
        _ => Err(Unreadable),
    }
}

fn take_u8(buf: &mut impl Buf) -> Result<u8, Unreadable> {
    buf.try_get_u8().ok().ok_or(Unreadable)
}

fn take_u16(buf: &mut impl Buf) -> Result<u16, Unreadable> {
    buf.try_get_u16().ok().ok_or(Unreadable)
}

impl Codec<Id> for FixedWidth {
    type Error = Unreadable;

    fn encode_header(&mut self, header: &Header<Id>, mut buf: impl BufMut) -> Result<(), Unreadable> {
        // Two identities, incarnation and kind, and at most one more identity and a number.
        if buf.remaining_mut() < 3 * ID_BYTES + 4 {
            return Err(Unreadable);
        }
        put_id(&header.src, &mut buf);
        buf.put_u16(header.src_incarnation);
        put_id(&header.dst, &mut buf);
        let (kind, other, number) = match &header.message {
            Message::Ping(number) => (0, None, Some(*number)),
            Message::Ack(number) => (1, None, Some(*number)),
            Message::PingReq { target, probe_number } => (2, Some(target), Some(*probe_number)),
            Message::IndirectPing { origin, probe_number } => (3, Some(origin), Some(*probe_number)),
            Message::IndirectAck { target, probe_number } => (4, Some(target), Some(*probe_number)),
            Message::ForwardedAck { origin, probe_number } => (5, Some(origin), Some(*probe_number)),
            Message::Announce => (6, None, None),
            Message::Feed => (7, None, None),
            Message::Gossip => (8, None, None),
            Message::Broadcast => (9, None, None),
            Message::TurnUndead => (10, None, None),
        };
        buf.put_u8(kind);
        if let Some(other) = other {
            put_id(other, &mut buf);
        }
        if let Some(number) = number {
            buf.put_u8(number);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Id>, Unreadable> {
        let src = take_id(&mut buf)?;
        let src_incarnation = take_u16(&mut buf)?;
        let dst = take_id(&mut buf)?;
        let kind = take_u8(&mut buf)?;
        let other = if (2..=5).contains(&kind) { take_id(&mut buf)? } else { src };
        let probe_number = if kind <= 5 { take_u8(&mut buf)? } else { 0 };
        let message = match kind {
            0 => Message::Ping(probe_number),
            1 => Message::Ack(probe_number),
            2 => Message::PingReq { target: other, probe_number },
            3 => Message::IndirectPing { origin: other, probe_number },
            4 => Message::IndirectAck { target: other, probe_number },
            5 => Message::ForwardedAck { origin: other, probe_number },
            6 => Message::Announce,
            7 => Message::Feed,
            8 => Message::Gossip,
            9 => Message::Broadcast,
            10 => Message::TurnUndead,
            _ => return Err(Unreadable),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(&mut self, member: &Member<Id>, mut buf: impl BufMut) -> Result<(), Unreadable> {
        if buf.remaining_mut() < MEMBER_BYTES {
            return Err(Unreadable);
        }
        put_id(member.id(), &mut buf);
        buf.put_u16(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Id>, Unreadable> {
        let id = take_id(&mut buf)?;
        let incarnation = take_u16(&mut buf)?;
        let state = match take_u8(&mut buf)? {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(Unreadable),
        };
        Ok(Member::new(id, incarnation, state))
    }
}
