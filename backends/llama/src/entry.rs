//! The functions of the table: checks pointers, turns C structs into borrowed Rust ones, and never panics outwards.
//! It owns the handle behind `eb_session`.
//! It must not know what happens inside a call.

use crate::failure::Failure;
use crate::ffi::{guard, read_sized, slice, write_sized};
use crate::params::Options;
use crate::sampler::Choice;
use crate::session::Session;
use crate::sink::Sink;
use crate::{generate as generation, probe as probing, score as scoring};
use edgebench_abi::*;
use std::cell::UnsafeCell;
use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What an `eb_session` really is. The flag lies outside the session: abort() runs while another function has it.
struct Handle {
    abort: Arc<AtomicBool>,
    session: UnsafeCell<Session>,
}

/// The session behind a handle.
///
/// # Safety
/// `session` must be NULL or come from [`open`], and no other reference to the session may be alive: the header
/// promises one thread and no reentrance for everything but [`abort`].
unsafe fn session<'a>(session: *mut EbSession) -> Result<&'a mut Session, Failure> {
    let handle = NonNull::new(session.cast::<Handle>());
    let handle = handle.ok_or_else(|| Failure::invalid("the session is NULL: a bug of the host"))?;
    // SAFETY: passed on to the caller. Only a shared reference to the handle is made, for the sake of abort().
    Ok(unsafe { &mut *handle.as_ref().session.get() })
}

fn null_argument(name: &str) -> Failure {
    Failure::invalid(format!("{name} is NULL: a bug of the host"))
}

