//! Owns when a disk counts as full, and when it is looked at again. Refuses to look itself; the writing thread does.

use crate::engine::Refusal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The disk is looked at again after this long, as long as there is something to write or it was full.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// And after this many bytes. With what may be queued they must fit the reserve.
const LOOK_BYTES: usize = 8 << 20;
/// A full disk takes writes again once there is this part of the reserve more than the reserve, so that it does not
/// refuse and take them in turns.
const RESUME_PART: u64 = 8;

/// What is to stay free on the disk of a directory.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Reserve {
    pub(in crate::engine) directory: Arc<Path>,
    pub(in crate::engine) bytes: u64,
}

#[derive(Debug)]
pub(super) struct Space {
    reserve: Reserve,
    full: bool,
    looked: Instant,
    written: usize,
}

impl Space {
    pub(super) fn new(reserve: Reserve) -> Self {
        Self { reserve, full: false, looked: Instant::now(), written: 0 }
    }

    /// Accounts for bytes that were written since the last look.
    pub(super) const fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// How long until the disk is to be looked at.
    pub(super) fn due_in(&self) -> Duration {
        if self.written >= LOOK_BYTES {
            return Duration::ZERO;
        }
        LOOK_INTERVAL.saturating_sub(self.looked.elapsed())
    }

    /// Takes in what a look saw, `None` if the system would not say; returns what writes are refused with, if they are.
    pub(super) fn saw(&mut self, free: Option<u64>) -> Option<Refusal> {
        self.looked = Instant::now();
        self.written = 0;
        let Reserve { directory, bytes } = &self.reserve;
        let needed = if self.full { bytes.saturating_add(bytes / RESUME_PART) } else { *bytes };
        // A disk that cannot be asked is written to: it says itself when it is full.
        let free = free.filter(|free| *free < needed);
        self.full = free.is_some();
        free.map(|free| Refusal::NoSpace { directory: Arc::clone(directory), free, needed })
    }
}
