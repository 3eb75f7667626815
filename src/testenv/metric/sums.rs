//! Rows of numbers, kept so that they can be resampled: by record in bounded memory, and by subject. It must not know
//! what the numbers are.
//!
//! Up to [`UNITS`] records are kept one by one. Beyond that neighbours are put together, two, four, … records a unit: to
//! resample blocks of neighbours is as good for the interval of a sum (the block bootstrap; S. N. Lahiri, 2003, ch. 2),
//! and there are always more than 2000 of them. The memory is at most `UNITS` × 8 bytes a column, twice with subjects;
//! BLEU has 10 columns, chrF 18, classes 3 each.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Most units, and most subjects that are told apart. Even.
pub const UNITS: usize = 4096;
/// Most units of one of many tallies, such as that of a subject. Even.
pub const FEW_UNITS: usize = 512;

/// Rows of equal length, one behind the other.
#[derive(Debug, Clone, Default)]
pub struct Table {
    width: usize,
    values: Vec<f64>,
}

impl Table {
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.width.max(1))
    }

    pub fn width(&self) -> usize {
        self.width
    }

    /// Adds `row` to the row `index`, which may be the first one that is not there yet.
    fn add(&mut self, index: usize, row: &[f64]) {
        if row.len() > self.width {
            self.widen(row.len());
        }
        let start = index * self.width;
        if start == self.values.len() {
            self.values.resize(start + self.width, 0.0);
        }
        self.values[start..].iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }

    fn widen(&mut self, width: usize) {
        let mut values = Vec::with_capacity(self.len() * width);
        for row in self.rows() {
            values.extend_from_slice(row);
            values.resize(values.len() + width - self.width, 0.0);
        }
        (self.values, self.width) = (values, width);
    }

    /// Puts each two neighbours together.
    fn halve(&mut self) {
        let width = self.width;
        for unit in 0..self.len() / 2 {
            for column in 0..width {
                let from = 2 * unit * width + column;
                self.values[unit * width + column] = self.values[from] + self.values[from + width];
            }
        }
        self.values.truncate(self.len() / 2 * width);
    }
}

/// Records, or blocks of equally many neighbours.
#[derive(Debug, Clone)]
pub struct Units {
    table: Table,
    /// Most of them.
    most: usize,
    /// Records in a unit.
    size: u64,
    /// Records in the last unit; `size` when it is full.
    filled: u64,
}

impl Default for Units {
    fn default() -> Units {
        Units::at_most(UNITS)
    }
}

impl Units {
    pub fn at_most(most: usize) -> Units {
        Units { table: Table::default(), most, size: 1, filled: 1 }
    }

    pub fn add(&mut self, row: &[f64]) {
        let mut index = self.table.len();
        if self.filled < self.size {
            index -= 1;
        } else {
            if index == self.most {
                self.table.halve();
                self.size *= 2;
                index = self.most / 2;
            }
            self.filled = 0;
        }
        self.table.add(index, row);
        self.filled += 1;
    }

    pub fn table(&self) -> &Table {
        &self.table
    }
}

/// Sums by subject.
#[derive(Debug, Clone, Default)]
pub struct Subjects {
    places: HashMap<String, usize>,
    table: Table,
}

impl Subjects {
    pub fn add(&mut self, subject: &str, row: &[f64]) {
        let place = match self.places.get(subject) {
            Some(place) => *place,
            None if self.places.len() < UNITS => {
                let place = self.places.len();
                self.places.insert(subject.to_owned(), place);
                place
            }
            None => {
                // So many subjects share their sums, which is as good: each is whole in one of them.
                let mut hasher = DefaultHasher::new();
                subject.hash(&mut hasher);
                hasher.finish() as usize % UNITS
            }
        };
        self.table.add(place, row);
    }

    /// Nothing where there are not several subjects.
    pub fn table(&self) -> Option<&Table> {
        (self.table.len() > 1).then_some(&self.table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]

        #[test]
        fn no_record_is_lost_whatever_is_put_together(n in 1usize..40_000, wide_from in 0usize..40_000) {
            let mut units = Units::default();
            let mut subjects = Subjects::default();
            for i in 0..n {
                let row: &[f64] = if i < wide_from { &[1.0, i as f64] } else { &[1.0, i as f64, 1.0] };
                units.add(row);
                subjects.add(&(i % 5000).to_string(), row);
            }
            for table in [units.table(), &subjects.table] {
                prop_assert!(table.len() <= UNITS && table.len() >= n.min(UNITS / 2));
                let sum = |column: usize| table.rows().map(|r| r.get(column).copied().unwrap_or(0.0)).sum::<f64>();
                prop_assert_eq!(sum(0), n as f64);
                prop_assert_eq!(sum(1), (n * (n - 1) / 2) as f64);
                prop_assert_eq!(sum(2), n.saturating_sub(wide_from) as f64);
            }
            // Blocks are of one size but for the last.
            let sizes: Vec<f64> = units.table().rows().map(|r| r[0]).collect();
            prop_assert!(sizes[..sizes.len() - 1].iter().all(|s| *s == sizes[0]));
        }
    }
}
