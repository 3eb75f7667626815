//! `eb.score/1`: log-likelihoods of continuations, the context evaluated once for all of them.
//! It owns the arithmetic (log-softmax in f64) and the promise that grouping never changes a result.
//! It must not know how llama.cpp is called.

use crate::failure::Failure;
use crate::sampler::{argmax, not_numbers};
use crate::session::{Logits, Session};
use crate::sink::{Done, Sink, run_all};
use edgebench_abi::{EB_EVENT_SCORE, EB_FINISH_SCORED, EB_FINISH_SINK, EbEvent};
use std::time::{Duration, Instant};

/// A context and its continuations, in tokens.
pub struct Request<'a> {
    pub context: &'a [i32],
    pub continuations: Vec<&'a [i32]>,
}

/// Scores all requests.
///
/// # Errors
/// `EB_ERR_UNSUPPORTED` with flash attention, `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn score(session: &mut Session, requests: &[(u64, Request)], sink: &Sink) -> Result<(), Failure> {
    if session.options.uses_flash_attn() {
        return Err(Failure::unsupported(
            "log-likelihoods depend on the shape of the batch with flash attention: set flash_attn = \"off\" (and \
             type_v = \"f16\") to score",
        ));
    }
    session.clear_abort();
    run_all(sink, requests, |id, request| score_one(session, id, request, sink))
}

/// A sum of log-probabilities, and whether each token was the most likely one.
#[derive(Clone, Copy)]
struct Sum {
    logprob: f64,
    greedy: bool,
}

impl Sum {
    /// Adds `token`, given the distribution over it.
    fn add(&mut self, row: &Distribution, logits: &[f32], token: i32) {
        let token = token as usize;
        self.logprob += f64::from(logits[token]) - row.log_sum;
        self.greedy &= token == row.best;
    }
}

/// What is needed of the logits of one position.
struct Distribution {
    log_sum: f64,
    best: usize,
}

impl Distribution {
    fn of(logits: &[f32]) -> Result<Distribution, Failure> {
        let (best, max) = argmax(logits).ok_or_else(not_numbers)?;
        let max = f64::from(max);
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - max).exp()).sum();
        if !sum.is_finite() {
            return Err(not_numbers());
        }
        Ok(Distribution { log_sum: max + sum.ln(), best })
    }
}

fn score_one(session: &mut Session, id: u64, request: &Request, sink: &Sink) -> Result<Done, Failure> {
    check(session, request)?;
    let context = request.context;
    let start = Instant::now();
    session.prefill(context)?;
    let prefill = start.elapsed();
    if sink.prefilled(id, context.len(), 0) {
        return Ok(Done { finish: EB_FINISH_SINK, prefill, decode: Duration::ZERO });
    }

    let start = Instant::now();
    // The logits after the context are gone as soon as anything else is evaluated: all first tokens come first.
    let logits = session.logits(-1)?;
    let first = Distribution::of(logits)?;
    let mut sums = Vec::with_capacity(request.continuations.len());
    for continuation in &request.continuations {
        let mut sum = Sum { logprob: 0.0, greedy: true };
        sum.add(&first, logits, continuation[0]);
        sums.push(sum);
    }

    let mut clean = true;
    let mut finish = EB_FINISH_SCORED;
    for (index, (continuation, mut sum)) in request.continuations.iter().zip(sums).enumerate() {
        if continuation.len() > 1 {
            if !clean && !session.forget_from(context.len()) {
                // Recurrent state cannot be rolled back: start again, in the same chunks.
                session.prefill(context)?;
            }
            clean = false;
            score_rest(session, context.len(), continuation, &mut sum)?;
        }
        let mut event = EbEvent::new(EB_EVENT_SCORE, id);
        event.index = index as u32;
        event.logprob = sum.logprob;
        event.n_tokens = u32::try_from(continuation.len()).unwrap_or(u32::MAX);
        event.is_greedy = i32::from(sum.greedy);
        if sink.send(&event) {
            finish = EB_FINISH_SINK;
            break;
        }
    }
    Ok(Done { finish, prefill, decode: start.elapsed() })
}

/// Adds all tokens but the first. The last one is predicted, but never evaluated itself.
fn score_rest(session: &mut Session, position: usize, continuation: &[i32], sum: &mut Sum) -> Result<(), Failure> {
    let inputs = &continuation[..continuation.len() - 1];
    let mut done = 0;
    for chunk in inputs.chunks(session.n_rows) {
        session.evaluate(chunk, position + done, Logits::All)?;
        for row in 0..chunk.len() {
            let logits = session.logits(row as i32)?;
            sum.add(&Distribution::of(logits)?, logits, continuation[done + row + 1]);
        }
        done += chunk.len();
    }
    Ok(())
}

fn check(session: &Session, request: &Request) -> Result<(), Failure> {
    if request.context.is_empty() {
        return Err(Failure::invalid("the context is empty: give at least one token (BOS)"));
    }
    if request.continuations.iter().any(|c| c.is_empty()) {
        return Err(Failure::invalid("a continuation is empty: give at least one token"));
    }
    session.tokenizer.check(request.context)?;
    for continuation in &request.continuations {
        session.tokenizer.check(continuation)?;
    }
    // The last token of a continuation takes no place.
    let longest = request.continuations.iter().map(|c| c.len() - 1).max().unwrap_or(0);
    if request.context.len() + longest > session.n_ctx {
        return Err(Failure::context_full(format!(
            "context of {} tokens + continuation of {} does not fit n_ctx = {}: raise n_ctx or use fewer shots",
            request.context.len(),
            longest + 1,
            session.n_ctx
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_softmax_is_exact_for_large_logits() {
        let logits = [1000.0f32, 999.0, f32::NEG_INFINITY];
        let row = Distribution::of(&logits).unwrap();
        let mut sum = Sum { logprob: 0.0, greedy: true };
        sum.add(&row, &logits, 0);
        let expected = -(1.0 + (-1.0f64).exp()).ln();
        assert!((sum.logprob - expected).abs() < 1e-12 && sum.greedy);
        sum.add(&row, &logits, 1);
        assert!((sum.logprob - (2.0 * expected - 1.0)).abs() < 1e-12 && !sum.greedy);
        assert!(Distribution::of(&[f32::NAN, 1.0]).is_err());
    }
}
