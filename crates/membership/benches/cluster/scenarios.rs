//! What is done to a cluster, and what is measured. Each trial has a cluster of its own.

use std::collections::BTreeMap;

use crate::estimate::Estimate;
use crate::rows::Row;
use crate::sim::{Bursts, Cluster, Network, Trouble};
use crate::subject::{Host, Micros, SECOND, Subject};

pub(crate) type Findings = BTreeMap<Row, Estimate>;

/// The pause between two rounds of gossip, with both subjects' defaults.
const GOSSIP_ROUND: Micros = SECOND / 5;

/// The unit of what is counted per node-hour.
const HOURS: &str = " h";

/// How many seeds the node-hours with held messages are shared among, if that leaves each three cycles of bursts.
const HOLD_SEEDS_MAX: u32 = 3;

/// How long a steady cluster runs before it counts.
const WARM_UP: Micros = 20 * SECOND;

/// Where and how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) members: usize,
    pub(crate) loss: f64,
    pub(crate) seed: u64,
}

impl Cell {
    fn cluster<'a, S: Subject>(&self, ground: &'a S::Ground, trial: u32) -> Cluster<'a, S> {
        self.troubled(ground, trial, None)
    }

    fn troubled<'a, S: Subject>(
        &self,
        ground: &'a S::Ground,
        trial: u32,
        bursts: Option<Bursts>,
    ) -> Cluster<'a, S> {
        let seed = self.seed.wrapping_add(u64::from(trial) * 7_919);
        Cluster::new(ground, self.members, Network { loss: self.loss, bursts }, seed)
    }

    fn last(&self) -> Host {
        Host::try_from(self.members - 1).expect("members are counted in thousands")
    }
}

/// One settled member stops without a word.
pub(crate) fn crash<S: Subject>(ground: &S::Ground, cell: Cell, trials: u32) -> Findings {
    let (mut suspected, mut first, mut last, mut not_all) = (vec![], vec![], vec![], 0);
    for trial in 0..trials {
        let mut cluster = cell.cluster::<S>(ground, trial);
        cluster.settle(cell.members);
        let begin = settle_down(&mut cluster);
        cluster.crash(cell.last());
        cluster.track(cell.last());
        let all = cluster.run_while(begin + 180 * SECOND, SECOND / 20, |it| {
            it.tracked.as_ref().is_some_and(|tracked| tracked.holders == 0)
        });
        let tracked = cluster.tracked.as_ref().expect("it was just asked to be");
        suspected.extend(tracked.first_suspected.map(|at| seconds(at - begin)));
        first.extend(tracked.first_gone.map(|at| seconds(at - begin)));
        last.extend(tracked.last_gone.filter(|_| all).map(|at| seconds(at - begin)));
        not_all += u64::from(!all);
    }
    findings([
        (Row::FirstSuspicion, Estimate::mean(&suspected)),
        (Row::FirstDown, Estimate::mean(&first)),
        (Row::AllViewsMedian, Estimate::percentile(&last, 50)),
        (Row::AllViewsTail, Estimate::percentile(&last, 99)),
        (Row::NotAll, Some(Estimate::rate(not_all, trials.into(), ""))),
    ])
}

