//! Owns reading many records in order: page by page, bad records apart. Refuses to hold more than a page.

use super::Store;
use super::replica::Replica;
use crate::engine::{Engine, Page, ReadError, Table};
use crate::format::{self, BadRecord};
use crate::key::{BucketId, StoreKey};
use crate::version::KeyState;
use bytes::Bytes;
use chinwag_merkle::{Cut, Directory, Element, Entry, Interval, Sum, TreeId, TreeKey, element};
use std::cmp::Ordering;

/// Records read from the engine at once.
const PAGE_RECORDS: usize = 32;
/// Bytes of key states after which a page ends, however few they are.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Some of the store's keys, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatePage {
    /// Keys and what this replica knows of them: as many as were asked for, or as fit 4 MiB, one at least.
    pub states: Vec<(StoreKey, KeyState)>,
    /// The last of them, to be handed back for the next page; `None` if there are no more.
    pub next: Option<StoreKey>,
}

impl Store {
    /// Every key in order of bucket, position and key, beyond `after` or from the start, up to `limit`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scan(&self, after: Option<&StoreKey>, limit: usize) -> Result<StatePage, ReadError> {
        let from = after.map_or_else(Bytes::new, |key| format::successor(&format::state_key(key)));
        let mut page = PageInMaking::new(limit);
        page.fill(&mut self.lock(), Table::Keys, from, None, read_state)?;
        Ok(page.finish())
    }

    /// Every key of a tree at one of `positions`, which must ascend, in order of position, bucket and key, beyond
    /// `after` or from the start, up to `limit`. Paged because any number of keys may share a position.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn states_at(
        &self,
        tree: TreeId,
        positions: &[u128],
        after: Option<&StoreKey>,
        limit: usize,
    ) -> Result<StatePage, ReadError> {
        let mut replica = self.lock();
        let buckets: Vec<_> = replica.contents.buckets_of(tree).collect();
        let mut page = PageInMaking::new(limit);
        for &position in positions {
            for &bucket in &buckets {
                let from = match after
                    .map(|after| ((position, bucket).cmp(&(after.position, after.bucket)), after))
                {
                    Some((Ordering::Less, _)) => continue,
                    Some((Ordering::Equal, after)) => format::successor(&format::state_key(after)),
                    Some((Ordering::Greater, _)) | None => format::position_bound(bucket, position),
                };
                let to = format::after_position(bucket, position);
                page.fill(&mut replica, Table::Keys, from, to, read_state)?;
            }
        }
        Ok(page.finish())
    }

    /// Every key of a tree, in order of bucket, position and key, beyond `after` or from the start, up to `limit`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn states_of(
        &self,
        tree: TreeId,
        after: Option<&StoreKey>,
        limit: usize,
    ) -> Result<StatePage, ReadError> {
        let mut replica = self.lock();
        let mut page = PageInMaking::new(limit);
        let Some(interval) = replica.contents.layout().interval_of(tree) else { return Ok(page.finish()) };
        let buckets: Vec<_> = replica.contents.buckets_of(tree).collect();
        for bucket in buckets.into_iter().filter(|&it| after.is_none_or(|after| it >= after.bucket)) {
            let from = match after.filter(|after| after.bucket == bucket) {
                Some(after) => format::successor(&format::state_key(after)),
                None => format::position_bound(bucket, interval.first()),
            };
            page.fill(
                &mut replica,
                Table::Keys,
                from,
                format::after_position(bucket, interval.last()),
                read_state,
            )?;
        }
        Ok(page.finish())
    }

    /// What a tree saw at a cut of every key of its own in `interval`, in order of position: for exchanges. Bad records
    /// are reported and left out.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn entries(&self, tree: TreeId, interval: Interval, cut: Cut) -> Result<Vec<Entry>, ReadError> {
        let mut replica = self.lock();
        let Replica { engine, contents, .. } = &*replica;
        let mut bad = Vec::new();
        let (tree_key, buckets) = (contents.tree_key(), contents.buckets_of(tree));
        let found = entries(&**engine, tree_key, buckets, interval, |place, why| bad.push((place, why)))?;
        let found = contents.tree(tree, |tree| tree.entries_at(cut, interval, found));
        for (place, why) in bad {
            replica.report_bad(Table::Keys, &place, &why);
        }
        Ok(found.unwrap_or_default())
    }

    /// The trees that do not say what the records say, of those that are [mended](Self::mend): none, unless something is
    /// broken. Reads every record, one tree at a time; for instruments.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn wrong_trees(&self) -> Result<Vec<TreeId>, ReadError> {
        let mut wrong = Vec::new();
        let trees = self.lock().contents.layout().trees();
        for tree in trees {
            // Held for the whole tree, so that no write comes between it and its records.
            let replica = self.lock();
            let Replica { engine, contents, .. } = &*replica;
            if !contents.is_sure(tree) {
                continue;
            }
            let Some(directory) = contents.tree(tree, |tree| tree.directory().clone()) else { continue };
            let (tree_key, buckets) = (contents.tree_key(), contents.buckets_of(tree));
            let records = entries(&**engine, tree_key, buckets, directory.interval(), |_bad, _why| ())?;
            if !agrees(&directory, &records) {
                wrong.push(tree);
            }
        }
        Ok(wrong)
    }
}

