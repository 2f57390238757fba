//! `chinwag store`: looks into the data directory of a stopped member, and changes nothing in it.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chinwag_node::Notes;
use chinwag_node::storage::{
    Content, DiskEngine, Inspection, Item, KeyState, OpenError, ReadError, StoreKey, Table, inspect,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Map, Value as Json, json};
use tokio::time::Instant;

use super::connection::Output;
use super::failure::{Exit, Failure};
use super::table::{Align, fields, table};
use super::{output, text};

/// A look that is over by then shows no bar.
const BAR_AFTER: Duration = Duration::from_secs(2);
/// The bar moves once for this many records.
const BAR_STEP: u64 = 1024;

/// Look into the data directory of a stopped member
///
/// Nothing in the directory is changed: journals are copied to the temporary directory ($TMPDIR), up to 128 MiB of
/// them, and the rest is read where it is. The member cannot start meanwhile.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum StoreCommand {
    /// Read every record and check it
    ///
    /// Checks that every record can be read and is what was written, that the clock of each partition knows the versions
    /// that are there, and that the directory knows who it is. Exits with 1 if anything is wrong, and says what to do.
    Check(Arguments),
    /// Show how much of what there is
    Stats(Arguments),
    /// Print every key and version, and every hint, as JSON lines
    Dump(Arguments),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory
    #[arg(long, value_name = "DIR")]
    data: PathBuf,

    #[command(flatten)]
    output: Output,
}

/// A directory could not be looked into. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The member runs, or there is no store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The disk does not let it be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// There is no place for the copy of the journals.
    #[error("cannot use the temporary directory: {0}")]
    Scratch(#[source] io::Error),
}

impl StoreError {
    /// What the operator can try.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Open(OpenError::InUse { .. }) => {
                Some("stop the member first; `chinwag dump` asks a running one".to_owned())
            }
            Self::Open(OpenError::Damaged { .. }) => Some(
                "move the directory away and start the member on an empty one: the others fill it".to_owned(),
            ),
            Self::Scratch(_) => Some("TMPDIR=DIR names another".to_owned()),
            Self::Open(_) | Self::Read(_) => None,
        }
    }
}

impl StoreCommand {
    pub(crate) fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Check(Arguments { data, output }) => check(&data, output.json),
            Self::Stats(Arguments { data, output }) => {
                let (found, notes) = Stopped::open(&data)?.look()?;
                if output.json {
                    output::print_json(&stats_json(&found, &notes))?;
                } else {
                    output::print(&stats(&found, &notes))?;
                }
                Ok(Exit::Done)
            }
            Self::Dump(Arguments { data, output: _ }) => dump(&data),
        }
    }
}

/// A stopped member's store, and the copy through which it is read.
struct Stopped {
    // Dropped in this order: the copy is closed before it is removed.
    engine: DiskEngine,
    _scratch: tempfile::TempDir,
}

impl Stopped {
    fn open(data: &Path) -> Result<Self, StoreError> {
        let scratch = tempfile::tempdir().map_err(StoreError::Scratch)?;
        Ok(Self { engine: DiskEngine::open_stopped(data, scratch.path())?, _scratch: scratch })
    }

    fn look(&self) -> Result<(Inspection, Notes), StoreError> {
        self.visit(|_| ())
    }

