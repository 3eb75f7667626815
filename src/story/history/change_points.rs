//! Where a series of figures changed its level: binary segmentation (A. J. Scott and M. Knott, 1974), each cut held against
//! chance by a permutation test, as E-divisive does it (D. S. Matteson and N. A. James, 2014). It must not know what the
//! figures are.

use crate::random::SplitMix;

/// Permutations of a segment. The first of them is the segment itself.
const PERMUTATIONS: usize = 1000;
/// Largest p at which a cut is believed: about one false alarm in a hundred histories without a change.
const ALPHA: f64 = 0.01;
/// Fewest figures on a side of a cut: one odd night is not a level.
const SHORTEST: usize = 3;

/// From `at` on the figures have another level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The first figure of the new level.
    pub at: usize,
    /// Means of the levels before and after, up to the next changes.
    pub before: f64,
    pub after: f64,
    /// Of the permutation test, at least 1 / 1000.
    pub p: f64,
}

/// All changes in `values`, in order.
pub fn change_points(values: &[f64]) -> Vec<Change> {
    let mut random = SplitMix(0x5eed);
    let mut cuts = Vec::new();
    let mut open = vec![(0, values.len())];
    while let Some((from, to)) = open.pop() {
        if let Some((at, p)) = cut(&values[from..to], &mut random) {
            cuts.push((from + at, p));
            open.extend([(from, from + at), (from + at, to)]);
        }
    }
    cuts.sort_unstable_by_key(|c| c.0);
    let mean = |from: usize, to: usize| values[from..to].iter().sum::<f64>() / (to - from) as f64;
    let change = |i: usize| {
        let before = if i == 0 { 0 } else { cuts[i - 1].0 };
        let end = cuts.get(i + 1).map_or(values.len(), |c| c.0);
        let (at, p) = cuts[i];
        Change { at, before: mean(before, at), after: mean(at, end), p }
    };
    (0..cuts.len()).map(change).collect()
}

/// The best cut of one segment, if it is better than chance makes them.
fn cut(values: &[f64], random: &mut SplitMix) -> Option<(usize, f64)> {
    let (at, found) = best(values)?;
    let mut shuffled = values.to_vec();
    let mut as_good = 1;
    for _ in 1..PERMUTATIONS {
        // Fisher and Yates.
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        // Sums in another order differ in their last bits.
        as_good += usize::from(best(&shuffled).is_some_and(|(_, other)| other >= found * (1.0 - 1e-9)));
    }
    let p = as_good as f64 / PERMUTATIONS as f64;
    (p < ALPHA).then_some((at, p))
}

/// The cut with the largest distance between the means, weighted so that cuts at all places have the same variance (CUSUM):
/// √(k (n − k) / n) · |mean of the first k − mean of the rest|. `None` where all are the same, or too few.
fn best(values: &[f64]) -> Option<(usize, f64)> {
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    let mut left = 0.0;
    let mut best: Option<(usize, f64)> = None;
    for (i, value) in values.iter().enumerate().take(values.len().saturating_sub(SHORTEST)) {
        left += value;
        if i + 1 < SHORTEST {
            continue;
        }
        let k = (i + 1) as f64;
        let statistic = (k * (n - k) / n).sqrt() * (left / k - (sum - left) / (n - k)).abs();
        if statistic > best.map_or(1e-12 * (1.0 + sum.abs()), |b| b.1) {
            best = Some((i + 1, statistic));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About normal, mean 0 and deviation 1: twelve even numbers, summed.
    fn noise(random: &mut SplitMix) -> f64 {
        (0..12).map(|_| random.below(1 << 30) as f64 / f64::from(1 << 30)).sum::<f64>() - 6.0
    }

    #[test]
    fn a_drop_and_the_way_back_are_found_where_they_are() {
        let mut random = SplitMix(3);
        let level = |i: usize| if (20..32).contains(&i) { 90.0 } else { 100.0 };
        let values: Vec<f64> = (0..50).map(|i| level(i) + noise(&mut random)).collect();
        let found = change_points(&values);
        let places: Vec<usize> = found.iter().map(|c| c.at).collect();
        assert_eq!(places, [20, 32]);
        assert!((found[0].before - 100.0).abs() < 1.0 && (found[0].after - 90.0).abs() < 1.0, "{found:?}");
        assert_eq!(found[0].after, found[1].before);
    }

    #[test]
    fn one_odd_night_and_a_constant_are_no_change() {
        let mut values = vec![50.0; 30];
        assert!(change_points(&values).is_empty());
        values[12] = 10.0;
        assert!(change_points(&values).is_empty());
        assert!(change_points(&[]).is_empty() && change_points(&[1.0, 2.0]).is_empty());
    }

    #[test]
    fn chance_alone_is_rarely_taken_for_a_change() {
        let mut random = SplitMix(11);
        let alarms = (0..200).filter(|_| {
            let values: Vec<f64> = (0..24).map(|_| noise(&mut random)).collect();
            !change_points(&values).is_empty()
        });
        let alarms = alarms.count();
        assert!(alarms <= 8, "{alarms} of 200");
    }
}
