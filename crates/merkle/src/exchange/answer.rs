//! Owns the writing of a step: which of the other side's cells differ, and what to say about them; refuses to wait:
//! where a leaf has to be scanned first, it says which, and is asked again.

use super::bits::BitWriter;
use super::holdings::{Holdings, Item};
use super::lists::{Listed, Unmatched, Width, compare, short_hash};
use super::offers::{Claim, DIFFERENCES_MAX, OFFERS_MAX, Offer, hash_bits};
use crate::element::{Sum, salted_root};
use crate::entries::LEAF_KEYS_MAX;
use crate::interval::{Interval, POSITION_BITS};
use crate::wire::MESSAGE_BYTES_MAX;

/// Cells a partition is cut into by the first answer.
const FIRST_CELLS: u64 = 512;
/// Cells a differing cell is cut into later.
const FAN: u64 = 64;
/// With no more differing cells than this, small ones are listed at once: that saves a round trip. With more, they
/// are cut finer first: that saves bytes.
const LISTED_AT_ONCE_MAX: usize = 24;
/// Keys in the finest cells.
const FINE_KEYS: u64 = 8;
/// Cells of so many keys are small: as many as a leaf of the other side may have here. Cutting them again into leaves
/// would cost a turn.
const SMALL_KEYS_MAX: u64 = LEAF_KEYS_MAX * 3 / 2;
/// How much one step may hold, and one exchange report. Each bounds what follows a first cell, which is always
/// answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Differing items told or reported.
    pub(super) differences: usize,
    /// Bytes after which no further cell is answered. One answer alone is at most as long again.
    pub(super) step_bytes: usize,
    /// Leaves looked into after which no further cell is answered.
    pub(super) step_leaves: usize,
}

impl Limits {
    pub(super) const DEFAULT: Self =
        Self { differences: DIFFERENCES_MAX, step_bytes: MESSAGE_BYTES_MAX / 2, step_leaves: 16_384 };
}

/// What both sides agreed on or told each other at some point.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) salt: u64,
    /// Cells wholly below are none of this exchange.
    pub(super) start: u128,
    /// Keys the other side holds.
    pub(super) other_count: u64,
    pub(super) limits: Limits,
}

/// A step to send, and what this side learnt from writing it.
pub(super) struct Answer {
    pub(super) packed: Vec<u8>,
    /// What is offered in the step; nothing is left to say if there is none.
    pub(super) offers: Vec<Offer>,
    /// Positions this side holds that the other does not hold alike.
    pub(super) found: Vec<u128>,
    /// From this position on, this side has not looked.
    pub(super) end: Option<u128>,
}

/// Answers claims, in the order of positions; `None` if `holdings` misses scans.
pub(super) fn answer(claims: &[Claim], terms: Terms, holdings: &mut Holdings) -> Option<Answer> {
    let mut writing = Writing {
        terms,
        holdings,
        bits: BitWriter::default(),
        answered: Vec::new(),
        offers: Vec::new(),
        found: Vec::new(),
        named: 0,
        leaves: Touched::default(),
        fine: false,
        end: None,
    };
    let differing = writing.differing_cells(claims);
    writing.fine = differing.iter().filter(|differs| **differs).count() > LISTED_AT_ONCE_MAX;
    writing.leaves = Touched::default();
    for (index, claim) in claims.iter().enumerate() {
        if writing.is_full(claim.cell()) {
            break;
        }
        writing.answer(index, claim, differing[index]);
    }
    if writing.holdings.is_waiting() { None } else { Some(writing.finish(claims.len())) }
}

struct Writing<'a> {
    terms: Terms,
    holdings: &'a mut Holdings,
    /// The answers, without what precedes them in the step.
    bits: BitWriter,
    /// Indices of the claims answered.
    answered: Vec<usize>,
    offers: Vec<Offer>,
    found: Vec<u128>,
    /// Differing items of either side named so far.
    named: usize,
    leaves: Touched,
    /// Whether small cells are cut finer before they are listed.
    fine: bool,
    end: Option<u128>,
}

/// Counts the leaves touched by a walk in the order of positions.
#[derive(Default)]
struct Touched {
    count: usize,
    last: Option<u128>,
}

impl Touched {
    fn touch(&mut self, first: u128) {
        self.count += usize::from(self.last.replace(first) != Some(first));
    }
}

