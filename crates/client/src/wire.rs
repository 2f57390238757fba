//! The client protocol: what a client may ask of a coordinator, and what comes back. Types only; see [`crate::codec`].

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU8;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::metrics::Metric;

/// How many replicas must answer before a request is answered: R of a get, W of a put.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, Default)]
pub enum Consistency {
    /// The first replica to answer decides.
    One,
    /// More than half of the N replicas: reads and writes at `Quorum` overlap in at least one replica.
    #[default]
    Quorum,
    /// All N replicas.
    All,
    /// Exactly this many; more than N is refused.
    Count(NonZeroU8),
}

impl Consistency {
    /// The number of answers needed of `n` replicas; `None` if there are not that many.
    pub fn needed(self, n: u8) -> Option<u8> {
        match self {
            Self::One => Some(1),
            Self::Quorum => Some(n / 2 + 1),
            Self::All => Some(n),
            Self::Count(count) => Some(count.get()).filter(|&count| count <= n),
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One => f.write_str("one"),
            Self::Quorum => f.write_str("quorum"),
            Self::All => f.write_str("all"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// Not a consistency level. Nothing was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a consistency level: give one, quorum, all or a number of replicas from 1 to 7")]
pub struct ConsistencyError(String);

impl FromStr for Consistency {
    type Err = ConsistencyError;

    fn from_str(text: &str) -> Result<Self, ConsistencyError> {
        match text.to_ascii_lowercase().as_str() {
            "one" => Ok(Self::One),
            "quorum" => Ok(Self::Quorum),
            "all" => Ok(Self::All),
            number => match number.parse::<NonZeroU8>() {
                Ok(count) if count.get() <= 7 => Ok(Self::Count(count)),
                Ok(_) | Err(_) => Err(ConsistencyError(text.to_owned())),
            },
        }
    }
}

/// Options every read and write carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOptions {
    /// How many replicas must answer.
    pub consistency: Consistency,
    /// Count primaries only (strict); otherwise a fallback may stand in for an unreachable primary (sloppy).
    pub primaries: bool,
    /// Milliseconds the coordinator may take before it answers "unknown".
    pub timeout_ms: u32,
    /// An instrument's number for this request: members that were handed a witness tell it when the request's messages came
    /// and went. Nothing else comes of it.
    pub trace: Option<u64>,
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Read a key.
    Get {
        /// The key's bucket; `None` for `default`.
        bucket: Option<String>,
        /// The key, 1 byte to 4 KiB.
        key: Bytes,
        /// Level, strictness, timeout.
        options: RequestOptions,
        /// What this one member itself holds, asking nobody else and repairing nothing.
        local: bool,
        /// Return [`Evidence`] too: for instruments that measure the cluster.
        evidence: bool,
    },
    /// Write a value, or a tombstone where `value` is `None`.
    Put {
        /// The key's bucket; `None` for `default`.
        bucket: Option<String>,
        /// The key, 1 byte to 4 KiB.
        key: Bytes,
        /// The value; `None` deletes.
        value: Option<Bytes>,
        /// The sealed context of what the client has seen of the key. In a bucket of siblings a delete needs one; where the
        /// last writer wins none is taken.
        context: Option<Bytes>,
        /// Level, strictness, timeout.
        options: RequestOptions,
    },
    /// The members this member knows.
    Members,
    /// Who owns which partition.
    Ring {
        /// For the keys of which bucket; `None` for `default`.
        bucket: Option<String>,
    },
    /// Where one key lives.
    Locate {
        /// The key's bucket; `None` for `default`.
        bucket: Option<String>,
        /// The key.
        key: Bytes,
    },
    /// One page of all that this one member itself holds.
    Dump {
        /// The previous page's `next`, or `None` for the first page.
        after: Option<Bytes>,
    },
    /// Run one round of anti-entropy with every reachable member that shares a partition, or with some.
    Repair(RepairScope),
    /// When this member's trees were last equal to those of others.
    AntiEntropy {
        /// Of this partition; of all if `None`.
        partition: Option<u16>,
    },
    /// What this member counts and measures.
    Metrics,
    /// What became of the members since the last answer: waits until something did.
    Watch {
        /// The last answer's `cursor`, or `None` for a first answer, which comes at once.
        after: Option<WatchCursor>,
        /// Milliseconds after which it is answered even if nothing has happened.
        patience_ms: u32,
    },
    /// One page of all that this one member has stored, as it is stored.
    Backup {
        /// The previous page's `next`, or `None` for the first page.
        after: Option<Bytes>,
    },
}

/// What a coordinator answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response {
    /// To `Get`.
    Got(Got),
    /// To `Put`.
    Written(Written),
    /// To `Members`, in name order.
    Members(Vec<MemberInfo>),
    /// To `Ring`.
    Ring(RingInfo),
    /// To `Locate`.
    Located(Located),
    /// To `Dump`.
    Dump(DumpPage),
    /// To `Repair`.
    Repaired(RepairReport),
    /// To `AntiEntropy`: a line for each tree and member it was compared with since the start.
    AntiEntropy(Vec<PairStatus>),
    /// To `Backup`: a page that the member's own storage knows to read.
    Backup {
        /// The page.
        page: Bytes,
        /// Give this as `after` for the next page; `None` at the end.
        next: Option<Bytes>,
    },
    /// To anything: it was not (fully) done.
    Refused(Refusal),
    /// To `Metrics`.
    Metrics(Vec<Metric>),
    /// To `Watch`.
    Watched(Watched),
}

/// A version's identity: the replica that coordinated it and its number there.
pub type WireDot = (u64, u64);

/// The answer to a get.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Got {
    /// The concurrent values, in a stable order; none if the key is absent, deleted or expired.
    pub siblings: Vec<GotSibling>,
    /// The sealed context of what was returned; empty where the last writer wins.
    pub context: Bytes,
    /// What instruments asked for.
    pub evidence: Option<Evidence>,
}

/// One concurrent value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GotSibling {
    /// The version's identity.
    pub dot: WireDot,
    /// The value.
    pub value: Bytes,
}

