//! Prediction against measurement over the grid on which the model was published (Bailis and others, VLDB 2012, section
//! 5.2): exponential delays, a write's way to a replica 5, 10 or 20 ms in the mean, each other way 2, 5 or 10 ms; three
//! replicas; 50,000 writes a cell at R = W = 1; t from 1 to 199 ms. The cluster is simulated, its delays are injected below
//! QUIC, and predictions know no more than what its members saw of them. A number after `--` is of writes instead:
//!
//! ```text
//! cargo bench -p chinwag-observer --bench pbs -- 5000
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark prints what it measures, and how far it is"
)]

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use chinwag_observer::history::Level;
use chinwag_observer::lab::{LAST_READ_MS, Ladder, Validation};
use chinwag_observer::predict::{Bins, Comparison, Reads, Settings, Witnessed};

const WRITE_MEANS_MS: [u64; 3] = [5, 10, 20];
const OTHER_MEANS_MS: [u64; 3] = [2, 5, 10];
/// The times since a write whose reads are compared.
const T_MS: RangeInclusive<u64> = 1..=199;
/// Writes of a cell at R = W = 1.
const WRITES: u64 = 50_000;
/// What is run for each cell: R, W, the share of the writes, and whether they are read. The first is the curve; the others are
/// for the other curves that are not always fresh, and for the latencies of all levels.
const RUNS: [(u8, u8, f64, bool); 6] = [
    (1, 1, 1.0, true),
    (1, 2, 0.1, true),
    (2, 1, 0.1, true),
    (3, 3, 0.05, true),
    (1, 2, 0.5, false),
    (1, 3, 0.5, false),
];
/// Writes of one simulation, so that several run side by side.
const CHUNK: u64 = 2_500;
/// Pairs drawn for a curve.
const DRAWS: usize = 1_000_000;

/// A mean of a write's way, one of the other ways, and a place in `RUNS`.
type Run = (u64, u64, usize);

/// What was predicted and measured, and the means of `W`, `A`, `R` and `S` that were seen.
type Compared = BTreeMap<Run, (Comparison, [Option<f64>; 4])>;

fn main() {
    let number = std::env::args().skip(1).find_map(|argument| argument.parse().ok());
    let writes: u64 = number.unwrap_or(WRITES);
    let witnessed = witness(&chunks(writes));
    let settings = Settings { bins: Bins::Milliseconds(T_MS), draws: DRAWS, seed: 1 };
    let compared: Mutex<Compared> = Mutex::default();
    side_by_side("compared", &witnessed.into_iter().collect::<Vec<_>>(), |(run, witnessed)| {
        let found = (witnessed.compare(&settings), witnessed.mean_delays_ms());
        lock(&compared).insert(*run, found);
    });
    let compared = lock(&compared);
    println!(
        "{writes} writes a cell, t = 1 to {} ms, three replicas; means in ms, scores in percent\n",
        T_MS.end()
    );
    curves(&compared);
    latencies(&compared);
}

/// All simulations, the longest first.
fn chunks(writes: u64) -> Vec<(Run, Validation)> {
    let mut chunks = Vec::new();
    for (at, (r, w, share, are_read)) in RUNS.into_iter().enumerate() {
        for write_mean in WRITE_MEANS_MS {
            for other_mean in OTHER_MEANS_MS {
                let mut left = (writes as f64 * share) as u64;
                while left > 0 {
                    let writes = left.min(CHUNK);
                    left -= writes;
                    let level = |count: u8| Level::Count(count.try_into().expect("a level is above 0"));
                    let validation = Validation {
                        write_mean: Duration::from_millis(write_mean),
                        other_mean: Duration::from_millis(other_mean),
                        r: level(r),
                        w: level(w),
                        writes,
                        reads: if are_read { ladders(write_mean) } else { Vec::new() },
                        seed: chunks.len() as u64 + 1,
                    };
                    chunks.push(((write_mean, other_mean, at), validation));
                }
            }
        }
    }
    chunks
}

/// The curve is steep within three means of a write's way there, and there are most reads; the slowest has the longest.
fn ladders(write_mean_ms: u64) -> Vec<Ladder> {
    let all = Ladder { apart_ms: if write_mean_ms < 20 { 40 } else { 20 }, until_ms: LAST_READ_MS };
    vec![all, Ladder { apart_ms: 20, until_ms: (3 * write_mean_ms).next_multiple_of(20) }]
}

