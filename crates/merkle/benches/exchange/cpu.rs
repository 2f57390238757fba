//! Owns the stopwatch: CPU time of this thread, since the machine may be shared.

use rustix::time::{ClockId, clock_gettime};

/// Times a thing is done; the fastest counts, as everything that disturbs makes slower.
const TRIES: usize = 16;

/// CPU seconds that `work` takes, and what comes of it.
pub(crate) fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let start = now();
    let made = work();
    (now() - start, made)
}

/// CPU nanoseconds for each of `times`, of the fastest of a few runs.
pub(crate) fn nanos_each(times: usize, mut run: impl FnMut()) -> f64 {
    let fastest = (0..TRIES).map(|_| seconds(&mut run).0).fold(f64::MAX, f64::min);
    fastest * 1e9 / times as f64
}

fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
