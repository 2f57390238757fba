//! Owns how often random faults strike a scenario and how long they last, and their form in TOML. Refuses chance: what
//! strikes when is drawn in `draw`.

mod draw;
mod trouble;

pub(crate) use draw::Field;

use crate::duration::{self, human};
use crate::faults::probability;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::time::Duration;

/// Episodes of one kind in a minute, at most.
const PER_MINUTE_MAX: f64 = 600.0;

/// Random faults: how often each kind strikes and how long it lasts on average. A kind that is left out never does.
///
/// ```toml
/// [nemesis]
/// quiet = "30s"                # the end of the scenario, when all is whole again; 10s if left out
/// links = { per_minute = 4, mean = "5s" }
/// partition = { per_minute = 1, mean = "8s" }
/// block = { per_minute = 1, mean = "5s" }
/// crash = { per_minute = 2, mean = "6s", at_once = 2, lose_disk = 0.25, disks_lost_max = 1 }
/// pause = { per_minute = 2, mean = "800ms" }
/// clock_skew = { per_minute = 1, mean = "10s", max = "500ms" }
/// clock_jump = { per_minute = 0.5, max = "2s" }
/// ```
///
/// Faults come at random, independently of each other (a Poisson process), and last as long as chance will have it
/// (exponentially). One that comes while there may be no more of its kind does not happen.
///
/// - `links`: some links, or all, become bad in one to three ways of [`LinkFaults`](crate::LinkFaults); one episode at a
///   time.
/// - `partition` and `block` cut; one of both at a time.
/// - `crash`: at most `at_once` nodes (1 if left out) are down at any time; of the crashes a share of `lose_disk` (none if
///   left out) takes the disk, until `disks_lost_max` (1 if left out) have been lost.
/// - `pause`: a node that is not down.
/// - `clock_skew`, `clock_jump`: by `max` at most, either way; what a jump leaves is set right when the quiet begins.
///
/// [`Scenario::with_nemesis`](crate::Scenario::with_nemesis) draws it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nemesis {
    /// Where the scenario says so, for errors found later. Counted from 1.
    #[serde(skip)]
    pub(crate) line: usize,
    #[serde(default = "quiet", with = "duration")]
    pub(crate) quiet: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    links: Option<Episodes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<Episodes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    block: Option<Episodes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    crash: Option<Crashes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<Episodes>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_skew: Option<Skews>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock_jump: Option<Jumps>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Episodes {
    #[serde(deserialize_with = "per_minute")]
    per_minute: f64,
    #[serde(serialize_with = "duration::serialize", deserialize_with = "some_time")]
    mean: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Crashes {
    #[serde(deserialize_with = "per_minute")]
    per_minute: f64,
    #[serde(serialize_with = "duration::serialize", deserialize_with = "some_time")]
    mean: Duration,
    #[serde(default = "one")]
    at_once: usize,
    #[serde(default, deserialize_with = "probability")]
    lose_disk: f64,
    #[serde(default = "one")]
    disks_lost_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Skews {
    #[serde(deserialize_with = "per_minute")]
    per_minute: f64,
    #[serde(serialize_with = "duration::serialize", deserialize_with = "some_time")]
    mean: Duration,
    #[serde(serialize_with = "duration::serialize", deserialize_with = "some_time")]
    max: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Jumps {
    #[serde(deserialize_with = "per_minute")]
    per_minute: f64,
    #[serde(serialize_with = "duration::serialize", deserialize_with = "some_time")]
    max: Duration,
}

impl Crashes {
    fn episodes(&self) -> Episodes {
        Episodes { per_minute: self.per_minute, mean: self.mean }
    }
}

impl Skews {
    fn episodes(&self) -> Episodes {
        Episodes { per_minute: self.per_minute, mean: self.mean }
    }
}

impl Jumps {
    /// A jump takes no time.
    fn episodes(&self) -> Episodes {
        Episodes { per_minute: self.per_minute, mean: Duration::ZERO }
    }
}

impl Nemesis {
    /// Whether nothing can ever strike.
    pub(crate) fn is_idle(&self) -> bool {
        let Self { line: _, quiet: _, links, partition, block, crash, pause, clock_skew, clock_jump } = self;
        let crash = crash.map(|it| it.episodes());
        let clocks = [clock_skew.map(|it| it.episodes()), clock_jump.map(|it| it.episodes())];
        let all = [*links, *partition, *block, crash, *pause].into_iter().chain(clocks);
        all.flatten().all(|episodes| episodes.per_minute == 0.0)
    }
}

fn per_minute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let rate = f64::deserialize(deserializer)?;
    if (0.0..=PER_MINUTE_MAX).contains(&rate) {
        Ok(rate)
    } else {
        Err(D::Error::custom(format!(
            "{rate} per minute is no rate: give a number from 0 to {PER_MINUTE_MAX}"
        )))
    }
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let time = duration::deserialize(deserializer)?;
    let allowed = Duration::from_millis(1)..=Duration::from_secs(24 * 3600);
    if allowed.contains(&time) {
        Ok(time)
    } else {
        let (min, max) = (human(*allowed.start()), human(*allowed.end()));
        Err(D::Error::custom(format!("{} is not between {min} and {max}", human(time))))
    }
}

fn quiet() -> Duration {
    Duration::from_secs(10)
}

fn one() -> usize {
    1
}

#[cfg(test)]
mod tests;
