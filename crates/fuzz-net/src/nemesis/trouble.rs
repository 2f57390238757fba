//! Owns how bad bad links are: the ranges from which their faults are drawn. Refuses to know which links, or when.

use crate::faults::{Bandwidth, GilbertElliott, Latency, LinkFaults};
use crate::random::{RandomStream, below};
use std::num::NonZeroU64;
use std::time::Duration;

/// In so many ways at once, at most.
const WAYS_MAX: u64 = 3;

/// These faults, and one to three more. Bad, but not so bad that QUIC gives up.
pub(super) fn trouble(mut faults: LinkFaults, random: &mut RandomStream) -> LinkFaults {
    for _ in 0..=below(WAYS_MAX, random.unit()) {
        let (way, how_bad, detail) = (below(8, random.unit()), random.unit(), random.unit());
        match way {
            0 => faults.drop = permille(5.0, 300.0, how_bad),
            1 => {
                let (enter, leave) = (permille(1.0, 20.0, how_bad), permille(50.0, 500.0, detail));
                faults.burst_loss = Some(GilbertElliott { enter, leave, drop: 1.0 });
            }
            2 => {
                let median = Duration::from_millis(between(2.0, 100.0, how_bad));
                let sigma = permille(100.0, 1000.0, detail);
                faults.latency = Latency::LogNormal { median, sigma, cap: 10 * median };
            }
            3 => faults.duplicate = permille(5.0, 300.0, how_bad),
            4 => faults.corrupt = permille(1.0, 50.0, how_bad),
            5 => {
                faults.reorder = permille(1.0, 100.0, how_bad);
                faults.reorder_by = Duration::from_millis(between(1.0, 20.0, detail));
            }
            6 => {
                let bytes_per_second = NonZeroU64::MIN.saturating_add(between(20e3, 2e6, how_bad));
                let queue_bytes = between(8e3, 256e3, detail);
                faults.bandwidth = Some(Bandwidth { bytes_per_second, queue_bytes });
            }
            _ => faults.mtu = usize::try_from(between(1200.0, 1440.0, how_bad)).ok(),
        }
    }
    faults
}

/// A whole number from `min` to `max`, its magnitudes equally likely.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bounds are small and positive"
)]
fn between(min: f64, max: f64, unit: f64) -> u64 {
    let value = min * libm::exp(libm::log((max / min).max(1.0)) * unit);
    value.round() as u64
}

/// A probability from `min` to `max` thousandths.
fn permille(min: f64, max: f64, unit: f64) -> f64 {
    between(min, max, unit) as f64 / 1000.0
}
