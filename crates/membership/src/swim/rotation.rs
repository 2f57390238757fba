//! Whom to probe next and whom to gossip to. SWIM §4.3: round-robin in random order bounds the time to detection.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use crate::identity::NodeId;

/// Draws per wanted member before a random choice gives up finding a suitable one.
const DRAWS_MAX: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Rotation {
    order: Vec<NodeId>,
    cursor: usize,
}

impl Rotation {
    /// These members, in random order.
    pub(super) fn new(rng: &mut StdRng, mut order: Vec<NodeId>) -> Self {
        order.shuffle(rng);
        Self { order, cursor: 0 }
    }

    /// Adds a member at a random place, so that newcomers are not probed in the order they came. Looks through all of
    /// them: for members that come to be live, not for those that are.
    pub(super) fn insert(&mut self, rng: &mut StdRng, id: NodeId) {
        if !self.order.contains(&id) {
            self.order.push(id);
            let last = self.order.len() - 1;
            self.order.swap(rng.random_range(0..=last), last);
        }
    }

    /// The next member that is `wanted`. After each turn those not `kept` are forgotten, and the rest is shuffled.
    pub(super) fn next(
        &mut self,
        rng: &mut StdRng,
        wanted: impl Fn(NodeId) -> bool,
        kept: impl Fn(NodeId) -> bool,
    ) -> Option<NodeId> {
        // Once through what is left of this turn and once through the next is enough to meet everybody.
        for _ in 0..2 {
            while let Some(&id) = self.order.get(self.cursor) {
                self.cursor += 1;
                if wanted(id) {
                    return Some(id);
                }
            }
            self.cursor = 0;
            self.order.retain(|id| kept(*id));
            self.order.shuffle(rng);
        }
        None
    }

    /// Up to `count` different members that are `wanted`, at random.
    pub(super) fn pick(
        &self,
        rng: &mut StdRng,
        count: usize,
        wanted: impl Fn(NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut picked = Vec::with_capacity(count);
        if self.order.is_empty() {
            return picked;
        }
        for _ in 0..count * DRAWS_MAX {
            let id = self.order[rng.random_range(0..self.order.len())];
            if !picked.contains(&id) && wanted(id) {
                picked.push(id);
                if picked.len() == count {
                    break;
                }
            }
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn each_turn_meets_every_wanted_member_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut rotation = Rotation::default();
        assert_eq!(rotation.next(&mut rng, |_| true, |_| true), None);
        (0..10).for_each(|id| rotation.insert(&mut rng, NodeId(id)));
        rotation.insert(&mut rng, NodeId(3));
        for _ in 0..5 {
            let met: BTreeSet<_> =
                (0..9).filter_map(|_| rotation.next(&mut rng, |id| id.0 != 7, |_| true)).collect();
            assert_eq!(met.len(), 9);
        }
        assert_eq!(rotation.next(&mut rng, |_| false, |id| id.0 < 5), None);
        assert_eq!(rotation.order.len(), 5);
    }

    #[test]
    fn a_pick_has_different_members() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut rotation = Rotation::default();
        (0..4).for_each(|id| rotation.insert(&mut rng, NodeId(id)));
        let picked: BTreeSet<_> = rotation.pick(&mut rng, 3, |id| id.0 != 2).into_iter().collect();
        assert_eq!(picked, BTreeSet::from([NodeId(0), NodeId(1), NodeId(3)]));
    }
}
