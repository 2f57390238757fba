//! Owns the check of fjall's journals before fjall opens them: a torn end is cut off, damage is cut out. Refuses to
//! repair a batch, and to judge a format that it does not know.
//!
//! fjall replays each journal up to the first place it cannot read, drops the rest without a word, and goes on with the
//! next; at some places it refuses the whole directory, or panics. What is dropped so may be the key states of versions
//! that a clock covers, in a later batch or in the clocks' own files: this replica would refuse them for ever, and have
//! the others drop theirs. Hence this check, which tells three things apart.
//!
//! - **All well**: whole batches with ascending numbers, and nothing but zeros after them.
//! - **A torn end**: so ends the newest journal when the process is killed or the power fails. No whole batch follows. It
//!   is cut off, and with a batch's key states go its clocks: others may bring them again, also if it was the last batch
//!   that rotted, which looks the same. Only the clocks' files may be ahead of what is left; [`Checked::last`] shows it,
//!   also where an end is missing without a trace.
//! - **Damage**: anything else. Whole batches are kept, up to the first bad place and from the last one on; the journal
//!   as it was is set aside. Records stand for themselves, so those that are kept may be older than what was lost, as
//!   after a restore, but none is wrong. The clocks must go: [`Checked::distrust`].
//!
//! A journal is a row of batches, in a file that was made long beforehand and is zeros beyond (fjall 3.1, integers
//! little-endian):
//!
//! ```text
//! start  1u8  entries: u32  number: u64                                   numbers ascend, through all journals
//! item   2u8  kind: u8  compression: u8  table: u64  key length: u16
//!             length: u32  length as it is here: u32  key  value
//! clear  4u8  table: u64
//! end    3u8  xxh3 of the entries: u64  "FJL" 3u8
//! ```
//!
//! The checksum leaves out the number, hence its order is looked at. What that cannot show is the number of the oldest
//! batch, if it rots to a lower one.

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// What marks a database of the known format, in its file `version`, and the end of a batch.
const MAGIC: [u8; 4] = *b"FJL\x03";
const VERSION_FILE: &str = "version";
const EXTENSION: &str = "jnl";

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;

/// fjall counts batches, and panics at twice this number. A larger one is none that was counted.
const NUMBER_MAX: u64 = 1 << 62;

/// What the check came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    /// The number of the last batch that is left; `None` if none is. Files with later ones hold what the journals lost.
    pub(super) last: Option<u64>,
    /// How many journals were damaged.
    pub(super) damaged: u64,
    /// True if key states may be lost that the clocks cover: until [`trust`] is called, at every check.
    pub(super) distrust: bool,
}

/// Checks the journals of the database at `database`, and leaves them so that fjall reads all that is in them. What it
/// puts beside the database is named after it.
pub(super) fn check(database: &Path) -> io::Result<Checked> {
    match fs::read(database.join(VERSION_FILE)) {
        Ok(version) if version.starts_with(&MAGIC) => {}
        // fjall refuses another version by itself.
        Ok(_) => return Ok(Checked::default()),
        // It is the last file of a new database to be written.
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Checked::default()),
        Err(error) => return Err(error),
    }
    let journals = journals_of(database)?;
    let mut checked = match read_through(&journals)? {
        Found::Well { last } => Checked { last, ..Checked::default() },
        Found::Torn { last, path, end } => {
            tracing::info!(journal = %path.display(), end, "cutting off what was not written to its end");
            cut(path, end)?;
            Checked { last, ..Checked::default() }
        }
        Found::Damaged => {
            note_distrust(database)?;
            cut_out(database, &journals)?
        }
    };
    checked.distrust = distrust_of(database).try_exists()?;
    Ok(checked)
}

/// Notes that the clocks cover nothing any more that was lost.
pub(super) fn trust(database: &Path) -> io::Result<()> {
    fs::remove_file(distrust_of(database)).or_else(absent)
}

/// Distrust outlives a process that mends the journals and ends before the clocks are gone.
fn note_distrust(database: &Path) -> io::Result<()> {
    File::create(distrust_of(database))?.sync_all()?;
    sync_directory_of(database)
}

