//! What a member believes of the cluster at one moment: who is there, who is alive, who owns what. Liveness never
//! changes ownership: the ring is built of every member known, whatever its state.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::wire::{MemberInfo, MemberState};
use chinwag_membership::{Membership, Name, NodeId, PartitionId, Preset, Ring, State, Tokens};
use chinwag_merkle::TreeId;
use tokio::time::Instant;

use crate::config::Config;

/// For so long after its start a member asks those it remembers for what they own, though it has not heard of them yet.
/// Otherwise it would take them for down, stand in for them with nothing, and answer that there is nothing.
const TRUSTING: Duration = Duration::from_secs(1);

/// One member in the view.
#[derive(Debug, Clone)]
pub(crate) struct KnownMember {
    pub(crate) info: MemberInfo,
    /// Nothing was heard of it since this member started.
    pub(crate) is_remembered: bool,
    pub(crate) gossip: SocketAddr,
}

/// An immutable snapshot; a new one is made at each change.
#[derive(Debug)]
pub(crate) struct View {
    pub(crate) members: BTreeMap<NodeId, KnownMember>,
    pub(crate) ring: Arc<Ring>,
    /// Names of all that the ring places, members that a preset names and nobody has met yet included.
    pub(crate) names: Arc<BTreeMap<NodeId, String>>,
    /// Until then, members that are only remembered are taken to be there.
    trusting_until: Instant,
    /// What the ring was built of.
    tokens: Arc<BTreeMap<NodeId, Tokens>>,
}

/// A replica to ask, and for whom it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) replica: NodeId,
    pub(crate) hint_for: Option<NodeId>,
}

