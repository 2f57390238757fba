//! Owns one directed link: its faults, its random stream, and the verdict on each packet.
//! Refuses clocks, sockets and payloads: a verdict depends on the link, the time handed in and the length alone.

use crate::faults::{Bandwidth, GilbertElliott, LATENCY_MAX, LinkFaults};
use crate::random::{RandomStream, below};
use serde::Serialize;
use std::num::NonZeroU8;
use std::time::Duration;

/// One directed link between two nodes.
#[derive(Clone, Debug)]
pub struct Link {
    faults: LinkFaults,
    blocked: bool,
    random: RandomStream,
    /// When the latest first copy is due, in nanoseconds; what follows on a FIFO link is due no earlier.
    last_due_ns: u64,
    /// The last packet was within a burst of losses.
    in_burst: bool,
    /// When the link will have sent all that waits in its queue, in nanoseconds.
    busy_until_ns: u64,
    stats: LinkStats,
}

/// What becomes of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The link is cut.
    Blocked,
    /// Lost by chance.
    Dropped,
    /// Larger than what crosses.
    TooLarge,
    /// Found the link's queue full.
    Overflowed,
    /// Delivered.
    Deliver {
        /// How long from now.
        after: Duration,
        /// How long from now a second copy follows, if one does.
        again_after: Option<Duration>,
        /// What has become of its bytes, and of its copy's, if they are not the same any more.
        corruption: Option<Corruption>,
    },
}

/// One byte that arrives as another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// Which byte, from 0; within the packet that was judged.
    pub offset: usize,
    /// The bits of it that flip.
    pub mask: NonZeroU8,
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
    /// Lost because a buffer was full: the link's own queue, that of packets under way, or the receiver's.
    pub overflowed: u64,
    /// Lost because they were larger than what crosses.
    pub too_large: u64,
    /// Delivered with a byte that is another.
    pub corrupted: u64,
    /// Held back, so that later ones could overtake them.
    pub reordered: u64,
}

impl Verdict {
    /// The same, but nothing is delivered before `earliest` from now.
    pub(crate) fn not_before(self, earliest: Duration) -> Self {
        match self {
            Self::Deliver { after, again_after, corruption } => Self::Deliver {
                after: after.max(earliest),
                again_after: again_after.map(|after| after.max(earliest)),
                corruption,
            },
            Self::Blocked | Self::Dropped | Self::TooLarge | Self::Overflowed => self,
        }
    }
}

impl Corruption {
    /// Any byte of a packet of `len` bytes and any change of it, all equally likely.
    fn of(len: usize, (u1, u2): (f64, f64)) -> Option<Self> {
        let offset = below(len as u64, u1);
        let mask = NonZeroU8::MIN.saturating_add(u8::try_from(below(255, u2)).unwrap_or(u8::MAX));
        (len > 0).then(|| Self { offset: usize::try_from(offset).unwrap_or(usize::MAX), mask })
    }

    /// Does it to the bytes of the packet; to one too short for it, nothing.
    pub fn apply(self, packet: &mut [u8]) {
        if let Some(byte) = packet.get_mut(self.offset) {
            *byte ^= self.mask.get();
        }
    }
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
            in_burst: false,
            busy_until_ns: 0,
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
        // Asked of every packet, as every packet moves the chain.
        let lost_in_burst = self.strikes_in_burst(&draws);
        if self.blocked {
            self.stats.blocked += 1;
            return Verdict::Blocked;
        }
        if self.faults.mtu.is_some_and(|mtu| len > mtu) {
            self.stats.too_large += 1;
            return Verdict::TooLarge;
        }
        if lost_in_burst || draws.drop < self.faults.drop {
            self.stats.dropped += 1;
            return Verdict::Dropped;
        }
        let Some(queued) = self.enqueue(now_ns, len) else {
            self.stats.overflowed += 1;
            return Verdict::Overflowed;
        };
        let sample = |(u1, u2)| self.faults.latency.sample(u1, u2);
        let latency = *burst_latency.get_or_insert_with(|| sample(draws.latency));
        let again_after =
            (draws.duplicate < self.faults.duplicate).then(|| queued + sample(draws.again_latency));
        let corruption =
            (draws.corrupt < self.faults.corrupt).then(|| Corruption::of(len, draws.corrupt_where)).flatten();
        let held_back = draws.reorder < self.faults.reorder && !self.faults.reorder_by.is_zero();
        let mut after = self.schedule(now_ns, queued + latency);
        if held_back {
            after += self.faults.reorder_by.min(LATENCY_MAX);
        }
        self.stats.delayed += u64::from(!after.is_zero());
        self.stats.duplicated += u64::from(again_after.is_some());
        self.stats.corrupted += u64::from(corruption.is_some());
        self.stats.reordered += u64::from(held_back);
        Verdict::Deliver { after, again_after, corruption }
    }

    /// Moves the chain of burst losses by one packet; whether that packet is lost.
    ///
    /// Written so that a burst goes on for the same low draws that begin one: links that differ in their past but not in
    /// their draws soon agree again.
    fn strikes_in_burst(&mut self, draws: &Draws) -> bool {
        let Some(GilbertElliott { enter, leave, drop }) = self.faults.burst_loss else {
            self.in_burst = false;
            return false;
        };
        self.in_burst = draws.burst < if self.in_burst { 1.0 - leave } else { enter };
        self.in_burst && draws.burst_drop < drop
    }

    /// How long a packet waits for those before it and for its own bytes to be sent; `None` if the queue has no room.
    fn enqueue(&mut self, now_ns: u64, len: usize) -> Option<Duration> {
        const NANOS: u128 = 1_000_000_000;
        let Some(Bandwidth { bytes_per_second, queue_bytes }) = self.faults.bandwidth else {
            return Some(Duration::ZERO);
        };
        let rate = u128::from(bytes_per_second.get());
        let starts_ns = self.busy_until_ns.max(now_ns);
        let backlog = (u128::from(starts_ns - now_ns) * rate).div_ceil(NANOS);
        if backlog + len as u128 > u128::from(queue_bytes) {
            return None;
        }
        let sending_ns = u64::try_from(len as u128 * NANOS / rate).unwrap_or(u64::MAX);
        self.busy_until_ns = starts_ns.saturating_add(sending_ns);
        Some(Duration::from_nanos(self.busy_until_ns - now_ns))
    }

    /// When a packet that takes this long arrives, from now, given those sent before it.
    fn schedule(&mut self, now_ns: u64, takes: Duration) -> Duration {
        let mut due_ns = now_ns.saturating_add(nanos(takes));
        if self.faults.fifo {
            due_ns = due_ns.max(self.last_due_ns);
        }
        self.last_due_ns = self.last_due_ns.max(due_ns);
        Duration::from_nanos(due_ns - now_ns)
    }

    /// When the link will have delivered all first copies but those held back.
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
    burst: f64,
    burst_drop: f64,
    reorder: f64,
    corrupt: f64,
    corrupt_where: (f64, f64),
}

impl Draws {
    fn take(random: &mut RandomStream) -> Self {
        Self {
            drop: random.unit(),
            latency: (random.unit(), random.unit()),
            duplicate: random.unit(),
            again_latency: (random.unit(), random.unit()),
            burst: random.unit(),
            burst_drop: random.unit(),
            reorder: random.unit(),
            corrupt: random.unit(),
            corrupt_where: (random.unit(), random.unit()),
        }
    }
}

#[cfg(test)]
mod tests;
