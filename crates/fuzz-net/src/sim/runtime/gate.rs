//! Owns whether the tasks of one node run or stand still, and whom to wake when they run again. Refuses time of its own.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use tokio::time::Instant;

/// Where the tasks of a node stop while it is paused.
#[derive(Debug, Default)]
pub(super) struct Gate {
    /// Whether it is closed: all that a task asks while nothing is wrong.
    closed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// `None` while it is open.
    until: Option<Instant>,
    /// Those that something happened to, in that order.
    waiting: Vec<Waker>,
}

/// Runs `task` while `gate` is open.
pub(super) fn behind(
    gate: Arc<Gate>,
    mut task: Pin<Box<dyn Future<Output = ()> + Send>>,
) -> impl Future<Output = ()> + Send {
    poll_fn(move |cx| if gate.holds(cx.waker()) { Poll::Pending } else { task.as_mut().poll(cx) })
}

impl Gate {
    /// Closes the gate, or keeps it closed for longer.
    pub(super) fn close(&self, until: Instant) {
        let mut state = self.lock();
        state.until = state.until.max(Some(until));
        self.closed.store(true, Relaxed);
    }

    pub(super) fn open(&self) {
        let waiting = {
            let mut state = self.lock();
            self.closed.store(false, Relaxed);
            state.until = None;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Opens the gate unless it was closed for longer meanwhile.
    pub(super) fn open_if_due(&self) {
        let until = self.lock().until;
        if until.is_some_and(|until| until <= Instant::now()) {
            self.open();
        }
    }

    /// Whether a task must stop here; it is woken when the gate opens.
    fn holds(&self, task: &Waker) -> bool {
        if !self.closed.load(Relaxed) {
            return false;
        }
        let mut state = self.lock();
        let closed = state.until.is_some();
        if closed && !state.waiting.iter().any(|waiting| waiting.will_wake(task)) {
            state.waiting.push(task.clone());
        }
        closed
    }

    /// A panic elsewhere leaves nothing half done that matters here, and its own thread reports it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
