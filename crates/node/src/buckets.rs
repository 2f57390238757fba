//! The buckets of a cluster: which there are, and what each asks of its keys. Owns which tables make sense and how two are
//! compared; refuses to read files.
//!
//! All members have the same table: which one a client asks makes no difference. A bucket's kind and N are fixed for ever,
//! as its records are made for them; they are noted in the data directory, and no bucket goes away. Buckets may be added
//! and their limits changed when all members are stopped and started with the new table.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chinwag_membership::Copies;
use chinwag_storage::{BucketId, Content};
use serde::{Deserialize, Serialize};

use crate::config::{ConfigError, VALUE_BYTES_LIMIT};

/// The name of the bucket that is always there.
pub const DEFAULT: &str = "default";
/// Most buckets of a cluster.
pub const BUCKETS_MAX: usize = 64;
/// Longest name of a bucket, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// What becomes of concurrent writes. Fixed for a bucket for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// They stay side by side until somebody who has seen them writes.
    #[default]
    Siblings,
    /// The last writer wins, by the members' clocks.
    Lww,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Siblings => "siblings",
            Self::Lww => "lww",
        })
    }
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bucket {
    /// 1 to 64 letters, digits, `.`, `_` or `-`.
    pub name: String,
    /// What becomes of concurrent writes.
    pub kind: Kind,
    /// How many members own each key; the cluster's N if `None`.
    pub n: Option<Copies>,
    /// How long a value lives; for ever if `None`.
    pub ttl: Option<Duration>,
    /// Longest value in bytes; the member's own limit if `None`.
    pub value_bytes_max: Option<usize>,
    /// Most siblings a put may leave; as many as fit a message if `None`.
    pub siblings_max: Option<usize>,
}

impl Bucket {
    /// A bucket of siblings with the cluster's N and no limits of its own.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: Kind::default(),
            n: None,
            ttl: None,
            value_bytes_max: None,
            siblings_max: None,
        }
    }

    pub(crate) fn id(&self) -> BucketId {
        BucketId::of(&self.name)
    }

    /// How many members own each key, in a cluster with this N.
    pub(crate) fn copies(&self, n: Copies) -> Copies {
        self.n.unwrap_or(n)
    }

    /// What a put of `value`, or a delete, at `now` writes.
    pub(crate) fn content(&self, value: Option<Bytes>, now: u64) -> Content {
        match (value, self.ttl) {
            (None, _) => Content::Tombstone,
            (Some(value), None) => Content::Value(value),
            (Some(value), Some(ttl)) => {
                let ttl = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
                Content::Expiring { value, expires_at: now.saturating_add(ttl) }
            }
        }
    }

    fn validate(&self) -> Result<(), Reason> {
        let is_plain = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.bytes().all(is_plain) {
            return Err(Reason::Name);
        }
        if self.name == DEFAULT && self.n.is_some() {
            return Err(Reason::DefaultN);
        }
        if self.ttl.is_some_and(|ttl| ttl < Duration::from_millis(1)) {
            return Err(Reason::Ttl);
        }
        if let Some(bytes) = self.value_bytes_max.filter(|it| !(1..=VALUE_BYTES_LIMIT).contains(it)) {
            return Err(Reason::ValueBytes(bytes));
        }
        match (self.kind, self.siblings_max) {
            (Kind::Siblings, Some(0)) => Err(Reason::SiblingsNone),
            (Kind::Lww, Some(_)) => Err(Reason::SiblingsOfLww),
            _ => Ok(()),
        }
    }

    /// All that members must agree on, in one line.
    fn line(&self, n: Copies) -> String {
        let mut line = format!("{}: {}, n {}", self.name, self.kind, self.copies(n));
        if let Some(ttl) = self.ttl {
            line += &format!(", ttl {}ms", ttl.as_millis());
        }
        if let Some(bytes) = self.value_bytes_max {
            line += &format!(", value-bytes-max {bytes}");
        }
        if let Some(siblings) = self.siblings_max {
            line += &format!(", siblings-max {siblings}");
        }
        line
    }
}

