//! Where in a file its records are, roughly: found while the file is checked, so that a run goes to a record without
//! reading what is before it. Bounded memory. It must not know how records are read.

use std::collections::BTreeMap;

/// Most places that are remembered of a file.
const PLACES: u64 = 4096;

/// The beginning of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// In bytes, from the file's beginning.
    pub offset: u64,
    /// Number of the line, from 1.
    pub line: u64,
    /// Number of the first record at or behind it, from 0.
    pub record: u64,
}

/// Places of a file, ascending.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    places: Vec<Place>,
}

impl Index {
    /// The last place that is not behind a record.
    pub fn before(&self, record: u64) -> Option<Place> {
        let behind = self.places.partition_point(|place| place.record <= record);
        self.places.get(behind.checked_sub(1)?).copied()
    }
}

/// An index in the making, by blocks that come in any order.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Bytes that share a place.
    step: u64,
    /// The first block of each step, with the number of records of all.
    steps: BTreeMap<u64, Place>,
}

impl Blocks {
    /// For a file of `length` bytes, which is read in blocks of `block`; a length of 0 is not known.
    pub fn new(length: u64, block: u64) -> Blocks {
        let step = if length == 0 { u64::MAX } else { (length / PLACES + 1).max(block) };
        Blocks { step, steps: BTreeMap::new() }
    }

    /// Takes a block that begins at `offset` with `line` and holds so many records.
    pub fn add(&mut self, offset: u64, line: u64, records: u64) {
        let place = self.steps.entry(offset / self.step).or_insert(Place { offset, line, record: 0 });
        if offset < place.offset {
            (place.offset, place.line) = (offset, line);
        }
        place.record += records;
    }

    /// Takes the blocks of another thread.
    pub fn merge(&mut self, other: Blocks) {
        for (step, place) in other.steps {
            let mine = self.steps.entry(step).or_insert(Place { record: 0, ..place });
            if place.offset < mine.offset {
                (mine.offset, mine.line) = (place.offset, place.line);
            }
            mine.record += place.record;
        }
    }

    /// The index of all blocks.
    pub fn finish(self) -> Index {
        let mut record = 0;
        let places = self.steps.into_values().map(|place| {
            let first = record;
            record += place.record;
            Place { record: first, ..place }
        });
        Index { places: places.collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_in_any_order_make_the_same_index() {
        let blocks = [(0, 1, 3), (10, 4, 2), (20, 6, 0), (30, 9, 5)];
        let index = |order: [usize; 4], split: usize| {
            let (mut a, mut b) = (Blocks::new(40, 1), Blocks::new(40, 1));
            for (i, block) in order.into_iter().enumerate() {
                let (offset, line, records) = blocks[block];
                if i < split { a.add(offset, line, records) } else { b.add(offset, line, records) }
            }
            a.merge(b);
            a.finish()
        };
        let found = index([0, 1, 2, 3], 4);
        assert_eq!(found, index([3, 1, 0, 2], 2));
        assert_eq!(found.before(0).unwrap().offset, 0);
        assert_eq!(found.before(4).unwrap(), Place { offset: 10, line: 4, record: 3 });
        assert_eq!(found.before(5).unwrap().offset, 30, "no record is at 20");
    }

    #[test]
    fn a_long_file_has_few_places() {
        let mut blocks = Blocks::new(1 << 30, 1 << 10);
        (0..1 << 20).for_each(|i| blocks.add(i << 10, i, 1));
        let index = blocks.finish();
        assert!(index.places.len() as u64 <= PLACES);
        let place = index.before(500_000).unwrap();
        assert!(place.record <= 500_000 && place.record + 300 > 500_000, "{place:?}");
    }
}
