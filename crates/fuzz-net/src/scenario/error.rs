//! Owns what can be wrong with a scenario, in words a person can act on.

use crate::duration::human;
use std::io;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why a scenario file could not be used. Nothing was changed; correct the file or its path.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read the scenario {}", path.display())]
    Read {
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no valid scenario.
    #[error("the scenario {} is not valid", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, and what is wrong there.
        source: ScenarioError,
    },
}

/// Why a scenario was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct ScenarioError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong in one place of a scenario, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// Not TOML, an unknown or missing field, or a value out of its range; in the words of the TOML reader.
    #[error("{0}")]
    Malformed(String),
    /// The experiment would be over at once.
    #[error("the duration must be longer than 0s")]
    NoDuration,
    /// The step would never be taken.
    #[error(
        "the step at {} comes after the end: move it, or make the duration ({}) longer",
        human(*at),
        human(*duration)
    )]
    AfterEnd {
        /// When the step is.
        at: Duration,
        /// When the experiment ends.
        duration: Duration,
    },
    /// The node would still be paused when the experiment is over.
    #[error("the pause ends at {}, after the end ({}): make it shorter, or the duration longer", human(*ends), human(*duration))]
    PauseAfterEnd {
        /// When the pause would end.
        ends: Duration,
        /// When the experiment ends.
        duration: Duration,
    },
    /// A nemesis that would have no time to strike.
    #[error(
        "the quiet at the end ({}) leaves no time for faults: make it shorter, or the duration ({}) longer",
        human(*quiet),
        human(*duration)
    )]
    NothingButQuiet {
        /// How long the end is.
        quiet: Duration,
        /// How long the experiment is.
        duration: Duration,
    },
    /// A nemesis that never strikes.
    #[error(
        "the nemesis does nothing: give it a rate of links, partition, block, crash, pause, clock_skew or clock_jump"
    )]
    IdleNemesis,
    /// Steps beside a nemesis, which might contradict each other.
    #[error("the nemesis on line {nemesis_line} draws all steps: remove it, or the steps")]
    NemesisAndSteps {
        /// Where the nemesis is.
        nemesis_line: usize,
    },
    /// The step has no action.
    #[error(
        "the step does nothing: give it one of links, clear_links, partition, block, heal, crash, restart, pause, clock_skew, clock_jump"
    )]
    NoAction,
    /// The step has more than one action.
    #[error("the step does several things ({}): split it into steps at the same time", actions.join(", "))]
    SeveralActions {
        /// What it does.
        actions: Vec<&'static str>,
    },
    /// `heal = false` or `clear_links = false`.
    #[error("`{action} = false` does nothing: write `{action} = true`, or remove the step")]
    SwitchedOff {
        /// The field.
        action: &'static str,
    },
    /// A partition into fewer than two groups.
    #[error("a partition needs at least two groups, such as [[\"a\", \"b\"], [\"c\"]]")]
    TooFewGroups,
    /// A partition with an empty group.
    #[error("a group of the partition is empty: name its nodes, or remove it")]
    EmptyGroup,
    /// A partition that names a node twice.
    #[error(
        "{node:?} is named twice in the partition: name it once, or leave it out so that it talks to every group"
    )]
    NamedTwice {
        /// The node.
        node: String,
    },
    /// A node with a name no node can have.
    #[error("{name:?} cannot be the name of a node (only `from` and `to` take \"all\", by itself)")]
    BadName {
        /// The name.
        name: String,
    },
    /// A crash of a node that is down.
    #[error("{node:?} is down since line {crashed_line}: restart it before it can crash again")]
    AlreadyCrashed {
        /// The node.
        node: String,
        /// The line of its crash.
        crashed_line: usize,
    },
    /// A pause of a node that is down.
    #[error("{node:?} is down since line {crashed_line}: restart it before it can pause, or remove the step")]
    PausedWhileDown {
        /// The node.
        node: String,
        /// The line of its crash.
        crashed_line: usize,
    },
    /// A restart of a node that is running.
    #[error("{node:?} is running at this time: crash it before this step, or remove the step")]
    NotCrashed {
        /// The node.
        node: String,
    },
    /// A name none of the nodes has.
    #[error("there is no node {node:?}: the nodes are {}", known.join(", "))]
    UnknownNode {
        /// The name.
        node: String,
        /// The names there are.
        known: Vec<String>,
    },
}
