//! A put or delete: the coordinator is a replica of the key, gives the version its dot, and sends the whole state to
//! the other owners. An owner that cannot be reached gets a hint.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::wire::{Refusal, RefusalCode, Written};
use chinwag_membership::NodeId;
use chinwag_storage::{Causal, KeyState, PutLatestError, WriteError};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument;

use super::replicas::{Answer, Asked, deadline, names, write_all};
use super::{Place, internal, invalid, unavailable, unknown, wrong_kind};
use crate::buckets::Kind;
use crate::config::VALUE_BYTES_LIMIT;
use crate::core::Core;
use crate::stamps::too_far_ahead;
use crate::view::{Target, View};
use crate::wire::{ForwardedPut, MemberRequest, MemberResponse};
use crate::witness::Moment;

/// Runs a put: coordinates it if this member is a replica of the key, forwards it to one otherwise.
pub(crate) async fn put(core: &Arc<Core>, put: ForwardedPut) -> Result<Written, Refusal> {
    let (place, context) = core.check(&put)?;
    let view = core.view();
    // An owner without room for the version lets another give it.
    if view.is_owner(place.tree, core.me) && core.takes_writes(core.me) {
        coordinate(core, &view, place, &context, put).await
    } else {
        forward(core, &view, &place, put).await
    }
}

impl Core {
    /// Refuses a bad put before anything is sent; finds its key's place and opens its context.
    fn check(&self, put: &ForwardedPut) -> Result<(Place, Causal), Refusal> {
        let place = self.place(put.bucket.as_deref(), &put.key)?;
        place.needed(put.options.consistency)?;
        let limit = place.bucket.value_bytes_max.unwrap_or(self.config.value_bytes_max);
        if let Some(value) = put.value.as_ref().filter(|it| it.len() > limit) {
            return Err(invalid(format!("the value has {} bytes, the limit is {limit}", value.len())));
        }
        let context = match &put.context {
            Some(_) if place.bucket.kind == Kind::Lww => {
                return Err(wrong_kind(format!(
                    "the last writer wins in the bucket {}, whatever it has seen: give no context",
                    place.bucket.name
                )));
            }
            Some(sealed) => {
                self.context_key.open(sealed, &place.key).map_err(|error| invalid(error.to_string()))?
            }
            None if put.value.is_none() && place.bucket.kind == Kind::Siblings => {
                return Err(invalid("a delete needs the context of what it deletes: get the key first"));
            }
            None => Causal::default(),
        };
        Ok((place, context))
    }
}

/// What a sibling takes besides its value, at most: its dot and its length.
const SIBLING_BYTES: usize = 32;

