//! Answers the requests that arrive on streams: a client's from its coordinator, a member's from this replica.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::Role;
use chinwag_client::codec;
use chinwag_client::frame::{FrameReader, FrameSender};
use chinwag_client::wire::{DumpEntry, DumpPage, Located, Refusal, Request, Response, RingInfo, WireDot};
use chinwag_storage::{KeyState, Refusal as StoreRefusal, Sibling, StoreKey};
use serde::{Deserialize, Serialize};

use crate::buckets::Bucket;
use crate::changes;
use crate::coordinator::{self, internal};
use crate::core::Core;
use crate::gossip::{self, Answer};
use crate::metrics;
use crate::repair::{anti_entropy, exchange};
use crate::transport::serve::Service;
use crate::wire::{ForwardedPut, MemberRequest, MemberResponse};

/// Most records of one page of a dump.
const DUMP_PAGE: usize = 256;

/// Serves on behalf of a member.
#[derive(Debug)]
pub(crate) struct MemberService(pub(crate) Arc<Core>);

impl Service for MemberService {
    async fn answer(&self, role: Role, request: Bytes) -> Option<Bytes> {
        match role {
            Role::Member => {
                let request = codec::decode(&request).ok()?;
                let too_long = || MemberResponse::Failed(TOO_LONG.to_owned());
                Some(bounded(&answer_member(&self.0, request).await?, too_long))
            }
            Role::Client => {
                let request = codec::decode(&request).ok()?;
                let outcomes = self.0.counters.outcomes(&request);
                if outcomes.is_some() {
                    self.0.budget.asked();
                }
                let response = answer_client(&self.0, request).await;
                if let Some(outcomes) = outcomes {
                    outcomes.count(response.as_ref().err().map(|refusal| refusal.code));
                }
                let too_long = || Response::Refused(internal(TOO_LONG));
                Some(bounded(&response.unwrap_or_else(Response::Refused), too_long))
            }
        }
    }

    async fn exchange(
        &self,
        role: Role,
        opening: Bytes,
        reader: FrameReader,
        writer: FrameSender,
    ) -> Option<()> {
        match role {
            Role::Member => exchange::respond(&self.0, &opening, reader, writer).await,
            Role::Client => None,
        }
    }
}

const TOO_LONG: &str = "the answer is longer than a message may be";

/// The bytes of an answer, or of `too_long` if they are more than the other side would take.
fn bounded<T: Serialize>(answer: &T, too_long: impl FnOnce() -> T) -> Bytes {
    let bytes = codec::encode(answer);
    if bytes.len() > codec::MESSAGE_BYTES_MAX { codec::encode(&too_long()) } else { bytes }
}

/// The answer to a member; `None` if what it asked is nothing a member asks.
async fn answer_member(core: &Arc<Core>, request: MemberRequest) -> Option<MemberResponse> {
    if matches!(
        request,
        MemberRequest::Read { .. } | MemberRequest::Write { .. } | MemberRequest::Coordinate(_)
    ) {
        core.budget.asked();
    }
    Some(match request {
        MemberRequest::Read { key, trace } => match core.read_here(&key, trace) {
            Ok(state) => MemberResponse::State(state),
            Err(error) => MemberResponse::Failed(error.to_string()),
        },
        MemberRequest::Write { key, state, hint_for, trace } => {
            if let Some(reason) = no_space(core) {
                return Some(MemberResponse::NoSpace(reason));
            }
            match core.write_here(&key, &state, hint_for, trace).await {
                Ok(()) => MemberResponse::Stored,
                Err(reason) => MemberResponse::Failed(reason),
            }
        }
        MemberRequest::Coordinate(put) => match no_space(core) {
            Some(reason) => MemberResponse::NoSpace(reason),
            None => MemberResponse::Coordinated(coordinator::put_forwarded(core, put).await),
        },
        MemberRequest::Admit => no_space(core).map_or(MemberResponse::Stored, MemberResponse::NoSpace),
        MemberRequest::Membership(bytes) => match gossip::answer(core, bytes).await {
            Answer::Reply(bytes) => MemberResponse::Membership(bytes),
            Answer::Silence => {
                MemberResponse::Failed("the member is stopping or has nothing to say".to_owned())
            }
            Answer::Garbage => return None,
        },
        MemberRequest::Compare { from, roots } => anti_entropy::compare(core, from, &roots).await,
    })
}

/// What a write is refused with while the disk is full.
fn no_space(core: &Core) -> Option<String> {
    match core.store.admit() {
        Err(refusal @ StoreRefusal::NoSpace { .. }) => Some(refusal.to_string()),
        Err(StoreRefusal::Busy | StoreRefusal::Poisoned | StoreRefusal::Closed) | Ok(()) => None,
    }
}

