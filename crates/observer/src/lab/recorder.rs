//! Where operations go as they end: to a file at once, so that a long run needs little memory, or into memory, where the
//! whole of a short one is wanted. It keeps them packed for measuring either way, and judges nothing.

use std::collections::VecDeque;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::legs::Followed;
use crate::history::{Event, Header, History, HistoryWriter, Operation};
use crate::ledger::Ledger;

/// Where an experiment's history is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// In memory, with every field of every operation: for runs of less than a million or so.
    Memory,
    /// In a new file at this path, as it happens. Memory holds under 100 bytes of an operation, and 50,000 operations whole.
    File(PathBuf),
}

/// Takes operations from many sessions; its clones are one.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<Recording>>);

/// So long after an operation has ended it is waited for what still passes between its coordinator and replicas.
const SETTLED: Duration = Duration::from_secs(5);

/// At most so many operations of a history in a file stay in memory too.
const SAMPLE_MAX: usize = 50_000;

#[derive(Debug)]
struct Recording {
    history: History,
    file: Option<HistoryFile>,
    ledger: Ledger,
    followed: Option<Followed>,
    /// What has ended, and when.
    waiting: VecDeque<(Instant, Operation)>,
    /// Of operations in a file, those stay in memory whose keys have so many zeros at the end of their hashes.
    zeros: u32,
}

impl Recording {
    /// Keeps what has waited long enough since it ended.
    fn settle(&mut self, is_enough: impl Fn(Duration) -> bool) {
        while let Some((_, mut operation)) =
            self.waiting.pop_front_if(|(ended, _)| is_enough(ended.elapsed()))
        {
            if let Some(followed) = &self.followed {
                followed.tell(&mut operation);
            }
            self.keep(operation);
        }
    }

    fn keep(&mut self, operation: Operation) {
        let operations = &mut self.history.operations;
        let Some(file) = &mut self.file else { return operations.push(operation) };
        file.write(|writer| writer.operation(&operation));
        if zeros(&operation) >= self.zeros {
            operations.push(operation);
        }
        // Whole keys go, as what was read is told by what was written.
        while operations.len() > SAMPLE_MAX {
            self.zeros += 1;
            operations.retain(|operation| zeros(operation) >= self.zeros);
        }
    }
}

fn zeros(operation: &Operation) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(operation.key.as_bytes());
    hasher.finish().trailing_zeros()
}

/// A history being written. After an error it stays as it was then.
#[derive(Debug)]
struct HistoryFile {
    writer: HistoryWriter<File>,
    written: io::Result<()>,
}

impl HistoryFile {
    fn create(path: &Path, header: &Header) -> io::Result<Self> {
        Ok(Self { writer: HistoryWriter::new(File::create_new(path)?, header)?, written: Ok(()) })
    }

    fn write(&mut self, write: impl FnOnce(&mut HistoryWriter<File>) -> io::Result<()>) {
        if self.written.is_ok() {
            self.written = write(&mut self.writer);
        }
    }
}

impl Recorder {
    /// Begins a history.
    ///
    /// # Errors
    /// If its file cannot be created; one that is there stays as it is.
    pub fn new(keep: &Keep, header: Header) -> io::Result<Self> {
        let file = match keep {
            Keep::Memory => None,
            Keep::File(path) => Some(HistoryFile::create(path, &header)?),
        };
        let history = History { header, ..History::default() };
        let (ledger, waiting) = (Ledger::default(), VecDeque::new());
        let recording = Recording { history, file, ledger, followed: None, waiting, zeros: 0 };
        Ok(Self(Arc::new(Mutex::new(recording))))
    }

    /// Has each operation from now on told what passed inside the cluster.
    pub(super) fn follow(&self, followed: Followed) {
        self.lock().followed = Some(followed);
    }

    /// Says when measuring began, in nanoseconds since the run's start.
    pub fn measure_from(&self, time: u64) {
        let recording = &mut *self.lock();
        recording.ledger.measure_from(time);
        recording.history.measured_from = time;
        if let Some(file) = &mut recording.file {
            file.write(|writer| writer.measured_from(time));
        }
    }

    /// Takes an operation that has ended.
    pub fn operation(&self, operation: Operation) {
        let recording = &mut *self.lock();
        recording.ledger.push(&operation);
        recording.waiting.push_back((Instant::now(), operation));
        let wait = if recording.followed.is_some() { SETTLED } else { Duration::ZERO };
        recording.settle(|waited| waited >= wait);
    }

