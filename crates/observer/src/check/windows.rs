//! Inconsistency windows: for how long after a write had been acknowledged some read still missed it, as the last old read
//! shows (Bermbach), not the first new one. A write that is overwritten, or no longer read, before a read shows that its
//! window had closed is censored, and Kaplan and Meier's estimate takes it as lasting at least so long.

use crate::metrics::{Judge, Order, Slot, millis, sweep};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The shares of writes whose windows are reported.
const SHARES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

/// One write's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Window {
    /// Nanoseconds from its acknowledgement to the last read that missed it; 0 if none did.
    pub(crate) length: u64,
    /// Whether it may have gone on: no later read of the key, before the write was overwritten, shows that it was there.
    pub(crate) censored: bool,
}

/// All windows of a history.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Windows {
    /// Acknowledged writes.
    pub writes: u64,
    /// Of these, the ones whose window was not seen to close.
    pub censored: u64,
    /// The longest window seen, in milliseconds.
    pub longest_ms: f64,
    /// For 50, 90, 99 and 99.9 % of writes, by when their window had closed.
    pub closed: Vec<Closed>,
}

/// By when a share of all windows had closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// The share.
    pub share: f64,
    /// Milliseconds after the acknowledgement; absent if too many were censored to say.
    pub after_ms: Option<f64>,
}

impl Windows {
    pub(crate) fn of(mut windows: Vec<Window>) -> Self {
        // At one length those that closed come first: the others lasted at least as long.
        windows.sort_unstable();
        let mut open = windows.len() as f64;
        let mut survival = 1.0;
        let mut closed = SHARES.map(|share| Closed { share, after_ms: None });
        for same in windows.chunk_by(|one, other| one.length == other.length) {
            let ended = same.iter().filter(|window| !window.censored).count() as f64;
            survival *= 1.0 - ended / open;
            open -= same.len() as f64;
            for target in closed.iter_mut().filter(|target| target.after_ms.is_none()) {
                // A hair of rounding must not cost a whole step.
                if ended > 0.0 && 1.0 - survival >= target.share - 1e-12 {
                    target.after_ms = Some(millis(same[0].length));
                }
            }
        }
        Self {
            writes: windows.len() as u64,
            censored: windows.iter().filter(|window| window.censored).count() as u64,
            longest_ms: windows.last().map_or(0.0, |window| millis(window.length)),
            closed: closed.to_vec(),
        }
    }
}

/// The window of each acknowledged write of one key, in order of their ends. Costs O(n log n) and the number of writes that
/// reads missed.
pub(crate) fn windows(order: &Order<'_>, judge: &Judge<'_>) -> Vec<(Slot, Window)> {
    let overwritten = overwritten_at(order);
    let mut last_old: Vec<Option<u64>> = vec![None; overwritten.len()];
    let sent = |at: usize| order.operations()[at].sent;
    let reads = judge.reads.iter().map(|&at| (sent(at), at));
    sweep(order, reads, &judge.acknowledged, |at, missing, _| {
        for &slot in missing.iter().filter(|slot| sent(at) < overwritten[**slot as usize]) {
            last_old[slot as usize] = Some(sent(at));
        }
    });
    let times: Vec<u64> = judge.reads.iter().map(|&at| sent(at)).collect();
    let window = |&(end, slot): &(u64, Slot)| {
        let last = last_old[slot as usize];
        // Any later read missed it, and then it would be the last, or knew it.
        let after = times.partition_point(|&time| time <= last.unwrap_or(end));
        let shown = times.get(after).is_some_and(|&time| time < overwritten[slot as usize]);
        (slot, Window { length: last.map_or(0, |last| last - end), censored: !shown })
    };
    judge.acknowledged.iter().map(window).collect()
}

/// By slot: when the first write that knew it began, or [`u64::MAX`].
fn overwritten_at(order: &Order<'_>) -> Vec<u64> {
    let count = order.writes().count();
    let mut overwritten = vec![u64::MAX; count];
    let mut by_sent: Vec<Slot> = order.writes().map(|(slot, _)| slot).collect();
    by_sent.sort_by_key(|&slot| order.write(slot).sent);
    if order.is_by_time() {
        for &slot in &by_sent {
            let next = by_sent.partition_point(|&other| order.write(other).sent <= order.settled(slot));
            overwritten[slot as usize] = by_sent.get(next).map_or(u64::MAX, |&next| order.write(next).sent);
        }
        return overwritten;
    }
    let mut left: BTreeSet<Slot> = by_sent.iter().copied().collect();
    for &slot in &by_sent {
        for &(from, to) in order.known_by(slot).ranges() {
            let known: Vec<Slot> = left.range(from..to).copied().filter(|&other| other != slot).collect();
            for other in known {
                left.remove(&other);
                overwritten[other as usize] = order.write(slot).sent;
            }
        }
    }
    overwritten
}

#[cfg(test)]
mod tests {
    use super::{Window, Windows};

    fn window(length: u64, censored: bool) -> Window {
        Window { length: length * 1_000_000, censored }
    }

    #[test]
    fn kaplan_and_meier_on_paper() {
        // At risk 6, 5, 3, 1: survival 5/6, then 5/6 · 4/5 = 2/3, then 2/3 · 2/3 = 4/9, then 0.
        let windows = [
            window(1, false),
            window(2, false),
            window(2, true),
            window(3, false),
            window(4, true),
            window(5, false),
        ];
        let found = Windows::of(windows.to_vec());
        assert_eq!((found.writes, found.censored, found.longest_ms), (6, 2, 5.0));
        let after: Vec<_> = found.closed.iter().map(|closed| closed.after_ms).collect();
        assert_eq!(after, [Some(3.0), Some(5.0), Some(5.0), Some(5.0)]);
    }

    #[test]
    fn what_was_censored_is_not_said_to_have_closed() {
        let found = Windows::of(vec![window(0, false), window(0, false), window(7, true), window(9, true)]);
        let after: Vec<_> = found.closed.iter().map(|closed| closed.after_ms).collect();
        assert_eq!(after, [Some(0.0), None, None, None]);
        assert_eq!(Windows::of(Vec::new()).closed[0].after_ms, None);
    }
}