/// Whether every leaf of a tree, and its total, is the sum of its records, which are in order of position.
fn agrees(tree: &Directory, records: &[Entry]) -> bool {
    let sum = |entries: &[Entry]| entries.iter().map(|entry| entry.element).collect::<Sum>();
    let within = |leaf: Interval| {
        let from = records.partition_point(|entry| entry.position < leaf.first());
        let to = records.partition_point(|entry| entry.position <= leaf.last());
        &records[from..to]
    };
    tree.total() == sum(records) && tree.leaves().all(|leaf| leaf.sum == sum(within(leaf.interval)))
}

/// A page that is being filled.
pub(super) struct PageInMaking {
    states: Vec<(StoreKey, KeyState)>,
    limit: usize,
    bytes: usize,
    /// True once a state was met that no longer fits.
    full: bool,
}

impl PageInMaking {
    pub(super) fn new(limit: usize) -> Self {
        Self { states: Vec::new(), limit: limit.max(1), bytes: 0, full: false }
    }

    /// Adds what `read` makes of the records from `from` on and below `to`, until the page is full. Bad records are
    /// reported and left out.
    pub(super) fn fill(
        &mut self,
        replica: &mut Replica,
        table: Table,
        from: Bytes,
        to: Option<Bytes>,
        read: impl Fn(&Bytes, &Bytes) -> Result<(StoreKey, KeyState), BadRecord>,
    ) -> Result<(), ReadError> {
        let mut records = Records::new(table, from, to);
        while !self.full
            && let Some((place, record)) = records.next(&*replica.engine)?
        {
            match read(&place, &record) {
                Ok(_) if self.states.len() >= self.limit || self.bytes >= PAGE_BYTES_MAX => self.full = true,
                Ok((key, state)) => {
                    self.bytes += key.key.len() + state.weight();
                    self.states.push((key, state));
                }
                Err(bad) => replica.report_bad(table, &place, &bad),
            }
        }
        Ok(())
    }

    pub(super) fn finish(self) -> StatePage {
        let last = self.states.last().map(|(key, _)| key.clone());
        StatePage { states: self.states, next: last.filter(|_| self.full) }
    }
}

/// What a tree sees of every sound record in `interval`. Bad records are no entries, so that other replicas, seeing
/// the difference, fill them in.
pub(super) fn entries(
    engine: &dyn Engine,
    tree_key: &TreeKey,
    buckets: impl IntoIterator<Item = BucketId>,
    interval: Interval,
    mut on_bad: impl FnMut(Bytes, BadRecord),
) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    for bucket in buckets {
        let from = format::position_bound(bucket, interval.first());
        let mut records = Records::new(Table::Keys, from, format::after_position(bucket, interval.last()));
        while let Some((key, record)) = records.next(engine)? {
            match read_state(&key, &record) {
                Ok((store_key, _)) => {
                    let element = element_of(tree_key, &key, &record);
                    entries.push(Entry { position: store_key.position, element });
                }
                Err(bad) => on_bad(key, bad),
            }
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// The element of a key's record.
pub(super) fn element_of(tree_key: &TreeKey, key: &[u8], record: &[u8]) -> Element {
    element(tree_key, key, format::body(record))
}

/// The key and state of a record in `Table::Keys`.
pub(super) fn read_state(key: &Bytes, record: &Bytes) -> Result<(StoreKey, KeyState), BadRecord> {
    let state = format::open(Table::Keys, key, record)?;
    let key = format::parse_state_key(key).ok_or(BadRecord::Truncated)?;
    Ok((key, state))
}

/// Records of a table in order, read a page at a time.
pub(super) struct Records {
    table: Table,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    /// Where the next page starts; `None` if there is none.
    from: Option<Bytes>,
    to: Option<Bytes>,
}

impl Records {
    pub(super) fn new(table: Table, from: Bytes, to: Option<Bytes>) -> Self {
        Self { table, page: Page::new().into_iter(), from: Some(from), to }
    }

    pub(super) fn next(&mut self, engine: &dyn Engine) -> Result<Option<(Bytes, Bytes)>, ReadError> {
        if self.page.len() == 0
            && let Some(from) = self.from.take()
        {
            let page = engine.scan(self.table, &from, self.to.as_deref(), PAGE_RECORDS)?;
            if page.len() == PAGE_RECORDS {
                self.from = page.last().map(|(key, _)| format::successor(key));
            }
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}
