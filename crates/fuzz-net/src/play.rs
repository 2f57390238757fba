//! Owns playing a scenario: each step at its time. Refuses to know what a node is: crashing and restarting are its
//! host's.

use crate::scenario::{Action, Scenario, Step};
use crate::selector::Selector;
use crate::table::FaultTable;
use std::time::Duration;
use thiserror::Error;
use tokio::time::{Instant, sleep_until};

/// Who runs the nodes of an experiment.
pub trait Host {
    /// Why a node could not be stopped or started.
    type Error: std::error::Error + 'static;

    /// Stops a node as a power failure would: no goodbye, nothing flushed. Returns when its sockets are gone.
    ///
    /// The node is unplugged already: what it still sends is lost.
    fn crash(&mut self, node: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Starts a crashed node again, on what its crash left. It is plugged in already.
    fn restart(&mut self, node: &str) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// Why a scenario stopped before its end. The table and the nodes stay as the steps so far left them.
#[derive(Debug, Error)]
pub enum PlayError<E: std::error::Error + 'static> {
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
/// If the host fails; the remaining steps are not taken.
pub async fn play<H: Host>(
    scenario: &Scenario,
    table: &FaultTable,
    host: &mut H,
    mut on_step: impl FnMut(&Step),
) -> Result<(), PlayError<H::Error>> {
    let start = Instant::now();
    table.set_links(&Selector::All, &Selector::All, scenario.links().clone());
    for step in scenario.steps() {
        sleep_until(start + step.at()).await;
        tracing::debug!(at = ?step.at(), phase = step.phase(), action = ?step.action(), "scenario step");
        on_step(step);
        take(step, table, host).await?;
    }
    sleep_until(start + scenario.duration()).await;
    Ok(())
}

async fn take<H: Host>(step: &Step, table: &FaultTable, host: &mut H) -> Result<(), PlayError<H::Error>> {
    let at = step.at();
    match step.action() {
        Action::Links { from, to, faults } => table.set_links(from, to, faults.clone()),
        Action::ClearLinks => table.clear_links(),
        Action::Partition(groups) => table.partition(groups.iter().cloned()),
        Action::Block { from, to } => table.block(from, to),
        Action::Heal => table.heal(),
        Action::Crash(node) => {
            table.unplug(node);
            let crashed = host.crash(node).await;
            crashed.map_err(|source| PlayError::Crash { node: node.clone(), at, source })?;
        }
        Action::Restart(node) => {
            table.plug(node);
            let restarted = host.restart(node).await;
            restarted.map_err(|source| PlayError::Restart { node: node.clone(), at, source })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
