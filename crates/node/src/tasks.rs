//! The tasks of a member: spawned on the runtime it was handed, and counted until they end. Refuses to abort any.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

/// Spawns and counts. A handle: clones count together.
///
/// The runtime is the one that QUIC's own tasks run on, so that whoever hands it in has the whole member in hand: a
/// simulation can stop all of it for a while, as the machine would.
#[derive(Debug, Clone)]
pub(crate) struct Tasks {
    runtime: Arc<dyn quinn::Runtime>,
    tracker: TaskTracker,
}

impl Tasks {
    pub(crate) fn new(runtime: Arc<dyn quinn::Runtime>) -> Self {
        Self { runtime, tracker: TaskTracker::new() }
    }

    /// Starts `task`, which must end soon after the member is told to stop.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(Box::pin(self.tracker.track_future(task)));
    }

    /// Waits until there is none; forbids none to be started.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// How many have not ended.
    pub(crate) fn len(&self) -> usize {
        self.tracker.len()
    }
}
