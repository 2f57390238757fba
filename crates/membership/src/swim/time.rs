//! The machine's time: what the shell says it is. Reads no clock.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A moment, in nanoseconds since an origin that the shell chooses once per run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The origin.
    pub const ORIGIN: Self = Self(0);

    /// The moment that lies `elapsed` after the origin. Ends after 584 years.
    #[must_use]
    pub fn after_origin(elapsed: Duration) -> Self {
        Self(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long after the origin this moment is.
    #[must_use]
    pub fn elapsed(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// How long after `earlier` this moment is; nothing if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self::after_origin(self.elapsed().saturating_add(duration))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6} s", self.elapsed().as_secs_f64())
    }
}
