//! 95 % intervals. Pure; it must not know the metrics.

use super::sums::Table;
use crate::random::SplitMix;

/// The ends of an interval.
pub type Interval = (f64, f64);

/// z of the two-sided 95 % interval.
const Z95: f64 = 1.959_963_984_540_054;
/// Resamples of a bootstrap.
const RESAMPLES: usize = 1000;
/// The bootstrap's seed: the same records give the same interval.
const SEED: u64 = 0x5eed;

/// Wilson score interval of a share `p` of `n`: (p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n)
/// (Wilson 1927; Brown, Cai & DasGupta 2001). `n` may be an effective number. `None` when it is 0.
pub fn wilson(p: f64, n: f64) -> Option<Interval> {
    if n <= 0.0 {
        return None;
    }
    let z2 = Z95 * Z95;
    let centre = p + z2 / (2.0 * n);
    let half = Z95 * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    // At 0 and 1 an end is p itself, but for rounding.
    Some((((centre - half) / scale).clamp(0.0, p), ((centre + half) / scale).clamp(p, 1.0)))
}

/// By how much clusters make the variance of a share larger than independent records would, at least 1. A row is a
/// cluster: records in column 0, right ones in `column`.
///
/// The cluster-robust variance is G/(G−1) · Σ_g (Σ_i (x_gi − p))² / n² (Cameron & Miller 2015, with their small-sample
/// factor; E. Miller 2024, "Adding Error Bars to Evals", eq. 4); n over the effect is the effective number for Wilson's
/// interval (Korn & Graubard 1998; Franco et al. 2019).
pub fn design_effect(clusters: &Table, column: usize) -> f64 {
    let g = clusters.len() as f64;
    let n: f64 = clusters.rows().map(|r| r[0]).sum();
    let p = clusters.rows().map(|r| r[column]).sum::<f64>() / n;
    let residuals: f64 = clusters.rows().map(|r| (r[column] - p * r[0]).powi(2)).sum();
    let independent = p * (1.0 - p) / n;
    let clustered = g / (g - 1.0) * residuals / (n * n);
    if independent > 0.0 { (clustered / independent).max(1.0) } else { 1.0 }
}

/// Percentile bootstrap (Efron 1979) of what `values` makes of sums of rows; with subjects as rows the pairs cluster
/// bootstrap (Cameron, Gelbach & Miller 2008). The ends are the 26th and the 975th of 1000 sorted values. `None` for a value
/// that a resample could not give, and where there are not two rows.
pub fn bootstrap(table: &Table, values: impl Fn(&[f64]) -> Vec<Option<f64>>) -> Vec<Option<Interval>> {
    let units = table.len();
    let mut random = SplitMix(SEED);
    let (mut counts, mut sums) = (vec![0u32; units], vec![0.0; table.width()]);
    let mut samples: Vec<Vec<f64>> = Vec::new();
    for _ in 0..RESAMPLES {
        counts.fill(0);
        (0..units).for_each(|_| counts[random.below(units)] += 1);
        sums.fill(0.0);
        for (row, count) in table.rows().zip(&counts).filter(|(_, count)| **count > 0) {
            let times = f64::from(*count);
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += times * value);
        }
        let drawn = values(&sums);
        samples.resize_with(drawn.len(), Vec::new);
        samples.iter_mut().zip(drawn).for_each(|(sample, value)| sample.extend(value));
    }
    let ends = |mut sample: Vec<f64>| {
        sample.sort_unstable_by(f64::total_cmp);
        let cut = sample.len() / 40;
        (units > 1 && sample.len() == RESAMPLES).then(|| (sample[cut], sample[sample.len() - 1 - cut]))
    };
    samples.into_iter().map(ends).collect()
}

/// Of two intervals of the same value, the lower and the upper end.
pub fn wider(a: Vec<Option<Interval>>, b: Vec<Option<Interval>>) -> Vec<Option<Interval>> {
    let hull = |(a, b): (Option<Interval>, Option<Interval>)| match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    };
    a.into_iter().zip(b).map(hull).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_equals_published_values() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-4;
        // Brown, Cai & DasGupta's setting, checked against R's prop.test(correct = FALSE).
        let (lo, hi) = wilson(81.0 / 263.0, 263.0).unwrap();
        assert!(near(lo, 0.2553) && near(hi, 0.3662), "{lo} {hi}");
        let (lo, hi) = wilson(0.0, 20.0).unwrap();
        assert!(near(lo, 0.0) && near(hi, 0.1611), "{lo} {hi}");
        let (lo, hi) = wilson(1.0, 20.0).unwrap();
        assert!(near(lo, 0.8389) && near(hi, 1.0), "{lo} {hi}");
        assert_eq!(wilson(f64::NAN, 0.0), None);
    }
}
