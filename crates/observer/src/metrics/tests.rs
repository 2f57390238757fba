//! Hand-written histories with exact verdicts. [`crate::oracle`] holds random ones against the definitions.

use super::{Evidence, Judge, LevelMetrics, Metrics, Order, Settings, Verdict, measure};
use crate::history::{Clock, Dot, History, Kind, Level, Operation, Outcome, Version};
use crate::ledger::Ledger;

/// Builds histories on one key; every operation is identified by its id.
#[derive(Default)]
struct Script {
    operations: Vec<Operation>,
}

impl Script {
    fn add(&mut self, kind: Kind, id: u64, (sent, done): (u64, u64)) -> &mut Operation {
        let mut operation = Operation::new(id, 0, "replica0", kind, Level::One, "k");
        (operation.intended, operation.sent, operation.done) = (sent, sent, Some(done));
        operation.outcome = Outcome::Ok;
        self.operations.push(operation);
        self.operations.last_mut().unwrap()
    }

    /// An acknowledged put of value `v<id>` with dot (1, id).
    fn put(&mut self, id: u64, time: (u64, u64)) -> &mut Operation {
        let put = self.add(Kind::Put, id, time);
        (put.value, put.dot) = (Some(format!("v{id}")), Some(dot(id)));
        put
    }

    /// A get that returned the values of these puts.
    fn get(&mut self, id: u64, time: (u64, u64), returned: &[u64]) -> &mut Operation {
        let get = self.add(Kind::Get, id, time);
        get.returned = returned.iter().map(|&put| value(put)).collect();
        if returned.is_empty() {
            get.outcome = Outcome::NotFound;
        }
        get
    }

    fn delete(&mut self, id: u64, time: (u64, u64)) -> &mut Operation {
        let delete = self.add(Kind::Delete, id, time);
        delete.dot = Some(dot(id));
        delete
    }

    fn history(&self) -> History {
        History { operations: self.operations.clone(), ..History::default() }
    }

    fn measure(&self) -> Metrics {
        measure(&Ledger::of(&self.history()), &Settings::default())
    }

    fn verdict(&self, read: u64) -> Verdict {
        let ledger = Ledger::of(&self.history());
        let mut verdicts = ledger.by_key().flat_map(|(_, operations)| {
            Judge::new(&Order::new(operations.iter().collect(), Evidence::ReturnedOrCovered)).verdicts()
        });
        verdicts.find(|verdict| verdict.operation == read).unwrap()
    }

    /// Writes missing from a read and whether it is stale in the lenient sense, by acknowledged writes.
    fn judged(&self, read: u64) -> (u64, bool) {
        let judgement = self.verdict(read).acknowledged;
        (judgement.missing, judgement.nothing_new)
    }

    fn judged_with_observed(&self, read: u64) -> (u64, bool) {
        let judgement = self.verdict(read).observed;
        (judgement.missing, judgement.nothing_new)
    }
}

fn dot(id: u64) -> Dot {
    Dot { actor: 1, seq: id }
}

fn value(put: u64) -> Version {
    Version { value: Some(format!("v{put}")), dot: dot(put) }
}

fn covering(ids: &[u64]) -> Option<Clock> {
    Some(Clock { vv: Vec::new(), dots: ids.iter().copied().map(dot).collect() })
}

fn unknown() -> Outcome {
    Outcome::Unknown { reason: "timeout".to_owned() }
}

const FRESH: (u64, bool) = (0, false);

#[test]
fn a_read_of_the_last_write_is_fresh_and_of_nothing_is_stale() {
    let mut script = Script::default();
    script.get(10, (0, 5), &[]);
    script.put(1, (10, 20));
    script.get(11, (30, 40), &[1]);
    script.get(12, (50, 60), &[]);
    assert_eq!([10, 11, 12].map(|read| script.judged(read)), [FRESH, FRESH, (1, true)]);
    let stale = script.measure().stale.rate;
    assert_eq!((stale.count, stale.n), (1, 3));
}

