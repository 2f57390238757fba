//! What is believed of one member, and the view: what is believed of all others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::{Edition, Generation, Incarnation, MemberRecord, Remembered};
use super::suspicion::Suspicion;
use super::time::Time;
use super::update::{Claim, Update};
use crate::identity::{Name, NodeId};

/// Whether a member is believed to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It answers.
    Alive,
    /// Somebody's probe failed; it has a while to refute. It still counts as there.
    Suspect,
    /// It did not refute in time, or is only remembered from the last run. It keeps what it owns.
    Down,
    /// It said goodbye. It keeps what it owns, and nobody waits for it.
    Left,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        })
    }
}

/// A member as this one believes it to be.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) record: Arc<MemberRecord>,
    pub(super) update: Update,
    /// Apart, as few members are suspects at a time.
    pub(super) suspicion: Option<Box<Suspicion>>,
    /// When the state was last changed.
    pub(super) changed: Time,
}

/// One incarnation of a member: what a log line or a metric about it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// The member's name.
    pub name: Name,
    /// Which of its starts.
    pub generation: Generation,
    /// How often it has refuted since then.
    pub incarnation: Incarnation,
}

impl Member {
    pub(super) fn new(now: Time, record: Arc<MemberRecord>, claim: Claim) -> Self {
        let (subject, edition) = (record.id(), record.edition());
        let update = Update { subject, edition, incarnation: Incarnation::default(), claim };
        Self { record, update, suspicion: None, changed: now }
    }

    /// The member's handle.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.update.subject
    }

    /// What the member says of itself.
    #[must_use]
    pub fn record(&self) -> &Arc<MemberRecord> {
        &self.record
    }

    /// The member's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.record.name
    }

    /// Whether it is believed to be there.
    #[must_use]
    pub fn state(&self) -> State {
        match self.update.claim {
            Claim::Alive => State::Alive,
            Claim::Suspect { .. } => State::Suspect,
            Claim::Down | Claim::Remembered => State::Down,
            Claim::Left => State::Left,
        }
    }

    /// Whether nothing was heard of it since this member started: it was there when that last ran.
    #[must_use]
    pub fn is_remembered(&self) -> bool {
        self.update.claim == Claim::Remembered
    }

    /// How often the member has refuted since its start.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.update.incarnation
    }

    /// Whether requests may be sent to it: it is alive, or suspect and may still refute.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.state(), State::Alive | State::Suspect)
    }

    /// Whose probe failed, of a suspect.
    #[must_use]
    pub fn accuser(&self) -> Option<NodeId> {
        match self.update.claim {
            Claim::Suspect { by } => Some(by),
            Claim::Remembered | Claim::Alive | Claim::Down | Claim::Left => None,
        }
    }

    /// What to keep of it for the next run.
    #[must_use]
    pub fn remember(&self) -> Remembered {
        Remembered { record: Arc::clone(&self.record), left: self.state() == State::Left }
    }

    /// Whether gossip is worth sending to it: it is live, or has not been down for longer than `horizon`.
    pub(super) fn can_hear(&self, now: Time, horizon: Duration) -> bool {
        match self.update.claim {
            Claim::Alive | Claim::Suspect { .. } => true,
            Claim::Down => now.since(self.changed) < horizon,
            Claim::Remembered | Claim::Left => false,
        }
    }

    pub(super) fn edition(&self) -> Edition {
        self.update.edition
    }

    pub(super) fn life(&self) -> Life {
        Life {
            name: self.record.name.clone(),
            generation: self.record.generation,
            incarnation: self.update.incarnation,
        }
    }
}

/// All members but this one.
#[derive(Debug, Default)]
pub(super) struct View {
    members: BTreeMap<NodeId, Member>,
    live: usize,
}

impl FromIterator<Member> for View {
    fn from_iter<T: IntoIterator<Item = Member>>(members: T) -> Self {
        let members: BTreeMap<NodeId, Member> =
            members.into_iter().map(|member| (member.id(), member)).collect();
        let live = members.values().filter(|member| member.is_live()).count();
        Self { members, live }
    }
}

impl View {
    /// Puts `member` in the place of what was believed of it, which is returned.
    pub(super) fn put(&mut self, member: Member) -> Option<Member> {
        self.live += usize::from(member.is_live());
        let previous = self.members.insert(member.id(), member);
        self.live -= usize::from(previous.as_ref().is_some_and(Member::is_live));
        previous
    }

    pub(super) fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// The suspicion of a member, to be confirmed or put off.
    pub(super) fn suspicion_mut(&mut self, id: NodeId) -> Option<&mut Suspicion> {
        self.members.get_mut(&id)?.suspicion.as_deref_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    /// How many others are alive or suspect.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn is_live(&self, id: NodeId) -> bool {
        self.member(id).is_some_and(Member::is_live)
    }
}
