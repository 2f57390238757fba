//! What keys cost: bytes on disk and resident memory of a store with many keys of 100-byte values, and the CPU time to
//! open it, beside the goals.
//!
//! `cargo bench -p chinwag-storage --bench sizes [-- KEYS]`: a million keys, or as many as it is told. Memory is the
//! process's own, from Linux's `/proc`, after the store was opened again and read here and there.

use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use chinwag_merkle::TreeKey;
use chinwag_storage::{BucketId, Causal, Content, DiskEngine, DiskOptions, Store, StoreKey, StoreOptions};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const MIB: f64 = 1_048_576.0;
/// Spreads indices over the ring, as hashing would.
const SPREAD: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

fn main() -> Result<()> {
    let keys: u64 = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(1_000_000);
    let directory = tempfile::tempdir()?;
    let mut out = io::stdout().lock();
    if std::env::args().all(|argument| argument != CHILD) {
        fill(directory.path(), keys)?;
        let me = std::env::current_exe()?;
        // A process of its own: what filling took is not what a member has.
        for (what, path) in [("empty", tempfile::tempdir()?), ("filled", directory)] {
            let path = path.path();
            let disk = bytes_of(path)? as f64 / MIB;
            let measured = std::process::Command::new(&me).arg(CHILD).arg(path).output()?;
            write!(out, "{what}: {disk:.0} MiB on disk, {}", String::from_utf8_lossy(&measured.stdout))?;
        }
        writeln!(out, "{keys} keys; goals: 20 MiB resident when idle, 120 MiB per million keys")?;
        return Ok(());
    }
    let path = std::env::args().next_back().ok_or("no directory")?;
    let before = cpu_seconds()?;
    let store = open(Path::new(&path))?;
    let opened = cpu_seconds()? - before;
    for index in (0..keys).step_by(101) {
        store.get(&key(index))?;
    }
    Ok(writeln!(
        out,
        "{:.0} MiB resident, opened with {opened:.2} s of CPU, {} keys",
        resident()? / MIB,
        store.len()
    )?)
}

/// Has the process measure a directory instead of filling one.
const CHILD: &str = "--measure";

fn open(path: &Path) -> Result<Store> {
    let engine = DiskEngine::open(path, DiskOptions::default())?;
    Ok(Store::open(Arc::new(engine), &StoreOptions::new(TreeKey::new([1; 16]), 1, 1))?)
}

fn key(index: u64) -> StoreKey {
    StoreKey::new(BucketId::DEFAULT, u128::from(index).wrapping_mul(SPREAD), format!("key-{index:012}"))
}

fn fill(path: &Path, keys: u64) -> Result<()> {
    const UNACKNOWLEDGED_MAX: u64 = 1000;
    let store = open(path)?;
    for index in 0..keys {
        let value = Content::Value(vec![b'v'; 100].into());
        let written = store.put(&key(index), &Causal::EMPTY, value, 0)?;
        if index % UNACKNOWLEDGED_MAX == 0 {
            written.commit.wait()?;
        }
    }
    Ok(store.close()?)
}

fn bytes_of(path: &Path) -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    const BLOCK_BYTES: u64 = 512;
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // What is taken of the disk: journals are made long and stay mostly empty.
        sum += if metadata.is_dir() { bytes_of(&entry.path())? } else { metadata.blocks() * BLOCK_BYTES };
    }
    Ok(sum)
}

/// Bytes of memory that the process has.
fn resident() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024.0)
}

/// CPU time this process has used, in seconds, as the kernel counts it (proc(5): fields 14 and 15, in ticks of 10 ms).
fn cpu_seconds() -> Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: std::result::Result<Vec<f64>, _> = fields.skip(11).take(2).map(str::parse).collect();
    Ok(ticks?.iter().sum::<f64>() / 100.0)
}
