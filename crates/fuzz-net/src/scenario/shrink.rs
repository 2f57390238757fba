//! Owns taking faults and time out of a scenario, so that what is left is a scenario again. Refuses to choose which: whoever
//! looks for the smallest one that still fails does.

use super::{Action, Scenario, Step};
use crate::clock::ClockOffset;
use crate::faults::LinkFaults;
use std::collections::BTreeSet;
use std::time::Duration;

/// What is left of a scenario after its last step is never shorter.
const REST_MIN: Duration = Duration::from_secs(1);

/// What the steps so far have done and none has ended.
#[derive(Default)]
struct Standing<'a> {
    bad_links: bool,
    cut: bool,
    down: BTreeSet<&'a str>,
    wrong_clocks: BTreeSet<&'a str>,
}

impl Scenario {
    /// The places in [`steps`](Self::steps) of those that make things worse. The others end what these began.
    #[must_use]
    pub fn fault_steps(&self) -> Vec<usize> {
        let is_fault = |&(_, step): &(usize, &Step)| self.is_fault(&step.action);
        self.steps.iter().enumerate().filter(is_fault).map(|(place, _)| place).collect()
    }

    /// The same scenario without the steps at these places, and without those that then have nothing to do: restarts of
    /// nodes that run, crashes and pauses of nodes that are down, heals where nothing is cut, and the like.
    #[must_use]
    pub fn without_faults(&self, places: &BTreeSet<usize>) -> Self {
        let mut standing = Standing::default();
        let kept = self.steps.iter().enumerate().filter(|(place, step)| {
            let has_effect = !places.contains(place)
                && standing.take(&step.action, self.is_fault(&step.action), &self.links);
            has_effect || (step.action == Action::Heal && step.phase.is_some())
        });
        Self { steps: kept.map(|(_, step)| step.clone()).collect(), ..self.clone() }
    }

    /// The same scenario with half as long to go on after its last step, or pause, is over; `None` if that is a second or
    /// less already.
    #[must_use]
    pub fn sooner_over(&self) -> Option<Self> {
        let ends = |step: &Step| match &step.action {
            Action::Pause { lasting, .. } => step.at + *lasting,
            _ => step.at,
        };
        let last = self.steps.iter().map(ends).max().unwrap_or_default();
        let left = self.duration.saturating_sub(last);
        (left > REST_MIN).then(|| Self { duration: last + (left / 2).max(REST_MIN), ..self.clone() })
    }

    fn is_fault(&self, action: &Action) -> bool {
        match action {
            Action::Links { faults, .. } => *faults != self.links,
            Action::ClockSkew { by, .. } => *by != ClockOffset::NONE,
            Action::Partition(_)
            | Action::Block { .. }
            | Action::Crash { .. }
            | Action::Pause { .. }
            | Action::ClockJump { .. } => true,
            Action::ClearLinks | Action::Heal | Action::Restart(_) => false,
        }
    }
}

impl<'a> Standing<'a> {
    /// Whether the action has anything to do; takes it if so.
    fn take(&mut self, action: &'a Action, is_fault: bool, links: &LinkFaults) -> bool {
        match action {
            Action::Links { .. } => {
                let were_bad = self.bad_links;
                self.bad_links |= is_fault;
                is_fault || were_bad
            }
            Action::ClearLinks => std::mem::take(&mut self.bad_links) || !links.is_clean(),
            Action::Partition(_) | Action::Block { .. } => {
                self.cut = true;
                true
            }
            Action::Heal => std::mem::take(&mut self.cut),
            Action::Crash { node, .. } => self.down.insert(node),
            Action::Restart(node) => self.down.remove(node.as_str()),
            Action::Pause { node, .. } => !self.down.contains(node.as_str()),
            Action::ClockSkew { node, .. } if !is_fault => self.wrong_clocks.remove(node.as_str()),
            Action::ClockSkew { node, .. } | Action::ClockJump { node, .. } => {
                self.wrong_clocks.insert(node);
                true
            }
        }
    }
}
