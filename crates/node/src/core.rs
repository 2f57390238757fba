//! What all parts of a running member share: its settings, its store, its connections and its view of the cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::codec;
use chinwag_client::wire::{MemberState, RefusalCode, Request};
use chinwag_membership::{Founding, NodeId};
use chinwag_merkle::TreeKey;
use chinwag_storage::{ContextKey, Store};
use rand::rngs::StdRng;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::changes::Changes;
use crate::config::Config;
use crate::full::FullMembers;
use crate::gossip::GossipInput;
use crate::parts::WallClock;
use crate::queues::Queues;
use crate::repair::budget::Budget;
use crate::repair::log::RepairLog;
use crate::repair::pairs::Pairs;
use crate::stamps::Stamps;
use crate::tasks::Tasks;
use crate::transport::data::{LinkError, Links};
use crate::transport::endpoint::Endpoint;
use crate::transport::gossip::Datagrams;
use crate::view::View;
use crate::wire::{MemberRequest, MemberResponse};
use crate::witness::Witness;

/// A member is given up on after this long where no client waits with a patience of its own.
pub(crate) const MEMBER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) me: NodeId,
    pub(crate) config: Config,
    pub(crate) founding: Founding,
    pub(crate) store: Store,
    pub(crate) context_key: ContextKey,
    pub(crate) tree_key: TreeKey,
    pub(crate) clock: Arc<dyn WallClock>,
    pub(crate) stamps: Stamps,
    pub(crate) witness: Option<Arc<dyn Witness>>,
    pub(crate) links: Links,
    pub(crate) tasks: Tasks,
    /// Everything ends.
    pub(crate) stop: CancellationToken,
    /// Requests being answered.
    pub(crate) answering: Tasks,
    /// No more requests are taken.
    pub(crate) closing: CancellationToken,
    pub(crate) view: Mutex<Arc<View>>,
    pub(crate) gossip: mpsc::Sender<GossipInput>,
    /// A member came back: hints for it may be delivered.
    pub(crate) hints_due: Notify,
    /// One round at a time that this member opened.
    pub(crate) exchange_out: Semaphore,
    /// As many exchanges as one round of another member opens.
    pub(crate) exchange_in: Semaphore,
    /// Members that miss a write for which no hint could be kept.
    pub(crate) owed: Mutex<BTreeSet<NodeId>>,
    pub(crate) budget: Budget,
    pub(crate) pairs: Pairs,
    /// What exchanges changed here.
    pub(crate) repaired: RepairLog,
    pub(crate) rng: Mutex<StdRng>,
    pub(crate) counters: Counters,
    pub(crate) queues: Arc<Queues>,
    /// What became of the members.
    pub(crate) changes: Changes,
    /// Where it listens: for data and clients, and for gossip.
    pub(crate) endpoints: [Endpoint; 2],
    pub(crate) datagrams: Arc<Datagrams>,
    /// Other members whose disks are full.
    pub(crate) full: FullMembers,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn increment(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a member has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) member_requests: Counter,
    pub(crate) read_repairs: Counter,
    pub(crate) hints_delivered: Counter,
    pub(crate) exchanges: Counter,
    pub(crate) keys_repaired: Counter,
    pub(crate) repair_bytes: Counter,
    pub(crate) repair_round_trips: Counter,
    pub(crate) tombstones_purged: Counter,
    pub(crate) gets: Outcomes,
    pub(crate) puts: Outcomes,
    pub(crate) deletes: Outcomes,
}

impl Counters {
    /// Where the outcome of this request counts; requests that only look at the cluster do not.
    pub(crate) fn outcomes(&self, request: &Request) -> Option<&Outcomes> {
        match request {
            Request::Get { .. } => Some(&self.gets),
            Request::Put { value: Some(_), .. } => Some(&self.puts),
            Request::Put { value: None, .. } => Some(&self.deletes),
            Request::Members
            | Request::Ring { .. }
            | Request::Locate { .. }
            | Request::Dump { .. }
            | Request::Repair(_)
            | Request::AntiEntropy { .. }
            | Request::Metrics
            | Request::Backup { .. }
            | Request::Watch { .. } => None,
        }
    }
}

