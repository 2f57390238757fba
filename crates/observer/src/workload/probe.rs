//! Chooses probes: which pair of sessions takes which key, and how long after the put is acknowledged the get follows. The
//! times fill their span evenly, so that a curve over it is measured as well at one end as at the other.

use super::ThenRead;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use std::time::Duration;

/// The span is cut into so many equal strata, each of which is visited once before any is visited again.
pub(super) const STRATA: u32 = 200;

/// Draws times apart from the plan's other draws, which thus stay what they are with other times.
const STREAM: u64 = 0x70_726f_6265;

/// What one probe is about.
#[derive(Debug)]
pub(super) struct Probe {
    pub(super) writer: u32,
    pub(super) key: String,
    pub(super) then_read: ThenRead,
}

/// Probes without end. Session `2p` writes and session `2p + 1` reads; the pair has keys that no other pair touches, and
/// takes them in turn.
#[derive(Debug)]
pub(super) struct Probes {
    until: Duration,
    pairs: u32,
    keys: Vec<String>,
    planned: u64,
    rng: StdRng,
    /// The strata that are left of this round.
    left: Vec<u32>,
}

impl Probes {
    /// Reads come up to `until` after their puts. Of `sessions`, at least 2, and `keys`, at least 1, there are as many
    /// pairs as both allow.
    pub(super) fn new(until: Duration, sessions: u32, keys: Vec<String>, seed: u64) -> Self {
        let pairs = (sessions / 2).min(u32::try_from(keys.len()).unwrap_or(u32::MAX)).max(1);
        let rng = StdRng::seed_from_u64(seed ^ STREAM);
        Self { until, pairs, keys, planned: 0, rng, left: Vec::new() }
    }

    /// The next probe, of the pairs in turn.
    pub(super) fn next(&mut self) -> Probe {
        let pairs = u64::from(self.pairs);
        let (pair, round) = (self.planned % pairs, self.planned / pairs);
        self.planned += 1;
        let keys_each = self.keys.len() as u64 / pairs;
        let key =
            usize::try_from(pair + pairs * (round % keys_each)).expect("it is below the number of keys");
        let writer = 2 * u32::try_from(pair).expect("it is below the number of pairs");
        let then_read = ThenRead { session: writer + 1, after: self.after() };
        Probe { writer, key: self.keys[key].clone(), then_read }
    }

    fn after(&mut self) -> Duration {
        if self.left.is_empty() {
            self.left = (0..STRATA).collect();
            self.left.shuffle(&mut self.rng);
        }
        let stratum = self.left.pop().expect("a round has strata");
        let within: f64 = self.rng.random();
        self.until.mul_f64((f64::from(stratum) + within) / f64::from(STRATA))
    }
}
