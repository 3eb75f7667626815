//! Which ids were there before, in bounded memory. It owns what happens when there are too many to keep: it must not
//! know what an id is of.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

/// Most ids that are kept, each with its line: as many as fit 2¹⁸ places of a hash table, about 5 MiB.
const MAX: usize = (1 << 18) / 8 * 7;

/// Ids by hash, with the first line that had each. The hash has 64 bits: that two of [`MAX`] ids share one is less
/// likely than 1 in 10⁸.
///
/// Beyond [`MAX`] ids only those are kept whose hash ends in so many zero bits, so that it remains a fair sample: a
/// file that was appended to itself is still found out, a single pair perhaps not.
#[derive(Debug, Default)]
pub struct Ids {
    lines: HashMap<u64, u64>,
    /// Zero bits at the end of the hashes that are kept.
    zeros: u32,
}

impl Ids {
    /// The hash of an id, the same in every run.
    pub fn hash(id: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(id.as_bytes());
        hasher.finish()
    }

    /// Takes the id with this hash, on `line`; if it was there before, the two lines, in order.
    pub fn add(&mut self, hash: u64, line: u64) -> Option<(u64, u64)> {
        if hash.trailing_zeros() < self.zeros {
            return None;
        }
        if let Some(first) = self.lines.get_mut(&hash) {
            let both = ((*first).min(line), (*first).max(line));
            *first = both.0;
            return Some(both);
        }
        if self.lines.len() == MAX {
            self.zeros += 1;
            let zeros = self.zeros;
            self.lines.retain(|hash, _| hash.trailing_zeros() >= zeros);
            return self.add(hash, line);
        }
        self.lines.insert(hash, line);
        None
    }

    /// The first line with this hash, unless it was let go.
    pub fn first(&self, hash: u64) -> Option<u64> {
        self.lines.get(&hash).copied()
    }

    /// Was every id kept?
    pub fn is_complete(&self) -> bool {
        self.zeros == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_of_two_is_found() {
        let mut ids = Ids::default();
        assert_eq!(ids.add(Ids::hash("a"), 7), None);
        assert_eq!(ids.add(Ids::hash("b"), 2), None);
        assert_eq!(ids.add(Ids::hash("a"), 3), Some((3, 7)));
        assert_eq!(ids.add(Ids::hash("a"), 9), Some((3, 9)), "the first line is the smallest");
        assert!(ids.is_complete());
    }

    #[test]
    fn many_ids_are_a_sample_that_still_finds_a_doubled_file() {
        let mut ids = Ids::default();
        let n = 5 * MAX as u64;
        let mut add_all = |from: u64| (0..n).filter(|i| ids.add(Ids::hash(&i.to_string()), from + i).is_some()).count();
        assert_eq!(add_all(0), 0);
        let found = add_all(n);
        assert!((MAX / 4..=MAX).contains(&found), "{found}");
        assert!(!ids.is_complete() && ids.lines.len() <= MAX);
    }
}