/// A newcomer joins a settled cluster through one random member.
pub(crate) fn join<S: Subject>(ground: &S::Ground, cell: Cell, trials: u32) -> Findings {
    let (mut known, mut knows) = (vec![], vec![]);
    let others = cell.members - 1;
    for trial in 0..trials {
        let mut cluster = cell.cluster::<S>(ground, trial);
        cluster.settle(others);
        let begin = settle_down(&mut cluster);
        let newcomer = cell.last();
        let contact = Host::try_from(cluster.random_below(others as u64)).expect("it is one of the members");
        cluster.track(newcomer);
        cluster.join(newcomer, contact);
        let mut complete = None;
        cluster.run_while(begin + 300 * SECOND, SECOND / 20, |it| {
            if complete.is_none() && it.in_view(newcomer) == others {
                complete = Some(it.now);
            }
            let known_at = it.tracked.iter().flat_map(|tracked| &tracked.up_at[..others]);
            complete.is_some() && known_at.flatten().count() == others
        });
        let tracked = cluster.tracked.as_ref().expect("it was just asked to be");
        let known_by: Vec<Micros> = tracked.up_at[..others].iter().copied().flatten().collect();
        known.push(if known_by.len() == others {
            known_by.iter().max().map_or(0.0, |at| seconds(at - begin))
        } else {
            f64::INFINITY
        });
        knows.push(complete.map_or(f64::INFINITY, |at| seconds(at - begin)));
    }
    findings([
        (Row::JoinMedian, Estimate::percentile(&known, 50)),
        (Row::JoinTail, Estimate::percentile(&known, 99)),
        (Row::NewcomersView, Estimate::percentile(&knows, 50)),
        (Row::NewcomersViewMean, Estimate::mean(&knows)),
    ])
}

/// All members start empty within one second, and join through the first.
pub(crate) fn boot<S: Subject>(ground: &S::Ground, cell: Cell, trials: u32) -> Findings {
    let mut taken = vec![];
    for trial in 0..trials {
        let mut cluster = cell.cluster::<S>(ground, trial);
        let mut starts: Vec<(Micros, Host)> = (1..=cell.last()).map(|host| (0, host)).collect();
        starts.iter_mut().for_each(|(at, _)| *at = cluster.random_below(SECOND));
        starts.sort_unstable();
        // The first has somebody to ask as well.
        cluster.join(0, 1);
        for (at, host) in starts {
            cluster.run_until(at);
            cluster.join(host, 0);
        }
        let others = cell.members - 1;
        let complete = cluster.run_while(300 * SECOND, SECOND / 10, |it| {
            (0..=cell.last()).all(|host| it.in_view(host) == others)
        });
        taken.push(if complete { seconds(cluster.now) } else { f64::INFINITY });
    }
    findings([(Row::Boot, Estimate::mean(&taken))])
}

/// One settled member says goodbye: a single event, from a single source.
pub(crate) fn goodbye<S: Subject>(ground: &S::Ground, cell: Cell, trials: u32) -> Findings {
    let mut rounds = vec![];
    // Members leave one after another, as a settled cluster of thousands takes longer to make than to use.
    let mut cluster = cell.cluster::<S>(ground, 0);
    cluster.settle(cell.members);
    settle_down(&mut cluster);
    for leaver in 0..trials {
        let begin = cluster.now;
        cluster.track(leaver);
        cluster.leave(leaver);
        cluster.run_while(begin + 60 * SECOND, GOSSIP_ROUND, |it| {
            it.tracked.as_ref().is_some_and(|tracked| tracked.holders == 0)
        });
        let tracked = cluster.tracked.as_ref().expect("it was just asked to be");
        let last = tracked.last_gone.filter(|_| tracked.holders == 0);
        rounds.push(last.map_or(f64::INFINITY, |at| (at - begin) as f64 / GOSSIP_ROUND as f64));
        cluster.run_until(begin + 5 * SECOND);
    }
    findings([(Row::Rounds, Estimate::percentile(&rounds, 50))])
}

/// Nothing happens; all suspicions and deaths are false.
pub(crate) fn steady<S: Subject>(ground: &S::Ground, cell: Cell, node_hours: u32) -> Findings {
    let mut cluster = cell.cluster::<S>(ground, 0);
    let span = run_steadily(&mut cluster, cell, node_hours);
    let (traffic, member_seconds) = (cluster.traffic(), cell.members as f64 * span);
    let hours = member_seconds / 3_600.0;
    findings([
        (Row::Suspicions, Some(Estimate::rate(cluster.healthy.suspicions, hours, HOURS))),
        (Row::Deaths, Some(Estimate::rate(cluster.healthy.deaths.len() as u64, hours, HOURS))),
        (Row::Messages, Some(Estimate::plenty(traffic.messages as f64 / member_seconds, hours, HOURS))),
        (Row::Bytes, Some(Estimate::plenty(traffic.bytes as f64 / member_seconds, hours, HOURS))),
    ])
}