/// A table of buckets makes no sense. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BucketsError {
    /// One of them cannot be.
    #[error("[buckets.{name}]: {reason}")]
    Bucket {
        /// Which.
        name: String,
        /// Why not.
        reason: Reason,
    },
    /// Two have one name.
    #[error("[buckets.{0}] is there twice")]
    Twice(String),
    /// Two have names that hash alike, and would share keys.
    #[error(
        "[buckets.{0}] and [buckets.{1}] have names that cannot be told apart on disk: rename one of them"
    )]
    SameId(String, String),
    /// There are more than [`BUCKETS_MAX`].
    #[error("{0} buckets are too many: a cluster has {BUCKETS_MAX} at most")]
    TooMany(usize),
}

/// What is wrong with a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its name.
    #[error("a bucket's name has 1 to {NAME_BYTES_MAX} letters, digits, `.`, `_` or `-`")]
    Name,
    /// An N of its own for `default`.
    #[error("the bucket that is always there has the cluster's n: leave n out")]
    DefaultN,
    /// Its values would not live at all.
    #[error("a ttl is 1ms at least")]
    Ttl,
    /// See [`VALUE_BYTES_LIMIT`].
    #[error("value-bytes-max is {0}: it may be 1 to {VALUE_BYTES_LIMIT}")]
    ValueBytes(usize),
    /// Nothing could be put.
    #[error("siblings-max is 1 at least")]
    SiblingsNone,
    /// There are none to limit.
    #[error("keys of kind lww have no siblings: leave siblings-max out")]
    SiblingsOfLww,
}

/// The table of buckets. `default` is always in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Buckets(BTreeMap<String, Arc<Bucket>>);

impl Default for Buckets {
    fn default() -> Self {
        Self(BTreeMap::from([(DEFAULT.to_owned(), Arc::new(Bucket::new(DEFAULT)))]))
    }
}

/// What is fixed of a bucket for ever, as it is noted in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FixedBucket {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) n: Copies,
}

impl fmt::Display for FixedBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kind {} and n {}", self.kind, self.n)
    }
}

impl Buckets {
    /// A table of these buckets, and of `default` whether it is among them or not.
    ///
    /// # Errors
    /// [`BucketsError`] names the one that cannot be.
    pub fn new(buckets: impl IntoIterator<Item = Bucket>) -> Result<Self, BucketsError> {
        let mut table = BTreeMap::new();
        for bucket in buckets {
            bucket.validate().map_err(|reason| BucketsError::Bucket { name: bucket.name.clone(), reason })?;
            if let Some(other) = table.values().find(|it: &&Arc<Bucket>| it.id() == bucket.id()) {
                let same_id = BucketsError::SameId(other.name.clone(), bucket.name.clone());
                let is_twice = other.name == bucket.name;
                return Err(if is_twice { BucketsError::Twice(bucket.name) } else { same_id });
            }
            table.insert(bucket.name.clone(), Arc::new(bucket));
        }
        table.entry(DEFAULT.to_owned()).or_insert_with(|| Arc::new(Bucket::new(DEFAULT)));
        if table.len() > BUCKETS_MAX { Err(BucketsError::TooMany(table.len())) } else { Ok(Self(table)) }
    }

    /// Whether there is but `default`.
    pub fn is_default_alone(&self) -> bool {
        self.0.len() == 1
    }