impl Writing<'_> {
    /// For each claim, whether it is a hash that is not this side's.
    fn differing_cells(&mut self, claims: &[Claim]) -> Vec<bool> {
        let mut differing = vec![false; claims.len()];
        for (claim, differs) in claims.iter().zip(&mut differing) {
            if self.leaves.count > self.terms.limits.step_leaves {
                self.end = Some(claim.cell().first());
                break;
            }
            *differs = match claim {
                Claim::Unequal { .. } => true,
                Claim::Hash { cell, hash, bits } => {
                    let whole = self.holdings.directory().sum_of(*cell);
                    if whole.is_none() {
                        self.touch_leaf_around(*cell);
                    }
                    // Unknown for want of a scan is taken for equal: the claims are gone through again.
                    let sum = whole.or_else(|| self.holdings.sum_of(*cell));
                    sum.is_some_and(|sum| sum.is_empty() || self.cell_hash(sum, *bits) != *hash)
                }
                Claim::List { .. } => false,
            };
        }
        differing
    }

    /// Whether the step has room for no further cell; then it is cut there. There is always room for a first one, so
    /// every exchange gets further than the one before.
    fn is_full(&mut self, cell: Interval) -> bool {
        let full = self.bits.len() >= self.terms.limits.step_bytes
            || self.leaves.count >= self.terms.limits.step_leaves
            || self.offers.len() >= OFFERS_MAX / 2
            || self.named >= self.terms.limits.differences;
        if full {
            self.end_at(cell.first());
        }
        self.end.is_some_and(|end| end <= cell.first())
    }

    fn answer(&mut self, index: usize, claim: &Claim, differs: bool) {
        match claim {
            Claim::Unequal { cell } | Claim::Hash { cell, .. } => {
                if differs {
                    self.answered.push(index);
                    self.answer_cell(*cell);
                }
            }
            Claim::List { cell, listed } => self.answer_list(index, *cell, listed),
        }
    }

    /// Says more about a cell that differs: cuts or lists it.
    fn answer_cell(&mut self, cell: Interval) {
        let sum = self.holdings.directory().sum_of(cell);
        if let Some(sum) = sum
            && sum.count > SMALL_KEYS_MAX
            && !self.is_leaf(cell)
        {
            let whole = self.holdings.directory().interval();
            let cells = if cell == whole { FIRST_CELLS } else { FAN };
            self.bits.put_bit(true);
            self.put_halves_of_leaves(cell, (sum.count / cells).max(LEAF_KEYS_MAX), hash_bits(cell, whole));
            return;
        }
        self.touch_leaf_around(cell);
        let Some(items) = self.holdings.items_of(cell) else { return };
        let count = items.len() as u64;
        let listed_max = if self.fine && sum.is_some() { FINE_KEYS } else { SMALL_KEYS_MAX };
        if count > listed_max {
            let keys = if self.fine { FINE_KEYS } else { LEAF_KEYS_MAX };
            self.bits.put_bit(true);
            let bits = hash_bits(cell, self.holdings.directory().interval());
            self.put_halves_of_items(cell, &items, keys.max(count / FAN), bits);
        } else {
            self.bits.put_bit(false);
            self.put_list(cell, &items);
        }
    }

    /// Compares a list with this side's items: keeps which of them the other side lacks, and tells which of its own
    /// this side lacks.
    fn answer_list(&mut self, index: usize, cell: Interval, listed: &Listed) {
        let Some(items) = self.items_up_to_limit(cell, listed.hashes.len()) else { return };
        let mut unmatched = compare(&items, listed, self.terms.salt);
        self.limit(&mut unmatched);
        // A changed record is one item on each side.
        self.named += unmatched.own.len().max(unmatched.other.len());
        self.found.append(&mut unmatched.own);
        if !unmatched.other.is_empty() {
            self.answered.push(index);
            self.bits.put_set(&unmatched.other, listed.hashes.len());
        }
    }

    /// This side's items in a cell of which the other side listed `listed`. The more this side holds, the more of it
    /// differs for sure: beyond what one exchange reports, no leaf is read.
    fn items_up_to_limit(&mut self, cell: Interval, listed: usize) -> Option<Vec<Item>> {
        let room = (self.terms.limits.differences - self.named + listed) as u64;
        let (mut items, mut held, mut complete) = (Vec::new(), 0_u64, true);
        let leaves = self.holdings.leaves_of(cell);
        for leaf in leaves.iter().filter(|leaf| leaf.interval.last() >= self.terms.start) {
            if held >= room || self.leaves.count > self.terms.limits.step_leaves {
                self.end_at(leaf.interval.first());
                break;
            }
            self.leaves.touch(leaf.interval.first());
            held = held.saturating_add(if leaf.interval.is_point() { 1 } else { leaf.sum.count });
            match self.holdings.items_of_leaf(leaf, cell) {
                Some(more) => items.extend_from_slice(more),
                None => complete = false,
            }
        }
        if complete {
            return Some(items);
        }
        // The comparison is still to come; so much of it is foreseen.
        self.named += usize::try_from(held.min(room)).map_or(0, |held| held.saturating_sub(listed));
        None
    }

    /// Leaves out positions below the start, and more of them than one exchange reports.
    fn limit(&mut self, unmatched: &mut Unmatched) {
        unmatched.own.retain(|position| *position >= self.terms.start);
        let room = self.terms.limits.differences - self.named;
        if let Some(first) = unmatched.own.get(room) {
            self.end_at(*first);
            unmatched.own.truncate(room);
        }
    }

    fn put_halves_of_leaves(&mut self, cell: Interval, keys: u64, bits: u32) {
        let Some((lower, upper)) = cell.halves() else { return };
        for half in [lower, upper] {
            if half.last() < self.terms.start {
                continue;
            }
            let sum = self.holdings.directory().sum_of(half).unwrap_or_default();
            if sum.count > keys && !self.is_leaf(half) {
                self.bits.put_bit(true);
                self.put_halves_of_leaves(half, keys, bits);
            } else {
                self.put_cell(half, sum, bits);
            }
        }
    }

    fn put_halves_of_items(&mut self, cell: Interval, items: &[Item], keys: u64, bits: u32) {
        let Some((lower, upper)) = cell.halves() else { return };
        let middle = items.partition_point(|item| item.position < upper.first());
        let (low_items, high_items) = items.split_at(middle);
        for (half, items) in [(lower, low_items), (upper, high_items)] {
            if half.last() < self.terms.start {
                continue;
            }
            if items.len() as u64 > keys {
                self.bits.put_bit(true);
                self.put_halves_of_items(half, items, keys, bits);
            } else {
                self.put_cell(half, items.iter().map(|item| item.sum).sum(), bits);
            }
        }
    }

    fn put_cell(&mut self, cell: Interval, sum: Sum, bits: u32) {
        self.bits.put_bit(false);
        self.bits.put_bit(sum.is_empty());
        if sum.is_empty() {
            self.offers.push(Offer::List { cell, positions: Vec::new() });
        } else {
            self.bits.put(self.cell_hash(sum, bits).into(), bits);
            self.offers.push(Offer::Hash { cell });
        }
    }

    fn put_list(&mut self, cell: Interval, items: &[Item]) {
        self.bits.put_count(items.len());
        if !items.is_empty() {
            let own = self.holdings.directory().total().count;
            let width = Width::choose(own, self.terms.other_count);
            self.bits.put_bit(width == Width::Wide);
            let (salt, bits) = (self.terms.salt, width.bits(items.len()));
            items.iter().for_each(|item| self.bits.put(short_hash(item, salt, bits).into(), bits));
        }
        let positions = items.iter().map(|item| item.position).collect();
        self.offers.push(Offer::List { cell, positions });
    }

    fn end_at(&mut self, position: u128) {
        self.end = Some(self.end.map_or(position, |end| end.min(position)));
    }

    fn touch_leaf_around(&mut self, cell: Interval) {
        if let Some(leaf) = self.holdings.directory().leaf_at(cell.first()) {
            self.leaves.touch(leaf.interval.first());
        }
    }

    fn cell_hash(&self, sum: Sum, bits: u32) -> u64 {
        salted_root(&sum, self.terms.salt) & (u64::MAX >> (64 - bits))
    }

    fn is_leaf(&self, cell: Interval) -> bool {
        self.holdings.directory().leaf_at(cell.first()).is_some_and(|leaf| leaf.interval == cell)
    }

    fn finish(self, claims: usize) -> Answer {
        let mut bits = BitWriter::default();
        bits.put_bit(self.end.is_some());
        if let Some(end) = self.end {
            bits.put(end, POSITION_BITS.into());
        }
        bits.put_set(&self.answered, claims);
        bits.append(&self.bits);
        Answer { packed: bits.into_bytes(), offers: self.offers, found: self.found, end: self.end }
    }
}
