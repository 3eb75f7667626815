//! From the rows of a run to the figures of a row of the curve. It must not know what stands before it on the curve.

use super::curve::Point;
use super::judge::{Score, score};
use crate::job::Metric;
use crate::results::CaseRow;
use crate::story::run_folder::Run;
use crate::testenv::average::{Part, weighted};
use std::collections::BTreeSet;

/// Fills in what `run` measured; `quality` is what the checkpoint is judged by.
///
/// # Errors
/// A file of the run that cannot be read.
pub fn fill(point: &mut Point, run: &Run, quality: Score) -> Result<(), String> {
    let mean = |column: &str| {
        let values: Vec<f64> = run.rows.iter().filter_map(|r| r.number(column)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    (point.value, point.n) = (Some(quality.value), quality.n);
    (point.lo, point.hi) = quality.interval.unzip();
    if let Some(fluency) = score(&run.rows, Metric::Perplexity) {
        point.perplexity = Some(fluency.value);
        (point.perplexity_lo, point.perplexity_hi) = fluency.interval.unzip();
    }
    point.prefill_tok_s = mean("prefill_tok_s");
    point.decode_tok_s = mean("decode_tok_s");
    (point.decode_tok_s_lo, point.decode_tok_s_hi) = decode_interval(run)?.unzip();
    point.ttft_ms_p50 = mean("ttft_ms_p50");
    point.rss_peak_mib = mean("rss_peak_mib");
    point.energy_j_per_token = mean("energy_j_per_token");
    let worst = ["no", "unknown", "yes"].into_iter().find(|word| run.rows.iter().any(|r| r.get("valid") == *word));
    point.valid = worst.unwrap_or_default().to_owned();
    let warnings: BTreeSet<&str> =
        run.rows.iter().flat_map(|r| r.get("warnings").split(';')).filter(|w| !w.is_empty()).collect();
    point.warnings = warnings.into_iter().collect::<Vec<_>>().join(";");
    Ok(())
}

/// The interval of the mean decode speed of the cases that have one: for a case, how far the mean over its records may
/// be off, around its own figure.
fn decode_interval(run: &Run) -> Result<Option<(f64, f64)>, String> {
    let samples = run.samples()?;
    let part = |row: &CaseRow| {
        let value = row.number("decode_tok_s")?;
        let speeds: Vec<f64> = samples.get(row.get("case"))?.values().filter_map(|s| s.decode_tok_s).collect();
        let half = half_width(&speeds);
        Some(Part { weight: 1.0, value, interval: half.map(|h| (value - h, value + h)) })
    };
    let parts: Vec<Part> = run.rows.iter().filter_map(part).collect();
    Ok(weighted(&parts).and_then(|(_, interval)| interval))
}

/// Half of the 95 % interval of the mean of `values`: 1.96 standard errors. `None` with fewer than two.
fn half_width(values: &[f64]) -> Option<f64> {
    let n = values.len() as f64;
    if n < 2.0 {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    Some(1.96 * (variance / n).sqrt())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_half_width_is_that_of_the_textbook() {
        // Deviation 2, 16 values: 1.96 × 2 / 4; the deviation of ± 1 around a mean is √(n / (n − 1)).
        let values: Vec<f64> = (0..16).map(|i| if i % 2 == 0 { 8.0 } else { 12.0 }).collect();
        let half = super::half_width(&values).unwrap();
        assert!((half - 0.98 * f64::sqrt(16.0 / 15.0)).abs() < 1e-12);
        assert_eq!(super::half_width(&[3.0]), None);
    }
}
