//! Owns the list of exchanges that changed something here, the last of them in order. Refuses to grow without bound.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chinwag_membership::NodeId;
use chinwag_merkle::TreeId;
use tokio::time::Instant;

/// Exchanges that are kept.
const KEPT_MAX: usize = 1024;

/// An exchange of anti-entropy that changed something on this member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// When it first did.
    pub at: Instant,
    /// With which member.
    pub with: String,
    /// Over which partition.
    pub partition: u16,
    /// Key states that it changed here.
    pub keys: u64,
}

/// The exchanges that changed something since the member's start.
#[derive(Debug, Default)]
pub(crate) struct RepairLog(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    begun: u64,
    kept: VecDeque<Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: Instant,
    with: NodeId,
    tree: TreeId,
    keys: u64,
}

/// Where an exchange stands in the list, once it has changed something.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place(Option<u64>);

impl RepairLog {
    /// Notes that the exchange at `place`, which is with a member and over a tree, changed one key more.
    pub(crate) fn note(&self, place: &mut Place, with: NodeId, tree: TreeId) {
        let mut log = self.lock();
        let first_kept = log.begun - log.kept.len() as u64;
        let kept = place.0.and_then(|it| usize::try_from(it.checked_sub(first_kept)?).ok());
        if let Some(entry) = kept.and_then(|at| log.kept.get_mut(at)) {
            entry.keys += 1;
            return;
        }
        if log.kept.len() == KEPT_MAX {
            log.kept.pop_front();
        }
        log.kept.push_back(Entry { at: Instant::now(), with, tree, keys: 1 });
        *place = Place(Some(log.begun));
        log.begun += 1;
    }

    /// Those that are kept, in the order in which they first changed something.
    pub(crate) fn kept(&self, name: impl Fn(NodeId) -> String) -> Vec<Repaired> {
        let entry = |&Entry { at, with, tree, keys }: &Entry| Repaired {
            at,
            with: name(with),
            partition: tree.partition,
            keys,
        };
        self.lock().kept.iter().map(entry).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: NodeId = NodeId(7);

    fn keys(log: &RepairLog) -> Vec<(u16, u64)> {
        log.kept(|it| it.0.to_string()).iter().map(|it| (it.partition, it.keys)).collect()
    }

    fn tree(partition: u16) -> TreeId {
        TreeId { partition, n: 3 }
    }

    #[tokio::test(start_paused = true)]
    async fn an_exchange_has_one_entry_however_often_it_changes_something() {
        let log = RepairLog::default();
        let (mut one, mut other) = (Place::default(), Place::default());
        log.note(&mut one, MEMBER, tree(1));
        log.note(&mut other, MEMBER, tree(2));
        log.note(&mut one, MEMBER, tree(1));
        assert_eq!(keys(&log), [(1, 2), (2, 1)]);
        assert_eq!(log.kept(|it| it.0.to_string())[0].with, "7");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_are_kept() {
        let log = RepairLog::default();
        let mut first = Place::default();
        log.note(&mut first, MEMBER, tree(0));
        for _ in 0..KEPT_MAX {
            log.note(&mut Place::default(), MEMBER, tree(1));
        }
        assert_eq!(keys(&log), [(1, 1)].repeat(KEPT_MAX));
        log.note(&mut first, MEMBER, tree(0));
        assert_eq!((keys(&log).len(), keys(&log).last()), (KEPT_MAX, Some(&(0, 1))), "a new entry");
    }
}
