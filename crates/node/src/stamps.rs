//! This member's hybrid logical clock: the stamps it gives to versions in buckets of kind `lww`, and those it takes. Refuses
//! stamps too far ahead of its wall clock: one bad clock would win every race until the others have caught up with it.

use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chinwag_storage::Stamp;

/// How far a stamp may be ahead of this member's clock.
pub(crate) const AHEAD_MAX: Duration = Duration::from_secs(1);

/// A stamp is further ahead than clocks may differ. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the version's stamp is {:?} ahead of this member's clock, and may be {AHEAD_MAX:?} at most: compare the members' \
     clocks",
    .0
)]
pub(crate) struct TooFarAhead(pub(crate) Duration);

/// The latest stamp that was given or taken.
#[derive(Debug, Default)]
pub(crate) struct Stamps(Mutex<Option<Stamp>>);

impl Stamps {
    /// The stamps that a version may get now (`now` in milliseconds of wall time since 1970), the least first.
    pub(crate) fn next(&self, now: u64) -> RangeInclusive<Stamp> {
        let latest = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let least = latest.map_or_else(|| Stamp::at(now), |latest| latest.next().max(Stamp::at(now)));
        least..=limit(now)
    }

    /// Takes a stamp that was given here or elsewhere, so that the next is above it.
    pub(crate) fn take(&self, stamp: Stamp, now: u64) -> Result<(), TooFarAhead> {
        if stamp > limit(now) {
            return Err(too_far_ahead(stamp, now));
        }
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(Some(stamp));
        Ok(())
    }
}

/// By how much `stamp` is ahead of `now`.
pub(crate) fn too_far_ahead(stamp: Stamp, now: u64) -> TooFarAhead {
    TooFarAhead(Duration::from_millis(stamp.millis().saturating_sub(now)))
}

fn limit(now: u64) -> Stamp {
    Stamp::at(now.saturating_add(u64::try_from(AHEAD_MAX.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_although_the_clock_stands_or_goes_back() {
        let stamps = Stamps::default();
        assert_eq!(*stamps.next(5000).start(), Stamp::at(5000));
        stamps.take(Stamp::at(5000), 5000).unwrap();
        assert_eq!(*stamps.next(5000).start(), Stamp::at(5000).next());
        stamps.take(Stamp::at(5900), 5000).unwrap();
        assert_eq!(*stamps.next(4950).start(), Stamp::at(5900).next(), "above what others gave");
        assert!(stamps.next(4000).is_empty(), "a clock that went back by more than may be gives none");
    }

    #[test]
    fn what_is_too_far_ahead_is_refused_and_does_not_move_the_clock() {
        let stamps = Stamps::default();
        stamps.take(Stamp::at(6000), 5000).unwrap();
        let refused = stamps.take(Stamp::at(8200), 5000).unwrap_err();
        assert!(
            refused.to_string().contains("is 3.2s ahead of this member's clock, and may be 1s"),
            "{refused}"
        );
        assert_eq!(*stamps.next(5000).start(), Stamp::at(6000).next());
    }
}
