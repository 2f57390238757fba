//! `chinwag backup` and `chinwag restore`: a member's store as one file, and a new directory made of one.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chinwag_client::codec;
use chinwag_node::storage::{
    BackupError, BackupPage, BackupSummary, BackupWriter, DiskEngine, OpenError, ReadError, RestoreError,
    backup_page, restore_backup, verify_backup,
};
use serde_json::json;

use super::connection::{Output, client_at};
use super::failure::{Exit, Failure};
use super::output;
use super::store::Bar;

/// The file in a data directory that says where its member takes clients.
const ADDRESS: &str = "address";
/// A member reads a page in milliseconds; its disk may be busy.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// Write all that a member has stored to one file
///
/// A running member is asked for it, and goes on serving; of a stopped one the directory is read. The file appears
/// under its name once it is whole. `chinwag restore` makes a directory of it.
#[derive(Debug, clap::Args)]
pub(crate) struct BackupCommand {
    /// The member's data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The file with the cluster secret, for a member that runs
    #[arg(long, value_name = "FILE", env = "CHINWAG_SECRET", default_value = "cluster.secret")]
    secret: PathBuf,

    #[command(flatten)]
    output: Output,
}

/// Make a data directory of a backup
///
/// The file is checked whole before anything is made. The member that is started on the directory takes a new actor,
/// and is brought up to date by the others.
#[derive(Debug, clap::Args)]
pub(crate) struct RestoreCommand {
    /// The backup
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The data directory to make; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    #[command(flatten)]
    output: Output,
}

/// A backup could not be made or restored. Whatever was begun is removed; the data directory was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BackupFailure {
    /// The data directory cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its records cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The member runs, and does not say where.
    #[error("{} is in use by a member that does not say where it listens: {source}", path.display())]
    Address { path: PathBuf, source: io::Error },
    /// The member answered with something else.
    #[error("the member's answer makes no sense: {0}")]
    Page(#[from] codec::DecodeError),
    /// There is something of the name already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// There is no place for the copy of the journals.
    #[error("cannot use the temporary directory: {0}")]
    Scratch(#[source] io::Error),
    /// The backup is not one that can be restored.
    #[error("{} cannot be restored: {source}", path.display())]
    Backup { path: PathBuf, source: BackupError },
    /// The new directory could not be filled.
    #[error("{} could not be filled: {source}", path.display())]
    Restore { path: PathBuf, source: RestoreError },
}

/// Says in a member's directory where it takes clients, for those who find the directory in use.
pub(crate) fn note_address(data: &Path, address: SocketAddr) {
    if let Err(error) = fs::write(data.join(ADDRESS), format!("{address}\n")) {
        tracing::warn!(%error, "the address could not be noted: `chinwag backup` will not find this member");
    }
}

impl BackupCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let partial = partial(&self.out)?;
        let file = |source| BackupFailure::File { path: partial.clone(), source };
        let out = File::create(&partial).map_err(file)?;
        let written = self.write(BufWriter::new(out), &partial).await;
        if written.is_err() {
            // Nothing is left of what did not come to an end; if that fails, the name says what it is.
            fs::remove_file(&partial).ok();
        }
        let summary = written?;
        fs::rename(&partial, &self.out).map_err(file)?;
        sync_directory(&self.out)?;
        show(&self.output, &self.out, summary, "in")
    }

    async fn write(&self, out: BufWriter<File>, path: &Path) -> Result<BackupSummary, Failure> {
        let failed = |source| BackupFailure::File { path: path.to_owned(), source };
        let mut writer = BackupWriter::new(out).map_err(failed)?;
        let scratch = tempfile::tempdir().map_err(BackupFailure::Scratch)?;
        match DiskEngine::open_stopped(&self.data, scratch.path()) {
            Ok(engine) => read_stopped(&engine, |page| writer.add(page).map_err(failed))?,
            Err(OpenError::InUse { .. }) => {
                self.ask_member(|page| writer.add(page).map_err(failed)).await?;
            }
            Err(error) => return Err(BackupFailure::from(error).into()),
        }
        let (out, summary) = writer.finish().map_err(failed)?;
        let out = out.into_inner().map_err(|error| failed(error.into_error()))?;
        out.sync_all().map_err(failed)?;
        Ok(summary)
    }

    async fn ask_member(
        &self,
        mut add: impl FnMut(BackupPage) -> Result<(), BackupFailure>,
    ) -> Result<(), Failure> {
        let client = client_at(&self.secret, &[read_address(&self.data)?], PAGE_TIMEOUT)?;
        let bar = Bar::new(0);
        let (mut after, mut records) = (None, 0);
        loop {
            let (page, next) = client.backup(after).await.map_err(Failure::Read)?;
            let page: BackupPage = codec::decode(&page).map_err(BackupFailure::from)?;
            records += page.records.len() as u64;
            bar.at(records);
            add(page)?;
            if next.is_none() {
                client.close().await;
                bar.finish();
                return Ok(());
            }
            after = next;
        }
    }
}

