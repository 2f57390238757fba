//! Seeds and down members: tried for ever, with jittered pauses, so that a healed partition merges and a restarted
//! seed is found again.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Membership;
use super::exchanging::Purpose;
use crate::identity::NodeId;
use crate::swim::event::Event;
use crate::swim::member::{Member, State};
use crate::swim::time::Time;
use crate::swim::timers::Timer;

/// Most seeds that are kept; further ones are passed over. A handful is enough to find a cluster of any size.
pub const SEEDS_MAX: usize = 128;

/// Most attempts under way at a time. The others wait their turn.
const CONTACTS_OPEN_MAX: usize = 16;

/// Bounded by [`SEEDS_MAX`] and the number of members.
#[derive(Debug, Default)]
pub(super) struct Contacts {
    /// The seeds, and who was met there last.
    seeds: BTreeMap<SocketAddr, Option<NodeId>>,
    /// The addresses where nobody alive is known to be.
    wanted: BTreeMap<SocketAddr, Contact>,
}

#[derive(Debug)]
struct Contact {
    /// Since it was last reached.
    attempts: u32,
    due: Time,
    open: bool,
}

impl Contacts {
    /// Stops trying an address, for good.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.seeds.remove(&address);
        self.wanted.remove(&address);
    }

    /// The seeds at which `member` would be met.
    fn seeds_of(&self, member: &Member) -> Vec<SocketAddr> {
        let met = |(address, met): (&SocketAddr, &Option<NodeId>)| {
            (*address == member.record.address || *met == Some(member.id())).then_some(*address)
        };
        self.seeds.iter().filter_map(met).collect()
    }

    fn open(&self) -> usize {
        self.wanted.values().filter(|contact| contact.open).count()
    }

    /// The address that has been due for longest, and since when; or that will be due first.
    fn next(&self) -> Option<(Time, SocketAddr)> {
        let idle = self.wanted.iter().filter(|(_, contact)| !contact.open);
        idle.map(|(address, contact)| (contact.due, *address)).min()
    }
}

impl Membership {
    pub(super) fn join(&mut self, now: Time, seeds: Vec<SocketAddr>) {
        for seed in seeds {
            if seed != self.me.record.address && self.contacts.seeds.len() < SEEDS_MAX {
                self.contacts.seeds.entry(seed).or_insert(None);
                self.want_contact(seed, now);
            }
        }
    }

    /// Begins to try an address, unless it is being tried.
    pub(super) fn want_contact(&mut self, address: SocketAddr, due: Time) {
        if address == self.me.record.address {
            return;
        }
        self.contacts.wanted.entry(address).or_insert(Contact { attempts: 0, due, open: false });
        self.timers.set_by(Timer::Contact, due);
    }

    /// Tries the addresses that are due.
    pub(super) fn contact(&mut self, now: Time) {
        let mut open = self.contacts.open();
        while open < CONTACTS_OPEN_MAX
            && let Some((due, address)) = self.contacts.next()
        {
            if due > now {
                self.timers.set_by(Timer::Contact, due);
                break;
            }
            if self.is_worth_contacting(address) {
                self.open_contact(now, address);
                open += 1;
            } else {
                self.contacts.wanted.remove(&address);
            }
        }
    }

    /// Somebody answered at that address.
    pub(super) fn contacted(&mut self, now: Time, address: SocketAddr, by: NodeId) {
        if let Some(met) = self.contacts.seeds.get_mut(&address) {
            *met = Some(by);
        }
        if let Some(contact) = self.contacts.wanted.get_mut(&address) {
            contact.attempts = 1;
        }
        self.contact_closed(now, address);
    }

    pub(super) fn contact_failed(&mut self, now: Time, address: SocketAddr) {
        self.contact_closed(now, address);
        if let (Some(contact), true) =
            (self.contacts.wanted.get(&address), self.contacts.seeds.contains_key(&address))
        {
            let attempts = contact.attempts;
            self.emit(Event::SeedUnreachable { address, attempts });
        }
    }

    /// An attempt has ended, one way or another: another may begin.
    pub(super) fn contact_closed(&mut self, now: Time, address: SocketAddr) {
        if let Some(contact) = self.contacts.wanted.get_mut(&address) {
            contact.open = false;
            let due = contact.due.max(now);
            self.timers.set_by(Timer::Contact, due);
        }
    }

    /// Adapts to what became of a member: who is there need not be searched for.
    pub(super) fn follow(&mut self, now: Time, member: &Member, previous: Option<&Member>) {
        if let Some(moved) = previous.filter(|previous| previous.record.address != member.record.address) {
            self.contacts.wanted.remove(&moved.record.address);
            for seed in self.contacts.seeds_of(moved) {
                self.want_contact(seed, now);
            }
        }
        if member.is_live() {
            self.contacts.wanted.remove(&member.record.address);
            for seed in self.contacts.seeds_of(member) {
                self.contacts.wanted.remove(&seed);
            }
            return;
        }
        let pause = self.config.contact_backoff(0, self.live());
        let due = now + self.jitter(pause);
        match member.state() {
            State::Down => self.want_contact(member.record.address, due),
            State::Alive | State::Suspect | State::Left => {
                self.contacts.wanted.remove(&member.record.address);
            }
        }
        for seed in self.contacts.seeds_of(member) {
            self.want_contact(seed, due);
        }
    }

    fn open_contact(&mut self, now: Time, address: SocketAddr) {
        let live = self.live();
        let attempts = self.contacts.wanted.get(&address).map_or(0, |contact| contact.attempts);
        let pause = self.config.contact_backoff(attempts, live);
        let pause = self.jitter(pause);
        if let Some(contact) = self.contacts.wanted.get_mut(&address) {
            contact.attempts = contact.attempts.saturating_add(1);
            contact.due = now + pause;
            contact.open = true;
        }
        // The next attempt does not wait for this one: the first after a start often meets a member that is not
        // listening yet.
        let timeout = pause.min(self.config.exchange_timeout);
        let request = self.sync_request();
        self.open_exchange(now, address, Purpose::Contact(address), &request, timeout);
    }

    /// Whether the address is a seed's or a down member's, and nobody alive is known to be there.
    fn is_worth_contacting(&self, address: SocketAddr) -> bool {
        let seed = self.contacts.seeds.get(&address);
        let met_is_live = seed.copied().flatten().is_some_and(|met| self.view.is_live(met));
        let mut down = false;
        for member in self.view.iter().filter(|member| member.record.address == address) {
            if member.is_live() {
                return false;
            }
            down |= member.state() == State::Down;
        }
        !met_is_live && (seed.is_some() || down)
    }
}
