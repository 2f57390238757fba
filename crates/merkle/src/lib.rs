//! Owns adaptive hash trees, one for each set of keys that members replicate together, and the exchange by which two
//! replicas find what differs; refuses sockets, storage and clocks: the host sends, scans, saves and repairs.
//!
//! A replica keeps a [`Tree`] beside its store. Its [`Directory`] cuts the positions of the tree into slices with at
//! most [`LEAF_KEYS_MAX`] keys each, of which it knows the number and the sum of their [`Element`]s, and no key. Two
//! members compare the roots of all their common trees in one message ([`Roots`]); where roots differ, an [`Exchange`]
//! finds the positions:
//!
//! ```
//! use std::collections::{BTreeMap, VecDeque};
//! use chinwag_merkle::{
//!     Action, Cut, Element, Entry, Exchange, Input, Interval, Tree, TreeId, TreeKey, element,
//! };
//!
//! /// A replica: a store ordered by position, and the tree beside it.
//! struct Replica {
//!     store: BTreeMap<u128, Element>,
//!     tree: Tree,
//! }
//!
//! impl Replica {
//!     fn write(&mut self, position: u128, record: Element, now: u64) {
//!         let old = self.store.insert(position, record);
//!         if let Some(crowded) = self.tree.apply(position, old, Some(record), now) {
//!             let _exact = self.tree.refine(crowded, &self.scan(crowded)).expect("it is a leaf");
//!         }
//!     }
//!
//!     fn scan(&self, interval: Interval) -> Vec<Entry> {
//!         let held = self.store.range(interval.first()..=interval.last());
//!         held.map(|(position, element)| Entry { position: *position, element: *element }).collect()
//!     }
//! }
//!
//! // Writes of a past minute, of which one replica missed one, and of this second, of which it will get some yet.
//! let tree_key = TreeKey::new(*b"cluster's secret");
//! let record = |key: u128| element(&tree_key, &key.to_be_bytes(), b"a record");
//! let (minute, now) = (1_800_000_000_000, 1_800_000_060_000);
//! let cut = Cut::at(now, 5_000);
//! let mut sides = [(); 2].map(|()| Replica { store: BTreeMap::new(), tree: Tree::new(Interval::WHOLE) });
//! for (number, replica) in sides.iter_mut().enumerate() {
//!     replica.tree.settle(cut.before());
//!     (0..1000).filter(|key| *key != 7 || number == 0).for_each(|key| replica.write(key << 100, record(key), minute));
//!     (1000..1010 + 5 * number as u128).for_each(|key| replica.write(key << 100, record(key), now));
//! }
//!
//! let id = TreeId { partition: 0, n: 3 };
//! let [here, there] = sides.each_ref().map(|replica| replica.tree.at(cut).expect("the cut is not forgotten"));
//! let (initiator, first) = Exchange::initiate(id, here, tree_key.id(), 0x5A17, None);
//! let mut exchanges = [initiator, Exchange::respond(id, there, tree_key.id())];
//!
//! let mut due: VecDeque<(usize, Action)> = first.into_iter().map(|action| (0, action)).collect();
//! let mut found = [Vec::new(), Vec::new()];
//! while let Some((side, action)) = due.pop_front() {
//!     let (to, input) = match action {
//!         Action::Send(message) => (1 - side, Input::Message(message)),
//!         Action::Scan(interval) => {
//!             let entries = sides[side].tree.entries_at(cut, interval, sides[side].scan(interval));
//!             (side, Input::Scanned { interval, entries })
//!         }
//!         Action::Differ(positions) => {
//!             found[side] = positions;
//!             continue;
//!         }
//!         Action::Bulk(_) | Action::Done(_) => continue,
//!     };
//!     due.extend(exchanges[to].on(input)?.into_iter().map(|action| (to, action)));
//! }
//! // Each side knows what it has to send; what is underway is no difference.
//! assert_eq!(found, [vec![7 << 100], vec![]]);
//! # Ok::<(), chinwag_merkle::ExchangeError>(())
//! ```
//!
//! # Why it is as it is
//!
//! **Sums.** An element is a keyed hash of a key and its whole record; a leaf is the sum of its elements modulo 2^128.
//! So a write costs two additions, whatever the tree's size; equal sets have equal sums, however they came to be and
//! however they are cut; and clients, who may choose keys but do not know the cluster's key, cannot make sums agree.
//!
//! **Slices.** Leaves are bit prefixes of the whole position space and adapt to where keys lie: a crowded one asks to be
//! scanned and is cut ([`Tree::refine`]), two small ones join by themselves. Any two directories can be compared, since
//! their slices nest or do not touch, and a directory can be [cut](Directory::split_off) and
//! [joined](Directory::join) at any position. A clone shares its leaves until they change: a snapshot costs next to
//! nothing.
//!
//! **Exchanges.** Most of what an exchange could say has been said by the first few hundred hashes. They are short, 15
//! bits mostly, and salted anew each time: a difference is missed about once in 20,000 times, the roots, of 64 bits,
//! still differ, and the next exchange finds it. Where many cells differ they are cut finer before they are listed, key
//! by key. Each side ends up knowing which of its own positions the other does not hold alike, and no position
//! travels. No leaf is read twice.
//!
//! **Writes on their way.** Comparing what is there now would show every write that one of the two has yet to get. So
//! both look back to a [`Cut`], some seconds ago, of which each tree remembers what its keys held: also the versions
//! that arrived after the ones that replace them ([`Tree::superseded`]).
//!
//! **Crashes.** Sums live in memory. A [`Checkpoint`] saves those that changed, now and then; meanwhile the first write
//! to a leaf carries a [mark](Tree::mark) in its batch. After a crash only marked leaves are
//! [in doubt](Tree::doubted) and scanned. What drifts from the store all the same any scan sets right ([`Tree::refine`]).
//!
//! # What holds
//!
//! - Only equal roots prove replicas equal ([`Done::clean`]); an exchange that finds nothing may have missed something.
//! - What an exchange reports was found to differ, but for a key in some ten thousand that shares its short hash with one
//!   that does. Repairing it costs a read, since records that are alike merge to what they are.
//! - Nothing that arrives panics, and nothing lost, repeated or garbled makes an exchange report a result.
//! - What hostile messages can make a side read, hold and send is bounded; so is what keys with colliding positions can.

mod cut;
mod directory;
mod element;
mod entries;
mod exchange;
mod interval;
mod roots;
mod tree;
mod wire;

pub use cut::{CUT_MILLIS, Cut};
pub use directory::{Directory, JoinError, RefineError, Refined};
pub use element::{Element, KeyId, SCHEME, Sum, TreeKey, element, salted_root};
pub use entries::{EntriesError, Entry, LEAF_KEYS_MAX, Leaf};
pub use exchange::{
    Action, DIFFERENCES_MAX, Done, Exchange, ExchangeError, Input, Message, SCANS_AHEAD_MAX, Side, Stats,
};
pub use interval::Interval;
pub use roots::{MismatchError, ROOTS_MAX, Roots, TreeId};
pub use tree::{Checkpoint, Snapshot, Tree};
pub use wire::{DecodeError, MESSAGE_BYTES_MAX};
