//! Owns the bit stream inside a step: numbers, hashes and sets of indices; refuses to know what they mean.
//!
//! Bits fill each byte from its lowest; a value of several bits goes in from its lowest. Counts are Elias gamma codes
//! of the count plus one.

/// The stream ended early, or holds a number or index that cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Garbled;

#[derive(Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// Bits used of the last byte, 0 if it is full or there is none.
    used: u32,
}

impl BitWriter {
    /// Appends the lowest `bits` of `value`.
    pub(super) fn put(&mut self, mut value: u128, mut bits: u32) {
        while bits > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let room = (8 - self.used).min(bits);
            let [low, ..] = value.to_le_bytes();
            let piece = low & (u8::MAX >> (8 - room));
            if let Some(last) = self.bytes.last_mut() {
                *last |= piece << self.used;
            }
            self.used = (self.used + room) % 8;
            value >>= room;
            bits -= room;
        }
    }

    pub(super) fn put_bit(&mut self, bit: bool) {
        self.put(u128::from(bit), 1);
    }

    pub(super) fn put_count(&mut self, count: usize) {
        let value = count as u128 + 1;
        let digits = value.ilog2();
        self.put(0, digits);
        self.put_bit(true);
        self.put(value, digits);
    }

    /// Appends ascending indices below `of`, as a bitmap or as gaps, whichever is shorter.
    pub(super) fn put_set(&mut self, set: &[usize], of: usize) {
        if of == 0 {
            return;
        }
        let as_gaps = count_bits(set.len()) + gaps(set).map(count_bits).sum::<usize>() < of;
        self.put_bit(as_gaps);
        if as_gaps {
            self.put_count(set.len());
            gaps(set).for_each(|gap| self.put_count(gap));
        } else {
            let mut wanted = set.iter().peekable();
            (0..of).for_each(|index| self.put_bit(wanted.next_if_eq(&&index).is_some()));
        }
    }

    /// Appends everything another writer holds.
    pub(super) fn append(&mut self, other: &Self) {
        let Some((last, full)) = other.bytes.split_last() else { return };
        full.iter().for_each(|byte| self.put(u128::from(*byte), 8));
        self.put(u128::from(*last), if other.used == 0 { 8 } else { other.used });
    }

    /// Bytes written so far.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// How far each index lies beyond the one before it, none of them being equal.
fn gaps(set: &[usize]) -> impl Iterator<Item = usize> + '_ {
    set.iter().scan(0, |next, index| {
        let gap = index - *next;
        *next = index + 1;
        Some(gap)
    })
}

/// Bits that [`BitWriter::put_count`] takes.
const fn count_bits(count: usize) -> usize {
    2 * (count as u128 + 1).ilog2() as usize + 1
}

pub(super) struct BitReader<'a> {
    /// What is not read to the end.
    bytes: &'a [u8],
    /// Bits read of the first byte, below 8.
    read: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, read: 0 }
    }

    /// Reads `bits` bits, 128 at most.
    pub(super) fn take(&mut self, bits: u32) -> Result<u128, Garbled> {
        let (mut value, mut taken) = (0, 0);
        while taken < bits {
            let (byte, rest) = self.bytes.split_first().ok_or(Garbled)?;
            let piece = (8 - self.read).min(bits - taken);
            let read = (byte >> self.read) & (u8::MAX >> (8 - piece));
            value |= u128::from(read) << taken;
            taken += piece;
            self.read += piece;
            if self.read == 8 {
                (self.bytes, self.read) = (rest, 0);
            }
        }
        Ok(value)
    }

    /// Reads `bits` bits, 64 at most.
    pub(super) fn take_u64(&mut self, bits: u32) -> Result<u64, Garbled> {
        u64::try_from(self.take(bits)?).or(Err(Garbled))
    }

    pub(super) fn take_bit(&mut self) -> Result<bool, Garbled> {
        Ok(self.take(1)? == 1)
    }

    pub(super) fn take_count(&mut self) -> Result<usize, Garbled> {
        let mut digits = 0;
        while !self.take_bit()? {
            digits += 1;
            if digits >= 32 {
                return Err(Garbled);
            }
        }
        let value = (1 << digits) | self.take(digits)?;
        usize::try_from(value - 1).or(Err(Garbled))
    }

    pub(super) fn take_set(&mut self, of: usize) -> Result<Vec<usize>, Garbled> {
        let mut set = Vec::new();
        if of == 0 {
            return Ok(set);
        }
        if self.take_bit()? {
            let mut next = 0;
            for _ in 0..self.take_count()? {
                let index = next + self.take_count()?;
                if index >= of {
                    return Err(Garbled);
                }
                set.push(index);
                next = index + 1;
            }
        } else {
            for index in 0..of {
                if self.take_bit()? {
                    set.push(index);
                }
            }
        }
        Ok(set)
    }

    /// Ends the reading: nothing may be left but the unused bits of the last byte, all zero.
    pub(super) fn finish(mut self) -> Result<(), Garbled> {
        if self.read > 0 && self.take(8 - self.read)? != 0 || !self.bytes.is_empty() {
            Err(Garbled)
        } else {
            Ok(())
        }
    }
}
