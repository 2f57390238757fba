//! Plans are what they say: reproducible, at their rate, in their shares, on their keys.

use super::{
    Arrivals, Basis, KeyError, Keys, Plan, PlannedOperation, Spread, ValueBytes, Workload, WorkloadError,
    Ycsb,
};
use crate::history::{Kind, Level};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PLANNED: usize = 20_000;

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|key| key.to_string()).collect()
}

fn workload() -> Workload {
    Workload {
        sessions: 8,
        rate: 1000.0,
        arrivals: Arrivals::Poisson,
        read_share: 0.6,
        delete_share: 0.1,
        context_share: 0.5,
        levels: vec![(Level::One, 3.0), (Level::Quorum, 1.0)],
        ..Workload::new(Keys::uniform(numbered(256)).unwrap(), 42)
    }
}

fn planned(workload: Workload) -> Vec<PlannedOperation> {
    workload.plan().unwrap().take(PLANNED).collect()
}

fn share(plan: &[PlannedOperation], wanted: impl Fn(&PlannedOperation) -> bool) -> f64 {
    plan.iter().filter(|op| wanted(op)).count() as f64 / plan.len() as f64
}

fn near(left: f64, right: f64, within: f64) {
    assert!((left - right).abs() <= within, "{left} is not {right} within {within}");
}

/// How often each key was drawn, most often first.
fn popularity(keys: Keys) -> Vec<(usize, String)> {
    let mut drawn: BTreeMap<String, usize> = BTreeMap::new();
    for operation in planned(Workload { keys, ..workload() }) {
        *drawn.entry(operation.key).or_default() += 1;
    }
    let mut drawn: Vec<_> = drawn.into_iter().map(|(key, count)| (count, key)).collect();
    drawn.sort_unstable_by(|left, right| right.cmp(left));
    drawn
}

#[test]
fn the_same_seed_plans_the_same() {
    assert_eq!(planned(workload()), planned(workload()));
    assert_ne!(planned(workload())[..10], planned(Workload { seed: 43, ..workload() })[..10]);
}

#[test]
fn plans_that_differ_in_one_setting_agree_in_the_others() {
    let other = Workload { read_share: 0.1, levels: vec![(Level::All, 1.0)], ..workload() };
    let other = Workload { arrivals: Arrivals::Fixed, context_share: 0.0, ..other };
    for (left, right) in planned(workload()).iter().zip(planned(other)) {
        assert_eq!((left.session, &left.key), (right.session, &right.key));
    }
}

#[test]
fn rates_and_shares_are_kept() {
    let plan = planned(workload());
    let seconds = plan.last().unwrap().intended.as_secs_f64();
    near(PLANNED as f64 / seconds, 1000.0, 50.0);
    near(share(&plan, |op| op.kind == Kind::Get), 0.6, 0.02);
    near(share(&plan, |op| op.kind == Kind::Delete), 0.04, 0.01);
    near(share(&plan, |op| op.kind == Kind::Put && op.basis == Basis::Read), 0.18, 0.02);
    near(share(&plan, |op| op.level == Level::One), 0.75, 0.02);
    for session in 0..8 {
        near(share(&plan, |op| op.session == session), 0.125, 0.02);
    }
    assert!(plan.iter().all(|op| op.basis == Basis::Read || op.kind != Kind::Delete));
    assert!(plan.iter().all(|op| op.basis == Basis::Blind || op.kind != Kind::Get));
}

#[test]
fn poisson_gaps_vary_as_much_as_they_last_and_fixed_ones_not_at_all() {
    let gaps = |arrivals| {
        let plan = planned(Workload { arrivals, ..workload() });
        let times: Vec<Duration> = plan.iter().map(|op| op.intended).collect();
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect::<Vec<f64>>()
    };
    let poisson = gaps(Arrivals::Poisson);
    let mean = poisson.iter().sum::<f64>() / poisson.len() as f64;
    let variance = poisson.iter().map(|gap| (gap - mean) * (gap - mean)).sum::<f64>() / poisson.len() as f64;
    near(mean, 0.001, 0.000_05);
    near(variance.sqrt() / mean, 1.0, 0.05);
    assert!(gaps(Arrivals::Fixed).iter().all(|gap| (gap - 0.001).abs() < 1e-8));
}

