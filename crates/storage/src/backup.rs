//! Owns backups: which records go into one, in which order, and the bytes of the file. Refuses to take over a damaged
//! record, and to make anything of a file that is not whole.
//!
//! ```text
//! "chinwag backup 1\n" | chunk | chunk | ... | last chunk
//!
//! chunk   | length u32 BE | checksum u64 BE | body: `length` bytes, postcard of `Chunk` |
//! checksum = XXH3-64( number of the chunk u64 BE, from 0 | body )
//! ```
//!
//! A running member goes on writing while its records are read, page by page. The clocks are read before the key states:
//! a version that arrives in between is in the file and not in its clock, and the opening teaches a clock the versions
//! that are there. The other way round a clock would cover a version that the file lacks, and no replica would give it
//! back. Each key state is whole; that two keys were written one after the other does not show.
//!
//! A directory that is made of a backup is an old copy: its member takes a new actor, as every start does, and its clocks
//! claim no more than the backup holds.

use crate::engine::{Batch, CloseError, CommitError, DiskEngine, DiskOptions, Engine, OpenError};
use crate::engine::{ReadError, Refusal, Table};
use crate::format;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3Default;

const MAGIC: &[u8] = b"chinwag backup 1\n";
/// What every version's files begin with.
const MAGIC_KIN: &[u8] = b"chinwag backup ";
/// Bytes of records after which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// Records read from the engine at once.
const PAGE_RECORDS: usize = 256;
/// No chunk is longer: a page, and the longest record beyond it.
const CHUNK_BYTES_MAX: usize = 64 << 20;
/// The tables in the order in which they are read.
const ORDER: [Table; 4] = [Table::Meta, Table::Clocks, Table::Keys, Table::Hints];

/// A record as it is stored, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// Index of the table in the order in which tables are read.
    table: u8,
    key: Bytes,
    record: Bytes,
}

/// Where a backup goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupCursor {
    table: u8,
    from: Bytes,
}

/// Some of an engine's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPage {
    /// Sound ones.
    pub records: Vec<BackupRecord>,
    /// How many were damaged and are left out.
    pub damaged: u64,
    /// Where the next page begins; `None` after the last.
    pub next: Option<BackupCursor>,
}

/// What a backup holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSummary {
    /// Records in it.
    pub records: u64,
    /// Records that were damaged where it was made, and are not in it.
    pub damaged: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Chunk {
    Records(Vec<BackupRecord>),
    /// The last: without it the file is cut short.
    End(BackupSummary),
}

/// Why a backup cannot be read. Nothing was made of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The system does not let it be read.
    #[error(transparent)]
    Read(io::Error),
    /// The file is something else.
    #[error("it is no chinwag backup")]
    Foreign,
    /// Another version of chinwag made it. Restore with that one.
    #[error("it was made by another version of chinwag")]
    Version,
    /// It ends before its end. Use another copy.
    #[error("it is cut short")]
    Truncated,
    /// It is not what was written. Use another copy.
    #[error("it is damaged {chunk} MiB or so from its start")]
    Damaged {
        /// How many chunks before were sound.
        chunk: u64,
    },
}

/// Why a backup could not be restored. What was begun is left to whoever removes its directory.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The backup cannot be read.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The new directory cannot be made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The new directory's disk takes no more.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Writing failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// Writing failed at the end.
    #[error(transparent)]
    Close(#[from] CloseError),
}

/// The page of an engine's records at `cursor`, the first without one.
///
/// # Errors
/// See [`ReadError`].
pub fn backup_page(engine: &dyn Engine, cursor: Option<&BackupCursor>) -> Result<BackupPage, ReadError> {
    let (mut at, mut from) = cursor.map_or((0, Bytes::new()), |it| (it.table, it.from.clone()));
    let mut page = BackupPage { records: Vec::new(), damaged: 0, next: None };
    let mut bytes = 0;
    while let Some(&table) = ORDER.get(usize::from(at)) {
        if bytes >= PAGE_BYTES {
            page.next = Some(BackupCursor { table: at, from });
            break;
        }
        let records = engine.scan(table, &from, None, PAGE_RECORDS)?;
        match records.last() {
            Some((last, _)) if records.len() == PAGE_RECORDS => from = format::successor(last),
            Some(_) | None => (at, from) = (at + 1, Bytes::new()),
        }
        let index = ORDER.iter().position(|it| *it == table).and_then(|it| u8::try_from(it).ok());
        for (key, record) in records {
            if !format::is_sound(table, &key, &record) {
                page.damaged += 1;
                continue;
            }
            bytes += key.len() + record.len();
            page.records.extend(index.map(|table| BackupRecord { table, key, record }));
        }
    }
    Ok(page)
}

