//! Owns which members have said that they take no writes now, because their disk is full. Refuses to guess: a member is
//! believed until it says otherwise, and it is asked every second.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chinwag_client::wire::MemberInfo;
use chinwag_membership::NodeId;
use tokio::time::timeout;

use crate::core::{Core, MEMBER_TIMEOUT};
use crate::wire::{MemberRequest, MemberResponse};

/// Members that take no writes, and why.
#[derive(Debug, Default)]
pub(crate) struct FullMembers(Mutex<BTreeMap<NodeId, String>>);

impl FullMembers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Why the member takes no writes; `None` if it does, as far as is known.
    pub(crate) fn refuses_writes(&self, member: NodeId) -> Option<String> {
        if member == self.me {
            return self.store.admit().err().map(|refusal| refusal.to_string());
        }
        self.full.lock().get(&member).cloned()
    }

    pub(crate) fn takes_writes(&self, member: NodeId) -> bool {
        if member == self.me { self.store.admit().is_ok() } else { !self.full.lock().contains_key(&member) }
    }

    /// Takes in that a member has refused a write: until it takes them again it is passed over.
    pub(crate) fn note_full(&self, member: NodeId, reason: &str) {
        if self.full.lock().insert(member, reason.to_owned()).is_none() {
            tracing::warn!(member = %self.view().name(member), %reason, "a member takes no writes");
        }
    }

    /// Asks the members that took no writes whether they do now. One that does not answer is no longer believed: whether
    /// it can be reached at all is the view's business.
    pub(crate) async fn ask_full_members(&self) {
        let members: Vec<NodeId> = self.full.lock().keys().copied().collect();
        for member in members {
            let answer = timeout(MEMBER_TIMEOUT, self.call_member(member, &MemberRequest::Admit)).await;
            if let Ok(Ok(MemberResponse::NoSpace(reason))) = answer {
                self.note_full(member, &reason);
            } else {
                self.full.lock().remove(&member);
                tracing::info!(member = %self.view().name(member), "a member is given writes again");
            }
        }
    }

    /// The members as clients are told of them, in name order.
    pub(crate) fn member_infos(&self) -> Vec<MemberInfo> {
        let view = self.view();
        let info = |(&node, known): (&NodeId, &crate::view::KnownMember)| MemberInfo {
            refuses_writes: self.refuses_writes(node),
            ..known.info.clone()
        };
        let mut infos: Vec<_> = view.members.iter().map(info).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        infos
    }
}
