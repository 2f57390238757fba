//! Adaptive hash trees over a partition, and the exchange by which two replicas find what differs.

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
