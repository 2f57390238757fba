//! Looks at what each replica holds, asking each for itself so that nothing is repaired by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chinwag_client::{Client, RequestError};
use tokio::time::{Instant, sleep};

use super::experiment::{Home, owners};
use crate::history::{Dot, Version};
use crate::invariants::{FinalState, not_converged};
use crate::workload::name_of;

/// How often the replicas are looked at.
const POLL: Duration = Duration::from_millis(50);

/// What every replica holds at about this moment. A member that does not answer is left out.
pub(super) async fn peek(clients: &BTreeMap<String, Client>) -> FinalState {
    let mut replicas = BTreeMap::new();
    for (name, client) in clients {
        match holdings(client).await {
            Ok(keys) => drop(replicas.insert(name.clone(), keys)),
            Err(error) => tracing::debug!(%name, %error, "a replica cannot be looked at"),
        }
    }
    FinalState { replicas }
}

async fn holdings(client: &Client) -> Result<BTreeMap<String, BTreeSet<Version>>, RequestError> {
    let mut keys: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = client.dump(after).await?;
        for entry in page.entries.into_iter().filter(|it| it.hint_for.is_none()) {
            let key = String::from_utf8_lossy(&entry.key).into_owned();
            keys.entry(key).or_default().extend(
                entry
                    .versions
                    .into_iter()
                    .map(|(dot, value)| Version { value: value.map(|it| name_of(&it)), dot: Dot::from(dot) }),
            );
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(keys),
        }
    }
}

/// Since when owners have held the same, for good.
#[derive(Debug)]
pub(super) struct Agreement {
    /// All owners of all keys; `None` if they did not at the deadline.
    pub(super) all: Option<Instant>,
    /// Those of each key that they agreed on at the end.
    pub(super) keys: Vec<Instant>,
}

/// Waits until all owners of each key hold the same versions of it and go on doing so until `is_over`, or `deadline` comes.
pub(super) async fn wait_for_agreement(
    clients: &BTreeMap<String, Client>,
    homes: &BTreeMap<String, Home>,
    is_over: impl Fn() -> bool,
    deadline: Instant,
) -> Agreement {
    let owners = owners(homes);
    let mut since = None;
    let mut keys: BTreeMap<String, Instant> = BTreeMap::new();
    loop {
        let was_over = is_over();
        let state = peek(clients).await;
        // Seen after the last answer, so the agreement is at least as old as this.
        let now = Instant::now();
        let apart: BTreeSet<String> = not_converged(&state, &owners).into_iter().map(|it| it.key).collect();
        for (key, owners) in &owners {
            let answered = owners.iter().all(|owner| state.replicas.contains_key(owner));
            if answered && !apart.contains(key) {
                keys.entry(key.clone()).or_insert(now);
            } else {
                keys.remove(key);
            }
        }
        let agree = state.replicas.len() == clients.len() && apart.is_empty();
        since = if agree { since.or(Some(now)) } else { None };
        let is_done = since.is_some() && was_over;
        if is_done || now >= deadline {
            return Agreement { all: since.filter(|_| is_done), keys: keys.into_values().collect() };
        }
        sleep(POLL).await;
    }
}
