//! Owns how much of a member's network repair may take. Refuses to stop it: what is late is sent slowly.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::core::Core;

/// While requests are being answered, repair has this much less.
const FOREGROUND_SHARE: u32 = 4;
/// No frame waits longer, however large it is: the other side would give up.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Bytes that exchanges may send in a second, both those this member opens and those it serves.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_per_second: u64,
    /// When what was sent so far is paid for.
    paid: Mutex<Option<Instant>>,
}

impl Budget {
    pub(crate) const fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid: Mutex::new(None) }
    }

    /// Waits until what was sent before is paid for, and charges `bytes`.
    pub(crate) async fn spend(&self, core: &Core, bytes: usize) {
        let is_busy = core.answering.len() > 0;
        sleep_until(self.charge(Instant::now(), bytes, is_busy)).await;
    }

    fn charge(&self, now: Instant, bytes: usize, is_busy: bool) -> Instant {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second;
        let cost = Duration::from_nanos(nanos) * if is_busy { FOREGROUND_SHARE } else { 1 };
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let start = paid.map_or(now, |paid| paid.clamp(now, now + WAIT_MAX));
        *paid = Some(start + cost);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_is_paid_for_before_more_is() {
        let budget = Budget::new(1000);
        let now = Instant::now();
        assert_eq!(budget.charge(now, 500, false), now, "at once");
        assert_eq!(budget.charge(now, 500, true), now + Duration::from_millis(500));
        assert_eq!(budget.charge(now, 1, false), now + Duration::from_millis(2500), "requests come first");
        budget.charge(now, 1 << 30, false);
        assert_eq!(budget.charge(now, 1, false), now + WAIT_MAX, "nobody is left waiting");
        let later = now + Duration::from_secs(60);
        assert_eq!(budget.charge(later, 1, false), later, "what was not used is not saved up");
    }
}
