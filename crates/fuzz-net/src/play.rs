//! Owns playing a scenario: each step at its time. Refuses to know what a node is: its life, its disk and its clock are
//! its host's.

use crate::clock::ClockOffset;
use crate::scenario::{Action, Scenario, Step};
use crate::selector::Selector;
use crate::table::FaultTable;
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

/// Who runs the nodes of an experiment.
pub trait Host {
    /// Why something could not be done to a node.
    type Error: std::error::Error + 'static;

    /// Stops a node as a power failure would: no goodbye, nothing flushed. Returns when its sockets are gone.
    ///
    /// The node is unplugged already: what it still sends is lost.
    fn crash(&mut self, node: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Empties the disk of a node that has crashed: when it starts again it remembers nothing it had stored.
    fn lose_disk(&mut self, node: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Makes the node's wall clock show the true time plus `offset` from now on, whatever offset it had. The offset is
    /// the machine's: it outlives crashes and restarts, and a node that is down has it when it starts. Timers and
    /// timeouts do not follow the wall clock, and are not to change.
    fn set_clock(
        &mut self,
        node: &str,
        offset: ClockOffset,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Stops the node's own work for this long from now, timers included, as while its machine collects garbage; what it
    /// is owed then happens at once. Of several pauses the one that ends last counts, and a crash ends them. The table
    /// holds its packets already; a host that cannot stop more leaves it at that.
    fn pause(&mut self, node: &str, lasting: Duration);

    /// Starts a crashed node again, on what its crash left. It is plugged in already.
    fn restart(&mut self, node: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Why a scenario stopped before its end. The table and the nodes stay as the steps so far left them.
#[derive(Debug, Error)]
pub enum PlayError<E: std::error::Error + 'static> {
    /// The scenario's faults are yet to be drawn; nothing was done. Play what
    /// [`with_nemesis`](Scenario::with_nemesis) returns.
    #[error("the nemesis of this scenario has not been drawn")]
    NotDrawn,
    /// The host could not stop a node.
    #[error("cannot crash {node:?} at {at:?}")]
    Crash {
        /// The node.
        node: String,
        /// The time of the step.
        at: Duration,
        /// What the host said.
        source: E,
    },
    /// The host could not empty a crashed node's disk.
    #[error("cannot empty the disk of {node:?} at {at:?}")]
    LoseDisk {
        /// The node.
        node: String,
        /// The time of the step.
        at: Duration,
        /// What the host said.
        source: E,
    },
    /// The host could not set a node's clock.
    #[error("cannot set the clock of {node:?} at {at:?}")]
    SetClock {
        /// The node.
        node: String,
        /// The time of the step.
        at: Duration,
        /// What the host said.
        source: E,
    },
    /// The host could not start a node; it stays down.
    #[error("cannot restart {node:?} at {at:?}")]
    Restart {
        /// The node.
        node: String,
        /// The time of the step.
        at: Duration,
        /// What the host said.
        source: E,
    },
}

/// Plays `scenario` from now to its end on tokio's clock: sets the links it starts with, then takes each step at its
/// time, calling `on_step` just before. A host that is slow delays the steps it overruns, and none after them.
///
/// Faults that stand at the end stay in force.
///
/// # Errors
///
/// If the host fails, and the remaining steps are not taken; or if the scenario has a nemesis that is not drawn.
pub async fn play<H: Host>(
    scenario: &Scenario,
    table: &FaultTable,
    host: &mut H,
    mut on_step: impl FnMut(&Step),
) -> Result<(), PlayError<H::Error>> {
    if scenario.nemesis().is_some() {
        return Err(PlayError::NotDrawn);
    }
    let start = Instant::now();
    let mut clocks = BTreeMap::new();
    table.set_links(&Selector::All, &Selector::All, scenario.links().clone());
    for step in scenario.steps() {
        sleep_until(start + step.at()).await;
        tracing::debug!(at = ?step.at(), phase = step.phase(), action = ?step.action(), "scenario step");
        on_step(step);
        take(step, table, host, &mut clocks).await?;
    }
    sleep_until(start + scenario.duration()).await;
    Ok(())
}

/// `clocks` is how far those of the nodes are off.
async fn take<H: Host>(
    step: &Step,
    table: &FaultTable,
    host: &mut H,
    clocks: &mut BTreeMap<String, ClockOffset>,
) -> Result<(), PlayError<H::Error>> {
    let at = step.at();
    match step.action() {
        Action::Links { from, to, faults } => table.set_links(from, to, faults.clone()),
        Action::ClearLinks => table.clear_links(),
        Action::Partition(groups) => table.partition(groups.iter().cloned()),
        Action::Block { from, to } => table.block(from, to),
        Action::Heal => table.heal(),
        Action::Crash { node, lose_disk } => {
            table.unplug(node);
            let crashed = host.crash(node).await;
            crashed.map_err(|source| PlayError::Crash { node: node.clone(), at, source })?;
            if *lose_disk {
                let lost = host.lose_disk(node).await;
                lost.map_err(|source| PlayError::LoseDisk { node: node.clone(), at, source })?;
            }
        }
        Action::Restart(node) => {
            table.plug(node);
            let restarted = host.restart(node).await;
            restarted.map_err(|source| PlayError::Restart { node: node.clone(), at, source })?;
        }
        Action::Pause { node, lasting } => {
            table.pause(node, *lasting);
            host.pause(node, *lasting);
        }
        Action::ClockSkew { node, by } | Action::ClockJump { node, by } => {
            let offset = clocks.entry(node.clone()).or_default();
            let jumps = matches!(step.action(), Action::ClockJump { .. });
            *offset = if jumps { *offset + *by } else { *by };
            let set = host.set_clock(node, *offset).await;
            set.map_err(|source| PlayError::SetClock { node: node.clone(), at, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
