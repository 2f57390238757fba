//! Anti-entropy: compares partitions with another replica in the background and makes both hold the same.
//!
//! A round asks one member which of the common partitions differ (one message), then runs an exchange for each that
//! does, and removes the tombstones that by then all their owners are known to have seen. The rounds are here; one
//! exchange, from either side, is in [`super::exchange`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use chinwag_client::wire::{Refusal, RepairReport, RepairScope};
use chinwag_membership::NodeId;
use chinwag_merkle::{Cut, ROOTS_MAX, Roots, Sum, TreeId, element};
use chinwag_storage::{Causal, Life, WriteError};
use futures_util::stream::{self, StreamExt};
use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::time::{sleep, timeout};

use super::exchange::{self, ExchangeError, Swapped};
use super::tending;
use crate::coordinator::{internal, invalid};
use crate::core::{Core, MEMBER_TIMEOUT};
use crate::wire::{MemberRequest, MemberResponse};

/// Exchanges over different trees that run side by side, with the one partner of a round.
pub(crate) const EXCHANGES_AT_ONCE: usize = 8;
/// A member that is in another round is asked again after this long, for a while.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_RETRIES: u32 = 50;

/// A version that is younger may still be on its way to some replica: no write and no hint that is not late takes longer.
const GRACE_MILLIS: u64 = 5_000;

/// Records of expired values are removed this long after they expired: what one member's clock has removed is over for
/// all, so that a clock ahead by less ends no value early.
const EXPIRY_GRACE: Duration = Duration::from_secs(60);

/// Runs rounds until this member stops: with one that is owed a write for which no hint could be kept, or with a random
/// one.
pub(crate) async fn run(core: Arc<Core>) {
    let Some(interval) = core.config.anti_entropy else { return };
    loop {
        let pause = core.draw(|rng| interval.mul_f64(rng.random_range(0.5..1.5)));
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = sleep(pause) => {}
        }
        let partners = partners(&core);
        let owed = core.first_owed(&partners);
        let Some(partner) = owed.or_else(|| core.draw(|rng| partners.choose(rng).copied())) else { continue };
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = background_round(&core, partner) => {}
        }
    }
}

async fn background_round(core: &Core, partner: NodeId) {
    let name = core.view().name(partner);
    let mut report = RepairReport::default();
    let cut = Cut::at(core.now(), GRACE_MILLIS);
    match round(core, partner, cut, None, &mut report).await {
        Ok(()) => core.no_longer_owes(partner),
        Err(reason) => tracing::debug!(member = %name, %reason, "round of anti-entropy broke off"),
    }
    purge(core).await;
    if report.keys_sent + report.keys_received > 0 {
        let RepairReport { keys_sent, keys_received, partitions_differed, .. } = report;
        tracing::info!(member = %name, partitions_differed, keys_sent, keys_received, "anti-entropy repaired");
    }
}

/// One round with each reachable member that shares a partition, or with the one that is named, over everything, however
/// young.
pub(crate) async fn repair(core: &Core, scope: &RepairScope) -> Result<RepairReport, Refusal> {
    let mut partners = partners(core);
    if let Some(name) = &scope.with {
        let view = core.view();
        if !view.names.values().any(|it| it == name) {
            return Err(invalid(format!("there is no member named {name}")));
        }
        partners.retain(|&it| view.name(it) == *name);
    }
    let count = core.founding.partitions.count();
    let is_off = |&(first, last): &(u16, u16)| first > last || u32::from(last) >= count;
    if let Some((first, last)) = scope.partitions.filter(is_off) {
        return Err(invalid(format!("there are no partitions {first} to {last}: there are {count}, from 0")));
    }
    if let Err(error) = tending::mend(core).await {
        return Err(internal(error.to_string()));
    }
    let mut report = RepairReport::default();
    for partner in partners {
        if let Err(reason) = round(core, partner, Cut::NONE, scope.partitions, &mut report).await {
            report.failed.push((core.view().name(partner), reason));
        }
    }
    purge(core).await;
    Ok(report)
}

/// Answers which of another member's trees differ from this one's, once what it says of this one is durable.
pub(crate) async fn compare(core: &Core, from: NodeId, roots: &Roots) -> MemberResponse {
    let (cut, latest) = (roots.cut(), Cut::at(core.now(), GRACE_MILLIS));
    if cut != Cut::NONE && latest < cut {
        return MemberResponse::Earlier(latest);
    }
    // Whoever asks for everything waits for it; in the background what is not sure yet is left to the next round.
    if cut == Cut::NONE
        && let Err(error) = tending::mend(core).await
    {
        return MemberResponse::Failed(error.to_string());
    }
    let mut seen = Seen::new(core);
    let mut known = Vec::new();
    let compared = roots.differing(core.tree_key.id(), |tree| {
        known.push(tree);
        core.root(tree, cut, &mut seen)
    });
    let differing = match compared {
        Ok(differing) => differing,
        Err(mismatch) => return MemberResponse::Failed(mismatch.to_string()),
    };
    if let Err(error) = core.store.barrier().await {
        return MemberResponse::Failed(error.to_string());
    }
    core.pairs.compared(from, &known, &differing);
    seen.by(core, from, &differing);
    MemberResponse::Differing(differing)
}