#[test]
fn a_missing_sibling_is_stale_but_not_leniently() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.put(2, (10, 20));
    script.get(10, (30, 40), &[1]);
    script.get(11, (30, 40), &[2, 1]);
    script.get(12, (30, 40), &[]);
    assert_eq!([10, 11, 12].map(|read| script.judged(read)), [(1, false), FRESH, (2, true)]);
}

#[test]
fn a_write_in_flight_is_not_missed() {
    let mut script = Script::default();
    script.put(1, (10, 35));
    script.get(10, (30, 40), &[]);
    // Acknowledged at the very moment a read is sent: no order between them.
    script.get(11, (35, 40), &[]);
    script.get(12, (36, 40), &[]);
    assert_eq!([10, 11, 12].map(|read| script.judged(read)), [FRESH, FRESH, (1, true)]);
    assert_eq!([10, 11, 12].map(|read| script.verdict(read).contended), [true, true, false]);
}

#[test]
fn an_unknown_write_counts_once_a_read_that_returned_it_ended() {
    let mut script = Script::default();
    script.put(1, (10, 20)).outcome = unknown();
    script.get(10, (30, 40), &[]);
    script.get(11, (30, 60), &[1]);
    script.get(12, (50, 70), &[]);
    script.get(13, (61, 70), &[]);
    assert_eq!([10, 11, 12, 13].map(|read| script.judged(read)), [FRESH; 4]);
    let observed = [10, 11, 12, 13].map(|read| script.judged_with_observed(read));
    assert_eq!(observed, [FRESH, FRESH, FRESH, (1, true)]);
    let level = &script.measure().levels[0];
    assert_eq!(
        (level.stale.rate.count, level.stale_observed.rate.count, level.stale_lenient_observed.rate.count),
        (0, 1, 1)
    );
    assert_eq!(level.unknown, 1);
}

#[test]
fn an_unknown_write_never_observed_and_a_refused_one_are_not_missed() {
    let mut script = Script::default();
    script.put(1, (10, 20)).outcome = unknown();
    script.put(2, (10, 20)).outcome = Outcome::Refused { reason: "too few replicas".to_owned() };
    script.get(10, (30, 40), &[]);
    assert_eq!((script.judged(10), script.judged_with_observed(10)), (FRESH, FRESH));
    script.get(11, (15, 18), &[]).key = "other".to_owned();
    let refused = script.put(3, (10, 20));
    (refused.key, refused.outcome) = ("other".to_owned(), Outcome::Refused { reason: "no".to_owned() });
    assert!(!script.verdict(11).contended);
    let level = &script.measure().levels[0];
    assert_eq!((level.operations, level.writes, level.errors, level.unknown), (5, 3, 2, 1));
}

#[test]
fn a_write_overwritten_by_what_is_returned_is_not_missed() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[1]);
    script.put(2, (50, 60)).basis = Some(10);
    script.get(11, (70, 80), &[2]);
    script.get(12, (70, 80), &[1]);
    // The context of a put's answer can be supplied as well.
    script.put(3, (90, 95)).basis = Some(2);
    script.get(13, (100, 110), &[3]);
    script.get(14, (100, 110), &[1]);
    assert_eq!(
        [11, 12, 13, 14].map(|read| script.judged(read)),
        [FRESH, (1, true), FRESH, (2, true)],
        "by what clients were given alone: no read has a clock"
    );
}

#[test]
fn an_overwrite_in_flight_or_unknown_excuses_what_it_overwrote() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[1]);
    let put = script.put(2, (50, 100));
    (put.basis, put.outcome) = (Some(10), unknown());
    script.get(11, (60, 70), &[2]);
    script.get(12, (80, 90), &[1]);
    assert_eq!([11, 12].map(|read| script.judged(read)), [FRESH, FRESH]);
    assert_eq!([11, 12].map(|read| script.judged_with_observed(read)), [FRESH, (1, true)]);
}

