//! Two models over the same records. Pure.

/// McNemar's exact test: of `worse + better` records that changed sides, is the split what a fair coin gives?
/// Two-sided p (Q. McNemar, 1947; exact binomial form, e.g. Fay 2010).
pub fn mcnemar(worse: u64, better: u64) -> f64 {
    let n = worse + better;
    let k = worse.min(better);
    // Sum of C(n, i) / 2^n for i ≤ k, in logarithms, because 2^n overflows.
    let ln_half_n = n as f64 * 0.5f64.ln();
    let (mut ln_choose, mut tail) = (0.0f64, 0.0f64);
    for i in 0..=k {
        tail += (ln_choose + ln_half_n).exp();
        ln_choose += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_the_exact_binomial() {
        // scipy.stats.binomtest(1, 10).pvalue and (30, 100).pvalue
        assert!((mcnemar(1, 9) - 0.021484375).abs() < 1e-12);
        assert!((mcnemar(70, 30) - 7.85013964559367e-5).abs() < 1e-12);
        assert_eq!((mcnemar(0, 0), mcnemar(5, 5)), (1.0, 1.0));
        assert!(mcnemar(4000, 1000) < 1e-300 && mcnemar(4000, 1000) >= 0.0);
    }
}
