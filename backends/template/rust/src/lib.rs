//! The smallest useful edgebench plugin in Rust: it "runs" a model that repeats its prompt, so that everything
//! works before any SDK is there.
//!
//!     cargo build --release -p edgebench-template
//!     edgebench conform target/release/libedgebench_template.so

use edgebench_abi::*;
use std::ffi::{c_char, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

struct Session {
    // SDK: the handle of the loaded model goes here.
    n_ctx: u32,
    aborted: AtomicBool,
}

unsafe extern "C" fn probe(out: *mut EbProbe, _error: *mut EbError) -> EbStatus {
    // SAFETY: the host passes a struct of this version.
    let out = unsafe { &mut *out };
    (out.device_count, out.runtime, out.device) = (1, EbStr::new("no SDK 1.0"), EbStr::new("CPU")); // SDK: how many NPUs?
    EB_OK
}

unsafe extern "C" fn open(p: *const EbOpenParams, out: *mut *mut EbSession, error: *mut EbError) -> EbStatus {
    // SAFETY: the host passes readable structs, and strings that live for the call.
    let (p, out, error) = unsafe { (&*p, &mut *out, &mut *error) };
    *out = std::ptr::null_mut();
    let mut n_ctx = 4096;
    for i in 0..p.n_params as usize {
        // SAFETY: there are n_params pairs.
        let (key, value) =
            unsafe { ((*p.params.add(i)).key.to_string_lossy(), (*p.params.add(i)).value.to_string_lossy()) };
        match (key.as_str(), value.parse::<u32>()) {
            ("n_ctx", Ok(n)) if n > 0 => n_ctx = n,
            _ => return fail(error, EB_ERR_INVALID, &format!("`{key} = {value}`: there is n_ctx, a number of tokens")),
        }
    }
    // SAFETY: as above.
    let model = unsafe { p.model.to_string_lossy() };
    // SDK: load the model here. The template only looks whether the file is there.
    if !model.is_empty() && std::fs::File::open(&model).is_err() {
        return fail(error, EB_ERR_MODEL, &format!("{model} cannot be opened; check the path"));
    }
    *out = Box::into_raw(Box::new(Session { n_ctx, aborted: AtomicBool::new(false) })).cast();
    EB_OK
}

unsafe extern "C" fn close(session: *mut EbSession) {
    if !session.is_null() {
        // SAFETY: it came from open(), and the host closes it once.
        drop(unsafe { Box::from_raw(session.cast::<Session>()) });
    }
}

unsafe extern "C" fn info(session: *mut EbSession, out: *mut EbInfo, _error: *mut EbError) -> EbStatus {
    // SAFETY: an open session and a struct of this version.
    let (session, out) = unsafe { (&*session.cast::<Session>(), &mut *out) };
    (out.n_ctx, out.n_ctx_train, out.n_vocab) = (session.n_ctx, session.n_ctx, 256);
    (out.bos_token, out.eos_token) = (-1, -1);
    EB_OK
}

// SDK: your tokenizer, if the CPU can reach it; then say EB_INFO_TOKENIZER in info().
#[rustfmt::skip]
unsafe extern "C" fn tokenize(_: *mut EbSession, _: EbStr, _: u64, _: *mut i32, _: usize, _: *mut usize, e: *mut EbError) -> EbStatus {
    // SAFETY: the host passes an error.
    fail(unsafe { &mut *e }, EB_ERR_UNSUPPORTED, "the tokenizer sits on the device")
}

#[rustfmt::skip]
unsafe extern "C" fn detokenize(_: *mut EbSession, _: *const i32, _: usize, _: *mut c_char, _: usize, _: *mut usize, e: *mut EbError) -> EbStatus {
    // SAFETY: the host passes an error.
    fail(unsafe { &mut *e }, EB_ERR_UNSUPPORTED, "the tokenizer sits on the device")
}

#[rustfmt::skip]
unsafe extern "C" fn generate(session: *mut EbSession, requests: *const *const EbRequest, n: usize, sink: *const EbSink, error: *mut EbError) -> EbStatus {
    // SAFETY: an open session, n requests and a sink, all alive for the call.
    let (session, sink, requests) =
        unsafe { (&*session.cast::<Session>(), &*sink, std::slice::from_raw_parts(requests, n)) };
    session.aborted.store(false, Ordering::Relaxed);
    // SAFETY: as above.
    requests
        .iter()
        .for_each(|r| unsafe { run(session, &**r, &|event| sink.event.is_some_and(|f| f(sink.user, event) != 0)) });
    let aborted = session.aborted.load(Ordering::Relaxed);
    // SAFETY: the host passes an error.
    if aborted { fail(unsafe { &mut *error }, EB_ERR_ABORTED, "aborted") } else { EB_OK }
}

/// One request: PREFILL, a TOKEN per token as soon as it is known, DONE. `send` says whether to stop.
fn run(session: &Session, r: &EbRequest, send: &dyn Fn(&EbEvent) -> bool) {
    // SAFETY: text and tokens of a request are readable for the call.
    let prompt: Vec<u8> = match unsafe { (r.tokens.is_null(), r.text.bytes()) } {
        (true, text) => text.to_vec(),
        // SAFETY: as above.
        _ => unsafe { std::slice::from_raw_parts(r.tokens, r.n_tokens) }.iter().map(|&t| t as u8).collect(),
    };
    let done = |finish, status, text| send(&EbEvent { finish, status, text, ..EbEvent::new(EB_EVENT_DONE, r.id) });
    if prompt.len() >= session.n_ctx as usize {
        done(EB_FINISH_ERROR, EB_ERR_CONTEXT_FULL, EbStr::new("the prompt does not fit; raise n_ctx"));
        return;
    }
    // SDK: evaluate the prompt here.
    send(&EbEvent { prompt_tokens: prompt.len() as u32, ..EbEvent::new(EB_EVENT_PREFILL, r.id) });
    let (mut finish, mut status) = (EB_FINISH_LENGTH, EB_OK);
    for byte in prompt.iter().cycle().take((r.max_new as usize).min(session.n_ctx as usize - prompt.len())) {
        if session.aborted.load(Ordering::Relaxed) {
            (finish, status) = (EB_FINISH_ABORTED, EB_ERR_ABORTED);
            break;
        }
        // SDK: make the next token here; stop at its end of answer (unless IGNORE_EOS is set) and at stop strings.
        let text = EbStr::from_bytes(std::slice::from_ref(byte));
        if send(&EbEvent { token: i32::from(*byte), text, ..EbEvent::new(EB_EVENT_TOKEN, r.id) }) {
            finish = EB_FINISH_SINK;
            break;
        }
    }
    done(finish, status, EbStr::EMPTY);
}

#[rustfmt::skip]
unsafe extern "C" fn reset(_: *mut EbSession, _: *mut EbError) -> EbStatus { EB_OK }
unsafe extern "C" fn abort(session: *mut EbSession) {
    // SAFETY: the session is open, and only its atomic is touched: this may be another thread.
    unsafe { (*session.cast::<Session>()).aborted.store(true, Ordering::Relaxed) }
}

#[rustfmt::skip]
unsafe extern "C" fn get_extension(_: EbStr) -> *const c_void { std::ptr::null() }

fn fail(error: &mut EbError, code: EbStatus, message: &str) -> EbStatus {
    error.set(code, 0, message);
    code
}

#[rustfmt::skip]
static TABLE: EbBackend = EbBackend {
    struct_size: size_of::<EbBackend>() as u32, abi_minor: EB_ABI_MINOR,
    name: EbStr::new("template"), version: EbStr::new("0.1"),
    probe: Some(probe), open: Some(open), close: Some(close), info: Some(info), tokenize: Some(tokenize),
    detokenize: Some(detokenize), generate: Some(generate), reset: Some(reset), abort: Some(abort),
    get_extension: Some(get_extension),
};

#[unsafe(no_mangle)]
extern "C" fn eb_backend_v1(_host_minor: u32) -> *const EbBackend {
    &TABLE
}
