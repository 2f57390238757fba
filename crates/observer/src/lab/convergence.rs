//! Looks at what each replica holds, asking each for itself so that nothing is repaired by looking.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chinwag_client::{Client, RequestError};
use tokio::time::{Instant, sleep};

use super::experiment::{Home, owners};
use crate::history::{Dot, Version};
use crate::invariants::{FinalState, not_converged};

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
            keys.entry(key).or_default().extend(entry.versions.into_iter().map(|(dot, value)| Version {
                value: value.map(|it| String::from_utf8_lossy(&it).into_owned()),
                dot: Dot::from(dot),
            }));
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(keys),
        }
    }
}

/// Waits until all owners of each key hold the same versions of it and go on doing so until `is_over`; gives the moment
/// from which on they did, or `None` if they do not at `deadline`.
pub(super) async fn wait_for_agreement(
    clients: &BTreeMap<String, Client>,
    homes: &BTreeMap<String, Home>,
    is_over: impl Fn() -> bool,
    deadline: Instant,
) -> Option<Instant> {
    let owners = owners(homes);
    let mut since = None;
    loop {
        let was_over = is_over();
        let state = peek(clients).await;
        // Seen after the last answer, so the agreement is at least as old as this.
        let now = Instant::now();
        let agree = state.replicas.len() == clients.len() && not_converged(&state, &owners).is_empty();
        since = if agree { since.or(Some(now)) } else { None };
        if since.is_some() && was_over {
            return since;
        }
        if now >= deadline {
            return None;
        }
        sleep(POLL).await;
    }
}
