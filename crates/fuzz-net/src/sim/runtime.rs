//! Owns the tasks that QUIC spawns in a simulation, by node, so that a node can be stopped between two of its packets.
//! Refuses real sockets.

use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Runs QUIC on tokio's timers and tasks, and remembers whose tasks they are. A handle: clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct SimRuntime(Arc<Mutex<BTreeMap<Arc<str>, Tasks>>>);

/// Tasks of one node.
#[derive(Debug, Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    /// When to look for those that have ended.
    sweep_at: usize,
}

/// Spawns for one node.
#[derive(Debug)]
struct NodeRuntime {
    node: Arc<str>,
    runtime: SimRuntime,
}

/// Handles kept before those of ended tasks are dropped.
const SWEEP_MIN: usize = 64;

impl SimRuntime {
    /// A runtime without tasks. What it spawns runs on the tokio runtime it is asked from.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What `node` hands to quinn.
    #[must_use]
    pub fn for_node(&self, node: &str) -> Arc<dyn Runtime> {
        Arc::new(NodeRuntime { node: node.into(), runtime: self.clone() })
    }

    /// Aborts all tasks spawned for `node` so far: its endpoints and connections send nothing more, not even a goodbye.
    /// They are gone when tokio next runs them.
    pub fn kill(&self, node: &str) {
        let killed = self.lock().get_mut(node).map(|tasks| std::mem::take(&mut tasks.handles));
        for task in killed.into_iter().flatten() {
            task.abort();
        }
    }

    /// How many tasks have not ended, by node; nodes without any are left out. At the end of an experiment there should be
    /// none, or someone holds on to an endpoint or a connection.
    #[must_use]
    pub fn tasks_alive(&self) -> BTreeMap<String, usize> {
        let alive = |tasks: &Tasks| tasks.handles.iter().filter(|task| !task.is_finished()).count();
        let counts =
            self.lock().iter().map(|(node, tasks)| (node.to_string(), alive(tasks))).collect::<Vec<_>>();
        counts.into_iter().filter(|&(_, count)| count > 0).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Tasks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks {
    /// Drops the handles of ended tasks whenever their number has doubled.
    fn push(&mut self, task: AbortHandle) {
        if self.handles.len() >= self.sweep_at {
            self.handles.retain(|task| !task.is_finished());
            self.sweep_at = SWEEP_MIN.max(2 * self.handles.len());
        }
        self.handles.push(task);
    }
}

impl Runtime for NodeRuntime {
    fn new_timer(&self, at: std::time::Instant) -> Pin<Box<dyn AsyncTimer>> {
        Box::pin(sleep_until(at.into()))
    }

    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let task = tokio::spawn(future).abort_handle();
        self.runtime.lock().entry(Arc::clone(&self.node)).or_default().push(task);
    }

    fn wrap_udp_socket(&self, _: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "a simulation has no real sockets"))
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;

    #[tokio::test]
    async fn a_node_is_killed_and_others_live_on() {
        let runtime = SimRuntime::new();
        let (a, b) = (runtime.for_node("a"), runtime.for_node("b"));
        for _ in 0..3 {
            a.spawn(Box::pin(pending()));
        }
        b.spawn(Box::pin(pending()));
        b.spawn(Box::pin(async {}));
        tokio::task::yield_now().await;
        assert_eq!(runtime.tasks_alive(), BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 1)]));
        runtime.kill("a");
        runtime.kill("unknown");
        tokio::task::yield_now().await;
        assert_eq!(runtime.tasks_alive(), BTreeMap::from([("b".to_owned(), 1)]));
        a.spawn(Box::pin(pending()));
        assert_eq!(runtime.tasks_alive()["a"], 1, "a new life");
    }

    #[tokio::test]
    async fn tasks_that_have_ended_are_not_kept() {
        let runtime = SimRuntime::new();
        let node = runtime.for_node("a");
        node.spawn(Box::pin(pending()));
        for _ in 0..10 * SWEEP_MIN {
            node.spawn(Box::pin(async {}));
            tokio::task::yield_now().await;
        }
        assert!(runtime.lock()["a"].handles.len() <= SWEEP_MIN + 1);
        assert_eq!(runtime.tasks_alive()["a"], 1);
    }

    #[test]
    fn real_sockets_are_refused() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let error = SimRuntime::new().for_node("a").wrap_udp_socket(socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }
}
