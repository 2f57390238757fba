//! The elements of `D` as they come in, arranged so that what a read misses is found without looking at the rest.

use super::order::Order;
use super::slots::{Slot, Slots};
use std::collections::{BTreeMap, BTreeSet};

/// The elements of `D` so far.
#[derive(Debug)]
pub(super) struct Frontier<'a> {
    order: &'a Order<'a>,
    elements: Arranged,
}

#[derive(Debug)]
enum Arranged {
    /// By who knew whom: the maximal elements are at hand, and every other one hangs below one that knew it. `M` is closed
    /// upwards, so all of it is found by walking down from the maximal elements a read does not know.
    ByKnowledge { maximal: Vec<Slot>, below: BTreeMap<Slot, Vec<Slot>> },
    /// By time: slots are in order of beginnings and a read knows a run from the first, so `M` is the rest of them. Entered
    /// has them as they came, with the times.
    ByTime { present: BTreeSet<Slot>, entered: Vec<(u64, Slot)> },
}

impl<'a> Frontier<'a> {
    pub(super) fn new(order: &'a Order<'a>) -> Self {
        let elements = if order.is_by_time() {
            Arranged::ByTime { present: BTreeSet::new(), entered: Vec::new() }
        } else {
            Arranged::ByKnowledge { maximal: Vec::new(), below: BTreeMap::new() }
        };
        Self { order, elements }
    }

    /// Adds an element that entered `D` at this time, which is no earlier than the one before.
    pub(super) fn insert(&mut self, time: u64, slot: Slot) {
        match &mut self.elements {
            Arranged::ByTime { present, entered } => {
                present.insert(slot);
                entered.push((time, slot));
            }
            Arranged::ByKnowledge { maximal, below } => {
                let knows_it = |&other: &Slot| self.order.known_by(other).contains(slot);
                if let Some(&newer) = maximal.iter().find(|other| knows_it(other)) {
                    below.entry(newer).or_default().push(slot);
                    return;
                }
                let known = self.order.known_by(slot);
                let overwritten: Vec<Slot> = maximal.extract_if(.., |other| known.contains(*other)).collect();
                if !overwritten.is_empty() {
                    below.insert(slot, overwritten);
                }
                maximal.push(slot);
            }
        }
    }

    /// Puts into `missing` what a read that knew `known` misses, and says whether it knows no maximal element though there
    /// is one.
    pub(super) fn missing(&self, known: &Slots, missing: &mut Vec<Slot>) -> bool {
        missing.clear();
        match &self.elements {
            Arranged::ByTime { present, entered } => {
                let until = known.ranges().first().map_or(0, |&(_, until)| until);
                missing.extend(present.range(until..));
                !missing.is_empty() && !self.knows_a_last_one(entered, until, missing)
            }
            Arranged::ByKnowledge { maximal, below } => {
                missing.extend(maximal.iter().filter(|slot| !known.contains(**slot)));
                let nothing_new = !missing.is_empty() && missing.len() == maximal.len();
                let mut walked = 0;
                while let Some(slot) = missing.get(walked) {
                    walked += 1;
                    let hanging = below.get(slot).into_iter().flatten();
                    missing.extend(hanging.filter(|slot| !known.contains(**slot)));
                }
                nothing_new
            }
        }
    }

    /// Whether a maximal element is known, its slot being below `until`. It was over no earlier than the last one began, so
    /// it is among the last to enter.
    fn knows_a_last_one(&self, entered: &[(u64, Slot)], until: Slot, missing: &[Slot]) -> bool {
        let last = missing.iter().max().map_or(0, |&slot| self.order.write(slot).sent);
        let mut late = entered.iter().rev().take_while(|(time, _)| *time >= last);
        late.any(|&(_, slot)| slot < until && self.order.settled(slot) >= last)
    }
}
