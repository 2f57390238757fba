//! One experiment from start to findings: starts a cluster, plays a scenario while a workload runs, waits until the
//! replicas agree, and holds everything against the invariants.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chinwag_client::{Client, RequestError};
use chinwag_fuzz_net::{FaultTable, LinkReport, PlayError, Scenario, play};
use chinwag_node::{Activity, WallClock};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

use super::cluster::{Cluster, ClusterError, ClusterPlan};
use super::convergence::{peek, wait_for_agreement};
use super::divergence::Sampling;
use super::driver::{Drive, Driven, drive};
use super::events::Timeline;
use super::ground::Ground;
use crate::beliefs::Beliefs;
use crate::history::{Event, Header, History};
use crate::invariants::{
    FinalState, Invariant, Violation, dots_naming_two_values, false_concurrency, false_dominance,
    lost_acknowledged_writes, not_converged, overwritten_yet_held, values_nobody_wrote,
};
use crate::summary::{Divergence, Exchange, Queue};
use crate::workload::{Plan, Workload, WorkloadError};

/// What a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// Replicas that do not agree this long after the last fault never will.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// Where to run it.
#[derive(Debug, Clone)]
pub enum World {
    /// On real sockets and disks of this machine.
    Live {
        /// Where the members' directories are made, one each.
        directory: PathBuf,
        /// The machine's clock.
        clock: Arc<dyn WallClock>,
    },
    /// On a simulated network with disks in memory; the ambient runtime's clock must be paused. See
    /// [`Experiment::simulate`].
    Simulated,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The cluster.
    pub cluster: ClusterPlan,
    /// What the network and the members suffer, and for how long.
    pub scenario: Scenario,
    /// What the clients ask. Nothing is written after the scenario's last heal, so that what follows is recovery.
    pub workload: Workload,
    /// The keys the workload chooses from.
    pub keys: Vec<String>,
    /// Decides the members' randomness and the fate of packets.
    pub seed: u64,
    /// Goes into the history's header.
    pub configuration: serde_json::Value,
}

/// An experiment could not be run to its end. What it measured is lost.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// The cluster did not start.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A step of the scenario could not be taken.
    #[error(transparent)]
    Play(Box<PlayError<ClusterError>>),
    /// The workload is impossible.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// The ring could not be asked for.
    #[error("cannot ask a member for the ring: {0}")]
    Ring(#[source] RequestError),
}

/// How far an experiment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Time since the load began.
    pub elapsed: Duration,
    /// How long the load lasts.
    pub duration: Duration,
    /// What the scenario is doing, in a word or two.
    pub phase: String,
    /// Operations finished.
    pub operations: u64,
}

/// What an experiment found.
#[derive(Debug)]
pub struct Findings {
    /// Every operation and every step.
    pub history: History,
    /// From the last heal to when all replicas agreed; `None` if they did not.
    pub converged_after: Option<Duration>,
    /// What broke.
    pub violations: Vec<Violation>,
    /// Operations that were not sent because their session was still waiting when the run ended.
    pub unsent: u64,
    /// What the members did, by name.
    pub activity: BTreeMap<String, Activity>,
    /// Deleted keys that members still had a record of at the end, by name.
    pub tombstones: BTreeMap<String, u64>,
    /// The exchanges of anti-entropy that changed what a member holds.
    pub exchanges: Vec<Exchange>,
    /// How far replicas were apart over time.
    pub divergence: Divergence,
    /// How full the members' queues ever were, the fullest of each kind.
    pub queues: Vec<Queue>,
    /// What the members believed of each other.
    pub beliefs: Beliefs,
    /// What happened on each link.
    pub links: Vec<LinkReport>,
    /// Of a simulated run, the hash over every packet's time, ends and bytes.
    pub trace: Option<String>,
}

impl Experiment {
    /// Runs the experiment, telling its progress about ten times a second.
    ///
    /// # Errors
    /// [`ExperimentError`] if it could not be run; what it finds, bad or good, is no error.
    pub async fn run(
        self,
        world: World,
        on_progress: impl FnMut(Progress),
    ) -> Result<Findings, ExperimentError> {
        let table = FaultTable::new(self.seed);
        let ground = match world {
            World::Live { directory, clock } => Ground::live(table.clone(), directory, clock),
            World::Simulated => Ground::simulated(table.clone()),
        };
        self.run_on(ground, table, on_progress).await
    }

