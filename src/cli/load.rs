//! What load an experiment puts on its cluster: the flags, the workload they stand for, the flags again for a replay.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chinwag_node::membership::Preset;
use chinwag_observer::history::Level;
use chinwag_observer::lab::{Shape, Shrunk};
use chinwag_observer::workload::{Arrivals, KeyError, Keys, SessionsAt, Spread, ValueBytes, Workload, Ycsb};
use serde_json::{Value as Json, json};

/// Operations per second, unless told otherwise.
const RATE: f64 = 500.0;
/// How many keys a workload chooses from at first: as many as the preset has.
const RECORDS: u16 = 256;
/// The share of writes of the usual mix that delete.
const DELETES: f64 = 0.03;
/// YCSB's skew.
const THETA: f64 = 0.99;

/// What is asked, when, by whom, and of which keys.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadSettings {
    /// What is asked: `mixed` (three reads to two writes, most of which read first what they overwrite), `probe` (a write,
    /// and after a time that is varied a read by another session at another member), or YCSB's core workload `a` (half
    /// reads, half updates), `b` (95 % reads), `c` (reads alone), `d` (95 % reads of what is new, 5 % inserts) or `f` (half
    /// reads, half read-modify-writes), on records that are put first
    #[arg(long, value_name = "WORKLOAD", default_value_t = Mix::Mixed)]
    workload: Mix,

    /// Operations per second, over all sessions; of `probe`, pairs of a write and a read
    #[arg(long, value_name = "OPS", default_value_t = RATE)]
    rate: f64,

    /// The gaps between operations: drawn as from many independent users, or all alike
    #[arg(long, value_name = "ARRIVALS", value_enum, default_value_t = Gaps::Poisson)]
    arrivals: Gaps,

    /// Closed loop: each session sends its next operation when the last is answered. A slow cluster is asked less, and its
    /// latencies look better than they are
    #[arg(long, conflicts_with_all = ["rate", "arrivals"])]
    closed: bool,

    /// How long a session of a closed loop waits between an answer and its next operation
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s", requires = "closed")]
    think: Duration,

    /// Concurrent sessions, each of which asks one thing at a time
    #[arg(long, value_name = "COUNT", default_value_t = 64)]
    sessions: u32,

    /// Which member a session asks: always the same one, each time the next, or the one with the shortest round trip
    #[arg(long, value_name = "PLACE", value_enum, default_value_t = Place::Pinned)]
    sessions_at: Place,

    /// Consistency levels to ask at, each as often
    #[arg(long, value_name = "LEVEL,...", value_delimiter = ',', default_value = "one,quorum")]
    levels: Vec<Level>,

    /// The consistency level of all writes [default: as reads]
    #[arg(long, value_name = "LEVEL")]
    write_level: Option<Level>,

    /// The share of writes that delete what their session last read, 0 to 1, in the mix `mixed` [default: 0.03]
    #[arg(long, value_name = "SHARE")]
    deletes: Option<f64>,

    /// How long after its write a probe reads at most; the times fill this span evenly
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "200ms")]
    probe_until: Duration,

    /// How many keys there are at first; the preset has no more than 256
    #[arg(long, value_name = "COUNT", default_value_t = RECORDS, value_parser = clap::value_parser!(u16).range(1..))]
    records: u16,

    /// Which keys are asked for [default: latest for `d`, else zipfian]
    #[arg(long, value_name = "CHOOSER", value_enum)]
    keys: Option<Chooser>,

    /// Choose keys by the members that own them: every preference list alike, or those of --lists alone
    #[arg(long, value_name = "PATTERN", value_enum)]
    pattern: Option<Pattern>,

    /// The preference lists of `clustered`, counted from 0
    #[arg(long, value_name = "LIST,...", value_delimiter = ',', default_value = "0")]
    lists: Vec<usize>,

    /// The size of written values: BYTES, or LEAST..MOST for any size between, each as likely [default: as short as can be]
    #[arg(long, value_name = "BYTES", value_parser = parse_value_bytes)]
    value_bytes: Option<ValueBytes>,

    /// Let the rate rise for so long at first, from 0 in a straight line; it is not measured
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    ramp: Duration,

    /// Measure nothing for so long after the ramp
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    warm_up: Duration,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mix {
    Mixed,
    Probe,
    Ycsb(Ycsb),
}

impl Mix {
    const ALL: [(&str, Self); 7] = [
        ("mixed", Self::Mixed),
        ("probe", Self::Probe),
        ("a", Self::Ycsb(Ycsb::A)),
        ("b", Self::Ycsb(Ycsb::B)),
        ("c", Self::Ycsb(Ycsb::C)),
        ("d", Self::Ycsb(Ycsb::D)),
        ("f", Self::Ycsb(Ycsb::F)),
    ];
}

