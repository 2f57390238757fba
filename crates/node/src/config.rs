//! A member's settings. Owns their defaults and which combinations make sense.

use std::net::SocketAddr;
use std::time::Duration;

use chinwag_membership::{
    Copies, Founding, KeySpace, Name, Partitioner, Partitions, Preset, PresetError, Tokens,
};

use crate::buckets::Buckets;

/// Least bytes a second for repair.
const REPAIR_BANDWIDTH_MIN: u64 = 1 << 10;

/// Largest limit on values, and what the siblings of a key may add up to at the member that coordinates a put. With the
/// most replicas a key can have, each of which may coordinate, its state still fits into one message.
pub const VALUE_BYTES_LIMIT: usize = 2 << 20;

/// What an operator decides about one member.
#[derive(Debug, Clone)]
pub struct Config {
    /// The member's name: its identity, and with derived tokens its place on the ring.
    pub name: Name,
    /// Where it takes clients and other members (UDP). Port 0 lets the system choose.
    pub listen: SocketAddr,
    /// What the others are told to use in place of `listen`: needed when that is an unspecified address.
    pub advertise: Option<SocketAddr>,
    /// Where it takes gossip (UDP); by default the address of `listen` with a port the system chooses. The others
    /// learn it from gossip: nobody has to be told.
    pub gossip_listen: Option<SocketAddr>,
    /// Addresses of members to join through. They are retried for ever.
    pub seeds: Vec<SocketAddr>,
    /// What all members of a cluster share. Its text of the buckets is made from `buckets` at the start.
    pub founding: Founding,
    /// The buckets, the same for all members. `default` alone unless said otherwise.
    pub buckets: Buckets,
    /// A preset whose members own the ring whether they have been met or not.
    pub preset: Option<Preset>,
    /// The member's places on the ring.
    pub tokens: Tokens,
    /// Whether a get hands what it merged to replicas that had less. On by default.
    pub read_repair: bool,
    /// Whether writes for an unreachable primary are parked and delivered later. On by default.
    pub hinted_handoff: bool,
    /// Mean time between two rounds of anti-entropy; `None` switches them off. 10 s by default.
    pub anti_entropy: Option<Duration>,
    /// Bytes a second that background repair may send; a quarter of it while requests are being answered. 1 KiB at least,
    /// 16 MiB by default.
    pub repair_bandwidth: u64,
    /// Longest value in bytes, up to [`VALUE_BYTES_LIMIT`]. 1 MiB by default.
    pub value_bytes_max: usize,
}

/// The settings contradict each other. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nobody could reach an unspecified address.
    #[error("{0} cannot be told to other members: give the address they should use with --advertise")]
    Unspecified(SocketAddr),
    /// See [`VALUE_BYTES_LIMIT`].
    #[error("a value limit of {0} bytes is out of range: 1 to {VALUE_BYTES_LIMIT}")]
    ValueLimit(usize),
    /// A bucket's values could be longer than this member takes.
    #[error("[buckets.{name}]: value-bytes-max is {bytes}, and this member's limit on values is {limit}")]
    BucketValueLimit {
        /// Which bucket.
        name: String,
        /// Its limit.
        bytes: usize,
        /// The member's.
        limit: usize,
    },
    /// A preset's members have one bucket.
    #[error("a preset has the bucket `default` alone: leave the others out")]
    PresetBuckets,
    /// Repair would never end.
    #[error(
        "a repair bandwidth of {0} bytes a second is too little: give at least {REPAIR_BANDWIDTH_MIN}, or switch anti-entropy off"
    )]
    RepairBandwidth(u64),
    /// Rounds without a pause would take all bandwidth.
    #[error("anti-entropy every {0:?} is too often: give at least 100ms, or `off`")]
    AntiEntropy(Duration),
    /// The tokens are out of range.
    #[error(transparent)]
    Tokens(#[from] chinwag_membership::TokensError),
}

impl Config {
    /// Settings with their defaults, for a member of a new cluster.
    pub fn new(name: Name, listen: SocketAddr) -> Self {
        Self {
            name,
            listen,
            advertise: None,
            gossip_listen: None,
            seeds: Vec::new(),
            founding: Founding {
                partitions: Partitions::default(),
                partitioner: Partitioner::Md5,
                key_space: KeySpace::Bytes,
                n: Copies::default(),
                buckets: String::new(),
            },
            buckets: Buckets::default(),
            preset: None,
            tokens: Tokens::default(),
            read_repair: true,
            hinted_handoff: true,
            anti_entropy: Some(Duration::from_secs(10)),
            repair_bandwidth: 16 << 20,
            value_bytes_max: 1 << 20,
        }
    }

    /// The same with a preset's ring.
    ///
    /// # Errors
    /// [`PresetError`] if the name is not one of the preset's.
    pub fn with_preset(mut self, preset: Preset) -> Result<Self, PresetError> {
        self.tokens = preset.tokens(&self.name)?;
        self.founding = Founding {
            partitions: preset.partitions(),
            partitioner: preset.partitioner(),
            key_space: preset.key_space(),
            n: preset.n(),
            ..self.founding
        };
        self.preset = Some(preset);
        Ok(self)
    }

    /// Whether a member can be started so; [`Node::start`](crate::Node::start) asks first of all.
    ///
    /// # Errors
    /// [`ConfigError`] says what contradicts what.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.tokens.validate()?;
        if self.listen.ip().is_unspecified() && self.advertise.is_none() {
            return Err(ConfigError::Unspecified(self.listen));
        }
        if !(1..=VALUE_BYTES_LIMIT).contains(&self.value_bytes_max) {
            return Err(ConfigError::ValueLimit(self.value_bytes_max));
        }
        if self.preset.is_some() && !self.buckets.is_default_alone() {
            return Err(ConfigError::PresetBuckets);
        }
        self.buckets.check_value_limit(self.value_bytes_max)?;
        if self.repair_bandwidth < REPAIR_BANDWIDTH_MIN {
            return Err(ConfigError::RepairBandwidth(self.repair_bandwidth));
        }
        match self.anti_entropy {
            Some(interval) if interval < Duration::from_millis(100) => {
                Err(ConfigError::AntiEntropy(interval))
            }
            _ => Ok(()),
        }
    }

    /// Where gossip is bound.
    pub(crate) fn gossip_bind(&self) -> SocketAddr {
        self.gossip_listen.unwrap_or_else(|| SocketAddr::new(self.listen.ip(), 0))
    }
}
