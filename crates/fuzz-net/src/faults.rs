//! Owns the description of what one directed link does to packets, and its form in TOML.
//! Refuses state: what happens to a particular packet is judged in `link`.

mod latency;

pub(crate) use latency::LATENCY_MAX;
pub use latency::Latency;

use crate::duration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

/// Every path of QUIC carries packets of this size, or none (RFC 9000, section 14).
const QUIC_PACKET_MIN: usize = 1200;

/// What one directed link does to the packets that cross it. The default does nothing.
///
/// In TOML every field may be left out, and an unknown field is refused:
///
/// ```toml
/// latency = { log_normal = { median = "3ms", sigma = 0.5, cap = "50ms" } }
/// drop = 0.02
/// burst_loss = { enter = 0.001, leave = 0.1 }
/// bandwidth = { bytes_per_second = 1_000_000, queue_bytes = 64_000 }
/// ```
///
/// Built in code, a probability outside `0..=1` is read as the nearest one inside, NaN as 0.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinkFaults {
    /// How long a packet travels, on top of what the network itself takes.
    pub latency: Latency,
    /// Probability that a packet is lost, each on its own.
    #[serde(deserialize_with = "probability")]
    pub drop: f64,
    /// Losses that come in bursts, beside `drop`. None by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst_loss: Option<GilbertElliott>,
    /// Probability that a second copy of a packet arrives, after a latency of its own.
    #[serde(deserialize_with = "probability")]
    pub duplicate: f64,
    /// Probability that one byte of a packet, and of its copy, is another on arrival. QUIC drops such a packet.
    #[serde(deserialize_with = "probability")]
    pub corrupt: f64,
    /// Probability that a packet is held back by `reorder_by`, and overtaken by those sent after it.
    #[serde(deserialize_with = "probability")]
    pub reorder: f64,
    /// How much later a packet that is held back arrives; an hour at most. Default 5 ms.
    #[serde(serialize_with = "duration::serialize", deserialize_with = "travel_time")]
    pub reorder_by: Duration,
    /// What the link can carry. Without bound by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
    /// The largest UDP payload that crosses, in bytes; what is larger vanishes and nobody is told. In TOML 1200 at least,
    /// as QUIC cannot use less. Without bound by default.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "mtu")]
    pub mtu: Option<usize>,
    /// Whether packets keep their order, as on nearly every real path. Default `true`.
    ///
    /// A packet then waits for the slowest one sent before it, so that at high rates the latency seen lies above the
    /// distribution asked for. Without it, every packet has its own latency, and QUIC takes the disorder for loss.
    /// Second copies and packets held back are never kept in order.
    pub fifo: bool,
}

/// Losses that come in bursts (Gilbert 1960, Elliott 1963): every packet may begin a burst or end it, and only those
/// within one are lost.
///
/// A burst lasts `1 / leave` packets on average, and `enter / (enter + leave)` of all packets fall into one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GilbertElliott {
    /// Probability that a packet begins a burst.
    #[serde(deserialize_with = "probability")]
    pub enter: f64,
    /// Probability that a packet within a burst ends it; in TOML more than 0.
    #[serde(deserialize_with = "leave")]
    pub leave: f64,
    /// Probability that a packet within a burst is lost. In TOML 1 if left out.
    #[serde(default = "always", deserialize_with = "probability")]
    pub drop: f64,
}

/// What a link can carry: packets follow each other at its speed, and wait in a queue that drops what finds it full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Bytes of UDP payload per second.
    #[serde(deserialize_with = "rate")]
    pub bytes_per_second: NonZeroU64,
    /// Bytes that may wait, with the packet that is being sent; in TOML 1200 at least, or no packet of QUIC would pass.
    #[serde(deserialize_with = "queue")]
    pub queue_bytes: u64,
}

impl Default for LinkFaults {
    fn default() -> Self {
        Self {
            latency: Latency::default(),
            drop: 0.0,
            burst_loss: None,
            duplicate: 0.0,
            corrupt: 0.0,
            reorder: 0.0,
            reorder_by: Duration::from_millis(5),
            bandwidth: None,
            mtu: None,
            fifo: true,
        }
    }
}

impl LinkFaults {
    /// Whether packets cross the link as if it were not there.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        // Neither the order nor by how much packets are held back matters while nothing disturbs them.
        let Self { reorder_by, fifo, .. } = *self;
        *self == Self { reorder_by, fifo, ..Self::default() }
    }
}

impl fmt::Display for LinkFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |probability: f64| (probability * 10_000.0).round() / 100.0;
        write!(f, "{}, {} % dropped", self.latency, percent(self.drop))?;
        if let Some(GilbertElliott { enter, leave, drop }) = self.burst_loss {
            let within = percent(enter / (enter + leave));
            write!(f, ", {} % dropped in bursts over {within:.1} % of the time", percent(drop))?;
        }
        for (probability, what) in [(self.duplicate, "duplicated"), (self.corrupt, "corrupted")] {
            if probability > 0.0 {
                write!(f, ", {} % {what}", percent(probability))?;
            }
        }
        if self.reorder > 0.0 {
            write!(f, ", {} % held back by {:?}", percent(self.reorder), self.reorder_by)?;
        }
        if let Some(Bandwidth { bytes_per_second, queue_bytes }) = self.bandwidth {
            write!(f, ", {bytes_per_second} bytes/s behind a queue of {queue_bytes}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, ", nothing above {mtu} bytes")?;
        }
        Ok(())
    }
}

/// Reads a number from 0 to 1.
pub(crate) fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(D::Error::custom(format!(
            "{value} is not a probability: give a number from 0 to 1 (2 % is 0.02)"
        )))
    }
}

/// Reads a time a packet may travel.
pub(crate) fn travel_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = duration::deserialize(deserializer)?;
    latency::check_longest(time).map_err(D::Error::custom)?;
    Ok(time)
}

/// Reads the largest packet that crosses.
pub(crate) fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    match usize::deserialize(deserializer)? {
        mtu if mtu >= QUIC_PACKET_MIN => Ok(Some(mtu)),
        mtu => Err(D::Error::custom(format!(
            "an mtu of {mtu} lets nothing of QUIC through: give at least {QUIC_PACKET_MIN}, or drop = 1"
        ))),
    }
}

fn leave<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match probability(deserializer)? {
        0.0 => {
            Err(D::Error::custom("a burst that is never left loses all: give leave more than 0, or drop = 1"))
        }
        leave => Ok(leave),
    }
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU64, D::Error> {
    let rate = u64::deserialize(deserializer)?;
    NonZeroU64::new(rate)
        .ok_or_else(|| D::Error::custom("0 bytes per second carry nothing: give more, or drop = 1"))
}

fn queue<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        bytes if bytes >= QUIC_PACKET_MIN as u64 => Ok(bytes),
        bytes => Err(D::Error::custom(format!(
            "a queue of {bytes} bytes has no room for a packet of QUIC: give at least {QUIC_PACKET_MIN}"
        ))),
    }
}

fn always() -> f64 {
    1.0
}

#[cfg(test)]
mod tests;
