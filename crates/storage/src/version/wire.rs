//! Owns how causal sets and key states become bytes, on disk and between members. Refuses every encoding but the
//! canonical one, so that equal states have equal bytes and bytes from elsewhere cannot break an invariant.
//!
//! Under postcard (varints, no padding):
//!
//! ```text
//! Causal    runs: n, then n x ( actor: u64 | first seq: u64 | last - first: u64 ), in order, none touching
//! Sibling   actor: u64 | seq: u64 | written: 0, u64 (milliseconds) or 1, u64 (a stamp) | content
//! content   0, n, n bytes (a value)  or  1 (a tombstone)  or  2, n, n bytes, u64 (a value, and when it expires)
//! KeyState  siblings: n, then n x Sibling, in strict order | context: Causal
//! ```

use super::{Actor, Causal, Dot, KeyState, Sibling};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

impl Serialize for Causal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.runs().map(|(first, last)| (first.actor, first.seq, last - first.seq)))
    }
}

impl<'de> Deserialize<'de> for Causal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let runs = Vec::<(Actor, u64, u64)>::deserialize(deserializer)?;
        let mut set = Self::default();
        for (actor, first, extra) in runs {
            first
                .checked_add(extra)
                .and_then(|last| set.append_run(Dot::new(actor, first), last))
                .ok_or_else(|| D::Error::custom("a causal set's runs are out of order"))?;
        }
        Ok(set)
    }
}

/// A key state as it arrives, before its invariants are checked.
#[derive(Deserialize)]
pub(super) struct UncheckedState {
    siblings: Vec<Sibling>,
    context: Causal,
}

impl TryFrom<UncheckedState> for KeyState {
    type Error = &'static str;

    fn try_from(parts: UncheckedState) -> Result<Self, Self::Error> {
        Self::checked(parts.siblings, parts.context).ok_or(
            "a key state's siblings are out of order, not in its context, or more than one has a stamp",
        )
    }
}
