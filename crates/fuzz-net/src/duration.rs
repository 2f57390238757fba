//! Owns how durations are written in TOML. For serde's `with`.

use humantime_serde::re::humantime::{format_duration, parse_duration};
use serde::de::Visitor;
use serde::{Deserializer, Serializer};
use std::fmt;
use std::time::Duration;

/// A duration as people write it, such as `1m 30s`.
pub(crate) fn human(duration: Duration) -> impl fmt::Display {
    format_duration(duration)
}

pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&human(*duration))
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"2s\" or \"500ms\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Duration, E> {
        parse_duration(text).map_err(|error| {
            E::custom(format!("{text:?} is not a duration ({error}): write it like \"2s\" or \"500ms\""))
        })
    }
}