    /// Takes a step of the scenario.
    pub fn event(&self, event: Event) {
        let recording = &mut *self.lock();
        if let Some(file) = &mut recording.file {
            file.write(|writer| writer.event(&event));
        }
        recording.history.events.push(event);
    }

    /// What was recorded: the history, with only some of its keys if it is long and in a file, and all for measuring.
    ///
    /// # Errors
    /// If the file could not be written whole.
    pub fn finish(self) -> io::Result<(History, Ledger)> {
        let recording = &mut *self.lock();
        recording.settle(|_| true);
        let (mut history, mut ledger) =
            (std::mem::take(&mut recording.history), std::mem::take(&mut recording.ledger));
        if let Some(HistoryFile { writer, written }) = recording.file.take() {
            written?;
            writer.finish()?;
        }
        ledger.seal();
        history.operations.sort_by_key(|it| it.id);
        history.events.sort_by_key(|it| it.at);
        Ok((history, ledger))
    }

    /// A panic elsewhere leaves at most one operation out, and its own thread reports it.
    fn lock(&self) -> MutexGuard<'_, Recording> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::BufReader;

    use super::*;
    use crate::history::{Kind, Level, Outcome};

    fn get(id: u64) -> Operation {
        let mut get = Operation::new(id, 0, "a", Kind::Get, Level::One, "k");
        (get.sent, get.done, get.outcome) = (id * 10, Some(id * 10 + 5), Outcome::NotFound);
        get
    }

    fn record(keep: &Keep) -> io::Result<(History, Ledger)> {
        let recorder = Recorder::new(keep, Header { seed: Some(7), ..Header::default() })?;
        recorder.operation(get(2));
        recorder.measure_from(11);
        recorder.event(Event { at: 12, phase: "calm".into(), what: "nothing".into(), fault: false });
        recorder.clone().operation(get(1));
        recorder.finish()
    }

    #[test]
    fn a_file_has_what_memory_would_have() {
        let directory = std::env::temp_dir().join(format!("chinwag-recorder-{}", std::process::id()));
        let file = Keep::File(directory.clone());
        let (kept, packed) = record(&Keep::Memory).unwrap();
        let (rest, same) = record(&file).unwrap();
        assert_eq!(rest, kept);
        for ledger in [&packed, &same] {
            assert_eq!((ledger.len(), ledger.measured_from(), ledger.end()), (2, 11, 25));
        }
        let mut read = History::read(BufReader::new(File::open(&directory).unwrap())).unwrap();
        read.operations.sort_by_key(|it| it.id);
        assert_eq!(read, kept);
        assert_eq!(record(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        std::fs::remove_file(&directory).unwrap();
    }

    #[test]
    fn of_a_long_history_in_a_file_whole_keys_stay_in_memory() {
        let path = std::env::temp_dir().join(format!("chinwag-sample-{}", std::process::id()));
        let recorder = Recorder::new(&Keep::File(path.clone()), Header::default()).unwrap();
        let ids = 0..SAMPLE_MAX as u64 * 5 / 2;
        for id in ids.clone() {
            recorder.operation(Operation { key: format!("key{}", id % 1000), ..get(id) });
        }
        let (history, ledger) = recorder.finish().unwrap();
        std::fs::remove_file(&path).unwrap();
        let kept = history.operations.len();
        assert_eq!(ledger.len(), ids.count());
        assert!(kept > SAMPLE_MAX / 3 && kept <= SAMPLE_MAX, "{kept}");
        let mut by_key: BTreeMap<&str, usize> = BTreeMap::new();
        for operation in &history.operations {
            *by_key.entry(&operation.key).or_default() += 1;
        }
        assert!(by_key.values().all(|&of_key| of_key == ledger.len() / 1000), "{by_key:?}");
    }

    #[test]
    fn a_disk_that_fills_up_is_an_error_at_the_end() {
        let full = Recorder::new(&Keep::Memory, Header::default()).unwrap();
        let writer =
            HistoryWriter::new(File::options().write(true).open("/dev/full").unwrap(), &Header::default());
        full.lock().file = Some(HistoryFile { writer: writer.unwrap(), written: Ok(()) });
        (0..100).for_each(|id| full.operation(get(id)));
        assert_eq!(full.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
