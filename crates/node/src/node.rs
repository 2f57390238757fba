//! A running member: starts its parts in order, stops them in the reverse one.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chinwag_client::ClusterSecret;
use chinwag_client::wire::{MemberChange, MemberInfo, WireDot};
use chinwag_membership::{CheckedConfig, Generation, MemberRecord, Membership, Remembered, Time};
use chinwag_merkle::TreeKey;
use chinwag_storage::{
    CloseError, CommitError, Content, ContextKey, Engine, Health, ReadError, Store, StoreOpenError,
    StoreOptions, WriteError,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::buckets::FixedBucket;
use crate::changes::Changes;
use crate::config::{Config, ConfigError};
use crate::core::{Core, Counters};
use crate::full::FullMembers;
use crate::gossip::{self, GossipTask};
use crate::notes;
use crate::parts::Parts;
use crate::queues::{QueueLoad, Queues};
use crate::repair::budget::Budget;
use crate::repair::log::{RepairLog, Repaired};
use crate::repair::pairs::Pairs;
use crate::repair::{anti_entropy, hints, tending};
use crate::service::MemberService;
use crate::stamps::Stamps;
use crate::tasks::Tasks;
use crate::transport::data::Links;
use crate::transport::endpoint::{Channel, Endpoint, EndpointError};
use crate::transport::gossip::Gossip;
use crate::transport::serve::{Serving, accept_loop, serve_connection};
use crate::view::View;

/// A goodbye takes no longer than this; a member that cannot say it is noticed all the same.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests under way get this long for their answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Tasks that do not end by then wait for a disk that hangs.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Closed connections get this long to tell the other side.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A running member of a cluster.
///
/// Dropping it leaves its tasks running; end it with [`Node::shutdown`] or [`Node::crash`].
#[derive(Debug)]
pub struct Node {
    core: Arc<Core>,
    address: SocketAddr,
    gossip_address: SocketAddr,
    failures: tokio::sync::Mutex<mpsc::Receiver<Failure>>,
}

/// A member could not be started. Nothing is running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreOpenError),
    /// A note in the store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A note cannot be written to the store.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A note could not be made durable.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The data directory belongs to a cluster with other founding facts.
    #[error("the data directory was founded with {} = {}, and the member is started with {}: use the one or another directory", .0.field, .0.theirs, .0.ours)]
    Founding(chinwag_membership::FoundingMismatch),
    /// The data directory has keys of a bucket as it was, and no others can take their place.
    #[error(
        "the data directory was founded with {stored} for the bucket {name}, and the member is started {asked}: kind and n \
         are fixed for ever"
    )]
    Bucket {
        /// Which bucket.
        name: String,
        /// As it was founded.
        stored: String,
        /// As the member is started.
        asked: String,
    },
    /// A note in the store does not make sense.
    #[error("the data directory holds a note that cannot be read ({0}): it was written by another version")]
    Note(String),
    /// An address cannot be listened on.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The membership settings are out of range.
    #[error(transparent)]
    Membership(#[from] chinwag_membership::ConfigError),
    /// The others could not be told of this member.
    #[error(transparent)]
    Record(#[from] chinwag_membership::RecordError),
    /// The store could not be closed again after another error.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// Why a running member cannot go on. The caller should shut it down and tell the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The cluster does not take this member; the text says why and what to do.
    #[error("{0}")]
    Refused(String),
    /// The disk does not answer or refuses writes.
    #[error("the store failed: {0}")]
    Store(String),
}

/// What a member has done since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Activity {
    /// Requests made of other members; exchanges count as none.
    pub member_requests: u64,
    /// States handed to a replica that a read found lagging.
    pub read_repairs: u64,
    /// Hints delivered to a member that came back.
    pub hints_delivered: u64,
    /// Rounds of anti-entropy in which this member compared its trees with another.
    pub exchanges: u64,
    /// Key states that anti-entropy changed here, but for tombstones that went.
    pub keys_repaired: u64,
    /// Records of deleted keys removed because every owner had seen their end, as this member or another found.
    pub tombstones_purged: u64,
}

/// What is left of a member that was stopped at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remains {
    /// What it had done.
    pub activity: Activity,
    /// How full its queues had been.
    pub queues: Vec<QueueLoad>,
    /// Tasks that did not end: none, unless something is broken. QUIC's own are not counted.
    pub tasks: usize,
}

impl AddAssign for Activity {
    fn add_assign(&mut self, other: Self) {
        self.member_requests += other.member_requests;
        self.read_repairs += other.read_repairs;
        self.hints_delivered += other.hints_delivered;
        self.exchanges += other.exchanges;
        self.keys_repaired += other.keys_repaired;
        self.tombstones_purged += other.tombstones_purged;
    }
}

