//! Expected calibration error (Naeini et al. 2015; Guo et al. 2017): Σ_b n_b/n · |accuracy_b − confidence_b| over 15 bins of
//! equal width, (0, 1/15] to (14/15, 1]. A record's confidence is the softmax of its options' log-likelihoods at the chosen
//! one. Failed records have none and are left out.

use super::Judgement;

const BINS: usize = 15;
/// By bin the sum of right (1 or 0) − confidence; then the number of records.
pub const WIDTH: usize = BINS + 1;

/// Appends a record's sums.
pub fn push(judgement: Option<&Judgement>, row: &mut Vec<f64>) {
    let start = row.len();
    row.resize(start + WIDTH, 0.0);
    let chosen = judgement.and_then(|j| Some((j.correct, confidence(j.scores.as_ref()?)?)));
    if let Some((correct, confidence)) = chosen {
        let bin = (confidence * BINS as f64).ceil().clamp(1.0, BINS as f64) as usize - 1;
        row[start + bin] = f64::from(correct) - confidence;
        row[start + BINS] = 1.0;
    }
}

/// The largest softmax.
fn confidence(scores: &[f64]) -> Option<f64> {
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
    Some(1.0 / sum).filter(|c| c.is_finite())
}

/// The error from sums; `None` without a record that has a confidence.
pub fn value(sums: &[f64]) -> Option<f64> {
    let (n, bins) = sums.split_last()?;
    (*n > 0.0).then(|| bins.iter().map(|difference| difference.abs()).sum::<f64>() / n)
}
