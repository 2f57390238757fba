//! The machine's settings. Everything here may differ between members; what may not is the founding.

use std::ops::Deref;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest interval or timeout that is accepted.
pub const INTERVAL_MAX: Duration = Duration::from_secs(3_600);

/// Timing and fan-out. The defaults are those measured for local networks of up to a thousand members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// One member is probed per interval. Detection takes about two intervals and a suspicion.
    #[serde(with = "humantime_serde")]
    pub probe_interval: Duration,
    /// How long a probed member has to answer before others are asked to probe it. Longer than a slow round trip,
    /// shorter than the interval.
    #[serde(with = "humantime_serde")]
    pub probe_timeout: Duration,
    /// How many members are asked to probe one that did not answer.
    pub indirect_probes: u8,
    /// A suspicion lasts at least this many probe intervals, times max(1, log10 of the members). Below 4, slow
    /// members are taken for down ones.
    pub suspicion_multiplier: u32,
    /// A suspicion that nobody confirms lasts this many times the least.
    pub suspicion_stretch: u32,
    /// Accusers beyond the first that bring a suspicion to its least duration. Ignored where there are too few
    /// members to confirm.
    pub confirmations: u32,
    /// How long a suspect has left at least after a confirmation, about one probe interval.
    #[serde(with = "humantime_serde")]
    pub confirmation_grace: Duration,
    /// The worst local health. A member that misses answers it should get waits up to this many more intervals
    /// before it suspects anybody.
    pub health_max: u8,
    /// How often queued updates are sent.
    #[serde(with = "humantime_serde")]
    pub gossip_interval: Duration,
    /// To how many members queued updates are sent each time.
    pub gossip_members: u8,
    /// An update is sent this many times ceil(log10 of the members + 1).
    pub retransmit_multiplier: u32,
    /// How long a down member is still sent gossip, so that it hears of it and refutes.
    #[serde(with = "humantime_serde")]
    pub gossip_to_down: Duration,
    /// How often views are compared with another member; rarer above 32 members.
    #[serde(with = "humantime_serde")]
    pub sync_interval: Duration,
    /// How long the answer to an exchange is waited for.
    #[serde(with = "humantime_serde")]
    pub exchange_timeout: Duration,
    /// The first pause between two attempts to reach a seed or a down member. Doubles, with jitter.
    #[serde(with = "humantime_serde")]
    pub contact_backoff_min: Duration,
    /// The longest such pause. In clusters of more than eight live members, who share the work, both are longer.
    #[serde(with = "humantime_serde")]
    pub contact_backoff_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            probe_interval: Duration::from_secs(1),
            probe_timeout: Duration::from_millis(500),
            indirect_probes: 3,
            suspicion_multiplier: 4,
            suspicion_stretch: 6,
            confirmations: 2,
            confirmation_grace: Duration::from_secs(1),
            health_max: 7,
            gossip_interval: Duration::from_millis(200),
            gossip_members: 3,
            retransmit_multiplier: 4,
            gossip_to_down: Duration::from_secs(30),
            sync_interval: Duration::from_secs(30),
            exchange_timeout: Duration::from_secs(5),
            contact_backoff_min: Duration::from_millis(500),
            contact_backoff_max: Duration::from_secs(4),
        }
    }
}

/// A setting is out of range. Nothing was started; correct it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A duration is zero or longer than [`INTERVAL_MAX`].
    #[error("{field} is {value:?}; it must be more than 0 s and at most {INTERVAL_MAX:?}")]
    Duration {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: Duration,
    },
    /// A number is zero or too large.
    #[error("{field} is {value}; it must be from 1 to {max}")]
    Number {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: u32,
        /// The greatest value.
        max: u32,
    },
    /// One setting must be below another.
    #[error("{lower} must be less than {higher}")]
    Order {
        /// The setting that is too large.
        lower: &'static str,
        /// The setting it must stay below.
        higher: &'static str,
    },
}

