//! Continues prompts, one after another, each from an empty sequence. (`together` has several at once.)
//! It owns the decode loop: sample, send, check for an end, go on; nothing is allocated per token.
//! It must not know how llama.cpp is called, nor the clock of the host.

use crate::failure::Failure;
use crate::sampler::{Sampler, resolve};
use crate::session::Session;
use crate::together;
use edgebench_abi::{EB_EVENT_TOKEN, EB_FINISH_EOS, EB_FINISH_LENGTH, EB_FINISH_SINK, EB_FINISH_STOP, EbEvent, EbStr};
use edgebench_plugin::request::{Generate, Prompt};
use edgebench_plugin::sink::{Done, Sink, run_all};
use edgebench_plugin::stop::StopStrings;
use std::time::{Duration, Instant};

/// Continues all requests.
///
/// # Errors
/// `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn generate(session: &mut Session, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
    if requests.len() > 1 && session.width.max > 1 {
        return together::generate(session, requests, sink);
    }
    session.clear_abort();
    let mut piece = Vec::new();
    let result = run_all(sink, requests, |id, request| continue_one(session, id, request, sink, &mut piece));
    session.say_guesses();
    result
}

fn continue_one(
    session: &mut Session,
    id: u64,
    request: &Generate,
    sink: &Sink,
    piece: &mut Vec<u8>,
) -> Result<Done, Failure> {
    let mut sampler = Sampler::new(resolve(request.choice, &session.options)?)?;
    let mut stops = StopStrings::new(&request.stop);
    let own;
    let prompt = match request.prompt {
        Prompt::Tokens(tokens) => {
            session.tokenizer.check(tokens)?;
            tokens
        }
        Prompt::Text { text, parse } => {
            own = session.tokenizer.prompt(text, parse)?;
            &own
        }
    };
    let limit = request.limit(prompt.len(), session.n_ctx)?;

    let start = Instant::now();
    let cached = session.prefill(prompt, request.prefix)?;
    let prefill = start.elapsed();
    if sink.prefilled(id, prompt.len(), cached) {
        return Ok(Done { finish: EB_FINISH_SINK, prefill, decode: Duration::ZERO });
    }

    let mut event = EbEvent::new(EB_EVENT_TOKEN, id);
    let start = Instant::now();
    let mut position = prompt.len();
    let mut row = -1;
    let finish = loop {
        let (logits, scratch) = session.logits_and_candidates(row)?;
        let token = sampler.pick(logits, scratch)?;
        if !request.ignore_eos && session.tokenizer.ends(token) {
            break EB_FINISH_EOS;
        }
        let bytes = session.tokenizer.piece(token, piece);
        event.token = token;
        event.text = EbStr::from_bytes(bytes);
        let enough = sink.send(&event);
        if stops.appear(bytes) {
            break EB_FINISH_STOP;
        }
        if enough {
            break EB_FINISH_SINK;
        }
        let left = prompt.len() + limit - (position + 1);
        if left == 0 {
            break EB_FINISH_LENGTH;
        }
        row = session.go_on(token, position, left)?;
        position += 1;
    };
    Ok(Done { finish, prefill, decode: start.elapsed() })
}