impl Node {
    /// Starts a member on the ambient tokio runtime.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(mut config: Config, secret: &ClusterSecret, parts: Parts) -> Result<Self, StartError> {
        config.validate()?;
        config.founding.buckets = config.buckets.text(config.founding.n);
        let mut rng = StdRng::from_seed(parts.seed);
        // A taken port is found before the store is touched.
        let name = config.name.as_str();
        let data = Endpoint::open(Channel::Data, name, config.listen, secret, &parts, &mut rng)?;
        let gossip = Endpoint::open(Channel::Gossip, name, config.gossip_bind(), secret, &parts, &mut rng)?;
        let store = open_store(&config, secret, &parts, &mut rng)?;
        let settings = chinwag_membership::Config::default().validate()?;
        let dial_timeout = settings.probe_timeout;
        let record = record(&config, &store, &data, &gossip);
        let (address, gossip_address) = (record.address, record.gossip);
        let machine = match introduce(&config, &store, settings, record, rng.random()).await {
            Ok(machine) => machine,
            Err(error) => {
                // A start that is refused leaves the directory as it was.
                store.close()?;
                return Err(error);
            }
        };

        let (tasks, stop) = (Tasks::new(parts.runtime.clone()), CancellationToken::new());
        let (closing, queues) = (stop.child_token(), Arc::new(Queues::default()));
        let (gossip_inputs, inputs) = mpsc::channel(gossip::INPUTS_MAX);
        let (datagrams, received) = mpsc::channel(gossip::DATAGRAMS_MAX);
        let (failed, failures) = mpsc::channel(1);
        let core = Arc::new(Core {
            me: config.name.id(),
            founding: config.founding.clone(),
            store,
            context_key: ContextKey::new(half(secret.derive("context"))),
            tree_key: tree_key(secret),
            clock: parts.clock.clone(),
            stamps: Stamps::default(),
            witness: parts.witness.clone(),
            links: Links::new(data.clone(), tasks.clone(), queues.clone()),
            tasks: tasks.clone(),
            stop: stop.clone(),
            answering: Tasks::new(parts.runtime.clone()),
            closing,
            view: Mutex::new(Arc::new(View::of(&config, &machine, None))),
            gossip: gossip_inputs,
            hints_due: Notify::new(),
            exchange_out: Semaphore::new(1),
            exchange_in: Semaphore::new(anti_entropy::EXCHANGES_AT_ONCE),
            owed: Mutex::default(),
            budget: Budget::new(config.repair_bandwidth),
            pairs: Pairs::default(),
            repaired: RepairLog::default(),
            rng: Mutex::new(StdRng::from_rng(&mut rng)),
            counters: Counters::default(),
            changes: Changes::new(rng.random()),
            endpoints: [data.clone(), gossip],
            datagrams: Arc::default(),
            queues: queues.clone(),
            full: FullMembers::default(),
            config,
        });
        let node =
            Self { core: core.clone(), address, gossip_address, failures: tokio::sync::Mutex::new(failures) };
        let datagrams = Gossip::start(&core, gossip_address, dial_timeout, datagrams);
        let span = tracing::info_span!("node", name = %core.config.name);
        let gossiping = GossipTask::new(core.clone(), machine, datagrams, failed.clone());
        tasks.spawn(gossiping.run(inputs, received).instrument(span.clone()));
        tasks.spawn(serve(core.clone(), data).instrument(span.clone()));
        tasks.spawn(hints::run(core.clone()).instrument(span.clone()));
        tasks.spawn(anti_entropy::run(core.clone()).instrument(span.clone()));
        tasks.spawn(tending::run(core.clone()).instrument(span.clone()));
        tasks.spawn(watch_store(core, parts.engine, failed).instrument(span));
        Ok(node)
    }

    /// Where it takes clients and members: the advertised address, with the port the system chose.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it takes gossip.
    pub fn gossip_address(&self) -> SocketAddr {
        self.gossip_address
    }

    /// The members it knows, in name order, itself included.
    pub fn members(&self) -> Vec<MemberInfo> {
        self.core.member_infos()
    }

    /// What became of the members as it learned it, each with the moment; the last thousand changes. For experiments.
    pub fn changes(&self) -> Vec<(Instant, MemberChange)> {
        self.core.changes.kept()
    }

    /// What it has done since it started.
    pub fn activity(&self) -> Activity {
        let counters = &self.core.counters;
        Activity {
            member_requests: counters.member_requests.value(),
            read_repairs: counters.read_repairs.value(),
            hints_delivered: counters.hints_delivered.value(),
            exchanges: counters.exchanges.value(),
            keys_repaired: counters.keys_repaired.value(),
            tombstones_purged: counters.tombstones_purged.value(),
        }
    }

    /// The exchanges of anti-entropy that changed something here, the last thousand. For experiments.
    pub fn repaired(&self) -> Vec<Repaired> {
        let view = self.core.view();
        self.core.repaired.kept(|member| view.name(member))
    }

    /// The versions it holds of a key, looked at past its requests, so that nothing is sent or repaired by looking; none
    /// of a key that is deleted here. For experiments.
    ///
    /// # Errors
    /// The store's, if the record cannot be read.
    pub fn versions(&self, key: &str) -> Result<BTreeSet<WireDot>, ReadError> {
        let Ok(place) = self.core.place(None, &Bytes::copy_from_slice(key.as_bytes())) else {
            return Ok(BTreeSet::new());
        };
        let state = self.core.store.get(&place.key)?.unwrap_or_default();
        let is_deleted = state.siblings().iter().all(|it| it.content == Content::Tombstone);
        Ok(state.siblings().iter().filter(|_| !is_deleted).map(|it| (it.dot.actor.0, it.dot.seq)).collect())
    }

    /// Its bounded queues, each with the most that ever waited in it.
    pub fn queues(&self) -> Vec<QueueLoad> {
        self.core.queues.loads(&self.core.store)
    }

    /// Hints it keeps for members it believes alive, and so owes to them. For experiments.
    pub fn hints_due(&self) -> u64 {
        self.core.hints_owed()
    }

    /// Deleted keys that still have a record here. For experiments.
    pub fn tombstones(&self) -> u64 {
        self.core.store.tombstones()
    }

    /// The partitions whose trees do not say what its records say: none, unless something is broken. Reads every
    /// record. For experiments.
    ///
    /// # Errors
    /// The store's, if a record cannot be read.
    pub fn wrong_trees(&self) -> Result<Vec<u16>, ReadError> {
        Ok(self.core.store.wrong_trees()?.into_iter().map(|it| it.partition).collect())
    }

    /// Waits until the member cannot go on. Pending as long as all is well.
    pub async fn failure(&self) -> Failure {
        match self.failures.lock().await.recv().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Says goodbye, finishes the requests under way, closes the store. Takes a few seconds at most, unless the
    /// disk hangs.
    ///
    /// # Errors
    /// The store's error if not all it took could be made durable.
    pub async fn shutdown(self) -> Result<(), CloseError> {
        if timeout(LEAVE_TIMEOUT, gossip::leave(&self.core)).await.is_err() {
            tracing::debug!("nobody heard the goodbye");
        }
        // No new requests; those under way get their answers.
        self.core.closing.cancel();
        if timeout(ANSWER_TIMEOUT, self.core.answering.ended()).await.is_err() {
            tracing::warn!(requests = self.core.answering.len(), "stopping without answering everyone");
        }
        self.stop().await;
        let [data, gossip] = &self.core.endpoints;
        let drained = async { tokio::join!(data.quic.wait_idle(), gossip.quic.wait_idle()) };
        if timeout(DRAIN_TIMEOUT, drained).await.is_err() {
            tracing::debug!("a connection did not hear that it was closed");
        }
        self.core.store.close()
    }

    /// Stops at once, as if the process had been killed: no goodbye, nothing written out. For experiments.
    ///
    /// What is still sent (QUIC tells the other side that connections close) is the socket factory's to swallow.
    pub async fn crash(self) -> Remains {
        self.stop().await;
        Remains { activity: self.activity(), queues: self.queues(), tasks: self.tasks() }
    }

    /// Its tasks that have not ended.
    fn tasks(&self) -> usize {
        self.core.tasks.len() + self.core.answering.len()
    }

    async fn stop(&self) {
        self.core.closing.cancel();
        self.core.stop.cancel();
        for endpoint in &self.core.endpoints {
            endpoint.quic.close(0u32.into(), b"stopping");
        }
        let ended = async { tokio::join!(self.core.tasks.ended(), self.core.answering.ended()) };
        if timeout(STOP_TIMEOUT, ended).await.is_err() {
            tracing::error!(tasks = self.tasks(), "tasks hang, perhaps on the disk; leaving them behind");
        }
    }
}