/// Reachable members with which some partition is to be compared.
fn partners(core: &Core) -> Vec<NodeId> {
    let view = core.view();
    let others = view.members.keys().copied().filter(|&it| it != core.me && view.is_reachable(it));
    others.filter(|&it| !shared_trees(core, it).is_empty()).collect()
}

/// The trees of what `partner` owns and this member owns or holds. A ring change leaves records with members that no
/// longer own them: this is how their new owners get them.
fn shared_trees(core: &Core, partner: NodeId) -> Vec<TreeId> {
    let view = core.view();
    let held: BTreeSet<TreeId> = core.store.trees_with_data().into_iter().collect();
    let every_n = core.config.buckets.every_n(core.founding.n);
    let trees = view
        .ring
        .partitions()
        .iter()
        .flat_map(|partition| every_n.iter().map(move |&n| TreeId { partition: partition.0, n }));
    let theirs = trees.filter(|&it| view.is_owner(it, partner));
    theirs.filter(|&it| view.is_owner(it, core.me) || held.contains(&it)).collect()
}

/// Compares all shared trees with `partner`, as of `cut` or the partner's if that is earlier, and repairs those that differ.
async fn round(
    core: &Core,
    partner: NodeId,
    cut: Cut,
    within: Option<(u16, u16)>,
    report: &mut RepairReport,
) -> Result<(), String> {
    let _turn = core.exchange_out.acquire().await.map_err(|_closed| "the member is stopping".to_owned())?;
    let mut trees = shared_trees(core, partner);
    trees.retain(|tree| within.is_none_or(|(first, last)| (first..=last).contains(&tree.partition)));
    report.exchanges += 1;
    core.counters.exchanges.increment();
    let mut first_error = None;
    for trees in trees.chunks(ROOTS_MAX) {
        let (cut, differing) = match ask_differing(core, partner, cut, trees).await? {
            Compared::Differing(differing) => (cut, differing),
            Compared::Earlier(cut) => match ask_differing(core, partner, cut, trees).await? {
                Compared::Differing(differing) => (cut, differing),
                Compared::Earlier(_) => return Err("its clock goes back".to_owned()),
            },
        };
        report.partitions_differed += differing.len() as u64;
        let exchanges = stream::iter(differing).map(|tree| exchange_whole(core, partner, tree, cut));
        let mut exchanges = exchanges.buffer_unordered(EXCHANGES_AT_ONCE);
        while let Some((swapped, ended)) = exchanges.next().await {
            report.keys_sent += swapped.sent;
            report.keys_received += swapped.received;
            // One tree that cannot be repaired is no reason to leave the others.
            if let Err(error) = ended {
                first_error.get_or_insert(error);
            }
        }
    }
    first_error.map_or(Ok(()), |error| Err(error.to_string()))
}

/// What a comparison of roots says.
enum Compared {
    Differing(Vec<TreeId>),
    /// Writes of after this cut may still be on their way to the partner.
    Earlier(Cut),
}

/// Asks which of `trees` differ at `partner` as of `cut`.
async fn ask_differing(core: &Core, partner: NodeId, cut: Cut, trees: &[TreeId]) -> Result<Compared, String> {
    let salt = core.draw(|rng| rng.random());
    let mut seen = Seen::new(core);
    let totals = trees.iter().filter_map(|&it| Some((it, core.root(it, cut, &mut seen)?)));
    let roots = Roots::new(core.tree_key.id(), cut, salt, totals);
    core.store.barrier().await.map_err(|error| error.to_string())?;
    let request = MemberRequest::Compare { from: core.me, roots };
    let answer = timeout(MEMBER_TIMEOUT, core.ask_member(partner, &request)).await;
    match answer.map_err(|_elapsed| "no answer in time".to_owned())?? {
        MemberResponse::Differing(differing) => {
            core.pairs.compared(partner, trees, &differing);
            seen.by(core, partner, &differing);
            Ok(Compared::Differing(differing))
        }
        MemberResponse::Earlier(cut) => Ok(Compared::Earlier(cut)),
        MemberResponse::Failed(reason) => Err(reason),
        _ => Err("the member answered another question".to_owned()),
    }
}