/// The causal facts behind an answer, in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Per actor, the number up to which all of its dots are covered.
    pub vv: Vec<WireDot>,
    /// Single dots covered beyond `vv`.
    pub dots: Vec<WireDot>,
    /// Dots of tombstones and of expired values among the versions returned.
    pub tombstones: Vec<WireDot>,
    /// Names of the replicas whose answers were merged.
    pub replicas: Vec<String>,
}

/// The answer to a put or delete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// The context supplied plus the new version, sealed; empty where the last writer wins.
    pub context: Bytes,
    /// The new version's identity.
    pub dot: WireDot,
    /// Names of the replicas that had it when the answer was given, fallbacks included.
    pub replicas: Vec<String>,
}

/// What a member is believed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// Answers probes.
    Alive,
    /// Did not answer a probe and has not refuted yet.
    Suspect,
    /// Did not answer for long; still owns its partitions.
    Down,
    /// Said goodbye; still owns its partitions.
    Left,
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        })
    }
}

/// One line of the view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberInfo {
    /// The member's name.
    pub name: String,
    /// Where it takes clients and members.
    pub address: SocketAddr,
    /// What the answering member believes of it.
    pub state: MemberState,
    /// Raised by the member itself to refute a suspicion.
    pub incarnation: u64,
    /// Raised at each of its starts.
    pub generation: u64,
    /// Why it takes no writes, as far as the answering member knows: its disk is full. Reads go on.
    pub refuses_writes: Option<String>,
}

/// How far a watcher has read one member's changes. It means nothing to another member, nor to the same one after a
/// restart: they begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchCursor {
    /// Which start of which member.
    pub run: u64,
    /// How many changes there were until then.
    pub seen: u64,
}

/// The answer to a watcher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Where to go on.
    pub cursor: WatchCursor,
    /// What the watcher does not know yet.
    pub news: News,
}

/// What a watcher does not know yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum News {
    /// All members in name order: for a watcher that comes new, or has missed changes that are no longer kept.
    Table(Vec<MemberInfo>),
    /// What happened since, in order; nothing if time was up.
    Changes(Vec<MemberChange>),
}

/// Something that happened to a member, as one member learned it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberChange {
    /// When, in milliseconds since 1970 by the wall clock of the member that tells it.
    pub at_ms: u64,
    /// What.
    pub kind: ChangeKind,
    /// The member's name.
    pub name: String,
    /// Where it takes clients and members.
    pub address: SocketAddr,
    /// Its incarnation then.
    pub incarnation: u64,
    /// Its generation then.
    pub generation: u64,
    /// Whose finding it is, where that is known: the accuser of a suspect; the teller itself for a member that it gave
    /// up after a suspicion ran out, rather than hearing of it.
    pub by: Option<String>,
}

/// What can happen to a member in another's view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChangeKind {
    /// It is there: new, back, or restarted.
    Up,
    /// A probe of it failed.
    Suspect,
    /// It proved that it is alive.
    Refuted,
    /// It did not refute in time.
    Down,
    /// It said goodbye.
    Left,
    /// Its record changed: its address, its tokens, its version.
    MetaChanged,
    /// The telling member itself was believed suspect or down, and refutes it.
    Accused,
}

