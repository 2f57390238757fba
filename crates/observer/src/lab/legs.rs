//! Follows the messages of operations inside the cluster: when each left, was served and was answered. It hears of them from
//! the members, which share its clock, and refuses to know what they say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chinwag_node::membership::{Name, NodeId};
use chinwag_node::{Moment, Witness};
use tokio::time::Instant;

use crate::history::{Leg, Operation};

/// Everything seen so far, by operation.
#[derive(Debug, Default)]
pub(super) struct Legs(Mutex<BTreeMap<u64, Vec<Seen>>>);

/// What is seen, in the words of a history whose time zero is known.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) legs: Arc<Legs>,
    pub(super) zero: Instant,
    pub(super) names: BTreeMap<NodeId, Name>,
}

impl Followed {
    /// Gives an operation its legs, once.
    pub(super) fn tell(&self, operation: &mut Operation) {
        self.legs.hand_over(operation, self.zero, &self.names);
    }
}

/// One replica's part in one operation.
#[derive(Debug, Clone, Copy)]
struct Seen {
    replica: NodeId,
    asked: Option<Instant>,
    served: Option<Instant>,
    heard: Option<Instant>,
}

impl Witness for Legs {
    fn saw(&self, trace: u64, replica: NodeId, moment: Moment) {
        let now = Instant::now();
        let mut seen = self.lock();
        let legs = seen.entry(trace).or_default();
        let at = legs.iter().position(|it| it.replica == replica).unwrap_or_else(|| {
            legs.push(Seen { replica, asked: None, served: None, heard: None });
            legs.len() - 1
        });
        let leg = &mut legs[at];
        match moment {
            Moment::Asked => leg.asked = leg.asked.or(Some(now)),
            Moment::Served => leg.served = leg.served.or(Some(now)),
            Moment::Heard => {
                leg.heard = leg.heard.or(Some(now));
                // Those that were heard first stand first, in the order in which they were.
                let heard = legs[..at].iter().take_while(|it| it.heard.is_some()).count();
                legs[heard..=at].rotate_right(1);
            }
        }
    }
}

impl Legs {
    /// Gives an operation its legs and forgets them; times count from `zero`.
    fn hand_over(&self, operation: &mut Operation, zero: Instant, names: &BTreeMap<NodeId, Name>) {
        let legs = self.lock().remove(&operation.id).unwrap_or_default();
        let nanos =
            |at: Instant| u64::try_from(at.saturating_duration_since(zero).as_nanos()).unwrap_or(u64::MAX);
        let leg = |it: Seen| {
            Some(Leg {
                replica: names.get(&it.replica)?.to_string(),
                asked: nanos(it.asked?),
                served: it.served.map(nanos),
                heard: it.heard.map(nanos),
            })
        };
        operation.legs = legs.into_iter().filter_map(leg).collect();
    }

    /// A panic elsewhere leaves at most one moment out, and its own thread reports it.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<Seen>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::history::{Kind, Level};

    #[tokio::test(start_paused = true)]
    async fn legs_are_told_in_the_order_heard_and_what_was_lost_is_absent() {
        let names = ["a", "b", "c", "d"].map(|name| Name::new(name).unwrap());
        let [a, b, c, d] = [0, 1, 2, 3].map(|at: usize| names[at].id());
        let (start, legs) = (Instant::now(), Legs::default());
        let told = [
            (a, Moment::Asked),
            (b, Moment::Asked),
            (c, Moment::Asked),
            (d, Moment::Asked),
            (c, Moment::Served),
            (d, Moment::Served),
            (b, Moment::Served),
            (d, Moment::Heard),
            (b, Moment::Heard),
        ];
        for (replica, moment) in told {
            legs.saw(7, replica, moment);
            tokio::time::advance(Duration::from_nanos(10)).await;
        }
        let mut operations = [6, 7].map(|id| Operation::new(id, 0, "a", Kind::Get, Level::One, "k"));
        let names = names.into_iter().map(|name| (name.id(), name)).collect();
        operations.iter_mut().for_each(|it| legs.hand_over(it, start, &names));
        let leg = |replica: &str, asked, served, heard| Leg { replica: replica.into(), asked, served, heard };
        let expected = [
            leg("d", 30, Some(50), Some(70)),
            leg("b", 10, Some(60), Some(80)),
            leg("a", 0, None, None),
            leg("c", 20, Some(40), None),
        ];
        assert_eq!(operations[0].legs, []);
        assert_eq!(operations[1].legs, expected);
        legs.hand_over(&mut operations[1], start, &names);
        assert_eq!(operations[1].legs, [], "they are handed over once");
    }
}
