//! How full each bounded queue of a member ever was, beside how full it may be. Refuses to hold anything itself.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use chinwag_storage::Store;

use crate::gossip;
use crate::transport::serve;

/// A bounded queue of a member. One that fills up blocks whoever has more for it, or drops what comes; where there are
/// several of a kind, such as one per stream, this is the fullest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLoad {
    /// What waits, and where.
    pub name: &'static str,
    /// The most that ever waited at once since the member started.
    pub high_water: u64,
    /// The most that may wait.
    pub bound: u64,
}

/// The high-water marks of one member's queues.
#[derive(Debug, Default)]
pub(crate) struct Queues {
    /// What other tasks hand to the membership machine.
    pub(crate) gossip_inputs: HighWater,
    /// Datagrams for the membership machine.
    pub(crate) datagrams: HighWater,
    /// Frames of this member's calls, on one stream to another member.
    pub(crate) calls: HighWater,
    /// Frames of this member's answers, on one stream.
    pub(crate) answers: HighWater,
    /// Requests of one stream that this member works on.
    pub(crate) requests: HighWater,
}

impl Queues {
    pub(crate) fn loads(&self, store: &Store) -> Vec<QueueLoad> {
        let load = |name, high_water: &HighWater, bound: usize| QueueLoad {
            name,
            high_water: high_water.0.load(Relaxed),
            bound: bound as u64,
        };
        let frames = chinwag_client::frame::QUEUE_MAX;
        let (hints, hints_bound) = store.hint_bytes();
        vec![
            load("gossip inputs", &self.gossip_inputs, gossip::INPUTS_MAX),
            load("gossip datagrams", &self.datagrams, gossip::DATAGRAMS_MAX),
            load("frames of calls, per stream", &self.calls, frames),
            load("frames of answers, per stream", &self.answers, frames),
            load("requests under way, per stream", &self.requests, serve::REQUESTS_PER_STREAM_MAX),
            QueueLoad { name: "bytes of hints, per target", high_water: hints, bound: hints_bound },
        ]
    }
}

/// The most there ever was of something.
#[derive(Debug, Default)]
pub(crate) struct HighWater(AtomicU64);

impl HighWater {
    pub(crate) fn note(&self, waiting: usize) {
        let waiting = waiting as u64;
        // Mostly it is no record, and then nothing is written.
        if waiting > self.0.load(Relaxed) {
            self.0.fetch_max(waiting, Relaxed);
        }
    }

    /// What waits in `queue` now.
    pub(crate) fn note_channel<T>(&self, queue: &tokio::sync::mpsc::Sender<T>) {
        self.note(queue.max_capacity() - queue.capacity());
    }
}