#[test]
fn a_write_acknowledged_after_its_overwrite_is_still_missed() {
    let mut script = Script::default();
    script.put(1, (10, 100));
    script.get(10, (30, 40), &[1]);
    script.put(2, (50, 60)).basis = Some(10);
    script.get(11, (110, 120), &[]);
    script.get(12, (110, 120), &[2]);
    assert_eq!([11, 12].map(|read| script.judged(read)), [(2, true), FRESH]);
}

#[test]
fn only_an_answer_carries_a_context_and_only_a_write_supplies_one() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[1]).outcome = unknown();
    script.put(2, (50, 60)).basis = Some(10);
    script.put(3, (50, 55)).outcome = unknown();
    script.put(4, (60, 65)).basis = Some(3);
    script.get(11, (70, 80), &[2, 3, 4]);
    script.get(12, (90, 95), &[2, 4]).basis = Some(1);
    assert_eq!(script.judged(11), (1, false), "nobody was given 1");
    assert_eq!(script.judged_with_observed(12), (2, false), "nobody was given 1, and 4 was not given 3");
}

#[test]
fn a_tombstone_is_known_by_the_dot_of_a_delete_and_of_nothing_else() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[]).returned = vec![Version { value: None, dot: dot(1) }];
    assert_eq!(
        script.judged(10),
        (1, true),
        "a tombstone under the dot of a put does not make the put known"
    );
}

#[test]
fn a_context_that_covers_a_write_knows_it() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.put(2, (10, 20));
    script.get(10, (30, 40), &[2]).seen = covering(&[1, 2]);
    script.get(11, (30, 40), &[2]).seen = covering(&[2]);
    script.get(12, (30, 40), &[2]).seen = Some(Clock { vv: vec![(1, 2)], dots: Vec::new() });
    script.get(13, (30, 40), &[2]).seen = Some(Clock { vv: vec![(2, 9), (1, 0)], dots: Vec::new() });
    assert_eq!([10, 11, 12, 13].map(|read| script.judged(read)), [FRESH, (1, false), FRESH, (1, false)]);
    // A writer that supplied that context overwrote what it covers.
    script.put(3, (50, 60)).basis = Some(10);
    script.get(14, (70, 80), &[3]);
    assert_eq!(script.judged(14), FRESH);
}

#[test]
fn a_dot_learned_from_a_read_counts_like_one_from_the_answer() {
    let mut script = Script::default();
    script.put(1, (10, 20)).dot = None;
    script.get(10, (30, 40), &[1]);
    script.put(2, (50, 60)).basis = Some(10);
    script.get(11, (70, 80), &[]).seen = covering(&[1]);
    assert_eq!(script.judged(11), (1, true), "it knows 1 by its dot, and not 2");
}

#[test]
fn a_delete_is_a_write() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[1]);
    script.delete(2, (50, 60)).basis = Some(10);
    // A tombstone returned, or covered; then the old value again, then nothing known at all.
    let tombstone = Version { value: None, dot: dot(2) };
    script.get(11, (70, 80), &[]).returned = vec![tombstone];
    script.get(12, (70, 80), &[]).seen = covering(&[1, 2]);
    script.get(13, (70, 80), &[1]);
    script.get(14, (70, 80), &[]);
    assert_eq!([11, 12, 13, 14].map(|read| script.judged(read)), [FRESH, FRESH, (1, true), (2, true)]);
}

#[test]
fn a_delete_whose_dot_nobody_learned_is_not_missed() {
    let mut script = Script::default();
    script.delete(1, (10, 20)).dot = None;
    script.get(10, (30, 40), &[]);
    assert_eq!(script.judged(10), FRESH);
}

#[test]
fn keys_and_levels_are_apart() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[]).key = "other".to_owned();
    let stale = script.get(11, (30, 40), &[]);
    stale.level = Level::Quorum;
    let metrics = script.measure();
    let summary: Vec<_> = metrics
        .levels
        .iter()
        .map(|level| (level.level, level.operations, level.reads, level.stale.rate.count))
        .collect();
    assert_eq!(summary, [(Level::One, 2, 1, 0), (Level::Quorum, 1, 1, 1)]);
    assert_eq!((metrics.stale.rate.count, metrics.stale.rate.n, metrics.operations), (1, 2, 3));
}