#[test]
fn written_values_are_unique_and_name_their_session() {
    let plan = planned(workload());
    let puts: Vec<_> = plan.iter().filter(|op| op.kind == Kind::Put).collect();
    let values: BTreeSet<&String> = puts.iter().filter_map(|op| op.value.as_ref()).collect();
    assert_eq!(values.len(), puts.len());
    assert!(puts.iter().all(|op| op.value.as_ref().unwrap().starts_with(&format!("s{}-", op.session))));
    assert!(plan.iter().all(|op| op.value.is_some() == (op.kind == Kind::Put)));
}

#[test]
fn zipfian_keys_are_skewed_and_scrambled() {
    let drawn = popularity(Keys::zipfian(numbered(1000), 0.99, 1).unwrap());
    // The harmonic number of 1000 at 0.99 is about 7.73: the first key has 12.9 %, the second half of that.
    near(drawn[0].0 as f64 / PLANNED as f64, 0.129, 0.01);
    near(drawn[1].0 as f64 / PLANNED as f64, 0.065, 0.008);
    let top: Vec<usize> = drawn[..10].iter().map(|(_, key)| key.parse().unwrap()).collect();
    assert!(top.iter().any(|&key| key > 500) && !top.is_sorted(), "popular keys are anywhere: {top:?}");

    let other = popularity(Keys::zipfian(numbered(1000), 0.99, 2).unwrap());
    assert_ne!(drawn[0].1, other[0].1);
    let even = popularity(Keys::zipfian(numbered(100), 0.0, 1).unwrap());
    assert!(even.len() == 100 && even[0].0 < 270 && even[99].0 > 140, "{even:?}");
}

#[test]
fn distributed_keys_load_all_preference_lists_alike() {
    // Lists of 1 and 63 keys: each gets half of the operations.
    let groups = vec![numbered(1), numbered(64)[1..].to_vec()];
    let drawn = popularity(Keys::distributed(groups, Spread::Uniform).unwrap());
    assert_eq!((drawn.len(), drawn[0].1.as_str()), (64, "0"));
    near(drawn[0].0 as f64 / PLANNED as f64, 0.5, 0.02);
}

#[test]
fn clustered_keys_stay_on_the_chosen_preference_lists() {
    let groups: Vec<Vec<String>> = numbered(256).chunks(64).map(<[String]>::to_vec).collect();
    let keys = Keys::clustered(groups.clone(), &[1, 3], Spread::Zipfian { theta: 0.99, seed: 5 }).unwrap();
    let drawn = popularity(keys);
    let lists: BTreeSet<usize> = drawn.iter().map(|(_, key)| key.parse::<usize>().unwrap() / 64).collect();
    assert_eq!(lists, BTreeSet::from([1, 3]));

    let refused = |chosen: &[usize]| Keys::clustered(groups.clone(), chosen, Spread::Uniform).unwrap_err();
    assert_eq!(refused(&[]), KeyError::NoGroups);
    assert_eq!(refused(&[4]).to_string(), "there is no preference list 4; there are 4, counted from 0");
    assert_eq!(refused(&[2, 2]), KeyError::ChosenTwice { chosen: 2 });
}

/// A plan of 2000 probes, ten times round the strata, of 8 sessions and 10 keys.
fn probes() -> Vec<PlannedOperation> {
    let probe = Some(Duration::from_millis(200));
    let keys = Keys::uniform(numbered(10)).unwrap();
    let workload = Workload { probe, keys, write_level: Some(Level::All), ..workload() };
    workload.plan().unwrap().take(2000).collect()
}

#[test]
fn probes_read_at_times_that_fill_their_span_evenly() {
    let mut by_millisecond = BTreeMap::new();
    for probe in probes() {
        let after = probe.then_read.unwrap().after;
        assert!(after < Duration::from_millis(200));
        *by_millisecond.entry(after.as_millis()).or_insert(0) += 1;
    }
    assert_eq!(by_millisecond.len(), 200);
    assert!(by_millisecond.values().all(|&probes| probes == 10), "{by_millisecond:?}");
    let order: Vec<Duration> = probes()[..200].iter().map(|it| it.then_read.unwrap().after).collect();
    assert!(!order.is_sorted());
    assert_eq!(probes(), probes());
}

