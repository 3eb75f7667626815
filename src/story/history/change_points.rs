//! Where a series of figures changed its level: circular binary segmentation (A. B. Olshen et al., 2004), which also sees a
//! dip that went away again. Cuts are held against chance by a permutation test, then each against its two neighbours. It must
//! not know what the figures are.

use crate::random::SplitMix;

/// Permutations of a segment. The first of them is the segment itself.
const PERMUTATIONS: usize = 1000;
/// Largest p at which a cut is believed: about one false alarm in a hundred histories without a change.
const ALPHA: f64 = 0.01;
/// Fewest figures of a level: one odd night is not a level.
const SHORTEST: usize = 3;
/// Figures that are looked at, the latest: the time that it takes grows with their square.
const LONGEST: usize = 400;

/// From `at` on the figures have another level.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// The first figure of the new level.
    pub at: usize,
    /// Means of the levels before and after, up to the next changes.
    pub before: f64,
    pub after: f64,
    /// Of the permutation test between the two levels, at least 1 / 1000.
    pub p: f64,
}

/// All changes in `values`, in order.
pub fn change_points(values: &[f64]) -> Vec<Change> {
    let skipped = values.len().saturating_sub(LONGEST);
    let values = &values[skipped..];
    let mut random = SplitMix(0x5eed);
    let mut cuts = Vec::new();
    let mut open = vec![(0, values.len())];
    while let Some((from, to)) = open.pop() {
        if let Some((first, last)) = arc(&values[from..to], &mut random) {
            let ends = [from, from + first, from + last, to];
            cuts.extend(ends[1..3].iter().filter(|c| **c > from && **c < to));
            open.extend(ends.windows(2).map(|w| (w[0], w[1])).filter(|(a, b)| a < b));
        }
    }
    cuts.sort_unstable();
    let changes = keep(values, cuts, &mut random);
    changes.into_iter().map(|c| Change { at: c.at + skipped, ..c }).collect()
}

/// The piece of a segment that differs most from the rest of it, if more than chance makes pieces differ.
fn arc(values: &[f64], random: &mut SplitMix) -> Option<(usize, usize)> {
    let (found, piece) = farthest(values)?;
    let p = chance(values, found, random, |shuffled| farthest(shuffled).map_or(0.0, |(other, _)| other));
    (p < ALPHA).then_some(piece)
}

/// The largest distance between the mean of a piece and that of the rest, weighted so that pieces of all lengths have the
/// same variance: √(k (n − k) / n) · |difference|. `None` where all are the same, or too few.
fn farthest(values: &[f64]) -> Option<(f64, (usize, usize))> {
    let n = values.len();
    let sums: Vec<f64> = [0.0].into_iter().chain(values.iter().scan(0.0, |sum, v| Some(add(sum, *v)))).collect();
    let whole = sums[n];
    // What sums are off by is no difference.
    let mut best = (1e-9 * (1.0 + whole.abs()), (0, 0));
    let starts = [0].into_iter().chain(SHORTEST..n);
    for from in starts {
        for to in (from + SHORTEST..=n).filter(|to| *to == n || n - to >= SHORTEST) {
            let k = to - from;
            if n - k < SHORTEST {
                continue;
            }
            let (k, n, inside) = (k as f64, n as f64, sums[to] - sums[from]);
            let distance = (k * (n - k) / n).sqrt() * (inside / k - (whole - inside) / (n - k)).abs();
            if distance > best.0 {
                best = (distance, (from, to));
            }
        }
    }
    (best.1.1 > 0).then_some(best)
}

fn add(sum: &mut f64, value: f64) -> f64 {
    *sum += value;
    *sum
}

/// The share of permutations of `values` whose `statistic` is as large as `found`; at least [`ALPHA`] as soon as that is sure.
fn chance(values: &[f64], found: f64, random: &mut SplitMix, statistic: impl Fn(&[f64]) -> f64) -> f64 {
    let mut shuffled = values.to_vec();
    let mut as_good = 1;
    for _ in 1..PERMUTATIONS {
        // Fisher and Yates.
        for i in (1..shuffled.len()).rev() {
            shuffled.swap(i, random.below(i + 1));
        }
        // Sums in another order differ in their last bits.
        as_good += usize::from(statistic(&shuffled) >= found * (1.0 - 1e-9));
        if as_good as f64 >= ALPHA * PERMUTATIONS as f64 {
            break;
        }
    }
    as_good as f64 / PERMUTATIONS as f64
}

/// Those of `cuts` whose two levels differ by more than chance; the worst goes first, as its levels become one.
fn keep(values: &[f64], mut cuts: Vec<usize>, random: &mut SplitMix) -> Vec<Change> {
    loop {
        let ends: Vec<usize> = [0].into_iter().chain(cuts.iter().copied()).chain([values.len()]).collect();
        let changes: Vec<Change> = ends.windows(3).map(|w| change(values, w[0], w[1], w[2], random)).collect();
        match (0..changes.len()).max_by(|a, b| changes[*a].p.total_cmp(&changes[*b].p)) {
            Some(worst) if changes[worst].p >= ALPHA => drop(cuts.remove(worst)),
            _ => return changes,
        }
    }
}

fn change(values: &[f64], from: usize, at: usize, to: usize, random: &mut SplitMix) -> Change {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let apart = |both: &[f64]| (mean(&both[..at - from]) - mean(&both[at - from..])).abs();
    let both = &values[from..to];
    let p = chance(both, apart(both), random, apart);
    Change { at, before: mean(&values[from..at]), after: mean(&values[at..to]), p }
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