#[test]
fn gets_without_an_answer_are_counted_and_left_out() {
    let mut script = Script::default();
    script.put(1, (10, 20));
    script.get(10, (30, 40), &[]).outcome = unknown();
    script.get(11, (30, 40), &[]).outcome = Outcome::Refused { reason: "no".to_owned() };
    let level = &script.measure().levels[0];
    assert_eq!((level.reads, level.stale.rate.n, level.unknown, level.errors), (0, 0, 1, 1));
    assert_eq!((level.stale.rate.rate, level.k_staleness.mean, level.siblings.mean), (None, None, None));
}

#[test]
fn k_staleness_is_how_many_writes_reads_missed() {
    let mut script = Script::default();
    for id in 1..=3 {
        script.put(id, (10 * id, 10 * id + 5)).basis = (id > 1).then(|| id - 1);
    }
    // Each put overwrote the one before; the reads are 0, 0, 1 and 3 writes behind.
    script.get(10, (50, 60), &[3]);
    script.get(11, (50, 60), &[3]);
    script.get(12, (50, 60), &[2]);
    script.get(13, (50, 60), &[]);
    let k = &script.measure().levels[0].k_staleness;
    assert_eq!((k.mean, k.max), (Some(1.0), 3));
    assert_eq!(k.exceeding, [0.5, 0.25, 0.25, 0.0]);
}

#[test]
fn visibility_bins_reads_by_their_distance_from_the_last_write() {
    let mut script = Script::default();
    let ms = 1_000_000;
    script.put(1, (0, ms));
    let mut id = 10;
    // 2 ms after it 2 of 4 reads are fresh, 20 ms after it 3 of 4, 200 ms after it all 4.
    for (t, fresh) in [(2, 2), (20, 3), (200, 4)] {
        for read in 0..4 {
            script.get(id, ((1 + t) * ms, (1 + t) * ms + 10), if read < fresh { &[1] } else { &[] });
            id += 1;
        }
    }
    let settled = script.measure().levels.remove(0).visibility.settled;
    let bins: Vec<_> = settled.bins.iter().map(|bin| (bin.longest_ms, bin.fresh.count, bin.fit)).collect();
    assert_eq!(bins, [(2.0, 2, 0.5), (20.0, 3, 0.75), (200.0, 4, 1.0)]);
    let reached: Vec<_> = settled.reached.iter().map(|r| (r.chance, r.t_ms, r.from_there.n)).collect();
    assert_eq!(
        reached,
        [(0.5, Some(2.0), 12), (0.9, Some(200.0), 4), (0.99, Some(200.0), 4), (0.999, Some(200.0), 4)]
    );
}

#[test]
fn visibility_is_never_reached_without_reads_or_freshness() {
    let mut script = Script::default();
    script.put(1, (0, 10));
    let settled = script.measure().levels.remove(0).visibility.settled;
    assert!(settled.bins.is_empty() && settled.reached.iter().all(|reached| reached.t_ms.is_none()));
    script.get(10, (20, 30), &[]);
    let settled = script.measure().levels.remove(0).visibility.settled;
    assert_eq!(settled.bins.len(), 1);
    assert!(settled.reached.iter().all(|reached| reached.t_ms.is_none()));
}

#[test]
fn a_write_given_up_is_no_longer_in_flight() {
    let mut script = Script::default();
    script.put(1, (0, 10));
    script.put(2, (20, 50)).outcome = unknown();
    let endless = script.put(3, (200, 0));
    (endless.done, endless.outcome) = (None, unknown());
    script.get(10, (40, 45), &[1]);
    script.get(11, (60, 65), &[1]);
    script.get(12, (300, 310), &[1]);
    assert_eq!([10, 11, 12].map(|read| script.verdict(read).contended), [true, false, true]);
    assert_eq!([10, 11, 12].map(|read| script.verdict(read).since_write), [Some(30), Some(50), Some(290)]);
}

