//! Child processes that end with the test that started them, and waiting for what they do. Knows nothing of clusters.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::panic::Location;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The binary under test.
const CHINWAG: &str = env!("CARGO_BIN_EXE_chinwag");
/// Whatever a test waits for, it fails after this long: far beyond what a loaded machine needs.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks at a process, and between two at the state of a cluster.
const PROCESS_POLL: Duration = Duration::from_millis(5);
const STATE_POLL: Duration = Duration::from_millis(50);

/// `chinwag` with its environment cleaned of what the developer's shell may have set.
pub(crate) fn chinwag() -> Command {
    let mut command = Command::new(CHINWAG);
    for variable in ["CHINWAG_CONNECT", "CHINWAG_SECRET", "CHINWAG_LOG"] {
        command.env_remove(variable);
    }
    command.stdin(Stdio::null());
    command
}

/// A child process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(command.spawn().expect("the binary under test can be started"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child process can be waited for")
    }

    /// `kill -9`; returns when the process is gone, with its sockets and locks.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().expect("a killed process ends");
    }

    /// Waits for its end; panics if it takes longer than `limit`.
    pub(crate) async fn end(&mut self, limit: Duration) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(started.elapsed() < limit, "the process is still running after {limit:?}");
            sleep(PROCESS_POLL).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a command that ran to its end left behind.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs `command` to its end with `input` on its standard input.
    pub(crate) async fn to_end(command: &mut Command, input: &[u8]) -> Self {
        // Files take any amount without a reader on the other side, and end without a writer.
        let file = || tempfile::tempfile().expect("a temporary file can be made");
        let same = |file: &File| file.try_clone().expect("a file can be duplicated");
        let (mut stdin, mut stdout, mut stderr) = (file(), file(), file());
        stdin.write_all(input).expect("a temporary file can be written");
        stdin.rewind().expect("a file can be rewound");
        command.stdin(stdin).stdout(same(&stdout)).stderr(same(&stderr));
        let status = Process::spawn(command).end(LIMIT).await;
        let (stdout, stderr) = (contents(&mut stdout), contents(&mut stderr));
        Self { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() }
    }

    /// What it printed; panics unless it succeeded.
    pub(crate) fn text(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        std::str::from_utf8(&self.stdout).expect("what is printed here is text")
    }

    /// The one JSON value it printed, whatever its exit code.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// The JSON values it printed, one per line; panics unless it succeeded.
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.text().lines().map(line).collect()
    }

    /// Panics unless it ended with `code` and every one of `words` in what it said on standard error.
    #[track_caller]
    pub(crate) fn assert_failed(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "nothing is said of `{word}`: {}", self.stderr);
        }
    }
}

fn contents(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().expect("a file can be rewound");
    file.read_to_end(&mut bytes).expect("a temporary file can be read");
    bytes
}

/// Looks at a state until it is as wanted. A look that is not satisfied says what it saw; the last of them is told
/// when the limit is over.
#[track_caller]
pub(crate) fn wait_until(
    what: &str,
    mut look: impl AsyncFnMut() -> Result<(), String>,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        while let Err(seen) = look().await {
            let waited = started.elapsed();
            assert!(waited < LIMIT, "{caller}: waited {LIMIT:?} until {what}; last seen: {seen}");
            sleep(STATE_POLL).await;
        }
    }
}

/// For the end of a look: satisfied if `holds`, otherwise says what was `seen`.
pub(crate) fn satisfied(holds: bool, seen: impl std::fmt::Debug) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{seen:?}")) }
}
