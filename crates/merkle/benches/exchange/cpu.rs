//! Owns the stopwatch: CPU time of this thread, since the machine may be shared.

use rustix::time::{ClockId, clock_gettime};

/// CPU seconds that `work` takes, and what comes of it.
pub(crate) fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = now();
    let made = work();
    (now() - start, made)
}

/// CPU nanoseconds for each of `things`, of the fastest of many short runs over some of them: what disturbs makes slower.
pub(crate) fn nanos_each<T>(things: &[T], mut work: impl FnMut(&T)) -> f64 {
    const RUN: usize = 1 << 14;
    const ROUNDS: usize = 6;
    let runs = (0..ROUNDS).flat_map(|_| things.chunks(RUN));
    let nanos = runs.map(|run| seconds(|| run.iter().for_each(&mut work)).0 * 1e9 / run.len() as f64);
    nanos.fold(f64::MAX, f64::min)
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