#[test]
fn a_probes_key_has_one_writer_and_one_reader() {
    let plan = probes();
    let sessions = |it: &PlannedOperation| (it.session, it.then_read.unwrap().session);
    let mut by_key: BTreeMap<&str, BTreeSet<(u32, u32)>> = BTreeMap::new();
    for probe in &plan {
        by_key.entry(&probe.key).or_default().insert(sessions(probe));
        assert_eq!((probe.kind, probe.basis, probe.write_level), (Kind::Put, Basis::Known, Level::All));
    }
    // Four pairs have two keys each; two keys are left over.
    assert_eq!(by_key.len(), 8);
    assert!(by_key.values().all(|pairs| pairs.len() == 1), "{by_key:?}");
    assert!(plan[..4].iter().map(sessions).eq([(0, 1), (2, 3), (4, 5), (6, 7)]));
    assert!(plan[..4].iter().zip(&plan[4..8]).all(|(first, second)| first.key != second.key));
}

/// The shares of reads, updates, inserts and read-modify-writes, and of the ten latest keys.
fn shares_of(ycsb: Ycsb) -> [f64; 5] {
    let keys = Keys::records("key", 100, Spread::Latest { theta: 0.99 }).unwrap();
    let plan = planned(ycsb.of(Workload::new(keys, 3)));
    let mut known: BTreeSet<String> = (0..100).map(|key| format!("key{key}")).collect();
    let (mut inserts, mut latest) = (0.0, 0.0);
    for operation in &plan {
        inserts += f64::from(u8::from(known.insert(operation.key.clone())));
        let number: usize = operation.key.trim_start_matches("key").parse().unwrap();
        latest += f64::from(u8::from(operation.kind == Kind::Get && number + 10 >= known.len()));
    }
    let known = |op: &PlannedOperation| op.kind == Kind::Put && op.basis == Basis::Known;
    [
        share(&plan, |op| op.kind == Kind::Get),
        share(&plan, known),
        inserts / plan.len() as f64,
        share(&plan, |op| op.kind == Kind::Put && op.basis == Basis::Read),
        latest / plan.len() as f64,
    ]
}

#[test]
fn core_workloads_have_their_mixes() {
    let near = |ycsb, wanted: [f64; 4]| {
        let found = shares_of(ycsb);
        wanted.iter().zip(found).for_each(|(wanted, found)| near(found, *wanted, 0.01));
        assert!(ycsb.of(workload()).preload);
    };
    near(Ycsb::A, [0.5, 0.5, 0.0, 0.0]);
    near(Ycsb::B, [0.95, 0.05, 0.0, 0.0]);
    near(Ycsb::C, [1.0, 0.0, 0.0, 0.0]);
    near(Ycsb::D, [0.95, 0.0, 0.05, 0.0]);
    near(Ycsb::F, [0.5, 0.0, 0.0, 0.5]);
    // Of about 600 keys on average, the ten latest have some 43 % of the reads by Zipf's law.
    assert!((0.38..0.44).contains(&shares_of(Ycsb::D)[4]), "{:?}", shares_of(Ycsb::D));
}

#[test]
fn inserted_keys_are_known_before_the_run() {
    let keys = Keys::records("key", 100, Spread::Latest { theta: 0.99 }).unwrap();
    let workload = Ycsb::D.of(Workload::new(keys, 3));
    let until = Duration::from_secs(10);
    let inserted = workload.clone().plan().unwrap().inserted(until);
    let puts =
        workload.plan().unwrap().take_while(|op| op.intended < until).filter(|op| op.kind == Kind::Put);
    assert_eq!(inserted, puts.map(|op| op.key).collect::<Vec<_>>());
    assert_eq!(inserted.first().map(String::as_str), Some("key100"));
}