impl FromStr for Mix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        if text == "e" {
            return Err("workload e scans ranges of keys; keys have no order here and there are no scans: \
                        use c for reads alone, or d for reads with inserts");
        }
        let found = Self::ALL.iter().find(|(name, _)| *name == text);
        found.map(|(_, mix)| *mix).ok_or("write mixed, probe, or a, b, c, d or f for that of YCSB")
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(_, mix)| mix == self);
        f.write_str(named.map_or("mixed", |(name, _)| name))
    }
}

/// The gaps between operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Gaps {
    Poisson,
    Fixed,
}

/// Which member a session asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Place {
    Pinned,
    Roaming,
    Nearest,
}

/// How keys are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Chooser {
    /// All alike
    Uniform,
    /// Few often, most seldom (theta 0.99), scrambled
    Zipfian,
    /// As zipfian, what was inserted last most often
    Latest,
    /// A fifth of the keys gets four fifths of the operations
    Hotspot,
    /// The further from the last key the more seldom, by a constant factor
    Exponential,
    /// One after the other
    Sequential,
}

/// How keys are chosen by the members that own them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Pattern {
    Distributed,
    Clustered,
}

/// A flag's own word for a value.
fn word(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|it| it.get_name().to_owned()).unwrap_or_default()
}

/// A time as a flag takes it; it may have several parts.
fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string().replace(' ', "")
}

fn parse_value_bytes(text: &str) -> Result<ValueBytes, String> {
    /// A value of 1 MiB is the largest that members take with what surrounds it.
    const MOST: u32 = 1 << 20;
    let number = |text: &str| text.parse::<u32>().ok().filter(|&bytes| (1..=MOST).contains(&bytes));
    let sizes = match text.split_once("..") {
        None => number(text).map(ValueBytes::Fixed),
        Some((least, most)) => match (number(least), number(most.trim_start_matches('='))) {
            (Some(least), Some(most)) if least <= most => Some(ValueBytes::Uniform(least, most)),
            _ => None,
        },
    };
    sizes.ok_or_else(|| format!("give a number of bytes from 1 to {MOST}, or two such as 10..1000"))
}

/// The load does not fit the cluster or itself; nothing was done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadSettingsError {
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error("the preset has 256 keys: give --members for {0} of them")]
    Records(u16),
    #[error("workload d inserts keys, and the preset has all its keys from the start: give --members")]
    PresetInserts,
    #[error("inserted keys belong to no --pattern: leave it out, or choose another workload than d")]
    PatternInserts,
    #[error("--deletes is of workload mixed; the others delete nothing")]
    Deletes,
}

impl LoadSettings {
    /// The names of the keys there are at first.
    pub(crate) fn records(&self, shape: Shape) -> Vec<String> {
        match shape {
            Shape::Preset(Preset::FourNode) => (0..self.records).map(|key| key.to_string()).collect(),
            Shape::Members(_) => (0..self.records).map(|key| format!("key{key}")).collect(),
        }
    }

    /// The workload of these settings on a cluster of `shape`.
    pub(crate) fn workload(&self, shape: Shape, seed: u64) -> Result<Workload, LoadSettingsError> {
        let is_preset = matches!(shape, Shape::Preset(_));
        if is_preset && self.records > RECORDS {
            return Err(LoadSettingsError::Records(self.records));
        }
        if self.workload == Mix::Ycsb(Ycsb::D) && is_preset {
            return Err(LoadSettingsError::PresetInserts);
        }
        if self.workload == Mix::Ycsb(Ycsb::D) && self.pattern.is_some() {
            return Err(LoadSettingsError::PatternInserts);
        }
        if self.deletes.is_some() && self.workload != Mix::Mixed {
            return Err(LoadSettingsError::Deletes);
        }
        let workload = Workload {
            sessions: self.sessions,
            rate: self.rate,
            arrivals: match self.arrivals {
                _ if self.closed => Arrivals::Closed { think: self.think },
                Gaps::Poisson => Arrivals::Poisson,
                Gaps::Fixed => Arrivals::Fixed,
            },
            sessions_at: match self.sessions_at {
                Place::Pinned => SessionsAt::Pinned,
                Place::Roaming => SessionsAt::Roaming,
                Place::Nearest => SessionsAt::Nearest,
            },
            levels: self.levels.iter().map(|&level| (level, 1.0)).collect(),
            write_level: self.write_level,
            delete_share: self.deletes.unwrap_or(DELETES),
            value_bytes: self.value_bytes.unwrap_or_default(),
            ramp: self.ramp,
            warm_up: self.warm_up,
            ..Workload::new(self.choose(shape, seed)?, seed)
        };
        Ok(match self.workload {
            Mix::Mixed => workload,
            Mix::Probe => Workload { probe: Some(self.probe_until), ..workload },
            Mix::Ycsb(ycsb) => ycsb.of(workload),
        })
    }

