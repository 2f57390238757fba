//! Each chooser against its definition, written down once more: chi-square tests with fixed seeds.

use super::{Keys, Spread};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;

const KEYS: usize = 100;
const DRAWS: usize = 200_000;

/// How often each key was drawn, by the number in its name.
fn drawn(mut keys: Keys) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(11);
    let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
    for _ in 0..DRAWS {
        let key = keys.choose(&mut rng).trim_start_matches("key").parse().unwrap();
        *counts.entry(key).or_default() += 1;
    }
    let last = counts.last_key_value().unwrap().0 + 1;
    (0..last.max(KEYS)).map(|key| f64::from(counts.get(&key).copied().unwrap_or(0))).collect()
}

fn records(spread: Spread) -> Keys {
    Keys::records("key", KEYS, spread).unwrap()
}

/// The statistic of Pearson's test, for chances that need not add up to 1.
fn chi_square(drawn: &[f64], weights: &[f64]) -> f64 {
    assert_eq!(drawn.len(), weights.len());
    let total: f64 = weights.iter().sum();
    let expected = weights.iter().map(|weight| DRAWS as f64 * weight / total);
    drawn
        .iter()
        .zip(expected)
        .map(|(drawn, expected)| (drawn - expected) * (drawn - expected) / expected)
        .sum()
}

/// What the statistic exceeds once in a thousand, for 99 degrees of freedom.
const LIMIT: f64 = 148.2;

fn assert_fits(drawn: &[f64], weights: &[f64]) {
    let found = chi_square(drawn, weights);
    assert!(found < LIMIT, "{found}: {drawn:?}");
}

/// Zipf's law: the i-th of n most popular, from 1, has `(1 / i^theta) / sum(1 / j^theta)`.
fn zipf(theta: f64, n: usize) -> Vec<f64> {
    (1..=n).map(|i| (i as f64).powf(-theta)).collect()
}

#[test]
fn uniform_keys_are_alike() {
    assert_fits(&drawn(records(Spread::Uniform)), &[1.0; KEYS]);
}

#[test]
fn zipfian_keys_follow_the_law_in_a_drawn_order() {
    let by_key = drawn(records(Spread::Zipfian { theta: 0.99, seed: 3 }));
    let mut by_rank = by_key.clone();
    by_rank.sort_by(|left, right| right.total_cmp(left));
    assert_fits(&by_rank, &zipf(0.99, KEYS));
    assert!(chi_square(&by_key, &zipf(0.99, KEYS)) > 1000.0 * LIMIT, "key 0 need not be the most popular");
    // The test can tell 0.99 from 0.97.
    assert!(chi_square(&by_rank, &zipf(0.97, KEYS)) > LIMIT);
}

#[test]
fn the_latest_keys_are_the_popular_ones_also_after_inserts() {
    let mut keys = records(Spread::Latest { theta: 0.99 });
    let mut weights = zipf(0.99, KEYS);
    weights.reverse();
    assert_fits(&drawn(keys.clone()), &weights);

    assert_eq!([keys.insert(), keys.insert()], ["key100", "key101"]);
    let mut weights = zipf(0.99, KEYS + 2);
    weights.reverse();
    assert_fits(&drawn(keys), &weights);
}

#[test]
fn other_choosers_pass_over_what_is_inserted() {
    let mut keys = records(Spread::Uniform);
    assert_eq!(keys.insert(), "key100");
    assert_eq!(drawn(keys).len(), KEYS);
}

#[test]
fn a_fifth_of_the_keys_is_hot() {
    let weights: Vec<f64> = (0..KEYS).map(|key| if key < 20 { 0.8 / 20.0 } else { 0.2 / 80.0 }).collect();
    assert_fits(&drawn(records(Spread::Hotspot)), &weights);
    let mut alone = Keys::uniform(vec!["7".to_owned()]).unwrap();
    assert_eq!(alone.choose(&mut StdRng::seed_from_u64(1)), "7");
    let mut alone = Keys::distributed(vec![vec!["7".to_owned()]], Spread::Hotspot).unwrap();
    assert_eq!(alone.choose(&mut StdRng::seed_from_u64(1)), "7");
}

/// YCSB: `-ln(u) / gamma` below the last key, drawn again while it is above all keys; `gamma = -ln(0.05) / (n * 6/7)`.
#[test]
fn exponential_keys_fade_away_from_the_last() {
    let gamma = -(0.05f64.ln()) / (KEYS as f64 * 0.857_142_857_1);
    let chance = |back: f64| (-gamma * back).exp() - (-gamma * (back + 1.0)).exp();
    let weights: Vec<f64> = (0..KEYS).rev().map(|back| chance(back as f64)).collect();
    assert_fits(&drawn(records(Spread::Exponential)), &weights);
}

#[test]
fn sequential_keys_come_in_turn() {
    let mut keys = Keys::records("key", 3, Spread::Sequential).unwrap();
    let mut rng = StdRng::seed_from_u64(1);
    let taken: Vec<String> = (0..7).map(|_| keys.choose(&mut rng).to_owned()).collect();
    assert_eq!(taken, ["key0", "key1", "key2", "key0", "key1", "key2", "key0"]);
}
