//! Hinted handoff: delivers what is parked for a member once it is alive again, and only then deletes it. Refuses to be
//! in a hurry: it yields to requests.
//!
//! The hints that are left are the cursor: they lie in order of target and key, and each goes once its target has made it
//! durable. A hint whose target no longer owns the key stands for one copy of a write all the same, so it goes to a member
//! that owns the key now, the first that can be reached; anti-entropy brings it to the others. It is never just dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chinwag_client::wire::MemberState;
use chinwag_membership::{NodeId, Ring};
use chinwag_storage::{KeyState, StoreKey};
use futures_util::future::join_all;
use rand::RngExt;
use tokio::time::{Instant, sleep, timeout};

use crate::core::{AskError, Core, MEMBER_TIMEOUT};
use crate::view::{Target, View};

/// Hints are tried this often even if nobody was seen to come back: a member may miss a write and never be suspected.
const RETRY: Duration = Duration::from_secs(1);
/// Hints read at once.
const PAGE: usize = 64;
/// Hints under way at once, when nothing else is to be done and the target keeps up.
const WINDOW_MAX: usize = 32;
/// A target that takes this many times as long as at its best has enough to do.
const SLOWER_MAX: u32 = 2;

/// Delivers hints until the member stops.
pub(crate) async fn run(core: Arc<Core>) {
    // The ring by which each absent target's hints were last looked through for keys that are no longer its own.
    let mut sorted = BTreeMap::new();
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
            () = deliver_all(&core, &mut sorted) => {}
        }
    }
}

async fn deliver_all(core: &Core, sorted: &mut BTreeMap<NodeId, Arc<Ring>>) {
    let backlogs = core.store.backlogs();
    sorted.retain(|member, _| backlogs.iter().any(|it| it.target == member.0));
    for backlog in backlogs {
        let member = NodeId(backlog.target);
        let view = core.view();
        let is_alive = view.members.get(&member).is_some_and(|it| it.info.state == MemberState::Alive)
            && core.takes_writes(member);
        if !is_alive && sorted.get(&member).is_some_and(|ring| *ring == view.ring) {
            continue;
        }
        let delivered = Delivery { core, member, is_alive, pace: Pace::default() }.run().await;
        match delivered {
            Ok(Delivered { hints, stuck }) => {
                if hints > 0 {
                    tracing::info!(member = %view.name(member), hints, "delivered hints");
                }
                if !is_alive && !stuck {
                    sorted.insert(member, view.ring.clone());
                }
            }
            Err(reason) => {
                tracing::debug!(member = %view.name(member), %reason, "hints stay parked");
            }
        }
    }
}

/// What a pass over a target's hints came to.
#[derive(Debug, Default)]
struct Delivered {
    hints: u64,
    /// True if some could not be stored where they belong now.
    stuck: bool,
}

/// One pass over a target's hints, in order.
#[derive(Debug)]
struct Delivery<'a> {
    core: &'a Core,
    member: NodeId,
    /// If it is not, only what others own by now is delivered.
    is_alive: bool,
    pace: Pace,
}

/// Where a hint goes.
enum Way {
    /// To its target, or to an owner in its place.
    To(NodeId),
    /// It waits for its target.
    Waits,
    /// Nobody who owns the key can be reached.
    Nowhere,
}

