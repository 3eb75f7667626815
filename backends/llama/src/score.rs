//! `eb.score/1`: log-likelihoods of continuations, the context evaluated once for all of them; and `eb.logits/1`.
//! It owns the promise that grouping never changes a result.
//! It must not know how llama.cpp is called.

use crate::failure::Failure;
use crate::session::{Logits, Session};
use edgebench_abi::{EB_FINISH_SCORED, EB_FINISH_SINK};
use edgebench_plugin::logits::{Distribution, Sum};
use edgebench_plugin::request::{Score, in_vocabulary};
use edgebench_plugin::sink::{Done, Sink, run_all};
use std::time::{Duration, Instant};

/// Scores all requests.
///
/// # Errors
/// `EB_ERR_UNSUPPORTED` with flash attention, `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn score(session: &mut Session, requests: &[(u64, Score)], sink: &Sink) -> Result<(), Failure> {
    if session.options.uses_flash_attn() {
        return Err(Failure::unsupported(
            "log-likelihoods depend on the shape of the batch with flash attention: set flash_attn = \"off\" (and \
             type_v = \"f16\") to score",
        ));
    }
    session.clear_abort();
    run_all(sink, requests, |id, request| score_one(session, id, request, sink))
}

/// `eb.logits/1`: calls `row` with the logits after each token from `first` on, until it says `true`. Always in the same
/// chunks, so that flash attention does no harm here.
///
/// # Errors
/// `EB_ERR_INVALID`, `EB_ERR_CONTEXT_FULL`, `EB_ERR_ABORTED`.
pub fn evaluate(
    session: &mut Session,
    tokens: &[i32],
    first: usize,
    row: &mut dyn FnMut(&[f32]) -> bool,
) -> Result<(), Failure> {
    session.clear_abort();
    in_vocabulary(tokens, session.tokenizer.n_vocab())?;
    if tokens.is_empty() {
        return Err(Failure::invalid("there are no tokens to evaluate"));
    }
    if tokens.len() > session.n_ctx {
        let (n, n_ctx) = (tokens.len(), session.n_ctx);
        return Err(Failure::context_full(format!("{n} tokens do not fit n_ctx = {n_ctx}: raise n_ctx")));
    }
    session.forget();
    let mut done = 0;
    for chunk in tokens.chunks(session.n_rows) {
        session.evaluate(chunk, done, Logits::All)?;
        for i in first.saturating_sub(done).min(chunk.len())..chunk.len() {
            if row(session.logits(i as i32)?) {
                return Ok(());
            }
        }
        done += chunk.len();
    }
    Ok(())
}

fn score_one(session: &mut Session, id: u64, request: &Score, sink: &Sink) -> Result<Done, Failure> {
    request.check(session.tokenizer.n_vocab(), session.n_ctx)?;
    let context = request.context;
    let start = Instant::now();
    let cached = session.prefill(context, request.prefix)?;
    let prefill = start.elapsed();
    if sink.prefilled(id, context.len(), cached) {
        return Ok(Done { finish: EB_FINISH_SINK, prefill, decode: Duration::ZERO });
    }

    let start = Instant::now();
    // The logits after the context are gone as soon as anything else is evaluated: all first tokens come first.
    let logits = session.logits(-1)?;
    let first = Distribution::of(logits)?;
    let mut sums = Vec::with_capacity(request.continuations.len());
    for continuation in &request.continuations {
        let mut sum = Sum::new();
        sum.add(&first, logits, continuation[0]);
        sums.push(sum);
    }

    let mut clean = true;
    let mut finish = EB_FINISH_SCORED;
    for (index, (continuation, mut sum)) in request.continuations.iter().zip(sums).enumerate() {
        if continuation.len() > 1 {
            if !clean && !session.forget_from(context.len()) {
                // Recurrent state cannot be rolled back: start again, in the same chunks.
                session.prefill(context, request.prefix)?;
            }
            clean = false;
            score_rest(session, context.len(), continuation, &mut sum)?;
        }
        if sink.scored(id, index, continuation.len(), sum) {
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