async fn answer_client(core: &Arc<Core>, request: Request) -> Result<Response, Refusal> {
    match request {
        Request::Get { bucket, key, options: _, local: true, evidence } => {
            let place = core.place(bucket.as_deref(), &key)?;
            let state = core.store.read(&place.key).map_err(|error| internal(error.to_string()))?;
            let me = evidence.then(|| vec![core.config.name.to_string()]);
            Ok(Response::Got(core.got(&place, &state, me)))
        }
        Request::Get { bucket, key, options, local: false, evidence } => {
            let place = core.place(bucket.as_deref(), &key)?;
            coordinator::get(core, place, options, evidence).await.map(Response::Got)
        }
        Request::Put { bucket, key, value, context, options } => {
            let put = ForwardedPut { bucket, key, value, context, options };
            coordinator::put(core, put).await.map(Response::Written)
        }
        Request::Members => Ok(Response::Members(core.member_infos())),
        Request::Ring { bucket } => Ok(Response::Ring(ring_info(core, core.bucket(bucket.as_deref())?))),
        Request::Locate { bucket, key } => {
            let place = core.place(bucket.as_deref(), &key)?;
            let view = core.view();
            let names = |nodes: &[_]| nodes.iter().map(|&it| view.name(it)).collect();
            Ok(Response::Located(Located {
                position: place.key.position,
                partition: place.tree.partition,
                owners: names(view.owners(place.tree)),
                fallbacks: names(view.fallbacks(place.tree)),
            }))
        }
        Request::Dump { after } => dump(core, after).map(Response::Dump),
        Request::Backup { after } => backup(core, after),
        Request::Repair(scope) => anti_entropy::repair(core, &scope).await.map(Response::Repaired),
        Request::AntiEntropy { partition } => {
            let view = core.view();
            Ok(Response::AntiEntropy(core.pairs.status(partition, |member| view.name(member))))
        }
        Request::Metrics => Ok(Response::Metrics(metrics::metrics(core).await)),
        Request::Watch { after, patience_ms } => {
            let patience = Duration::from_millis(patience_ms.into());
            Ok(Response::Watched(changes::watch(core, after, patience).await))
        }
    }
}

fn ring_info(core: &Core, bucket: &Bucket) -> RingInfo {
    let view = core.view();
    let nodes: Vec<_> = view.names.keys().copied().collect();
    let index = |node| u16::try_from(nodes.binary_search(&node).unwrap_or(nodes.len())).unwrap_or(u16::MAX);
    let n = bucket.copies(core.founding.n).get();
    let owners = |it| view.ring.owners_of(it, n).iter().map(|&node| index(node)).collect();
    RingInfo {
        partitioner: core.founding.partitioner.to_string(),
        n,
        integer_keys: core.founding.key_space == chinwag_membership::KeySpace::Integers,
        members: view.names.values().cloned().collect(),
        owners: view.ring.partitions().iter().map(owners).collect(),
    }
}

/// Where a dump goes on: after a record, or after a hint.
#[derive(Debug, Serialize, Deserialize)]
enum Cursor {
    Record(StoreKey),
    Hint(u64, Option<StoreKey>),
}

fn dump(core: &Core, after: Option<Bytes>) -> Result<DumpPage, Refusal> {
    let cursor = match after {
        None => None,
        Some(bytes) => Some(
            codec::decode(&bytes)
                .map_err(|error| coordinator::invalid(format!("this is no dump cursor: {error}")))?,
        ),
    };
    let failed = |error: chinwag_storage::ReadError| internal(error.to_string());
    let now = core.now();
    let entry = |key: &StoreKey, state: &KeyState, hint_for| DumpEntry {
        bucket: core.config.buckets.name_of(key.bucket),
        key: core.founding.key_space.display(&key.key).into(),
        partition: core.founding.partitions.of(chinwag_membership::Position(key.position)).0,
        hint_for,
        versions: state.siblings().iter().map(|it| version(it, now)).collect(),
    };
    let (after_record, after_hint) = match cursor {
        None => (None, None),
        Some(Cursor::Record(key)) => (Some(key), None),
        Some(Cursor::Hint(target, key)) => (None, Some((target, key))),
    };
    if after_hint.is_none() {
        let page = core.store.scan(after_record.as_ref(), DUMP_PAGE).map_err(failed)?;
        let entries = page.states.iter().map(|(key, state)| entry(key, state, None)).collect();
        let next = page.next.map_or(Cursor::Hint(0, None), Cursor::Record);
        return Ok(DumpPage { entries, next: Some(codec::encode(&next)) });
    }
    let (first, after_key) = after_hint.unwrap_or_default();
    let backlogs = core.store.backlogs();
    let mut targets = backlogs.iter().map(|it| it.target).filter(|&it| it >= first);
    let Some(target) = targets.next() else { return Ok(DumpPage { entries: Vec::new(), next: None }) };
    let after = after_key.as_ref().filter(|_| target == first);
    let page = core.store.hints(target, after, DUMP_PAGE).map_err(failed)?;
    let name = core.view().name(chinwag_membership::NodeId(target));
    let entries = page.states.iter().map(|(key, state)| entry(key, state, Some(name.clone()))).collect();
    let next = match page.next {
        Some(key) => Some(Cursor::Hint(target, Some(key))),
        None => targets.next().map(|target| Cursor::Hint(target, None)),
    };
    Ok(DumpPage { entries, next: next.map(|it| codec::encode(&it)) })
}

fn backup(core: &Core, after: Option<Bytes>) -> Result<Response, Refusal> {
    let cursor = after.map(|bytes| codec::decode(&bytes)).transpose();
    let cursor =
        cursor.map_err(|error| coordinator::invalid(format!("this is no backup cursor: {error}")))?;
    let page = core.store.backup_page(cursor.as_ref()).map_err(|error| internal(error.to_string()))?;
    let next = page.next.as_ref().map(codec::encode);
    Ok(Response::Backup { page: codec::encode(&page), next })
}

fn version(sibling: &Sibling, now: u64) -> (WireDot, Option<Bytes>) {
    ((sibling.dot.actor.0, sibling.dot.seq), sibling.content.value_at(now).cloned())
}