impl Delivery<'_> {
    /// Delivers until all hints were tried. One that a member cannot store stays parked; if a member cannot be reached all
    /// the rest do.
    async fn run(mut self) -> Result<Delivered, String> {
        let mut all = Delivered::default();
        let mut after = None;
        loop {
            let page = self.core.store.hints(self.member.0, after.as_ref(), PAGE);
            let page = page.map_err(|error| error.to_string())?;
            let mut rest = &page.states[..];
            while !rest.is_empty() {
                let (batch, later) = rest.split_at(rest.len().min(self.pace.window));
                rest = later;
                let started = Instant::now();
                for stored in join_all(batch.iter().map(|(key, state)| self.settle(key, state))).await {
                    match stored? {
                        Some(true) => all.hints += 1,
                        Some(false) => all.stuck = true,
                        None => {}
                    }
                }
                let pause = self.pace.after(started.elapsed(), self.core.answering.len() > 0);
                if !pause.is_zero() {
                    sleep(pause).await;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    /// Stores one hint where it belongs and forgets it; false if it stays although it could have gone, `None` if it has
    /// to wait for its target.
    async fn settle(&self, key: &StoreKey, state: &KeyState) -> Result<Option<bool>, String> {
        let owner = match self.way(&self.core.view(), key) {
            Way::To(owner) => owner,
            Way::Waits => return Ok(None),
            Way::Nowhere => return Ok(Some(false)),
        };
        if owner == self.core.me {
            self.core.write_here(key, state, None, None).await?;
        } else {
            let target = Target { replica: owner, hint_for: None };
            match timeout(MEMBER_TIMEOUT, self.core.write_to(target, key.clone(), state, None)).await {
                Ok(Ok(())) => {}
                Ok(Err(AskError::Failed(reason))) => {
                    tracing::debug!(%reason, "a hint stays parked");
                    return Ok(Some(false));
                }
                Ok(Err(error)) => return Err(error.to_string()),
                Err(_elapsed) => return Err("no answer in time".to_owned()),
            }
        }
        // A put that arrived meanwhile has grown the hint: then it stays for the next pass.
        let unparked = self.core.store.unpark(self.member.0, key, state);
        if let Some(commit) = unparked.map_err(|error| error.to_string())? {
            commit.await.map_err(|error| error.to_string())?;
        }
        self.core.counters.hints_delivered.increment();
        Ok(Some(true))
    }

    fn way(&self, view: &View, key: &StoreKey) -> Way {
        let tree = self.core.store.tree_of(key);
        if view.is_owner(tree, self.member) {
            return if self.is_alive { Way::To(self.member) } else { Way::Waits };
        }
        if view.is_owner(tree, self.core.me) {
            return Way::To(self.core.me);
        }
        let mut owners = view.reachable_owners(tree).into_iter();
        owners.find(|&it| self.core.takes_writes(it)).map_or(Way::Nowhere, Way::To)
    }
}

/// How many hints are under way at once: one more after each batch that was taken readily, half as many after one that
/// was not, or that had to share this member with requests.
#[derive(Debug)]
struct Pace {
    window: usize,
    /// The shortest time a batch has taken.
    best: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { window: 1, best: Duration::MAX }
    }
}

impl Pace {
    /// Takes in how long a batch took; gives how long to leave the member to others.
    fn after(&mut self, took: Duration, is_busy: bool) -> Duration {
        self.best = self.best.min(took);
        if is_busy || took > self.best.saturating_mul(SLOWER_MAX) {
            self.window = (self.window / 2).max(1);
            return took;
        }
        self.window = (self.window + 1).min(WINDOW_MAX);
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_grows_one_by_one_and_halves_when_others_need_the_member() {
        const QUICK: Duration = Duration::from_millis(10);
        let mut pace = Pace::default();
        for window in 2..=WINDOW_MAX {
            assert_eq!((pace.after(QUICK, false), pace.window), (Duration::ZERO, window));
        }
        assert_eq!((pace.after(QUICK, false), pace.window), (Duration::ZERO, WINDOW_MAX));
        assert_eq!((pace.after(QUICK, true), pace.window), (QUICK, WINDOW_MAX / 2), "requests are under way");
        let slow = QUICK * 3;
        assert_eq!((pace.after(slow, false), pace.window), (slow, WINDOW_MAX / 4), "the target is slow");
        for _ in 0..WINDOW_MAX {
            pace.after(slow, true);
        }
        assert_eq!(pace.window, 1, "it never stops");
    }
}
