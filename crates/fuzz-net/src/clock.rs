//! Owns how far a node's wall clock is off. Refuses clocks: it is an amount, for a host to add.

use crate::duration::human;
use humantime_serde::re::humantime::parse_duration;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// How far a wall clock is ahead of the true time, or behind it; 292 years at most. In TOML `"2s"` or `"-300ms"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClockOffset(i64);

impl ClockOffset {
    /// A clock that is right.
    pub const NONE: Self = Self(0);

    /// Ahead of the true time by so many nanoseconds; behind it if negative.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// How many nanoseconds it is ahead of the true time; negative if behind.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// What such a clock shows at a true time, both since 1970; never less than zero.
    #[must_use]
    pub fn applied_to(self, true_time: Duration) -> Duration {
        let amount = Duration::from_nanos(self.0.unsigned_abs());
        if self.0 < 0 { true_time.saturating_sub(amount) } else { true_time.saturating_add(amount) }
    }
}

/// Together, up to the most an offset can be.
impl Add for ClockOffset {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{}", human(Duration::from_nanos(self.0.unsigned_abs())))
    }
}

impl Serialize for ClockOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClockOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OffsetVisitor;
        impl Visitor<'_> for OffsetVisitor {
            type Value = ClockOffset;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("how far the clock is off, such as \"2s\" or \"-300ms\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ClockOffset, E> {
                read(text).map(ClockOffset).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(OffsetVisitor)
    }
}

fn read(text: &str) -> Result<i64, String> {
    let (behind, amount) = match text.strip_prefix('-') {
        Some(amount) => (true, amount),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let amount = parse_duration(amount).map_err(|error| {
        format!("{text:?} is no time a clock can be off ({error}): write it like \"2s\" or \"-300ms\"")
    })?;
    let nanos = i64::try_from(amount.as_nanos())
        .map_err(|_too_large| format!("a clock can be off by 292 years at most, not by {text:?}"))?;
    Ok(if behind { -nanos } else { nanos })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn parse(text: &str) -> Result<ClockOffset, String> {
        serde_json::from_value(serde_json::json!(text)).map_err(|error| error.to_string())
    }

    #[test]
    fn offsets_are_read_and_written_with_their_sign() {
        for (text, nanos) in [("2s", 2000 * MS), ("-300ms", -300 * MS), ("0s", 0), ("-1m 2s", -62_000 * MS)] {
            let offset = parse(text).unwrap();
            assert_eq!(offset.as_nanos(), nanos);
            assert_eq!(offset.to_string(), text);
        }
        assert_eq!(parse("+2s"), parse("2s"));
    }

    #[test]
    fn other_texts_are_refused_with_advice() {
        for text in ["soon", "", "-", "--2s"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("write it like \"2s\" or \"-300ms\""), "{text:?}: {error}");
        }
        assert!(parse("300years").unwrap_err().contains("292 years at most"));
    }

    #[test]
    fn a_clock_before_1970_shows_1970() {
        let at = |nanos| ClockOffset::from_nanos(nanos).applied_to(Duration::from_secs(1));
        assert_eq!(at(-300 * MS), Duration::from_millis(700));
        assert_eq!(at(300 * MS), Duration::from_millis(1300));
        assert_eq!(at(i64::MIN), Duration::ZERO);
    }

    #[test]
    fn offsets_add_up_to_their_limit() {
        let sum = |a, b| (ClockOffset(a) + ClockOffset(b)).as_nanos();
        assert_eq!(sum(5, -7), -2);
        assert_eq!(sum(i64::MAX, 1), i64::MAX);
    }
}