    fn choose(&self, shape: Shape, seed: u64) -> Result<Keys, KeyError> {
        let spread = match self.chooser() {
            Chooser::Uniform => Spread::Uniform,
            Chooser::Zipfian => Spread::Zipfian { theta: THETA, seed },
            Chooser::Latest => Spread::Latest { theta: THETA },
            Chooser::Hotspot => Spread::Hotspot,
            Chooser::Exponential => Spread::Exponential,
            Chooser::Sequential => Spread::Sequential,
        };
        let keys = self.records(shape);
        match (self.pattern, shape) {
            (None, Shape::Preset(_)) => Keys::distributed(vec![keys], spread),
            (None, Shape::Members(_)) => Keys::records("key", keys.len(), spread),
            (Some(Pattern::Distributed), _) => Keys::distributed(shape.by_preference_list(&keys), spread),
            (Some(Pattern::Clustered), _) => {
                Keys::clustered(shape.by_preference_list(&keys), &self.lists, spread)
            }
        }
    }

    fn chooser(&self) -> Chooser {
        let usual = if self.workload == Mix::Ycsb(Ycsb::D) { Chooser::Latest } else { Chooser::Zipfian };
        self.keys.unwrap_or(usual)
    }

    /// The settings by name, for the record of a run.
    pub(crate) fn configuration(&self) -> Vec<(&'static str, Json)> {
        let lists = (self.pattern == Some(Pattern::Clustered)).then_some(&self.lists);
        vec![
            ("workload", json!(self.workload.to_string())),
            ("sessions", json!(self.sessions)),
            ("sessions_at", json!(word(&self.sessions_at))),
            ("rate", if self.closed { Json::Null } else { json!(self.rate) }),
            ("arrivals", if self.closed { json!("closed") } else { json!(word(&self.arrivals)) }),
            ("think_ms", if self.closed { json!(self.think.as_secs_f64() * 1000.0) } else { Json::Null }),
            (
                "delete_share",
                json!(if self.workload == Mix::Mixed { self.deletes.unwrap_or(DELETES) } else { 0.0 }),
            ),
            ("keys", json!(format!("{}, {}", self.records, word(&self.chooser())))),
            ("pattern", json!(self.pattern.as_ref().map(word))),
            ("lists", json!(lists)),
            ("levels", json!(self.levels)),
            ("write_level", json!(self.write_level)),
            ("value_bytes", json!(self.value_bytes.map(describe))),
            ("ramp_ms", json!(self.ramp.as_secs_f64() * 1000.0)),
            ("warm_up_ms", json!(self.warm_up.as_secs_f64() * 1000.0)),
            ("probe_until_ms", {
                let until = self.probe_until.as_secs_f64() * 1000.0;
                if self.workload == Mix::Probe { json!(until) } else { Json::Null }
            }),
        ]
    }

    /// The same with as many sessions and operations a second as a [shrunk](Shrunk) experiment has.
    pub(crate) fn as_shrunk(&self, shrunk: &Shrunk) -> Self {
        Self { rate: shrunk.rate, sessions: shrunk.sessions, ..self.clone() }
    }

    /// The flags that give these settings again; most are left out where they are as they are without.
    pub(crate) fn flags(&self) -> String {
        let mut flags = String::new();
        let mut flag = |given: bool, name: &str, value: String| {
            if given {
                flags.push_str(&format!(" --{name} {value}"));
            }
        };
        flag(!self.closed, "rate", self.rate.to_string());
        flag(true, "sessions", self.sessions.to_string());
        flag(self.workload != Mix::Mixed, "workload", self.workload.to_string());
        flag(self.workload == Mix::Probe, "probe-until", time(self.probe_until));
        flag(self.arrivals != Gaps::Poisson, "arrivals", word(&self.arrivals));
        flag(self.closed, "closed --think", time(self.think));
        flag(self.sessions_at != Place::Pinned, "sessions-at", word(&self.sessions_at));
        let levels = self.levels.iter().map(Level::to_string).collect::<Vec<_>>().join(",");
        flag(levels != "one,quorum", "levels", levels.clone());
        let write_level = self.write_level.map(|it| it.to_string());
        flag(write_level.is_some(), "write-level", write_level.unwrap_or_default());
        let deletes = self.deletes.map(|it| it.to_string());
        flag(deletes.is_some(), "deletes", deletes.unwrap_or_default());
        flag(self.records != RECORDS, "records", self.records.to_string());
        flag(self.keys.is_some(), "keys", self.keys.as_ref().map(word).unwrap_or_default());
        flag(self.pattern.is_some(), "pattern", self.pattern.as_ref().map(word).unwrap_or_default());
        let lists = self.lists.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        flag(lists != "0", "lists", lists.clone());
        flag(self.value_bytes.is_some(), "value-bytes", self.value_bytes.map(describe).unwrap_or_default());
        flag(!self.ramp.is_zero(), "ramp", time(self.ramp));
        flag(!self.warm_up.is_zero(), "warm-up", time(self.warm_up));
        flags
    }
}

