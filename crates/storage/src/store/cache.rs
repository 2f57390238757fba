//! Owns the hot key states in memory. Refuses to be the truth: what it says is what the engine would say, sooner.

use crate::key::StoreKey;
use crate::version::KeyState;
use chinwag_merkle::Element;
use quick_cache::Weighter;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use siphasher::sip::SipHasher13;
use std::fmt;
use std::hash::BuildHasher;

/// What a key state of middling size weighs; only a hint for the cache's own bookkeeping.
const WEIGHT_TYPICAL: u64 = 512;

/// The states read or written lately, up to a number of bytes.
pub(super) struct HotStates(Cache<StoreKey, Hot, Weight, Keyed, DefaultLifecycle<StoreKey, Hot>>);

/// A state and its element, which costs a hash of the whole record to compute.
#[derive(Clone)]
pub(super) struct Hot {
    pub(super) state: KeyState,
    pub(super) element: Element,
}

impl HotStates {
    /// `seed` keys the hash, so that clients cannot choose keys that collide.
    pub(super) fn new(bytes: u64, seed: u64) -> Self {
        let items = usize::try_from(bytes / WEIGHT_TYPICAL).unwrap_or(usize::MAX);
        Self(Cache::with(items, bytes, Weight, Keyed(seed), DefaultLifecycle::default()))
    }

    pub(super) fn insert(&mut self, key: &StoreKey, hot: Hot) {
        self.0.insert(key.clone(), hot);
    }

    pub(super) fn remove(&mut self, key: &StoreKey) {
        self.0.remove(key);
    }

    pub(super) fn get(&self, key: &StoreKey) -> Option<&Hot> {
        self.0.get(key)
    }
}

impl fmt::Debug for HotStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HotStates").field("states", &self.0.len()).field("bytes", &self.0.weight()).finish()
    }
}

struct Weight;

impl Weighter<StoreKey, Hot> for Weight {
    fn weight(&self, key: &StoreKey, hot: &Hot) -> u64 {
        (size_of::<StoreKey>() + key.key.len() + hot.state.weight()) as u64
    }
}

struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, 0)
    }
}