/// Exchanges over one tree until all of it was looked at; what was swapped before an error counts.
async fn exchange_whole(
    core: &Core,
    partner: NodeId,
    tree: TreeId,
    cut: Cut,
) -> (Swapped, Result<(), ExchangeError>) {
    let mut total = Swapped::default();
    let mut busy = 0;
    loop {
        match exchange::initiate(core, partner, tree, cut, total.resume).await {
            Ok(swapped) => {
                core.pairs.exchanged(partner, tree, &swapped);
                core.counters.repair_bytes.add(swapped.bytes);
                core.counters.repair_round_trips.add(swapped.round_trips);
                total.add(&swapped);
                total.resume = swapped.resume;
                if swapped.resume.is_none() {
                    return (total, Ok(()));
                }
            }
            Err(ExchangeError::Busy) if busy < BUSY_RETRIES => {
                busy += 1;
                sleep(BUSY_PAUSE).await;
            }
            Err(error) => return (total, Err(error)),
        }
    }
}

/// Removes what tombstones can go.
async fn purge(core: &Core) {
    for tree in core.store.trees_with_tombstones(core.surely_over()) {
        let Some(others) = core.lives_of_other_owners(tree) else { continue };
        if let Err(error) = purge_tree(core, tree, &others).await {
            tracing::debug!(%error, "tombstones stay");
            return;
        }
    }
}

async fn purge_tree(core: &Core, tree: TreeId, others: &[Life]) -> Result<(), WriteError> {
    loop {
        let purged = core.store.purge(tree, others, core.surely_over())?;
        core.counters.tombstones_purged.add(purged.keys);
        if !purged.more {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
}

/// The clocks that went into roots, of trees whose tombstones wait for others to have seen them. A member whose
/// root is the same has seen the same.
#[derive(Debug)]
struct Seen {
    wanted: BTreeSet<TreeId>,
    clocks: BTreeMap<TreeId, Causal>,
}

impl Seen {
    fn new(core: &Core) -> Self {
        let wanted = core.store.trees_with_tombstones(core.surely_over()).into_iter().collect();
        Self { wanted, clocks: BTreeMap::new() }
    }

    /// Notes that `member` has seen all of them but those of the trees that differ.
    fn by(mut self, core: &Core, member: NodeId, differing: &[TreeId]) {
        for tree in differing {
            self.clocks.remove(tree);
        }
        for (tree, clock) in self.clocks {
            core.hear_clock(tree, member, &clock);
        }
    }
}

impl Core {
    /// The wall time by which what expired is over for every member whose clock is not off by more than may be.
    fn surely_over(&self) -> u64 {
        self.now().saturating_sub(u64::try_from(EXPIRY_GRACE.as_millis()).unwrap_or(u64::MAX))
    }

    /// What the replicas of a tree compare: all its keys, and its clock as one more, since clocks are
    /// brought together by exchanges too.
    fn root(&self, tree: TreeId, cut: Cut, seen: &mut Seen) -> Option<Sum> {
        let (mut sum, clock) = self.store.root(tree, cut)?;
        let bytes = postcard::to_stdvec(&clock).expect("a clock always serializes");
        sum.add(element(&self.tree_key, b"clock", &bytes));
        if seen.wanted.contains(&tree) {
            seen.clocks.insert(tree, clock);
        }
        Some(sum)
    }

    /// Tells the store what another member has seen of a tree, in the life in which it is known now.
    pub(super) fn hear_clock(&self, tree: TreeId, member: NodeId, clock: &Causal) {
        if let Some(life) = self.life_of(member) {
            self.store.hear_clock(tree, life, clock);
        }
    }

    fn life_of(&self, member: NodeId) -> Option<Life> {
        let generation = self.view().members.get(&member)?.info.generation;
        Some(Life { member: member.0, generation })
    }

    /// The owners of a tree but this member, whether they are there or not; `None` if one was never met.
    fn lives_of_other_owners(&self, tree: TreeId) -> Option<Vec<Life>> {
        let view = self.view();
        let others = view.owners(tree).iter().filter(|&&it| it != self.me);
        others.map(|&it| self.life_of(it)).collect()
    }

    /// Notes that `member` misses a write for which no hint could be kept: it is the next to be compared with.
    pub(crate) fn owes(&self, member: NodeId) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).insert(member);
    }

    fn no_longer_owes(&self, member: NodeId) {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner).remove(&member);
    }

    fn first_owed(&self, reachable: &[NodeId]) -> Option<NodeId> {
        let owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        reachable.iter().copied().find(|it| owed.contains(it))
    }
}
