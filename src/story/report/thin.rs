//! Long series made short for a chart, so that no peak is lost. It must not know what is measured.

/// At most about `budget` points of `series`, which is in order of x: of each of equally wide pieces the first, the lowest
/// and the highest, in their order.
pub fn thin(series: &[(f64, f64)], budget: usize) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (series.first(), series.last()) else { return Vec::new() };
    if series.len() <= budget {
        return series.to_vec();
    }
    let pieces = (budget / 3).max(1) as f64;
    let width = ((last.0 - first.0) / pieces).max(f64::MIN_POSITIVE);
    let piece = |point: &(f64, f64)| ((point.0 - first.0) / width) as u64;
    let mut out = Vec::with_capacity(budget + 3);
    for points in series.chunk_by(|a, b| piece(a) == piece(b)) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let kept = [points.first(), points.iter().min_by(by_value), points.iter().max_by(by_value)];
        let mut kept: Vec<(f64, f64)> = kept.into_iter().flatten().copied().collect();
        kept.sort_by(|a, b| a.0.total_cmp(&b.0));
        kept.dedup();
        out.extend(kept);
    }
    out.push(*last);
    out.dedup();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn peaks_stay_and_the_order_too(values in proptest::collection::vec(-1e6..1e6f64, 1..3000), budget in 3usize..300) {
            let series: Vec<(f64, f64)> = values.iter().enumerate().map(|(i, v)| (i as f64, *v)).collect();
            let thinned = thin(&series, budget);
            prop_assert!(thinned.len() <= budget + 4, "{} of {}", thinned.len(), budget);
            let extreme = |s: &[(f64, f64)]| s.iter().fold((f64::MAX, f64::MIN), |e, p| (e.0.min(p.1), e.1.max(p.1)));
            prop_assert_eq!(extreme(&series), extreme(&thinned));
            prop_assert!(thinned.windows(2).all(|w| w[0].0 < w[1].0));
            prop_assert!(thinned.iter().all(|p| series.contains(p)));
        }
    }
}
