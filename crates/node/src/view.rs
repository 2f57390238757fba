//! What a member believes of the cluster at one moment: who is there, who is alive, who owns what. Liveness never
//! changes ownership: the ring is built of every member known, whatever its state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use chinwag_client::wire::{MemberInfo, MemberState};
use chinwag_membership::{NodeId, PartitionId, Ring};

/// One member in the view.
#[derive(Debug, Clone)]
pub(crate) struct KnownMember {
    pub(crate) info: MemberInfo,
    pub(crate) gossip: SocketAddr,
}

/// An immutable snapshot; a new one is made at each change.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) members: BTreeMap<NodeId, KnownMember>,
    pub(crate) ring: Arc<Ring>,
    /// Names of all that the ring places, members that a preset names and nobody has met yet included.
    pub(crate) names: BTreeMap<NodeId, String>,
}

/// A replica to ask, and for whom it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) replica: NodeId,
    pub(crate) hint_for: Option<NodeId>,
}

/// Whom a request for one partition can go to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Owners that can be reached, in preference order.
    pub(crate) primaries: Vec<Target>,
    /// Fallbacks for the owners that cannot, in order; none for a strict request.
    pub(crate) stand_ins: Vec<Target>,
    /// Owners that nobody stands in for.
    pub(crate) unserved: Vec<NodeId>,
}

impl Targets {
    /// How many stand-ins may count towards `needed` answers: only as many as there are primaries too few. While enough
    /// primaries can be reached, reads and writes meet at them.
    pub(crate) fn stand_ins_counted(&self, needed: usize) -> usize {
        needed.saturating_sub(self.primaries.len()).min(self.stand_ins.len())
    }

    /// How many answers can be counted of a request that needs `needed`.
    pub(crate) fn countable(&self, needed: usize) -> usize {
        self.primaries.len() + self.stand_ins_counted(needed)
    }
}

impl View {
    /// Whether a request to this member is worth sending: it is not believed down, and did not leave.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.members
            .get(&node)
            .is_some_and(|it| matches!(it.info.state, MemberState::Alive | MemberState::Suspect))
    }

    /// Where the member takes requests.
    pub(crate) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.members.get(&node).map(|it| it.info.address)
    }

    /// The member's name, or its id if it has never been heard of.
    pub(crate) fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| node.to_string())
    }

    /// The owners of `partition` that can be reached, those nobody suspects first.
    pub(crate) fn reachable_owners(&self, partition: PartitionId) -> Vec<NodeId> {
        let state = |node: &NodeId| self.members.get(node).map(|it| it.info.state);
        let mut owners = self.ring.owners(partition).to_vec();
        owners.retain(|&it| self.is_reachable(it));
        owners.sort_by_key(|it| state(it) == Some(MemberState::Suspect));
        owners
    }

    /// The preference list of `partition` as it can be reached now; `sloppy` lets fallbacks stand in.
    pub(crate) fn targets(&self, partition: PartitionId, sloppy: bool) -> Targets {
        self.targets_that(partition, sloppy, |_| true)
    }

    /// The same, as if only those could be reached that are `fit` for the request.
    pub(crate) fn targets_that(
        &self,
        partition: PartitionId,
        sloppy: bool,
        fit: impl Fn(NodeId) -> bool,
    ) -> Targets {
        let mut targets = Targets::default();
        let can_serve = |it| self.is_reachable(it) && fit(it);
        let mut fallbacks = self.ring.fallbacks(partition).iter().copied().filter(|&it| can_serve(it));
        for &owner in self.ring.owners(partition) {
            if can_serve(owner) {
                targets.primaries.push(Target { replica: owner, hint_for: None });
            } else if let Some(replica) = fallbacks.next().filter(|_| sloppy) {
                targets.stand_ins.push(Target { replica, hint_for: Some(owner) });
            } else {
                targets.unserved.push(owner);
            }
        }
        targets
    }
}

#[cfg(test)]
mod tests {
    use chinwag_membership::{Copies, Name, Partitions, Position};

    use super::*;

    /// Five members on a ring of one partition, in the order of their tokens: three owners, two fallbacks.
    fn view(states: [MemberState; 5]) -> (View, Vec<NodeId>) {
        let nodes: Vec<NodeId> = (0..5).map(|i| NodeId::of(&Name::new(format!("m{i}")).unwrap())).collect();
        // Clockwise from the end of the ring comes its beginning.
        let tokens = (0..).zip(&nodes).map(|(i, &node)| (node, vec![Position(i)]));
        let ring = Ring::build(Partitions::new(1).unwrap(), Copies::new(3).unwrap(), tokens);
        let member = |state| KnownMember {
            info: MemberInfo {
                name: String::new(),
                address: SocketAddr::from(([127, 0, 0, 1], 1)),
                state,
                incarnation: 0,
                generation: 1,
                refuses_writes: None,
            },
            gossip: SocketAddr::from(([127, 0, 0, 1], 2)),
        };
        let members = nodes.iter().copied().zip(states.map(member)).collect();
        (View { members, ring: Arc::new(ring), names: BTreeMap::new() }, nodes)
    }

    const ALL: PartitionId = PartitionId(0);

    #[test]
    fn fallbacks_stand_in_for_unreachable_owners_in_order_each_once() {
        use MemberState::{Alive, Down, Left, Suspect};
        let (view, nodes) = view([Suspect, Down, Left, Alive, Alive]);
        let target = |replica: usize, hint_for: Option<usize>| Target {
            replica: nodes[replica],
            hint_for: hint_for.map(|it| nodes[it]),
        };
        let sloppy = view.targets(ALL, true);
        assert_eq!(sloppy.primaries, [target(0, None)]);
        assert_eq!(sloppy.stand_ins, [target(3, Some(1)), target(4, Some(2))]);
        assert_eq!(sloppy.unserved, []);
        let strict = view.targets(ALL, false);
        assert_eq!((strict.primaries, strict.unserved), (vec![target(0, None)], vec![nodes[1], nodes[2]]));
        assert_eq!(strict.stand_ins, []);
    }

    #[test]
    fn stand_ins_count_only_where_primaries_are_too_few() {
        use MemberState::{Alive, Down};
        let (view, _) = view([Alive, Alive, Down, Alive, Alive]);
        let targets = view.targets(ALL, true);
        let counted = |needed| (targets.stand_ins_counted(needed), targets.countable(needed));
        assert_eq!([counted(1), counted(2), counted(3)], [(0, 2), (0, 2), (1, 3)]);
    }

    #[test]
    fn owners_that_no_fallback_can_stand_in_for_are_named() {
        use MemberState::{Alive, Down};
        let (view, nodes) = view([Down, Down, Alive, Down, Alive]);
        let targets = view.targets(ALL, true);
        assert_eq!(targets.unserved, [nodes[1]]);
        assert_eq!((targets.primaries.len(), targets.stand_ins.len()), (1, 1));
    }

    #[test]
    fn suspects_are_asked_to_coordinate_last() {
        use MemberState::{Alive, Down, Suspect};
        let (view, nodes) = view([Suspect, Alive, Alive, Alive, Down]);
        assert_eq!(view.reachable_owners(ALL), [nodes[1], nodes[2], nodes[0]]);
    }
}
