//! Updates waiting to be gossiped: one per subject, the least sent first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::update::Update;
use crate::identity::NodeId;

/// Bounded by the number of members: what is said of a subject replaces what was said of it before.
#[derive(Debug, Default)]
pub(super) struct GossipQueue {
    entries: BTreeMap<NodeId, Entry>,
    /// Fewest sends first, the newest first among equals.
    order: BTreeSet<(u32, Reverse<u64>, NodeId)>,
    pushed: u64,
}

#[derive(Debug)]
struct Entry {
    update: Update,
    sends: u32,
    number: u64,
}

impl Entry {
    fn key(&self) -> (u32, Reverse<u64>, NodeId) {
        (self.sends, Reverse(self.number), self.update.subject)
    }
}

impl GossipQueue {
    pub(super) fn push(&mut self, update: Update) {
        self.pushed += 1;
        let entry = Entry { update, sends: 0, number: self.pushed };
        self.order.insert(entry.key());
        if let Some(replaced) = self.entries.insert(update.subject, entry) {
            self.order.remove(&replaced.key());
        }
    }

    /// Offers updates until one is not taken. What was taken `sends_max` times is forgotten.
    pub(super) fn offer(&mut self, sends_max: u32, mut take: impl FnMut(&Update) -> bool) {
        let mut taken = Vec::new();
        for &(_, _, subject) in &self.order {
            let entry = self.entries.get(&subject).expect("every place in the order has an entry");
            if !take(&entry.update) {
                break;
            }
            taken.push(subject);
        }
        for subject in taken {
            let entry = self.entries.get_mut(&subject).expect("the subject was found above");
            self.order.remove(&entry.key());
            entry.sends += 1;
            if entry.sends < sends_max {
                self.order.insert(entry.key());
            } else {
                self.entries.remove(&subject);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swim::record::{Edition, Generation, Incarnation};
    use crate::swim::update::Claim;

    fn update(subject: u64, claim: Claim) -> Update {
        let edition = Edition { generation: Generation::default(), revision: 0, digest: 0 };
        Update { subject: NodeId(subject), edition, incarnation: Incarnation::default(), claim }
    }

    /// Takes up to `room` updates and returns their subjects.
    fn take(queue: &mut GossipQueue, room: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        queue.offer(3, |update| {
            let fits = taken.len() < room;
            if fits {
                taken.push(update.subject.0);
            }
            fits
        });
        taken
    }

    #[test]
    fn the_least_sent_go_first_and_the_newest_among_them() {
        let mut queue = GossipQueue::default();
        queue.push(update(1, Claim::Alive));
        queue.push(update(2, Claim::Alive));
        assert_eq!(take(&mut queue, 1), [2]);
        assert_eq!(take(&mut queue, 1), [1]);
        queue.push(update(3, Claim::Alive));
        assert_eq!(take(&mut queue, 2), [3, 2]);
    }

    #[test]
    fn news_of_a_subject_replaces_the_old_and_is_sent_anew() {
        let mut queue = GossipQueue::default();
        queue.push(update(1, Claim::Alive));
        assert_eq!((take(&mut queue, 9), take(&mut queue, 9)), (vec![1], vec![1]));
        queue.push(update(1, Claim::Down));
        for _ in 0..3 {
            assert_eq!(take(&mut queue, 9), [1]);
        }
        assert!(queue.is_empty());
    }
}
