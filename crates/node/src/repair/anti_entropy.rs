//! Anti-entropy: compares partitions with another replica in the background and makes both hold the same.
//!
//! A round asks one member which of the common partitions differ (one message), then runs an exchange for each that
//! does. The rounds are here; one exchange, from either side, is in [`super::exchange`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::wire::RepairReport;
use chinwag_membership::NodeId;
use chinwag_merkle::{Roots, Sum, TreeId, element};
use futures_util::stream::{self, StreamExt};
use rand::RngExt;
use rand::seq::IndexedRandom;
use tokio::time::{sleep, timeout};

use super::exchange::{self, ExchangeError, Swapped};
use crate::core::{Core, MEMBER_TIMEOUT};
use crate::wire::{MemberRequest, MemberResponse};

/// Exchanges over different trees that run side by side, with the one partner of a round.
pub(crate) const EXCHANGES_AT_ONCE: usize = 8;
/// A member that is in another round is asked again after this long, for a while.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
const BUSY_RETRIES: u32 = 50;

/// Runs rounds with randomly chosen members until this one stops.
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
        let Some(partner) = core.draw(|rng| partners.choose(rng).copied()) else { continue };
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
    if let Err(reason) = round(core, partner, &mut report).await {
        tracing::debug!(member = %name, %reason, "round of anti-entropy broke off");
    }
    if report.keys_sent + report.keys_received > 0 {
        let RepairReport { keys_sent, keys_received, partitions_differed, .. } = report;
        tracing::info!(member = %name, partitions_differed, keys_sent, keys_received, "anti-entropy repaired");
    }
}

/// One round with each reachable member that shares a partition.
pub(crate) async fn repair_all(core: &Core) -> RepairReport {
    let mut report = RepairReport::default();
    for partner in partners(core) {
        if let Err(reason) = round(core, partner, &mut report).await {
            report.failed.push((core.view().name(partner), reason));
        }
    }
    report
}

/// Answers which of another member's trees differ from this one's.
pub(crate) fn compare(core: &Core, roots: &Roots) -> MemberResponse {
    match roots.differing(core.tree_key.id(), |tree| core.root(tree)) {
        Ok(differing) => MemberResponse::Differing(differing),
        Err(mismatch) => MemberResponse::Failed(mismatch.to_string()),
    }
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
    let held: BTreeSet<u16> = core.store.partitions_with_data().into_iter().collect();
    let partitions = view.ring.partitions().iter().filter(|&it| view.ring.is_owner(it, partner));
    let mine = partitions.filter(|&it| view.ring.is_owner(it, core.me) || held.contains(&it.0));
    mine.map(|it| TreeId { partition: it.0, n: core.founding.n.get() }).collect()
}

/// Compares all shared trees with `partner` and repairs those that differ.
async fn round(core: &Core, partner: NodeId, report: &mut RepairReport) -> Result<(), String> {
    let _turn = core.exchange_out.acquire().await.map_err(|_closed| "the member is stopping".to_owned())?;
    let salt = core.draw(|rng| rng.random());
    let totals = shared_trees(core, partner).into_iter().filter_map(|it| Some((it, core.root(it)?)));
    let request = MemberRequest::Compare(Roots::new(core.tree_key.id(), salt, totals));
    let answer = timeout(MEMBER_TIMEOUT, core.ask_member(partner, &request)).await;
    let differing = match answer.map_err(|_elapsed| "no answer in time".to_owned())?? {
        MemberResponse::Differing(differing) => differing,
        MemberResponse::Failed(reason) => return Err(reason),
        _ => return Err("the member answered another question".to_owned()),
    };
    report.exchanges += 1;
    core.counters.exchanges.increment();
    report.partitions_differed += differing.len() as u64;
    let exchanges = stream::iter(differing).map(|tree| exchange_patiently(core, partner, tree));
    let mut exchanges = exchanges.buffer_unordered(EXCHANGES_AT_ONCE);
    while let Some(ended) = exchanges.next().await {
        let swapped = ended.map_err(|error| error.to_string())?;
        report.keys_sent += swapped.sent;
        report.keys_received += swapped.received;
    }
    Ok(())
}

async fn exchange_patiently(core: &Core, partner: NodeId, tree: TreeId) -> Result<Swapped, ExchangeError> {
    for _ in 0..BUSY_RETRIES {
        match exchange::initiate(core, partner, tree).await {
            Err(ExchangeError::Busy) => sleep(BUSY_PAUSE).await,
            ended => return ended,
        }
    }
    Err(ExchangeError::Busy)
}

impl Core {
    /// What the replicas of a tree compare: all its keys, and the partition's clock as one more, since clocks are
    /// brought together by exchanges too.
    fn root(&self, tree: TreeId) -> Option<Sum> {
        if tree.n != self.founding.n.get() {
            return None;
        }
        let mut sum = self.store.tree(tree.partition, |directory| directory.total())?;
        let clock =
            postcard::to_stdvec(&self.store.clock(tree.partition)).expect("a clock always serializes");
        sum.add(element(&self.tree_key, b"clock", &clock));
        Some(sum)
    }
}
