//! What one member of a chinwag cluster holds, and the rules by which it changes.
//!
//! A [`Store`] is a member's replica. It keeps a [`KeyState`] for every key: concurrent versions, each with a [`Dot`] of
//! its own, and the causal past they replaced. Writes that a replica coordinates are `put`; what other replicas know is
//! `merge`d, in any order and any number of times. Around the key states it keeps what anti-entropy needs: a hash tree and
//! a clock for the keys of each partition and N, and hints for absent members. It rests on an [`Engine`], of which there are two:
//! [`MemoryEngine`] for simulations and [`DiskEngine`] for everything else.
//!
//! ```
//! use chinwag_storage::{BucketId, Causal, Content, MemoryEngine, Store, StoreKey, StoreOptions, TreeKey};
//! use std::sync::Arc;
//!
//! let open = |seed| {
//!     let options = StoreOptions::new(TreeKey::new([7; 16]), seed, 1_700_000_000);
//!     Store::open(Arc::new(MemoryEngine::new()), &options)
//! };
//! let (here, there) = (open(1)?, open(2)?);
//! let key = StoreKey::new(BucketId::DEFAULT, 99, "cart");
//! let says = |text: &'static str| Content::Value(text.into());
//!
//! // Two clients write, neither having seen the other.
//! let milk = here.put(&key, &Causal::default(), says("milk"), 0)?;
//! let eggs = there.put(&key, &Causal::default(), says("eggs"), 0)?;
//! milk.commit.wait()?; // durable: only now may anyone be told
//!
//! // Replicas pass on whole states. Nothing is lost: the values are siblings.
//! let both = here.merge(&key, &eggs.state)?.state;
//! assert_eq!(both.siblings().len(), 2);
//!
//! // A client that read both replaces both.
//! let merged = here.put(&key, both.context(), says("milk, eggs"), 0)?;
//! assert_eq!(merged.state.siblings().len(), 1);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! Reading order: `version` (what a state is), `store::replica` (the rules), `engine` (the contract below), `format` (the
//! bytes).

mod version;

mod key;

mod store;

mod engine;

mod format;

mod backup;

pub use backup::{
    BackupCursor, BackupError, BackupPage, BackupRecord, BackupSummary, BackupWriter, RestoreError,
    backup_page, restore_backup, verify_backup,
};
pub use chinwag_merkle::TreeKey;
pub use engine::{
    Batch, CloseError, Commit, CommitError, DiskEngine, DiskOptions, Durability, Engine, Health,
    MemoryEngine, OpenError, Page, ReadError, Refusal, Table,
};
pub use format::BadRecord;
pub use key::{BucketId, StoreKey};
pub use store::{
    Answer, Backlog, Counters, Fault, Identity, Inspection, Item, Life, Merged, Outset, ParkError, Parked,
    Purged, PutLatestError, Scrubbed, Size, StatePage, Store, StoreOpenError, StoreOptions, Swap, SwapError,
    WriteError, Written, inspect,
};
pub use version::{
    Actor, Causal, Content, ContextError, ContextKey, Dot, KeyState, MergeReport, Sibling, Stamp, WrittenAt,
};