impl Config {
    /// Checks the settings and their relations.
    ///
    /// # Errors
    ///
    /// If a setting is out of range; the first that is.
    pub fn validate(self) -> Result<CheckedConfig, ConfigError> {
        let durations = [
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
            ("confirmation_grace", self.confirmation_grace),
            ("gossip_interval", self.gossip_interval),
            ("gossip_to_down", self.gossip_to_down),
            ("sync_interval", self.sync_interval),
            ("exchange_timeout", self.exchange_timeout),
            ("contact_backoff_min", self.contact_backoff_min),
            ("contact_backoff_max", self.contact_backoff_max),
        ];
        for (field, value) in durations {
            if value.is_zero() || value > INTERVAL_MAX {
                return Err(ConfigError::Duration { field, value });
            }
        }
        let numbers = [
            ("indirect_probes", self.indirect_probes.into(), 16),
            ("suspicion_multiplier", self.suspicion_multiplier, 100),
            ("suspicion_stretch", self.suspicion_stretch, 100),
            ("confirmations", self.confirmations, 16),
            ("health_max", self.health_max.into(), 100),
            ("gossip_members", self.gossip_members.into(), 16),
            ("retransmit_multiplier", self.retransmit_multiplier, 100),
        ];
        for (field, value, max) in numbers {
            if value == 0 || value > max {
                return Err(ConfigError::Number { field, value, max });
            }
        }
        if self.probe_timeout >= self.probe_interval {
            return Err(ConfigError::Order { lower: "probe_timeout", higher: "probe_interval" });
        }
        if self.contact_backoff_min > self.contact_backoff_max {
            return Err(ConfigError::Order { lower: "contact_backoff_min", higher: "contact_backoff_max" });
        }
        Ok(CheckedConfig(self))
    }
}

/// Settings that have been found to be in range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedConfig(Config);

impl CheckedConfig {
    /// The least and the greatest duration of a suspicion among `members`.
    pub(super) fn suspicion(&self, members: usize) -> (Duration, Duration) {
        let scale = decimal_log(members).max(1.0);
        let min = (self.probe_interval * self.suspicion_multiplier).mul_f64(scale);
        (min, min * self.suspicion_stretch)
    }

    /// How often an update is sent among `members`.
    pub(super) fn sends_max(&self, members: usize) -> u32 {
        let mut digits = 1;
        while 10_usize.saturating_pow(digits) < members.saturating_add(1) {
            digits += 1;
        }
        self.retransmit_multiplier * digits
    }

    /// The pause between two push/pull exchanges: stretched by ceil(log2(members / 32)) above 32 members.
    pub(super) fn sync_pause(&self, members: usize) -> Duration {
        let doublings = members.div_ceil(32).max(1).next_power_of_two().ilog2();
        self.sync_interval * (doublings + 1)
    }

    /// The pause after the given attempt to reach a seed or a down member, before jitter. Each of `live` members
    /// tries, so that each may try more rarely.
    pub(super) fn contact_backoff(&self, attempts: u32, live: usize) -> Duration {
        let share = u32::try_from(live / 8).unwrap_or(u32::MAX).max(1);
        let pause = self.contact_backoff_min.saturating_mul(1 << attempts.min(16));
        pause.min(self.contact_backoff_max).saturating_mul(share)
    }
}

impl Deref for CheckedConfig {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.0
    }
}

/// The logarithm to base 10; members are counted in thousands, so that the number is exact.
fn decimal_log(members: usize) -> f64 {
    f64::from(u32::try_from(members).unwrap_or(u32::MAX)).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_values_follow_the_published_rules() {
        let config = Config::default().validate().unwrap();
        let second = Duration::from_secs(1);
        assert_eq!(config.suspicion(4), (second * 4, second * 24));
        assert_eq!(config.suspicion(1_000), (second * 12, second * 72));
        let sends: Vec<u32> = [1, 9, 10, 99, 100, 999, 1_000].map(|n| config.sends_max(n)).to_vec();
        assert_eq!(sends, [4, 4, 8, 8, 12, 12, 16]);
        let pauses = [4, 32, 33, 64, 65, 1_000].map(|n| config.sync_pause(n).as_secs());
        assert_eq!(pauses, [30, 30, 60, 60, 90, 180]);
        let pauses = [0, 1, 2, 3, 4, 99].map(|attempts| config.contact_backoff(attempts, 3).as_millis());
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 4_000, 4_000]);
        assert_eq!(config.contact_backoff(9, 80), second * 40);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let error = |config: Config| config.validate().unwrap_err().to_string();
        let zero = Config { gossip_interval: Duration::ZERO, ..Config::default() };
        assert!(error(zero).starts_with("gossip_interval is 0"));
        let none = Config { gossip_members: 0, ..Config::default() };
        assert!(error(none).starts_with("gossip_members is 0"));
        let slow = Config { probe_timeout: Duration::from_secs(1), ..Config::default() };
        assert_eq!(error(slow), "probe_timeout must be less than probe_interval");
    }

    #[test]
    fn it_reads_toml_with_readable_durations_and_no_unknown_fields() {
        let config: Config = toml::from_str("probe_interval = '2s'\nprobe_timeout = '700ms'").unwrap();
        assert_eq!(config.probe_timeout, Duration::from_millis(700));
        assert_eq!(config.gossip_interval, Config::default().gossip_interval);
        assert!(toml::from_str::<Config>("probe_intervall = '2s'").is_err());
    }
}
