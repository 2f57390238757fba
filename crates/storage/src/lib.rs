//! Dots, key states, clocks, hints and the engines they rest on.

mod engine;
mod format;
mod key;
mod store;
mod version;

pub use engine::{
    Batch, CloseError, Commit, CommitError, DiskEngine, DiskOptions, Durability, Engine, Health, MemoryEngine,
    OpenError, Page, ReadError, Refusal, Table,
};
pub use format::BadRecord;
pub use key::{BucketId, StoreKey};
pub use store::{
    Backlog, Counters, Identity, Merged, ParkError, Parked, StatePage, Store, StoreOpenError, StoreOptions, WriteError,
    Written,
};
pub use version::{Actor, Causal, Content, ContextError, ContextKey, Dot, KeyState, MergeReport, Sibling};
