//! Hinted handoff: delivers what is parked for a member once it is alive again, and only then deletes it.

use std::sync::Arc;
use std::time::Duration;

use chinwag_client::wire::MemberState;
use chinwag_membership::NodeId;
use rand::RngExt;
use tokio::time::{sleep, timeout};

use crate::core::{AskError, Core, MEMBER_TIMEOUT};
use crate::view::Target;

/// Hints are tried this often even if nobody was seen to come back: a member may miss a write and never be suspected.
const RETRY: Duration = Duration::from_secs(1);
/// Hints read at once.
const PAGE: usize = 64;

/// Delivers hints until the member stops.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let pause = core.draw(|rng| RETRY.mul_f64(rng.random_range(0.5..1.5)));
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = core.hints_due.notified() => {}
            () = sleep(pause) => {}
        }
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = core.ask_full_members() => {}
        }
        tokio::select! {
            biased;
            () = core.stop.cancelled() => return,
            () = deliver_all(&core) => {}
        }
    }
}

async fn deliver_all(core: &Core) {
    for backlog in core.store.backlogs() {
        let member = NodeId(backlog.target);
        let view = core.view();
        let alive = view.members.get(&member).is_some_and(|it| it.info.state == MemberState::Alive);
        if !alive || !core.takes_writes(member) {
            continue;
        }
        match deliver(core, member).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(member = %view.name(member), count, "delivered hints"),
            Err(reason) => {
                tracing::debug!(member = %view.name(member), %reason, "hints stay parked");
            }
        }
    }
}

/// Delivers one member's hints in order. One that the member cannot store stays parked; if the member cannot be reached
/// all the rest do.
async fn deliver(core: &Core, member: NodeId) -> Result<u64, String> {
    let mut after = None;
    let mut delivered = 0;
    loop {
        let page = core.store.hints(member.0, after.as_ref(), PAGE).map_err(|error| error.to_string())?;
        for (key, state) in page.states {
            let target = Target { replica: member, hint_for: None };
            let write = core.write_to(target, key.clone(), &state);
            match timeout(MEMBER_TIMEOUT, write).await {
                Ok(Ok(())) => {}
                Ok(Err(AskError::Failed(reason))) => {
                    tracing::debug!(%reason, "a hint stays parked");
                    continue;
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_elapsed) => return Err("no answer in time".to_owned()),
            }
            // A put that arrived meanwhile has grown the hint: then it stays for the next round.
            let unparked = core.store.unpark(member.0, &key, &state).map_err(|error| error.to_string())?;
            if let Some(commit) = unparked {
                commit.await.map_err(|error| error.to_string())?;
            }
            core.counters.hints_delivered.increment();
            delivered += 1;
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(delivered),
        }
    }
}
