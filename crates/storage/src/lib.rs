//! Dots, key states, clocks, hints and the engines they rest on.

mod engine;
mod key;
mod version;

pub use engine::{
    Batch, CloseError, Commit, CommitError, DiskEngine, DiskOptions, Durability, Engine, Health, MemoryEngine,
    OpenError, Page, ReadError, Refusal, Table,
};
pub use key::{BucketId, StoreKey};
pub use version::{Actor, Causal, Content, ContextError, ContextKey, Dot, KeyState, MergeReport, Sibling};
