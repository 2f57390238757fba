//! Names: refuting what is said of this member, outliving its former lives, and telling a restarted member from
//! an impostor.
//!
//! A name belongs to whoever answers under it. A newcomer at another address that claims the name of a live member is
//! put off until that member has been asked. If it answers, the newcomer is refused. If it does not, a newcomer with
//! the same data directory is its successor; one with another directory has to wait until the old one counts as down.
//! Members that were accepted on two sides of a partition are told apart by their generation: the lower one gives way.

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
use crate::swim::wire::{Identification, Refusal, Request, SyncRequest};

/// How long it counts whether a member whose name was claimed answered. Longer than the pause before the claimant
/// asks again.
const EVIDENCE_AGE_MAX: Duration = Duration::from_secs(10);

/// Members whose names were claimed. Bounded by their number and by [`EVIDENCE_AGE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Claims(BTreeMap<NodeId, Evidence>);

/// Whether an edition of a member was there when it was asked.
#[derive(Debug)]
struct Evidence {
    edition: Edition,
    at: Time,
    answers: bool,
}

impl Membership {
    /// Whether the sender may have the name it has.
    pub(super) fn name_objection(&mut self, now: Time, sync: &SyncRequest) -> Option<Refusal> {
        let subject = sync.record.id();
        if subject == self.me.id() {
            return self.objection_to_my_name(sync);
        }
        let known = self.view.member(subject)?;
        let (address, edition) = (known.record.address, known.edition());
        // Two processes cannot listen on one address, so a claimant at the same address is the successor. Members
        // that others have accepted are told apart by their generation, like everybody.
        if !known.is_live() || address == sync.record.address || sync.joined {
            return None;
        }
        let successor = known.record.directory == sync.record.directory;
        self.claims.0.retain(|_, evidence| now.since(evidence.at) <= EVIDENCE_AGE_MAX);
        match self.claims.0.get(&subject).filter(|evidence| evidence.edition == edition) {
            Some(Evidence { answers: true, .. }) => {
                self.counters.refused += 1;
                Some(Refusal::NameInUse { address })
            }
            Some(Evidence { answers: false, .. }) if successor => None,
            Some(Evidence { answers: false, .. }) => Some(Refusal::NameInDoubt),
            None => {
                if !self.exchanges.any(|purpose| matches!(purpose, Purpose::Claim(id) if *id == subject)) {
                    let request = Request::Ping { founding: self.founding_digest, target: subject };
                    let timeout = self.config.exchange_timeout;
                    self.open_exchange(now, address, Purpose::Claim(subject), &request, timeout);
                }
                Some(Refusal::NameInDoubt)
            }
        }
    }

    /// Somebody answers where the member whose name is claimed was last known to be.
    pub(super) fn claim_answered(&mut self, now: Time, subject: NodeId, pong: Identification) {
        if let Some(known) = self.view.member(subject) {
            let (edition, answers) = (known.edition(), pong == known.record.identification());
            self.claims.0.insert(subject, Evidence { edition, at: now, answers });
        }
    }

    pub(super) fn claim_unanswered(&mut self, now: Time, subject: NodeId) {
        if let Some(edition) = self.view.member(subject).map(Member::edition) {
            self.claims.0.insert(subject, Evidence { edition, at: now, answers: false });
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
                None => self.want_record(now, update, informer),
            };
        }
        match update.claim {
            Claim::Remembered | Claim::Alive => {}
            Claim::Suspect { .. } if update.incarnation >= self.incarnation() => {
                self.refute(now, update, State::Suspect);
            }
            Claim::Down if update.incarnation >= self.incarnation() => self.refute(now, update, State::Down),
            // Whoever says so has missed the refutation: it rides on what is sent next, the answer to a probe first of all.
            Claim::Suspect { .. } | Claim::Down => self.enqueue(now, self.me.update),
            // Only a new generation returns from that.
            Claim::Left => self.outbid(now, mine, State::Left),
        }
    }

    /// Somebody answers where another member was said to have this one's name.
    pub(super) fn rival_answered(
        &mut self,
        now: Time,
        edition: Edition,
        at: SocketAddr,
        pong: Identification,
    ) {
        let mine = self.me.record.identification();
        if pong.id == mine.id && pong != mine {
            let name = self.me.name().clone();
            self.emit(Event::Refused(Refused::NameInUse { name, address: at }));
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
        let (mine, theirs) = (&self.me.record, &sync.record);
        if theirs.directory == mine.directory && theirs.address == mine.address {
            Some(Refusal::Yourself)
        } else if sync.joined && theirs.edition() > self.me.edition() {
            // It was accepted in my place; what I hear of it next is for me to act on.
            None
        } else {
            Some(Refusal::NameInUse { address: mine.address })
        }
    }

    /// There is a later record with this member's name: a former life the cluster remembers, or another member.
    fn meet_rival(&mut self, now: Time, update: &Update, record: &MemberRecord) {
        let believed_live = matches!(update.claim, Claim::Alive | Claim::Suspect { .. });
        if record.address == self.me.record.address || !believed_live {
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
