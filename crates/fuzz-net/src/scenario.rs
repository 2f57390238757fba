//! Owns the timed schedule of faults of an experiment, checked: what is in a [`Scenario`] can be played.
//! Refuses to apply it (see `play`) and to read its TOML (see `wire`).

mod error;
mod shrink;
mod wire;

pub use error::{LoadError, Problem, ScenarioError};

use crate::clock::ClockOffset;
use crate::faults::LinkFaults;
use crate::nemesis::{Field, Nemesis};
use crate::plan::Plan;
use crate::selector::Selector;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

/// A schedule of faults, read from TOML.
///
/// ```toml
/// name = "one crash"
/// seed = 7              # fates of packets; 0 if left out
/// duration = "10s"
/// phase = "healthy"     # what a progress bar shows until the first step; "start" if left out
///
/// [links]               # faults of all links from the start; none if left out
/// latency = "2ms"
///
/// [[step]]
/// at = "3s"
/// phase = "replica2 is gone"
/// crash = "replica2"
///
/// [[step]]
/// at = "6s"
/// restart = "replica2"
/// ```
///
/// Every step has exactly one action; [`Action`] lists them with their TOML. In their place a [`Nemesis`] draws steps at
/// random. Unknown fields are refused. It serializes to the same form.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// A short name, for reports.
    pub name: String,
    /// What the experiment is about.
    pub description: String,
    /// The seed of the links' random streams, for [`FaultTable::new`](crate::FaultTable::new). TOML has no numbers above
    /// 2^63: there they are negative.
    #[serde(serialize_with = "wire::signed")]
    pub seed: u64,
    #[serde(with = "crate::duration")]
    duration: Duration,
    phase: String,
    links: LinkFaults,
    #[serde(skip_serializing_if = "Option::is_none")]
    nemesis: Option<Nemesis>,
    #[serde(rename = "step", skip_serializing_if = "Vec::is_empty")]
    steps: Vec<Step>,
}

/// The phase in which no fault is drawn.
const QUIET: &str = "quiet";

/// One action at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    at: Duration,
    phase: Option<String>,
    action: Action,
    /// Where the scenario says so, for errors found later. Counted from 1.
    line: usize,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `links = { from = "all", to = ["a", "b"], latency = "5ms", drop = 0.01 }`: replaces the faults of these links;
    /// `from` and `to` are `"all"` if left out, and faults left out are off.
    Links {
        /// The nodes that send.
        from: Selector,
        /// The nodes they send to.
        to: Selector,
        /// The faults from now on.
        faults: LinkFaults,
    },
    /// `clear_links = true`: removes the faults of all links, those of the start too.
    ClearLinks,
    /// `partition = [["a", "b"], ["c"]]`: cuts all links between the groups, in place of an earlier partition. A node in
    /// no group keeps all its links.
    Partition(Vec<Vec<String>>),
    /// `block = { from = "a", to = ["b", "c"] }`: cuts these links, this way only.
    Block {
        /// The nodes that send.
        from: Selector,
        /// The nodes that no longer hear them.
        to: Selector,
    },
    /// `heal = true`: ends partition and blocks.
    Heal,
    /// `crash = "a"`, or `crash = { node = "a", lose_disk = true }`: stops the node with no goodbye.
    Crash {
        /// The node.
        node: String,
        /// Whether what it had stored is gone, too.
        lose_disk: bool,
    },
    /// `restart = "a"`: starts a crashed node again.
    Restart(String),
    /// `pause = { node = "a", for = "2s" }`: what the node sends and what arrives for it is held this long, and then goes
    /// on its way, as when a machine stops to collect garbage.
    Pause {
        /// The node.
        node: String,
        /// For how long.
        lasting: Duration,
    },
    /// `clock_skew = { node = "a", by = "-300ms" }`: the node's wall clock is off by this much from now on, whatever it
    /// was off by before; `by = "0s"` sets it right.
    ClockSkew {
        /// The node.
        node: String,
        /// How far it is ahead of the true time.
        by: ClockOffset,
    },
    /// `clock_jump = { node = "a", by = "5s" }`: the node's wall clock jumps by this much from where it is.
    ClockJump {
        /// The node.
        node: String,
        /// How far it jumps; backwards if negative.
        by: ClockOffset,
    },
}

