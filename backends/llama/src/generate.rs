//! Continues prompts, one after another, each from an empty sequence.
//! It owns the decode loop: sample, send, check for an end, evaluate; nothing is allocated per token.
//! It must not know how llama.cpp is called, nor the clock of the host.

use crate::failure::Failure;
use crate::sampler::{Choice, Sampler};
use crate::session::{Logits, Session};
use crate::sink::{Done, Sink, run_all};
use edgebench_abi::{EB_EVENT_TOKEN, EB_FINISH_EOS, EB_FINISH_LENGTH, EB_FINISH_SINK, EB_FINISH_STOP, EbEvent, EbStr};
use edgebench_plugin::stop::StopStrings;
use std::time::{Duration, Instant};

/// A prompt, as given.
pub enum Prompt<'a> {
    /// Special tokens are added as the model wants them; `parse`: control tokens in the text count.
    Text { text: &'a [u8], parse: bool },
    /// Complete.
    Tokens(&'a [i32]),
}

/// One prompt to be continued.
pub struct Request<'a> {
    pub prompt: Prompt<'a>,
    /// New tokens at most, at least 1.
    pub max_new: u32,
    /// Go on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// The output ends before the first of these.
    pub stop: Vec<&'a [u8]>,
    pub choice: Choice,
}

/// Continues all requests.
///
/// # Errors
/// `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn generate(session: &mut Session, requests: &[(u64, Request)], sink: &Sink) -> Result<(), Failure> {
    session.clear_abort();
    let mut piece = Vec::new();
    run_all(sink, requests, |id, request| continue_one(session, id, request, sink, &mut piece))
}

fn continue_one(
    session: &mut Session,
    id: u64,
    request: &Request,
    sink: &Sink,
    piece: &mut Vec<u8>,
) -> Result<Done, Failure> {
    if request.max_new == 0 {
        return Err(Failure::invalid("max_new is 0: ask for at least one token"));
    }
    let mut sampler = Sampler::new(Choice::resolve(request.choice, &session.options)?)?;
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
    if prompt.is_empty() {
        return Err(Failure::invalid("the prompt is empty, and this model adds no token of its own: give some text"));
    }
    if prompt.len() + 1 > session.n_ctx {
        return Err(Failure::context_full(format!(
            "prompt of {} tokens + 1 does not fit n_ctx = {}: raise n_ctx or use fewer shots",
            prompt.len(),
            session.n_ctx
        )));
    }
    let limit = (request.max_new as usize).min(session.n_ctx - prompt.len());

    let start = Instant::now();
    session.prefill(prompt)?;
    let prefill = start.elapsed();
    if sink.prefilled(id, prompt.len(), 0) {
        return Ok(Done { finish: EB_FINISH_SINK, prefill, decode: Duration::ZERO });
    }

    let mut event = EbEvent::new(EB_EVENT_TOKEN, id);
    let start = Instant::now();
    let mut position = prompt.len();
    let finish = loop {
        let (logits, scratch) = session.logits_and_candidates()?;
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
        if position + 1 - prompt.len() == limit {
            break EB_FINISH_LENGTH;
        }
        session.evaluate(&[token], position, Logits::Last)?;
        position += 1;
    };
    Ok(Done { finish, prefill, decode: start.elapsed() })
}