/// Sizes as their flag takes them.
fn describe(bytes: ValueBytes) -> String {
    match bytes {
        ValueBytes::Name => String::new(),
        ValueBytes::Fixed(bytes) => bytes.to_string(),
        ValueBytes::Uniform(least, most) => format!("{least}..{most}"),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        load: LoadSettings,
    }

    fn parse(flags: &str) -> Result<LoadSettings, clap::Error> {
        let words = format!("chinwag {flags}");
        Flags::try_parse_from(words.split_whitespace()).map(|it| it.load)
    }

    const PRESET: Shape = Shape::Preset(Preset::FourNode);

    #[test]
    fn flags_give_the_same_load_again() {
        let cases = [
            "",
            "--workload a --rate 1000 --arrivals fixed --value-bytes 100",
            "--workload d --records 1000 --value-bytes 10..20",
            "--workload probe --probe-until 1s500ms --levels one,2 --write-level all",
            "--closed --think 5ms --sessions 3 --sessions-at roaming",
            "--keys hotspot --pattern clustered --lists 1,2 --deletes 0.1",
            "--ramp 5s --warm-up 10s --sessions-at nearest --keys latest --pattern distributed",
        ];
        for given in cases {
            let load = parse(given).unwrap();
            let again = parse(&load.flags()).unwrap();
            assert_eq!(again.configuration(), load.configuration(), "{given}: {}", load.flags());
            for flag in given.split_whitespace() {
                assert!(load.flags().contains(flag), "{flag} is missing in {}", load.flags());
            }
        }
        assert_eq!(parse("").unwrap().flags(), " --rate 500 --sessions 64");
    }

    #[test]
    fn workload_e_is_refused_with_what_to_use_instead() {
        let error = parse("--workload e").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ValueValidation);
        let text = error.to_string();
        assert!(text.contains("no scans") && text.contains("use c"), "{text}");
        assert!(parse("--workload g").unwrap_err().to_string().contains("mixed, probe"));
        assert!(parse("--closed --rate 5").is_err() && parse("--think 1s").is_err());
        for bytes in ["0", "-1", "20..10", "x", "2000000"] {
            assert!(parse(&format!("--value-bytes={bytes}")).is_err(), "{bytes}");
        }
    }

    #[test]
    fn what_does_not_fit_the_cluster_is_refused() {
        let refused = |flags: &str, shape| parse(flags).unwrap().workload(shape, 1).unwrap_err().to_string();
        assert!(refused("--records 300", PRESET).contains("give --members"));
        assert!(refused("--workload d", PRESET).contains("give --members"));
        assert!(refused("--workload d --pattern distributed", Shape::Members(4)).contains("--pattern"));
        assert!(refused("--workload a --deletes 0.1", PRESET).contains("mixed"));
        assert!(refused("--pattern clustered --lists 9", PRESET).contains("no preference list 9"));
        parse("--workload d --records 300").unwrap().workload(Shape::Members(4), 1).unwrap();
    }

    #[test]
    fn settings_reach_the_workload() {
        let workload = |flags: &str| parse(flags).unwrap().workload(Shape::Members(3), 7).unwrap();
        let usual = workload("");
        assert_eq!(
            (usual.sessions, usual.rate, usual.read_share, usual.delete_share),
            (64, 500.0, 0.6, 0.03)
        );
        assert!(!usual.preload && usual.probe.is_none() && usual.arrivals == Arrivals::Poisson);
        let b = workload("--workload b --ramp 1s --warm-up 2s");
        assert_eq!((b.read_share, b.delete_share, b.preload), (0.95, 0.0, true));
        assert_eq!(b.measured_after(), Duration::from_secs(3));
        assert_eq!(workload("--workload d").insert_share, 1.0);
        let think = Duration::from_millis(3);
        assert_eq!(workload("--closed --think 3ms").arrivals, Arrivals::Closed { think });
    }
}