/// A span of an experiment with one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase<'a> {
    /// When it begins, counted from the start of the experiment.
    pub begins: Duration,
    /// When the next begins, or the experiment ends.
    pub ends: Duration,
    /// What a person reads.
    pub label: &'a str,
}

impl Scenario {
    /// Reads a scenario from its TOML.
    ///
    /// # Errors
    ///
    /// Names the line that is wrong and says what to do about it.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario = wire::read(text)?;
        scenario.check_order()?;
        Ok(scenario)
    }

    /// Reads a scenario from a file.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or as [`parse`](Self::parse).
    pub fn load(path: impl AsRef<Path>) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let text =
            fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|source| LoadError::Invalid { path: path.to_owned(), source })
    }

    /// The same scenario with its nemesis drawn into ordinary steps, for these nodes, and with this seed, which from now on
    /// also decides the fates of packets: written down it is a scenario that replays the run.
    ///
    /// When the quiet begins all that was drawn has ended: links are as at the start, nothing is cut, nobody is down or
    /// paused, all clocks are right. Every fault is a step, and can be [taken out](Self::without_faults).
    ///
    /// A scenario without a nemesis only takes the seed.
    #[must_use]
    pub fn with_nemesis<S: Into<String>>(&self, seed: u64, nodes: impl IntoIterator<Item = S>) -> Self {
        let mut drawn = Self { seed, nemesis: None, ..self.clone() };
        let Some(nemesis) = &self.nemesis else { return drawn };
        let nodes =
            nodes.into_iter().map(Into::into).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>();
        let quiet_begins = self.duration - nemesis.quiet;
        let field = Field { seed, nodes: &nodes, links: &self.links, end: quiet_begins };
        let line = nemesis.line;
        let step = |(at, action)| Step { at, phase: None, action, line };
        drawn.steps = nemesis.draw(&field).into_iter().map(step).collect();
        let phase = Some(QUIET.to_owned());
        drawn.steps.push(Step { at: quiet_begins, phase, action: Action::Heal, line });
        // A clock that has jumped twice is set right once.
        drawn.without_faults(&BTreeSet::new())
    }

    /// The scenario in TOML, as [`parse`](Self::parse) reads it.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every value of a scenario has a form in TOML")
    }

    /// Checks every name the scenario mentions against the nodes there are.
    ///
    /// # Errors
    ///
    /// Names the line, the unknown node and the known ones.
    pub fn check_nodes<S: AsRef<str>>(
        &self,
        known: impl IntoIterator<Item = S>,
    ) -> Result<(), ScenarioError> {
        let known: BTreeSet<String> = known.into_iter().map(|name| name.as_ref().to_owned()).collect();
        for step in &self.steps {
            if let Some(node) = step.action.nodes().into_iter().find(|&node| !known.contains(node)) {
                let problem =
                    Problem::UnknownNode { node: node.to_owned(), known: known.iter().cloned().collect() };
                return Err(ScenarioError { line: step.line, problem });
            }
        }
        Ok(())
    }

    /// The random faults that are yet to be [drawn](Self::with_nemesis).
    #[must_use]
    pub fn nemesis(&self) -> Option<&Nemesis> {
        self.nemesis.as_ref()
    }

    /// How long the experiment runs.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// The faults of all links from the start.
    #[must_use]
    pub fn links(&self) -> &LinkFaults {
        &self.links
    }

    /// The steps in the order of their times, those of one time in the order of the file.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The phases in order, without gaps, from the start to the end. A step without a label belongs to the phase that
    /// is on; of several labels at one time the last counts.
    #[must_use]
    pub fn phases(&self) -> Vec<Phase<'_>> {
        let mut starts = BTreeMap::from([(Duration::ZERO, self.phase.as_str())]);
        starts.extend(self.steps.iter().filter_map(|step| Some((step.at, step.phase()?))));
        let ends = starts.keys().copied().skip(1).chain([self.duration]).collect::<Vec<_>>();
        let phases =
            starts.into_iter().zip(ends).map(|((begins, label), ends)| Phase { begins, ends, label });
        phases.filter(|phase| phase.begins < phase.ends).collect()
    }

    /// When the network became whole for good: from when on, until the end, no link is cut and no node down or paused.
    /// Convergence is measured from here.
    ///
    /// `None` if nothing ever was, or if something still is at the end. Loss, latency and wrong clocks do not count.
    #[must_use]
    pub fn last_heal(&self) -> Option<Duration> {
        let mut cut = false;
        let mut down = BTreeSet::new();
        let mut paused_until = None;
        let mut last_heal = None;
        for step in &self.steps {
            let was_whole = !cut && down.is_empty();
            match &step.action {
                Action::Partition(_) | Action::Block { .. } => cut = true,
                Action::Heal => cut = false,
                Action::Crash { node, .. } => _ = down.insert(node),
                Action::Restart(node) => _ = down.remove(node),
                Action::Pause { lasting, .. } => paused_until = paused_until.max(Some(step.at + *lasting)),
                Action::Links { .. }
                | Action::ClearLinks
                | Action::ClockSkew { .. }
                | Action::ClockJump { .. } => {}
            }
            match (was_whole, !cut && down.is_empty()) {
                (false, true) => last_heal = Some(step.at),
                (_, false) => last_heal = None,
                (true, true) => {}
            }
        }
        if cut || !down.is_empty() { None } else { last_heal.max(paused_until) }
    }

    /// Whether anything kept two nodes from each other at any moment of `when`: a cut in either direction, or a pause of
    /// either. Loss, latency and crashes do not count.
    #[must_use]
    pub fn apart(&self, one: &str, other: &str, when: RangeInclusive<Duration>) -> bool {
        let mut plan = Plan::default();
        let cut = |plan: &Plan| plan.blocks(one, other) || plan.blocks(other, one);
        for step in self.steps.iter().take_while(|step| step.at <= *when.end()) {
            // What was in force until this step.
            if step.at >= *when.start() && cut(&plan) {
                return true;
            }
            match &step.action {
                Action::Partition(groups) => {
                    plan.partition(groups.iter().map(|group| group.iter().cloned().collect()).collect());
                }
                Action::Block { from, to } => plan.block(from, to),
                Action::Heal => plan.heal(),
                Action::Pause { node, lasting } if node == one || node == other => {
                    if step.at.saturating_add(*lasting) >= *when.start() {
                        return true;
                    }
                }
                Action::Links { .. }
                | Action::ClearLinks
                | Action::Crash { .. }
                | Action::Restart(_)
                | Action::Pause { .. }
                | Action::ClockSkew { .. }
                | Action::ClockJump { .. } => {}
            }
        }
        cut(&plan)
    }

    fn check_order(&self) -> Result<(), ScenarioError> {
        let mut down = BTreeMap::new();
        for step in &self.steps {
            let is_down = |node: &String| down.get(node).map(|&crashed_line| (node.clone(), crashed_line));
            let problem =
                match &step.action {
                    Action::Crash { node, .. } => is_down(node)
                        .map(|(node, crashed_line)| Problem::AlreadyCrashed { node, crashed_line }),
                    Action::Pause { node, .. } => is_down(node)
                        .map(|(node, crashed_line)| Problem::PausedWhileDown { node, crashed_line }),
                    Action::Restart(node) if is_down(node).is_none() => {
                        Some(Problem::NotCrashed { node: node.clone() })
                    }
                    _ => None,
                };
            if let Some(problem) = problem {
                return Err(ScenarioError { line: step.line, problem });
            }
            match &step.action {
                Action::Crash { node, .. } => _ = down.insert(node.clone(), step.line),
                Action::Restart(node) => _ = down.remove(node),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Step {
    /// When it happens, counted from the start of the experiment.
    #[must_use]
    pub fn at(&self) -> Duration {
        self.at
    }

    /// The label of the phase it begins, if it begins one.
    #[must_use]
    pub fn phase(&self) -> Option<&str> {
        self.phase.as_deref()
    }

    /// What it does.
    #[must_use]
    pub fn action(&self) -> &Action {
        &self.action
    }
}

impl Action {
    /// The nodes it names.
    fn nodes(&self) -> Vec<&str> {
        match self {
            Self::Links { from, to, .. } | Self::Block { from, to } => {
                from.names().chain(to.names()).collect()
            }
            Self::Partition(groups) => groups.iter().flatten().map(String::as_str).collect(),
            Self::Crash { node, .. }
            | Self::Restart(node)
            | Self::Pause { node, .. }
            | Self::ClockSkew { node, .. }
            | Self::ClockJump { node, .. } => vec![node],
            Self::ClearLinks | Self::Heal => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
