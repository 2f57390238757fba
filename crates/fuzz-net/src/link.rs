//! Owns one directed link: its faults, its random stream, and the verdict on each packet.
//! Refuses clocks, sockets and payloads: a verdict depends on the link, the time handed in and the length alone.

use crate::faults::LinkFaults;
use crate::random::RandomStream;
use serde::Serialize;
use std::time::Duration;

/// One directed link between two nodes.
#[derive(Clone, Debug)]
pub struct Link {
    faults: LinkFaults,
    blocked: bool,
    random: RandomStream,
    /// When the latest first copy is due, in nanoseconds; what follows on a FIFO link is due no earlier.
    last_due_ns: u64,
    stats: LinkStats,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The link is cut.
    Blocked,
    /// Lost by chance.
    Dropped,
    /// Delivered.
    Deliver {
        /// How long from now.
        after: Duration,
        /// How long from now a second copy follows, if one does.
        again_after: Option<Duration>,
    },
}

/// What a link has done so far. All counts are of packets (the segments of a burst, each for itself) but `bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LinkStats {
    /// Offered to the link, whatever became of them.
    pub sent: u64,
    /// Bytes of UDP payload offered to the link.
    pub bytes: u64,
    /// Lost by chance.
    pub dropped: u64,
    /// Delivered later than at once.
    pub delayed: u64,
    /// Second copies made.
    pub duplicated: u64,
    /// Lost because the link was cut or an end unplugged, when they were sent or while they were under way.
    pub blocked: u64,
    /// Lost because a buffer was full when they were due: the delay queue's or the kernel's.
    pub overflowed: u64,
}

impl Link {
    /// A clean link from `from` to `to`. The names and `seed` alone determine its random stream.
    #[must_use]
    pub fn new(seed: u64, from: &str, to: &str) -> Self {
        Self {
            faults: LinkFaults::default(),
            blocked: false,
            random: RandomStream::new(seed, &["link", from, to]),
            last_due_ns: 0,
            stats: LinkStats::default(),
        }
    }

    /// Replaces the faults. The random stream goes on where it is.
    pub fn set_faults(&mut self, faults: LinkFaults) {
        self.faults = faults;
    }

    /// Cuts the link or mends it.
    pub fn set_blocked(&mut self, blocked: bool) {
        self.blocked = blocked;
    }

    /// Decides the fate of one packet of `len` bytes sent at `now_ns`.
    ///
    /// Every packet takes the same number of draws, even if it is blocked or dropped, so that a change of one parameter
    /// leaves the fates of later packets as they were. `now_ns` is in nanoseconds since any fixed moment, and does not
    /// go backwards.
    pub fn judge(&mut self, now_ns: u64, len: usize) -> Verdict {
        self.judge_segment(now_ns, len, &mut None)
    }

    /// Decides the fates of packets sent as one burst (generic segmentation offload), given their lengths.
    ///
    /// Loss and duplication strike each packet for itself; those that arrive do so together, after one latency.
    pub fn judge_burst(&mut self, now_ns: u64, lens: impl IntoIterator<Item = usize>) -> Vec<Verdict> {
        let mut burst_latency = None;
        lens.into_iter().map(|len| self.judge_segment(now_ns, len, &mut burst_latency)).collect()
    }

    /// The faults now in force.
    #[must_use]
    pub fn faults(&self) -> &LinkFaults {
        &self.faults
    }

    /// Whether the link is cut.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// What the link has done so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        self.stats
    }

    /// `burst_latency` is that of the burst's packets judged before, if one of them is to be delivered.
    fn judge_segment(&mut self, now_ns: u64, len: usize, burst_latency: &mut Option<Duration>) -> Verdict {
        let draws = Draws::take(&mut self.random);
        self.stats.sent += 1;
        self.stats.bytes += len as u64;
        if self.blocked {
            self.stats.blocked += 1;
            return Verdict::Blocked;
        }
        if draws.drop < self.faults.drop {
            self.stats.dropped += 1;
            return Verdict::Dropped;
        }
        let after = *burst_latency.get_or_insert_with(|| self.next_latency(now_ns, draws.latency));
        let again_after = (draws.duplicate < self.faults.duplicate)
            .then(|| self.faults.latency.sample(draws.again_latency.0, draws.again_latency.1));
        self.stats.delayed += u64::from(!after.is_zero());
        self.stats.duplicated += u64::from(again_after.is_some());
        Verdict::Deliver { after, again_after }
    }

    fn next_latency(&mut self, now_ns: u64, (u1, u2): (f64, f64)) -> Duration {
        let mut due_ns = now_ns.saturating_add(nanos(self.faults.latency.sample(u1, u2)));
        if self.faults.fifo {
            due_ns = due_ns.max(self.last_due_ns);
        }
        self.last_due_ns = self.last_due_ns.max(due_ns);
        Duration::from_nanos(due_ns - now_ns)
    }

    /// When the link will have delivered all first copies.
    pub(crate) fn last_due_ns(&self) -> u64 {
        self.last_due_ns
    }

    pub(crate) fn stats_mut(&mut self) -> &mut LinkStats {
        &mut self.stats
    }
}

/// A duration in whole nanoseconds, up to 584 years.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// All the randomness one packet can need, drawn before anything is decided.
struct Draws {
    drop: f64,
    latency: (f64, f64),
    duplicate: f64,
    again_latency: (f64, f64),
}

impl Draws {
    fn take(random: &mut RandomStream) -> Self {
        Self {
            drop: random.unit(),
            latency: (random.unit(), random.unit()),
            duplicate: random.unit(),
            again_latency: (random.unit(), random.unit()),
        }
    }
}

#[cfg(test)]
mod tests;