    /// Looks through everything; shows how far it is once it takes long.
    fn visit(&self, mut visit: impl FnMut(&Item<'_>)) -> Result<(Inspection, Notes), StoreError> {
        let bar = Bar::new(self.engine.records_about().unwrap_or_default() as u64);
        let mut seen = 0;
        let found = inspect(&self.engine, |item| {
            visit(&item);
            seen += 1;
            bar.at(seen);
        })?;
        bar.finish();
        let notes = Notes::read(&found.notes);
        Ok((found, notes))
    }
}

/// How far a look is; hidden while it is young.
pub(crate) struct Bar(ProgressBar, Instant);

impl Bar {
    pub(crate) fn new(whole: u64) -> Self {
        let style = ProgressStyle::with_template("{bar:30} {human_pos} of about {human_len} records  {eta}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(ProgressBar::hidden().with_style(style), Instant::now()).sized(whole)
    }

    fn sized(self, whole: u64) -> Self {
        self.0.set_length(whole);
        self
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }

    pub(crate) fn at(&self, records: u64) {
        if !records.is_multiple_of(BAR_STEP) || self.1.elapsed() < BAR_AFTER {
            return;
        }
        if self.0.is_hidden() {
            self.0.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
        self.0.set_position(records);
    }
}

fn check(data: &Path, as_json: bool) -> Result<Exit, Failure> {
    let (found, _) = Stopped::open(data)?.look()?;
    if as_json {
        output::print_json(&faults_json(&found))?;
    } else {
        output::print(&faults(&found))?;
    }
    if found.fault_count == 0 {
        return Ok(Exit::Done);
    }
    output::note(&format!("hint: {}", what_to_do(&found)));
    Ok(Exit::Broken)
}

fn records(found: &Inspection) -> u64 {
    found.tables.iter().map(|size| size.records).sum()
}

fn faults(found: &Inspection) -> String {
    let mut out = String::new();
    for fault in &found.faults {
        out.push_str(&format!(
            "{}: {} at {}\n",
            fault.table.name(),
            fault.reason,
            fault.place.escape_ascii()
        ));
    }
    let more = found.fault_count.saturating_sub(found.faults.len() as u64);
    if more > 0 {
        out.push_str(&format!("and {more} more\n"));
    }
    out.push_str(&format!("{} records checked, {} faults\n", records(found), found.fault_count));
    out
}

fn faults_json(found: &Inspection) -> Json {
    let fault = |it: &chinwag_node::storage::Fault| json!({ "table": it.table.name(), "place": it.place.escape_ascii().to_string(), "reason": it.reason });
    json!({
        "records": records(found),
        "fault_count": found.fault_count,
        "faults": found.faults.iter().map(fault).collect::<Vec<_>>(),
    })
}

/// What a person can do about faults.
fn what_to_do(found: &Inspection) -> &'static str {
    if found.identity.is_none() {
        "the member will not start here: move the directory away and start it on an empty one, the others fill it"
    } else {
        "the member serves nothing of what is damaged; start it, and the other replicas fill it in (`chinwag repair`). \
         If a disk is failing, move the directory away and start on an empty one"
    }
}

fn stats(found: &Inspection, notes: &Notes) -> String {
    let unknown = || "unknown".to_owned();
    let mut out = fields(&[
        ("directory", found.identity.map_or_else(unknown, |(directory, _)| format!("{directory:016x}"))),
        ("generation", found.identity.map_or_else(unknown, |(_, generation)| generation.to_string())),
        ("partitions", found.partitions.map_or_else(unknown, |it| it.to_string())),
        ("clocks", found.clocks.len().to_string()),
        ("tombstones", found.tombstones.to_string()),
        ("faults", found.fault_count.to_string()),
    ]);
    out.push('\n');
    let row = |it: Table| {
        let size = found.size(it);
        vec![it.name().to_owned(), size.records.to_string(), size.bytes.to_string()]
    };
    let headings = [("table", Align::Left), ("records", Align::Right), ("bytes", Align::Right)];
    out.push_str(&table(&headings, &Table::ALL.map(row)));
    if !found.siblings.is_empty() {
        out.push('\n');
        let row = |(siblings, keys): (&usize, &u64)| vec![siblings.to_string(), keys.to_string()];
        let rows: Vec<_> = found.siblings.iter().map(row).collect();
        out.push_str(&table(&[("siblings", Align::Right), ("keys", Align::Right)], &rows));
    }
    if !found.hints.is_empty() {
        out.push('\n');
        let headings = [
            ("hints for", Align::Left),
            ("keys", Align::Right),
            ("bytes", Align::Right),
            ("oldest", Align::Right),
        ];
        let row = |it: &chinwag_node::storage::Backlog| {
            vec![target(it.target, notes), it.hints.to_string(), it.bytes.to_string(), age(it.oldest)]
        };
        out.push_str(&table(&headings, &found.hints.iter().map(row).collect::<Vec<_>>()));
    }
    out
}

fn target(target: u64, notes: &Notes) -> String {
    notes.names.get(&target).cloned().unwrap_or_else(|| format!("{target:016x}"))
}

/// How long ago a time in milliseconds of wall time was.
fn age(milliseconds: u64) -> String {
    humantime::format_duration(Duration::from_secs(age_seconds(milliseconds))).to_string()
}

fn age_seconds(milliseconds: u64) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_millis(milliseconds)).as_secs()
}

