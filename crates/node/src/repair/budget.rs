//! Owns how much of a member's network and of its thread repair may take. Refuses to stop it: what is late is done slowly.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// While there are requests, repair has this much less of the network.
const FOREGROUND_SHARE: u32 = 4;
/// While there are requests, repair rests this many times as long as it has worked: they wait for the same thread.
const REST: u32 = 7;
/// For so long after a request others are expected.
const BUSY: Duration = Duration::from_millis(100);
/// Nothing waits longer, however much it is: the other side would give up.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What all exchanges may take together, both those this member opens and those it serves.
#[derive(Debug)]
pub(crate) struct Budget {
    bytes_per_second: u64,
    times: Mutex<Times>,
}

#[derive(Debug, Default)]
struct Times {
    /// When what was taken so far is paid for.
    paid: Option<Instant>,
    /// When the last request came.
    asked: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, times: Mutex::default() }
    }

    /// Notes that a request came, which goes before repair.
    pub(crate) fn asked(&self) {
        self.lock().asked = Some(Instant::now());
    }

    /// Waits until what was taken before is paid for, and charges `bytes` to be sent.
    pub(crate) async fn spend(&self, bytes: usize) {
        let nanos = (bytes as u64).saturating_mul(1_000_000_000) / self.bytes_per_second;
        let cost = |is_busy| Duration::from_nanos(nanos) * if is_busy { FOREGROUND_SHARE } else { 1 };
        let (start, _end) = self.lock().charge(Instant::now(), cost);
        sleep_until(start).await;
    }

    /// Makes up for a stretch of work that kept the member's thread since `began`.
    pub(crate) async fn worked(&self, began: Instant) {
        let took = began.elapsed();
        let rest = |is_busy| if is_busy { took * REST } else { Duration::ZERO };
        let (_start, end) = self.lock().charge(Instant::now(), rest);
        sleep_until(end).await;
    }

    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Times {
    /// Charges what it costs, which depends on whether there are requests; when what was charged before is paid for, and
    /// when this is.
    fn charge(&mut self, now: Instant, cost: impl FnOnce(bool) -> Duration) -> (Instant, Instant) {
        let is_busy = self.asked.is_some_and(|asked| now < asked + BUSY);
        let start = self.paid.map_or(now, |paid| paid.clamp(now, now + WAIT_MAX));
        let end = (start + cost(is_busy)).min(now + WAIT_MAX);
        self.paid = Some(end);
        (start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    async fn waited(what: impl Future<Output = ()>) -> Duration {
        let began = Instant::now();
        what.await;
        began.elapsed()
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_sent_is_paid_for_before_more_is() {
        let budget = Budget::new(1000);
        assert_eq!(waited(budget.spend(500)).await, Duration::ZERO, "at once");
        assert_eq!(waited(budget.spend(1)).await, millis(500));
        advance(BUSY).await;
        budget.asked();
        assert_eq!(waited(budget.spend(10)).await, Duration::ZERO);
        assert_eq!(waited(budget.spend(0)).await, millis(40), "requests come first");
        budget.spend(1 << 30).await;
        assert_eq!(waited(budget.spend(1)).await, WAIT_MAX, "nobody is left waiting");
        advance(Duration::from_secs(60)).await;
        assert_eq!(waited(budget.spend(1)).await, Duration::ZERO, "what was not used is not saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn after_work_comes_rest_if_there_are_requests() {
        let budget = Budget::new(1_000_000_000);
        let work = async || {
            let began = Instant::now();
            advance(millis(1)).await;
            waited(budget.worked(began)).await
        };
        assert_eq!(work().await, Duration::ZERO);
        budget.asked();
        assert_eq!(work().await, millis(1) * REST);
        budget.asked();
        let (one, other) = tokio::join!(work(), work());
        assert!(
            one.max(other) >= millis(2) * REST - millis(1),
            "all exchanges rest together: {one:?}, {other:?}"
        );
        advance(BUSY).await;
        assert_eq!(work().await, Duration::ZERO, "requests have ended");
    }
}
