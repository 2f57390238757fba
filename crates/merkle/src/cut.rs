//! Owns the moment up to which two replicas are compared; refuses to read a clock.

use serde::{Deserialize, Serialize};

/// Milliseconds between one cut and the next: replicas that ask for a cut within them agree on it without a word.
pub const CUT_MILLIS: u64 = 5_000;

/// Versions written before this moment count in a comparison; later ones may still be on their way to one of the two.
///
/// Cuts are whole numbers of [`CUT_MILLIS`] since 1970, by the coordinators' clocks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Cut(u64);

impl Cut {
    /// Everything counts, however young.
    pub const NONE: Self = Self(u64::MAX);

    /// The latest cut that leaves writes `grace` milliseconds to arrive everywhere; `now` is wall time in milliseconds
    /// since 1970. Of two replicas' cuts the lower is used.
    #[must_use]
    pub const fn at(now: u64, grace: u64) -> Self {
        Self(now.saturating_sub(grace) / CUT_MILLIS)
    }

    /// The cut before this one; of the first there is, itself.
    #[must_use]
    pub const fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    /// Whether a version written at `stamp`, in milliseconds since 1970, counts.
    #[must_use]
    pub const fn counts(self, stamp: u64) -> bool {
        self.0 == Self::NONE.0 || stamp / CUT_MILLIS < self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_leaves_at_least_the_grace() {
        for now in [100_000, 102_500, 104_999] {
            let cut = Cut::at(now, 7_000);
            assert!(!cut.counts(now - 7_000 + 1), "{now}");
            assert!(cut.counts(now - 7_000 - CUT_MILLIS), "{now}");
        }
        assert_eq!(Cut::at(104_999, 5_000), Cut::at(100_000, 5_000));
        assert!(Cut::at(100_000, 5_000).before() < Cut::at(100_000, 5_000));
        assert_eq!(Cut::at(3, 5_000), Cut::at(3, 5_000).before());
        assert!(Cut::NONE.counts(u64::MAX));
    }
}
