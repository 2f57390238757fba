//! The laws of placement, and the ring against a walk written the obvious way.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::{Just, Strategy, any, proptest};
use proptest::{prop_assert, prop_assert_eq, prop_oneof};

use super::*;
use crate::identity::Name;
use crate::ring::tokens::Tokens;

type Tokened = BTreeMap<NodeId, Vec<Position>>;

/// Positions that often coincide and often are the ends of partitions.
fn position() -> impl Strategy<Value = Position> {
    prop_oneof![
        any::<u128>().prop_map(Position),
        (0_u128..16).prop_map(|i| Position((i << 124) | (u128::MAX >> 4))),
        Just(Position(0)),
    ]
}

fn members() -> impl Strategy<Value = Tokened> {
    btree_map((0_u64..40).prop_map(NodeId), vec(position(), 1..6), 0..12)
}

fn partitions() -> impl Strategy<Value = Partitions> {
    (0_u32..7).prop_map(|bits| Partitions::new(1 << bits).unwrap())
}

fn copies() -> impl Strategy<Value = Copies> {
    (1..=N_MAX).prop_map(|n| Copies::new(n).unwrap())
}

/// Clockwise from the last position of the partition, as the rule reads.
fn walk(members: &Tokened, from: Position) -> Vec<NodeId> {
    let mut tokens: Vec<_> =
        members.iter().flat_map(|(id, at)| at.iter().map(move |at| (*at, *id))).collect();
    tokens.sort_unstable();
    let (before, after): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|(at, _)| *at < from);
    let mut met = Vec::new();
    for (_, member) in after.into_iter().chain(before) {
        if !met.contains(&member) {
            met.push(member);
        }
    }
    met
}

proptest! {
    #[test]
    fn owners_then_fallbacks_are_the_members_met_clockwise(members in members(), q in partitions(), n in copies()) {
        let ring = Ring::build(q, n, members.clone());
        for partition in q.iter() {
            let met = walk(&members, q.last(partition));
            let owners = usize::from(n.get()).min(members.len());
            prop_assert_eq!(ring.owners(partition), &met[..owners]);
            prop_assert_eq!(ring.fallbacks(partition), &met[owners..]);
            prop_assert_eq!(ring.order(partition), &met);
        }
    }

    #[test]
    fn the_order_of_members_makes_no_difference(members in members(), q in partitions(), n in copies()) {
        let ring = Ring::build(q, n, members.clone());
        prop_assert_eq!(&ring, &Ring::build(q, n, members.clone().into_iter().rev()));
        let backwards = members.into_iter().map(|(id, at)| (id, at.into_iter().rev().collect()));
        prop_assert_eq!(&ring, &Ring::build(q, n, backwards));
    }

    #[test]
    fn a_joining_member_moves_only_what_it_takes_over(
        members in members(), tokens in vec(position(), 1..6), q in partitions(), n in copies(),
    ) {
        let newcomer = NodeId(1_000);
        let before = Ring::build(q, n, members.clone());
        let after = Ring::build(q, n, members.into_iter().chain([(newcomer, tokens)]));
        prop_assert!(before.version() != after.version());
        for partition in q.iter() {
            let rest: Vec<_> = after.order(partition).iter().filter(|id| **id != newcomer).copied().collect();
            prop_assert_eq!(before.order(partition), rest);
        }
    }
}

#[test]
fn an_empty_ring_and_a_strange_partition_have_no_owners() {
    let empty = Ring::build(Partitions::default(), Copies::default(), []);
    assert!(empty.owners(PartitionId(3)).is_empty());
    let one = Ring::build(Partitions::new(4).unwrap(), Copies::default(), [(NodeId(1), vec![Position(0)])]);
    assert_eq!(one.owners(PartitionId(3)), [NodeId(1)]);
    assert!(one.owners(PartitionId(4)).is_empty() && one.fallbacks(PartitionId(u16::MAX)).is_empty());
}

#[test]
fn a_hundred_members_get_even_shares_and_bounded_fallbacks() {
    let names: Vec<Name> = (0..100).map(|i| Name::new(format!("member-{i}")).unwrap()).collect();
    let tokened = |name: &Name| (name.id(), Tokens::default().positions(name));
    let q = Partitions::advised(names.len());
    let ring = Ring::build(q, Copies::default(), names.iter().map(tokened));
    for name in &names {
        let owned = q.iter().filter(|partition| ring.is_owner(*partition, name.id())).count();
        assert!((12..=60).contains(&owned), "{name} owns {owned} of 1024 partitions; 30.7 would be even");
    }
    assert_eq!(ring.fallbacks(PartitionId(0)).len(), usize::from(N_MAX) + FALLBACKS_MAX - 3);
    assert_eq!(ring.members().len(), 100);
}

#[test]
fn n_out_of_range_is_refused_by_name() {
    for text in ["0", "8", "-1", "three"] {
        let error = text.parse::<Copies>().unwrap_err().to_string();
        assert!(error.contains("1 to 7") && error.contains(text), "{error}");
    }
}
