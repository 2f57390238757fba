//! One operation in numbers, and what can be asked of it without its ledger.

use crate::history::{Kind, Level};

/// No time: an operation that never ended.
pub(crate) const NEVER: u64 = u64::MAX;

/// How an operation ended, without the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Ok,
    NotFound,
    Refused,
    Unknown,
}

/// One operation.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its id in the file.
    pub(crate) id: u64,
    /// When it was sent.
    pub(crate) sent: u64,
    /// When it ended, or [`NEVER`].
    pub(crate) done: u64,
    /// The id of the operation whose context it supplied.
    pub(super) basis: Option<u64>,
    /// The number of its key.
    pub(crate) key: u32,
    /// Who asked.
    pub(crate) session: u32,
    pub(super) value: u32,
    pub(super) dot: u32,
    pub(super) returned: u32,
    pub(super) seen: u32,
    pub(crate) kind: Kind,
    pub(crate) level: Level,
    pub(super) ending: Ending,
}

impl Entry {
    /// Whether the client was told a result.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.ending, Ending::Ok | Ending::NotFound) && self.done != NEVER
    }

    pub(crate) fn is_answered_read(&self) -> bool {
        self.kind == Kind::Get && self.is_answered()
    }

    pub(crate) fn is_write(&self) -> bool {
        self.kind != Kind::Get
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.ending == Ending::Refused
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.ending == Ending::Unknown
    }
}
