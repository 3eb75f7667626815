//! The numbers of the records that a task asks, when it does not ask all. It must not know where the records are.

use crate::job::Selection;
use crate::random::SplitMix;

/// Of `total` records, how many are asked.
pub fn count(selection: &Selection, total: u64) -> u64 {
    total.saturating_sub(selection.offset).min(selection.n.unwrap_or(u64::MAX))
}

/// Their numbers, from 0, ascending. A sample is drawn without replacement and in constant memory, by Knuth's
/// algorithm S (The Art of Computer Programming 3.4.2): each record with the chance of those that are still wanted
/// among those that are still to come.
pub fn numbers(selection: &Selection, total: u64) -> impl Iterator<Item = u64> + use<> {
    let wanted = count(selection, total);
    let mut random = selection.seed.map(SplitMix);
    let end = if random.is_some() { total } else { selection.offset + wanted };
    let mut left = wanted;
    (selection.offset..end).filter(move |number| {
        let Some(random) = &mut random else { return true };
        let taken = left > 0 && random.below((total - number) as usize) < left as usize;
        left -= u64::from(taken);
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(n: u64, seed: u64, total: u64) -> Vec<u64> {
        numbers(&Selection { offset: 0, n: Some(n), seed: Some(seed) }, total).collect()
    }

    proptest! {
        #[test]
        fn a_selection_has_as_many_as_it_says_in_order_and_each_once(
            offset in 0u64..50, n in proptest::option::of(1u64..60), seed in proptest::option::of(0u64..9), total in 0u64..80,
        ) {
            let selection = Selection { offset, n, seed };
            let found: Vec<u64> = numbers(&selection, total).collect();
            prop_assert_eq!(found.len() as u64, count(&selection, total));
            prop_assert!(found.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(found.iter().all(|&i| i >= offset && i < total));
            if seed.is_none() {
                prop_assert_eq!(found.first().copied(), (!found.is_empty()).then_some(offset));
            }
        }
    }

    #[test]
    fn the_seed_decides_and_every_record_is_drawn_equally_often() {
        assert_eq!(sample(5, 1, 1000), sample(5, 1, 1000));
        assert_ne!(sample(5, 1, 1000), sample(5, 2, 1000));
        let mut counts = [0u32; 20];
        for seed in 0..2000 {
            sample(5, seed, 20).into_iter().for_each(|i| counts[i as usize] += 1);
        }
        // 500 each; six standard deviations of a binomial are 116.
        assert!(counts.iter().all(|&c| (384..616).contains(&c)), "{counts:?}");
    }
}
