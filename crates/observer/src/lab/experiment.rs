//! One experiment from start to findings: starts a cluster, plays a scenario while a workload runs, waits until the
//! replicas agree, and holds everything against the invariants.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chinwag_client::wire::RingInfo;
use chinwag_client::{Client, RequestError};
use chinwag_fuzz_net::{FaultTable, LinkReport, PlayError, Scenario, play};
use chinwag_node::{Activity, WallClock};
use tokio::time::{Instant, sleep_until};

use super::cluster::{Cluster, ClusterError, ClusterPlan};
use super::convergence::{peek, wait_for_agreement};
use super::driver::{Drive, drive};
use super::events::Timeline;
use crate::history::{Header, History};
use crate::invariants::{
    FinalState, Violation, dots_naming_two_values, lost_acknowledged_writes, not_converged,
    values_nobody_wrote,
};
use crate::workload::{Workload, WorkloadError};

/// What a client waits for an answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(1);
/// Replicas that do not agree this long after the last fault never will.
const CONVERGENCE_TIMEOUT: Duration = Duration::from_secs(60);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Debug)]
pub struct Experiment {
    /// The cluster.
    pub cluster: ClusterPlan,
    /// What the network and the members suffer, and for how long.
    pub scenario: Scenario,
    /// What the clients ask. Nothing is written after the scenario's last heal, so that what follows is recovery.
    pub workload: Workload,
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
    Play(#[from] PlayError<ClusterError>),
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
    /// What the members did, by name, since their last start.
    pub activity: BTreeMap<String, Activity>,
    /// What happened on each link.
    pub links: Vec<LinkReport>,
}

impl Experiment {
    /// Runs the experiment, telling its progress about ten times a second.
    ///
    /// # Errors
    /// [`ExperimentError`] if it could not be run; what it finds, bad or good, is no error.
    pub async fn run(
        self,
        clock: Arc<dyn WallClock>,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<Findings, ExperimentError> {
        let Self { cluster, scenario, workload, seed, configuration } = self;
        let plan = workload.plan()?;
        let table = FaultTable::new(seed);
        let mut cluster = Cluster::start(cluster, table.clone(), clock, seed).await?;
        let clients = cluster.clients().clone();
        let owners = owners(&clients).await.map_err(ExperimentError::Ring)?;

        let start = Instant::now();
        let duration = scenario.duration();
        let last_heal = scenario.last_heal().unwrap_or(duration);
        let finished = Arc::new(AtomicU64::new(0));
        let drive = drive(
            plan,
            &clients,
            Drive {
                start,
                duration,
                writes_until: last_heal,
                timeout: CLIENT_TIMEOUT,
                finished: finished.clone(),
            },
        );
        let timeline = RefCell::new(Timeline::new(&scenario));
        let mut events = Vec::new();
        let playing = play(&scenario, &table, &mut cluster, |step| {
            events.push(timeline.borrow_mut().take(step));
        });
        let agreeing = async {
            sleep_until(start + last_heal).await;
            wait_for_agreement(&clients, &owners, start + duration + CONVERGENCE_TIMEOUT).await
        };
        let telling = every(PROGRESS, || {
            let phase = timeline.borrow().phase.clone();
            let operations = finished.load(Ordering::Relaxed);
            on_progress(Progress { elapsed: start.elapsed(), duration, phase, operations });
        });
        let running = async { tokio::join!(playing, drive, agreeing) };
        let (played, driven, agreed) = tokio::select! {
            biased;
            ended = running => ended,
            never = telling => never,
        };
        played?;

        let state = peek(&clients).await;
        let history = History {
            header: Header { seed: Some(seed), scenario: Some(scenario.name.clone()), configuration },
            operations: driven.operations,
            events,
        };
        let violations = violations(&history, &state, &owners);
        let converged_after = agreed
            .map(|at| at.saturating_duration_since(start + last_heal))
            .filter(|_| not_converged(&state, &owners).is_empty());
        let activity = cluster.activity();
        cluster.shutdown().await;
        Ok(Findings {
            history,
            converged_after,
            violations,
            unsent: driven.unsent,
            activity,
            links: table.stats(),
        })
    }
}

/// Calls `tell` again and again for as long as it is polled.
async fn every<T>(interval: Duration, mut tell: impl FnMut()) -> T {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        tell();
    }
}

/// Everything that must hold at the end and does not.
fn violations(
    history: &History,
    state: &FinalState,
    owners: &BTreeMap<String, Vec<String>>,
) -> Vec<Violation> {
    let mut violations = lost_acknowledged_writes(history, state);
    violations.extend(values_nobody_wrote(history, state));
    violations.extend(not_converged(state, owners));
    // With one partition for each key, as the preset has it, a key names its partition.
    violations.extend(dots_naming_two_values(history, state, str::to_owned));
    violations
}

/// The owners of each integer key, as the members see it.
async fn owners(clients: &BTreeMap<String, Client>) -> Result<BTreeMap<String, Vec<String>>, RequestError> {
    let client = clients.values().next().expect("a preset has members");
    let RingInfo { members, owners, .. } = client.ring().await?;
    let named = owners.iter().map(|list| list.iter().map(|&it| members[usize::from(it)].clone()).collect());
    Ok(named.enumerate().map(|(key, owners)| (key.to_string(), owners)).collect())
}
