//! Requests as C hands them over, turned into borrowed Rust ones.
//! It owns the defaults of fields that an older host did not know, and what is refused for the whole call.
//! It must not know sessions.

use crate::failure::Failure;
use crate::ffi::{read_sized, slice};
use crate::generate::{self as generation, Prefix};
use crate::sampler::Choice;
use crate::score as scoring;
use edgebench_abi::*;
use std::ptr::null;

/// For generate().
///
/// # Errors
/// `EB_ERR_INVALID` for NULL and for requests that contradict themselves.
///
/// # Safety
/// The header's rules for requests; all that is behind them must live for `'a`.
pub unsafe fn to_generate<'a>(
    requests: *const *const EbRequest,
    n: usize,
) -> Result<Vec<(u64, generation::Request<'a>)>, Failure> {
    // SAFETY: the array is borrowed for this call.
    let pointers = unsafe { some_requests(requests, n) }?;
    let mut all = Vec::with_capacity(n);
    for &request in pointers {
        let none = EbRequest {
            struct_size: 0,
            max_new: 0,
            id: 0,
            flags: 0,
            text: EbStr::EMPTY,
            tokens: null(),
            n_tokens: 0,
            stop: null(),
            n_stop: 0,
            temperature: 0.0,
            top_p: 1.0,
            top_k: 0,
            prefix_len: 0,
            prefix_id: 0,
            seed: 0,
        };
        // SAFETY: not NULL, and the struct says how large it is.
        let request = unsafe { read_sized(request, none) };
        // SAFETY: borrowed for this call, like everything behind a request.
        let stops = unsafe { slice(request.stop, request.n_stop, "stop") }?;
        // SAFETY: as above.
        let tokens = unsafe { slice(request.tokens, request.n_tokens, "tokens") }?;
        // SAFETY: as above.
        let text = unsafe { request.text.bytes() };
        if !tokens.is_empty() && !text.is_empty() {
            return Err(Failure::invalid("a request has both text and tokens: a bug of the host"));
        }
        let parse = request.flags & EB_REQUEST_PARSE_SPECIAL != 0;
        let prompt = if request.tokens.is_null() {
            generation::Prompt::Text { text, parse }
        } else {
            generation::Prompt::Tokens(tokens)
        };
        let EbRequest { temperature, top_p, top_k, seed, .. } = request;
        let converted = generation::Request {
            prompt,
            max_new: request.max_new,
            ignore_eos: request.flags & EB_REQUEST_IGNORE_EOS != 0,
            // SAFETY: as above.
            stop: stops.iter().map(|stop| unsafe { stop.bytes() }).collect(),
            choice: Choice { temperature, top_p, top_k, seed },
            prefix: Prefix { id: request.prefix_id, len: request.prefix_len as usize },
        };
        all.push((request.id, converted));
    }
    Ok(all)
}

/// For score().
///
/// # Errors
/// As [`to_generate`].
///
/// # Safety
/// As [`to_generate`].
pub unsafe fn to_score<'a>(
    requests: *const *const EbScoreRequest,
    n: usize,
) -> Result<Vec<(u64, scoring::Request<'a>)>, Failure> {
    // SAFETY: the array is borrowed for this call.
    let pointers = unsafe { some_requests(requests, n) }?;
    let mut all = Vec::with_capacity(n);
    for &request in pointers {
        let none = EbScoreRequest {
            struct_size: 0,
            n_continuations: 0,
            id: 0,
            context: null(),
            n_context: 0,
            continuations: null(),
            n_tokens: null(),
            prefix_len: 0,
            reserved: 0,
            prefix_id: 0,
        };
        // SAFETY: not NULL, and the struct says how large it is.
        let request = unsafe { read_sized(request, none) };
        let count = request.n_continuations as usize;
        // SAFETY: borrowed for this call, like everything behind a request.
        let starts = unsafe { slice(request.continuations, count, "continuations") }?;
        // SAFETY: as above.
        let lengths = unsafe { slice(request.n_tokens, count, "n_tokens") }?;
        let mut continuations = Vec::with_capacity(count);
        for (&start, &len) in starts.iter().zip(lengths) {
            // SAFETY: as above.
            continuations.push(unsafe { slice(start, len, "a continuation") }?);
        }
        // SAFETY: as above.
        let context = unsafe { slice(request.context, request.n_context, "context") }?;
        let prefix = Prefix { id: request.prefix_id, len: request.prefix_len as usize };
        all.push((request.id, scoring::Request { context, continuations, prefix }));
    }
    Ok(all)
}

/// The `n` >= 1 pointers of a call, none of them NULL.
///
/// # Safety
/// As [`slice`].
unsafe fn some_requests<'a, T>(requests: *const *const T, n: usize) -> Result<&'a [*const T], Failure> {
    if n == 0 {
        return Err(Failure::invalid("there are no requests: give at least one"));
    }
    // SAFETY: passed on to the caller.
    let pointers = unsafe { slice(requests, n, "requests") }?;
    if pointers.iter().any(|p| p.is_null()) {
        return Err(Failure::invalid("a request is NULL: a bug of the host"));
    }
    Ok(pointers)
}
