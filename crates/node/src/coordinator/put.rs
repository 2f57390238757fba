//! A put or delete: the coordinator is a replica of the key, gives the version its dot, and sends the whole state to
//! the other owners. An owner that cannot be reached gets a hint.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::wire::{Refusal, RefusalCode, Written};
use chinwag_membership::NodeId;
use chinwag_storage::{Causal, Content, KeyState};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::replicas::{Answer, deadline, names, write_all};
use super::{Place, internal, invalid, unavailable, unknown};
use crate::config::VALUE_BYTES_LIMIT;
use crate::core::Core;
use crate::view::{Target, View};
use crate::wire::{ForwardedPut, MemberRequest, MemberResponse};

/// Runs a put: coordinates it if this member is a replica of the key, forwards it to one otherwise.
pub(crate) async fn put(core: &Arc<Core>, put: ForwardedPut) -> Result<Written, Refusal> {
    let place = core.place(&put.key)?;
    let context = core.check(&place, &put)?;
    let view = core.view();
    if view.ring.is_owner(place.partition, core.me) {
        coordinate(core, &view, place, &context, put).await
    } else {
        forward(core, &view, &place, put).await
    }
}

impl Core {
    /// Refuses a bad put before anything is sent; opens its context.
    fn check(&self, place: &Place, put: &ForwardedPut) -> Result<Causal, Refusal> {
        if let Some(value) = &put.value
            && value.len() > self.config.value_bytes_max
        {
            return Err(invalid(format!(
                "the value has {} bytes, the limit is {}",
                value.len(),
                self.config.value_bytes_max
            )));
        }
        match &put.context {
            Some(sealed) => {
                self.context_key.open(sealed, &place.key).map_err(|error| invalid(error.to_string()))
            }
            None if put.value.is_none() => {
                Err(invalid("a delete needs the context of what it deletes: get the key first"))
            }
            None => Ok(Causal::default()),
        }
    }
}

impl Core {
    /// Refuses a put that would leave more siblings than can travel together. One that reconciles them is taken.
    fn check_siblings(&self, place: &Place, context: &Causal, value: Option<&Bytes>) -> Result<(), Refusal> {
        let state =
            self.store.get(&place.key).map_err(|error| internal(error.to_string()))?.unwrap_or_default();
        let left = state.siblings().iter().filter(|it| !context.covers(it.dot));
        let sizes: Vec<usize> = left
            .map(|it| match &it.content {
                Content::Value(value) => value.len(),
                Content::Tombstone => 0,
            })
            .collect();
        let bytes: usize = sizes.iter().sum();
        if bytes == 0 || bytes + value.map_or(0, Bytes::len) <= VALUE_BYTES_LIMIT {
            return Ok(());
        }
        Err(invalid(format!(
            "the key already has {} siblings of {bytes} bytes that this put has not seen: reconcile first, that is get \
             the key and put one value with the context you got",
            sizes.len()
        )))
    }
}

/// An owner that cannot be connected to in this time is passed over for the next one.
const FORWARD_CONNECT: Duration = Duration::from_millis(500);

/// Sends the put to the first owner that can be connected to; once it is sent, to no other.
async fn forward(
    core: &Arc<Core>,
    view: &View,
    place: &Place,
    put: ForwardedPut,
) -> Result<Written, Refusal> {
    let deadline = deadline(put.options.timeout_ms);
    let request = MemberRequest::Coordinate(put);
    for owner in view.reachable_owners(place.partition) {
        let Some(address) = view.address(owner) else { continue };
        let connected = deadline.min(Instant::now() + FORWARD_CONNECT);
        match timeout_at(connected, core.links.ready(address)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(%error, "trying the next owner");
                continue;
            }
            Err(_elapsed) => continue,
        }
        match timeout_at(deadline, core.call_member(owner, &request)).await {
            Ok(Ok(MemberResponse::Coordinated(result))) => return result,
            Ok(Ok(_)) => return Err(unknown(format!("{} answered another question", view.name(owner)))),
            Ok(Err(error)) if error.is_not_sent() => tracing::debug!(%error, "trying the next owner"),
            Ok(Err(error)) => return Err(unknown(error.to_string())),
            Err(_elapsed) => return Err(unknown(format!("{} did not answer in time", view.name(owner)))),
        }
    }
    Err(unavailable(0, 1, "owners"))
}

