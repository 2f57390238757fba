//! The longest chain among some writes: each knew, or where time is the evidence followed, the one before.

use super::order::Order;
use super::slots::Slot;
use std::collections::BTreeSet;

/// Its length. Costs O(m log² m) for m writes that know each other in few runs.
pub(super) fn longest_chain(order: &Order<'_>, writes: &[Slot]) -> u64 {
    match writes {
        [] | [_] => writes.len() as u64,
        _ if order.is_by_time() => longest_in_time(order, writes),
        _ => longest_by_knowledge(order, writes),
    }
}

/// The most writes of which each began after the one before was over: always the next to be over.
fn longest_in_time(order: &Order<'_>, writes: &[Slot]) -> u64 {
    let mut by_end = writes.to_vec();
    by_end.sort_by_key(|&slot| order.settled(slot));
    let mut over = None;
    let mut length = 0;
    for slot in by_end {
        if over.is_none_or(|over| over < order.write(slot).sent) {
            over = Some(order.settled(slot));
            length += 1;
        }
    }
    length
}

/// Layer by layer: a write is in the layer after the highest that has one it knew. Whoever knew one in a layer knew one in
/// each below it, so the highest is found by halving.
fn longest_by_knowledge(order: &Order<'_>, writes: &[Slot]) -> u64 {
    let size = |slot: Slot| order.known_by(slot).ranges().iter().map(|(from, to)| to - from).sum::<Slot>();
    let mut by_size: Vec<(Slot, Slot)> = writes.iter().map(|&slot| (size(slot), slot)).collect();
    by_size.sort_unstable();
    let mut layers: Vec<BTreeSet<Slot>> = Vec::new();
    for (_, slot) in by_size {
        let known = order.known_by(slot).ranges();
        let knew_one =
            |layer: &BTreeSet<Slot>| known.iter().any(|&(from, to)| layer.range(from..to).next().is_some());
        let above = layers.partition_point(knew_one);
        if above == layers.len() {
            layers.push(BTreeSet::new());
        }
        layers[above].insert(slot);
    }
    layers.len() as u64
}
