//! How well a load kept to its plan, and whether it was the cluster that was too slow or whoever made the load.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use std::time::Duration;

use crate::ledger::Ledger;
use crate::metrics::millis;
use crate::steady::Steadiness;

/// An operation sent later than this after it was due is late: timers go off on ticks of a millisecond, and this is two.
pub const LATE: Duration = Duration::from_millis(2);
/// If so many of the operations of idle sessions were sent late, the load was not what was planned.
const BEHIND_MAX: f64 = 0.01;
/// If the process that makes the load takes so much of a core, whatever it waited for, it waited for itself.
const CPU_MAX: f64 = 0.95;
/// Longer delays count as this, in nanoseconds.
const LATENESS_MAX: u64 = 60_000_000_000;

/// What was sent late or not at all, as it comes in.
#[derive(Debug, Default)]
pub struct Pacing {
    /// Operations that were planned and not sent.
    pub unsent: u64,
    /// Operations sent [`LATE`] because their session still waited for an earlier one.
    pub late: u64,
    /// Operations sent [`LATE`] although their session was free.
    pub behind: u64,
    /// How late the operations of free sessions were sent, in nanoseconds.
    lateness: Option<Histogram<u64>>,
}

impl Pacing {
    /// Notes an operation that was sent so long after it was due, by a session that waited for that time or not.
    pub(crate) fn note(&mut self, is_free: bool, lateness: Duration) {
        if !is_free {
            self.late += u64::from(lateness > LATE);
            return;
        }
        self.behind += u64::from(lateness > LATE);
        let nanos = u64::try_from(lateness.as_nanos()).unwrap_or(u64::MAX);
        self.lateness.get_or_insert_with(histogram).saturating_record(nanos);
    }

    /// What it amounts to. `ledger` says whether the measured part was steady.
    #[must_use]
    pub fn summary(&self, ledger: &Ledger) -> Load {
        let free = self.lateness.as_ref();
        let quantile = |q| free.map(|it| millis(it.value_at_quantile(q)));
        Load {
            late: self.late,
            behind: self.behind,
            free: free.map_or(0, Histogram::len),
            lateness_p50_ms: quantile(0.5),
            lateness_p99_ms: quantile(0.99),
            lateness_max_ms: quantile(1.0),
            cpu_share: None,
            measured_from_ms: millis(ledger.measured_from()),
            steadiness: Steadiness::of(ledger),
        }
    }
}

impl AddAssign for Pacing {
    fn add_assign(&mut self, other: Self) {
        self.unsent += other.unsent;
        self.late += other.late;
        self.behind += other.behind;
        if let Some(lateness) = other.lateness {
            let sum = self.lateness.get_or_insert_with(histogram);
            sum.add(lateness).expect("both have the same range");
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LATENESS_MAX, 2).expect("a minute at 2 digits is within a histogram's range")
}

/// How well the load kept to its plan. All of it is about an open loop; a closed one has no times to keep to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// Operations sent more than 2 ms after they were due because their session still waited for an earlier one: the
    /// cluster was slow, or the sessions too few.
    pub late: u64,
    /// Operations sent as late although their session was free: whoever makes the load was too slow.
    pub behind: u64,
    /// Operations whose session was free when they were due.
    pub free: u64,
    /// How late those were sent: the median.
    pub lateness_p50_ms: Option<f64>,
    /// 99 % were sent at most so late.
    pub lateness_p99_ms: Option<f64>,
    /// The latest.
    pub lateness_max_ms: Option<f64>,
    /// CPU time per time of the process that made the load, where known: 1 is one core. In an experiment the members share
    /// that process.
    pub cpu_share: Option<f64>,
    /// Milliseconds since the run's start: what was sent earlier is not measured.
    pub measured_from_ms: f64,
    /// Whether what is measured was steady.
    pub steadiness: Steadiness,
}

impl Load {
    /// Why the load was not what was planned, if whoever made it was to blame.
    #[must_use]
    pub fn bottleneck(&self) -> Option<String> {
        let behind = self.behind as f64 / self.free.max(1) as f64;
        if behind > BEHIND_MAX {
            let percent = behind * 100.0;
            return Some(format!(
                "{percent:.1} % of operations were sent more than 2 ms after they were due though their session was free"
            ));
        }
        let share = self.cpu_share.filter(|&share| share > CPU_MAX)?;
        Some(format!("the process that made it took {:.0} % of a core", share * 100.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacing(free: u64, behind: u64) -> Pacing {
        let mut pacing = Pacing::default();
        (0..free - behind).for_each(|_| pacing.note(true, Duration::from_micros(500)));
        let mut other = Pacing { unsent: 3, ..Pacing::default() };
        (0..behind).for_each(|_| other.note(true, Duration::from_millis(4)));
        other.note(false, Duration::from_millis(30));
        other.note(false, LATE);
        pacing += other;
        pacing
    }

    #[test]
    fn the_load_is_to_blame_for_what_free_sessions_sent_late() {
        let found = |free, behind| pacing(free, behind).summary(&Ledger::default());
        let kept = found(1000, 10);
        assert_eq!((kept.free, kept.behind, kept.late), (1000, 10, 1));
        assert_eq!(kept.bottleneck(), None);
        assert!((kept.lateness_p50_ms.unwrap() - 0.5).abs() < 0.01);
        assert!((kept.lateness_max_ms.unwrap() - 4.0).abs() < 0.1);

        let text = found(1000, 11).bottleneck().unwrap();
        assert!(text.starts_with("1.1 % of operations"), "{text}");
        assert_eq!(pacing(10, 1).unsent, 3);
    }

    #[test]
    fn a_full_core_is_a_bottleneck_whatever_the_times_say() {
        let busy = Load { cpu_share: Some(0.97), ..Load::default() };
        assert_eq!(busy.bottleneck().unwrap(), "the process that made it took 97 % of a core");
        assert_eq!(Load { cpu_share: Some(0.9), ..busy }.bottleneck(), None);
    }
}
