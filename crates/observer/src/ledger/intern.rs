//! Byte strings by number: each distinct one is kept once, in the order of first sight. It forgets nothing and refuses
//! more than 2^32 - 1 of them.

use std::hash::{DefaultHasher, Hasher as _};

/// Stands for no byte string.
pub(crate) const NONE: u32 = u32::MAX;

/// The table of a set of numbers is kept at most this full, in percent.
const FULL_PERCENT: usize = 70;

/// So many byte strings share a beginning from which their ends are counted: together they take less than 4 GiB, as a
/// line of a file has at most 16 MiB.
const BLOCK: usize = 128;

/// Distinct byte strings, numbered from 0.
#[derive(Debug, Default)]
pub(crate) struct Interned {
    bytes: Vec<u8>,
    /// Where each ends in `bytes`, counted from where its block begins.
    ends: Vec<u32>,
    /// Where each block of [`BLOCK`] begins in `bytes`.
    blocks: Vec<usize>,
    /// Open addressing over numbers; [`NONE`] is an empty place.
    table: Vec<u32>,
}

impl Interned {
    /// The number of a byte string, new or known.
    pub(crate) fn intern(&mut self, text: &[u8]) -> u32 {
        if (self.ends.len() + 1) * 100 > self.table.len() * FULL_PERCENT {
            self.grow();
        }
        let place = self.place_of(text);
        if self.table[place] == NONE {
            let number = u32::try_from(self.ends.len()).expect("a history has fewer than 2^32 names");
            if self.ends.len().is_multiple_of(BLOCK) {
                self.blocks.push(self.bytes.len());
            }
            self.bytes.extend_from_slice(text);
            let begin = self.blocks.last().copied().unwrap_or(0);
            let end = u32::try_from(self.bytes.len() - begin).expect("a block holds less than 4 GiB");
            self.ends.push(end);
            self.table[place] = number;
        }
        self.table[place]
    }

    /// The byte string of a number that [`intern`](Self::intern) gave.
    pub(crate) fn at(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let begin = self.blocks[number / BLOCK];
        let start = if number.is_multiple_of(BLOCK) { 0 } else { self.ends[number - 1] };
        &self.bytes[begin + start as usize..begin + self.ends[number] as usize]
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Gives back the memory that only [`intern`](Self::intern) needs; it must not be called again.
    pub(crate) fn seal(&mut self) {
        self.table = Vec::new();
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    fn grow(&mut self) {
        let capacity = (self.table.len() * 2).max(16);
        self.table = vec![NONE; capacity];
        for number in 0..u32::try_from(self.ends.len()).expect("numbers are 32 bits wide") {
            let place = self.place_of(self.at(number));
            self.table[place] = number;
        }
    }

    /// Where the byte string is in the table, or where it belongs.
    fn place_of(&self, text: &[u8]) -> usize {
        let mut hasher = DefaultHasher::new();
        hasher.write(text);
        let mask = self.table.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the mask takes the low bits anyway")]
        let mut place = hasher.finish() as usize & mask;
        while self.table[place] != NONE && self.at(self.table[place]) != text {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::Interned;
    use proptest::prelude::{any, prop, proptest};

    proptest! {
        #[test]
        fn each_text_has_one_number_and_each_number_its_text(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 0..400)
        ) {
            let mut interned = Interned::default();
            let numbers: Vec<u32> = texts.iter().map(|text| interned.intern(text)).collect();
            for (text, &number) in texts.iter().zip(&numbers) {
                assert_eq!(interned.at(number), text.as_slice());
                assert_eq!(interned.intern(text), number);
            }
            let mut distinct = texts;
            distinct.sort();
            distinct.dedup();
            assert_eq!(interned.len(), distinct.len());
        }
    }
}
