//! One thing said of one member, and the order that decides which of two things said is the later.

use serde::{Deserialize, Serialize};

use super::record::{Edition, Incarnation};
use crate::identity::NodeId;

/// What travels in gossip and in exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Update {
    pub(super) subject: NodeId,
    pub(super) edition: Edition,
    pub(super) incarnation: Incarnation,
    pub(super) claim: Claim,
}

/// What is said of the subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Claim {
    /// It was a member when the teller last ran. Says nothing of now.
    Remembered,
    Alive,
    Suspect {
        /// Whose probe failed. Independent accusers shorten the suspicion.
        by: NodeId,
    },
    Down,
    /// It said goodbye.
    Left,
}

impl Update {
    /// Orders what is said of one subject; the greater is believed.
    ///
    /// SWIM §4.2: within an incarnation suspect overrides alive and down overrides suspect; a higher incarnation
    /// overrides all three. Beyond SWIM: a newer edition overrides everything, and leaving ends an edition.
    fn precedence(&self) -> (Edition, u8, Incarnation, u8) {
        let (stage, severity) = match self.claim {
            Claim::Remembered => (0, 0),
            Claim::Alive => (1, 0),
            Claim::Suspect { .. } => (1, 1),
            Claim::Down => (1, 2),
            Claim::Left => (2, 0),
        };
        let incarnation = if stage == 1 { self.incarnation } else { Incarnation::default() };
        (self.edition, stage, incarnation, severity)
    }

    /// The subject and all that the order looks at, as bytes: equal for two things said of which neither is news to
    /// somebody who knows the other.
    pub(super) fn essence(&self) -> impl Iterator<Item = u8> + use<> {
        let (edition, stage, incarnation, severity) = self.precedence();
        let Edition { generation, revision, digest } = edition;
        let numbers = [self.subject.0, generation.get(), revision.into(), digest, incarnation.get()];
        numbers.into_iter().flat_map(u64::to_be_bytes).chain([stage, severity])
    }

    /// Whether this update is news to somebody who knows `known`.
    pub(super) fn overrides(&self, known: &Self) -> bool {
        self.precedence() > known.precedence()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swim::record::Generation;

    fn update(generation: u64, incarnation: u64, claim: Claim) -> Update {
        Update {
            subject: NodeId(1),
            edition: Edition { generation: Generation::new(generation).unwrap(), revision: 0, digest: 9 },
            incarnation: Incarnation::new(incarnation).unwrap(),
            claim,
        }
    }

    #[test]
    fn later_news_is_believed() {
        let suspect = Claim::Suspect { by: NodeId(2) };
        let rising = [
            update(1, 5, Claim::Remembered),
            update(1, 0, Claim::Alive),
            update(1, 0, suspect),
            update(1, 0, Claim::Down),
            update(1, 1, Claim::Alive),
            update(1, 2, suspect),
            update(1, 0, Claim::Left),
            update(2, 0, Claim::Remembered),
            update(2, 0, Claim::Alive),
        ];
        for (i, earlier) in rising.iter().enumerate() {
            assert!(!earlier.overrides(earlier));
            for later in &rising[i + 1..] {
                assert!(later.overrides(earlier) && !earlier.overrides(later), "{earlier:?} {later:?}");
            }
        }
    }

    #[test]
    fn who_accuses_makes_no_difference_to_the_order() {
        let [one, two] = [2, 3].map(|by| update(1, 0, Claim::Suspect { by: NodeId(by) }));
        assert!(!one.overrides(&two) && !two.overrides(&one));
    }
}
