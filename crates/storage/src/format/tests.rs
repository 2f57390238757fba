//! The bytes on disk, pinned, and that no damage to them passes.

use super::*;
use crate::version::{Actor, Causal, Content, Dot, KeyState, Stamp};
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TREE: TreeId = TreeId { partition: 258, n: 3 };

fn key() -> StoreKey {
    StoreKey::new(BucketId(1), 2, "k")
}

fn state() -> KeyState {
    let mut state = KeyState::default();
    state.put(&Causal::default(), Dot::new(Actor(5), 3), Content::Value(Bytes::from_static(b"v")), 0);
    state.put(&Causal::default(), Dot::new(Actor(6), 1), Content::Tombstone, 0);
    state
}

#[test]
fn keys_have_these_bytes() {
    let state_hex = "0000000100000000000000000000000000000002".to_owned() + "6b";
    assert_eq!(hex(&state_key(&key())), state_hex);
    assert_eq!(hex(&hint_key(3, &key())), "0000000000000003".to_owned() + &state_hex);
    assert_eq!(hex(&clock_key(TREE, Actor(4))), "010203".to_owned() + "0000000000000004");
    assert_eq!(&note_key("members")[..], b"note/members");
}

#[test]
fn records_have_these_bytes() {
    // version | checksum | 2 siblings, at 0: 5:3 value "v", 6:1 tombstone | 2 runs: 5 1 +2, 6 1 +0
    let record = seal(Table::Keys, &state_key(&key()), &state());
    assert_eq!(hex(&record), "03cde99697b48154330205030000000176060100000102050102060100");
    let record = seal(Table::Clocks, &clock_key(TREE, Actor(5)), state().context());
    assert_eq!(hex(&record), "0373e55ab52bbaf66502050102060100");
    assert_eq!(hex(body(&record)), "02050102060100");
}

#[test]
fn bodies_have_these_bytes() {
    let body_of = |sealed: Bytes| hex(body(&sealed));
    let hint = HintBody { parked_at: 300, state: state() };
    assert_eq!(
        body_of(seal(Table::Hints, b"", &hint)),
        "ac02".to_owned() + "0205030000000176060100000102050102060100"
    );
    let own_n = BTreeMap::from([(BucketId(300), 5)]);
    let identity = IdentityBody { directory: 1, generation: 2, partitions: 256, n: 3, own_n };
    assert_eq!(body_of(seal(Table::Meta, IDENTITY, &identity)), "010280020301ac0205");
    assert_eq!(body_of(seal(Table::Meta, b"note/n", &Bytes::from_static(b"abc"))), "03616263");
}

#[test]
fn stamps_and_expiries_have_these_bytes() {
    let mut state = KeyState::default();
    let content = Content::Expiring { value: Bytes::from_static(b"v"), expires_at: 300 };
    state.put_latest(Dot::new(Actor(5), 3), Stamp::at(1), content);
    // 1 sibling: 5:3, stamped 65536, expiring value "v" at 300 | 1 run: 5 1 +2
    assert_eq!(hex(&postcard::to_stdvec(&state).unwrap()), "01050301808004020176ac0201050102");
}

#[test]
fn no_damage_passes() {
    let place = state_key(&key());
    let record = seal(Table::Keys, &place, &state());
    assert_eq!(open::<KeyState>(Table::Keys, &place, &record), Ok(state()));
    for bit in 0..record.len() * 8 {
        let mut rotten = record.to_vec();
        rotten[bit / 8] ^= 1 << (bit % 8);
        let expected = if bit < 8 { BadRecord::Version { found: rotten[0] } } else { BadRecord::Checksum };
        assert_eq!(open::<KeyState>(Table::Keys, &place, &rotten), Err(expected), "bit {bit}");
    }
    for end in 0..record.len() {
        assert!(open::<KeyState>(Table::Keys, &place, &record[..end]).is_err(), "{end} bytes");
    }
    assert_eq!(open::<KeyState>(Table::Keys, &place, b""), Err(BadRecord::Truncated));
}

#[test]
fn a_sound_record_in_the_wrong_place_is_bad() {
    let place = state_key(&key());
    let record = seal(Table::Keys, &place, &state());
    assert_eq!(open::<KeyState>(Table::Hints, &place, &record), Err(BadRecord::Checksum));
    assert_eq!(open::<KeyState>(Table::Keys, &successor(&place), &record), Err(BadRecord::Checksum));
    // Sealed as something else: the checksum is right and the body makes no sense.
    let other = seal(Table::Keys, &place, &u8::MAX);
    assert!(matches!(open::<KeyState>(Table::Keys, &place, &other), Err(BadRecord::Body(_))));
    let longer = seal(Table::Keys, &place, &(state(), 0u8));
    assert!(matches!(open::<KeyState>(Table::Keys, &place, &longer), Err(BadRecord::Body(_))));
}

fn keys() -> impl Strategy<Value = StoreKey> {
    let edge = prop_oneof![Just(0), Just(1), Just(u128::MAX), any::<u128>()];
    let bucket = prop_oneof![Just(0), Just(u32::MAX), any::<u32>()];
    let spelling = proptest::collection::vec(any::<u8>(), 0..4);
    (bucket, edge, spelling)
        .prop_map(|(bucket, position, key)| StoreKey::new(BucketId(bucket), position, key))
}

proptest! {
    #[test]
    fn the_order_of_bytes_is_the_order_of_keys(one in keys(), two in keys(), target: u64) {
        prop_assert_eq!(state_key(&one).cmp(&state_key(&two)), one.cmp(&two));
        prop_assert_eq!(parse_state_key(&state_key(&one)), Some(one.clone()));
        prop_assert_eq!(parse_hint_key(&hint_key(target, &one)), Some((target, one.clone())));

        let within = (one.bucket, one.position) == (two.bucket, two.position);
        let after_start = state_key(&two) >= position_bound(one.bucket, one.position);
        let before_end = after_position(one.bucket, one.position).is_none_or(|end| state_key(&two) < end);
        prop_assert_eq!(after_start && before_end, within);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        prop_assert!(open::<KeyState>(Table::Keys, b"k", &bytes).is_err());
        let bytes = Bytes::from(bytes);
        prop_assert_eq!(parse_state_key(&bytes).is_some(), bytes.len() >= 20);
        prop_assert_eq!(parse_hint_key(&bytes).is_some(), bytes.len() >= 28);
        prop_assert_eq!(parse_clock_key(&bytes).is_some(), bytes.len() == 11);
    }
}
