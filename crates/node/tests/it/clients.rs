//! What clients may do who choose their keys: nothing that hides a difference from members, or makes finding it dear.

use std::sync::Arc;

use chinwag_merkle::TreeKey;
use chinwag_node::membership::{Partitioner, Partitions};
use chinwag_node::storage::{BucketId, Causal, Content, MemoryEngine, Store, StoreKey, StoreOptions};
use chinwag_node::{Config, Node};

use super::holdings;
use super::support::{acquainted, client, quiet, start};

/// Keys of everybody else.
const HONEST: u64 = 8_000;
/// Of which one replica lacks one in so many.
const LACKED_ONE_IN: u64 = 80;
/// Keys of the malicious client.
const CHOSEN: u64 = 10_000;
/// One partition: one exchange over everything.
const PARTITIONS: u32 = 1;

fn config(name: &str, seeds: &[&Node]) -> Config {
    let mut config = quiet(name, 2, seeds);
    config.founding.partitions = Partitions::new(PARTITIONS).unwrap();
    config.founding.partitioner = Partitioner::ByteOrdered;
    config
}

fn store(seed: u64) -> (Store, MemoryEngine) {
    let engine = MemoryEngine::new();
    let options =
        StoreOptions { partitions: PARTITIONS, n: 2, ..StoreOptions::new(TreeKey::new([0; 16]), seed, 1) };
    (Store::open(Arc::new(engine.reopen()), &options).unwrap(), engine)
}

/// What the one round took that made two members equal of which the second lacks some keys.
struct Cost {
    bytes: u64,
    round_trips: u64,
    states: u64,
}

/// Two members hold the same but for the keys that the second lacks; then one round makes them equal.
async fn cost(keys: impl Iterator<Item = (Vec<u8>, bool)>) -> Cost {
    let ((one, one_engine), (two, two_engine)) = (store(1), store(2));
    for (key, lacks) in keys {
        let key = StoreKey::new(BucketId::DEFAULT, Partitioner::ByteOrdered.position(&key).0, key);
        let written = one.put(&key, &Causal::EMPTY, Content::Value("value".into()), 0).unwrap();
        if !lacks {
            two.merge(&key, &written.state).unwrap().commit.await.unwrap();
        }
        written.commit.await.unwrap();
    }
    one.close().unwrap();
    two.close().unwrap();
    let a = start(config("a", &[]), Arc::new(one_engine.reopen())).await;
    let b = start(config("b", &[&a]), Arc::new(two_engine.reopen())).await;
    acquainted(&[&a, &b]).await;
    let at_a = client(&a);
    let report = at_a.repair().await.unwrap();
    assert_eq!(report.failed, []);
    assert!(holdings(&at_a).await == holdings(&client(&b)).await, "nothing is hidden");
    let pairs = at_a.anti_entropy(None).await.unwrap();
    for node in [a, b] {
        node.shutdown().await.unwrap();
    }
    Cost {
        bytes: pairs.iter().map(|it| it.bytes).sum(),
        round_trips: pairs.iter().map(|it| it.round_trips).sum(),
        states: report.keys_sent + report.keys_received,
    }
}

/// Keys of which each begins with another 16 bytes.
fn honest() -> impl Iterator<Item = (Vec<u8>, bool)> {
    (0..HONEST).map(|key| {
        let place = u128::from(key + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        (place.to_be_bytes().to_vec(), key % LACKED_ONE_IN == 0)
    })
}

#[tokio::test]
async fn keys_chosen_to_lie_in_one_place_hide_no_difference_and_make_finding_others_no_dearer() {
    let alone = cost(honest()).await;
    assert_eq!(alone.states, HONEST / LACKED_ONE_IN);
    // All in one place; and in neighbouring places, as keys with a common beginning lie.
    let places: [fn(u64) -> u64; 2] = [|_| 0, |key| key];
    for (place, lacked) in places.into_iter().flat_map(|place| [(place, None), (place, Some(CHOSEN / 2))]) {
        let key = |key: u64| format!("chosen--{:08}{key}", place(key)).into_bytes();
        let chosen = (0..CHOSEN).map(|number| (key(number), lacked == Some(number)));
        let with = cost(honest().chain(chosen)).await;
        if lacked.is_some() && place(1) == place(2) {
            // Trees do not look into a place: what lies there is handed over together.
            assert_eq!(with.states, alone.states + CHOSEN);
        } else {
            assert_eq!(with.states, alone.states + u64::from(lacked.is_some()));
            assert!(with.bytes <= 2 * alone.bytes, "{} bytes, {} without", with.bytes, alone.bytes);
            assert!(with.round_trips <= 2 * alone.round_trips, "{} round trips", with.round_trips);
        }
    }
}