async fn coordinate(
    core: &Arc<Core>,
    view: &View,
    place: Place,
    context: &Causal,
    put: ForwardedPut,
) -> Result<Written, Refusal> {
    let options = put.options;
    let needed = core.needed(options.consistency)?;
    let sloppy = core.is_sloppy(options);
    let targets = view.targets(place.partition, sloppy);
    if targets.reachable.len() < needed {
        let what = if sloppy { "replicas" } else { "primaries" };
        return Err(unavailable(targets.reachable.len(), needed, what));
    }
    core.check_siblings(&place, context, put.value.as_ref())?;
    let deadline = deadline(options.timeout_ms);
    let content = put.value.map_or(Content::Tombstone, Content::Value);
    let written =
        core.store.put(&place.key, context, content).map_err(|error| internal(error.to_string()))?;
    let state = Arc::new(written.state);
    let others: Vec<Target> = targets.reachable.iter().copied().filter(|it| it.replica != core.me).collect();
    let answers = write_all(core, &others, &place.key, &state, deadline);
    // The version is on its way to the others while this replica makes it durable.
    written.commit.await.map_err(|error| internal(error.to_string()))?;
    let mut writes = Writes {
        core: core.clone(),
        place,
        state,
        acknowledged: vec![core.me],
        missed: targets.unserved,
        answers,
    };
    writes.gather(needed, deadline).await;
    let (have, key) = (writes.acknowledged.len(), writes.place.key.clone());
    let replicas = names(view, writes.acknowledged.iter().copied());
    core.tasks.spawn(writes.finish(deadline).in_current_span());
    if have < needed {
        return Err(unknown(format!(
            "{have} of {needed} replicas stored it in time ({})",
            replicas.join(", ")
        )));
    }
    let mut seen = context.clone();
    seen.insert(written.dot);
    let context = core.context_key.seal(&seen, &key);
    Ok(Written { context, dot: (written.dot.actor.0, written.dot.seq), replicas })
}

/// A put's writes to the other replicas, some of them perhaps still under way.
#[derive(Debug)]
struct Writes {
    core: Arc<Core>,
    place: Place,
    state: Arc<KeyState>,
    acknowledged: Vec<NodeId>,
    /// Primaries known not to have it.
    missed: Vec<NodeId>,
    answers: mpsc::Receiver<Answer<()>>,
}

impl Writes {
    async fn gather(&mut self, enough: usize, deadline: Instant) {
        while self.acknowledged.len() < enough {
            let Ok(Some(Answer { target, result })) = timeout_at(deadline, self.answers.recv()).await else {
                return;
            };
            match result {
                Ok(()) => self.acknowledged.push(target.replica),
                Err(reason) => {
                    tracing::debug!(%reason, "a replica missed a write");
                    self.missed.push(target.hint_for.unwrap_or(target.replica));
                }
            }
        }
    }

    /// Waits for the late answers, then parks a hint here for each primary that missed the write.
    async fn finish(mut self, deadline: Instant) {
        self.gather(usize::MAX, deadline).await;
        if !self.core.config.hinted_handoff {
            return;
        }
        for &primary in &self.missed {
            if let Err(reason) = self.core.write_here(&self.place.key, &self.state, Some(primary)).await {
                tracing::debug!(%reason, "no hint was kept; anti-entropy will repair");
            }
        }
    }
}

/// The answer to a member that forwarded a put: coordinated here or refused, never forwarded again.
pub(crate) async fn put_forwarded(core: &Arc<Core>, put: ForwardedPut) -> Result<Written, Refusal> {
    let place = core.place(&put.key)?;
    let context = core.check(&place, &put)?;
    let view = core.view();
    if !view.ring.is_owner(place.partition, core.me) {
        let message = "the members do not agree on the ring yet: try again".to_owned();
        return Err(Refusal { code: RefusalCode::Unavailable, message });
    }
    coordinate(core, &view, place, &context, put).await
}
