//! Owns the disk engine: fjall behind one writing thread. Refuses to leave a hang or a half-readable directory
//! unreported.
//!
//! fjall's journals are checksummed, so that an unsynced tail is lost whole and never half; what else may be wrong with
//! them [`journals`] finds before a database is opened. Two more of its habits are designed around here: it can block for
//! good when all of its workers wait on their own full queue, hence four of them, one writer, and [`Engine::health`]; and
//! it applies a batch under one sequence number, so a group commit carries each key once.

use super::damage;
use super::directory::{LockedDirectory, OpenError};
use super::journals;
use super::mirror::mirror;
use super::salvage;
use super::writer::{Changes, Pending, Reserve, Sink, SyncPolicy, Writer};
use super::{Batch, CloseError, Commit, Engine, Health, Page, ReadError, Refusal, Table};
use crate::format;
use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::{
    AbstractTree, Database, DatabaseBuilder, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
};
use std::fmt;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// fjall's flush and compaction threads. Below four, one blocked worker is one too many.
const WORKERS: usize = 4;
/// Bytes of a table's writes in memory before they are flushed, and of each file they are flushed to. Small files keep
/// what a compaction writes before it may delete, and so the reserve, small.
const MEMTABLE_BYTES: u64 = 16 << 20;
/// Bytes of all journals beyond which tables are flushed to be rid of the oldest.
const JOURNAL_BYTES_MAX: u64 = 128 << 20;

/// When a write counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// When the operating system has it: survives the process, not a loss of power.
    #[default]
    Buffered,
    /// As `Buffered`, and synced this much later at the latest: a loss of power costs at most that long.
    Interval(Duration),
    /// When it is synced to disk. Concurrent writes share one sync.
    Fsync,
}

/// How a disk engine is to work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskOptions {
    /// When a write counts as done. Default: `Buffered`.
    pub durability: Durability,
    /// Bytes of memory for blocks read from disk. Default: 32 MiB.
    pub block_cache_bytes: u64,
    /// For how long no commit may finish, while some wait, before the engine calls itself unhealthy. Default: 30 s.
    pub stall_bound: Duration,
    /// Bytes of the disk that stay free: with less, writes are refused before the database meets an error it cannot
    /// take back. Enough for all that it may still write of its own accord: what is queued, memtables, compactions.
    /// Default: 256 MiB.
    pub reserve_bytes: u64,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            block_cache_bytes: 32 << 20,
            stall_bound: Duration::from_secs(30),
            reserve_bytes: 256 << 20,
        }
    }
}

/// Key states in a directory on disk, which it locks.
pub struct DiskEngine {
    writer: Writer,
    /// Gone once closed, so that the directory can be opened again while handles to this engine linger.
    files: Mutex<Option<Arc<Files>>>,
}

/// The open database. Its fields are dropped in order: the lock goes last.
pub(super) struct Files {
    pub(super) tables: Tables,
    database: Database,
    /// True once something unreadable was met and the directory says so.
    damaged: AtomicBool,
    /// How many journals were found damaged.
    damaged_journals: u64,
    directory: LockedDirectory,
}

/// A database as it is opened.
pub(super) struct Opened {
    pub(super) tables: Tables,
    pub(super) database: Database,
    /// True if the clocks may cover what is lost.
    pub(super) clocks_distrusted: bool,
    /// True if the sums saved of the trees may not be those of the key states.
    pub(super) sums_distrusted: bool,
    damaged_journals: u64,
}

/// A database's tables.
pub(super) struct Tables([Keyspace; Table::ALL.len()]);

