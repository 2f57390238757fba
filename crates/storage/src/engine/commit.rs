//! Owns the promise that a batch will be durable. Refuses to know who keeps it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use tokio::sync::oneshot;

/// Resolves when a batch and every earlier one are durable as configured. Dropping it changes nothing but that nobody
/// learns of it. Must not be polled after it resolved.
#[derive(Debug)]
#[must_use = "a write must not be acknowledged before its commit resolves"]
pub struct Commit(State);

#[derive(Debug)]
enum State {
    Settled(Result<(), CommitError>),
    Waiting(oneshot::Receiver<Result<(), CommitError>>),
}

/// Why a batch did not become durable. It may or may not be found after a restart; the engine takes no other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Writing this batch, or one it was grouped with, failed. The process must stop.
    #[error("writing to disk failed: {reason}")]
    Failed {
        /// The engine's words.
        reason: Arc<str>,
    },
    /// An earlier batch failed, so this one was not tried. The process must stop.
    #[error("an earlier write to disk failed, this one was not tried")]
    Poisoned,
    /// The engine was closed before the batch was submitted. It was not written.
    #[error("the store is closed")]
    Closed,
}

impl Commit {
    /// A commit that is over.
    pub const fn settled(outcome: Result<(), CommitError>) -> Self {
        Self(State::Settled(outcome))
    }

    /// A commit, and what settles it, from any thread.
    pub fn pending() -> (oneshot::Sender<Result<(), CommitError>>, Self) {
        let (settle, outcome) = oneshot::channel();
        (settle, Self(State::Waiting(outcome)))
    }

    /// Blocks the thread until the commit resolves: for starting and stopping, where nothing else is to be done.
    ///
    /// # Errors
    /// See [`CommitError`].
    pub fn wait(self) -> Result<(), CommitError> {
        let mut commit = self;
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(outcome) = Pin::new(&mut commit).poll(&mut context) {
                return outcome;
            }
            std::thread::park();
        }
    }
}

impl Future for Commit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Settled(outcome) => Poll::Ready(outcome.clone()),
            // The writer settles every commit it takes; one that vanished went down with the writer.
            State::Waiting(receiver) => Pin::new(receiver)
                .poll(context)
                .map(|received| received.unwrap_or(Err(CommitError::Poisoned))),
        }
    }
}

/// Wakes a thread that waits for a commit.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
