//! Keeps the trees true beside the traffic: scans what is in doubt after a crash, saves sums, and walks over all records
//! for ever, looking for rot. Refuses to take more than a small share of the member's time.

use std::sync::Arc;
use std::time::Duration;

use chinwag_storage::ReadError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::core::Core;

/// The walk goes on this often.
const TICK: Duration = Duration::from_secs(1);
/// Leaves read at each tick: a million keys in an hour and a half.
const SCRUB_LEAVES: usize = 4;
/// Leaves scanned at once while some are in doubt, and the pause after it: a million keys in about half a minute.
const MEND_LEAVES: usize = 16;
const MEND_PAUSE: Duration = Duration::from_millis(20);
/// Sums are saved this often.
const CHECKPOINT: Duration = Duration::from_secs(60);

/// Tends the trees until the member stops.
pub(crate) async fn run(core: Arc<Core>) {
    tokio::select! {
        biased;
        () = core.stop.cancelled() => {}
        () = tend(&core) => {}
    }
}

/// Scans all that is in doubt, at once.
pub(super) async fn mend(core: &Core) -> Result<(), ReadError> {
    while core.store.mend(MEND_LEAVES)? {
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn tend(core: &Core) {
    core.store.settle(core.now());
    while unless_failed(core.store.mend(MEND_LEAVES)).unwrap_or(false) {
        sleep(MEND_PAUSE).await;
        core.store.settle(core.now());
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut saved = Instant::now();
    loop {
        ticks.tick().await;
        core.store.settle(core.now());
        unless_failed(core.store.scrub(SCRUB_LEAVES));
        unless_failed(core.store.mend(MEND_LEAVES));
        if saved.elapsed() >= CHECKPOINT {
            unless_failed(core.store.checkpoint());
            saved = Instant::now();
        }
    }
}

/// The watch over the store says what is wrong with it; here the next tick tries again.
fn unless_failed<T, E: std::fmt::Display>(outcome: Result<T, E>) -> Option<T> {
    outcome.inspect_err(|error| tracing::debug!(%error, "trees cannot be tended now")).ok()
}
