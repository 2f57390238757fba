//! Counts what exchanges cost in bytes, round trips, reads and misses, beside what they should: no times.
//!
//! `cargo bench -p chinwag-merkle --bench exchange [-- KEYS]` runs over 100,000 keys, or as many as it is told.

use std::io::{self, Write};

use chinwag_merkle::{Held, Interval, Roots, Sum, TreeId};
use pair::{Random, Replica, exchange, key_id};

#[path = "../tests/it/pair.rs"]
mod pair;

/// Exchanges per row, each with a salt of its own. One colliding cell hides all that differs in it: over fewer salts
/// the share of misses says little.
const SALTS: u64 = 100;

fn main() -> io::Result<()> {
    let keys = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(100_000);
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{keys} keys, uniform positions; of the differing ones half are changed, a quarter missing on"
    )?;
    writeln!(
        out,
        "each side; means of {SALTS} exchanges, both directions, until the initiator has every position\n"
    )?;
    writeln!(
        out,
        "{:>8} {:>10} {:>10} {:>10} {:>12} {:>10} {:>10} {:>10} {:>8}",
        "differ", "bytes", "per key", "told", "round trips", "read", "missed", "incomplete", "false"
    )?;
    for differ in [0, 1, 10, 1000] {
        row(&mut out, keys, differ)?;
    }
    writeln!(
        out,
        "   goals: <= 64 bytes at 0, <= 4500 at up to 10, <= 85 per key at 1000; <= 3 round trips;"
    )?;
    writeln!(out, "          <= 100 keys read per key at 1000, both sides; <= 2e-4 missed\n")?;
    writeln!(
        out,
        "missed: the share of differing keys not found; incomplete: exchanges that missed any; false: differences that were none; both of {SALTS}."
    )?;
    writeln!(
        out,
        "told: positions, of 13 to 16 bytes, that the responder names to the initiator, per key. The goals"
    )?;
    writeln!(
        out,
        "for bytes do not count them: they are for 1,000,000 keys, and until either side knows of each.\n"
    )?;
    let (trees, bytes) = (256_u16, batched_roots(256));
    writeln!(
        out,
        "roots of {trees} trees in one message: {:.1} bytes each; goal <= 12",
        bytes / f64::from(trees)
    )
}

fn row(out: &mut impl Write, keys: u64, differ: u64) -> io::Result<()> {
    let (initiator, responder) = replicas(keys, differ);
    let differing = initiator.differing(&responder);
    let truth = differing.len();
    let (mut bytes, mut messages, mut told, mut read) = (0, 0, 0, 0);
    let (mut missed, mut incomplete, mut mistaken) = (0, 0, 0);
    for salt in 0..SALTS {
        let outcome = exchange(&initiator, &responder, Random(salt).next(), None);
        bytes += outcome.bytes.iter().sum::<usize>();
        messages += outcome.bytes.len();
        told += outcome.differences.iter().filter(|difference| difference.held != Held::Here).count();
        read += outcome.initiator.stats.keys_scanned + outcome.responder.stats.keys_scanned;
        let found = outcome.positions();
        let missing = differing.difference(&found).count();
        missed += missing;
        mistaken += found.difference(&differing).count();
        incomplete += usize::from(missing > 0);
    }
    let mean = |sum: usize| sum as f64 / SALTS as f64;
    let per_key = |value: f64| if truth == 0 { "-".into() } else { format!("{:.1}", value / truth as f64) };
    writeln!(
        out,
        "{truth:>8} {:>10.0} {:>10} {:>10} {:>12.1} {:>10} {:>10} {incomplete:>10} {mistaken:>8}",
        mean(bytes),
        per_key(mean(bytes)),
        per_key(mean(told)),
        mean(messages) / 2.0,
        per_key(read as f64 / SALTS as f64),
        if truth == 0 { "-".into() } else { format!("{:.1e}", mean(missed) / truth as f64) },
    )
}

/// Bytes of the message that compares so many trees.
fn batched_roots(trees: u16) -> f64 {
    let tree =
        |partition| (TreeId { partition, n: 3 }, Sum { count: partition.into(), sum: partition.into() });
    Roots::new(key_id(), Random(1).next(), (0..trees).map(tree)).encode().len() as f64
}

fn replicas(keys: u64, differ: u64) -> (Replica, Replica) {
    let mut random = Random(keys);
    let records: Vec<_> = (0..keys).map(|key| (random.position(), key)).collect();
    let of = |side: u64| {
        records.iter().copied().filter_map(move |(position, key)| match key % 4 {
            _ if key >= differ => Some((position, key, 0)),
            missing if missing == side => None,
            0 | 1 => Some((position, key, 0)),
            _ => Some((position, key, side)),
        })
    };
    (Replica::load(Interval::WHOLE, of(0)), Replica::load(Interval::WHOLE, of(1)))
}
