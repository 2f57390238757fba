//! Owns the tasks of simulated nodes, QUIC's and their own, so that all of a node can be ended between two of its packets, or
//! stand still for a while. Refuses real sockets.

mod gate;

use gate::Gate;
use quinn::{AsyncTimer, AsyncUdpSocket, Runtime};
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// Runs nodes on tokio's timers and tasks, and remembers whose tasks they are. A handle: clones share one memory.
#[derive(Clone, Debug, Default)]
pub struct SimRuntime(Arc<Mutex<BTreeMap<Arc<str>, Tasks>>>);

/// Tasks of one node.
#[derive(Debug, Default)]
struct Tasks {
    handles: Vec<AbortHandle>,
    /// When to look for those that have ended.
    sweep_at: usize,
    /// Which all of them pass before they do anything.
    gate: Arc<Gate>,
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

    /// What `node` hands to quinn, and spawns its own tasks on.
    #[must_use]
    pub fn for_node(&self, node: &str) -> Arc<dyn Runtime> {
        Arc::new(NodeRuntime { node: node.into(), runtime: self.clone() })
    }

    /// Stops all tasks of `node`, also those it spawns meanwhile, for this long from now: none of them is polled, whatever
    /// it waits for, until all of them are, in the order in which something happened to them. So what was due meanwhile is
    /// overdue, and happens at once. Of several pauses the one that ends last counts.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn pause(&self, node: &str, lasting: Duration) {
        let gate = Arc::clone(&self.lock().entry(node.into()).or_default().gate);
        let until = Instant::now() + lasting;
        gate.close(until);
        tokio::spawn(async move {
            sleep_until(until).await;
            gate.open_if_due();
        });
    }

    /// Ends the pauses of `node`, as its crash does.
    pub fn resume(&self, node: &str) {
        if let Some(tasks) = self.lock().get(node) {
            tasks.gate.open();
        }
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
        let mut nodes = self.runtime.lock();
        let tasks = nodes.entry(Arc::clone(&self.node)).or_default();
        let task = tokio::spawn(gate::behind(Arc::clone(&tasks.gate), future));
        tasks.push(task.abort_handle());
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

    /// Ticks every 100 ms for ever, and notes when.
    fn tick(runtime: &Arc<dyn Runtime>) -> Arc<Mutex<Vec<u128>>> {
        let ticks: Arc<Mutex<Vec<u128>>> = Arc::default();
        let noted = Arc::clone(&ticks);
        runtime.spawn(Box::pin(async move {
            let start = Instant::now();
            let mut interval = tokio::time::interval(Duration::from_millis(100));
            loop {
                interval.tick().await;
                noted.lock().unwrap().push(start.elapsed().as_millis());
            }
        }));
        ticks
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_node_stands_still_and_then_does_all_it_is_late_with() {
        let runtime = SimRuntime::new();
        let (a, b) = (runtime.for_node("a"), runtime.for_node("b"));
        let (paused, other) = (tick(&a), tick(&b));
        sleep_until(Instant::now() + Duration::from_millis(150)).await;
        runtime.pause("a", Duration::from_millis(250));
        runtime.pause("a", Duration::from_millis(100));
        let late = tick(&a);
        sleep_until(Instant::now() + Duration::from_millis(400)).await;
        assert_eq!(*paused.lock().unwrap(), [0, 100, 400, 400, 400, 500]);
        assert_eq!(*other.lock().unwrap(), [0, 100, 200, 300, 400, 500]);
        assert_eq!(late.lock().unwrap().first(), Some(&0), "a task spawned in a pause begins after it");
        assert_eq!(late.lock().unwrap().len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_that_is_called_off_is_over_at_once() {
        let runtime = SimRuntime::new();
        let ticks = tick(&runtime.for_node("a"));
        runtime.pause("a", Duration::from_secs(3600));
        sleep_until(Instant::now() + Duration::from_millis(250)).await;
        assert_eq!(ticks.lock().unwrap().len(), 0);
        runtime.resume("a");
        runtime.resume("unknown");
        tokio::task::yield_now().await;
        assert_eq!(ticks.lock().unwrap().len(), 1);
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