/// A tenth of the members has bursts of 5 s in every 20 s in which each packet takes 1 to 3 s more.
pub(crate) fn slow<S: Subject>(ground: &S::Ground, cell: Cell, node_hours: u32) -> Findings {
    let trouble = Trouble::Delay(SECOND, 3 * SECOND);
    let bursts = Bursts { trouble, length: 5 * SECOND, cycle: 20 * SECOND };
    let mut cluster = cell.troubled::<S>(ground, 0, Some(bursts));
    let hours = run_steadily(&mut cluster, cell, node_hours) / 3_600.0;
    let slow = cluster.slow_members();
    let rate = |deaths: usize, members: usize| Estimate::rate(deaths as u64, members as f64 * hours, HOURS);
    findings([
        (Row::SlowHealthy, Some(rate(cluster.healthy.deaths.len(), cell.members - slow))),
        (Row::SlowSlow, Some(rate(cluster.slow.deaths.len(), slow))),
    ])
}

/// A tenth of the members has bursts in which nothing comes or goes while its timers run on.
pub(crate) fn hold<S: Subject>(
    ground: &S::Ground,
    cell: Cell,
    node_hours: u32,
    length: Micros,
    rows: [Row; 2],
) -> Findings {
    let bursts = Bursts { trouble: Trouble::Hold, length, cycle: 60 * SECOND };
    let (mut deaths, mut removals, mut healthy_hours) = (0, 0, 0.0);
    let cycles = span(cell, node_hours) / bursts.cycle;
    let seeds = (1..=HOLD_SEEDS_MAX).rev().find(|seeds| cycles / u64::from(*seeds) >= 3).unwrap_or(1);
    for trial in 0..seeds {
        let mut cluster = cell.troubled::<S>(ground, trial, Some(bursts));
        let span = run_steadily(&mut cluster, cell, node_hours.div_ceil(seeds));
        deaths += cluster.healthy.deaths.len() as u64;
        removals += cluster.healthy.removals;
        healthy_hours += span * (cell.members - cluster.slow_members()) as f64 / 3_600.0;
    }
    let [died, removed] = rows;
    findings([
        (died, Some(Estimate::rate(deaths, healthy_hours, HOURS))),
        (removed, Some(Estimate::rate(removals, healthy_hours, HOURS))),
    ])
}

/// Runs for so many node-hours after a warm-up; returns how many seconds that were.
fn run_steadily<S: Subject>(cluster: &mut Cluster<'_, S>, cell: Cell, node_hours: u32) -> f64 {
    let span = span(cell, node_hours);
    cluster.settle(cell.members);
    cluster.run_until(WARM_UP);
    cluster.count_anew();
    cluster.run_until(WARM_UP + span);
    seconds(span)
}

/// How long all members run together for so many node-hours.
fn span(cell: Cell, node_hours: u32) -> Micros {
    Micros::from(node_hours) * 3_600 * SECOND / cell.members as u64
}

/// Lets a settled cluster run until a random moment, and returns it.
fn settle_down<S: Subject>(cluster: &mut Cluster<'_, S>) -> Micros {
    let begin = 5 * SECOND + cluster.random_below(SECOND);
    cluster.run_until(begin);
    begin
}

fn seconds(span: Micros) -> f64 {
    span as f64 / SECOND as f64
}

fn findings<const N: usize>(rows: [(Row, Option<Estimate>); N]) -> Findings {
    rows.into_iter().filter_map(|(row, estimate)| Some((row, estimate?))).collect()
}
