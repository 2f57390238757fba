//! Owns the TOML of a scenario: its fields, and the line each value stands on. Refuses what one step alone shows to be
//! wrong; what needs the order of steps is `scenario`'s.

use super::{Action, Problem, Scenario, ScenarioError, Step};
use crate::clock::ClockOffset;
use crate::faults::{Bandwidth, GilbertElliott, Latency, LinkFaults, mtu, probability, travel_time};
use crate::nemesis::Nemesis;
use crate::selector::{ALL, Selector};
use serde::de::{MapAccess, Visitor, value::MapAccessDeserializer};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use toml::Spanned;

/// Reads and checks all but the order of crashes and restarts.
pub(super) fn read(text: &str) -> Result<Scenario, ScenarioError> {
    let lines = Lines(text);
    let wire: ScenarioWire = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        lines.error(offset, Problem::Malformed(error.message().to_owned()))
    })?;
    let duration = wire.duration.get_ref().0;
    if duration.is_zero() {
        return Err(lines.error(wire.duration.span().start, Problem::NoDuration));
    }
    let nemesis = wire.nemesis.map(|nemesis| read_nemesis(nemesis, &lines, duration)).transpose()?;
    if let (Some(nemesis), Some(step)) = (&nemesis, wire.step.first()) {
        let problem = Problem::NemesisAndSteps { nemesis_line: nemesis.line };
        return Err(lines.error(step.at.span().start, problem));
    }
    let mut steps =
        wire.step.into_iter().map(|step| step.read(&lines, duration)).collect::<Result<Vec<_>, _>>()?;
    steps.sort_by_key(|step| step.at);
    Ok(Scenario {
        name: wire.name,
        description: wire.description,
        seed: wire.seed.cast_unsigned(),
        duration,
        phase: wire.phase,
        links: wire.links,
        nemesis,
        steps,
    })
}

/// A seed as TOML can hold it.
pub(super) fn signed<S: Serializer>(seed: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(seed.cast_signed())
}

fn read_nemesis(
    nemesis: Spanned<Nemesis>,
    lines: &Lines<'_>,
    duration: Duration,
) -> Result<Nemesis, ScenarioError> {
    let offset = nemesis.span().start;
    let mut nemesis = nemesis.into_inner();
    nemesis.line = lines.number(offset);
    if nemesis.is_idle() {
        return Err(lines.error(offset, Problem::IdleNemesis));
    }
    let quiet = nemesis.quiet;
    if quiet >= duration {
        return Err(lines.error(offset, Problem::NothingButQuiet { quiet, duration }));
    }
    Ok(nemesis)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScenarioWire {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    seed: i64,
    duration: Spanned<Human>,
    #[serde(default = "start")]
    phase: String,
    #[serde(default)]
    links: LinkFaults,
    nemesis: Option<Spanned<Nemesis>>,
    #[serde(default)]
    step: Vec<StepWire>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepWire {
    at: Spanned<Human>,
    phase: Option<String>,
    links: Option<Spanned<LinksWire>>,
    clear_links: Option<Spanned<bool>>,
    partition: Option<Spanned<Vec<Vec<String>>>>,
    block: Option<Spanned<BlockWire>>,
    heal: Option<Spanned<bool>>,
    crash: Option<Spanned<CrashWire>>,
    restart: Option<Spanned<String>>,
    pause: Option<Spanned<PauseWire>>,
    clock_skew: Option<Spanned<ClockWire>>,
    clock_jump: Option<Spanned<ClockWire>>,
}

/// The fields of [`LinkFaults`] beside the links they are for: serde can either flatten or refuse unknown fields on the
/// line they stand on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinksWire {
    #[serde(default = "all")]
    from: Selector,
    #[serde(default = "all")]
    to: Selector,
    #[serde(default)]
    latency: Latency,
    #[serde(default, deserialize_with = "probability")]
    drop: f64,
    #[serde(default)]
    burst_loss: Option<GilbertElliott>,
    #[serde(default, deserialize_with = "probability")]
    duplicate: f64,
    #[serde(default, deserialize_with = "probability")]
    corrupt: f64,
    #[serde(default, deserialize_with = "probability")]
    reorder: f64,
    #[serde(default = "reorder_by", deserialize_with = "travel_time")]
    reorder_by: Duration,
    #[serde(default)]
    bandwidth: Option<Bandwidth>,
    #[serde(default, deserialize_with = "mtu")]
    mtu: Option<usize>,
    #[serde(default = "yes")]
    fifo: bool,
}

/// As [`LinksWire`] reads it.
#[derive(Serialize)]
struct LinksToWrite<'a> {
    from: &'a Selector,
    to: &'a Selector,
    #[serde(flatten)]
    faults: &'a LinkFaults,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BlockWire {
    from: Selector,
    to: Selector,
}