    /// Runs it on `ground`, under the faults of `table`.
    pub(super) async fn run_on(
        self,
        ground: Ground,
        table: FaultTable,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Findings, ExperimentError> {
        let Self { cluster, scenario, workload, keys, seed, configuration } = self;
        let plan = workload.plan()?;
        let mut cluster = Cluster::start(cluster, ground, seed).await?;
        let clients = cluster.clients().clone();
        let homes = homes(&clients, &keys).await.map_err(ExperimentError::Ring)?;
        cluster.replicas().watch(&homes);

        let observed = observe(&scenario, plan, &table, &mut cluster, &homes, &mut on_progress).await;
        let Observed { start, events, disks_lost, driven, agreed, divergence } = observed?;

        let state = peek(&clients).await;
        let history = History {
            header: Header { seed: Some(seed), scenario: Some(scenario.name.clone()), configuration },
            operations: driven.operations,
            events,
        };
        let mut violations = violations(&history, &state, &homes, disks_lost);
        violations.extend(violations_of_members(&cluster));
        let (activity, queues) = (cluster.activity(), cluster.queues());
        violations.extend(violations_of_queues(&queues));
        let beliefs = Beliefs::new(&cluster.lives(start), &scenario);
        let exchanges = cluster.exchanges(start);
        let (tombstones, trace) = (cluster.tombstones(), cluster.trace_hash());
        drop(clients);
        violations.extend(violations_of_tasks(cluster.shutdown().await, "after all members had stopped"));
        Ok(Findings {
            history,
            converged_after: agreed
                .filter(|_| violations.iter().all(|it| it.invariant != Invariant::Converged)),
            violations,
            unsent: driven.unsent,
            activity,
            tombstones,
            exchanges,
            divergence,
            queues,
            beliefs,
            links: table.stats(),
            trace,
        })
    }

    /// Runs the experiment in a simulation, as fast as the machine can: the same seed gives the same findings, to the
    /// last byte of the last packet. Tells its progress about ten times a virtual second.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    ///
    /// # Panics
    /// If called from within a tokio runtime, or if no runtime can be made.
    pub fn simulate(self, on_progress: impl FnMut(Progress)) -> Result<Findings, ExperimentError> {
        virtual_time().block_on(self.run(World::Simulated, on_progress))
    }
}

/// A runtime whose clock jumps to the next timer once nothing is left to do.
pub(super) fn virtual_time() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without IO needs nothing from the system")
}

/// What came of the scenario and the load.
struct Observed {
    /// When the load began.
    start: Instant,
    events: Vec<Event>,
    disks_lost: usize,
    driven: Driven,
    /// From the last heal to when the replicas agreed for good.
    agreed: Option<Duration>,
    divergence: Divergence,
}

/// Plays the scenario, drives the load and watches the replicas, all at once.
async fn observe(
    scenario: &Scenario,
    plan: Plan,
    table: &FaultTable,
    cluster: &mut Cluster,
    homes: &BTreeMap<String, Home>,
    on_progress: &mut impl FnMut(Progress),
) -> Result<Observed, ExperimentError> {
    let clients = cluster.clients().clone();
    let start = Instant::now();
    let duration = scenario.duration();
    let last_heal = scenario.last_heal().unwrap_or(duration);
    let finished = Arc::new(AtomicU64::new(0));
    let how = Drive {
        start,
        duration,
        writes_until: last_heal,
        timeout: CLIENT_TIMEOUT,
        finished: finished.clone(),
    };
    let is_driven = Cell::new(false);
    let driving = async {
        let driven = drive(plan, &clients, how).await;
        is_driven.set(true);
        driven
    };
    let mut sampling = Sampling::new(cluster.replicas().clone(), start);
    let timeline = RefCell::new(Timeline::new(scenario));
    let mut events = Vec::new();
    let playing = play(scenario, table, cluster, |step| events.push(timeline.borrow_mut().take(step)));
    let watching = async {
        sleep_until(start + last_heal).await;
        let deadline = start + duration + CONVERGENCE_TIMEOUT;
        wait_for_agreement(&clients, homes, || is_driven.get(), deadline).await
    };
    let telling = every(PROGRESS, || {
        sampling.tick();
        let phase = timeline.borrow().phase.clone();
        let operations = finished.load(Ordering::Relaxed);
        on_progress(Progress { elapsed: start.elapsed(), duration, phase, operations });
    });
    let running = async { tokio::join!(playing, driving, watching) };
    let (played, driven, agreed) = tokio::select! {
        biased;
        ended = running => ended,
        never = telling => never,
    };
    played.map_err(|error| ExperimentError::Play(Box::new(error)))?;
    cluster.wait_for_hints(start + duration + CONVERGENCE_TIMEOUT).await;
    let agreed = agreed.map(|at| at.saturating_duration_since(start + last_heal));
    let disks_lost = timeline.into_inner().disks_lost;
    Ok(Observed { start, events, disks_lost, driven, agreed, divergence: sampling.end() })
}