#[test]
fn siblings_count_values_of_reads_that_found_any() {
    let mut script = Script::default();
    for id in 1..=3 {
        script.put(id, (1, 2));
    }
    script.get(10, (3, 4), &[]);
    script.get(11, (3, 4), &[1]);
    script.get(12, (3, 4), &[1, 2, 3]).returned.push(Version { value: None, dot: dot(9) });
    let siblings = &script.measure().levels[0].siblings;
    assert_eq!((siblings.mean, siblings.p99, siblings.max), (Some(2.0), 3, 3));
    assert_eq!(siblings.reads_by_count, [1, 1, 0, 1]);
}

#[test]
fn latency_counts_from_intended_and_keeps_timeouts_in() {
    let mut script = Script::default();
    let ms = 1_000_000;
    for id in 1..=97 {
        script.put(id, (5 * ms, 6 * ms)).intended = 2 * ms;
    }
    script.put(98, (0, 3 * ms)).outcome = unknown();
    let endless = script.get(99, (0, 0), &[]);
    (endless.outcome, endless.done) = (unknown(), None);
    script.put(100, (0, 9_000 * ms)).outcome = Outcome::Refused { reason: "no".to_owned() };
    let settings = Settings { time_limit: 500 * ms, ..Settings::default() };
    let LevelMetrics { latency, .. } = measure(&Ledger::of(&script.history()), &settings).levels.remove(0);
    let near = |value: Option<f64>, ms: f64| (value.unwrap() - ms).abs() <= ms / 1000.0;
    assert_eq!((latency.all.n, latency.all.at_least, latency.writes.n, latency.reads.n), (99, 2, 98, 1));
    assert!(near(latency.all.p50_ms, 4.0) && near(latency.all.p99_ms, 500.0), "{latency:?}");
    assert!(near(latency.reads.p50_ms, 500.0), "{latency:?}");
}

#[test]
fn the_timeline_has_equal_slices_with_everything_in_them() {
    let mut script = Script::default();
    let ms = 1_000_000;
    script.put(1, (0, ms));
    script.get(10, (5 * ms, 7 * ms), &[1]);
    script.get(11, (99 * ms, 103 * ms), &[]);
    script.get(12, (200 * ms, 203 * ms), &[1]).level = Level::All;
    let settings = Settings { bucket: Some(100 * ms), ..Settings::default() };
    let metrics = measure(&Ledger::of(&script.history()), &settings);
    let slices: Vec<Vec<_>> = metrics
        .levels
        .iter()
        .map(|level| {
            level.timeline.iter().map(|at| (at.at_ms, at.operations, at.stale.count, at.p99_ms)).collect()
        })
        .collect();
    assert_eq!(slices[0], [(0.0, 3, 1, Some(4.0)), (100.0, 0, 0, None), (200.0, 0, 0, None)]);
    assert_eq!(slices[1], [(0.0, 0, 0, None), (100.0, 0, 0, None), (200.0, 1, 0, Some(3.0))]);
    assert_eq!(metrics.bucket_ms, 100.0);

    let chosen = script.measure();
    assert_eq!((chosen.bucket_ms, chosen.levels[0].timeline.len()), (10.0, 21));
    let seconds = [0, 1, 10, 50, 60, 3600].map(|run| super::timeline::bucket_width(run * 1000 * ms) / ms);
    assert_eq!(seconds, [10, 10, 100, 500, 1000, 50_000]);
}

#[test]
fn an_empty_history_measures_nothing() {
    let metrics = measure(&Ledger::default(), &Settings::default());
    assert_eq!((metrics.operations, metrics.stale.rate.rate, metrics.levels.len()), (0, None, 0));
}

#[test]
fn a_forged_circle_of_contexts_ends() {
    let mut script = Script::default();
    script.put(1, (10, 20)).basis = Some(2);
    script.put(2, (10, 20)).basis = Some(1);
    script.get(10, (0, 100), &[1]);
    script.put(3, (5, 15)).basis = Some(10);
    script.get(11, (200, 300), &[1]);
    script.put(4, (1, 2)).basis = Some(4);
    assert!(script.judged(11).0 <= 4);
}
