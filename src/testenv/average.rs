//! Means over tasks and subjects, with intervals. It must not know what is averaged.

/// One figure of a mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    pub weight: f64,
    pub value: f64,
    pub interval: Option<(f64, f64)>,
}

/// The weighted mean of `parts`, and its interval if every part has one: that of a sum of independent figures by the
/// method of variance estimates recovery, m ± √Σ(wᵢ·dᵢ)², where dᵢ is the distance of a figure to its own limit
/// (Zou & Donner 2008). `None` without parts of any weight.
pub fn weighted(parts: &[Part]) -> Option<(f64, Option<(f64, f64)>)> {
    let sum: f64 = parts.iter().map(|p| p.weight).sum();
    if sum <= 0.0 {
        return None;
    }
    let mean = parts.iter().map(|p| p.weight * p.value).sum::<f64>() / sum;
    let (mut below, mut above) = (0.0, 0.0);
    for part in parts {
        let Some((lo, hi)) = part.interval else { return Some((mean, None)) };
        below += (part.weight / sum * (part.value - lo)).powi(2);
        above += (part.weight / sum * (hi - part.value)).powi(2);
    }
    Some((mean, Some((mean - f64::sqrt(below), mean + f64::sqrt(above)))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_has_the_interval_of_independent_parts() {
        let part = |weight, value, lo, hi| Part { weight, value, interval: Some((lo, hi)) };
        let (mean, interval) = weighted(&[part(1.0, 0.5, 0.4, 0.7), part(1.0, 0.7, 0.4, 0.8)]).unwrap();
        let (lo, hi) = interval.unwrap();
        assert!((mean - 0.6).abs() < 1e-12);
        // √(0.05² + 0.15²) and √(0.1² + 0.05²).
        assert!((lo - (0.6 - 0.158_113_883)).abs() < 1e-6 && (hi - (0.6 + 0.111_803_399)).abs() < 1e-6);
        // One part alone keeps its own; equal parts are told √n times as closely.
        assert_eq!(weighted(&[part(3.0, 0.5, 0.4, 0.7)]).unwrap().1, Some((0.4, 0.7)));
        let four = weighted(&[part(1.0, 0.5, 0.4, 0.6); 4]).unwrap().1.unwrap();
        assert!((four.1 - 0.55).abs() < 1e-12);
    }

    #[test]
    fn without_an_interval_of_each_there_is_none() {
        let parts =
            [Part { weight: 1.0, value: 0.5, interval: None }, Part { weight: 3.0, value: 0.75, interval: None }];
        assert_eq!(weighted(&parts), Some((0.6875, None)));
        assert_eq!(weighted(&[]), None);
    }
}
