//! Owns the hybrid logical clock by which a bucket that keeps the latest version tells which that is. Refuses to read a
//! clock and to judge one: both are the caller's.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Bits of a stamp that count.
const COUNTER_BITS: u32 = 16;

/// When a version was written, as its coordinator saw it: 48 bits of wall time in milliseconds since 1970, and 16 that
/// count within a millisecond.
///
/// A coordinator gives a stamp above its clock's and above all that it has seen, so a write that knew of another is later
/// than it, whatever the clocks say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp(u64);

impl Stamp {
    /// The first stamp of a millisecond; of the last there is (in the year 10889) for any later one.
    #[must_use]
    pub const fn at(millis: u64) -> Self {
        let last = u64::MAX >> COUNTER_BITS;
        Self(if millis < last { millis } else { last } << COUNTER_BITS)
    }

    /// Its wall time, in milliseconds since 1970.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The next one. A millisecond whose stamps are all given away borrows from the one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms+{}", self.millis(), self.0 & ((1 << COUNTER_BITS) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_follow_the_clock_and_count_within_a_millisecond() {
        let first = Stamp::at(7);
        assert!(first < first.next() && first.next() < Stamp::at(8));
        assert_eq!((first.millis(), first.next().millis()), (7, 7));
        let mut last = first;
        for _ in 0..1 << COUNTER_BITS {
            last = last.next();
        }
        assert_eq!(last, Stamp::at(8), "a full millisecond borrows from the next");
        assert_eq!(Stamp::at(u64::MAX), Stamp::at(u64::MAX >> COUNTER_BITS));
        assert_eq!(format!("{:?}", first.next()), "7ms+1");
    }
}
