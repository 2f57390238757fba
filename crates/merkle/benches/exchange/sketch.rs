//! Owns the other baseline: a rateless sketch of the whole set, by the crate riblt.

use std::collections::BTreeSet;

use chinwag_merkle::Entry;
use riblt::{CodedSymbol, RandomMapping, RatelessIBLT, Symbol};

use crate::cpu::seconds;
use crate::data::Pair;

/// Bytes of a cell: position and digest, a 64-bit check, a count.
pub(crate) const CELL_BYTES: usize = 24 + 8 + 1;
/// Bytes of a cell as small as they could be: an id that its owner can look up, a 32-bit check, a count.
pub(crate) const SMALL_CELL_BYTES: usize = 8 + 4 + 1;

/// Position and digest.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Record([u8; 24]);

impl Symbol for Record {
    const BYTE_ARRAY_LENGTH: usize = 24;

    fn encode_to_bytes(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    fn decode_from_bytes(bytes: &Vec<u8>) -> Self {
        Self(bytes.as_slice().try_into().expect("symbols have 24 bytes"))
    }
}

impl Record {
    fn of(entry: &Entry) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = entry.element.0.to_le_bytes();
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&entry.position.to_be_bytes());
        bytes[16..].copy_from_slice(&[a, b, c, d, e, f, g, h]);
        Self(bytes)
    }
}

/// The fewest cells from which all that differs can be told. What both hold cancels out, so it need not be put in.
pub(crate) fn cells_needed(pair: &Pair) -> usize {
    let only = |side: usize| {
        let differs = |entry: &&Entry| pair.only[side].contains(&entry.position);
        pair.replicas[side].entries.iter().filter(differs).map(Record::of).collect::<Vec<_>>()
    };
    let sides = [only(0), only(1)];
    let (mut too_few, mut enough) = (0, 4 * pair.elements().max(8));
    while enough - too_few > 1 {
        let cells = usize::midpoint(enough, too_few);
        *(if decodes(&sides, cells) { &mut enough } else { &mut too_few }) = cells;
    }
    enough
}

/// CPU seconds for one side to sketch all that it holds.
pub(crate) fn encode_seconds(entries: &[Entry], cells: usize) -> f64 {
    let records: Vec<Record> = entries.iter().map(Record::of).collect();
    let (seconds, _sketch) = seconds(|| {
        let mut sketch = RatelessIBLT::new(records);
        sketch.extend_coded_symbols(cells - 1);
        sketch
    });
    seconds
}

fn decodes(sides: &[Vec<Record>; 2], cells: usize) -> bool {
    let mut coded: Vec<CodedSymbol<Record>> = (0..cells).map(|_| CodedSymbol::new()).collect();
    let within =
        |record: &Record| RandomMapping::new(record).take_while(|index| *index < cells).collect::<Vec<_>>();
    for (side, count) in sides.iter().zip([1, -1]) {
        for record in side {
            within(record).into_iter().for_each(|index| toggle(&mut coded[index], record, count));
        }
    }
    let mut due: BTreeSet<usize> = (0..cells).collect();
    while let Some(index) = due.pop_first() {
        if !coded[index].is_peelable() {
            continue;
        }
        let (record, count) = (Record::decode_from_bytes(&coded[index].sum), coded[index].count);
        for index in within(&record) {
            toggle(&mut coded[index], &record, -count);
            due.insert(index);
        }
    }
    coded.iter().all(CodedSymbol::is_empty)
}

/// Puts a record into a cell, or takes it out.
fn toggle(cell: &mut CodedSymbol<Record>, record: &Record, count: i64) {
    cell.sum.iter_mut().zip(record.0).for_each(|(sum, byte)| *sum ^= byte);
    cell.hash ^= record.hash_();
    cell.count += count;
}