fn distrust_of(database: &Path) -> PathBuf {
    database.with_extension("clocks-distrusted")
}

/// Where journals are set aside.
fn aside_of(database: &Path) -> PathBuf {
    database.with_extension("damaged-journals")
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

/// The journals by their numbers, oldest first.
fn journals_of(database: &Path) -> io::Result<BTreeMap<u64, PathBuf>> {
    let mut journals = BTreeMap::new();
    for entry in fs::read_dir(database)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
        if let Some(number) = number.filter(|_| path.extension() == Some(OsStr::new(EXTENSION))) {
            journals.insert(number, path);
        }
    }
    Ok(journals)
}

enum Found<'a> {
    Well { last: Option<u64> },
    Torn { last: Option<u64>, path: &'a Path, end: usize },
    Damaged,
}

fn read_through(journals: &BTreeMap<u64, PathBuf>) -> io::Result<Found<'_>> {
    let newest = journals.last_key_value().map(|(newest, _)| newest);
    let mut last = None;
    for (journal, path) in journals {
        let bytes = data_of(path)?;
        let mut end = 0;
        while let Some(batch) = batch_at(&bytes, end).filter(|batch| last < Some(batch.number)) {
            (end, last) = (batch.place.end, Some(batch.number));
        }
        if end < bytes.len() {
            let is_torn = newest == Some(journal) && next_batch(&bytes, end).is_none();
            return Ok(if is_torn { Found::Torn { last, path, end } } else { Found::Damaged });
        }
    }
    Ok(if journals.is_empty() { Found::Damaged } else { Found::Well { last } })
}

fn cut(path: &Path, end: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(end as u64)?;
    file.sync_all()
}

/// Replaces every damaged journal by one of the batches that are kept.
fn cut_out(database: &Path, journals: &BTreeMap<u64, PathBuf>) -> io::Result<Checked> {
    let mut kept = Vec::new();
    for (journal, path) in journals {
        kept.extend(kept_of(&data_of(path)?).into_iter().map(|batch| (journal, batch)));
    }
    let kept = ascending(kept);
    let mut damaged = 0;
    for (journal, path) in journals {
        let bytes = data_of(path)?;
        let batches = || kept.iter().filter(|(its, _)| *its == journal).map(|(_, batch)| batch);
        let left = batches().map(|batch| batch.place.len()).sum::<usize>();
        if left == bytes.len() {
            continue;
        }
        damaged += 1;
        let lost = bytes.len() - left;
        tracing::error!(journal = %path.display(), lost, "a journal is damaged; some writes are lost here");
        let parts = batches().filter_map(|batch| bytes.get(batch.place.clone()));
        replace(path, parts, &aside_of(database))?;
    }
    if journals.is_empty() {
        damaged = 1;
        tracing::error!(database = %database.display(), "the journals are gone; some writes are lost here");
        // Without any, fjall would count anew from zero, below what is in its files.
        File::create(database.join("0").with_extension(EXTENSION))?.sync_all()?;
    }
    let last = kept.last().map(|(_, batch)| batch.number);
    Ok(Checked { last, damaged, distrust: true })
}

/// The whole batches up to the first bad place, and those from the last one on, if they are followed by nothing else. A
/// row of batches in between may as well be part of a value that somebody stored.
fn kept_of(bytes: &[u8]) -> Vec<Batch> {
    let mut kept: Vec<_> = batches_from(bytes, batch_at(bytes, 0)).collect();
    let mut end = kept.last().map_or(0, |batch| batch.place.end);
    while let Some(first) = next_batch(bytes, end) {
        let row: Vec<_> = batches_from(bytes, Some(first)).collect();
        end = row.last().map_or(bytes.len(), |batch| batch.place.end);
        if end == bytes.len() {
            kept.extend(row);
        }
    }
    kept
}

/// Leaves out batches until their numbers ascend: of two that do not, the one without which the rest does.
fn ascending<J>(batches: Vec<(J, Batch)>) -> Vec<(J, Batch)> {
    let mut kept: Vec<(J, Batch)> = Vec::with_capacity(batches.len());
    for (journal, batch) in batches {
        let mut earlier = kept.iter().rev().map(|(_, earlier)| earlier.number);
        let (last, before_last) = (earlier.next(), earlier.next());
        if last >= Some(batch.number) {
            if before_last >= Some(batch.number) {
                continue;
            }
            kept.pop();
        }
        kept.push((journal, batch));
    }
    kept
}

