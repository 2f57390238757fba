//! Ownership: from a key to its position, its partition, and the members that own it. Knows nothing of liveness.

mod key_space;
mod partition;
mod placement;
mod position;
mod preset;
mod replicas;
mod tokens;

pub use key_space::{KEY_BYTES_MAX, KeyError, KeySpace, KeySpaceError};
pub use partition::{PARTITIONS_MAX, PartitionId, Partitions, PartitionsError};
pub use placement::{Copies, CopiesError, FALLBACKS_MAX, N_MAX, Ring, RingVersion};
pub use position::{Partitioner, PartitionerError, Position};
pub use preset::{Preset, PresetError};
pub use replicas::{Replica, ReplicasError, parse_replicas};
pub use tokens::{TOKENS_MAX, Tokens, TokensError};
