//! What is read out of the logits of one position: the most likely token, and log-likelihoods (in f64).
//! It owns the rule that logits which are not numbers are the model's fault.
//! It must not know where logits come from.

use crate::failure::Failure;

/// The failure for logits that hold no finite maximum.
pub fn not_numbers() -> Failure {
    Failure::model("the model's output is not a number: its weights are damaged, or overflow in this type")
}

/// Index and value of the largest logit, the lowest index among equals. `None` if that is not finite.
pub fn argmax(logits: &[f32]) -> Option<(usize, f32)> {
    // Two passes that both vectorise are several times faster than one that carries an index along.
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, &x) in lanes.iter_mut().zip(chunk) {
            // Not f32::max: a comparison with NaN is false, which keeps the lane and compiles to one instruction.
            *lane = if x > *lane { x } else { *lane };
        }
    }
    let best = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |best, &x| if x > best { x } else { best });
    if !best.is_finite() {
        return None;
    }
    let chunk = logits.chunks(64).position(|chunk| chunk.iter().fold(false, |found, &x| found | (x == best)))?;
    let start = chunk * 64;
    logits[start..].iter().position(|&x| x == best).map(|i| (start + i, best))
}

/// What is needed of the logits of one position to score tokens there.
pub struct Distribution {
    log_sum: f64,
    best: usize,
}

impl Distribution {
    /// # Errors
    /// `EB_ERR_MODEL` for logits that are not numbers.
    pub fn of(logits: &[f32]) -> Result<Distribution, Failure> {
        let (best, max) = argmax(logits).ok_or_else(not_numbers)?;
        let max = f64::from(max);
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        if !sum.is_finite() {
            return Err(not_numbers());
        }
        Ok(Distribution { log_sum: max + sum.ln(), best })
    }
}

/// A continuation so far: the sum of its tokens' log-probabilities, and whether each was the most likely one.
#[derive(Clone, Copy)]
pub struct Sum {
    pub logprob: f64,
    pub greedy: bool,
}

impl Sum {
    /// Of no tokens.
    pub fn new() -> Sum {
        Sum { logprob: 0.0, greedy: true }
    }

    /// Adds `token`, given the distribution over it; it must be in the vocabulary.
    pub fn add(&mut self, row: &Distribution, logits: &[f32], token: i32) {
        let token = token as usize;
        self.logprob += f64::from(logits[token]) - row.log_sum;
        self.greedy &= token == row.best;
    }
}

impl Default for Sum {
    fn default() -> Sum {
        Sum::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_equal_maxima_wins() {
        for len in [1, 15, 16, 17, 64, 65, 1000] {
            for at in [0, len / 2, len - 1] {
                let mut logits = vec![-1.0f32; len];
                logits[at] = 3.5;
                logits[len - 1] = 3.5;
                assert_eq!(argmax(&logits), Some((at, 3.5)), "{at} of {len}");
            }
        }
        assert_eq!(argmax(&[-0.0, 0.0]).unwrap().0, 0);
    }

    #[test]
    fn what_is_not_a_number_is_never_chosen() {
        assert_eq!(argmax(&[f32::NAN, 1.0, f32::NAN]), Some((1, 1.0)));
        assert_eq!(argmax(&[f32::NAN; 40]), None);
        assert_eq!(argmax(&[1.0, f32::INFINITY]), None);
        assert_eq!(argmax(&[f32::NEG_INFINITY; 3]), None);
        assert_eq!(argmax(&[]), None);
    }

    #[test]
    fn log_softmax_is_exact_for_large_logits() {
        let logits = [1000.0f32, 999.0, f32::NEG_INFINITY];
        let row = Distribution::of(&logits).unwrap();
        let mut sum = Sum::new();
        sum.add(&row, &logits, 0);
        let expected = -(1.0 + (-1.0f64).exp()).ln();
        assert!((sum.logprob - expected).abs() < 1e-12 && sum.greedy);
        sum.add(&row, &logits, 1);
        assert!((sum.logprob - (2.0 * expected - 1.0)).abs() < 1e-12 && !sum.greedy);
        assert!(Distribution::of(&[f32::NAN, 1.0]).is_err());
    }
}
