//! One repetition of a test on an open host: which requests it takes, and which part of their time counts. It must not
//! know tables, parameters or the board.

use super::shape::Test;
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Control, Failure, FailureKind, Generation, Input, Opened, Prefix, Prompt, Sampling};
use crate::random::SplitMix;
use crate::sense::phase::Phase;
use std::time::Duration;

/// Text that is tokenised where a backend does not tell how many tokens there are.
const TEXT: &str = "The quick brown fox jumps over the lazy dog. ";

/// What one repetition took.
#[derive(Debug, Clone)]
pub struct Rep {
    /// Of what counts, ns.
    pub ns: u64,
    /// Tokens per second.
    pub tok_s: f64,
    /// The prompt handed over → the first new token, without the depth, ns; `None` where no prompt is timed.
    pub ttft_ns: Option<u64>,
    /// Between the tokens of the output, ns.
    pub gaps_ns: Vec<u64>,
    /// What counts, from … to … on CLOCK_MONOTONIC in ns.
    pub phases: Vec<(Phase, u64, u64)>,
    /// CLOCK_MONOTONIC when it was over, ns.
    pub end_ns: u64,
}

/// Asks a host for repetitions.
pub struct Asker<'a> {
    pub client: &'a mut Client,
    pub opened: &'a Opened,
    /// Of one request.
    pub timeout: Duration,
    /// Prompts are random, as in llama-bench, and no two begin alike: nothing can be taken from a cache.
    pub random: SplitMix,
}

impl Asker<'_> {
    /// Does `test` once.
    ///
    /// A request for one token more than `test.output` makes a backend evaluate exactly that many one by one: the first comes
    /// out of the prompt. What a prompt takes behind a context is the difference between a request with both and one with the
    /// context alone, as the ABI knows no request that goes on where another ended.
    ///
    /// # Errors
    /// The host's, or [`HostError::Failed`] for a request that did not do what it was asked.
    pub fn repetition(&mut self, test: &Test) -> Result<Rep, HostError> {
        let depth_ns = match (test.depth, test.prompt) {
            (0, _) | (_, 0) => 0,
            (depth, _) => prefill_ns(&self.request(depth, 1)?)?,
        };
        let g = self.request((test.depth + test.prompt).max(1), test.output + 1)?;
        let prefill = prefill_ns(&g)?;
        let (first, last) = match (g.token_ns.first(), g.token_ns.last()) {
            (Some(first), Some(last)) => (*first, *last),
            _ => return Err(odd("the backend gave no token".to_owned())),
        };
        let (from, to) = match (test.prompt, test.output) {
            (_, 0) => (depth_ns, prefill),
            (0, _) => (first, last),
            _ => (depth_ns, last),
        };
        if to <= from {
            let (with, without) = (test.depth + test.prompt, test.depth);
            return Err(odd(format!(
                "{with} tokens took no longer than {without}: what this test counts is too short"
            )));
        }
        let at = |ns: u64| g.start_ns + ns;
        let middle = prefill.clamp(from, to);
        Ok(Rep {
            ns: to - from,
            tok_s: f64::from(test.tokens()) * 1e9 / (to - from) as f64,
            ttft_ns: (test.prompt > 0).then(|| first.saturating_sub(depth_ns)),
            gaps_ns: g.token_ns.windows(2).map(|w| w[1].saturating_sub(w[0])).collect(),
            phases: vec![(Phase::Prefill, at(from), at(middle)), (Phase::Decode, at(middle), at(to))],
            end_ns: at(g.done_ns),
        })
    }

    /// Continues a random prompt of `length` tokens by exactly `max_new`.
    fn request(&mut self, length: u32, max_new: u32) -> Result<Generation, HostError> {
        let prompt = Prompt {
            id: 0,
            input: Input::Tokens(self.tokens(length as usize)?),
            max_new,
            stop: Vec::new(),
            sampling: Sampling::GREEDY,
            ignore_eos: true,
            prefix: Prefix::NONE,
        };
        let g = self.client.generate(vec![prompt], self.timeout)?;
        let g = g.into_iter().next().ok_or_else(|| odd("an answer without the request's result".to_owned()))?;
        if let Some(failure) = g.failure {
            return Err(HostError::Failed(failure));
        }
        if g.token_ns.len() != max_new as usize {
            let what = format!(
                "{} of {max_new} tokens came after a prompt of {length}: the backend ends early, or raise n_ctx",
                g.token_ns.len()
            );
            return Err(HostError::Failed(Failure::new(FailureKind::ContextFull, what)));
        }
        if g.cached_tokens > 0 {
            return Err(odd(format!(
                "{} tokens were taken from a cache, which timed requests forbid",
                g.cached_tokens
            )));
        }
        Ok(g)
    }

    fn tokens(&mut self, length: usize) -> Result<Vec<i32>, HostError> {
        let mut tokens: Vec<i32> = self.opened.bos_token.into_iter().collect();
        if self.opened.n_vocab > 0 {
            let random = &mut self.random;
            tokens.resize_with(length.max(1), || random.below(self.opened.n_vocab as usize) as i32);
        } else {
            let known = self.client.tokenize(TEXT, Control { add: false, parse: false }, self.timeout)?;
            if known.is_empty() {
                return Err(odd("the backend tells neither its vocabulary nor tokens of a text".to_owned()));
            }
            let random = &mut self.random;
            tokens.resize_with(length.max(1), || known[random.below(known.len())]);
        }
        tokens.truncate(length);
        Ok(tokens)
    }
}

fn prefill_ns(g: &Generation) -> Result<u64, HostError> {
    g.prefill_ns.ok_or_else(|| odd("the backend does not tell when a prompt is evaluated".to_owned()))
}

fn odd(what: String) -> HostError {
    HostError::Failed(Failure::new(FailureKind::Internal, what))
}