impl ChangeKind {
    /// All of them, in the order of their values.
    pub const ALL: [Self; 7] =
        [Self::Up, Self::Suspect, Self::Refuted, Self::Down, Self::Left, Self::MetaChanged, Self::Accused];
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Refuted => "refuted",
            Self::Down => "down",
            Self::Left => "left",
            Self::MetaChanged => "meta-changed",
            Self::Accused => "accused",
        })
    }
}

/// Ownership as one member sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RingInfo {
    /// `md5` or `byte-ordered`.
    pub partitioner: String,
    /// Replicas per key.
    pub n: u8,
    /// Keys are the integers 0 to 255 (preset `four-node`).
    pub integer_keys: bool,
    /// Names that `owners` point to.
    pub members: Vec<String>,
    /// For each partition in ring order its preference list, as indices into `members`.
    pub owners: Vec<Vec<u16>>,
}

/// Where one key lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Located {
    /// Its place on the ring.
    pub position: u128,
    /// Its partition.
    pub partition: u16,
    /// Its preference list.
    pub owners: Vec<String>,
    /// Who stands in, in order.
    pub fallbacks: Vec<String>,
}

/// One page of a member's own records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpPage {
    /// In ring order, hints last.
    pub entries: Vec<DumpEntry>,
    /// Give this as `after` for the next page; `None` at the end.
    pub next: Option<Bytes>,
}

/// One key a member holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DumpEntry {
    /// The name of its bucket.
    pub bucket: String,
    /// The key as clients write it.
    pub key: Bytes,
    /// Its partition.
    pub partition: u16,
    /// For whom it is parked, if it is a hint.
    pub hint_for: Option<String>,
    /// Its versions; `None` is a tombstone, or a value that has expired.
    pub versions: Vec<(WireDot, Option<Bytes>)>,
}

/// What a repair is to be about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairScope {
    /// The name of the one member to compare with; all if `None`.
    pub with: Option<String>,
    /// The first and the last partition to compare; all if `None`.
    pub partitions: Option<(u16, u16)>,
}

/// What a member knows of one of its trees beside another member's, since it was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairStatus {
    /// The tree's partition.
    pub partition: u16,
    /// How many replicas its keys have.
    pub n: u8,
    /// The other member.
    pub member: String,
    /// Milliseconds since they were compared.
    pub compared_ago_ms: Option<u64>,
    /// Milliseconds since they were equal.
    pub clean_ago_ms: Option<u64>,
    /// Exchanges this member opened over it.
    pub exchanges: u64,
    /// Bytes these took, in both directions.
    pub bytes: u64,
    /// Round trips these took.
    pub round_trips: u64,
    /// Key states sent in them.
    pub keys_sent: u64,
    /// Key states received in them that changed something here.
    pub keys_received: u64,
}

/// What a round of anti-entropy did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairReport {
    /// Exchanges with one other member over all common partitions.
    pub exchanges: u64,
    /// Partitions found to differ.
    pub partitions_differed: u64,
    /// Key states sent to others.
    pub keys_sent: u64,
    /// Key states received that changed something here.
    pub keys_received: u64,
    /// Exchanges that broke off, with the member and the reason.
    pub failed: Vec<(String, String)>,
}

/// Why a request was not answered with what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The class, which tells whether a retry is safe.
    pub code: RefusalCode,
    /// For a person.
    pub message: String,
}

/// Classes of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalCode {
    /// The request is wrong; nothing was changed; do not repeat it.
    Invalid,
    /// The key's bucket is of another kind than the request; nothing was changed; do not repeat it.
    WrongKind,
    /// Too few replicas can be reached; nothing was changed; safe to retry.
    Unavailable,
    /// Too few replicas answered in time; a write may have been applied.
    Unknown,
    /// The member cannot serve (its disk fails, it is stopping); a write may have been applied.
    Internal,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_written_as_they_are_read() {
        for text in ["one", "quorum", "all", "1", "7"] {
            assert_eq!(text.parse::<Consistency>().unwrap().to_string(), text);
        }
        assert_eq!("Quorum".parse(), Ok(Consistency::Quorum));
        for text in ["", "0", "8", "-1", "two", "1.5"] {
            assert!(
                text.parse::<Consistency>().unwrap_err().to_string().contains("one, quorum, all"),
                "{text}"
            );
        }
    }

    #[test]
    fn quorums_overlap_and_nothing_needs_more_than_all() {
        for n in 1..=7 {
            let needed = |level: Consistency| level.needed(n);
            let quorum = needed(Consistency::Quorum).unwrap();
            assert!(2 * quorum > n && quorum <= n);
            assert_eq!((needed(Consistency::One), needed(Consistency::All)), (Some(1), Some(n)));
            let count = |count| needed(Consistency::Count(NonZeroU8::new(count).unwrap()));
            assert_eq!((count(n), count(n + 1)), (Some(n), None));
        }
    }
}