/// `"a"`, or a table.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
struct CrashWire {
    node: String,
    #[serde(default)]
    lose_disk: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PauseWire {
    node: String,
    #[serde(rename = "for")]
    lasting: Human,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockWire {
    node: String,
    by: ClockOffset,
}

/// A duration such as "1m 30s".
#[derive(Deserialize, Serialize)]
#[serde(transparent)]
struct Human(#[serde(with = "crate::duration")] Duration);

/// One action a step asks for, and where.
struct Found {
    field: &'static str,
    offset: usize,
    action: Result<Action, Problem>,
}

impl StepWire {
    fn read(self, lines: &Lines<'_>, duration: Duration) -> Result<Step, ScenarioError> {
        let (at, at_offset) = (self.at.get_ref().0, self.at.span().start);
        if at > duration {
            return Err(lines.error(at_offset, Problem::AfterEnd { at, duration }));
        }
        let phase = self.phase.clone();
        let found = self.actions();
        let [Found { offset, action, .. }] = <[Found; 1]>::try_from(found).map_err(|found| {
            let actions: Vec<_> = found.iter().map(|found| found.field).collect();
            let problem =
                if actions.is_empty() { Problem::NoAction } else { Problem::SeveralActions { actions } };
            lines.error(at_offset, problem)
        })?;
        let action = action.map_err(|problem| lines.error(offset, problem))?;
        check_names(&action).map_err(|problem| lines.error(offset, problem))?;
        if let Action::Pause { lasting, .. } = action
            && lasting > duration - at
        {
            let ends = at.saturating_add(lasting);
            return Err(lines.error(offset, Problem::PauseAfterEnd { ends, duration }));
        }
        Ok(Step { at, phase, action, line: lines.number(offset) })
    }

    fn actions(self) -> Vec<Found> {
        fn find<T>(
            field: &'static str,
            value: Option<Spanned<T>>,
            read: impl FnOnce(T) -> Result<Action, Problem>,
        ) -> Option<Found> {
            let value = value?;
            Some(Found { field, offset: value.span().start, action: read(value.into_inner()) })
        }
        let found = [
            find("links", self.links, |links| Ok(links.into())),
            find("clear_links", self.clear_links, |on| switch("clear_links", on, Action::ClearLinks)),
            find("partition", self.partition, partition),
            find("block", self.block, |BlockWire { from, to }| Ok(Action::Block { from, to })),
            find("heal", self.heal, |on| switch("heal", on, Action::Heal)),
            find("crash", self.crash, |CrashWire { node, lose_disk }| Ok(Action::Crash { node, lose_disk })),
            find("restart", self.restart, |node| Ok(Action::Restart(node))),
            find("pause", self.pause, |PauseWire { node, lasting: Human(lasting) }| {
                Ok(Action::Pause { node, lasting })
            }),
            find("clock_skew", self.clock_skew, |ClockWire { node, by }| Ok(Action::ClockSkew { node, by })),
            find("clock_jump", self.clock_jump, |ClockWire { node, by }| Ok(Action::ClockJump { node, by })),
        ];
        found.into_iter().flatten().collect()
    }
}

fn switch(action: &'static str, on: bool, meaning: Action) -> Result<Action, Problem> {
    if on { Ok(meaning) } else { Err(Problem::SwitchedOff { action }) }
}

fn partition(groups: Vec<Vec<String>>) -> Result<Action, Problem> {
    if groups.len() < 2 {
        return Err(Problem::TooFewGroups);
    }
    if groups.iter().any(Vec::is_empty) {
        return Err(Problem::EmptyGroup);
    }
    let mut seen = BTreeSet::new();
    match groups.iter().flatten().find(|&node| !seen.insert(node)) {
        Some(node) => Err(Problem::NamedTwice { node: node.clone() }),
        None => Ok(Action::Partition(groups)),
    }
}

fn check_names(action: &Action) -> Result<(), Problem> {
    match action.nodes().into_iter().find(|name| name.is_empty() || *name == ALL) {
        Some(name) => Err(Problem::BadName { name: name.to_owned() }),
        None => Ok(()),
    }
}

impl From<LinksWire> for Action {
    fn from(wire: LinksWire) -> Self {
        let LinksWire { from, to, latency, drop, burst_loss, duplicate, corrupt, reorder, .. } = wire;
        let LinksWire { reorder_by, bandwidth, mtu, fifo, .. } = wire;
        let faults = LinkFaults {
            latency,
            drop,
            burst_loss,
            duplicate,
            corrupt,
            reorder,
            reorder_by,
            bandwidth,
            mtu,
            fifo,
        };
        Self::Links { from, to, faults }
    }
}

impl Serialize for CrashWire {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for CrashWire {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct CrashVisitor;
        impl<'de> Visitor<'de> for CrashVisitor {
            type Value = CrashWire;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a node, or a table with `node` and `lose_disk`")
            }

            fn visit_str<E: serde::de::Error>(self, node: &str) -> Result<CrashWire, E> {
                Ok(CrashWire { node: node.to_owned(), lose_disk: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CrashWire, A::Error> {
                CrashWire::deserialize(MapAccessDeserializer::new(map))
            }
        }
        deserializer.deserialize_any(CrashVisitor)
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("at", &Human(self.at))?;
        if let Some(phase) = &self.phase {
            map.serialize_entry("phase", phase)?;
        }
        match &self.action {
            Action::Links { from, to, faults } => {
                map.serialize_entry("links", &LinksToWrite { from, to, faults })?;
            }
            Action::ClearLinks => map.serialize_entry("clear_links", &true)?,
            Action::Partition(groups) => map.serialize_entry("partition", groups)?,
            Action::Block { from, to } => {
                map.serialize_entry("block", &BlockWire { from: from.clone(), to: to.clone() })?;
            }
            Action::Heal => map.serialize_entry("heal", &true)?,
            Action::Crash { node, lose_disk: false } => map.serialize_entry("crash", node)?,
            Action::Crash { node, lose_disk: true } => {
                map.serialize_entry("crash", &CrashWire { node: node.clone(), lose_disk: true })?;
            }
            Action::Restart(node) => map.serialize_entry("restart", node)?,
            Action::Pause { node, lasting } => {
                map.serialize_entry("pause", &PauseWire { node: node.clone(), lasting: Human(*lasting) })?;
            }
            Action::ClockSkew { node, by } => {
                map.serialize_entry("clock_skew", &ClockWire { node: node.clone(), by: *by })?;
            }
            Action::ClockJump { node, by } => {
                map.serialize_entry("clock_jump", &ClockWire { node: node.clone(), by: *by })?;
            }
        }
        map.end()
    }
}

/// Finds the line of a byte offset.
struct Lines<'a>(&'a str);

impl Lines<'_> {
    fn number(&self, offset: usize) -> usize {
        1 + self.0.bytes().take(offset).filter(|&byte| byte == b'\n').count()
    }

    fn error(&self, offset: usize, problem: Problem) -> ScenarioError {
        ScenarioError { line: self.number(offset), problem }
    }
}

fn start() -> String {
    "start".to_owned()
}

fn all() -> Selector {
    Selector::All
}

fn reorder_by() -> Duration {
    LinkFaults::default().reorder_by
}

fn yes() -> bool {
    true
}