    /// Refuses limits on values above the member's own.
    pub(crate) fn check_value_limit(&self, limit: usize) -> Result<(), ConfigError> {
        let above = |it: &&Arc<Bucket>| it.value_bytes_max.is_some_and(|bytes| bytes > limit);
        match self.0.values().find(above) {
            Some(bucket) => Err(ConfigError::BucketValueLimit {
                name: bucket.name.clone(),
                bytes: bucket.value_bytes_max.unwrap_or(limit),
                limit,
            }),
            None => Ok(()),
        }
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Arc<Bucket>> {
        self.0.get(name)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The name of the bucket that a key is of; its id if the table has none.
    pub(crate) fn name_of(&self, id: BucketId) -> String {
        let bucket = self.0.values().find(|it| it.id() == id);
        bucket.map_or_else(|| format!("{:08x}", id.0), |it| it.name.clone())
    }

    /// Every N in use, in a cluster with this one, in order.
    pub(crate) fn every_n(&self, n: Copies) -> Vec<u8> {
        let mut every_n: Vec<u8> = self.0.values().map(|it| it.copies(n).get()).collect();
        every_n.sort_unstable();
        every_n.dedup();
        every_n
    }

    /// How many replicas the keys of each bucket with an N of its own have.
    pub(crate) fn own_n(&self) -> BTreeMap<BucketId, u8> {
        self.0.values().filter_map(|it| Some((it.id(), it.n?.get()))).collect()
    }

    /// All that members must agree on, a line for each bucket: equal texts, equal tables.
    pub(crate) fn text(&self, n: Copies) -> String {
        let told = self.0.values().filter(|it| ***it != Bucket::new(DEFAULT));
        told.map(|it| it.line(n)).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn fixed(&self, n: Copies) -> Vec<FixedBucket> {
        let fixed = |it: &Arc<Bucket>| FixedBucket { name: it.name.clone(), kind: it.kind, n: it.copies(n) };
        self.0.values().map(fixed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(bucket: Bucket) -> String {
        Buckets::new([bucket]).unwrap_err().to_string()
    }

    #[test]
    fn a_bucket_that_cannot_be_is_named() {
        let bucket = || Bucket::new("carts");
        for (bucket, says) in [
            (Bucket::new("a b"), "[buckets.a b]: a bucket's name has 1 to 64 letters"),
            (Bucket::new(""), "letters, digits"),
            (Bucket { n: Some(Copies::default()), ..Bucket::new(DEFAULT) }, "leave n out"),
            (Bucket { ttl: Some(Duration::ZERO), ..bucket() }, "[buckets.carts]: a ttl is 1ms at least"),
            (Bucket { value_bytes_max: Some(VALUE_BYTES_LIMIT + 1), ..bucket() }, "1 to 2097152"),
            (Bucket { siblings_max: Some(0), ..bucket() }, "1 at least"),
            (Bucket { siblings_max: Some(1), kind: Kind::Lww, ..bucket() }, "have no siblings"),
        ] {
            assert!(refused(bucket.clone()).contains(says), "{}", refused(bucket));
        }
        let many = (0..BUCKETS_MAX).map(|i| Bucket::new(format!("b{i}")));
        assert_eq!(Buckets::new(many), Err(BucketsError::TooMany(BUCKETS_MAX + 1)));
        assert_eq!(Buckets::new([bucket(), bucket()]), Err(BucketsError::Twice("carts".to_owned())));
    }

    /// The ids have 32 bits: among some hundred thousand names two share one.
    #[test]
    fn names_that_share_an_id_are_refused() {
        let mut seen = BTreeMap::new();
        let (one, other) = (0..)
            .map(|i| format!("n{i}"))
            .find_map(|name| seen.insert(BucketId::of(&name), name.clone()).map(|other| (other, name)))
            .unwrap();
        let table = Buckets::new([Bucket::new(one.as_str()), Bucket::new(other.as_str())]);
        assert_eq!(table, Err(BucketsError::SameId(one, other)));
    }

    #[test]
    fn equal_tables_have_equal_texts() {
        let n = Copies::default();
        assert_eq!(Buckets::default().text(n), "");
        assert_eq!(Buckets::new([Bucket::new(DEFAULT)]), Ok(Buckets::default()));
        let carts =
            Bucket { ttl: Some(Duration::from_secs(3600)), siblings_max: Some(5), ..Bucket::new("carts") };
        let table = Buckets::new([Bucket { kind: Kind::Lww, ..Bucket::new("a") }, carts.clone()]).unwrap();
        let text = "a: lww, n 3\ncarts: siblings, n 3, ttl 3600000ms, siblings-max 5";
        assert_eq!(table.text(n), text);
        let spelled = Bucket { n: Some(n), ..carts };
        let table = Buckets::new([spelled, Bucket { kind: Kind::Lww, ..Bucket::new("a") }]).unwrap();
        assert_eq!(table.text(n), text, "in any order, and with the cluster's n spelled out");
    }
}
