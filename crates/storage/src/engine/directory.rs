//! Owns a data directory: that it is ours, that we may write to it, and that nobody else has it open. Refuses to look
//! inside the database.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The file that marks a directory as ours and carries the lock.
const MARK: &str = "chinwag-store";
/// What the mark says, followed by the layout's number and a line end.
const MARK_TEXT: &str = "chinwag store, layout ";
const LAYOUT: u32 = 1;
/// A mark is one short line; whatever is longer is none.
const MARK_BYTES_MAX: u64 = 64;

/// Why a data directory could not be opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another engine of this one, has it open. Stop that one or choose another directory.
    #[error("{} is in use by another process", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something else. Choose an empty or new directory.
    #[error("{} is not empty and holds no chinwag store", .path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by another version of chinwag. Use that version, or start empty and let the cluster
    /// fill the member again.
    #[error("{} has layout {found}, this chinwag reads layout {LAYOUT}", .path.display())]
    Layout {
        /// The directory.
        path: PathBuf,
        /// The layout the directory claims.
        found: String,
    },
    /// The directory cannot be created, read or written. Check the path, the owner and the disk.
    #[error("cannot use {}: {source}", .path.display())]
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The database inside is damaged beyond what it can repair. Move the directory away and start empty: the other
    /// replicas fill the member again.
    #[error("the database in {} cannot be opened: {reason}", .path.display())]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// The database's words.
        reason: String,
    },
}

/// A directory that is ours, and locked until this is dropped.
#[derive(Debug)]
pub(super) struct LockedDirectory {
    path: PathBuf,
    _lock: File,
}

impl LockedDirectory {
    /// Creates the directory if it is missing, marks it if it is empty, and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        let mark = path.join(MARK);
        if !mark.try_exists().map_err(unusable)? && fs::read_dir(path).map_err(unusable)?.next().is_some() {
            return Err(OpenError::Foreign { path: path.to_owned() });
        }
        let unusable = |source| OpenError::Unusable { path: mark.clone(), source };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&mark).map_err(unusable)?;
        lock(&file, path)?;
        let mark = read_or_write_mark(&mut file).map_err(unusable)?;
        check_mark(&mark, path)?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }

    /// Locks the directory of a stopped member without changing anything.
    pub(super) fn open_stopped(path: &Path) -> Result<Self, OpenError> {
        let mark = path.join(MARK);
        let unusable = |source| OpenError::Unusable { path: path.to_owned(), source };
        if !path.is_dir() {
            return Err(unusable(io::Error::new(io::ErrorKind::NotFound, "there is no such directory")));
        }
        let mut file = match File::open(&mark) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(OpenError::Foreign { path: path.to_owned() });
            }
            Err(source) => return Err(OpenError::Unusable { path: mark, source }),
        };
        lock(&file, path)?;
        let text = read_mark(&mut file).map_err(unusable)?;
        check_mark(&text, path)?;
        Ok(Self { path: path.to_owned(), _lock: file })
    }

    /// Where the database lives.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("db")
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn lock(file: &File, path: &Path) -> Result<(), OpenError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Unusable { path: path.to_owned(), source }),
    }
}

fn check_mark(mark: &str, path: &Path) -> Result<(), OpenError> {
    match mark.strip_prefix(MARK_TEXT).map(str::trim_end) {
        Some(found) if found == LAYOUT.to_string() => Ok(()),
        Some(found) => Err(OpenError::Layout { path: path.to_owned(), found: found.to_owned() }),
        None => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn read_mark(file: &mut File) -> io::Result<String> {
    let mut mark = Vec::new();
    file.take(MARK_BYTES_MAX).read_to_end(&mut mark)?;
    Ok(String::from_utf8_lossy(&mark).into_owned())
}

/// What the mark says; it is written first if the file is empty, which is a new directory or one whose first start was
/// cut short.
fn read_or_write_mark(file: &mut File) -> io::Result<String> {
    let mut mark = read_mark(file)?;
    if mark.is_empty() {
        mark = format!("{MARK_TEXT}{LAYOUT}\n");
        file.write_all(mark.as_bytes())?;
        file.sync_all()?;
    }
    Ok(mark)
}
