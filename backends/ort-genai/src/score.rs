//! `eb.score/1`: log-likelihoods of continuations, the context evaluated once for all of them.
//! It owns the order in which logits must be read.
//! It must not know how the vendor's library is called.

use crate::failure::Failure;
use crate::generate::usable;
use crate::session::Session;
use edgebench_abi::{EB_FINISH_SCORED, EB_FINISH_SINK};
use edgebench_plugin::logits::{Distribution, Sum};
use edgebench_plugin::request::Score;
use edgebench_plugin::sink::{Done, Sink, run_all};
use std::time::{Duration, Instant};

/// Scores all requests.
///
/// # Errors
/// `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn score(session: &mut Session, requests: &[(u64, Score)], sink: &Sink) -> Result<(), Failure> {
    session.begin()?;
    run_all(sink, requests, |id, request| score_one(session, id, request, sink))
}

fn score_one(session: &mut Session, id: u64, request: &Score, sink: &Sink) -> Result<Done, Failure> {
    session.check_abort()?;
    request.check(session.folder.n_vocab, session.n_ctx)?;
    let context = request.context;
    let kept = if request.prefix.id == 0 { 0 } else { usable(request.prefix.len, context.len()) };
    let start = Instant::now();
    let cached = session.prefill(context, kept, request.prefix.id)?;
    let prefill = start.elapsed();
    if sink.prefilled(id, context.len(), cached) {
        return Ok(Done { finish: EB_FINISH_SINK, prefill, decode: Duration::ZERO });
    }

    let start = Instant::now();
    // After a rewind the context's own logits are wrong: all first tokens are scored before.
    let logits = session.last_logits()?;
    let first = Distribution::of(logits.row(0))?;
    let mut sums = Vec::with_capacity(request.continuations.len());
    for continuation in &request.continuations {
        let mut sum = Sum::new();
        sum.add(&first, logits.row(0), continuation[0]);
        sums.push(sum);
    }
    drop(logits);

    let mut finish = EB_FINISH_SCORED;
    for (index, (continuation, mut sum)) in request.continuations.iter().zip(sums).enumerate() {
        session.check_abort()?;
        // The last token is predicted, but never evaluated itself.
        if let [inputs @ .., _] = continuation
            && !inputs.is_empty()
        {
            if !session.keep(context.len()) {
                // Some kinds of model cannot rewind: again, in the same pieces.
                session.prefill(context, kept, request.prefix.id)?;
            }
            session.evaluate_rows(inputs, |row, logits| {
                sum.add(&Distribution::of(logits)?, logits, continuation[row + 1]);
                Ok(())
            })?;
        }
        if sink.scored(id, index, continuation.len(), sum) {
            finish = EB_FINISH_SINK;
            break;
        }
    }
    Ok(Done { finish, prefill, decode: start.elapsed() })
}
