//! One operation in numbers, and what can be asked of it without its ledger.

use crate::history::{Kind, Level};

/// No time: an operation that never ended.
pub(crate) const NEVER: u64 = u64::MAX;

/// No operation's id: files that use it are refused.
pub(super) const NO_BASIS: u64 = u64::MAX;

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
    /// The id of the operation whose context it supplied, or [`NO_BASIS`].
    pub(super) basis: u64,
    /// The number of its key.
    pub(crate) key: u32,
    /// The number of the session that asked.
    pub(crate) session: u32,
    /// The number of what a put wrote, or of what a get returned.
    pub(super) written_or_returned: u32,
    /// The number of a write's dot, or of the context of a get.
    pub(super) dot_or_seen: u32,
    /// Nanoseconds from when it was due to when it was sent; [`LATER`] if they are in the ledger's own list.
    pub(super) late: u32,
    pub(crate) level: Level,
    pub(super) deed: Deed,
    /// The members whose answers made the answer: 255 for that many or more.
    pub(super) replicas: u8,
}

/// Stands for more nanoseconds than fit.
pub(super) const LATER: u32 = u32::MAX;

/// What was asked and how it ended, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deed(u8);

impl Deed {
    const KINDS: [Kind; 3] = [Kind::Get, Kind::Put, Kind::Delete];
    const ENDINGS: [Ending; 4] = [Ending::Ok, Ending::NotFound, Ending::Refused, Ending::Unknown];

    pub(super) fn new(kind: Kind, ending: Ending) -> Self {
        Self((kind as u8) << 2 | ending as u8)
    }

    fn kind(self) -> Kind {
        Self::KINDS[usize::from(self.0 >> 2)]
    }

    pub(super) fn ending(self) -> Ending {
        Self::ENDINGS[usize::from(self.0 & 3)]
    }
}

impl Entry {
    pub(crate) fn kind(&self) -> Kind {
        self.deed.kind()
    }

    /// Whether the client was told a result.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.deed.ending(), Ending::Ok | Ending::NotFound) && self.done != NEVER
    }

    pub(crate) fn is_answered_read(&self) -> bool {
        self.kind() == Kind::Get && self.is_answered()
    }

    pub(crate) fn is_write(&self) -> bool {
        self.kind() != Kind::Get
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.deed.ending() == Ending::Refused
    }

    pub(crate) fn is_unknown(&self) -> bool {
        self.deed.ending() == Ending::Unknown
    }
}
