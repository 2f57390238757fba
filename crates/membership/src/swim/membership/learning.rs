//! Taking in what is said of members: which news is believed, and what follows from it.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Membership;
use crate::identity::NodeId;
use crate::swim::event::Event;
use crate::swim::member::{Member, State};
use crate::swim::record::MemberRecord;
use crate::swim::suspicion::Suspicion;
use crate::swim::time::Time;
use crate::swim::timers::Timer;
use crate::swim::update::{Claim, Update};
use crate::swim::wire::MEMBERS_MAX;

/// Where an update comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Source {
    /// This member's own probes and timers.
    Own,
    /// A datagram.
    Gossip {
        /// Where its sender can be asked for records, if the sender is known.
        informer: Option<SocketAddr>,
    },
    /// An exchange of views.
    Exchange {
        /// The other side.
        teller: NodeId,
        /// Where it can be asked for records.
        informer: SocketAddr,
        /// Whether it may be news to others as well.
        news: bool,
    },
}

impl Source {
    fn is_news(self) -> bool {
        !matches!(self, Self::Exchange { news: false, .. })
    }

    fn informer(self) -> Option<SocketAddr> {
        match self {
            Self::Own => None,
            Self::Gossip { informer } => informer,
            Self::Exchange { informer, .. } => Some(informer),
        }
    }
}

impl Membership {
    /// Believes the update if it is later than what is known. `record` is the one the update speaks of, if it came
    /// along; without it, a member's new edition has to wait until the record is fetched.
    pub(super) fn learn(
        &mut self,
        now: Time,
        update: Update,
        record: Option<Arc<MemberRecord>>,
        source: Source,
    ) {
        if update.subject == self.me.id() {
            return self.hear_of_myself(now, update, record, source.informer());
        }
        match self.view.member(update.subject) {
            Some(known) if known.edition() > update.edition => self.counters.stale += 1,
            Some(known) if known.edition() == update.edition => {
                let update = soften(update, known, source);
                if update.overrides(&known.update) {
                    let record = Arc::clone(&known.record);
                    self.adopt(now, update, record, source.is_news());
                } else if known.update.overrides(&update) {
                    self.counters.stale += 1;
                } else {
                    self.confirm(now, update, source);
                }
            }
            known => match record {
                Some(record)
                    if known
                        .map_or(self.view.len() < MEMBERS_MAX - 1, |it| it.record.name == record.name) =>
                {
                    self.adopt(now, update, record, source.is_news());
                }
                // There is no room, or two names have one handle.
                Some(_) => self.counters.refused += 1,
                None => self.want_record(now, update, source.informer()),
            },
        }
    }

    /// A suspicion that is known already, from another accuser. A view that was exchanged only repeats what its
    /// owner heard; it is no independent accusation.
    fn confirm(&mut self, now: Time, update: Update, source: Source) {
        if let (Claim::Suspect { by }, Source::Own | Source::Gossip { .. }) = (update.claim, source)
            && let Some(suspicion) = self.view.suspicion_mut(update.subject)
            && suspicion.confirm(now, by)
        {
            self.timers.set(Timer::Suspicion(update.subject), suspicion.deadline());
            self.enqueue(now, update);
        }
    }

    fn adopt(&mut self, now: Time, update: Update, record: Arc<MemberRecord>, news: bool) {
        let mut member = Member { record, update, suspicion: None, changed: now };
        if let Claim::Suspect { by } = update.claim {
            let suspicion = self.suspicion(now, by);
            self.timers.set(Timer::Suspicion(update.subject), suspicion.deadline());
            member.suspicion = Some(Box::new(suspicion));
        } else {
            self.timers.clear(Timer::Suspicion(update.subject));
        }
        let previous = self.view.put(member.clone());
        if news && update.claim != Claim::Remembered {
            self.enqueue(now, update);
        }
        if member.is_live() && !previous.as_ref().is_some_and(Member::is_live) {
            self.rotation.insert(&mut self.rng, update.subject);
            if self.view.live() == 1 {
                self.begin_syncs(now);
            }
        }
        self.follow(now, &member, previous.as_ref());
        self.announce(&member, previous.as_ref());
    }

    fn suspicion(&self, now: Time, accuser: NodeId) -> Suspicion {
        let (min, max) = self.config.suspicion(self.live());
        // Beside the suspect and this member there must be as many that could confirm.
        let enough = usize::try_from(self.config.confirmations).is_ok_and(|wanted| self.view.live() > wanted);
        let confirmations = if enough { self.config.confirmations } else { 0 };
        Suspicion::new(now, accuser, min, max, confirmations, self.config.confirmation_grace)
    }

    /// Tells the shell what has changed.
    fn announce(&mut self, member: &Member, previous: Option<&Member>) {
        let life = member.life();
        if previous.is_some_and(|previous| !previous.record.says_the_same(&member.record)) {
            self.emit(Event::MetaChanged { record: Arc::clone(&member.record) });
        }
        let before = previous.map(Member::state);
        let was_live = previous.is_some_and(|it| it.is_live() && it.record.is_same_start(&member.record));
        if member.is_live() && !was_live {
            self.emit(Event::Up { record: Arc::clone(&member.record), incarnation: member.incarnation() });
        }
        match member.state() {
            State::Alive if was_live && before == Some(State::Suspect) => self.emit(Event::Refuted(life)),
            State::Alive => {}
            State::Suspect if was_live && before == Some(State::Suspect) => {}
            State::Suspect => self.emit(Event::Suspect(life)),
            State::Down if before == Some(State::Down) => {}
            State::Down => self.emit(Event::Down(life)),
            State::Left if before == Some(State::Left) => {}
            State::Left => self.emit(Event::Left(life)),
        }
    }
}

/// What a view that was exchanged says of a member that counts as live here.
///
/// It may be old, so it must not kill: down becomes a suspicion, which the member itself can refute. This is also how
/// the members of one side of a healed partition learn that the other side had given them up.
fn soften(update: Update, known: &Member, source: Source) -> Update {
    match (update.claim, source) {
        (Claim::Down, Source::Exchange { teller, .. }) if known.is_live() => {
            Update { claim: Claim::Suspect { by: teller }, ..update }
        }
        _ => update,
    }
}