#[test]
fn a_ramp_lets_the_rate_rise_in_a_straight_line() {
    for arrivals in [Arrivals::Poisson, Arrivals::Fixed] {
        let ramp = Duration::from_secs(8);
        let plan = planned(Workload { arrivals, ramp, ..workload() });
        let due_in = |second: u64| {
            let within = |op: &&PlannedOperation| op.intended.as_secs() == second;
            plan.iter().filter(within).count() as f64
        };
        // 1000 a second at the end: in the second from s to s + 1, (s + 1/2) / 8 of that.
        for second in [0, 3, 7] {
            let wanted = 1000.0 * (second as f64 + 0.5) / 8.0;
            near(due_in(second), wanted, 4.0 * wanted.sqrt());
        }
        near(due_in(12), 1000.0, 130.0);
        assert!(plan.is_sorted_by_key(|op| op.intended));
    }
}

#[test]
fn sessions_of_a_closed_loop_have_plans_of_their_own() {
    let arrivals = Arrivals::Closed { think: Duration::ZERO };
    let plan = Workload { arrivals, ..workload() }.plan().unwrap();
    let of = |session| plan.of_session(session).take(PLANNED).collect::<Vec<_>>();
    assert_eq!(of(3), of(3));
    assert!(of(3).iter().all(|op| op.session == 3 && op.intended == Duration::ZERO));
    near(share(&of(3), |op| op.kind == Kind::Get), 0.6, 0.02);
    let same = of(3).iter().zip(of(4)).filter(|(left, right)| left.key == right.key).count();
    near(same as f64 / PLANNED as f64, 1.0 / 256.0, 0.003);
}

#[test]
fn sizes_change_nothing_else() {
    let sized = planned(Workload { value_bytes: ValueBytes::Uniform(10, 20), ..workload() });
    let puts = |op: &&PlannedOperation| op.kind == Kind::Put;
    assert!(sized.iter().filter(puts).all(|op| (10..=20).contains(&op.value_bytes)));
    let plain = sized.into_iter().map(|op| PlannedOperation { value_bytes: 0, ..op });
    assert_eq!(plain.collect::<Vec<_>>(), planned(workload()));
}

#[test]
fn impossible_workloads_are_refused_by_name() {
    let refusal = |change: fn(&mut Workload)| {
        let mut changed = workload();
        change(&mut changed);
        changed.plan().map(|_: Plan| ()).unwrap_err().to_string()
    };
    assert_eq!(refusal(|w| w.sessions = 0), "a workload needs at least one session");
    fn closed(w: &mut Workload) {
        w.arrivals = Arrivals::Closed { think: Duration::ZERO };
    }
    let closed_probe = |w: &mut Workload| (closed(w), w.probe = Some(Duration::ZERO)).1;
    assert!(refusal(closed_probe).starts_with("probes are sent open loop"));
    let closed_inserts = |w: &mut Workload| (closed(w), w.insert_share = 0.5).1;
    assert!(refusal(closed_inserts).starts_with("keys can be inserted open loop only"));
    assert!(refusal(|w| w.insert_share = 0.5).starts_with("these keys are all there are"));
    let alone = |w: &mut Workload| (w.sessions, w.probe) = (1, Some(Duration::ZERO));
    assert_eq!(refusal(alone), "probes need at least two sessions: one writes, the other reads");
    assert_eq!(refusal(|w| w.rate = 0.0), "the rate must be above 0 operations per second, not 0");
    assert_eq!(refusal(|w| w.read_share = 1.5), "the share of reads must be between 0 and 1, not 1.5");
    assert_eq!(
        refusal(|w| w.delete_share = f64::NAN),
        "the share of deletes must be between 0 and 1, not NaN"
    );
    assert_eq!(refusal(|w| w.levels.clear()), "a workload needs at least one consistency level");
    assert_eq!(refusal(|w| w.levels[1].1 = 0.0), "the weight of level quorum must be above 0, not 0");
    assert_eq!(Keys::uniform(Vec::new()).unwrap_err(), KeyError::NoKeys { group: 0 });
    assert_eq!(Keys::zipfian(numbered(2), -1.0, 0).unwrap_err(), KeyError::Theta(-1.0));
    let error: WorkloadError = KeyError::NoGroups.into();
    assert_eq!(error.to_string(), "there are no preference lists to choose keys from");
}