fn read_stopped(
    engine: &DiskEngine,
    mut add: impl FnMut(BackupPage) -> Result<(), BackupFailure>,
) -> Result<(), BackupFailure> {
    let bar = Bar::new(engine.records_about().unwrap_or_default() as u64);
    let (mut cursor, mut records) = (None, 0);
    loop {
        let page = backup_page(engine, cursor.as_ref())?;
        records += page.records.len() as u64;
        bar.at(records);
        cursor.clone_from(&page.next);
        add(page)?;
        if cursor.is_none() {
            bar.finish();
            return Ok(());
        }
    }
}

fn read_address(data: &Path) -> Result<SocketAddr, BackupFailure> {
    let read = fs::read_to_string(data.join(ADDRESS));
    let address = read.and_then(|text| text.trim().parse().map_err(io::Error::other));
    address.map_err(|source| BackupFailure::Address { path: data.to_owned(), source })
}

impl RestoreCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        let refused = |source| BackupFailure::Backup { path: self.from.clone(), source };
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| BackupFailure::File { path, source }
        };
        let open = || File::open(&self.from).map(BufReader::new).map_err(file(&self.from));
        verify_backup(open()?).map_err(refused)?;
        if self.data.try_exists().map_err(file(&self.data))?
            && fs::read_dir(&self.data).map_err(file(&self.data))?.next().is_some()
        {
            return Err(BackupFailure::Exists(self.data).into());
        }
        // Filled under another name, so that no member is ever started on half a store.
        let partial = partial(&self.data)?;
        let restored = restore_backup(open()?, &partial);
        let summary = restored.map_err(|source| {
            fs::remove_dir_all(&partial).ok();
            BackupFailure::Restore { path: partial.clone(), source }
        })?;
        fs::rename(&partial, &self.data).map_err(file(&self.data))?;
        sync_directory(&self.data)?;
        show(&self.output, &self.data, summary, "restored to")
    }
}

/// The name that something has until it is whole. There must be nothing of either name, an empty directory excepted.
fn partial(path: &Path) -> Result<PathBuf, BackupFailure> {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    let partial = PathBuf::from(name);
    for path in [path, &partial] {
        if path.is_file() || (path == partial && path.exists()) {
            return Err(BackupFailure::Exists(path.to_owned()));
        }
    }
    Ok(partial)
}

/// Makes a new name in a directory survive a loss of power.
fn sync_directory(path: &Path) -> Result<(), BackupFailure> {
    let parent = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let synced = File::open(parent).and_then(|directory| directory.sync_all());
    synced.map_err(|source| BackupFailure::File { path: parent.to_owned(), source })
}

fn show(format: &Output, path: &Path, summary: BackupSummary, relation: &str) -> Result<Exit, Failure> {
    let BackupSummary { records, damaged } = summary;
    if format.json {
        let path = path.display().to_string();
        output::print_json(&json!({ "path": path, "records": records, "damaged": damaged }))?;
    } else {
        let mut line = format!("{records} records {relation} {}\n", path.display());
        if damaged > 0 {
            line.push_str(&format!("{damaged} records were damaged where it was made, and are not in it\n"));
        }
        io::stdout().lock().write_all(line.as_bytes()).map_err(Failure::Output)?;
    }
    Ok(Exit::Done)
}
