//! Chooses the next token from its logits: the most likely one, or one drawn after top_k, top_p and temperature.
//! It owns the generator of random numbers; it allocates nothing per token.
//! It must not know where logits come from.

use crate::failure::Failure;
use edgebench_plugin::logits::{argmax, not_numbers};
use edgebench_plugin::request::Choice;

/// Chooses token after token of one request.
pub struct Sampler {
    choice: Choice,
    state: u64,
    /// Kept between tokens so that it is allocated once.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// # Errors
    /// As [`Choice::check`].
    pub fn new(choice: Choice) -> Result<Sampler, Failure> {
        Ok(Sampler { choice: choice.check()?, state: choice.seed, candidates: Vec::new() })
    }

    /// The next token.
    ///
    /// # Errors
    /// `EB_ERR_MODEL` if the logits are not numbers.
    pub fn pick(&mut self, logits: &[f32]) -> Result<i32, Failure> {
        let (best, max) = argmax(logits).ok_or_else(not_numbers)?;
        let Choice { temperature, top_p, top_k, .. } = self.choice;
        if temperature == 0.0 || top_k == 1 {
            return Ok(best as i32);
        }
        let candidates = &mut self.candidates;
        candidates.clear();
        candidates.extend(logits.iter().enumerate().filter(|(_, x)| !x.is_nan()).map(|(i, &x)| (i as u32, x)));
        let by_logit = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let k = usize::try_from(top_k).unwrap_or(0);
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, by_logit);
            candidates.truncate(k);
        }
        // As llama.cpp does: the nucleus is that of the model's own distribution, before the temperature.
        if top_p < 1.0 {
            candidates.sort_unstable_by(by_logit);
            let weight = |x: f32| f64::from(x - max).exp();
            let total: f64 = candidates.iter().map(|c| weight(c.1)).sum();
            let mut sum = 0.0;
            let enough = candidates.iter().position(|c| {
                sum += weight(c.1);
                sum >= f64::from(top_p) * total
            });
            candidates.truncate(enough.map_or(candidates.len(), |i| i + 1));
        }
        let weight = |x: f32| (f64::from(x - max) / f64::from(temperature)).exp();
        let total: f64 = candidates.iter().map(|c| weight(c.1)).sum();
        let mut left = uniform(&mut self.state) * total;
        for &(token, logit) in candidates.iter() {
            left -= weight(logit);
            if left < 0.0 {
                return Ok(token as i32);
            }
        }
        // Only rounding leads here.
        Ok(best as i32)
    }
}

/// The next number in [0, 1), by SplitMix64 (Steele, Lea, Flood 2014).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(choice: Choice, logits: &[f32], n: usize) -> Vec<i32> {
        let mut sampler = Sampler::new(choice).unwrap();
        (0..n).map(|_| sampler.pick(logits).unwrap()).collect()
    }

    const PLAIN: Choice = Choice { temperature: 1.0, top_p: 1.0, top_k: 0, seed: 1 };

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin()).collect();
        assert_eq!(draw(PLAIN, &logits, 20), draw(PLAIN, &logits, 20));
        assert_ne!(draw(PLAIN, &logits, 20), draw(Choice { seed: 2, ..PLAIN }, &logits, 20));
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.6f32.ln(), 0.3f32.ln(), 0.1f32.ln()];
        let share = |choice: Choice, token: i32| {
            let drawn = draw(choice, &logits, 20_000);
            drawn.iter().filter(|&&t| t == token).count() as f64 / drawn.len() as f64
        };
        for (token, p) in [(0, 0.6), (1, 0.3), (2, 0.1)] {
            assert!((share(PLAIN, token) - p).abs() < 0.02);
        }
        let two = Choice { top_k: 2, ..PLAIN };
        assert!((share(two, 0) - 2.0 / 3.0).abs() < 0.02 && share(two, 2) == 0.0);
        // 0.6 is not enough for 0.7, 0.6 + 0.3 is.
        let nucleus = Choice { top_p: 0.7, ..PLAIN };
        assert!((share(nucleus, 0) - 2.0 / 3.0).abs() < 0.02 && share(nucleus, 2) == 0.0);
        // p^2, normalised.
        let cold = Choice { temperature: 0.5, ..PLAIN };
        assert!((share(cold, 0) - 0.36 / 0.46).abs() < 0.02);
        assert_eq!(share(Choice { top_k: 1, ..PLAIN }, 0), 1.0);
        assert_eq!(share(Choice { temperature: 0.0, ..PLAIN }, 0), 1.0);
    }
}