fn stats_json(found: &Inspection, notes: &Notes) -> Json {
    let size = |it: Table| {
        let size = found.size(it);
        (it.name().to_owned(), json!({ "records": size.records, "bytes": size.bytes }))
    };
    let hints = |it: &chinwag_node::storage::Backlog| {
        json!({
            "target": target(it.target, notes), "keys": it.hints, "bytes": it.bytes,
            "oldest_seconds": age_seconds(it.oldest),
        })
    };
    let siblings = found.siblings.iter().map(|(siblings, keys)| (siblings.to_string(), json!(keys)));
    json!({
        "directory": found.identity.map(|(directory, _)| format!("{directory:016x}")),
        "generation": found.identity.map(|(_, generation)| generation),
        "partitions": found.partitions,
        "clocks": found.clocks.len(),
        "tombstones": found.tombstones,
        "fault_count": found.fault_count,
        "tables": Table::ALL.map(size).into_iter().collect::<Map<_, _>>(),
        "siblings": siblings.collect::<Map<_, _>>(),
        "hints": found.hints.iter().map(hints).collect::<Vec<_>>(),
    })
}

fn dump(data: &Path) -> Result<Exit, Failure> {
    let stopped = Stopped::open(data)?;
    // Keys are spelled as the notes say, so these are read first.
    let (_, notes) = stopped.look()?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut written = Ok(());
    stopped.visit(|item| {
        let line = match item {
            Item::State { tree, key, state } => {
                line(&notes, key, state, tree.map(|tree| tree.partition), None)
            }
            Item::Hint { target: it, key, state } => {
                line(&notes, key, state, None, Some(target(*it, &notes)))
            }
            Item::Other => return,
        };
        if written.is_ok() {
            written = writeln!(out, "{line}");
        }
    })?;
    written.and_then(|()| out.flush()).map_err(Failure::Output)?;
    Ok(Exit::Done)
}

/// One key, as `chinwag dump --json` prints it.
fn line(
    notes: &Notes,
    key: &StoreKey,
    state: &KeyState,
    partition: Option<u16>,
    hint_for: Option<String>,
) -> Json {
    let version = |it: &chinwag_node::storage::Sibling| {
        let mut object = Map::new();
        match &it.content {
            Content::Value(value) => text::insert_bytes(&mut object, "value", value),
            Content::Tombstone => {
                object.insert("deleted".to_owned(), json!(true));
            }
            Content::Expiring { value, expires_at } => {
                text::insert_bytes(&mut object, "value", value);
                object.insert("expires_at_ms".to_owned(), json!(expires_at));
            }
        }
        object.insert("dot".to_owned(), json!(text::dot((it.dot.actor.0, it.dot.seq))));
        Json::Object(object)
    };
    let mut object = text::object_about(&notes.display(&key.key));
    let bucket = notes.buckets.get(&key.bucket).cloned();
    object.insert("bucket".to_owned(), json!(bucket.unwrap_or_else(|| format!("{:08x}", key.bucket.0))));
    if let Some(partition) = partition {
        object.insert("partition".to_owned(), json!(partition));
    }
    object.insert("versions".to_owned(), state.siblings().iter().map(version).collect());
    if let Some(member) = hint_for {
        object.insert("hint_for".to_owned(), json!(member));
    }
    Json::Object(object)
}