impl DiskEngine {
    /// Opens the store in `path`, creating it if there is nothing.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>, options: DiskOptions) -> Result<Self, OpenError> {
        Self::start(Files::open(path.as_ref(), &options)?, &options)
    }

    fn start(files: Files, options: &DiskOptions) -> Result<Self, OpenError> {
        let files = Arc::new(files);
        let policy = match options.durability {
            Durability::Buffered => SyncPolicy::OnRequest,
            Durability::Interval(interval) => SyncPolicy::Every(interval),
            Durability::Fsync => SyncPolicy::Always,
        };
        let path = files.directory.path();
        let reserve = Reserve { directory: path.into(), bytes: options.reserve_bytes };
        let writer = Writer::start(Journal(Arc::clone(&files)), policy, options.stall_bound, reserve)
            .map_err(|source| OpenError::Unusable { path: path.to_owned(), source })?;
        Ok(Self { writer, files: Mutex::new(Some(files)) })
    }

    /// Opens the store of a stopped member to read it, and keeps the member from starting meanwhile. Nothing in its
    /// directory is changed: what is opened is a copy in `scratch`, an existing directory that is the caller's to
    /// remove afterwards. It takes as much space as the journals, 128 MiB and a little at most.
    ///
    /// # Errors
    /// See [`OpenError`]; a directory without a store is `Foreign`.
    pub fn open_stopped(path: impl AsRef<Path>, scratch: &Path) -> Result<Self, OpenError> {
        let path = path.as_ref();
        let directory = LockedDirectory::open_stopped(path)?;
        let copy = scratch.join("db");
        mirror(&directory.database(), &copy)
            .map_err(|source| OpenError::Unusable { path: path.to_owned(), source })?;
        // Without workers nothing is flushed or compacted.
        let builder = Database::builder(&copy).worker_threads_unchecked(0);
        let opened = Opened::open(&directory, &copy, builder)?;
        Self::start(
            Files::new(directory, opened),
            &DiskOptions { reserve_bytes: 0, ..DiskOptions::default() },
        )
    }

    /// About how many records there are, the removed and overwritten ones that are still on disk included.
    ///
    /// # Errors
    /// [`Refusal::Closed`] once it is closed.
    pub fn records_about(&self) -> Result<usize, Refusal> {
        let files = self.files()?;
        Ok(Table::ALL.into_iter().map(|table| files.tables.table(table).approximate_len()).sum())
    }

    /// Flushes every table to a file, as it happens when much is written.
    #[cfg(test)]
    pub(crate) fn flush(&self) {
        Table::ALL.into_iter().for_each(|table| self.flush_table(table));
    }

    /// Flushes one table to a file.
    #[cfg(test)]
    pub(crate) fn flush_table(&self, table: Table) {
        self.commit(Batch::default()).wait().unwrap();
        self.files().unwrap().tables.table(table).rotate_memtable_and_wait().unwrap();
    }

    pub(super) fn files(&self) -> Result<Arc<Files>, Refusal> {
        self.files.lock().expect("no code panics while it holds the files").clone().ok_or(Refusal::Closed)
    }
}

impl Engine for DiskEngine {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        let files = self.files()?;
        if let Some(pending) = self.writer.pending(table, key)? {
            return Ok(pending);
        }
        let record = files.tables.table(table).get(key).map_err(|error| read_error(table, &error));
        Ok(record.inspect_err(|error| files.note_damage(error))?.map(Bytes::from))
    }

    fn scan(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Result<Page, ReadError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Page::new());
        }
        let files = self.files()?;
        let (pending, snapshot) =
            self.writer.pending_between(table, from, to, || files.database.snapshot())?;
        let mut stored = Stored::new(&files.tables, &snapshot, table, from, to);
        let page = overlaid(&mut stored, pending, limit);
        if let Some(damage) = &stored.damage {
            files.note_damage(damage);
        }
        page
    }

    fn admit(&self) -> Result<(), Refusal> {
        self.writer.admit()
    }

    fn commit(&self, batch: Batch) -> Commit {
        self.writer.commit(batch)
    }

    fn left_behind(&self) -> u64 {
        self.files().map_or(0, |files| files.damaged_journals)
    }

    fn health(&self) -> Health {
        self.writer.health()
    }

    fn close(&self) -> Result<(), CloseError> {
        let outcome = self.writer.close();
        // After a stall the writer still holds the files: dropping the database would wait for it in turn.
        drop(self.files.lock().expect("no code panics while it holds the files").take());
        outcome
    }
}

