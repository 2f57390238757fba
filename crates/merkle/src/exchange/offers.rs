//! Owns the reading of a step: what the other side answers to this side's offers, and what it offers in turn; refuses
//! to draw conclusions. Stored or received bits never panic here.
//!
//! ```text
//! step:   bit + 128 (the end, if any) | set of the answered offers | per answered offer, in order:
//!   hash     of this side's, and it differs:  0 list | 1 shape of both halves
//!   list     of this side's, and some of it is not held there alike:  set of those items
//! list:      count | if any: bit (0: narrow, 1: wide) | hashes
//! shape:     1 shape shape | 0 1 (empty) | 0 0 hash      nothing for a cell wholly below the start
//! ```

use super::bits::{BitReader, Garbled};
use super::lists::{Listed, Width};
use crate::interval::{Interval, POSITION_BITS};

/// Most differences one exchange reports.
pub const DIFFERENCES_MAX: usize = 16_384;
/// Most cells one step may offer.
pub(super) const OFFERS_MAX: usize = 1 << 18;
/// Bits of the salted hashes of the first cells: each may hide much.
const FIRST_HASH_BITS: u32 = 18;
/// Bits of the salted hashes of all other cells: one difference in 32,768 is missed at each level.
const CELL_HASH_BITS: u32 = 15;

/// Bits of the hashes of cells that `cell` is cut into, if `whole` is all of the tree.
pub(super) fn hash_bits(cell: Interval, whole: Interval) -> u32 {
    if cell == whole { FIRST_HASH_BITS } else { CELL_HASH_BITS }
}

/// What this side put into its last step and the other side answers, if it finds a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Offer {
    /// A cell's hash.
    Hash { cell: Interval },
    /// The hashes of everything in a cell, perhaps nothing; kept are the positions behind them.
    List { cell: Interval, positions: Vec<u128> },
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
        bits: u32,
    },
    List {
        cell: Interval,
        listed: Listed,
    },
}

impl Claim {
    pub(super) const fn cell(&self) -> Interval {
        match self {
            Self::Unequal { cell } | Self::Hash { cell, .. } | Self::List { cell, .. } => *cell,
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
    /// From this position on, the other side has not looked.
    pub(super) end: Option<u128>,
}

/// Reads a step against the offers it answers, in an exchange over `whole` from `start` on.
pub(super) fn hear(packed: &[u8], offers: &[Offer], whole: Interval, start: u128) -> Result<Heard, Garbled> {
    let mut hearing = Hearing { bits: BitReader::new(packed), whole, start, heard: Heard::default() };
    if hearing.bits.take_bit()? {
        hearing.heard.end = Some(hearing.bits.take(POSITION_BITS.into())?);
    }
    for index in hearing.bits.take_set(offers.len())? {
        hearing.answer(&offers[index])?;
    }
    hearing.bits.finish()?;
    Ok(hearing.heard)
}

struct Hearing<'a> {
    bits: BitReader<'a>,
    whole: Interval,
    start: u128,
    heard: Heard,
}

impl Hearing<'_> {
    fn answer(&mut self, offer: &Offer) -> Result<(), Garbled> {
        match offer {
            Offer::Hash { cell } if self.bits.take_bit()? => self.halves(*cell, hash_bits(*cell, self.whole)),
            Offer::Hash { cell } => {
                let listed = self.list()?;
                self.claim(Claim::List { cell: *cell, listed })
            }
            Offer::List { positions, .. } => {
                let unmatched = self.bits.take_set(positions.len())?;
                self.heard.own.extend(unmatched.into_iter().filter_map(|index| positions.get(index)));
                Ok(())
            }
        }
    }

    fn shape(&mut self, cell: Interval, bits: u32) -> Result<(), Garbled> {
        if cell.last() < self.start {
            return Ok(());
        }
        if self.bits.take_bit()? {
            return self.halves(cell, bits);
        }
        if self.bits.take_bit()? {
            return self.claim(Claim::List { cell, listed: Listed::EMPTY });
        }
        let hash = self.bits.take_u64(bits)?;
        self.claim(Claim::Hash { cell, hash, bits })
    }

    fn halves(&mut self, cell: Interval, bits: u32) -> Result<(), Garbled> {
        let (lower, upper) = cell.halves().ok_or(Garbled)?;
        self.shape(lower, bits)?;
        self.shape(upper, bits)
    }

    fn list(&mut self) -> Result<Listed, Garbled> {
        let count = self.bits.take_count()?;
        if count == 0 {
            return Ok(Listed::EMPTY);
        }
        let width = if self.bits.take_bit()? { Width::Wide } else { Width::Narrow };
        let bits = width.bits(count);
        let hashes = (0..count).map(|_| self.bits.take_u64(bits)).collect::<Result<_, _>>()?;
        Ok(Listed { width, hashes })
    }

    fn claim(&mut self, claim: Claim) -> Result<(), Garbled> {
        if self.heard.claims.len() == OFFERS_MAX {
            return Err(Garbled);
        }
        self.heard.claims.push(claim);
        Ok(())
    }
}
