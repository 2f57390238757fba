//! Names: refuting what is said of this member, outliving its former lives, and telling a restarted member from
//! an impostor.
//!
//! A name belongs to whoever answers under it. A newcomer that claims the name of a member that counts as live is put
//! off until that member has been asked; if it answers from another data directory, the newcomer is refused. Members
//! that were accepted on two sides of a partition are told apart by their generation, and the lower one gives way.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::Membership;
use super::exchanging::Purpose;
use crate::identity::NodeId;
use crate::swim::event::{Event, Refused};
use crate::swim::member::{Member, State};
use crate::swim::record::{Edition, MemberRecord};
use crate::swim::time::Time;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::{Refusal, Request, SyncRequest};

/// How long an answer of the member whose name was claimed counts as proof that the name is in use. Longer than the
/// pause before the claimant asks again.
const PROOF_AGE_MAX: Duration = Duration::from_secs(10);

/// Members whose names were claimed and that answered, and when. Bounded by the members and by [`PROOF_AGE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Claims {
    answered: BTreeMap<NodeId, Time>,
}

impl Membership {
    /// Whether the sender may have the name it has.
    pub(super) fn name_objection(&mut self, now: Time, sync: &SyncRequest) -> Option<Refusal> {
        let subject = sync.record.id();
        if subject == self.me.id() {
            return self.objection_to_my_name(sync);
        }
        let known = self.view.member(subject)?;
        let address = known.record.address;
        // Two processes cannot listen on one address, so a claimant at the same address is the successor.
        let contested = known.is_live()
            && known.record.directory != sync.record.directory
            && address != sync.record.address;
        // Members that others have accepted are told apart by their generation, like everybody.
        if !contested || sync.joined {
            return None;
        }
        self.claims.answered.retain(|_, answered| now.since(*answered) <= PROOF_AGE_MAX);
        if self.claims.answered.contains_key(&subject) {
            self.counters.refused += 1;
            return Some(Refusal::NameInUse { address });
        }
        if !self.exchanges.any(|purpose| matches!(purpose, Purpose::Claim(id) if *id == subject)) {
            let request = Request::Ping { founding: self.founding_digest, target: subject };
            self.open_exchange(now, address, Purpose::Claim(subject), &request, self.config.exchange_timeout);
        }
        Some(Refusal::NameInDoubt)
    }

    /// The member whose name is claimed answers, from a data directory.
    pub(super) fn claim_answered(&mut self, now: Time, subject: NodeId, directory: u64) {
        if self.view.member(subject).is_some_and(|known| known.record.directory == directory) {
            self.claims.answered.insert(subject, now);
        }
    }

    /// Somebody speaks of this member, or of another with its name.
    pub(super) fn hear_of_myself(
        &mut self,
        now: Time,
        update: Update,
        record: Option<Arc<MemberRecord>>,
        informer: Option<SocketAddr>,
    ) {
        let mine = self.me.edition();
        if update.edition < mine {
            return;
        }
        if update.edition > mine {
            return match record {
                Some(record) => self.meet_rival(now, &update, &record),
                None => self.wants.note(update, informer),
            };
        }
        match update.claim {
            Claim::Remembered | Claim::Alive => {}
            Claim::Suspect { .. } if update.incarnation >= self.incarnation() => {
                self.refute(now, update, State::Suspect);
            }
            Claim::Down if update.incarnation >= self.incarnation() => self.refute(now, update, State::Down),
            Claim::Suspect { .. } | Claim::Down => {}
            // Only a new generation returns from that.
            Claim::Left => self.outbid(now, mine, State::Left),
        }
    }

    /// Somebody at `address` was asked whether it has this member's name.
    pub(super) fn rival_answered(
        &mut self,
        now: Time,
        edition: Edition,
        address: SocketAddr,
        rival: NodeId,
        directory: u64,
    ) {
        if rival == self.me.id() && directory != self.me.record.directory {
            let name = self.me.name().clone();
            self.emit(Event::Refused(Refused::NameInUse { name, address }));
        } else {
            self.outbid(now, edition, State::Alive);
        }
    }

    /// Goes on with a generation above `edition`, if that is not below the own one.
    pub(super) fn outbid(&mut self, now: Time, edition: Edition, as_state: State) {
        let generation = edition.generation.next();
        if edition < self.me.edition() || generation == self.me.record.generation {
            return;
        }
        let record = MemberRecord { generation, ..MemberRecord::clone(&self.me.record) };
        self.me = Member::new(now, Arc::new(record), Claim::Alive);
        self.enqueue(now, self.me.update);
        self.emit(Event::SelfAccused { as_state, life: self.me.life() });
    }

    fn objection_to_my_name(&self, sync: &SyncRequest) -> Option<Refusal> {
        if sync.record.directory == self.me.record.directory {
            Some(Refusal::Yourself)
        } else if sync.joined && sync.record.edition() > self.me.edition() {
            // It was accepted in my place; what I hear of it next is for me to act on.
            None
        } else {
            Some(Refusal::NameInUse { address: self.me.record.address })
        }
    }

    /// There is a later record with this member's name: a former life the cluster remembers, or another member.
    fn meet_rival(&mut self, now: Time, update: &Update, record: &MemberRecord) {
        let former_life = record.directory == self.me.record.directory
            || record.address == self.me.record.address
            || !matches!(update.claim, Claim::Alive | Claim::Suspect { .. });
        if former_life {
            return self.outbid(now, update.edition, State::Alive);
        }
        if !self.exchanges.any(|purpose| matches!(purpose, Purpose::Rival(_))) {
            let request = Request::Ping { founding: self.founding_digest, target: self.me.id() };
            let purpose = Purpose::Rival(update.edition);
            self.open_exchange(now, record.address, purpose, &request, self.config.exchange_timeout);
        }
    }

    /// Proves that this member is alive. SWIM §4.2; being accused is a sign of poor health (Lifeguard §4.1).
    fn refute(&mut self, now: Time, accusation: Update, as_state: State) {
        let Some(incarnation) = accusation.incarnation.next() else {
            return self.outbid(now, accusation.edition, as_state);
        };
        self.me.update.incarnation = incarnation;
        self.degrade(1);
        self.enqueue(now, self.me.update);
        self.emit(Event::SelfAccused { as_state, life: self.me.life() });
    }
}
