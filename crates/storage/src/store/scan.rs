//! Owns reading many records in order: page by page, bad records apart. Refuses to hold more than a page.

use super::replica::Replica;
use super::Store;
use crate::engine::{Engine, Page, ReadError, Table};
use crate::format::{self, BadRecord};
use crate::key::{BucketId, StoreKey};
use crate::version::KeyState;
use bytes::Bytes;
use chinwag_merkle::{Element, Entry, Interval, TreeKey, element};
use std::collections::BTreeSet;

/// Records read from the engine at once.
const PAGE_RECORDS: usize = 64;

/// Some of the store's keys, in order, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatePage {
    /// Keys and what this replica knows of them.
    pub states: Vec<(StoreKey, KeyState)>,
    /// The last key looked at, to be handed back for the next page; `None` if there are no more.
    pub next: Option<StoreKey>,
}

impl Store {
    /// Every key beyond `after` (or from the start) in order of bucket, position and key, up to `limit`.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn scan(&self, after: Option<&StoreKey>, limit: usize) -> Result<StatePage, ReadError> {
        let from = after.map_or_else(Bytes::new, |key| format::successor(&format::state_key(key)));
        self.lock().page(from, None, limit)
    }

    /// Every key of every bucket whose position lies in `interval`, in no promised order.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn states_in(&self, interval: Interval) -> Result<Vec<(StoreKey, KeyState)>, ReadError> {
        self.lock().states_between(interval.first(), interval.last())
    }

    /// Every key of every bucket at one of `positions`, in the order of the positions.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn states_at(&self, positions: &[u128]) -> Result<Vec<(StoreKey, KeyState)>, ReadError> {
        let mut replica = self.lock();
        let mut states = Vec::new();
        for &position in positions {
            states.extend(replica.states_between(position, position)?);
        }
        Ok(states)
    }

    /// What a tree sees of every key in `interval`, in order of position: for exchanges, and for cutting leaves.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn entries(&self, interval: Interval) -> Result<Vec<Entry>, ReadError> {
        let mut replica = self.lock();
        let Replica { engine, contents, .. } = &mut *replica;
        entries(&**engine, contents.tree_key(), contents.buckets(), interval)
    }
}

impl Replica {
    fn page(&mut self, from: Bytes, to: Option<Bytes>, limit: usize) -> Result<StatePage, ReadError> {
        let mut page = StatePage::default();
        let mut records = Records::new(Table::Keys, from, to);
        while page.states.len() < limit.max(1) {
            let Some((key, record)) = records.next(&*self.engine)? else {
                page.next = None;
                break;
            };
            match read_state(&key, &record) {
                Ok((key, state)) => {
                    page.next = Some(key.clone());
                    page.states.push((key, state));
                }
                Err(bad) => self.report_bad(Table::Keys, &key, &bad),
            }
        }
        Ok(page)
    }

    fn states_between(&mut self, first: u128, last: u128) -> Result<Vec<(StoreKey, KeyState)>, ReadError> {
        let mut states = Vec::new();
        for bucket in self.contents.buckets().clone() {
            let from = format::position_bound(bucket, first);
            let to = format::after_position(bucket, last);
            states.extend(self.page(from, to, usize::MAX)?.states);
        }
        Ok(states)
    }
}

/// What a tree sees of every sound record in `interval`. Bad records are no entries, so that other replicas, seeing
/// the difference, fill them in.
pub(super) fn entries(
    engine: &dyn Engine,
    tree_key: &TreeKey,
    buckets: &BTreeSet<BucketId>,
    interval: Interval,
) -> Result<Vec<Entry>, ReadError> {
    let mut entries = Vec::new();
    for &bucket in buckets {
        let from = format::position_bound(bucket, interval.first());
        let mut records = Records::new(Table::Keys, from, format::after_position(bucket, interval.last()));
        while let Some((key, record)) = records.next(engine)? {
            if let Ok((store_key, _)) = read_state(&key, &record) {
                let element = element_of(tree_key, &key, &record);
                entries.push(Entry { position: store_key.position, element });
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
pub(super) fn read_state(key: &Bytes, record: &[u8]) -> Result<(StoreKey, KeyState), BadRecord> {
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