/// Whom a request about one key can go to.
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
    /// What the machine's beliefs amount to. The ring is that of the view `before`, unless somebody joined or moved.
    pub(crate) fn of(config: &Config, machine: &Membership, before: Option<&Self>) -> Self {
        let mut members = BTreeMap::new();
        let named = config.preset.map(Preset::members).unwrap_or_default();
        let mut placed: BTreeMap<NodeId, (&Name, &Tokens)> =
            named.iter().map(|(name, tokens)| (name.id(), (name, tokens))).collect();
        for member in machine.members() {
            let record = member.record();
            placed.insert(member.id(), (&record.name, &record.tokens));
            let info = MemberInfo {
                name: record.name.to_string(),
                address: record.address,
                state: state(member.state()),
                incarnation: member.incarnation().get(),
                generation: record.generation.get(),
                refuses_writes: None,
            };
            let is_remembered = member.is_remembered();
            members.insert(member.id(), KnownMember { info, is_remembered, gossip: record.gossip });
        }
        let trusting_until = before.map_or_else(|| Instant::now() + TRUSTING, |before| before.trusting_until);
        let tokens = || placed.iter().map(|(id, (_, tokens))| (id, *tokens));
        if let Some(before) = before.filter(|before| tokens().eq(before.tokens.iter())) {
            let Self { ring, names, tokens, .. } = before;
            let (ring, names, tokens) = (ring.clone(), names.clone(), tokens.clone());
            return Self { members, ring, names, trusting_until, tokens };
        }
        let positions = placed.iter().map(|(id, (name, tokens))| (*id, tokens.positions(name)));
        Self {
            members,
            trusting_until,
            ring: Arc::new(Ring::build(config.founding.partitions, config.founding.n, positions)),
            names: Arc::new(placed.iter().map(|(id, (name, _))| (*id, name.to_string())).collect()),
            tokens: Arc::new(tokens().map(|(id, tokens)| (*id, tokens.clone())).collect()),
        }
    }

    /// Whether a request to this member is worth sending: it is not believed down, and did not leave.
    pub(crate) fn is_reachable(&self, node: NodeId) -> bool {
        self.members.get(&node).is_some_and(|it| match it.info.state {
            MemberState::Alive | MemberState::Suspect => true,
            MemberState::Down => it.is_remembered && Instant::now() < self.trusting_until,
            MemberState::Left => false,
        })
    }

    /// Where the member takes requests.
    pub(crate) fn address(&self, node: NodeId) -> Option<SocketAddr> {
        self.members.get(&node).map(|it| it.info.address)
    }

    /// The member's name, or its id if it has never been heard of.
    pub(crate) fn name(&self, node: NodeId) -> String {
        self.names.get(&node).cloned().unwrap_or_else(|| node.to_string())
    }

    /// The members that own the keys of `tree`, in preference order.
    pub(crate) fn owners(&self, tree: TreeId) -> &[NodeId] {
        self.ring.owners_of(PartitionId(tree.partition), tree.n)
    }

    /// Who stands in for them, in order.
    pub(crate) fn fallbacks(&self, tree: TreeId) -> &[NodeId] {
        self.ring.fallbacks_of(PartitionId(tree.partition), tree.n)
    }

    pub(crate) fn is_owner(&self, tree: TreeId, member: NodeId) -> bool {
        self.owners(tree).contains(&member)
    }

    /// The owners of `tree` that can be reached, those nobody suspects first.
    pub(crate) fn reachable_owners(&self, tree: TreeId) -> Vec<NodeId> {
        let state = |node: &NodeId| self.members.get(node).map(|it| it.info.state);
        let mut owners = self.owners(tree).to_vec();
        owners.retain(|&it| self.is_reachable(it));
        owners.sort_by_key(|it| state(it) == Some(MemberState::Suspect));
        owners
    }

    /// The preference list of `tree` as it can be reached now; `sloppy` lets fallbacks stand in.
    pub(crate) fn targets(&self, tree: TreeId, sloppy: bool) -> Targets {
        self.targets_that(tree, sloppy, |_| true)
    }

    /// The same, as if only those could be reached that are `fit` for the request.
    pub(crate) fn targets_that(&self, tree: TreeId, sloppy: bool, fit: impl Fn(NodeId) -> bool) -> Targets {
        let mut targets = Targets::default();
        let can_serve = |it| self.is_reachable(it) && fit(it);
        let mut fallbacks = self.fallbacks(tree).iter().copied().filter(|&it| can_serve(it));
        for &owner in self.owners(tree) {
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

fn state(state: State) -> MemberState {
    match state {
        State::Alive => MemberState::Alive,
        State::Suspect => MemberState::Suspect,
        State::Down => MemberState::Down,
        State::Left => MemberState::Left,
    }
}

#[cfg(test)]
mod tests {
    use chinwag_membership::{Copies, Generation, MemberRecord, Partitions, Position, Remembered, Time};

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
            is_remembered: false,
            gossip: SocketAddr::from(([127, 0, 0, 1], 2)),
        };
        let members = nodes.iter().copied().zip(states.map(member)).collect();
        let (names, tokens, trusting_until) = (Arc::default(), Arc::default(), Instant::now());
        (View { members, ring: Arc::new(ring), names, trusting_until, tokens }, nodes)
    }

    const ALL: TreeId = TreeId { partition: 0, n: 3 };

    fn record(name: &str, generation: u64, tokens: u16) -> Arc<MemberRecord> {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Arc::new(MemberRecord {
            name: Name::new(name).unwrap(),
            directory: 1,
            generation: Generation::new(generation).unwrap(),
            address,
            gossip: address,
            tokens: Tokens::Derived { count: tokens },
            version: String::new(),
            revision: 0,
        })
    }

    /// A machine of `a` that remembers `b` as it was.
    fn machine(config: &Config, b: Arc<MemberRecord>) -> Membership {
        let settings = chinwag_membership::Config::default().validate().unwrap();
        let me = MemberRecord::clone(&record("a", 1, 64));
        let known = vec![Remembered { record: b, left: false }];
        Membership::new(settings, me, config.founding.clone(), known, 1, Time::ORIGIN).unwrap()
    }

    #[test]
    fn the_ring_is_built_anew_only_when_somebody_joins_or_moves() {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let config = Config::new(Name::new("a").unwrap(), address);
        let first = View::of(&config, &machine(&config, record("b", 1, 64)), None);
        let restarted = View::of(&config, &machine(&config, record("b", 2, 64)), Some(&first));
        let generations =
            |view: &View| view.members.values().map(|it| it.info.generation).collect::<Vec<_>>();
        assert_ne!(generations(&first), generations(&restarted));
        assert!(Arc::ptr_eq(&first.ring, &restarted.ring), "a new generation places nothing anew");
        let moved = View::of(&config, &machine(&config, record("b", 2, 65)), Some(&restarted));
        assert!(!Arc::ptr_eq(&first.ring, &moved.ring), "other tokens do");
        let joined = View::of(&config, &machine(&config, record("c", 1, 64)), Some(&first));
        assert_eq!(joined.names.values().collect::<Vec<_>>().len(), 2);
        assert!(!Arc::ptr_eq(&first.ring, &joined.ring), "another member does");
    }

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

    #[tokio::test(start_paused = true)]
    async fn members_that_are_only_remembered_are_asked_at_first() {
        let config = Config::new(Name::new("a").unwrap(), SocketAddr::from(([127, 0, 0, 1], 1)));
        let machine = machine(&config, record("b", 1, 64));
        let b = Name::new("b").unwrap().id();
        let view = View::of(&config, &machine, None);
        assert_eq!(view.members[&b].info.state, MemberState::Down);
        assert!(view.is_reachable(b));
        tokio::time::advance(TRUSTING).await;
        assert!(!view.is_reachable(b) && !View::of(&config, &machine, Some(&view)).is_reachable(b));
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
    fn a_bucket_with_more_copies_has_more_owners_and_fewer_fallbacks() {
        use MemberState::{Alive, Down};
        let (view, nodes) = view([Alive, Down, Alive, Alive, Alive]);
        let four = TreeId { n: 4, ..ALL };
        assert_eq!((view.owners(four), view.fallbacks(four)), (&nodes[..4], &nodes[4..]));
        assert!(view.is_owner(four, nodes[3]) && !view.is_owner(ALL, nodes[3]));
        assert_eq!(view.targets(four, true).stand_ins[0].replica, nodes[4]);
        assert_eq!(view.owners(TreeId { n: 7, ..ALL }).len(), 5, "no more than there are");
    }

    #[test]
    fn suspects_are_asked_to_coordinate_last() {
        use MemberState::{Alive, Down, Suspect};
        let (view, nodes) = view([Suspect, Alive, Alive, Alive, Down]);
        assert_eq!(view.reachable_owners(ALL), [nodes[1], nodes[2], nodes[0]]);
    }
}
