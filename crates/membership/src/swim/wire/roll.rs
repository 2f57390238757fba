//! Members with their records, in few bytes: a newcomer gets to know a hundred from two packets, and each packet less is
//! one that cannot be lost. An entry says in what it differs from the one before it, the first from nobody in particular.
//!
//! ```text
//! entry   given (1, a bit per field) | name: its last byte (1), or how much of it is as before (1) and the rest (2-65)
//!         | directory (8, big endian) | host: its last byte (1), or the whole IP address (5 or 17)
//!         | the other fields that are given, in the order of their bits: ports (2, big endian), generation (1-10, the
//!         difference), the others as in records and updates (postcard)
//! ```

use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{MEMBERS_MAX, WireError, encode};
use crate::identity::Name;
use crate::ring::Tokens;
use crate::swim::member::Member;
use crate::swim::record::{Generation, Incarnation, MemberRecord};
use crate::swim::update::{Claim, Update};

/// Otherwise the name is as before but for its last byte.
const NAME: u8 = 1;
/// Otherwise the IP address is as before but for its last byte.
const HOST: u8 = 1 << 1;
/// Otherwise the port is as before.
const PORT: u8 = 1 << 2;
/// Otherwise gossip goes to the same IP address as all else.
const GOSSIP_HOST: u8 = 1 << 3;
/// Otherwise the gossip port is as before.
const GOSSIP_PORT: u8 = 1 << 4;
/// Otherwise the generation is as before.
const GENERATION: u8 = 1 << 5;
/// Otherwise the member is alive and has not refuted anything yet.
const CLAIM: u8 = 1 << 6;
/// Otherwise revision, tokens and version are as before. A list of tokens is always given: if a bit could stand for a
/// thousand tokens, a short message could fill the memory.
const REST: u8 = 1 << 7;

/// What is said of a member, with its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::swim) struct Introduction {
    pub(in crate::swim) record: Arc<MemberRecord>,
    pub(in crate::swim) incarnation: Incarnation,
    pub(in crate::swim) claim: Claim,
}

impl Introduction {
    pub(in crate::swim) fn of(member: &Member) -> Self {
        let Update { incarnation, claim, .. } = member.update;
        Self { record: Arc::clone(&member.record), incarnation, claim }
    }

    pub(in crate::swim) fn update(&self) -> Update {
        let (subject, edition) = (self.record.id(), self.record.edition());
        Update { subject, edition, incarnation: self.incarnation, claim: self.claim }
    }
}

pub(super) fn write(roll: &[Introduction]) -> Vec<u8> {
    entries(roll).flatten().collect()
}

/// How many of them, from the first on, can be written in so many bytes.
pub(super) fn fitting(roll: &[Introduction], mut room: usize) -> usize {
    let fits = |entry: &Vec<u8>| match room.checked_sub(entry.len()) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    };
    entries(roll).take_while(fits).count()
}

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Introduction>, WireError> {
    let mut roll: Vec<Introduction> = Vec::new();
    let nobody = nobody();
    let mut reader = Reader { given: 0, rest: bytes };
    while !reader.rest.is_empty() {
        if roll.len() == MEMBERS_MAX {
            return Err(WireError::Absurd(format!("a roll of more than {MEMBERS_MAX} members")));
        }
        let introduction = read_entry(&mut reader, roll.last().map_or(&nobody, |it| &it.record))?;
        introduction.record.validate()?;
        roll.push(introduction);
    }
    Ok(roll)
}

fn entries(roll: &[Introduction]) -> impl Iterator<Item = Vec<u8>> {
    let mut before = Arc::new(nobody());
    roll.iter().map(move |introduction| {
        let entry = write_entry(&before, introduction);
        before = Arc::clone(&introduction.record);
        entry
    })
}

fn write_entry(before: &MemberRecord, introduction: &Introduction) -> Vec<u8> {
    let Introduction { record, incarnation, claim } = introduction;
    let mut writer = Writer { given: 0, fields: Vec::new() };
    let (name, name_before) = (record.name.as_str(), before.name.as_str());
    match name.as_bytes().split_last() {
        Some((last, start)) if name_before.as_bytes().split_last().is_some_and(|it| it.1 == start) => {
            writer.put(last);
        }
        _ => {
            let same = iter::zip(name.bytes(), name_before.bytes()).take_while(|(it, was)| it == was);
            let (same, rest) = name.split_at(same.count());
            writer.give(NAME, &(same.len(), rest));
        }
    }
    writer.put(&record.directory.to_be_bytes());
    let host = record.address.ip();
    if with_last_byte(before.address.ip(), last_byte(host)) == host {
        writer.put(&last_byte(host));
    } else {
        writer.give(HOST, &host);
    }
    let port = |address: SocketAddr| address.port().to_be_bytes();
    writer.give_other(PORT, &port(before.address), &port(record.address));
    writer.give_other(GOSSIP_HOST, &host, &record.gossip.ip());
    writer.give_other(GOSSIP_PORT, &port(before.gossip), &port(record.gossip));
    // Members that started at about the same time have generations that differ little.
    let generation = record.generation.get().cast_signed() - before.generation.get().cast_signed();
    writer.give_other(GENERATION, &0, &generation);
    writer.give_other(CLAIM, &(Incarnation::default(), Claim::Alive), &(*incarnation, *claim));
    let rest = (record.revision, &record.tokens, &record.version);
    if is_list(&record.tokens) {
        writer.give(REST, &rest);
    } else {
        writer.give_other(REST, &(before.revision, &before.tokens, &before.version), &rest);
    }
    [&[writer.given], &writer.fields[..]].concat()
}

