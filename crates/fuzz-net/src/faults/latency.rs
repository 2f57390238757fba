//! Owns how long a packet travels: the distributions, and their form in TOML. Refuses to draw: a sample belongs to the
//! uniform values it is handed.

use crate::duration::{self, human};
use crate::random::standard_normal;
use serde::de::{Error as _, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// No packet travels longer.
pub(crate) const LATENCY_MAX: Duration = Duration::from_secs(3600);

/// The distribution of the time a packet travels. The default is no time at all; an hour is the most.
///
/// In TOML: `"2ms"`, `{ fixed = "2ms" }`, `{ uniform = { min = "1ms", max = "3ms" } }`,
/// `{ log_normal = { median = "3ms", sigma = 0.5, cap = "50ms" } }` or `{ exponential = { mean = "5ms", cap = "100ms" } }`.
// `remote = "Self"` derives inherent functions of the same names, which the two impls below wrap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// The same for every packet.
    Fixed(#[serde(with = "crate::duration")] Duration),
    /// Any value between two, all equally likely.
    Uniform {
        /// The shortest.
        #[serde(with = "crate::duration")]
        min: Duration,
        /// The longest; at least `min`.
        #[serde(with = "crate::duration")]
        max: Duration,
    },
    /// Mostly near the median with a long tail, as measured on real networks.
    LogNormal {
        /// Half of the packets are faster.
        #[serde(with = "crate::duration")]
        median: Duration,
        /// Standard deviation of the logarithm, 0 or more: at 0.5 one packet in twenty takes 2.3 medians or longer.
        sigma: f64,
        /// Nothing takes longer; at least `median`.
        #[serde(with = "crate::duration")]
        cap: Duration,
    },
    /// Mostly below the mean, with a tail that forgets how long it has been: the delays models are computed with.
    Exponential {
        /// No packet is faster: what is drawn comes on top.
        #[serde(default, with = "crate::duration", skip_serializing_if = "Duration::is_zero")]
        min: Duration,
        /// The mean of what is drawn, before the cap.
        #[serde(with = "crate::duration")]
        mean: Duration,
        /// Nothing takes longer; at least `min` and `mean` together.
        #[serde(with = "crate::duration")]
        cap: Duration,
    },
}

impl Default for Latency {
    fn default() -> Self {
        Self::Fixed(Duration::ZERO)
    }
}

impl Latency {
    /// The latency that belongs to two uniform draws in `[0, 1)`; every distribution takes two.
    pub(crate) fn sample(&self, u1: f64, u2: f64) -> Duration {
        let sample = match *self {
            Self::Fixed(latency) => latency,
            Self::Uniform { min, max } => min.saturating_add(max.saturating_sub(min).mul_f64(u1)),
            Self::LogNormal { median, sigma, cap } => {
                let factor = libm::exp(sigma * standard_normal(u1, u2));
                // `min` also turns an infinite or undefined product into the cap.
                let seconds = (median.as_secs_f64() * factor).min(cap.as_secs_f64());
                Duration::try_from_secs_f64(seconds).unwrap_or(cap).min(cap)
            }
            Self::Exponential { min, mean, cap } => {
                // `u1` is below 1.
                let seconds = -libm::log1p(-u1) * mean.as_secs_f64();
                Duration::try_from_secs_f64(seconds).unwrap_or(cap).saturating_add(min).min(cap)
            }
        };
        sample.min(LATENCY_MAX)
    }

    fn check(self) -> Result<Self, String> {
        let (Self::Fixed(longest)
        | Self::Uniform { max: longest, .. }
        | Self::LogNormal { cap: longest, .. }
        | Self::Exponential { cap: longest, .. }) = self;
        check_longest(longest)?;
        match self {
            Self::Uniform { min, max } if min > max => {
                Err(format!("uniform latency: min {} is above max {}; swap them", human(min), human(max)))
            }
            Self::LogNormal { sigma, .. } if !(sigma.is_finite() && sigma >= 0.0) => {
                Err(format!("log_normal latency: sigma {sigma} must be 0 or more"))
            }
            Self::LogNormal { median, cap, .. } if cap < median => Err(format!(
                "log_normal latency: cap {} is below the median {}; raise the cap",
                human(cap),
                human(median)
            )),
            Self::Exponential { min, mean, cap } if cap < min.saturating_add(mean) => Err(format!(
                "exponential latency: cap {} is below min {} and mean {} together; raise the cap",
                human(cap),
                human(min),
                human(mean)
            )),
            valid => Ok(valid),
        }
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(latency) => write!(f, "{latency:?}"),
            Self::Uniform { min, max } => write!(f, "{min:?} to {max:?}"),
            Self::LogNormal { median, cap, .. } => write!(f, "about {median:?}, {cap:?} at most"),
            Self::Exponential { min, mean, cap } => {
                write!(f, "{:?} on average, {cap:?} at most", min.saturating_add(*mean))
            }
        }
    }
}

impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LatencyVisitor;
        impl<'de> Visitor<'de> for LatencyVisitor {
            type Value = Latency;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a latency: \"2ms\", or a table with one of `fixed`, `uniform`, `log_normal`, `exponential`")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Latency, E> {
                let latency = duration::deserialize(text.into_deserializer())?;
                Latency::Fixed(latency).check().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Latency, A::Error> {
                Latency::deserialize(MapAccessDeserializer::new(map))?.check().map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(LatencyVisitor)
    }
}

pub(super) fn check_longest(longest: Duration) -> Result<(), String> {
    if longest > LATENCY_MAX {
        return Err(format!("a latency of {} is too long: at most {}", human(longest), human(LATENCY_MAX)));
    }
    Ok(())
}
