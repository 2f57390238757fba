//! One experiment from start to findings: starts a cluster, plays a scenario while a workload runs, waits until the
//! replicas agree, and holds everything against the invariants.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
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
use super::driver::{Drive, drive, preload, seats};
use super::events::Timeline;
use super::ground::Ground;
use super::recorder::{Keep, Recorder};
use super::session::Seat;
use crate::beliefs::Beliefs;
use crate::history::{Event, Header, History};
use crate::invariants::{
    FinalState, Invariant, Violation, dots_naming_two_values, false_concurrency, false_dominance,
    lost_acknowledged_writes, not_converged, overwritten_yet_held, values_nobody_wrote,
};
use crate::ledger::Ledger;
use crate::pacing::{Load, Pacing};
use crate::summary::{Convergence, Divergence, Exchange, Queue};
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
    /// The keys the workload chooses from at first.
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
    /// The history could not be written.
    #[error("cannot write the history: {0}")]
    History(#[source] io::Error),
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
    /// Every step and every operation; of a long run that was kept in a file, the operations on some of its keys.
    pub history: History,
    /// Its operations, as measuring takes them.
    pub ledger: Ledger,
    /// From the last heal to when all replicas agreed; `None` if they did not.
    pub converged_after: Option<Duration>,
    /// What broke.
    pub violations: Vec<Violation>,
    /// Operations that were not sent because their session was still waiting when the run ended.
    pub unsent: u64,
    /// How well the load kept to its plan.
    pub load: Load,
    /// What the members did, by name.
    pub activity: BTreeMap<String, Activity>,
    /// Deleted keys that members still had a record of at the end, by name.
    pub tombstones: BTreeMap<String, u64>,
    /// The exchanges of anti-entropy that changed what a member holds.
    pub exchanges: Vec<Exchange>,
    /// How far replicas were apart over time.
    pub divergence: Divergence,
    /// How soon after the last heal the owners of each key agreed.
    pub convergence: Convergence,
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
        keep: Keep,
        on_progress: impl FnMut(Progress),
    ) -> Result<Findings, ExperimentError> {
        let table = FaultTable::new(self.seed);
        let ground = match world {
            World::Live { directory, clock } => Ground::live(table.clone(), directory, clock),
            World::Simulated => Ground::simulated(table.clone()),
        };
        self.run_on(ground, table, &keep, on_progress).await
    }

    /// Runs it on `ground`, under the faults of `table`.
    pub(super) async fn run_on(
        self,
        ground: Ground,
        table: FaultTable,
        keep: &Keep,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Findings, ExperimentError> {
        let Self { cluster, scenario, workload, mut keys, seed, configuration } = self;
        let plan = workload.plan()?;
        let header = Header { seed: Some(seed), scenario: Some(scenario.name.clone()), configuration };
        let recorder = Recorder::new(keep, header).map_err(ExperimentError::History)?;
        keys.extend(plan.inserted(scenario.duration()));
        let mut cluster = Cluster::start(cluster, ground, seed).await?;
        let clients = cluster.clients().clone();
        let homes = homes(&clients, &keys).await.map_err(ExperimentError::Ring)?;
        cluster.replicas().watch(&homes);

        let recording = recorder.clone();
        let observing = observe(&scenario, plan, &table, &mut cluster, &homes, recording, &mut on_progress);
        let observed = Box::pin(observing).await;
        let Observed { zero, start, disks_lost, pacing, agreed, convergence, divergence } = observed?;

        let state = peek(&clients).await;
        let (history, ledger) = recorder.finish().map_err(ExperimentError::History)?;
        let mut violations = violations(&ledger, &state, &homes, disks_lost);
        violations.extend(violations_of_members(&cluster));
        let (activity, queues) = (cluster.activity(), cluster.queues());
        violations.extend(violations_of_queues(&queues));
        let beliefs = Beliefs::new(&cluster.lives(start), &scenario);
        let exchanges = cluster.exchanges(zero);
        let (tombstones, trace) = (cluster.tombstones(), cluster.trace_hash());
        drop(clients);
        violations.extend(violations_of_tasks(cluster.shutdown().await, "after all members had stopped"));
        Ok(Findings {
            load: pacing.summary(&ledger),
            history,
            ledger,
            converged_after: agreed
                .filter(|_| violations.iter().all(|it| it.invariant != Invariant::Converged)),
            violations,
            unsent: pacing.unsent,
            activity,
            tombstones,
            exchanges,
            divergence,
            convergence,
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
        self.simulate_into(Keep::Memory, on_progress)
    }

    /// The same, keeping the history elsewhere than in memory.
    ///
    /// # Errors
    /// As [`Experiment::run`].
    ///
    /// # Panics
    /// As [`simulate`](Self::simulate).
    pub fn simulate_into(
        self,
        keep: Keep,
        on_progress: impl FnMut(Progress),
    ) -> Result<Findings, ExperimentError> {
        virtual_time().block_on(self.run(World::Simulated, keep, on_progress))
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
    /// When the history begins.
    zero: Instant,
    /// When scenario and load began: then, or once all records were there.
    start: Instant,
    disks_lost: usize,
    pacing: Pacing,
    /// From the last heal to when the replicas agreed for good.
    agreed: Option<Duration>,
    convergence: Convergence,
    divergence: Divergence,
}

/// Plays the scenario, drives the load and watches the replicas, all at once.
async fn observe(
    scenario: &Scenario,
    mut plan: Plan,
    table: &FaultTable,
    cluster: &mut Cluster,
    homes: &BTreeMap<String, Home>,
    recorder: Recorder,
    on_progress: &mut impl FnMut(Progress),
) -> Result<Observed, ExperimentError> {
    let clients = cluster.clients().clone();
    let members = clients.iter().map(|(node, client)| Seat { node: node.clone(), client: client.clone() });
    let seats = seats(members.collect(), plan.workload().sessions_at).await;
    let zero = Instant::now();
    recorder.follow(cluster.followed(zero));
    let duration = scenario.duration();
    let last_heal = scenario.last_heal().unwrap_or(duration);
    let finished = Arc::new(AtomicU64::new(0));
    let mut how = Drive {
        zero,
        start: zero,
        duration,
        writes_until: last_heal,
        timeout: CLIENT_TIMEOUT,
        finished: finished.clone(),
        recorder: recorder.clone(),
    };
    let loaded = preload(&mut plan, &seats, &how).await;
    let start = Instant::now();
    how.start = start;
    recorder.measure_from(nanos(start + plan.workload().measured_after() - zero));
    let is_driven = Cell::new(false);
    let driving = async {
        let pacing = drive(plan, &seats, loaded, how).await;
        is_driven.set(true);
        pacing
    };
    let mut sampling = Sampling::new(cluster.replicas().clone(), zero);
    let timeline = RefCell::new(Timeline::new(scenario));
    let playing = play(scenario, table, cluster, |step| {
        let event = timeline.borrow_mut().take(step);
        recorder.event(Event { at: event.at.saturating_add(nanos(start - zero)), ..event });
    });
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
    let (played, pacing, agreement) = tokio::select! {
        biased;
        ended = running => ended,
        never = telling => never,
    };
    played.map_err(|error| ExperimentError::Play(Box::new(error)))?;
    cluster.wait_for_hints(start + duration + CONVERGENCE_TIMEOUT).await;
    let after_heal = |at: Instant| at.saturating_duration_since(start + last_heal);
    let convergence = Convergence::new(homes.len() as u64, agreement.keys.into_iter().map(after_heal));
    let agreed = agreement.all.map(after_heal);
    let disks_lost = timeline.into_inner().disks_lost;
    let divergence = sampling.end();
    Ok(Observed { zero, start, disks_lost, pacing, agreed, convergence, divergence })
}

/// Nanoseconds in the history's form.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
    ledger: &Ledger,
    state: &FinalState,
    homes: &BTreeMap<String, Home>,
    disks_lost: usize,
) -> Vec<Violation> {
    let mut violations = lost_acknowledged_writes(ledger, state, disks_lost);
    violations.extend(false_concurrency(ledger));
    violations.extend(false_dominance(ledger));
    violations.extend(overwritten_yet_held(ledger, state, disks_lost));
    violations.extend(values_nobody_wrote(ledger, state));
    violations.extend(not_converged(state, &owners(homes)));
    let partition = |key: &str| homes.get(key).map(|it| it.partition);
    violations.extend(dots_naming_two_values(ledger, state, partition));
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
