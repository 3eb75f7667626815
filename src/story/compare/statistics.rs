//! Tests of a difference between two runs over the same records. Pure.

use crate::random::SplitMix;
pub use crate::testenv::metric::mcnemar;

/// Resamples of a bootstrap.
const RESAMPLES: usize = 2000;

/// Answers of two models to the same records, right or wrong.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Flips {
    pub n: u64,
    /// Right by the first, and by the second.
    pub base_right: u64,
    pub new_right: u64,
    /// Right and then wrong, wrong and then right.
    pub worse: u64,
    pub better: u64,
}

impl Flips {
    pub fn of(pairs: impl Iterator<Item = (bool, bool)>) -> Flips {
        pairs.fold(Flips::default(), |f, (base, new)| Flips {
            n: f.n + 1,
            base_right: f.base_right + u64::from(base),
            new_right: f.new_right + u64::from(new),
            worse: f.worse + u64::from(base && !new),
            better: f.better + u64::from(!base && new),
        })
    }

    /// Change of the share of right answers, percentage points.
    pub fn points(&self) -> f64 {
        100.0 * (self.better as f64 - self.worse as f64) / self.n.max(1) as f64
    }

    /// Its 95 % interval: Wald's with half a record more in each of the four cells, which holds its level also where few
    /// or no records have changed sides (A. Agresti & Y. Min, 2005).
    pub fn interval(&self) -> (f64, f64) {
        let n = self.n as f64 + 2.0;
        let difference = self.better as f64 - self.worse as f64;
        let se = ((self.better + self.worse) as f64 + 1.0 - difference.powi(2) / n).max(0.0).sqrt() / n;
        (100.0 * (difference / n - 1.96 * se), 100.0 * (difference / n + 1.96 * se))
    }

    /// McNemar's p.
    pub fn p(&self) -> f64 {
        mcnemar(self.worse, self.better)
    }
}

/// A change of a ratio scale (ms, tokens/s) over the same records: how much in %, its 95 % interval, and p.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    pub percent: f64,
    pub lo: f64,
    pub hi: f64,
    pub p: f64,
}

/// Paired bootstrap (B. Efron, 1979; percentile interval) of the mean log ratio new / base over `pairs`. `None` with
/// fewer than two pairs. p is twice the share of resamples on the other side of no change, at least 1 / resamples.
pub fn paired_change(pairs: &[(f64, f64)]) -> Option<Change> {
    let ratios: Vec<f64> = pairs.iter().filter(|(a, b)| *a > 0.0 && *b > 0.0).map(|(a, b)| (b / a).ln()).collect();
    if ratios.len() < 2 {
        return None;
    }
    let mean = |sum: f64| sum / ratios.len() as f64;
    let observed = mean(ratios.iter().sum());
    let mut random = SplitMix(0x5eed);
    let mut means: Vec<f64> =
        (0..RESAMPLES).map(|_| mean((0..ratios.len()).map(|_| ratios[random.below(ratios.len())]).sum())).collect();
    means.sort_unstable_by(f64::total_cmp);
    let below = means.partition_point(|m| *m < 0.0) as f64;
    let not_above = means.partition_point(|m| *m <= 0.0) as f64;
    let n = RESAMPLES as f64;
    // No change at all, in every resample, is p = 1 and not 0.
    let p = (2.0 * not_above.min(n - below) / n).clamp(1.0 / n, 1.0);
    let percent = |log: f64| (log.exp() - 1.0) * 100.0;
    let at = |share: f64| means[((share * n) as usize).min(RESAMPLES - 1)];
    Some(Change { percent: percent(observed), lo: percent(at(0.025)), hi: percent(at(0.975)), p })
}

/// Holm's correction (S. Holm, 1979): p values that hold for all tests together, in the order given.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let (mut adjusted, mut largest) = (vec![1.0; p.len()], 0.0f64);
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max((p[i] * (p.len() - rank) as f64).min(1.0));
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flips_are_counted_and_their_interval_is_that_of_agresti_and_min() {
        let pairs = [(true, true), (true, false), (true, false), (false, true), (false, false)];
        let flips = Flips::of(pairs.into_iter());
        assert_eq!(flips, Flips { n: 5, base_right: 3, new_right: 2, worse: 2, better: 1 });
        assert_eq!(flips.points(), -20.0);
        // By hand: −7 / 63 ± 1.96 √(26 − 49 / 63) / 63.
        let (lo, hi) = Flips { n: 61, worse: 16, better: 9, ..Flips::default() }.interval();
        assert!((lo + 26.736).abs() < 0.01 && (hi - 4.513).abs() < 0.01, "{lo} {hi}");
        let (lo, hi) = Flips { n: 100, ..Flips::default() }.interval();
        assert!((lo + 1.92).abs() < 0.01 && lo == -hi, "nobody has changed sides: {lo} {hi}");
    }

    #[test]
    fn holm_is_the_textbooks() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_change_is_found_with_its_size() {
        let pairs: Vec<(f64, f64)> =
            (0..100).map(|i| (100.0 + i as f64, (100.0 + i as f64) * 1.1 + (i % 7) as f64)).collect();
        let change = paired_change(&pairs).unwrap();
        assert!(change.lo > 10.0 && change.hi < 13.0 && change.p < 0.01, "{change:?}");
        let same: Vec<(f64, f64)> = (0..100).map(|i| (5.0 + i as f64, 5.0 + i as f64)).collect();
        assert_eq!(paired_change(&same).unwrap(), Change { percent: 0.0, lo: 0.0, hi: 0.0, p: 1.0 });
        assert_eq!(paired_change(&[(1.0, 2.0)]), None);
    }

    /// Two nights of the same backend, 60 records whose times vary by 20 % each; then one that is slower by a tenth.
    #[test]
    fn noise_of_times_rarely_alarms_and_ten_percent_are_seen() {
        let mut random = SplitMix(11);
        let mut share = |slower: f64| {
            let mut noise = || 1.0 + 0.2 * (random.next() as f64 / u64::MAX as f64 - 0.5);
            let alarms = (0..120).filter(|_| {
                let pairs: Vec<(f64, f64)> =
                    (0..60).map(|i| (f64::from(i + 20) * noise(), f64::from(i + 20) * slower * noise())).collect();
                let change = paired_change(&pairs).unwrap();
                // Three figures of time and one of quality are corrected together.
                holm(&[change.p, 1.0, 1.0, 1.0])[0] < 0.05 && change.percent > 5.0
            });
            alarms.count() as f64 / 120.0
        };
        assert!(share(1.0) <= 0.05);
        assert!(share(1.1) >= 0.8);
    }

    /// Identical models whose answers differ by chance, and a planted drop of 5 points, at n = 500.
    #[test]
    fn false_alarms_are_rare_and_a_drop_of_five_points_is_seen() {
        let mut random = SplitMix(7);
        let mut chance = |p: f64| (random.next() as f64 / u64::MAX as f64) < p;
        let mut share = |drop: f64| {
            let alarms = (0..400).filter(|_| {
                let (mut worse, mut better) = (0, 0);
                for _ in 0..500 {
                    // One record in fifty changes sides by itself.
                    let flips = chance(0.02);
                    if flips && chance(0.5) {
                        worse += 1
                    } else if flips {
                        better += 1
                    }
                    worse += u64::from(chance(drop));
                }
                let points = (better as f64 - worse as f64) / 5.0;
                mcnemar(worse, better) < 0.05 && points < -1.0
            });
            alarms.count() as f64 / 400.0
        };
        assert!(share(0.0) <= 0.05);
        assert!(share(0.05) >= 0.8);
    }
}
