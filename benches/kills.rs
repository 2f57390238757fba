//! Kills a member under load as often as it is told, and says what it cost and how long opening took.
//!
//! `cargo bench -p chinwag --bench kills -- --kills 200 --durability buffered` kills one member of one; `--members 3` one
//! of three at a time. The member has `--keys` keys of 100 bytes from the start. A broken promise ends the run with what
//! was found and the members' logs.

use std::error::Error;
use std::io::{self, Write};
use std::time::Duration;

use clap::Parser;

#[path = "../tests/it/cluster.rs"]
#[expect(
    dead_code,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "shared with the tests, which use all of it"
)]
mod cluster;
#[path = "../tests/it/kills.rs"]
#[expect(dead_code, clippy::unwrap_used, clippy::panic, reason = "shared with the tests, where it may")]
mod kills;
#[path = "../tests/it/process.rs"]
#[expect(dead_code, clippy::panic, reason = "shared with the tests, which use all of it")]
mod process;

#[derive(Debug, Parser)]
struct Arguments {
    /// How often a member is killed
    #[arg(long, default_value_t = 200)]
    kills: usize,
    /// As of `chinwag node`
    #[arg(long, default_value = "buffered")]
    durability: String,
    /// One or three
    #[arg(long, default_value_t = 1)]
    members: usize,
    /// Keys of 100 bytes that are there from the start
    #[arg(long, default_value_t = 100_000)]
    keys: usize,
    /// Of the moments and the victims
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let Arguments { kills, durability, members, keys, seed, bench: _ } = Arguments::parse();
    let plan = kills::Plan { kills, durability, members, filler: keys, seed };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut outcome = runtime.block_on(kills::run(&plan));
    outcome.opened.sort_unstable();
    let median = outcome.opened.get(outcome.opened.len() / 2).copied().unwrap_or_default();
    let longest = outcome.opened.last().copied().unwrap_or_default();
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{kills} kills of {members} at `{}`, seed {seed}: no acknowledged write lost, no version's name given twice, every start well",
        plan.durability
    )?;
    writeln!(
        out,
        "{} writes acknowledged, {} cut short, of which {} had been applied",
        outcome.acknowledged, outcome.unknown, outcome.applied
    )?;
    writeln!(
        out,
        "from start to service with {keys} keys: median {median:?}, longest {longest:?}, {:?} per million keys",
        per_million(median, keys)
    )?;
    Ok(())
}

fn per_million(opened: Duration, keys: usize) -> Duration {
    opened.mul_f64(1e6 / keys.max(1) as f64)
}