impl Drop for DiskEngine {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the disk engine did not close well");
        }
    }
}

impl fmt::Debug for DiskEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskEngine").field("writer", &self.writer).finish_non_exhaustive()
    }
}

impl Files {
    fn open(path: &Path, options: &DiskOptions) -> Result<Self, OpenError> {
        let directory = LockedDirectory::open(path)?;
        salvage::if_damaged(&directory)?;
        let builder = Database::builder(directory.database())
            .worker_threads(WORKERS)
            .cache_size(options.block_cache_bytes)
            .max_journaling_size(JOURNAL_BYTES_MAX);
        let opened = Opened::open(&directory, &directory.database(), builder)?;
        opened.forget_distrusted(&directory)?;
        Ok(Self::new(directory, opened))
    }

    fn new(directory: LockedDirectory, opened: Opened) -> Self {
        let Opened { tables, database, damaged_journals, .. } = opened;
        Self { tables, database, damaged: AtomicBool::new(false), damaged_journals, directory }
    }

    /// Has the next opening leave behind what cannot be read.
    fn note_damage(&self, error: &ReadError) {
        if matches!(error, ReadError::Damaged { .. }) && !self.damaged.swap(true, Ordering::Relaxed) {
            tracing::error!(%error, "the database has unreadable blocks; the next start leaves them behind");
            salvage::flag(&self.directory);
        }
    }
}

impl Opened {
    /// Opens the database at `path`, which is the directory's or a copy of it, once its journals are checked.
    pub(super) fn open(
        directory: &LockedDirectory,
        path: &Path,
        builder: DatabaseBuilder<Database>,
    ) -> Result<Self, OpenError> {
        let failed = |error: fjall::Error| open_error(directory.path(), error);
        let checked = journals::check(path).map_err(|error| failed(error.into()))?;
        let database = builder.open().map_err(failed)?;
        let tables = Tables::open(&database).map_err(failed)?;
        let clocks_distrusted = checked.distrust || tables.clocks_are_ahead(checked.last);
        let sums_distrusted = clocks_distrusted || tables.sums_are_apart(checked.last);
        let damaged_journals = checked.damaged;
        Ok(Self { tables, database, clocks_distrusted, sums_distrusted, damaged_journals })
    }

    /// Removes what may claim what is not there, at once or not at all. Clocks claim nothing then, which is the safe side: the
    /// store takes them up anew from the versions that are there, and exchanges teach them the rest. Sums are made anew.
    fn forget_distrusted(&self, directory: &LockedDirectory) -> Result<(), OpenError> {
        let mut tables = Vec::new();
        if self.clocks_distrusted {
            tracing::warn!(path = %directory.path().display(), "writes are lost here; the clocks begin anew");
            tables.push(Table::Clocks);
        }
        if self.sums_distrusted {
            tables.extend([Table::Sums, Table::Marks]);
        }
        if tables.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch();
        for table in tables {
            for record in Stored::new(&self.tables, &self.database.snapshot(), table, b"", None) {
                let (place, _) = record.map_err(|error| damaged(directory, &error))?;
                batch.remove(self.tables.table(table), place);
            }
        }
        let gone = batch.commit().and_then(|()| self.database.persist(PersistMode::SyncAll));
        gone.and_then(|()| Ok(journals::trust(&directory.database())?))
            .map_err(|error| open_error(directory.path(), error))
    }
}

impl Tables {
    pub(super) fn open(database: &Database) -> Result<Self, fjall::Error> {
        let table = |table: Table| database.keyspace(table.name(), table_options);
        let [keys, hints, clocks, meta, sums, marks] = Table::ALL.map(table);
        Ok(Self([keys?, hints?, clocks?, meta?, sums?, marks?]))
    }