/// Writes a backup.
#[derive(Debug)]
pub struct BackupWriter<W> {
    out: W,
    chunks: u64,
    summary: BackupSummary,
}

impl<W: Write> BackupWriter<W> {
    /// A backup at the start of `out`.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(MAGIC)?;
        Ok(Self { out, chunks: 0, summary: BackupSummary::default() })
    }

    /// Adds a page.
    ///
    /// # Errors
    /// What the output says.
    pub fn add(&mut self, page: BackupPage) -> io::Result<()> {
        self.summary.records += page.records.len() as u64;
        self.summary.damaged += page.damaged;
        self.write(&Chunk::Records(page.records))
    }

    /// Writes the end, without which the file is refused. Making it durable is the caller's.
    ///
    /// # Errors
    /// What the output says.
    pub fn finish(mut self) -> io::Result<(W, BackupSummary)> {
        self.write(&Chunk::End(self.summary))?;
        self.out.flush()?;
        Ok((self.out, self.summary))
    }

    fn write(&mut self, chunk: &Chunk) -> io::Result<()> {
        let body = postcard::to_stdvec(chunk).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(&checksum(self.chunks, &body).to_be_bytes())?;
        self.out.write_all(&body)?;
        self.chunks += 1;
        Ok(())
    }
}

/// Reads a backup to its end and says what it holds.
///
/// # Errors
/// See [`BackupError`].
pub fn verify_backup(input: impl Read) -> Result<BackupSummary, BackupError> {
    BackupReader::new(input)?.for_each_chunk(|_| Ok::<_, BackupError>(()))
}

/// Makes a store of a backup in `path`, a new or empty directory. The backup should
/// have been verified: what is found to be damaged half-way leaves half a store.
///
/// # Errors
/// See [`RestoreError`].
pub fn restore_backup(input: impl Read, path: &Path) -> Result<BackupSummary, RestoreError> {
    let engine = DiskEngine::open(path, DiskOptions::default())?;
    let summary = BackupReader::new(input)?.for_each_chunk(|records| {
        engine.admit()?;
        let mut batch = Batch::default();
        for BackupRecord { table, key, record } in records {
            if let Some(&table) = ORDER.get(usize::from(table)) {
                batch.put(table, key, record);
            }
        }
        // One at a time: what waits in memory is a chunk.
        Ok::<_, RestoreError>(engine.commit(batch).wait()?)
    })?;
    engine.close()?;
    Ok(summary)
}

struct BackupReader<R> {
    input: R,
    chunks: u64,
    records: u64,
}

impl<R: Read> BackupReader<R> {
    fn new(mut input: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        read_exact(&mut input, &mut magic)?;
        if magic != MAGIC {
            let kin = magic.starts_with(MAGIC_KIN);
            return Err(if kin { BackupError::Version } else { BackupError::Foreign });
        }
        Ok(Self { input, chunks: 0, records: 0 })
    }

    fn for_each_chunk<E: From<BackupError>>(
        mut self,
        mut each: impl FnMut(Vec<BackupRecord>) -> Result<(), E>,
    ) -> Result<BackupSummary, E> {
        loop {
            match self.read()? {
                Chunk::Records(records) => {
                    self.records += records.len() as u64;
                    each(records)?;
                }
                Chunk::End(summary) if summary.records == self.records => return Ok(summary),
                Chunk::End(_) => return Err(self.damaged().into()),
            }
        }
    }

    fn read(&mut self) -> Result<Chunk, BackupError> {
        let (mut length, mut sum) = ([0; 4], [0; 8]);
        read_exact(&mut self.input, &mut length)?;
        read_exact(&mut self.input, &mut sum)?;
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > CHUNK_BYTES_MAX {
            return Err(self.damaged());
        }
        let mut body = vec![0; length];
        read_exact(&mut self.input, &mut body)?;
        if checksum(self.chunks, &body) != u64::from_be_bytes(sum) {
            return Err(self.damaged());
        }
        let chunk = postcard::from_bytes(&body).map_err(|_malformed| self.damaged())?;
        self.chunks += 1;
        Ok(chunk)
    }

    const fn damaged(&self) -> BackupError {
        BackupError::Damaged { chunk: self.chunks }
    }
}

fn read_exact(input: &mut impl Read, bytes: &mut [u8]) -> Result<(), BackupError> {
    input.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => BackupError::Truncated,
        _ => BackupError::Read(error),
    })
}

fn checksum(chunk: u64, body: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&chunk.to_be_bytes());
    hasher.update(body);
    hasher.digest()
}

#[cfg(test)]
mod tests;
