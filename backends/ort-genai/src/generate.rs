//! Continues prompts, one after another, each from an empty sequence or from a prefix that they share.
//! It owns the decode loop: choose, send, check for an end, evaluate.
//! It must not know how the vendor's library is called, nor the clock of the host.

use crate::failure::Failure;
use crate::sampler::Sampler;
use crate::session::Session;
use crate::tokenizer::Stream;
use edgebench_abi::{EB_EVENT_TOKEN, EB_FINISH_EOS, EB_FINISH_LENGTH, EB_FINISH_SINK, EB_FINISH_STOP, EbEvent, EbStr};
use edgebench_plugin::request::{Generate, Prefix, Prompt};
use edgebench_plugin::sink::{Done, Sink, run_all};
use edgebench_plugin::stop::StopStrings;
use std::time::{Duration, Instant};

/// Continues all requests.
///
/// # Errors
/// `EB_ERR_ABORTED`; failures of single requests are in their DONE events.
pub fn generate(session: &mut Session, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
    session.begin()?;
    run_all(sink, requests, |id, request| continue_one(session, id, request, sink))
}

fn continue_one(session: &mut Session, id: u64, request: &Generate, sink: &Sink) -> Result<Done, Failure> {
    session.check_abort()?;
    let mut sampler = Sampler::new(request.choice)?;
    let mut stops = StopStrings::new(&request.stop);
    let own;
    let prompt = match request.prompt {
        Prompt::Tokens(tokens) => {
            session.tokenizer.check(tokens)?;
            tokens
        }
        Prompt::Text { text, parse } => {
            own = session.tokenizer.encode(text, true, parse)?;
            &own
        }
    };
    let limit = request.limit(prompt.len(), session.n_ctx)?;
    let kept = shared(session, request, prompt)?;

    let start = Instant::now();
    let cached = session.prefill(prompt, kept, request.prefix.id)?;
    let prefill = start.elapsed();
    if sink.prefilled(id, prompt.len(), cached) {
        return Ok(Done { finish: EB_FINISH_SINK, prefill, decode: Duration::ZERO });
    }

    let mut event = EbEvent::new(EB_EVENT_TOKEN, id);
    let mut text = Stream::after(&session.tokenizer, prompt)?;
    let start = Instant::now();
    let mut sent = 0;
    let finish = loop {
        let token = sampler.pick(session.last_logits()?.row(0))?;
        if !request.ignore_eos && session.tokenizer.ends(token) {
            break EB_FINISH_EOS;
        }
        text.push(&session.tokenizer, token, sent + 1 == limit)?;
        event.token = token;
        event.text = EbStr::from_bytes(text.text());
        let enough = sink.send(&event);
        sent += 1;
        if stops.appear(text.text()) {
            break EB_FINISH_STOP;
        }
        if enough {
            break EB_FINISH_SINK;
        }
        if sent == limit {
            break EB_FINISH_LENGTH;
        }
        session.evaluate(&[token])?;
    };
    Ok(Done { finish, prefill, decode: start.elapsed() })
}

/// How many tokens at the start of `prompt` belong to the shared prefix. It does not depend on earlier requests.
fn shared(session: &mut Session, request: &Generate, prompt: &[i32]) -> Result<usize, Failure> {
    let Prefix { id, len } = request.prefix;
    if id == 0 || len == 0 {
        return Ok(0);
    }
    match request.prompt {
        Prompt::Tokens(_) => Ok(usable(len, prompt.len())),
        Prompt::Text { text, parse } => {
            if session.prefix.as_ref().is_none_or(|(known, _)| *known != id) {
                let head = text.get(..len).unwrap_or(text);
                // Cut inside a character, it is no text of its own.
                let tokens = match std::str::from_utf8(head) {
                    Ok(_) => session.tokenizer.encode(head, true, parse)?,
                    Err(_) => Vec::new(),
                };
                session.prefix = Some((id, tokens));
            }
            // Text that follows can change how the prefix's end is cut into tokens.
            let same = |(_, tokens): &(u64, Vec<i32>)| tokens.iter().zip(prompt).take_while(|(a, b)| a == b).count();
            Ok(usable(session.prefix.as_ref().map_or(0, same), prompt.len()))
        }
    }
}

/// At least two tokens are left to be evaluated, and two kept, or none: single tokens are rounded otherwise.
pub fn usable(prefix: usize, prompt: usize) -> usize {
    match prefix.min(prompt.saturating_sub(2)) {
        0 | 1 => 0,
        kept => kept,
    }
}

#[cfg(test)]
mod tests {
    use super::usable;

    #[test]
    fn no_single_token_is_left_on_either_side() {
        assert_eq!((usable(5, 9), usable(9, 9), usable(8, 9)), (5, 7, 7));
        assert_eq!((usable(1, 9), usable(0, 9), usable(3, 3), usable(2, 1)), (0, 0, 0, 0));
    }
}