    pub(super) const fn table(&self, table: Table) -> &Keyspace {
        let [keys, hints, clocks, meta, sums, marks] = &self.0;
        match table {
            Table::Keys => keys,
            Table::Hints => hints,
            Table::Clocks => clocks,
            Table::Meta => meta,
            Table::Sums => sums,
            Table::Marks => marks,
        }
    }

    /// Whether the clocks' files hold a later batch than the key states' files and what is left of the journals, which
    /// ends with the batch `last`: then key states are lost that clocks cover. fjall syncs the journal before it
    /// flushes a table, but it flushes what came to the table in between as well; and what was synced can rot.
    fn clocks_are_ahead(&self, last: Option<u64>) -> bool {
        self.reaches(Table::Clocks, last) > self.reaches(Table::Keys, last)
    }

    /// Whether key states, the sums saved of them and the marks of what was written since end with different batches: then
    /// a sum may be of other key states than those that are there.
    fn sums_are_apart(&self, last: Option<u64>) -> bool {
        let keys = self.reaches(Table::Keys, last);
        [Table::Sums, Table::Marks].into_iter().any(|table| self.reaches(table, last) != keys)
    }

    /// The last batch of which a table has all.
    fn reaches(&self, table: Table, last: Option<u64>) -> Option<u64> {
        self.table(table).tree.get_highest_persisted_seqno().max(last)
    }
}

fn table_options() -> KeyspaceCreateOptions {
    let compaction = Leveled::default().with_table_target_size(MEMTABLE_BYTES);
    KeyspaceCreateOptions::default()
        .max_memtable_size(MEMTABLE_BYTES)
        .compaction_strategy(Arc::new(compaction))
}

/// fjall as the writer sees it.
struct Journal(Arc<Files>);

impl Sink for Journal {
    fn write(&mut self, changes: Changes) -> Result<(), Arc<str>> {
        let mut batch = self.0.database.batch();
        for ((table, key), record) in changes {
            match record {
                Some(record) => batch.insert(self.0.tables.table(table), key, record),
                None => batch.remove(self.0.tables.table(table), key),
            }
        }
        batch.commit().map_err(|error| self.failed(&error))
    }

    fn sync(&mut self) -> Result<(), Arc<str>> {
        self.0.database.persist(PersistMode::SyncData).map_err(|error| self.failed(&error))
    }

    fn free(&mut self) -> Option<u64> {
        let path = self.0.directory.path();
        match rustix::fs::statvfs(path) {
            Ok(disk) => Some(disk.f_bavail.saturating_mul(disk.f_frsize)),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "the disk does not say how much is free");
                None
            }
        }
    }
}

impl Journal {
    fn failed(&self, error: &fjall::Error) -> Arc<str> {
        // A worker failed before this call did.
        if matches!(error, fjall::Error::Poisoned) {
            salvage::suspect(&self.0.directory);
        }
        format!("{}: {error}", self.0.directory.path().display()).into()
    }
}

