//! Owns reading the database of a stopped member without changing its directory. Refuses to copy what never changes.
//!
//! fjall writes whenever it opens a database: it cuts the journal where its last whole batch ends, and tidies up. So what
//! is opened is a copy: the journals and lists of files, which are small, are copied, and the tables, which no file of
//! fjall's ever changes once it is written, are linked to.

use std::fs;
use std::io;
use std::path::Path;

/// Where fjall keeps the files it never changes.
const TABLES: &str = "tables";

/// Makes `copy`, which must not exist, a database with the contents of the one in `database`.
pub(super) fn mirror(database: &Path, copy: &Path) -> io::Result<()> {
    fs::create_dir(copy)?;
    for entry in fs::read_dir(database)? {
        let entry = entry?;
        let (from, to) = (entry.path(), copy.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            mirror(&from, &to)?;
        } else if database.ends_with(TABLES) {
            std::os::unix::fs::symlink(fs::canonicalize(&from)?, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
