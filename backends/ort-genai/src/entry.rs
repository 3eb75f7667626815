//! The functions of the table: checks pointers, turns C structs into borrowed Rust ones, and never panics outwards.
//! It owns the handle behind `eb_session`.
//! It must not know what happens inside a call.

use crate::control::Control;
use crate::failure::Failure;
use crate::ffi::{guard, read_sized, slice, write_sized};
use crate::params::Options;
use crate::session::Session;
use crate::sink::Sink;
use crate::{device as devices, generate as generation, requests, score as scoring};
use edgebench_abi::*;
use std::cell::UnsafeCell;
use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;

/// What an `eb_session` really is. The control lies outside the session: abort() runs while another function has it.
struct Handle {
    control: Arc<Control>,
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
        let report = devices::report();
        let probe = EbProbe {
            struct_size: 0,
            // Whether the libraries are there is known in open() only: a job may say where.
            device_count: 1,
            runtime: EbStr::new(report.runtime),
            device: EbStr::new(report.device),
            note: EbStr::new(report.note),
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
        let control = Arc::new(Control::default());
        let session = Session::open(path, options, Arc::clone(&control))?;
        // SAFETY: the caller's function, valid during open().
        unsafe { tell(&params, &session) };
        let handle = Box::new(Handle { control, session: UnsafeCell::new(session) });
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
        let folder = &session.folder;
        let info = EbInfo {
            struct_size: 0,
            n_ctx: session.n_ctx as u32,
            n_ctx_train: u32::try_from(folder.context_length).unwrap_or(u32::MAX),
            n_vocab: folder.n_vocab as u32,
            flags: EB_INFO_TOKENIZER | EB_INFO_SAMPLING | EB_INFO_PREFIX,
            n_weights: 0,
            weights_bytes: folder.weights_bytes,
            // Other providers may keep it in another type.
            kv_bytes: if session.options.is_cpu() { folder.kv_bytes_per_token * session.n_ctx as u64 } else { 0 },
            compute_bytes: 0,
            bos_token: folder.bos,
            eos_token: folder.eos.first().copied().unwrap_or(-1),
            architecture: EbStr::new(&folder.architecture),
            quantization: EbStr::EMPTY,
            description: EbStr::new(&session.name),
            chat_template: EbStr::new(&folder.chat_template),
            bos_text: EbStr::new(&folder.bos_text),
            eos_text: EbStr::new(&folder.eos_text),
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

/// Stores as much of `found` as `out` holds, and its full length in `count`; fails if that is more.
fn fill<T: Copy>(found: &[T], out: &mut [T], count: NonNull<usize>) -> Result<(), Failure> {
    // SAFETY: the caller's pointer to a number.
    unsafe { count.write(found.len()) };
    let n = found.len().min(out.len());
    out[..n].copy_from_slice(&found[..n]);
    if n == found.len() {
        return Ok(());
    }
    let (room, needed) = (out.len(), found.len());
    Err(Failure::buffer(format!("the buffer holds {room}, needed are {needed}: call again with a larger one")))
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
        let found = session.tokenizer.encode(unsafe { text.bytes() }, special, parse)?;
        fill(&found, out, n_tokens)
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
        fill(&session.tokenizer.decode(tokens)?, out, length)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn generate(
    handle: *mut EbSession,
    array: *const *const EbRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
        // SAFETY: the header's rules for requests.
        let all = unsafe { requests::to_generate(array, n) }?;
        generation::generate(session, &all, &sink)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn score(
    handle: *mut EbSession,
    array: *const *const EbScoreRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        let session = unsafe { session(handle) }?;
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
        // SAFETY: the header's rules for requests.
        let all = unsafe { requests::to_score(array, n) }?;
        scoring::score(session, &all, &sink)
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn reset(handle: *mut EbSession, error: *mut EbError) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for sessions.
        unsafe { session(handle) }?.reset()
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn abort(session: *mut EbSession) {
    let body = || {
        if let Some(handle) = NonNull::new(session.cast::<Handle>()) {
            // SAFETY: it came from open() and is not closed yet; only the control is touched, not the session.
            unsafe { &(*handle.as_ptr()).control }.abort();
        }
        Ok(())
    };
    // SAFETY: there is no error to be filled.
    unsafe { guard(null_mut(), body) };
}

pub unsafe extern "C" fn device(index: u32, out: *mut EbDevice, error: *mut EbError) -> EbStatus {
    let body = || {
        if index > 0 {
            return Err(Failure::invalid(format!("device {index}: there is only device 0")));
        }
        if out.is_null() {
            return Err(null_argument("out"));
        }
        let devices::Device { name, driver, cores, is_cpu } = devices::current();
        let (memory_bytes, memory_free_bytes) = if is_cpu { devices::memory() } else { (0, 0) };
        let device = EbDevice {
            struct_size: 0,
            cores,
            name: EbStr::new(name),
            driver: EbStr::new(driver),
            memory_bytes,
            memory_free_bytes,
        };
        // SAFETY: the caller's struct says how large it is.
        unsafe { write_sized(out, &device) };
        Ok(())
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

pub unsafe extern "C" fn get_extension(name: EbStr) -> *const c_void {
    // SAFETY: borrowed for this call.
    let name = unsafe { name.bytes() };
    if name == EB_EXT_SCORE.as_bytes() {
        (&raw const crate::SCORE).cast()
    } else if name == EB_EXT_DEVICE.as_bytes() {
        (&raw const crate::DEVICE).cast()
    } else {
        null()
    }
}

/// Says in the host's log what was opened with what.
///
/// # Safety
/// As the header says of `params` during open().
unsafe fn tell(params: &EbOpenParams, session: &Session) {
    let device = devices::current();
    let line = format!(
        "{}; provider {}, {} threads, n_ctx {}",
        device.driver, session.options.provider, session.options.threads, session.n_ctx
    );
    if let Some(log) = params.log {
        // SAFETY: passed on to the caller.
        unsafe { log(params.log_user, EB_LOG_INFO, EbStr::new(&line)) };
    }
}
