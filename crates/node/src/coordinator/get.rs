//! A get: every reachable replica is asked, the first R answers are merged and returned, the rest still count for read
//! repair.

use std::sync::Arc;

use bytes::Bytes;
use chinwag_client::wire::{Evidence, Got, GotSibling, Refusal, RequestOptions};
use chinwag_storage::{Causal, Dot, KeyState};
use tokio::time::Instant;
use tracing::Instrument;

use super::replicas::{Answer, Asked, deadline, names, read_all, write_all};
use super::{Place, unavailable, unknown};
use crate::buckets::Kind;
use crate::core::{Core, MEMBER_TIMEOUT};
use crate::view::{Target, View};

/// Runs a get as its coordinator.
pub(crate) async fn get(
    core: &Arc<Core>,
    place: Place,
    options: RequestOptions,
    evidence: bool,
) -> Result<Got, Refusal> {
    let needed = place.needed(options.consistency)?;
    let view = core.view();
    let sloppy = core.is_sloppy(options);
    let targets = view.targets(place.tree, sloppy);
    if targets.countable(needed) < needed {
        let what = if sloppy { "replicas" } else { "primaries" };
        return Err(unavailable(targets.countable(needed), needed, what));
    }
    let stand_ins = &targets.stand_ins[..targets.stand_ins_counted(needed)];
    let targets = [&targets.primaries, stand_ins].concat();
    let deadline = deadline(options.timeout_ms);
    let mut read = Read::default();
    let mut answers = read_all(core, &targets, &place.key, options.trace, deadline);
    read.gather(&mut answers, needed).await;
    if read.answered.len() < needed {
        let reasons = read.failed.join("; ");
        return Err(unknown(format!(
            "{} of {needed} replicas answered in time ({reasons})",
            read.answered.len()
        )));
    }
    let got = core.render(&place, &view, &read, evidence);
    if core.config.read_repair {
        core.tasks.spawn(repair(core.clone(), place, read, answers).in_current_span());
    } else if options.trace.is_some() {
        // Whoever follows the request wants to know of its late answers too.
        core.tasks.spawn(async move { read.gather(&mut answers, usize::MAX).await }.in_current_span());
    }
    Ok(got)
}

/// The answers so far.
#[derive(Debug, Default)]
struct Read {
    /// What those hold that hold anything: what the others may be given.
    merged: KeyState,
    /// What those have seen the end of that hold nothing: for the client alone.
    over: KeyState,
    answered: Vec<(Target, KeyState)>,
    failed: Vec<String>,
}

impl Read {
    /// Takes answers in until `enough` replicas have answered or none is left.
    async fn gather(&mut self, answers: &mut Asked<KeyState>, enough: usize) {
        while self.answered.len() < enough {
            let Some(Answer { target, result }) = answers.next().await else { return };
            match result {
                Ok(state) if state.siblings().is_empty() => {
                    self.over.merge(&state);
                    self.answered.push((target, KeyState::default()));
                }
                Ok(state) => {
                    self.merged.merge(&state);
                    self.answered.push((target, state));
                }
                Err(reason) => self.failed.push(reason),
            }
        }
    }
}

/// Read repair: waits for the late answers, then hands the merged state to every owner that answered with less. What a
/// fallback lacks is none of its business.
async fn repair(core: Arc<Core>, place: Place, mut read: Read, mut answers: Asked<KeyState>) {
    read.gather(&mut answers, usize::MAX).await;
    let lags = |(target, state): &&(Target, KeyState)| target.hint_for.is_none() && *state != read.merged;
    let lagging: Vec<Target> = read.answered.iter().filter(lags).map(|(target, _)| *target).collect();
    if lagging.is_empty() {
        return;
    }
    let deadline = Instant::now() + MEMBER_TIMEOUT;
    let merged = Arc::new(read.merged);
    let mut repaired = write_all(&core, &lagging, &place.key, &merged, None, deadline);
    while let Some(Answer { result, .. }) = repaired.next().await {
        match result {
            Ok(()) => core.counters.read_repairs.increment(),
            Err(reason) => tracing::debug!(%reason, "read repair did not reach a replica; anti-entropy will"),
        }
    }
}

impl Core {
    fn render(&self, place: &Place, view: &View, read: &Read, evidence: bool) -> Got {
        let replicas = || names(view, read.answered.iter().map(|(target, _)| target.replica));
        let mut seen = read.merged.clone();
        seen.merge(&read.over);
        self.got(place, &seen, evidence.then(replicas))
    }

    /// The context a client is given: none where the last writer wins, whatever it has seen.
    pub(super) fn seal(&self, place: &Place, context: &Causal) -> Bytes {
        match place.bucket.kind {
            Kind::Siblings => self.context_key.seal(context, &place.key),
            Kind::Lww => Bytes::new(),
        }
    }

    /// The client's form of `state`; with evidence if the replicas that gave it are named.
    pub(crate) fn got(&self, place: &Place, state: &KeyState, replicas: Option<Vec<String>>) -> Got {
        let now = self.now();
        let mut siblings = Vec::new();
        let mut tombstones = Vec::new();
        for sibling in state.siblings() {
            let dot = (sibling.dot.actor.0, sibling.dot.seq);
            match sibling.content.value_at(now) {
                Some(value) => siblings.push(GotSibling { dot, value: value.clone() }),
                None => tombstones.push(dot),
            }
        }
        let context = self.seal(place, state.context());
        let evidence = replicas.map(|replicas| {
            let beyond = state.context().runs().filter(|(first, _)| first.seq > 1);
            let dots =
                beyond.flat_map(|(Dot { actor, seq }, last)| (seq..=last).map(move |it| (actor.0, it)));
            Evidence {
                vv: state.context().vector().map(|(actor, seq)| (actor.0, seq)).collect(),
                dots: dots.collect(),
                tombstones,
                replicas,
            }
        });
        Got { siblings, context, evidence }
    }
}
