//! Chooses the next token from its logits: the most likely one, or one drawn by llama.cpp's samplers.
//! It owns the sampler chain; it allocates nothing per token.
//! It must not know where logits come from.

use crate::failure::Failure;
use crate::params::Options;
use edgebench_plugin::logits::{argmax, not_numbers};
use edgebench_plugin::request::Choice;
use llama_cpp_sys_2 as sys;
use std::ptr::NonNull;

/// What a request asks for. A request without a temperature gets the session's, with its nucleus and candidates; one
/// without a seed gets the session's seed.
///
/// # Errors
/// `EB_ERR_INVALID` for values outside the header's ranges.
pub fn resolve(request: Choice, session: &Options) -> Result<Choice, Failure> {
    let seed = if request.seed == 0 { session.seed } else { request.seed };
    if request.temperature == 0.0 {
        let Options { temperature, top_p, top_k, .. } = *session;
        return Ok(Choice { temperature, top_p, top_k, seed });
    }
    Choice { seed, ..request }.check()
}

/// Chooses token after token of one request.
pub enum Sampler {
    Greedy,
    Chain(Chain),
}

impl Sampler {
    /// # Errors
    /// `EB_ERR_INTERNAL` if llama.cpp makes no sampler.
    pub fn new(choice: Choice) -> Result<Sampler, Failure> {
        if choice.temperature == 0.0 {
            return Ok(Sampler::Greedy);
        }
        Chain::new(choice).map(Sampler::Chain).ok_or_else(|| Failure::internal("llama.cpp cannot create a sampler"))
    }

    /// The next token. `scratch` is kept between calls so that it is allocated once.
    ///
    /// # Errors
    /// `EB_ERR_MODEL` if the logits are not numbers.
    pub fn pick(&mut self, logits: &[f32], scratch: &mut Vec<sys::llama_token_data>) -> Result<i32, Failure> {
        match self {
            Sampler::Greedy => argmax(logits).map(|(token, _)| token as i32).ok_or_else(not_numbers),
            Sampler::Chain(chain) => {
                argmax(logits).ok_or_else(not_numbers)?;
                Ok(chain.pick(logits, scratch))
            }
        }
    }
}

/// llama.cpp's chain: top_k, top_p, temperature, then a draw.
pub struct Chain(NonNull<sys::llama_sampler>);

impl Chain {
    fn new(choice: Choice) -> Option<Chain> {
        // SAFETY: returns a plain struct.
        let params = unsafe { sys::llama_sampler_chain_default_params() };
        // SAFETY: the parameters are plain.
        let chain = Chain(NonNull::new(unsafe { sys::llama_sampler_chain_init(params) })?);
        let add = |sampler: *mut sys::llama_sampler| {
            // SAFETY: both are alive; the chain takes ownership.
            unsafe { sys::llama_sampler_chain_add(chain.0.as_ptr(), sampler) }
        };
        if choice.top_k > 0 {
            // SAFETY: makes a sampler.
            add(unsafe { sys::llama_sampler_init_top_k(choice.top_k) });
        }
        if choice.top_p < 1.0 {
            // SAFETY: makes a sampler.
            add(unsafe { sys::llama_sampler_init_top_p(choice.top_p, 1) });
        }
        // SAFETY: makes a sampler.
        add(unsafe { sys::llama_sampler_init_temp(choice.temperature) });
        // SAFETY: makes a sampler.
        add(unsafe { sys::llama_sampler_init_dist(fold_seed(choice.seed)) });
        Some(chain)
    }

    fn pick(&mut self, logits: &[f32], scratch: &mut Vec<sys::llama_token_data>) -> i32 {
        scratch.clear();
        scratch.extend(logits.iter().enumerate().map(|(id, &logit)| sys::llama_token_data {
            id: id as i32,
            logit,
            p: 0.0,
        }));
        let mut candidates = sys::llama_token_data_array {
            data: scratch.as_mut_ptr(),
            size: scratch.len(),
            selected: -1,
            sorted: false,
        };
        // SAFETY: the array is ours for the call; samplers reorder and shorten it in place.
        unsafe { sys::llama_sampler_apply(self.0.as_ptr(), &mut candidates) };
        let chosen = usize::try_from(candidates.selected).unwrap_or(0).min(scratch.len() - 1);
        let token = scratch[chosen].id;
        // SAFETY: the chain is alive.
        unsafe { sys::llama_sampler_accept(self.0.as_ptr(), token) };
        token
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        // SAFETY: made by llama.cpp, freed once, with the samplers that it owns.
        unsafe { sys::llama_sampler_free(self.0.as_ptr()) };
    }
}

/// `LLAMA_DEFAULT_SEED`, a macro of llama.h: draw the seed at random.
const RANDOM_SEED: u32 = u32::MAX;

/// llama.cpp's seeds have 32 bits, and one of them means "random".
fn fold_seed(seed: u64) -> u32 {
    match (seed ^ (seed >> 32)) as u32 {
        RANDOM_SEED => 0x5EED_5EED,
        folded => folded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_without_temperature_gets_the_sessions() {
        let session = Options { temperature: 0.7, top_p: 0.9, top_k: 40, seed: 11, ..Options::default() };
        let silent = Choice { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0 };
        let resolved = resolve(silent, &session).unwrap();
        assert_eq!(resolved, Choice { temperature: 0.7, top_p: 0.9, top_k: 40, seed: 11 });
        let own = Choice { temperature: 0.2, top_p: 1.0, top_k: 0, seed: 3 };
        assert_eq!(resolve(own, &session).unwrap(), own);
        assert_eq!(resolve(Choice { seed: 0, ..own }, &session).unwrap().seed, 11);
        for bad in [
            Choice { temperature: -1.0, ..own },
            Choice { temperature: f32::NAN, ..own },
            Choice { top_p: 0.0, ..own },
            Choice { top_k: -1, ..own },
        ] {
            assert!(resolve(bad, &session).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn no_seed_means_random() {
        assert_eq!(fold_seed(7), 7);
        assert_ne!(fold_seed(u64::from(u32::MAX)), u32::MAX);
        assert_ne!(fold_seed(1 << 32), fold_seed(2 << 32));
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens() {
        let logits: Vec<f32> = (0..100).map(|i| (i as f32 * 0.7).sin()).collect();
        let draw = |seed| {
            let mut sampler = Sampler::new(Choice { temperature: 1.0, top_p: 1.0, top_k: 0, seed }).unwrap();
            let mut scratch = Vec::new();
            (0..20).map(|_| sampler.pick(&logits, &mut scratch).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut only = Sampler::new(Choice { temperature: 1.0, top_p: 1.0, top_k: 1, seed: 5 }).unwrap();
        assert_eq!(only.pick(&logits, &mut Vec::new()).unwrap(), argmax(&logits).unwrap().0 as i32);
    }
}