fn read_entry(reader: &mut Reader<'_>, before: &MemberRecord) -> Result<Introduction, WireError> {
    reader.given = reader.take()?;
    let mut name = before.name.as_str().to_owned();
    if reader.gives(NAME) {
        let (same, rest): (usize, &str) = reader.take()?;
        name.truncate(same);
        name.push_str(rest);
    } else {
        name.pop();
        name.push(reader.take::<u8>()?.into());
    }
    let name = Name::new(name)?;
    let directory = u64::from_be_bytes(reader.take()?);
    let host =
        if reader.gives(HOST) { reader.take()? } else { with_last_byte(before.address.ip(), reader.take()?) };
    let port = u16::from_be_bytes(reader.take_or(PORT, before.address.port().to_be_bytes())?);
    let gossip_host = reader.take_or(GOSSIP_HOST, host)?;
    let gossip_port = u16::from_be_bytes(reader.take_or(GOSSIP_PORT, before.gossip.port().to_be_bytes())?);
    let (address, gossip) = (SocketAddr::new(host, port), SocketAddr::new(gossip_host, gossip_port));
    let generation = before.generation.get().saturating_add_signed(reader.take_or(GENERATION, 0)?);
    let generation = Generation::new(generation)?;
    let (incarnation, claim) = reader.take_or(CLAIM, (Incarnation::default(), Claim::Alive))?;
    if is_list(&before.tokens) && !reader.gives(REST) {
        return Err(WireError::Absurd("a list of tokens is not given".to_owned()));
    }
    let rest = (before.revision, before.tokens.clone(), before.version.clone());
    let (revision, tokens, version) = reader.take_or(REST, rest)?;
    let record = MemberRecord { name, directory, generation, revision, address, gossip, tokens, version };
    Ok(Introduction { record: Arc::new(record), incarnation, claim })
}

struct Writer {
    given: u8,
    fields: Vec<u8>,
}

impl Writer {
    fn put(&mut self, value: &impl Serialize) {
        self.fields.extend(encode(value));
    }

    fn give(&mut self, field: u8, value: &impl Serialize) {
        self.given |= field;
        self.put(value);
    }

    fn give_other<T: Serialize + PartialEq>(&mut self, field: u8, before: &T, value: &T) {
        if value != before {
            self.give(field, value);
        }
    }
}

struct Reader<'a> {
    given: u8,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn gives(&self, field: u8) -> bool {
        self.given & field != 0
    }

    fn take<T: Deserialize<'a>>(&mut self) -> Result<T, WireError> {
        let (value, rest) = postcard::take_from_bytes(self.rest)?;
        self.rest = rest;
        Ok(value)
    }

    fn take_or<T: Deserialize<'a>>(&mut self, field: u8, before: T) -> Result<T, WireError> {
        if self.gives(field) { self.take() } else { Ok(before) }
    }
}

fn is_list(tokens: &Tokens) -> bool {
    matches!(tokens, Tokens::Explicit(_))
}

fn last_byte(host: IpAddr) -> u8 {
    match host {
        IpAddr::V4(host) => {
            let [.., last] = host.octets();
            last
        }
        IpAddr::V6(host) => {
            let [.., last] = host.octets();
            last
        }
    }
}

fn with_last_byte(host: IpAddr, byte: u8) -> IpAddr {
    match host {
        IpAddr::V4(host) => {
            let [a, b, c, _] = host.octets();
            [a, b, c, byte].into()
        }
        IpAddr::V6(host) => {
            let mut octets = host.octets();
            let [.., last] = &mut octets;
            *last = byte;
            octets.into()
        }
    }
}

/// Who comes before the first.
fn nobody() -> MemberRecord {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    MemberRecord {
        name: Name::new("-").expect("a dash is a name"),
        directory: 0,
        generation: Generation::default(),
        revision: 0,
        address: nowhere,
        gossip: nowhere,
        tokens: Tokens::Derived { count: 0 },
        version: String::new(),
    }
}

#[cfg(test)]
mod tests;
