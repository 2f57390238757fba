//! Asks replicas side by side, this member itself among them, and hands their answers over as they come.

use std::sync::Arc;
use std::time::Duration;

use chinwag_membership::NodeId;
use chinwag_storage::{KeyState, StoreKey};
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::{Instant, timeout_at};

use crate::core::{AskError, Core};
use crate::view::{Target, View};
use crate::wire::{MemberRequest, MemberResponse};
use crate::witness::Moment;

/// One replica's answer to a read or write.
#[derive(Debug)]
pub(super) struct Answer<T> {
    pub(super) target: Target,
    pub(super) result: Result<T, String>,
}

/// Replicas that were asked and have not all answered. They are asked while somebody waits for the next answer; dropping
/// it gives them up.
#[derive(Debug)]
pub(super) struct Asked<T> {
    asking: FuturesUnordered<BoxFuture<'static, Answer<T>>>,
    /// Those that have not answered, in the order they were asked.
    waiting: Vec<Target>,
    deadline: Instant,
}

impl<T> Asked<T> {
    fn new(targets: &[Target], deadline: Instant) -> Self {
        Self { asking: FuturesUnordered::new(), waiting: targets.to_vec(), deadline }
    }

    fn ask(&self, target: Target, asking: impl Future<Output = Result<T, String>> + Send + 'static) {
        self.asking.push(async move { Answer { target, result: asking.await } }.boxed());
    }

    /// The next answer; at the deadline the others have failed. `None` once each has answered or failed. Dropping the
    /// future loses no answer.
    pub(super) async fn next(&mut self) -> Option<Answer<T>> {
        let in_time = timeout_at(self.deadline, self.asking.next()).await.ok().flatten();
        let answer = match in_time {
            Some(answer) => answer,
            None => {
                self.asking.clear();
                let target = *self.waiting.first()?;
                Answer { target, result: Err("no answer in time".to_owned()) }
            }
        };
        self.waiting.retain(|&it| it != answer.target);
        Some(answer)
    }
}

/// Asks every target for `key`.
pub(super) fn read_all(
    core: &Arc<Core>,
    targets: &[Target],
    key: &StoreKey,
    trace: Option<u64>,
    deadline: Instant,
) -> Asked<KeyState> {
    let asked = Asked::new(targets, deadline);
    for &target in targets {
        let (core, key) = (core.clone(), key.clone());
        asked.ask(target, async move { core.read_at(target, key, trace).await });
    }
    asked
}

/// Hands `state` to every target.
pub(super) fn write_all(
    core: &Arc<Core>,
    targets: &[Target],
    key: &StoreKey,
    state: &Arc<KeyState>,
    trace: Option<u64>,
    deadline: Instant,
) -> Asked<()> {
    let asked = Asked::new(targets, deadline);
    for &target in targets {
        let (core, key, state) = (core.clone(), key.clone(), state.clone());
        asked.ask(target, async move { core.write_at(target, key, &state, trace).await });
    }
    asked
}

impl Core {
    async fn read_at(
        self: Arc<Self>,
        target: Target,
        key: StoreKey,
        trace: Option<u64>,
    ) -> Result<KeyState, String> {
        self.saw(trace, target.replica, Moment::Asked);
        let state = if target.replica == self.me {
            self.read_here(&key, trace).map_err(|error| error.to_string())?
        } else {
            match self.ask_member(target.replica, &MemberRequest::Read { key, trace }).await? {
                MemberResponse::State(state) => state,
                other => return Err(surprise(&other)),
            }
        };
        self.saw(trace, target.replica, Moment::Heard);
        Ok(state)
    }

    async fn write_at(
        self: Arc<Self>,
        target: Target,
        key: StoreKey,
        state: &KeyState,
        trace: Option<u64>,
    ) -> Result<(), String> {
        if target.replica == self.me {
            return self.write_here(&key, state, target.hint_for, trace).await;
        }
        self.saw(trace, target.replica, Moment::Asked);
        self.write_to(target, key, state, trace).await.map_err(|error| error.to_string())?;
        self.saw(trace, target.replica, Moment::Heard);
        Ok(())
    }

    /// Hands a state to another member and waits until it is stored there.
    pub(crate) async fn write_to(
        &self,
        target: Target,
        key: StoreKey,
        state: &KeyState,
        trace: Option<u64>,
    ) -> Result<(), AskError> {
        let request = MemberRequest::Write { key, state: state.clone(), hint_for: target.hint_for, trace };
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
