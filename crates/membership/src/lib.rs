//! SWIM membership and the ring: who is alive, and who owns what.
//!
//! Two independent halves. The **ring** ([`Ring`]) says which members own a key; it is a pure function of the
//! members' tokens and never looks at liveness. The **view** ([`Membership`]) says which members are alive; it is a
//! sans-IO machine: it is told the time, gets a seed, and answers every input with outputs to be polled. Neither
//! opens a socket, reads a clock, or starts a task.
//!
//! `cargo bench -p chinwag-membership --bench cluster` shows how clusters of up to ten thousand such machines fare in a
//! simulation, beside others.
//!
//! ```
//! use chinwag_membership::{
//!     Config, Copies, Founding, Generation, KeySpace, MemberRecord, Membership, Name, Partitioner, Partitions, Ring,
//!     Time, Tokens,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let founding = Founding {
//!     partitions: Partitions::default(),
//!     partitioner: Partitioner::Md5,
//!     key_space: KeySpace::Bytes,
//!     n: Copies::default(),
//!     buckets: String::new(),
//! };
//! let me = MemberRecord {
//!     name: Name::new("a")?,
//!     directory: 7,
//!     generation: Generation::new(1)?,
//!     revision: 0,
//!     address: "127.0.0.1:7001".parse()?,
//!     gossip: "127.0.0.1:7101".parse()?,
//!     tokens: Tokens::default(),
//!     version: "0.1.0".to_owned(),
//! };
//! let membership = Membership::new(Config::default().validate()?, me, founding.clone(), Vec::new(), 42, Time::ORIGIN)?;
//!
//! let tokens = membership.members().map(|member| (member.id(), member.record().positions()));
//! let ring = Ring::build(founding.partitions, founding.n, tokens);
//! let partition = founding.partitions.of(founding.partitioner.position(b"a key"));
//! assert_eq!(ring.owners(partition), [membership.id()]);
//! # Ok(())
//! # }
//! ```

mod identity;
mod ring;
mod swim;

pub use identity::{NAME_BYTES_MAX, Name, NameError, NodeId};
pub use ring::{
    Copies, CopiesError, FALLBACKS_MAX, KEY_BYTES_MAX, KeyError, KeySpace, KeySpaceError, N_MAX,
    PARTITIONS_MAX, PartitionId, Partitioner, PartitionerError, Partitions, PartitionsError, Position,
    Preset, PresetError, Replica, ReplicasError, Ring, RingVersion, TOKENS_MAX, Tokens, TokensError,
    parse_replicas,
};
pub use swim::{
    CheckedConfig, Config, ConfigError, CounterError, Counters, DATAGRAM_BYTES_MAX, EXCHANGE_BYTES_MAX,
    Event, ExchangeId, Founding, FoundingMismatch, Generation, INTERVAL_MAX, Incarnation, Input, Life,
    MEMBERS_MAX, Member, MemberRecord, Membership, Meta, Output, RecordError, Refused, Remembered, SEEDS_MAX,
    State, Time, VERSION_BYTES_MAX, WireError,
};