/// Makes a journal consist of these parts, at once or not at all. As it was, it is kept in `aside`.
fn replace<'a>(path: &Path, parts: impl Iterator<Item = &'a [u8]>, aside: &Path) -> io::Result<()> {
    let new = path.with_extension("mended");
    let mut file = File::create(&new)?;
    for part in parts {
        file.write_all(part)?;
    }
    file.sync_all()?;
    // For a person to look at. Not every file system has two names for a file, and the database needs none.
    let old = aside.join(path.file_name().unwrap_or_default());
    let set_aside = fs::create_dir_all(aside).and_then(|()| fs::remove_file(&old).or_else(absent));
    if let Err(error) = set_aside.and_then(|()| fs::hard_link(path, &old)) {
        tracing::warn!(%error, journal = %path.display(), "the damaged journal could not be set aside");
    }
    fs::rename(&new, path)?;
    sync_directory_of(path)
}

fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// What was written of a journal: all but the zeros at its end. Most of them are in no block of the disk, and not read.
fn data_of(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut end = 0;
    loop {
        match seek(&file, SeekFrom::Data(end)).and_then(|data| seek(&file, SeekFrom::Hole(data))) {
            Ok(hole) => end = hole,
            Err(Errno::NXIO) => break,
            Err(_) => {
                end = file.metadata()?.len();
                break;
            }
        }
    }
    seek(&file, SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(usize::try_from(end).unwrap_or_default());
    file.take(end).read_to_end(&mut bytes)?;
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    Ok(bytes)
}

/// A batch that is whole, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Batch {
    place: Range<usize>,
    number: u64,
}

/// A row of batches.
fn batches_from(bytes: &[u8], first: Option<Batch>) -> impl Iterator<Item = Batch> {
    std::iter::successors(first, |batch| batch_at(bytes, batch.place.end))
}

/// The first batch at or after a place.
fn next_batch(bytes: &[u8], from: usize) -> Option<Batch> {
    (from..bytes.len()).find_map(|at| batch_at(bytes, at))
}

/// The batch that begins at a place, if a whole one does.
fn batch_at(bytes: &[u8], at: usize) -> Option<Batch> {
    let mut rest = bytes.get(at..)?;
    (u8::from_le_bytes(take(&mut rest)?) == START).then_some(())?;
    let entries = u32::from_le_bytes(take(&mut rest)?);
    let number = u64::from_le_bytes(take(&mut rest)?);
    let from = rest;
    for _ in 0..entries {
        skip_entry(&mut rest)?;
    }
    let checked = from.get(..from.len() - rest.len())?;
    (u8::from_le_bytes(take(&mut rest)?) == END).then_some(())?;
    let checksum = u64::from_le_bytes(take(&mut rest)?);
    let is_whole = take(&mut rest)? == MAGIC && entries > 0 && number < NUMBER_MAX;
    (is_whole && xxh3_64(checked) == checksum).then(|| Batch { place: at..bytes.len() - rest.len(), number })
}

fn skip_entry(rest: &mut &[u8]) -> Option<()> {
    match u8::from_le_bytes(take(rest)?) {
        ITEM => {
            let [_kind, _compression] = take(rest)?;
            let _table: [u8; 8] = take(rest)?;
            let key = u16::from_le_bytes(take(rest)?);
            let _length: [u8; 4] = take(rest)?;
            let value = u32::from_le_bytes(take(rest)?);
            *rest = rest.get(usize::from(key)..)?.get(usize::try_from(value).ok()?..)?;
        }
        CLEAR => {
            let _table: [u8; 8] = take(rest)?;
        }
        _ => return None,
    }
    Some(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// Where the batches of a journal end.
#[cfg(test)]
pub(crate) fn ends_of_batches(journal: &[u8]) -> Vec<usize> {
    batches_from(journal, batch_at(journal, 0)).map(|batch| batch.place.end).collect()
}

#[cfg(test)]
mod tests;