/// Runs all simulations.
fn witness(chunks: &[(Run, Validation)]) -> BTreeMap<Run, Witnessed> {
    let witnessed: Mutex<BTreeMap<Run, Witnessed>> = Mutex::default();
    side_by_side("simulated", chunks, |(run, validation)| {
        let history = validation.run().expect("a simulated cluster starts");
        lock(&witnessed).entry(*run).or_default().take(&history);
    });
    witnessed.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Does the work for all items on all cores, and says how far it is.
fn side_by_side<T: Sync>(done: &str, items: &[T], work: impl Fn(&T) + Sync) {
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let worker = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item);
            eprint!("\r{done} {} of {} ", finished.fetch_add(1, Ordering::Relaxed) + 1, items.len());
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(worker);
        }
    });
    eprintln!();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn curves(compared: &Compared) {
    println!(
        "  W A=R=S   R W    reads   seen: W     A     R     S   fresh at 1 ms: measured predicted   RMSE  noise floor"
    );
    let mut scores: BTreeMap<usize, Vec<(f64, f64)>> = BTreeMap::new();
    for (&(write_mean, other_mean, at), (comparison, delays)) in compared {
        let (r, w, ..) = RUNS[at];
        let Some(reads) = comparison.reads.first().filter(|it| it.fresh.rate < Some(1.0)) else { continue };
        let [there, back, asked, answered] = delays.map(|it| format!("{:5.2}", it.unwrap_or(f64::NAN)));
        let (measured, predicted) = at_once(reads);
        let [rmse, floor] = [reads.rmse, reads.noise_floor].map(|it| 100.0 * it.unwrap_or(f64::NAN));
        scores.entry(at).or_default().push((rmse, floor));
        println!(
            "{write_mean:3} {other_mean:5}   {r} {w} {:8}      {there} {back} {asked} {answered}   {measured:22.2} \
             {predicted:9.2} {rmse:6.3} {floor:12.3}",
            reads.fresh.n
        );
    }
    println!();
    for (at, scores) in scores {
        let (r, w, ..) = RUNS[at];
        let [rmse, floor] =
            [|it: &(f64, f64)| it.0, |it: &(f64, f64)| it.1].map(|of| spread(scores.iter().map(of)));
        println!(
            "t-visibility at R = {r}, W = {w}: RMSE {rmse} (published: mean 0.28, deviation 0.05, most 0.53); noise floor {floor}"
        );
    }
    println!();
}

/// The share of fresh reads of the first point, measured and predicted, in percent.
fn at_once(reads: &Reads) -> (f64, f64) {
    let point = reads.curve.first();
    point.map_or((f64::NAN, f64::NAN), |it| (100.0 * it.fresh.rate.unwrap_or(f64::NAN), 100.0 * it.predicted))
}

fn latencies(compared: &Compared) {
    println!(
        "  W A=R=S         level  operations   p50 ms: measured predicted   p99.9 ms: measured predicted  N-RMSE  noise floor"
    );
    let mut scores = Vec::new();
    for (&(write_mean, other_mean, _), (comparison, _)) in compared {
        for it in &comparison.latencies {
            let (Some(score), Some(floor)) = (it.n_rmse, it.noise_floor) else { continue };
            scores.push((100.0 * score, 100.0 * floor));
            let kind = if it.writes { "W" } else { "R" };
            println!(
                "{write_mean:3} {other_mean:5}         {kind} = {} {:11} {:18.2} {:9.2} {:20.2} {:9.2} {:7.3} {:12.3}",
                it.level,
                it.operations,
                it.measured_ms[0],
                it.predicted_ms[0].unwrap_or(f64::NAN),
                it.measured_ms[2],
                it.predicted_ms[2].unwrap_or(f64::NAN),
                100.0 * score,
                100.0 * floor
            );
        }
    }
    let [score, floor] =
        [|it: &(f64, f64)| it.0, |it: &(f64, f64)| it.1].map(|of| spread(scores.iter().map(of)));
    println!(
        "\nlatency: N-RMSE {score} (published: mean 0.48, deviation 0.18, most 0.90); noise floor {floor}"
    );
}

/// Mean, deviation and most of some scores, in words.
fn spread(scores: impl Iterator<Item = f64> + Clone) -> String {
    let n = scores.clone().count() as f64;
    let mean = scores.clone().sum::<f64>() / n;
    let deviation = libm::sqrt(scores.clone().map(|it| (it - mean) * (it - mean)).sum::<f64>() / n);
    format!("mean {mean:.3}, deviation {deviation:.3}, most {:.3}", scores.fold(0.0, f64::max))
}
