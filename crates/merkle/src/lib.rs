//! Owns adaptive hash trees, one for each set of keys that members replicate together, and the exchange by which two
//! replicas find what differs; refuses sockets, storage and clocks: the host sends, scans and repairs.
//!
//! A replica keeps a [`Directory`] beside its store: canonical slices of the position space with at most
//! [`LEAF_KEYS_MAX`] keys each, of which it knows the number and the sum of their [`Element`]s. Every committed write is
//! [applied](Directory::apply) to it. Two members compare the roots of all their common trees in one message
//! ([`Roots`]); where roots differ, an [`Exchange`] finds the positions:
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//! use chinwag_merkle::{
//!     Action, Directory, Element, Entry, Exchange, Held, Input, Interval, TreeId, TreeKey, element,
//! };
//!
//! type Store = BTreeMap<u128, Element>;
//!
//! fn scan(store: &Store, interval: Interval) -> Vec<Entry> {
//!     let keys = store.range(interval.first()..=interval.last());
//!     keys.map(|(position, element)| Entry { position: *position, element: *element }).collect()
//! }
//!
//! // One replica missed a write.
//! let tree_key = TreeKey::new(*b"cluster's secret");
//! let record = |key: u128| (key << 100, element(&tree_key, &key.to_be_bytes(), b"a record"));
//! let stores: [Store; 2] = [(0..1000).map(record).collect(), (0..1000).filter(|key| *key != 7).map(record).collect()];
//! let directory = |side: usize| {
//!     Directory::from_entries(Interval::WHOLE, scan(&stores[side], Interval::WHOLE)).expect("the store is in order")
//! };
//!
//! let tree = TreeId { partition: 0, n: 3 };
//! let (initiator, first) = Exchange::initiate(tree, directory(0), tree_key.id(), 0x5A17, None);
//! let mut sides = [initiator, Exchange::respond(tree, directory(1), tree_key.id())];
//!
//! let mut due: VecDeque<(usize, Action)> = first.into_iter().map(|action| (0, action)).collect();
//! let mut found = Vec::new();
//! while let Some((side, action)) = due.pop_front() {
//!     let (to, input) = match action {
//!         Action::Send(message) => (1 - side, Input::Message(message)),
//!         Action::Scan(interval) => (side, Input::Scanned { interval, entries: scan(&stores[side], interval) }),
//!         Action::Differ(differences) => {
//!             found = differences;
//!             continue;
//!         }
//!         Action::Done(_) => continue,
//!     };
//!     due.extend(sides[to].on(input)?.into_iter().map(|action| (to, action)));
//! }
//! assert_eq!(found.len(), 1);
//! assert_eq!((found[0].position, found[0].held), (7 << 100, Held::Here));
//! # Ok::<(), chinwag_merkle::ExchangeError>(())
//! ```
//!
//! # What holds
//!
//! - Equal sets have equal sums, however they came to be and however they are cut; so trees are never rebuilt.
//! - Only equal roots prove replicas equal ([`Done::clean`]). An exchange misses a difference about once in 20,000
//!   times, because its hashes are short; the roots still differ, and the next exchange, salted anew, finds it.
//! - Nothing that arrives panics, and nothing lost, repeated or garbled makes an exchange report a result.

mod directory;
mod element;
mod entries;
mod exchange;
mod interval;
mod roots;
mod wire;

pub use directory::{Directory, RefineError, Refined};
pub use element::{Element, KeyId, Sum, TreeKey, element, salted_root};
pub use entries::{EntriesError, Entry, LEAF_KEYS_MAX, Leaf};
pub use exchange::{
    Action, DIFFERENCES_MAX, Difference, Done, Exchange, ExchangeError, Held, Input, Message,
    SCANS_AHEAD_MAX, Stats,
};
pub use interval::Interval;
pub use roots::{MismatchError, ROOTS_MAX, Roots, TreeId};
pub use wire::{DecodeError, MESSAGE_BYTES_MAX};