/// Calls `tell` again and again for as long as it is polled.
async fn every<T>(interval: Duration, mut tell: impl FnMut()) -> T {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        tell();
    }
}

/// Where a key lives.
#[derive(Debug, Clone)]
pub(super) struct Home {
    /// Its partition: dots are counted within it.
    pub(super) partition: u16,
    /// The members that own it.
    pub(super) owners: Vec<String>,
}

/// Everything that must hold at the end and does not.
fn violations(
    history: &History,
    state: &FinalState,
    homes: &BTreeMap<String, Home>,
    disks_lost: usize,
) -> Vec<Violation> {
    let mut violations = lost_acknowledged_writes(history, state, disks_lost);
    violations.extend(false_concurrency(history));
    violations.extend(false_dominance(history));
    violations.extend(overwritten_yet_held(history, state, disks_lost));
    violations.extend(values_nobody_wrote(history, state));
    violations.extend(not_converged(state, &owners(homes)));
    let partition = |key: &str| homes.get(key).map(|it| it.partition);
    violations.extend(dots_naming_two_values(history, state, partition));
    violations
}

/// What members should know or have done by the end and do not or have not.
fn violations_of_members(cluster: &Cluster) -> impl Iterator<Item = Violation> {
    let doubts = cluster.doubts().into_iter().map(|(who, whom)| {
        violation(Invariant::ViewComplete, format!("{who} does not believe {whom} alive at the end"))
    });
    let hints = cluster.hints_due().into_iter().map(|(who, hints)| {
        let what = format!("{who} has not delivered {hints} hints to members it believes alive");
        violation(Invariant::HintsDrained, what)
    });
    let trees = cluster
        .wrong_trees()
        .into_iter()
        .map(|(who, what)| violation(Invariant::TreesHonest, format!("the trees of {who} {what}")));
    let survivors = violations_of_tasks(cluster.survivors().clone(), "after it had crashed");
    doubts.chain(hints).chain(trees).chain(survivors)
}

fn violations_of_queues(queues: &[Queue]) -> impl Iterator<Item = Violation> {
    let full = queues.iter().filter(|queue| queue.high_water >= queue.bound);
    full.map(|Queue { name, high_water, bound, member }| {
        let what = format!("{name}: a queue of {member} filled up ({high_water} of {bound})");
        violation(Invariant::QueuesBounded, what)
    })
}

fn violations_of_tasks(left: BTreeMap<String, usize>, when: &str) -> impl Iterator<Item = Violation> {
    left.into_iter().map(move |(who, tasks)| {
        let whose = if who.is_empty() { "nobody" } else { &who };
        violation(Invariant::TasksEnded, format!("{tasks} tasks of {whose} ran on {when}"))
    })
}

/// A breach that is about no key.
fn violation(invariant: Invariant, what: String) -> Violation {
    Violation { invariant, key: String::new(), operations: Vec::new(), what }
}

/// The owners of each key.
pub(super) fn owners(homes: &BTreeMap<String, Home>) -> BTreeMap<String, Vec<String>> {
    homes.iter().map(|(key, home)| (key.clone(), home.owners.clone())).collect()
}

/// Where each key lives, as the members see it.
async fn homes(
    clients: &BTreeMap<String, Client>,
    keys: &[String],
) -> Result<BTreeMap<String, Home>, RequestError> {
    let client = clients.values().next().expect("a cluster has members");
    let mut homes = BTreeMap::new();
    for key in keys {
        let located = client.locate(key.clone()).await?;
        homes.insert(key.clone(), Home { partition: located.partition, owners: located.owners });
    }
    Ok(homes)
}