/// The stored records of an interval of a table, past whatever is damaged.
pub(super) struct Stored<'a> {
    tables: &'a Tables,
    snapshot: &'a Snapshot,
    table: Table,
    records: fjall::Iter,
    /// Where the next record may be.
    next: Bytes,
    to: Option<Bytes>,
    /// What was passed, if anything.
    damage: Option<ReadError>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(
        tables: &'a Tables,
        snapshot: &'a Snapshot,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
    ) -> Self {
        let (next, to) = (Bytes::copy_from_slice(from), to.map(Bytes::copy_from_slice));
        let records = range(tables, snapshot, table, &next, to.as_ref());
        Self { tables, snapshot, table, records, next, to, damage: None }
    }

    fn pass_damage(&mut self, damage: ReadError) -> (Bytes, Bytes) {
        let readable = |place: &[u8]| {
            let first = range(self.tables, self.snapshot, self.table, place, self.to.as_ref()).next();
            first.is_none_or(|entry| entry.into_inner().is_ok())
        };
        let (unreadable, next) = damage::past(&self.next, readable);
        tracing::debug!(%damage, from = ?self.next, to = ?unreadable, "records cannot be read");
        self.damage = Some(damage);
        // Nothing is left above a place beyond all others.
        self.next = next.unwrap_or_else(|| Bytes::from_static(&[u8::MAX; 64]));
        self.records = range(self.tables, self.snapshot, self.table, &self.next, self.to.as_ref());
        (unreadable, Bytes::new())
    }
}

impl Iterator for Stored<'_> {
    type Item = Result<(Bytes, Bytes), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(match self.records.next()?.into_inner() {
            Ok((key, record)) => {
                self.next = format::successor(&key);
                Ok((Bytes::from(key), Bytes::from(record)))
            }
            Err(error) => match read_error(self.table, &error) {
                damage @ ReadError::Damaged { .. } => Ok(self.pass_damage(damage)),
                error @ (ReadError::Io { .. } | ReadError::Refused(_)) => Err(error),
            },
        })
    }
}

fn range(tables: &Tables, snapshot: &Snapshot, table: Table, from: &[u8], to: Option<&Bytes>) -> fjall::Iter {
    let upper = match to {
        Some(to) if &to[..] <= from => Bound::Excluded(from),
        Some(to) => Bound::Excluded(&to[..]),
        None => Bound::Unbounded,
    };
    snapshot.range::<&[u8], _>(tables.table(table), (Bound::Included(from), upper))
}

/// Merges what is stored with what is pending over it, both in key order.
fn overlaid(
    stored: impl Iterator<Item = Result<(Bytes, Bytes), ReadError>>,
    pending: Pending,
    limit: usize,
) -> Result<Page, ReadError> {
    let mut page = Page::new();
    let mut pending = pending.into_iter().peekable();
    for entry in stored {
        let (key, record) = entry?;
        while page.len() < limit
            && let Some((earlier, change)) = pending.next_if(|(its_key, _)| *its_key < key)
        {
            page.extend(change.map(|record| (earlier, record)));
        }
        if page.len() >= limit {
            return Ok(page);
        }
        match pending.next_if(|(its_key, _)| *its_key == key) {
            Some((_, change)) => page.extend(change.map(|record| (key, record))),
            None => page.push((key, record)),
        }
    }
    let rest = pending.filter_map(|(key, change)| change.map(|record| (key, record)));
    page.extend(rest.take(limit - page.len()));
    Ok(page)
}

fn read_error(table: Table, error: &fjall::Error) -> ReadError {
    let reason = error.to_string();
    match error {
        fjall::Error::Io(_) | fjall::Error::Storage(fjall::LsmError::Io(_)) => {
            ReadError::Io { table, reason }
        }
        _ => ReadError::Damaged { table, reason },
    }
}

/// That a database cannot be read through.
pub(super) fn damaged(directory: &LockedDirectory, error: &ReadError) -> OpenError {
    OpenError::Damaged { path: directory.path().to_owned(), reason: error.to_string() }
}

pub(super) fn open_error(path: &Path, error: fjall::Error) -> OpenError {
    let path = path.to_owned();
    match error {
        fjall::Error::Locked => OpenError::InUse { path },
        fjall::Error::Io(source) | fjall::Error::Storage(fjall::LsmError::Io(source))
            if !is_damage(&source) =>
        {
            OpenError::Unusable { path, source }
        }
        other => OpenError::Damaged { path, reason: other.to_string() },
    }
}

/// Whether an I/O error says that a file of the database is missing or cut short, rather than out of reach.
fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof | ErrorKind::InvalidData)
}