/// How requests of one kind came out at this coordinator.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    pub(crate) ok: Counter,
    pub(crate) invalid: Counter,
    pub(crate) unavailable: Counter,
    pub(crate) unknown: Counter,
    pub(crate) internal: Counter,
}

impl Outcomes {
    pub(crate) fn count(&self, refused: Option<RefusalCode>) {
        let outcome = match refused {
            None => &self.ok,
            Some(RefusalCode::Invalid | RefusalCode::WrongKind) => &self.invalid,
            Some(RefusalCode::Unavailable) => &self.unavailable,
            Some(RefusalCode::Unknown) => &self.unknown,
            Some(RefusalCode::Internal) => &self.internal,
        };
        outcome.increment();
    }
}

/// A request to another member has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// It never left; asking another member is safe.
    #[error("{0}")]
    NotSent(String),
    /// The other side is of another cluster, or this one is.
    #[error("{0}")]
    Refused(String),
    /// It may have been carried out.
    #[error("{0}")]
    NoAnswer(String),
    /// It arrived and could not be done.
    #[error("{0}")]
    Failed(String),
    /// It arrived and the member has no room for it: it changed nothing, and the member takes no writes for a while.
    #[error("{0}")]
    NoSpace(String),
}

impl AskError {
    pub(crate) fn is_not_sent(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::Refused(_))
    }
}

impl From<LinkError> for AskError {
    fn from(error: LinkError) -> Self {
        let reason = error.to_string();
        match error {
            LinkError::NotSent { .. } => Self::NotSent(reason),
            LinkError::Refused { .. } => Self::Refused(reason),
            LinkError::NoAnswer { .. } => Self::NoAnswer(reason),
        }
    }
}

impl Core {
    /// The view as it is now; it does not change under the caller.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_view(&self, view: View) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
    }

    /// Hints kept for members that are believed alive, and so owed to them.
    pub(crate) fn hints_owed(&self) -> u64 {
        let view = self.view();
        let alive =
            |target| view.members.get(&NodeId(target)).is_some_and(|it| it.info.state == MemberState::Alive);
        self.store.backlogs().iter().filter(|it| alive(it.target)).map(|it| it.hints).sum()
    }

    /// Hands something to the membership machine, waiting while its queue is full; false if the machine has ended.
    pub(crate) async fn tell_gossip(&self, input: GossipInput) -> bool {
        let told = self.gossip.send(input).await.is_ok();
        self.queues.gossip_inputs.note_channel(&self.gossip);
        told
    }

    /// Asks a member and waits as long as the connection lives; callers bound it.
    pub(crate) async fn call_member(
        &self,
        member: NodeId,
        request: &MemberRequest,
    ) -> Result<MemberResponse, AskError> {
        let address = self.view().address(member);
        let address = address.ok_or_else(|| AskError::NotSent(format!("{member} has never been met")))?;
        self.call_address(address, codec::encode(request)).await
    }

    pub(crate) async fn call_address(
        &self,
        address: SocketAddr,
        request: Bytes,
    ) -> Result<MemberResponse, AskError> {
        self.counters.member_requests.increment();
        let answer = self.links.call(address, request).await?;
        codec::decode(&answer).map_err(|error| {
            AskError::NoAnswer(format!("{address} sent an answer that makes no sense: {error}"))
        })
    }

    /// As [`Core::call_member`], for callers that only report why it failed.
    pub(crate) async fn ask_member(
        &self,
        member: NodeId,
        request: &MemberRequest,
    ) -> Result<MemberResponse, String> {
        self.call_member(member, request).await.map_err(|error| error.to_string())
    }

    /// Wall time in milliseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.clock.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Draws from the member's seeded randomness.
    pub(crate) fn draw<T>(&self, from: impl FnOnce(&mut StdRng) -> T) -> T {
        from(&mut self.rng.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
