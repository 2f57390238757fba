//! Owns the reading of a step: what the other side answers to this side's offers, and what it offers in turn; refuses
//! to draw conclusions. Stored or received bits never panic here.
//!
//! ```text
//! step:   bit + 128 (the cut, if any) | set of the answered offers | per answered offer, in order:
//!   hash     of this side's, and it differs:  0 list | 1 shape of both halves
//!   list     of the initiator's:  set of its unmatched items | count, positions of the responder's
//!   list     of the responder's:  set of the items whose positions the initiator wants
//!   fetch    of the initiator's:  the positions
//! list:      count | if any: bit (0: 24, 1: 40 bits each) | hashes
//! shape:     1 shape shape | 0 1 (empty) | 0 0 hash 16      nothing for a cell wholly below the start
//! position:  the bits below the cell's prefix
//! ```

use super::Role;
use super::bits::{BitReader, Garbled};
use super::lists::{Listed, Width};
use crate::interval::{Interval, POSITION_BITS};

/// Most differences one exchange reports.
pub const DIFFERENCES_MAX: usize = 16_384;
/// Most positions a step may name. Those wished for and those told unasked are about [`DIFFERENCES_MAX`] each.
pub(super) const POSITIONS_MAX: usize = 4 * DIFFERENCES_MAX;
/// Most cells one step may offer.
pub(super) const OFFERS_MAX: usize = 1 << 18;
/// Bits of a cell's salted hash that are shown: one difference in 65,536 is missed at each level.
pub(super) const CELL_HASH_BITS: u32 = 16;

/// What this side put into its last step and the other side answers, if it finds a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Offer {
    /// A cell's hash.
    Hash { cell: Interval },
    /// The hashes of everything in a cell, perhaps nothing; kept are the positions behind them.
    List { cell: Interval, positions: Vec<u128> },
    /// A wish for the positions of so many items of a list. The initiator's alone, and always answered.
    Fetch { cell: Interval, count: usize },
}

/// What the other side put into its last step and this side answers: its offers as they are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Claim {
    /// The other side holds something in the cell that is not what this side holds: how the roots' 64 bits are told.
    Unequal {
        cell: Interval,
    },
    Hash {
        cell: Interval,
        hash: u64,
    },
    List {
        cell: Interval,
        listed: Listed,
    },
    /// The positions the initiator wants.
    Fetch {
        cell: Interval,
        positions: Vec<u128>,
    },
}

impl Claim {
    pub(super) const fn cell(&self) -> Interval {
        match self {
            Self::Unequal { cell }
            | Self::Hash { cell, .. }
            | Self::List { cell, .. }
            | Self::Fetch { cell, .. } => *cell,
        }
    }
}

/// A step, read.
#[derive(Default, Debug)]
pub(super) struct Heard {
    /// The other side's offers, in the order of positions.
    pub(super) claims: Vec<Claim>,
    /// Positions of this side that the other side does not hold as they are here.
    pub(super) own: Vec<u128>,
    /// Positions of the other side that this side does not hold as they are there.
    pub(super) other: Vec<u128>,
    /// From this position on, the other side has not looked.
    pub(super) cut: Option<u128>,
}

/// Reads a step against the offers it answers.
pub(super) fn hear(packed: &[u8], role: Role, offers: &[Offer], start: u128) -> Result<Heard, Garbled> {
    let mut hearing = Hearing { bits: BitReader::new(packed), start, heard: Heard::default() };
    if hearing.bits.take_bit()? {
        hearing.heard.cut = Some(hearing.bits.take(POSITION_BITS.into())?);
    }
    let answered = hearing.bits.take_set(offers.len())?;
    let cut = hearing.heard.cut.unwrap_or(u128::MAX);
    let mut next = answered.iter().peekable();
    for (index, offer) in offers.iter().enumerate() {
        if next.next_if_eq(&&index).is_some() {
            hearing.answer(role, offer)?;
        } else if matches!(offer, Offer::Fetch { cell, .. } if cell.first() < cut) {
            return Err(Garbled);
        }
    }
    hearing.bits.finish()?;
    Ok(hearing.heard)
}

struct Hearing<'a> {
    bits: BitReader<'a>,
    start: u128,
    heard: Heard,
}

impl Hearing<'_> {
    fn answer(&mut self, role: Role, offer: &Offer) -> Result<(), Garbled> {
        match (offer, role) {
            (Offer::Hash { cell }, _) => {
                if self.bits.take_bit()? {
                    self.halves(*cell)
                } else {
                    let listed = self.list()?;
                    self.claim(Claim::List { cell: *cell, listed })
                }
            }
            (Offer::List { cell, positions }, Role::Initiator) => {
                let unmatched = self.picked(positions)?;
                self.heard.own.extend(unmatched);
                let count = self.bits.take_count()?;
                self.positions(*cell, count)
            }
            (Offer::List { cell, positions }, Role::Responder) => {
                let positions = self.picked(positions)?;
                self.claim(Claim::Fetch { cell: *cell, positions })
            }
            (Offer::Fetch { cell, count }, _) => self.positions(*cell, *count),
        }
    }

    fn shape(&mut self, cell: Interval) -> Result<(), Garbled> {
        if cell.last() < self.start {
            return Ok(());
        }
        if self.bits.take_bit()? {
            return self.halves(cell);
        }
        if self.bits.take_bit()? {
            return self.claim(Claim::List { cell, listed: Listed::EMPTY });
        }
        let hash = self.bits.take_u64(CELL_HASH_BITS)?;
        self.claim(Claim::Hash { cell, hash })
    }

    fn halves(&mut self, cell: Interval) -> Result<(), Garbled> {
        let (lower, upper) = cell.halves().ok_or(Garbled)?;
        self.shape(lower)?;
        self.shape(upper)
    }

    fn list(&mut self) -> Result<Listed, Garbled> {
        let count = self.bits.take_count()?;
        if count == 0 {
            return Ok(Listed::EMPTY);
        }
        let width = if self.bits.take_bit()? { Width::Wide } else { Width::Narrow };
        let hashes = (0..count).map(|_| self.bits.take_u64(width.bits())).collect::<Result<_, _>>()?;
        Ok(Listed { width, hashes })
    }

    fn picked(&mut self, positions: &[u128]) -> Result<Vec<u128>, Garbled> {
        let picked = self.bits.take_set(positions.len())?;
        Ok(picked.into_iter().filter_map(|index| positions.get(index)).copied().collect())
    }

    fn positions(&mut self, cell: Interval, count: usize) -> Result<(), Garbled> {
        if self.heard.other.len() + count > POSITIONS_MAX {
            return Err(Garbled);
        }
        for _ in 0..count {
            let below = self.bits.take(u32::from(POSITION_BITS - cell.depth()))?;
            self.heard.other.push(cell.first() | below);
        }
        Ok(())
    }

    fn claim(&mut self, claim: Claim) -> Result<(), Garbled> {
        if self.heard.claims.len() == OFFERS_MAX {
            return Err(Garbled);
        }
        self.heard.claims.push(claim);
        Ok(())
    }
}
