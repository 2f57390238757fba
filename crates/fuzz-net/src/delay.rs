//! Owns the thread that holds parcels until they are due. Refuses to know what a parcel is: it hands each back to itself.
//!
//! One thread for a whole process: measured at 100,000 packets a second, it costs less per packet than a task on a timer
//! wheel and is late by tens of microseconds, where a task under QUIC's load is late by one to two milliseconds.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::{self, JoinHandle};
use tokio::time::Instant;

/// Bytes that may be under way at once in a process; beyond, parcels are refused. 256 MiB is two seconds of a gigabit.
const BYTES_MAX: usize = 256 << 20;

/// Parcels released at one go, before the queue is looked at again.
const BATCH_MAX: usize = 256;

/// What can be held until it is due.
pub(crate) trait Parcel: Send + 'static {
    /// Memory it takes, near enough.
    fn bytes(&self) -> usize;
    /// Called when it is due, on the delay thread: must neither block nor panic.
    fn release(self);
}

/// Gives all users of a process the same line, which lives as long as one of them holds it.
pub(crate) struct SharedLine<T: Parcel>(Mutex<Weak<DelayLine<T>>>);

/// A queue of parcels in the order they are due, and the thread that releases them. Dropping it stops the thread, and
/// loses what is still under way.
#[derive(Debug)]
pub(crate) struct DelayLine<T: Parcel> {
    shared: Arc<Shared<T>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<T> {
    queue: Mutex<Queue<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct Queue<T> {
    /// By due time, then by order of arrival.
    parcels: BTreeMap<(Instant, u64), T>,
    arrivals: u64,
    bytes: usize,
    closed: bool,
}

impl<T: Parcel> SharedLine<T> {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The line, started now if nobody holds it. Fails if the system refuses a thread.
    pub(crate) fn get_or_start(&self) -> io::Result<Arc<DelayLine<T>>> {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(line) = current.upgrade() {
            return Ok(line);
        }
        let line = Arc::new(DelayLine::start()?);
        *current = Arc::downgrade(&line);
        Ok(line)
    }
}

impl<T: Parcel> DelayLine<T> {
    fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::new(Queue::new()), changed: Condvar::new() });
        let thread = thread::Builder::new().name("chinwag-delay".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run()
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Holds `parcel` until `due`, in real time. Gives it back if the queue is full.
    pub(crate) fn push(&self, due: Instant, parcel: T) -> Result<(), T> {
        let mut queue = self.shared.lock();
        let is_first = queue.first_due().is_none_or(|first| due < first);
        queue.insert(due, parcel)?;
        drop(queue);
        if is_first {
            self.shared.changed.notify_one();
        }
        Ok(())
    }
}

impl<T: Parcel> Drop for DelayLine<T> {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the delay thread had panicked; packets under way were lost");
        }
    }
}

impl<T: Parcel> Shared<T> {
    /// The thread.
    fn run(&self) {
        let mut due = Vec::with_capacity(BATCH_MAX);
        let mut queue = self.lock();
        while !queue.closed {
            let now = Instant::now();
            queue.take_due(now, &mut due);
            if due.is_empty() {
                queue = self.wait(queue, now);
            } else {
                drop(queue);
                due.drain(..).for_each(T::release);
                queue = self.lock();
            }
        }
    }

    /// Until the first parcel is due or something changes.
    fn wait<'q>(&self, queue: MutexGuard<'q, Queue<T>>, now: Instant) -> MutexGuard<'q, Queue<T>> {
        match queue.first_due() {
            Some(due) => {
                let waited = self.changed.wait_timeout(queue, due - now);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
            None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Parcel> Queue<T> {
    fn new() -> Self {
        Self { parcels: BTreeMap::new(), arrivals: 0, bytes: 0, closed: false }
    }

    fn insert(&mut self, due: Instant, parcel: T) -> Result<(), T> {
        if self.bytes + parcel.bytes() > BYTES_MAX {
            return Err(parcel);
        }
        self.bytes += parcel.bytes();
        self.parcels.insert((due, self.arrivals), parcel);
        self.arrivals += 1;
        Ok(())
    }

    fn take_due(&mut self, now: Instant, due: &mut Vec<T>) {
        while due.len() < BATCH_MAX
            && self.first_due().is_some_and(|first| first <= now)
            && let Some((_, parcel)) = self.parcels.pop_first()
        {
            self.bytes -= parcel.bytes();
            due.push(parcel);
        }
    }

    fn first_due(&self) -> Option<Instant> {
        self.parcels.first_key_value().map(|(&(due, _), _)| due)
    }
}

#[cfg(test)]
mod tests;
