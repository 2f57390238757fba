//! What became of the members, as this one learned it: the last changes in order and all of them counted. Owns who
//! waits for more; refuses to interpret them.

use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chinwag_client::wire::{ChangeKind, MemberChange, News, WatchCursor, Watched};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::core::Core;

/// Changes that are kept. A watcher that is further behind is given the whole table.
const KEPT_MAX: usize = 1024;
/// A watcher is answered after this long even if it would wait longer.
const PATIENCE_MAX: Duration = Duration::from_secs(30);

/// All changes since the member's start.
#[derive(Debug)]
pub(crate) struct Changes {
    /// Tells this start from every other, of this member and of others.
    run: u64,
    log: Mutex<Log>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Log {
    seen: u64,
    kept: VecDeque<(Instant, MemberChange)>,
    counts: BTreeMap<ChangeKind, u64>,
}

impl Changes {
    pub(crate) fn new(run: u64) -> Self {
        Self { run, log: Mutex::default(), more: Notify::new() }
    }

    /// Takes in changes that the view shows already, and wakes who waits for them.
    pub(crate) fn note(&self, changes: Vec<MemberChange>) {
        if changes.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut log = self.lock();
        for change in changes {
            log.seen += 1;
            *log.counts.entry(change.kind).or_default() += 1;
            if log.kept.len() == KEPT_MAX {
                log.kept.pop_front();
            }
            log.kept.push_back((now, change));
        }
        drop(log);
        self.more.notify_waiters();
    }

    /// How many changes of this kind there were.
    pub(crate) fn count(&self, kind: ChangeKind) -> u64 {
        self.lock().counts.get(&kind).copied().unwrap_or_default()
    }

    /// The changes that are kept, each with the moment at which it was learned.
    pub(crate) fn kept(&self) -> Vec<(Instant, MemberChange)> {
        self.lock().kept.iter().cloned().collect()
    }

    fn cursor(&self) -> WatchCursor {
        WatchCursor { run: self.run, seen: self.lock().seen }
    }

    /// The changes after the cursor; `None` if they are not, or no longer, known.
    fn after(&self, cursor: WatchCursor) -> Option<Vec<MemberChange>> {
        let log = self.lock();
        let missed = log.seen.checked_sub(cursor.seen).filter(|_| cursor.run == self.run)?;
        let first = log.kept.len().checked_sub(usize::try_from(missed).ok()?)?;
        Some(log.kept.range(first..).map(|(_, change)| change.clone()).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers a watcher: at once if it does not know everything, otherwise when there is more to know, its patience is
/// over or the member closes.
pub(crate) async fn watch(core: &Core, after: Option<WatchCursor>, patience: Duration) -> Watched {
    let changes = &core.changes;
    let deadline = Instant::now() + patience.min(PATIENCE_MAX);
    // Made before the look, so that nothing that happens after it goes unnoticed.
    let mut more = pin!(changes.more.notified());
    more.as_mut().enable();
    if let Some(news) = after.and_then(|cursor| changes.after(cursor))
        && news.is_empty()
    {
        tokio::select! {
            biased;
            () = core.closing.cancelled() => {}
            // Time that is up is no error: the answer below is then that nothing happened.
            _ = timeout_at(deadline, more) => {}
        }
    }
    let cursor = changes.cursor();
    match after.and_then(|cursor| changes.after(cursor)) {
        Some(news) => Watched { cursor, news: News::Changes(news) },
        // The cursor was read first: the table is as new or newer.
        None => Watched { cursor, news: News::Table(core.member_infos()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(incarnation: u64) -> MemberChange {
        MemberChange {
            at_ms: 0,
            kind: ChangeKind::Up,
            name: "a".to_owned(),
            address: ([127, 0, 0, 1], 1).into(),
            incarnation,
            generation: 1,
            by: None,
        }
    }

    fn incarnations(changes: &Changes, cursor: WatchCursor) -> Option<Vec<u64>> {
        Some(changes.after(cursor)?.iter().map(|it| it.incarnation).collect())
    }

    #[test]
    fn a_cursor_gives_what_came_after_it_and_only_in_its_own_run() {
        let changes = Changes::new(7);
        let start = changes.cursor();
        assert_eq!(incarnations(&changes, start), Some(Vec::new()));
        changes.note(vec![change(1), change(2)]);
        let middle = changes.cursor();
        changes.note(vec![change(3)]);
        assert_eq!(incarnations(&changes, start), Some(vec![1, 2, 3]));
        assert_eq!(incarnations(&changes, middle), Some(vec![3]));
        assert_eq!(incarnations(&changes, WatchCursor { run: 8, ..middle }), None);
        assert_eq!(incarnations(&changes, WatchCursor { seen: 4, ..middle }), None, "from the future");
        assert_eq!(changes.count(ChangeKind::Up), 3);
        assert_eq!(changes.count(ChangeKind::Down), 0);
    }

    #[test]
    fn a_watcher_that_is_too_far_behind_is_told_so() {
        let changes = Changes::new(7);
        let start = changes.cursor();
        for incarnation in 0..=KEPT_MAX as u64 {
            changes.note(vec![change(incarnation)]);
        }
        assert_eq!(incarnations(&changes, start), None);
        let next = WatchCursor { seen: 1, ..start };
        assert_eq!(incarnations(&changes, next).map(|it| it.len()), Some(KEPT_MAX));
        assert_eq!(changes.kept().len(), KEPT_MAX);
        assert_eq!(changes.count(ChangeKind::Up), KEPT_MAX as u64 + 1);
    }
}
