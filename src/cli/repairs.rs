//! Which ways of repair the members of an experiment have: the flags, what they set, the flags again for a replay.

use std::time::Duration;

use chinwag_observer::lab::{ClusterPlan, Shape};
use serde_json::{Value as Json, json};

use super::node::Switch;

/// Members of one process need not spare each other: they compare trees about once a second.
const PACE: Pace = Pace(Some(Duration::from_secs(1)));

/// The three ways in which replicas come to agree. Each can be switched off, to study the others alone.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Repair")]
pub(crate) struct RepairSettings {
    /// Whether a read hands what it merged to replicas that had less
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    read_repair: Switch,

    /// Whether writes for an unreachable replica are kept and delivered later
    #[arg(long, value_name = "SWITCH", value_enum, default_value_t = Switch::On)]
    hinted_handoff: Switch,

    /// Mean time between two rounds of background repair of a member, or `off`
    #[arg(long, value_name = "TIME", default_value_t = PACE, value_parser = parse_pace)]
    anti_entropy: Pace,
}

/// Mean time between two rounds; none without rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace(Option<Duration>);

impl std::fmt::Display for Pace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(interval) => humantime::format_duration(interval).fmt(f),
            None => f.write_str("off"),
        }
    }
}

fn parse_pace(text: &str) -> Result<Pace, String> {
    if text == "off" {
        return Ok(Pace(None));
    }
    let interval = humantime::parse_duration(text);
    interval.map(|it| Pace(Some(it))).map_err(|error| format!("{error}; give `off`, or a time such as 5s"))
}

impl RepairSettings {
    /// A cluster of `shape` that repairs so.
    pub(crate) fn cluster(&self, shape: Shape) -> ClusterPlan {
        ClusterPlan {
            shape,
            anti_entropy: self.anti_entropy.0,
            read_repair: self.read_repair == Switch::On,
            hinted_handoff: self.hinted_handoff == Switch::On,
        }
    }

    /// The settings by name, for the record of a run.
    pub(crate) fn configuration(&self) -> [(&'static str, Json); 3] {
        [
            ("read_repair", json!(self.read_repair == Switch::On)),
            ("hinted_handoff", json!(self.hinted_handoff == Switch::On)),
            ("anti_entropy_ms", json!(self.anti_entropy.0.map(|it| it.as_millis()))),
        ]
    }

    /// The flags that give these settings again; those that are as they are without are left out.
    pub(crate) fn flags(&self) -> String {
        let switch = |name: &str, switch: Switch| match switch {
            Switch::On => String::new(),
            Switch::Off => format!(" --{name} off"),
        };
        let pace = match self.anti_entropy {
            PACE => String::new(),
            // A time may have several parts.
            pace => format!(" --anti-entropy {}", pace.to_string().replace(' ', "")),
        };
        switch("read-repair", self.read_repair) + &switch("hinted-handoff", self.hinted_handoff) + &pace
    }
}

#[cfg(test)]
mod tests {
    use chinwag_node::membership::Preset;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        repairs: RepairSettings,
    }

    fn parse(flags: &str) -> RepairSettings {
        Flags::parse_from(format!("chinwag {flags}").split_whitespace()).repairs
    }

    fn settings(repairs: &RepairSettings) -> (bool, bool, Option<Duration>) {
        let plan = repairs.cluster(Shape::Preset(Preset::FourNode));
        (plan.read_repair, plan.hinted_handoff, plan.anti_entropy)
    }

    #[test]
    fn each_way_can_be_switched_off_and_is_again_in_a_replay() {
        let second = Some(Duration::from_secs(1));
        let cases = [
            ("", (true, true, second), ""),
            ("--read-repair off", (false, true, second), " --read-repair off"),
            ("--hinted-handoff off --read-repair on", (true, false, second), " --hinted-handoff off"),
            ("--anti-entropy off", (true, true, None), " --anti-entropy off"),
            ("--anti-entropy 1s", (true, true, second), ""),
            (
                "--anti-entropy 1500ms",
                (true, true, Some(Duration::from_millis(1500))),
                " --anti-entropy 1s500ms",
            ),
        ];
        for (given, wanted, flags) in cases {
            let repairs = parse(given);
            assert_eq!((settings(&repairs), repairs.flags().as_str()), (wanted, flags), "{given}");
            assert_eq!(settings(&parse(flags)), wanted, "{given}");
        }
        let configuration = parse("--read-repair off --anti-entropy off").configuration();
        let wanted =
            [("read_repair", json!(false)), ("hinted_handoff", json!(true)), ("anti_entropy_ms", Json::Null)];
        assert_eq!(configuration, wanted);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["5", "never", ""] {
            assert!(parse_pace(text).is_err_and(|it| it.contains("such as 5s")), "{text}");
        }
    }
}
