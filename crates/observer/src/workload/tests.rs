//! Plans are what they say: reproducible, at their rate, in their shares, on their keys.

use super::{Arrivals, KeyError, Keys, Plan, PlannedOperation, Spread, Workload, WorkloadError};
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
        keys: Keys::uniform(numbered(256)).unwrap(),
        seed: 42,
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
    near(share(&plan, |op| op.kind == Kind::Put && op.with_context), 0.18, 0.02);
    near(share(&plan, |op| op.level == Level::One), 0.75, 0.02);
    for session in 0..8 {
        near(share(&plan, |op| op.session == session), 0.125, 0.02);
    }
    assert!(plan.iter().all(|op| op.with_context || op.kind != Kind::Delete));
    assert!(plan.iter().all(|op| !op.with_context || op.kind != Kind::Get));
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

#[test]
fn impossible_workloads_are_refused_by_name() {
    let refusal = |change: fn(&mut Workload)| {
        let mut changed = workload();
        change(&mut changed);
        changed.plan().map(|_: Plan| ()).unwrap_err().to_string()
    };
    assert_eq!(refusal(|w| w.sessions = 0), "a workload needs at least one session");
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
