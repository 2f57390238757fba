//! Owns the second life of a database with unreadable blocks: what can be read is copied into a new one. Refuses to do so
//! while it is in use.
//!
//! A block that cannot be read stays in the way of every scan across it, and of the compaction that would rewrite it. So
//! whoever meets one leaves a flag in the directory, and the next opening copies all the rest. With key states the
//! clocks are left behind: they would claim versions that are gone, and no replica would give them back. The store then
//! takes them up anew from the versions that are there.
//!
//! A compaction may be the first to meet one. It does not say so: the database just fails from then on, as it does
//! when the disk does. That is a suspicion, and the next opening reads everything before it copies anything.

use super::Table;
use super::directory::{LockedDirectory, OpenError};
use super::disk::{Opened, Stored, Tables, damaged, open_error};
use bytes::Bytes;
use fjall::{Database, PersistMode};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Records written at once.
const BATCH_RECORDS: usize = 1024;

/// Notes that the database has unreadable blocks, for the next opening.
pub(super) fn flag(directory: &LockedDirectory) {
    note(&flag_of(directory));
}

/// Notes that the database may have unreadable blocks that only the database met.
pub(super) fn suspect(directory: &LockedDirectory) {
    note(&suspicion_of(directory));
}

fn note(path: &Path) {
    if let Err(error) = File::create(path).and_then(|file| file.sync_all()) {
        tracing::error!(%error, path = %path.display(), "the damage could not be noted");
    }
}

fn flag_of(directory: &LockedDirectory) -> PathBuf {
    directory.path().join("damaged")
}
fn suspicion_of(directory: &LockedDirectory) -> PathBuf {
    directory.path().join("suspected")
}

/// Where the new database grows, and where the old one waits for its removal.
fn new_of(directory: &LockedDirectory) -> PathBuf {
    directory.path().join("db.salvaged")
}
fn old_of(directory: &LockedDirectory) -> PathBuf {
    directory.path().join("db.damaged")
}

/// Salvages the database if it was found damaged, or is now that it was suspected, and ends what an earlier attempt had
/// begun.
pub(super) fn if_damaged(directory: &LockedDirectory) -> Result<(), OpenError> {
    let unusable = |source| OpenError::Unusable { path: directory.path().to_owned(), source };
    let suspected = suspicion_of(directory).try_exists().map_err(unusable)?;
    let mut flagged = flag_of(directory).try_exists().map_err(unusable)?;
    if suspected && !flagged && !is_readable(directory)? {
        flag(directory);
        flagged = true;
    }
    if suspected {
        fs::remove_file(suspicion_of(directory)).map_err(unusable)?;
    }
    if flagged { salvage(directory) } else { Ok(()) }
}

fn salvage(directory: &LockedDirectory) -> Result<(), OpenError> {
    let unusable = |source| OpenError::Unusable { path: directory.path().to_owned(), source };
    let (database, new, old) = (directory.database(), new_of(directory), old_of(directory));
    // The old one is moved away only when the new one is whole.
    if database.try_exists().map_err(unusable)? {
        remove(&new).and_then(|()| remove(&old)).map_err(unusable)?;
        let (copied, lost) = copy(directory)?;
        tracing::warn!(copied, lost, path = %directory.path().display(), "left damaged blocks behind");
        fs::rename(&database, &old).map_err(unusable)?;
    }
    let moved = fs::rename(&new, &database).and_then(|()| File::open(directory.path())?.sync_all());
    moved.and_then(|()| remove(&old)).and_then(|()| fs::remove_file(flag_of(directory))).map_err(unusable)
}

fn remove(path: &PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Copies what can be read to the new database. Returns how many records that were, and how many stretches cannot.
fn copy(directory: &LockedDirectory) -> Result<(u64, u64), OpenError> {
    let failed = |error: fjall::Error| open_error(directory.path(), error);
    let old = open_idle(directory)?;
    let new = Database::builder(new_of(directory)).open().map_err(failed)?;
    let to = Tables::open(&new).map_err(failed)?;
    let snapshot = old.database.snapshot();
    let (mut copied, mut lost) = (0, 0);
    let mut keys_lost = old.clocks_distrusted;
    let sums_distrusted = old.sums_distrusted;
    for table in Table::ALL {
        let is_distrusted = match table {
            Table::Clocks => keys_lost,
            Table::Sums | Table::Marks => keys_lost || sums_distrusted,
            Table::Keys | Table::Hints | Table::Meta => false,
        };
        if is_distrusted {
            continue;
        }
        let mut batch = new.batch();
        for record in Stored::new(&old.tables, &snapshot, table, b"", None) {
            let (key, record): (Bytes, Bytes) = record.map_err(|error| damaged(directory, &error))?;
            if record.is_empty() {
                lost += 1;
                keys_lost |= table == Table::Keys;
            } else {
                batch.insert(to.table(table), key, record);
                copied += 1;
            }
            if batch.len() >= BATCH_RECORDS {
                std::mem::replace(&mut batch, new.batch()).commit().map_err(failed)?;
            }
        }
        batch.commit().map_err(failed)?;
    }
    new.persist(PersistMode::SyncAll).map_err(failed)?;
    Ok((copied, lost))
}

/// Whether every record can be read.
fn is_readable(directory: &LockedDirectory) -> Result<bool, OpenError> {
    let Opened { tables, database, .. } = open_idle(directory)?;
    let snapshot = database.snapshot();
    for table in Table::ALL {
        for record in Stored::new(&tables, &snapshot, table, b"", None) {
            let (_, record) = record.map_err(|error| damaged(directory, &error))?;
            if record.is_empty() {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Opens the old database, without workers, which would stumble over the damage.
fn open_idle(directory: &LockedDirectory) -> Result<Opened, OpenError> {
    let path = directory.database();
    Opened::open(directory, &path, Database::builder(&path).worker_threads_unchecked(0))
}
