//! A scenario's steps as they stand on a history's timeline: in words, and with whether any fault is in force after them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chinwag_fuzz_net::{Action, ClockOffset, Scenario, Step};

use crate::history::Event;

/// What is in force after the steps so far.
#[derive(Debug)]
pub(super) struct Timeline<'a> {
    scenario: &'a Scenario,
    cut: bool,
    down: BTreeSet<String>,
    paused_until: Duration,
    /// How far the clocks that are wrong are off.
    clocks: BTreeMap<String, ClockOffset>,
    /// Links have other faults than the scenario began with.
    links: bool,
    pub(super) disks_lost: usize,
    pub(super) phase: String,
}

impl<'a> Timeline<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let phase = scenario.phases().first().map_or_else(String::new, |it| it.label.to_owned());
        Self {
            scenario,
            cut: false,
            down: BTreeSet::new(),
            paused_until: Duration::ZERO,
            clocks: BTreeMap::new(),
            links: false,
            disks_lost: 0,
            phase,
        }
    }

    /// The event that `step` is.
    pub(super) fn take(&mut self, step: &Step) -> Event {
        if let Some(phase) = step.phase() {
            phase.clone_into(&mut self.phase);
        }
        match step.action() {
            Action::Links { faults, .. } => self.links = faults != self.scenario.links(),
            Action::ClearLinks => self.links = false,
            Action::Partition(_) | Action::Block { .. } => self.cut = true,
            Action::Heal => self.cut = false,
            Action::Crash { node, lose_disk } => {
                self.down.insert(node.clone());
                self.disks_lost += usize::from(*lose_disk);
            }
            Action::Restart(node) => drop(self.down.remove(node)),
            Action::Pause { lasting, .. } => {
                self.paused_until = self.paused_until.max(step.at().saturating_add(*lasting));
            }
            Action::ClockSkew { node, by } => self.set_clock(node, *by),
            Action::ClockJump { node, by } => {
                let offset = self.clocks.get(node).copied().unwrap_or_default();
                self.set_clock(node, offset + *by);
            }
        }
        Event {
            at: u64::try_from(step.at().as_nanos()).unwrap_or(u64::MAX),
            phase: self.phase.clone(),
            what: describe(step.action()),
            fault: self.cut
                || self.links
                || !self.down.is_empty()
                || !self.clocks.is_empty()
                || self.paused_until > step.at(),
        }
    }

    fn set_clock(&mut self, node: &str, offset: ClockOffset) {
        if offset == ClockOffset::NONE {
            self.clocks.remove(node);
        } else {
            self.clocks.insert(node.to_owned(), offset);
        }
    }
}

fn describe(action: &Action) -> String {
    match action {
        Action::Links { from, to, faults } => format!("links from {from} to {to}: {faults}"),
        Action::ClearLinks => "all links are perfect".to_owned(),
        Action::Partition(groups) => {
            let groups: Vec<String> = groups.iter().map(|group| group.join(" + ")).collect();
            format!("cut into {}", groups.join(" | "))
        }
        Action::Block { from, to } => format!("{to} no longer hears {from}"),
        Action::Heal => "the cut is healed".to_owned(),
        Action::Crash { node, lose_disk: false } => format!("{node} crashes"),
        Action::Crash { node, lose_disk: true } => format!("{node} crashes and loses its disk"),
        Action::Restart(node) => format!("{node} restarts"),
        Action::Pause { node, lasting } => format!("{node} pauses for {lasting:?}"),
        Action::ClockSkew { node, by: ClockOffset::NONE } => format!("the clock of {node} is right"),
        Action::ClockSkew { node, by } => format!("the clock of {node} is off by {by}"),
        Action::ClockJump { node, by } => format!("the clock of {node} jumps by {by}"),
    }
}
