//! One repetition of a test on an open host: which requests it takes, and which part of their time counts. It must not
//! know tables, parameters or the board.

use super::shape::Test;
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Control, Failure, FailureKind, Generation, Input, Opened, Prefix, Prompt, Sampling};
use crate::clock::now_ns;
use crate::random::SplitMix;
use crate::sense::phase::Phase;
use std::time::Duration;

/// Of the prompts.
const SEED: u64 = 0x5eed;
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

/// Asks a host for repetitions of one test.
pub struct Asker<'a> {
    opened: &'a Opened,
    /// Of one request.
    timeout: Duration,
    /// Prompts are random, as in llama-bench, and no two go on alike behind the depth: nothing of them can be taken from a cache.
    random: SplitMix,
    /// What is in the KV cache before anything is timed.
    context: Vec<i32>,
    /// Its name, for backends that keep it.
    prefix: u64,
}

impl<'a> Asker<'a> {
    /// For tests of one depth; `number` is not given twice to one host.
    pub fn new(opened: &'a Opened, timeout: Duration, number: u64) -> Asker<'a> {
        Asker { opened, timeout, random: SplitMix(SEED ^ number), context: Vec::new(), prefix: number }
    }

    /// Puts `depth` tokens into the KV cache, where a backend keeps what prompts have in common.
    ///
    /// # Errors
    /// As [`Asker::repetition`].
    pub fn fill(&mut self, client: &mut Client, depth: u32) -> Result<(), HostError> {
        if depth > 0 {
            self.context = self.tokens(client, depth as usize)?;
            self.request(client, 0, 1, self.prefix)?;
        }
        Ok(())
    }

    /// Does `test` once.
    ///
    /// A request for one token more than `test.output` makes a backend evaluate exactly that many one by one: the first comes
    /// out of the prompt. Where a backend does not keep the context, what a prompt takes behind it is the difference
    /// between a request with both and one with the context alone.
    ///
    /// # Errors
    /// The host's, or [`HostError::Failed`] for a request that did not do what it was asked.
    pub fn repetition(&mut self, client: &mut Client, test: &Test) -> Result<Rep, HostError> {
        let length = if test.depth + test.prompt == 0 { 1 } else { test.prompt };
        let g = self.request(client, length, test.output + 1, self.prefix)?;
        let prefill = prefill_ns(&g)?;
        let (Some(&first), Some(&last)) = (g.token_ns.first(), g.token_ns.last()) else {
            return Err(odd("the backend gave no token".to_owned()));
        };
        let from = match (test.depth, test.prompt, g.cached_tokens) {
            (0, ..) | (_, 0, _) => 0,
            (depth, _, 0) => {
                let context = std::mem::take(&mut self.context);
                let alone = self.request(client, depth, 1, 0);
                self.context = context;
                prefill_ns(&alone?)?
            }
            _ => 0,
        };
        // A prompt may begin like the last one by chance, which a backend then takes from its cache too.
        let evaluated = (test.depth + test.prompt).saturating_sub(g.cached_tokens.max(test.depth)) + test.output;
        let (from, to) = match (test.prompt, test.output) {
            (_, 0) => (from, prefill),
            (0, _) => (first, last),
            _ => (from, last),
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
            tok_s: f64::from(evaluated) * 1e9 / (to - from) as f64,
            ttft_ns: (test.prompt > 0).then(|| first.saturating_sub(from)),
            gaps_ns: g.token_ns.windows(2).map(|w| w[1].saturating_sub(w[0])).collect(),
            phases: vec![(Phase::Prefill, at(from), at(middle)), (Phase::Decode, at(middle), at(to))],
            end_ns: now_ns(),
        })
    }

    /// Continues the context and `length` random tokens behind it by exactly `max_new`. `prefix` 0: nothing may be kept.
    fn request(
        &mut self,
        client: &mut Client,
        length: u32,
        max_new: u32,
        prefix: u64,
    ) -> Result<Generation, HostError> {
        let depth = self.context.len();
        let mut tokens = self.context.clone();
        if length > 0 {
            tokens.extend(self.tokens(client, length as usize)?);
        }
        let length = tokens.len();
        let prompt = Prompt {
            id: 0,
            input: Input::Tokens(tokens),
            max_new,
            stop: Vec::new(),
            sampling: Sampling::GREEDY,
            ignore_eos: true,
            prefix: if depth > 0 { Prefix { id: prefix, bytes: depth } } else { Prefix::NONE },
        };
        let g = client.generate(vec![prompt], self.timeout)?;
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
        if g.cached_tokens > 0 && depth == 0 {
            return Err(odd(format!(
                "{} tokens were taken from a cache, which timed requests forbid",
                g.cached_tokens
            )));
        }
        Ok(g)
    }

    /// Random ones, behind BOS where they begin a prompt.
    fn tokens(&mut self, client: &mut Client, length: usize) -> Result<Vec<i32>, HostError> {
        let begins = self.context.is_empty();
        let mut tokens: Vec<i32> = self.opened.bos_token.into_iter().filter(|_| begins && length > 0).collect();
        let random = &mut self.random;
        if self.opened.n_vocab > 0 {
            tokens.resize_with(length, || random.below(self.opened.n_vocab as usize) as i32);
            return Ok(tokens);
        }
        let known = client.tokenize(TEXT, Control { add: false, parse: false }, self.timeout)?;
        if known.is_empty() {
            return Err(odd("the backend tells neither its vocabulary nor tokens of a text".to_owned()));
        }
        tokens.resize_with(length, || known[random.below(known.len())]);
        Ok(tokens)
    }
}

fn prefill_ns(g: &Generation) -> Result<u64, HostError> {
    g.prefill_ns.ok_or_else(|| odd("the backend does not tell when a prompt is evaluated".to_owned()))
}

fn odd(what: String) -> HostError {
    HostError::Failed(Failure::new(FailureKind::Internal, what))
}
