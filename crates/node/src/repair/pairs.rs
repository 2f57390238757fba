//! Owns what this member knows of its trees beside those of other members: when they were last equal, and what repair has
//! cost. Refuses to outlive the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chinwag_client::wire::PairStatus;
use chinwag_membership::NodeId;
use chinwag_merkle::TreeId;
use tokio::time::Instant;

use super::exchange::Swapped;

/// Every pair of a tree and a member that it was compared with.
#[derive(Debug, Default)]
pub(crate) struct Pairs(Mutex<BTreeMap<(TreeId, NodeId), Pair>>);

#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    compared: Option<Instant>,
    clean: Option<Instant>,
    exchanges: u64,
    took: Swapped,
}

impl Pairs {
    /// Notes that these trees were compared with a member's, and which of them were not equal.
    pub(crate) fn compared(&self, member: NodeId, trees: &[TreeId], differing: &[TreeId]) {
        let now = Instant::now();
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for tree in trees {
            let pair = pairs.entry((*tree, member)).or_default();
            pair.compared = Some(now);
            if !differing.contains(tree) {
                pair.clean = Some(now);
            }
        }
    }

    /// Notes an exchange.
    pub(crate) fn exchanged(&self, member: NodeId, tree: TreeId, swapped: &Swapped) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pairs.entry((tree, member)).or_default();
        pair.exchanges += 1;
        pair.took.add(swapped);
        if swapped.clean {
            pair.clean = Some(Instant::now());
        }
    }

    /// All pairs of a partition, or of all, in order.
    pub(crate) fn status(&self, partition: Option<u16>, name: impl Fn(NodeId) -> String) -> Vec<PairStatus> {
        let now = Instant::now();
        let ago = |moment: Option<Instant>| {
            moment.map(|it| u64::try_from((now - it).as_millis()).unwrap_or(u64::MAX))
        };
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = pairs.iter().filter(|((tree, _), _)| partition.is_none_or(|it| it == tree.partition));
        asked
            .map(|((tree, member), pair)| PairStatus {
                partition: tree.partition,
                n: tree.n,
                member: name(*member),
                compared_ago_ms: ago(pair.compared),
                clean_ago_ms: ago(pair.clean),
                exchanges: pair.exchanges,
                bytes: pair.took.bytes,
                round_trips: pair.took.round_trips,
                keys_sent: pair.took.sent,
                keys_received: pair.took.received,
            })
            .collect()
    }

    /// How long ago the pair was equal that has been so the least lately, of those `wanted`; `None` if all were never
    /// compared.
    pub(crate) fn oldest_clean(&self, wanted: impl Fn(TreeId, NodeId) -> bool) -> Option<u64> {
        let now = Instant::now();
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = pairs.iter().filter(|((tree, member), _)| wanted(*tree, *member));
        known.filter_map(|(_, pair)| Some((now - pair.clean?).as_secs())).max()
    }
}