pub unsafe extern "C" fn probe(out: *mut EbProbe, error: *mut EbError) -> EbStatus {
    let body = || {
        if out.is_null() {
            return Err(null_argument("out"));
        }
        let report = probing::report();
        let probe = EbProbe {
            struct_size: 0,
            device_count: report.device_count,
            runtime: EbStr::new(&report.runtime),
            device: EbStr::new(&report.device),
            note: EbStr::new(&report.note),
        };
        // SAFETY: the caller's struct says how large it is.
        unsafe { write_sized(out, &probe) };
        Ok(())
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn open(params: *const EbOpenParams, out: *mut *mut EbSession, error: *mut EbError) -> EbStatus {
    let body = || {
        let out = NonNull::new(out).ok_or_else(|| null_argument("out"))?;
        // SAFETY: the caller's pointer to a pointer.
        unsafe { out.write(null_mut()) };
        if params.is_null() {
            return Err(null_argument("params"));
        }
        let none = EbOpenParams {
            struct_size: 0,
            n_params: 0,
            params: null(),
            model: EbStr::EMPTY,
            log: None,
            log_user: null_mut(),
        };
        // SAFETY: the caller's struct says how large it is.
        let params = unsafe { read_sized(params, none) };
        // SAFETY: borrowed for this call.
        let pairs = unsafe { slice(params.params, params.n_params as usize, "params") }?;
        let mut texts = Vec::with_capacity(pairs.len());
        for pair in pairs {
            // SAFETY: as above.
            texts.push(unsafe { (pair.key.to_string_lossy(), pair.value.to_string_lossy()) });
        }
        let options = Options::parse(texts.iter().map(|(key, value)| (key.as_str(), value.as_str())))?;
        // SAFETY: as above.
        let path = Path::new(OsStr::from_bytes(unsafe { params.model.bytes() }));
        let abort = Arc::new(AtomicBool::new(false));
        let session = Session::open(&params, path, options, Arc::clone(&abort))?;
        let handle = Box::new(Handle { abort, session: UnsafeCell::new(session) });
        // SAFETY: the caller's pointer to a pointer.
        unsafe { out.write(Box::into_raw(handle).cast()) };
        Ok(())
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn close(session: *mut EbSession) {
    let body = || {
        if !session.is_null() {
            // SAFETY: it came from open() and is closed once.
            drop(unsafe { Box::from_raw(session.cast::<Handle>()) });
        }
        Ok(())
    };
    // SAFETY: there is no error to be filled.
    unsafe { guard(null_mut(), body) };
}

pub unsafe extern "C" fn info(handle: *mut EbSession, out: *mut EbInfo, error: *mut EbError) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        if out.is_null() {
            return Err(null_argument("out"));
        }
        let (n_weights, weights_bytes) = session.weights();
        let (bos_token, eos_token) = session.tokenizer.bos_eos();
        let info = EbInfo {
            struct_size: 0,
            n_ctx: session.n_ctx as u32,
            n_ctx_train: u32::try_from(session.header.n_ctx_train).unwrap_or(u32::MAX),
            n_vocab: session.tokenizer.n_vocab() as u32,
            flags: EB_INFO_TOKENIZER | EB_INFO_SAMPLING,
            n_weights,
            weights_bytes,
            kv_bytes: session.kv_bytes(),
            compute_bytes: session.compute_bytes,
            bos_token,
            eos_token,
            architecture: EbStr::new(&session.header.architecture),
            quantization: EbStr::new(&session.header.quantization),
            description: EbStr::new(&session.description),
            chat_template: EbStr::new(session.tokenizer.template()),
            bos_text: EbStr::new(session.tokenizer.bos_eos_text().0),
            eos_text: EbStr::new(session.tokenizer.bos_eos_text().1),
        };
        // SAFETY: the caller's struct says how large it is.
        unsafe { write_sized(out, &info) };
        Ok(())
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

/// A caller's buffer of `capacity` entries; NULL is fine for 0.
///
/// # Safety
/// A pointer that is not NULL must point to `capacity` writable entries.
unsafe fn buffer<'a, T>(ptr: *mut T, capacity: usize) -> Result<&'a mut [T], Failure> {
    match (ptr.is_null(), capacity) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(null_argument("the output buffer")),
        // SAFETY: passed on to the caller.
        _ => Ok(unsafe { std::slice::from_raw_parts_mut(ptr, capacity) }),
    }
}

/// Stores the needed size; fails if that is more than there was room for.
fn fits(needed: usize, capacity: usize, out: NonNull<usize>) -> Result<(), Failure> {
    // SAFETY: the caller's pointer to a number.
    unsafe { out.write(needed) };
    if needed <= capacity {
        return Ok(());
    }
    Err(Failure::buffer(format!("the buffer holds {capacity}, needed are {needed}: call again with a larger one")))
}

pub unsafe extern "C" fn tokenize(
    handle: *mut EbSession,
    text: EbStr,
    flags: u64,
    tokens: *mut i32,
    capacity: usize,
    n_tokens: *mut usize,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        let n_tokens = NonNull::new(n_tokens).ok_or_else(|| null_argument("n_tokens"))?;
        // SAFETY: the header's rules for the buffer.
        let out = unsafe { buffer(tokens, capacity) }?;
        let special = flags & EB_TOKENIZE_ADD_SPECIAL != 0;
        let parse = flags & EB_TOKENIZE_PARSE_SPECIAL != 0;
        // SAFETY: borrowed for this call.
        let needed = session.tokenizer.tokenize(unsafe { text.bytes() }, special, parse, out)?;
        fits(needed, capacity, n_tokens)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn detokenize(
    handle: *mut EbSession,
    tokens: *const i32,
    n_tokens: usize,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        let length = NonNull::new(length).ok_or_else(|| null_argument("length"))?;
        // SAFETY: borrowed for this call.
        let tokens = unsafe { slice(tokens, n_tokens, "tokens") }?;
        // SAFETY: the header's rules for the buffer.
        let out = unsafe { buffer(text.cast::<u8>(), capacity) }?;
        fits(session.tokenizer.detokenize(tokens, out)?, capacity, length)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn generate(
    handle: *mut EbSession,
    requests: *const *const EbRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
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
            };
            all.push((request.id, converted));
        }
        generation::generate(session, &all, &sink)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
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
        return Err(null_argument("a request"));
    }
    Ok(pointers)
}

pub unsafe extern "C" fn score(
    handle: *mut EbSession,
    requests: *const *const EbScoreRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
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
            all.push((request.id, scoring::Request { context, continuations }));
        }
        scoring::score(session, &all, &sink)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn reset(handle: *mut EbSession, error: *mut EbError) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        unsafe { session(handle) }?.forget();
        Ok(())
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn abort(session: *mut EbSession) {
    if let Some(handle) = NonNull::new(session.cast::<Handle>()) {
        // SAFETY: it came from open() and is not closed yet; only the flag is touched, not the session.
        unsafe { &(*handle.as_ptr()).abort }.store(true, Ordering::Relaxed);
    }
}

pub unsafe extern "C" fn get_extension(name: EbStr) -> *const c_void {
    // SAFETY: borrowed for this call.
    if unsafe { name.bytes() } == EB_EXT_SCORE.as_bytes() { (&raw const crate::SCORE).cast() } else { null() }
}
