//! The clock of one suspicion: how long the suspect has to refute. Lifeguard §4.2 (dynamic suspicion timeout).

use std::time::Duration;

use super::time::Time;
use crate::identity::NodeId;

/// Begins at the greatest timeout and shrinks to the least with each independent accuser.
#[derive(Clone, Debug)]
pub(super) struct Suspicion {
    started: Time,
    min: Duration,
    max: Duration,
    /// Accusers beyond the first that bring the timeout to its least; none if there are too few members for that.
    confirmations: u32,
    grace: Duration,
    accusers: Vec<NodeId>,
    deadline: Time,
    put_off: bool,
}

impl Suspicion {
    pub(super) fn new(
        now: Time,
        accuser: NodeId,
        min: Duration,
        max: Duration,
        confirmations: u32,
        grace: Duration,
    ) -> Self {
        let timeout = if confirmations == 0 { min } else { max };
        let deadline = now + timeout;
        Self {
            started: now,
            min,
            max,
            confirmations,
            grace,
            accusers: vec![accuser],
            deadline,
            put_off: false,
        }
    }

    /// When the suspect counts as down, unless it refutes.
    pub(super) fn deadline(&self) -> Time {
        self.deadline
    }

    /// Counts an independent accuser. Returns whether it was news: then the deadline has moved.
    ///
    /// However early the timeout now ends, the suspect keeps a grace: in a backlog, the accusation that shortens the
    /// timeout is often followed by the refutation.
    pub(super) fn confirm(&mut self, now: Time, accuser: NodeId) -> bool {
        let confirmed = u32::try_from(self.accusers.len()).unwrap_or(u32::MAX);
        if confirmed > self.confirmations || self.accusers.contains(&accuser) {
            return false;
        }
        self.accusers.push(accuser);
        let share = f64::from(confirmed + 1).ln() / f64::from(self.confirmations + 1).ln();
        let span = self.max.saturating_sub(self.min);
        let timeout = self.max.saturating_sub(span.mul_f64(share.min(1.0)));
        self.deadline = (self.started + timeout).max(now + self.grace);
        true
    }

    /// Moves the deadline by the grace, once: for a member that was itself held up past the deadline.
    pub(super) fn put_off(&mut self, now: Time) -> bool {
        let first = !self.put_off;
        if first {
            self.put_off = true;
            self.deadline = now + self.grace;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: f64) -> Time {
        Time::after_origin(Duration::from_secs_f64(seconds))
    }

    fn suspicion(confirmations: u32) -> Suspicion {
        Suspicion::new(Time::ORIGIN, NodeId(1), SECOND * 4, SECOND * 24, confirmations, SECOND)
    }

    #[test]
    fn independent_accusers_shorten_it() {
        let mut suspicion = suspicion(2);
        assert_eq!(suspicion.deadline(), at(24.0));
        assert!(!suspicion.confirm(at(1.0), NodeId(1)), "the same accuser again");
        assert!(suspicion.confirm(at(1.0), NodeId(2)));
        // 24 - 20 * ln 2 / ln 3
        assert!(
            suspicion.deadline() > at(11.3) && suspicion.deadline() < at(11.4),
            "{}",
            suspicion.deadline()
        );
        assert!(suspicion.confirm(at(2.0), NodeId(3)));
        assert_eq!(suspicion.deadline(), at(4.0));
        assert!(!suspicion.confirm(at(2.0), NodeId(4)), "there is nothing left to shorten");
    }

    #[test]
    fn a_late_confirmation_leaves_a_grace() {
        let mut suspicion = suspicion(2);
        suspicion.confirm(at(9.0), NodeId(2));
        suspicion.confirm(at(9.0), NodeId(3));
        assert_eq!(suspicion.deadline(), at(10.0));
    }

    #[test]
    fn with_too_few_members_it_is_short_from_the_start() {
        let mut suspicion = suspicion(0);
        assert_eq!(suspicion.deadline(), at(4.0));
        assert!(!suspicion.confirm(at(1.0), NodeId(2)));
    }

    #[test]
    fn it_is_put_off_once() {
        let mut suspicion = suspicion(0);
        assert!(suspicion.put_off(at(20.0)));
        assert_eq!(suspicion.deadline(), at(21.0));
        assert!(!suspicion.put_off(at(30.0)));
    }
}
