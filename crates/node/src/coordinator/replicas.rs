//! Asks replicas side by side, this member itself among them, and hands their answers over as they come.

use std::sync::Arc;
use std::time::Duration;

use chinwag_membership::NodeId;
use chinwag_storage::{KeyState, StoreKey};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use crate::core::{AskError, Core};
use crate::view::{Target, View};
use crate::wire::{MemberRequest, MemberResponse};

/// One replica's answer to a read or write.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) target: Target,
    pub(super) result: Result<T, String>,
}

/// Asks every target for `key`, each in a task of its own; answers arrive in the order they are given.
pub(super) fn read_all(
    core: &Arc<Core>,
    targets: &[Target],
    key: &StoreKey,
    deadline: Instant,
) -> mpsc::Receiver<Answer<Option<KeyState>>> {
    ask_all(core, targets, deadline, |core, target| {
        let key = key.clone();
        async move { core.read_at(target, key).await }
    })
}

/// Hands `state` to every target.
pub(super) fn write_all(
    core: &Arc<Core>,
    targets: &[Target],
    key: &StoreKey,
    state: &Arc<KeyState>,
    deadline: Instant,
) -> mpsc::Receiver<Answer<()>> {
    ask_all(core, targets, deadline, |core, target| {
        let (key, state) = (key.clone(), state.clone());
        async move { core.write_at(target, key, &state).await }
    })
}

fn ask_all<T, F>(
    core: &Arc<Core>,
    targets: &[Target],
    deadline: Instant,
    ask: impl Fn(Arc<Core>, Target) -> F,
) -> mpsc::Receiver<Answer<T>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, String>> + Send + 'static,
{
    let (sender, answers) = mpsc::channel(targets.len().max(1));
    for &target in targets {
        let (sender, asking) = (sender.clone(), ask(core.clone(), target));
        let task = async move {
            let result = match timeout_at(deadline, asking).await {
                Ok(result) => result,
                Err(_elapsed) => Err("no answer in time".to_owned()),
            };
            // The receiver may be gone: the request was given up.
            sender.send(Answer { target, result }).await.ok();
        };
        core.tasks.spawn(task.in_current_span());
    }
    answers
}

impl Core {
    async fn read_at(self: Arc<Self>, target: Target, key: StoreKey) -> Result<Option<KeyState>, String> {
        if target.replica == self.me {
            return self.read_here(&key).map_err(|error| error.to_string());
        }
        match self.ask_member(target.replica, &MemberRequest::Read(key)).await? {
            MemberResponse::State(state) => Ok(state),
            other => Err(surprise(&other)),
        }
    }

    async fn write_at(
        self: Arc<Self>,
        target: Target,
        key: StoreKey,
        state: &KeyState,
    ) -> Result<(), String> {
        if target.replica == self.me {
            return self.write_here(&key, state, target.hint_for).await;
        }
        self.write_to(target, key, state).await.map_err(|error| error.to_string())
    }

    /// Hands a state to another member and waits until it is stored there.
    pub(crate) async fn write_to(
        &self,
        target: Target,
        key: StoreKey,
        state: &KeyState,
    ) -> Result<(), AskError> {
        let request = MemberRequest::Write { key, state: state.clone(), hint_for: target.hint_for };
        match self.call_member(target.replica, &request).await? {
            MemberResponse::Stored => Ok(()),
            MemberResponse::NoSpace(reason) => {
                self.note_full(target.replica, &reason);
                Err(AskError::NoSpace(reason))
            }
            other => Err(AskError::Failed(surprise(&other))),
        }
    }
}

fn surprise(response: &MemberResponse) -> String {
    match response {
        MemberResponse::Failed(reason) => reason.clone(),
        _ => "the member answered another question".to_owned(),
    }
}

/// Names of the members in `nodes`.
pub(super) fn names(view: &View, nodes: impl IntoIterator<Item = NodeId>) -> Vec<String> {
    nodes.into_iter().map(|it| view.name(it)).collect()
}

/// The time a request may take, from now.
pub(super) fn deadline(timeout_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms.into())
}