impl Core {
    /// Refuses a put that would leave more siblings than its bucket allows, or than can travel together. One that
    /// reconciles them is taken.
    fn check_siblings(&self, place: &Place, context: &Causal, value: Option<&Bytes>) -> Result<(), Refusal> {
        let state =
            self.store.get(&place.key).map_err(|error| internal(error.to_string()))?.unwrap_or_default();
        let left = state.siblings().iter().filter(|it| !context.covers(it.dot));
        let sizes: Vec<usize> = left.map(|it| SIBLING_BYTES + it.content.value_bytes()).collect();
        let (count, bytes) = (sizes.len(), sizes.iter().sum::<usize>());
        let is_few = place.bucket.siblings_max.is_none_or(|most| count < most);
        if bytes == 0 || is_few && bytes + value.map_or(0, Bytes::len) <= VALUE_BYTES_LIMIT {
            return Ok(());
        }
        Err(invalid(format!(
            "the key already has {count} siblings of {bytes} bytes that this put has not seen: reconcile first, that is \
             get the key and put one value with the context you got"
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
    for owner in view.reachable_owners(place.tree) {
        if owner == core.me || !core.takes_writes(owner) {
            continue;
        }
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
        let left = deadline.saturating_duration_since(Instant::now());
        let mut put = put.clone();
        put.options.timeout_ms = u32::try_from(left.as_millis()).unwrap_or(u32::MAX).max(1);
        match timeout_at(deadline, core.call_member(owner, &MemberRequest::Coordinate(put))).await {
            Ok(Ok(MemberResponse::Coordinated(result))) => return result,
            Ok(Ok(MemberResponse::NoSpace(reason))) => core.note_full(owner, &reason),
            Ok(Ok(_)) => return Err(unknown(format!("{} answered another question", view.name(owner)))),
            Ok(Err(error)) if error.is_not_sent() => tracing::debug!(%error, "trying the next owner"),
            Ok(Err(error)) => return Err(unknown(error.to_string())),
            Err(_elapsed) => return Err(unknown(format!("{} did not answer in time", view.name(owner)))),
        }
    }
    Err(core.with_refusals(view, place, unavailable(0, 1, "owners")))
}

impl Core {
    /// The refusal of a put, with what the owners that take no writes say of it.
    fn with_refusals(&self, view: &View, place: &Place, mut refusal: Refusal) -> Refusal {
        for &owner in view.owners(place.tree) {
            if let Some(reason) = self.refuses_writes(owner) {
                refusal.message.push_str(&format!("; {} takes no writes: {reason}", view.name(owner)));
            }
        }
        refusal
    }
}

async fn coordinate(
    core: &Arc<Core>,
    view: &View,
    place: Place,
    context: &Causal,
    put: ForwardedPut,
) -> Result<Written, Refusal> {
    let options = put.options;
    let needed = place.needed(options.consistency)?;
    let sloppy = core.is_sloppy(options);
    let targets = view.targets_that(place.tree, sloppy, |it| core.takes_writes(it));
    if targets.countable(needed) < needed {
        let what = if sloppy { "replicas" } else { "primaries" };
        let refusal = unavailable(targets.countable(needed), needed, what);
        return Err(core.with_refusals(view, &place, refusal));
    }
    let deadline = deadline(options.timeout_ms);
    core.saw(options.trace, core.me, Moment::Asked);
    let written = core.give_version(&place, context, put.value)?;
    core.saw(options.trace, core.me, Moment::Served);
    let state = Arc::new(written.state);
    let others =
        targets.primaries.iter().chain(&targets.stand_ins).copied().filter(|it| it.replica != core.me);
    let others: Vec<Target> = others.collect();
    let answers = write_all(core, &others, &place.key, &state, options.trace, deadline);
    let context = core.seal(&place, &written.context);
    let mut writes = Writes {
        core: core.clone(),
        place,
        state,
        stand_ins_counted: targets.stand_ins_counted(needed),
        primaries: Vec::new(),
        stand_ins: Vec::new(),
        missed: targets.unserved,
        reasons: Vec::new(),
        answers,
    };
    // The version is on its way to the others while this replica makes it durable.
    match writes.gather_during(timeout_at(deadline, written.commit)).await {
        Ok(durable) => durable.map_err(|error| internal(error.to_string()))?,
        Err(_elapsed) => return Err(unknown("this member's disk did not store it in time")),
    }
    core.saw(options.trace, core.me, Moment::Heard);
    writes.primaries.push(core.me);
    writes.gather(needed).await;
    let (have, replicas) = (writes.counted(), names(view, writes.have()));
    let reasons = std::mem::take(&mut writes.reasons);
    core.tasks.spawn(writes.finish().in_current_span());
    if have < needed {
        let replicas = replicas.join(", ");
        let reasons: String = reasons.iter().map(|reason| format!("; {reason}")).collect();
        return Err(unknown(format!("{have} of {needed} replicas stored it in time ({replicas}){reasons}")));
    }
    Ok(Written { context, dot: (written.dot.actor.0, written.dot.seq), replicas })
}

impl Core {
    /// Gives a write its version, as the kind of its bucket has it.
    fn give_version(
        &self,
        place: &Place,
        context: &Causal,
        value: Option<Bytes>,
    ) -> Result<chinwag_storage::Written, Refusal> {
        let now = self.now();
        if place.bucket.kind == Kind::Siblings {
            self.check_siblings(place, context, value.as_ref())?;
            let written = self.store.put(&place.key, context, place.bucket.content(value, now), now);
            return written.map_err(|error| cannot_write(&error));
        }
        let content = place.bucket.content(value, now);
        let written = self.store.put_latest(&place.key, &self.stamps.next(now), content);
        let written = written.map_err(|error| match error {
            PutLatestError::Write(error) => cannot_write(&error),
            PutLatestError::Ahead(stamp) => Refusal {
                code: RefusalCode::Unavailable,
                message: format!("the key cannot be written now: {}", too_far_ahead(stamp, now)),
            },
        })?;
        if let Some(stamp) = written.state.stamp() {
            // It is within the bound: it was given so.
            self.stamps.take(stamp, now).ok();
        }
        Ok(written)
    }
}

/// A store that takes no write has changed nothing.
fn cannot_write(error: &WriteError) -> Refusal {
    Refusal {
        code: RefusalCode::Unavailable,
        message: format!("the coordinating member cannot write: {error}"),
    }
}

/// A put's writes to the other replicas, some of them perhaps still under way.
#[derive(Debug)]
struct Writes {
    core: Arc<Core>,
    place: Place,
    state: Arc<KeyState>,
    /// Owners that have it.
    primaries: Vec<NodeId>,
    /// Fallbacks that keep it as a hint.
    stand_ins: Vec<NodeId>,
    /// How many of them count.
    stand_ins_counted: usize,
    /// Primaries known not to have it.
    missed: Vec<NodeId>,
    /// Why, as they said themselves.
    reasons: Vec<String>,
    answers: Asked<()>,
}

impl Writes {
    /// The answers that count towards the level.
    fn counted(&self) -> usize {
        self.primaries.len() + self.stand_ins.len().min(self.stand_ins_counted)
    }

    /// Everyone who has it.
    fn have(&self) -> impl Iterator<Item = NodeId> {
        self.primaries.iter().chain(&self.stand_ins).copied()
    }

    async fn gather(&mut self, enough: usize) {
        while self.counted() < enough
            && let Some(answer) = self.answers.next().await
        {
            self.take(answer);
        }
    }

    /// Takes in what answers come until `done`.
    async fn gather_during<T>(&mut self, done: impl Future<Output = T>) -> T {
        let mut done = pin!(done);
        loop {
            tokio::select! {
                biased;
                Some(answer) = self.answers.next() => self.take(answer),
                done = &mut done => return done,
            }
        }
    }

    fn take(&mut self, Answer { target, result }: Answer<()>) {
        match (result, target.hint_for) {
            (Ok(()), None) => self.primaries.push(target.replica),
            (Ok(()), Some(_)) => self.stand_ins.push(target.replica),
            (Err(reason), hint_for) => {
                tracing::debug!(%reason, "a replica missed a write");
                self.missed.push(hint_for.unwrap_or(target.replica));
                self.reasons.push(reason);
            }
        }
    }

    /// Waits for the late answers, then parks a hint here for each primary that missed the write.
    async fn finish(mut self) {
        self.gather(usize::MAX).await;
        // A member that stops fails its own requests: nobody missed anything.
        if !self.core.config.hinted_handoff || self.core.stop.is_cancelled() {
            return;
        }
        for &primary in &self.missed {
            if let Err(reason) = self.core.write_here(&self.place.key, &self.state, Some(primary), None).await
            {
                tracing::debug!(%reason, "no hint was kept; anti-entropy will repair");
            }
        }
    }
}

/// The answer to a member that forwarded a put: coordinated here or refused, never forwarded again.
pub(crate) async fn put_forwarded(core: &Arc<Core>, put: ForwardedPut) -> Result<Written, Refusal> {
    let (place, context) = core.check(&put)?;
    let view = core.view();
    if !view.is_owner(place.tree, core.me) {
        let message = "the members do not agree on the ring yet: try again".to_owned();
        return Err(Refusal { code: RefusalCode::Unavailable, message });
    }
    coordinate(core, &view, place, &context, put).await
}