fn open_store(
    config: &Config,
    secret: &ClusterSecret,
    parts: &Parts,
    rng: &mut StdRng,
) -> Result<Store, StartError> {
    let options = StoreOptions {
        partitions: config.founding.partitions.count(),
        n: config.founding.n.get(),
        own_n: config.buckets.own_n(),
        ..StoreOptions::new(tree_key(secret), rng.random(), parts.clock.now().as_secs())
    };
    Ok(Store::open(parts.engine.clone(), &options)?)
}

/// What the others are told of this member.
fn record(config: &Config, store: &Store, data: &Endpoint, gossip: &Endpoint) -> MemberRecord {
    let bound = |endpoint: &Endpoint, asked| endpoint.quic.local_addr().unwrap_or(asked);
    let address = config.advertise.unwrap_or_else(|| bound(data, config.listen));
    // Behind an unspecified address gossip is reached at the host that is advertised.
    let mut gossip = bound(gossip, config.gossip_bind());
    if gossip.ip().is_unspecified() {
        gossip.set_ip(address.ip());
    }
    let identity = store.identity();
    MemberRecord {
        name: config.name.clone(),
        directory: identity.directory,
        generation: Generation::new(identity.generation).unwrap_or(Generation::MAX),
        revision: 0,
        address,
        gossip,
        tokens: config.tokens.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

/// The membership machine of a member that may start: its directory was founded as its configuration says.
async fn introduce(
    config: &Config,
    store: &Store,
    settings: CheckedConfig,
    record: MemberRecord,
    seed: u64,
) -> Result<Membership, StartError> {
    check_founding(store, config).await?;
    let known = known_members(store)?;
    Ok(Membership::new(settings, record, config.founding.clone(), known, seed, Time::ORIGIN)?)
}

/// Refuses a directory that was founded with other facts; notes them in a new one, and buckets that were added since.
async fn check_founding(store: &Store, config: &Config) -> Result<(), StartError> {
    let note = notes::FoundingNote::of(config);
    if let Some(bytes) = store.note(notes::FOUNDING)? {
        let stored: notes::FoundingNote = postcard::from_bytes(&bytes)
            .map_err(|_malformed| StartError::Note(notes::FOUNDING.to_owned()))?;
        note.founding.compare(&stored.founding).map_err(StartError::Founding)?;
        check_buckets(&stored.buckets, &note.buckets)?;
        if stored.buckets == note.buckets {
            return Ok(());
        }
    }
    let bytes = postcard::to_stdvec(&note).expect("founding facts always serialize");
    Ok(store.put_note(notes::FOUNDING, &bytes)?.await?)
}

/// Refuses buckets that went, or became others.
fn check_buckets(stored: &[FixedBucket], asked: &[FixedBucket]) -> Result<(), StartError> {
    for was in stored {
        let is = asked.iter().find(|it| it.name == was.name);
        if is != Some(was) {
            let name = was.name.clone();
            let asked = is.map_or_else(|| "without it".to_owned(), |it| format!("with {it}"));
            return Err(StartError::Bucket { name, stored: was.to_string(), asked });
        }
    }
    Ok(())
}

fn known_members(store: &Store) -> Result<Vec<Remembered>, StartError> {
    let Some(bytes) = store.note(notes::MEMBERS)? else { return Ok(Vec::new()) };
    Ok(postcard::from_bytes(&bytes).unwrap_or_else(|error| {
        // It only spares the member its seeds.
        tracing::warn!(%error, "the members of the last run are forgotten");
        Vec::new()
    }))
}

async fn serve(core: Arc<Core>, endpoint: Endpoint) {
    let service = Arc::new(MemberService(core.clone()));
    let serving = Serving {
        tasks: core.tasks.clone(),
        answering: core.answering.clone(),
        queues: core.queues.clone(),
        closing: core.closing.clone(),
        turned_away: endpoint.turned_away.clone(),
    };
    let (tasks, closing) = (core.tasks.clone(), core.closing.clone());
    let handle = move |role, connection| serve_connection(service.clone(), role, connection, serving.clone());
    accept_loop(endpoint, closing, tasks, handle).await;
}

/// Reports a store that hangs or is broken: a silent hang is worse than a crash. A disk that is full is no reason to
/// stop: reads go on, and it is said when it begins and when it is over.
async fn watch_store(core: Arc<Core>, engine: Arc<dyn Engine>, failed: mpsc::Sender<Failure>) {
    const INTERVAL: Duration = Duration::from_secs(1);
    let mut full = false;
    loop {
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        let failure = match engine.health() {
            Health::Well => {
                if std::mem::take(&mut full) {
                    tracing::info!("the disk has space again: writes are taken");
                }
                continue;
            }
            Health::NoSpace { reason } => {
                if !std::mem::replace(&mut full, true) {
                    tracing::warn!(%reason, "writes are refused");
                }
                continue;
            }
            Health::Stalled { waiting, stuck } => {
                format!("{waiting} writes wait and none has finished for {} s", stuck.as_secs())
            }
            Health::Poisoned { reason } => reason,
        };
        // The queue holds one failure: the first is the one to report.
        failed.try_send(Failure::Store(failure)).ok();
        return;
    }
}

fn tree_key(secret: &ClusterSecret) -> TreeKey {
    TreeKey::new(half(secret.derive("merkle tree")))
}

fn half(key: [u8; 32]) -> [u8; 16] {
    *key.first_chunk().expect("16 bytes are fewer than 32")
}
