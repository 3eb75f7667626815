//! The functions of the table for any [`Backend`]: checks pointers, turns C structs into borrowed Rust values, and
//! never panics outwards. It owns the handle behind `eb_session`.
//! It must not know any SDK.

use crate::failure::Failure;
use crate::ffi::{guard, read_sized, slice, write_sized};
use crate::request::{
    Generate, Quantize, Score, ScoreText, to_generate, to_lora, to_quantize, to_score, to_score_text,
};
use crate::sink::Sink;
use crate::train::{self, Train};
use edgebench_abi::*;
use std::cell::UnsafeCell;
use std::ffi::{OsStr, c_char, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{NonNull, null, null_mut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A backend in safe Rust: a value of it is a loaded model. The header says what each function owes to its caller.
pub trait Backend: Sized + 'static {
    /// Lower case, no spaces.
    const NAME: &'static str;
    const VERSION: &'static str;
    /// What abort() reaches while another thread is inside a call.
    type Abort: Abort;

    fn probe() -> Probe;

    /// # Errors
    /// Those of the header for `open()`.
    fn open(model: &Path, params: &[(String, String)], log: Log, abort: Arc<Self::Abort>) -> Result<Self, Failure>;

    /// `struct_size` is not used.
    fn info(&self) -> EbInfo;

    /// Stores the tokens of `text` in `out`, as far as they fit, and gives their number. `special`: with BOS and EOS as
    /// the model wants them; `parse`: control tokens in the text count.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for text that cannot be taken; `EB_ERR_UNSUPPORTED` where the tokenizer is out of reach.
    fn tokenize(&self, _text: &[u8], _special: bool, _parse: bool, _out: &mut [i32]) -> Result<usize, Failure> {
        Err(Failure::unsupported("the tokenizer is out of this backend's reach"))
    }

    /// The same the other way round, in bytes. Control tokens are nothing.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` for tokens outside the vocabulary; `EB_ERR_UNSUPPORTED` as above.
    fn detokenize(&self, _tokens: &[i32], _out: &mut [u8]) -> Result<usize, Failure> {
        Err(Failure::unsupported("the tokenizer is out of this backend's reach"))
    }

    /// # Errors
    /// Of the call as a whole; those of single requests are in their DONE events.
    fn generate(&mut self, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure>;

    /// Which of the two below is offered.
    const SCORES: Scores = Scores::Tokens;

    /// For `eb.score/1`.
    ///
    /// # Errors
    /// As [`Backend::generate`].
    fn score(&mut self, _requests: &[(u64, Score)], _sink: &Sink) -> Result<(), Failure> {
        Err(Failure::unsupported("this backend does not score tokens"))
    }

    /// For `eb.score_text/1`.
    ///
    /// # Errors
    /// As [`Backend::generate`].
    fn score_text(&mut self, _requests: &[(u64, ScoreText)], _sink: &Sink) -> Result<(), Failure> {
        Err(Failure::unsupported("this backend does not score text"))
    }

    /// Is `eb.logits/1` offered?
    const SHOWS_LOGITS: bool = false;

    /// For `eb.logits/1`: calls `row` with the logits after each token from `first` on, until it says `true`.
    ///
    /// # Errors
    /// Those of the header for `evaluate()`.
    fn evaluate(
        &mut self,
        _tokens: &[i32],
        _first: usize,
        _row: &mut dyn FnMut(&[f32]) -> bool,
    ) -> Result<(), Failure> {
        Err(Failure::unsupported("this backend does not show logits"))
    }

    /// Is `eb.quantize/1` offered?
    const QUANTIZES: bool = false;

    /// For `eb.quantize/1`. `struct_size` is not used.
    ///
    /// # Errors
    /// Those of the header for `quantize()`.
    fn quantize(_wanted: &Quantize, _log: Log) -> Result<EbQuantized, Failure> {
        Err(Failure::unsupported("this backend does not make models smaller"))
    }

    /// Is `eb.train/1` offered?
    const TRAINS: bool = false;

    /// For `eb.train/1`: calls `step` after each step and each validation, and ends when it says `true`. `struct_size` is not used.
    ///
    /// # Errors
    /// Those of the header for `train()`.
    fn train(_wanted: &Train, _step: &mut dyn FnMut(EbTrainStep) -> bool, _log: Log) -> Result<EbTrained, Failure> {
        Err(Failure::unsupported("this backend does not train models"))
    }

    /// # Errors
    /// If a new sequence cannot be made.
    fn reset(&mut self) -> Result<(), Failure>;

    /// Is `eb.lora/1` offered?
    const ADAPTS: bool = false;

    /// For `eb.lora/1`: these adapters, each with its scale, and no others; all sequences are forgotten.
    ///
    /// # Errors
    /// Those of the header; nothing has changed then.
    fn adapt(&mut self, _adapters: &[(&Path, f32)]) -> Result<(), Failure> {
        Err(Failure::unsupported("this backend takes no LoRA adapters"))
    }

    /// For `eb.device/1`, which is offered if there is a first one. `struct_size` is not used.
    fn device(_index: u32) -> Option<EbDevice> {
        None
    }
}

/// In what form a backend scores continuations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scores {
    Tokens,
    Text,
}

/// Ends a running call from another thread.
pub trait Abort: Default + Send + Sync {
    fn abort(&self);
}

impl Abort for AtomicBool {
    fn abort(&self) {
        self.store(true, Ordering::Relaxed);
    }
}

/// The answer to `probe()`. Strings live until the process ends.
pub struct Probe {
    /// Devices that could be used; 0: none, see `note`.
    pub device_count: u32,
    pub runtime: &'static str,
    pub device: &'static str,
    /// What is missing, or empty.
    pub note: &'static str,
}

/// Where log lines go, from any thread, until the session is closed.
#[derive(Clone, Copy)]
pub struct Log {
    function: Option<unsafe extern "C" fn(*mut c_void, i32, EbStr)>,
    user: *mut c_void,
}

// SAFETY: the header allows calls from any thread, and `user` is only handed back to the function.
unsafe impl Send for Log {}

impl Log {
    /// # Safety
    /// The function may be called with `user` until the session is closed.
    pub unsafe fn new(function: Option<unsafe extern "C" fn(*mut c_void, i32, EbStr)>, user: *mut c_void) -> Log {
        Log { function, user }
    }

    /// Sends a line of `EB_LOG_*`.
    pub fn line(&self, level: i32, line: &[u8]) {
        if let Some(function) = self.function {
            // SAFETY: the caller of `new` vouches for the function; the line lives for the call.
            unsafe { function(self.user, level, EbStr::from_bytes(line)) };
        }
    }
}

/// The tables of a backend, as constants.
pub trait Tables: Backend {
    const TABLE: &'static EbBackend = &EbBackend {
        struct_size: size_of::<EbBackend>() as u32,
        abi_minor: EB_ABI_MINOR,
        name: EbStr::new(Self::NAME),
        version: EbStr::new(Self::VERSION),
        probe: Some(probe::<Self>),
        open: Some(open::<Self>),
        close: Some(close::<Self>),
        info: Some(info::<Self>),
        tokenize: Some(tokenize::<Self>),
        detokenize: Some(detokenize::<Self>),
        generate: Some(generate::<Self>),
        reset: Some(reset::<Self>),
        abort: Some(abort::<Self>),
        get_extension: Some(get_extension::<Self>),
    };
    const SCORE: &'static EbScoreV1 =
        &EbScoreV1 { struct_size: size_of::<EbScoreV1>() as u32, reserved: 0, score: Some(score::<Self>) };
    const SCORE_TEXT: &'static EbScoreTextV1 =
        &EbScoreTextV1 { struct_size: size_of::<EbScoreTextV1>() as u32, reserved: 0, score: Some(score_text::<Self>) };
    const LORA: &'static EbLoraV1 =
        &EbLoraV1 { struct_size: size_of::<EbLoraV1>() as u32, reserved: 0, set: Some(set_lora::<Self>) };
    const LOGITS: &'static EbLogitsV1 =
        &EbLogitsV1 { struct_size: size_of::<EbLogitsV1>() as u32, reserved: 0, evaluate: Some(evaluate::<Self>) };
    const QUANTIZE: &'static EbQuantizeV1 =
        &EbQuantizeV1 { struct_size: size_of::<EbQuantizeV1>() as u32, reserved: 0, quantize: Some(quantize::<Self>) };
    const TRAIN: &'static EbTrainV1 =
        &EbTrainV1 { struct_size: size_of::<EbTrainV1>() as u32, reserved: 0, train: Some(train::train::<Self>) };
    const DEVICE: &'static EbDeviceV1 =
        &EbDeviceV1 { struct_size: size_of::<EbDeviceV1>() as u32, reserved: 0, get: Some(device::<Self>) };
}

impl<B: Backend> Tables for B {}

/// Stores as much of `found` as `out` holds, and gives its full length: for [`Backend::tokenize`] and its like.
pub fn store<T: Copy>(found: &[T], out: &mut [T]) -> usize {
    let n = found.len().min(out.len());
    out[..n].copy_from_slice(&found[..n]);
    found.len()
}

/// What an `eb_session` really is. The flag lies outside the session: abort() runs while another function has it.
struct Handle<B: Backend> {
    abort: Arc<B::Abort>,
    session: UnsafeCell<B>,
}

/// The session behind a handle.
///
/// # Safety
/// `session` must be NULL or come from [`open`], and no other reference to the session may be alive: the header
/// promises one thread and no reentrance for everything but [`abort`].
unsafe fn session<'a, B: Backend>(session: *mut EbSession) -> Result<&'a mut B, Failure> {
    let handle = NonNull::new(session.cast::<Handle<B>>()).ok_or_else(|| Failure::null("the session"))?;
    // SAFETY: passed on to the caller. Only a shared reference to the handle is made, for the sake of abort().
    Ok(unsafe { &mut *handle.as_ref().session.get() })
}

/// Runs the body of a function of the table with its session.
///
/// # Safety
/// The header's rules for sessions and for `error`.
unsafe fn with<B: Backend>(
    handle: *mut EbSession,
    error: *mut EbError,
    body: impl FnOnce(&mut B) -> Result<(), Failure>,
) -> EbStatus {
    // SAFETY: passed on to the caller.
    unsafe { guard(error, || body(session::<B>(handle)?)) }
}

unsafe extern "C" fn probe<B: Backend>(out: *mut EbProbe, error: *mut EbError) -> EbStatus {
    let body = || {
        let Probe { device_count, runtime, device, note } = B::probe();
        let probe = EbProbe {
            struct_size: 0,
            device_count,
            runtime: EbStr::new(runtime),
            device: EbStr::new(device),
            note: EbStr::new(note),
        };
        // SAFETY: the caller's struct says how large it is.
        unsafe { fill(out, &probe) }
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

/// Fills a caller's struct.
///
/// # Safety
/// As [`write_sized`], but NULL is refused.
pub(crate) unsafe fn fill<T>(out: *mut T, value: &T) -> Result<(), Failure> {
    if out.is_null() {
        return Err(Failure::null("out"));
    }
    // SAFETY: passed on to the caller.
    unsafe { write_sized(out, value) };
    Ok(())
}

unsafe extern "C" fn open<B: Backend>(
    params: *const EbOpenParams,
    out: *mut *mut EbSession,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        let out = NonNull::new(out).ok_or_else(|| Failure::null("out"))?;
        // SAFETY: the caller's pointer to a pointer.
        unsafe { out.write(null_mut()) };
        if params.is_null() {
            return Err(Failure::null("params"));
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
        // SAFETY: as above.
        let path = Path::new(OsStr::from_bytes(unsafe { params.model.bytes() }));
        // SAFETY: the header's rule for the log.
        let log = unsafe { Log::new(params.log, params.log_user) };
        let abort = Arc::<B::Abort>::default();
        let session = B::open(path, &texts, log, Arc::clone(&abort))?;
        let handle = Box::new(Handle::<B> { abort, session: UnsafeCell::new(session) });
        // SAFETY: the caller's pointer to a pointer.
        unsafe { out.write(Box::into_raw(handle).cast()) };
        Ok(())
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn close<B: Backend>(session: *mut EbSession) {
    let body = || {
        if !session.is_null() {
            // SAFETY: it came from open() and is closed once.
            drop(unsafe { Box::from_raw(session.cast::<Handle<B>>()) });
        }
        Ok(())
    };
    // SAFETY: there is no error to be filled.
    unsafe { guard(null_mut(), body) };
}

unsafe extern "C" fn info<B: Backend>(handle: *mut EbSession, out: *mut EbInfo, error: *mut EbError) -> EbStatus {
    let body = |session: &mut B| {
        // SAFETY: the caller's struct says how large it is.
        unsafe { fill(out, &session.info()) }
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

/// A caller's buffer of `capacity` entries; NULL is fine for 0.
///
/// # Safety
/// A pointer that is not NULL must point to `capacity` writable entries.
unsafe fn buffer<'a, T>(ptr: *mut T, capacity: usize) -> Result<&'a mut [T], Failure> {
    match (ptr.is_null(), capacity) {
        (_, 0) => Ok(&mut []),
        (true, _) => Err(Failure::null("the output buffer")),
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

unsafe extern "C" fn tokenize<B: Backend>(
    handle: *mut EbSession,
    text: EbStr,
    flags: u64,
    tokens: *mut i32,
    capacity: usize,
    n_tokens: *mut usize,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        let n_tokens = NonNull::new(n_tokens).ok_or_else(|| Failure::null("n_tokens"))?;
        // SAFETY: the header's rules for the buffer.
        let out = unsafe { buffer(tokens, capacity) }?;
        let special = flags & EB_TOKENIZE_ADD_SPECIAL != 0;
        let parse = flags & EB_TOKENIZE_PARSE_SPECIAL != 0;
        // SAFETY: borrowed for this call.
        let needed = session.tokenize(unsafe { text.bytes() }, special, parse, out)?;
        fits(needed, capacity, n_tokens)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn detokenize<B: Backend>(
    handle: *mut EbSession,
    tokens: *const i32,
    n_tokens: usize,
    text: *mut c_char,
    capacity: usize,
    length: *mut usize,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        let length = NonNull::new(length).ok_or_else(|| Failure::null("length"))?;
        // SAFETY: borrowed for this call.
        let tokens = unsafe { slice(tokens, n_tokens, "tokens") }?;
        // SAFETY: the header's rules for the buffer.
        let out = unsafe { buffer(text.cast::<u8>(), capacity) }?;
        fits(session.detokenize(tokens, out)?, capacity, length)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn generate<B: Backend>(
    handle: *mut EbSession,
    requests: *const *const EbRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
        // SAFETY: the header's rules for requests.
        let all = unsafe { to_generate(requests, n) }?;
        session.generate(&all, &sink)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn score<B: Backend>(
    handle: *mut EbSession,
    requests: *const *const EbScoreRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
        // SAFETY: the header's rules for requests.
        let all = unsafe { to_score(requests, n) }?;
        session.score(&all, &sink)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn score_text<B: Backend>(
    handle: *mut EbSession,
    requests: *const *const EbScoreTextRequest,
    n: usize,
    sink: *const EbSink,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        // SAFETY: the sink is borrowed for this call.
        let sink = unsafe { Sink::new(sink) }?;
        // SAFETY: the header's rules for requests.
        let all = unsafe { to_score_text(requests, n) }?;
        session.score_text(&all, &sink)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn set_lora<B: Backend>(
    handle: *mut EbSession,
    adapters: *const *const EbLora,
    n: usize,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        // SAFETY: the header's rules for arrays of structs.
        let all = unsafe { to_lora(adapters, n) }?;
        session.adapt(&all)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn evaluate<B: Backend>(
    handle: *mut EbSession,
    tokens: *const i32,
    n_tokens: usize,
    first: usize,
    row: Option<EbRowFn>,
    user: *mut c_void,
    error: *mut EbError,
) -> EbStatus {
    let body = |session: &mut B| {
        let row = row.ok_or_else(|| Failure::null("row"))?;
        // SAFETY: borrowed for this call.
        let tokens = unsafe { slice(tokens, n_tokens, "tokens") }?;
        // SAFETY: the header's rule for `row`; the logits live for the call.
        session.evaluate(tokens, first, &mut |logits| unsafe { row(user, logits.as_ptr(), logits.len()) } != 0)
    };
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, body) }
}

unsafe extern "C" fn quantize<B: Backend>(
    request: *const EbQuantizeRequest,
    out: *mut EbQuantized,
    error: *mut EbError,
) -> EbStatus {
    let body = || {
        // SAFETY: the header's rules for requests.
        let (wanted, log) = unsafe { to_quantize(request) }?;
        let made = B::quantize(&wanted, log)?;
        // SAFETY: the caller's struct says how large it is.
        unsafe { fill(out, &made) }
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn reset<B: Backend>(handle: *mut EbSession, error: *mut EbError) -> EbStatus {
    // SAFETY: the header's rules for sessions and for `error`.
    unsafe { with(handle, error, B::reset) }
}

unsafe extern "C" fn abort<B: Backend>(session: *mut EbSession) {
    let body = || {
        if let Some(handle) = NonNull::new(session.cast::<Handle<B>>()) {
            // SAFETY: it came from open() and is not closed yet; only the flag is touched, not the session.
            unsafe { &(*handle.as_ptr()).abort }.abort();
        }
        Ok(())
    };
    // SAFETY: there is no error to be filled.
    unsafe { guard(null_mut(), body) };
}

unsafe extern "C" fn device<B: Backend>(index: u32, out: *mut EbDevice, error: *mut EbError) -> EbStatus {
    let body = || {
        let device = B::device(index).ok_or_else(|| Failure::invalid(format!("there is no device {index}")))?;
        // SAFETY: the caller's struct says how large it is.
        unsafe { fill(out, &device) }
    };
    // SAFETY: the header's rules for `error`.
    unsafe { guard(error, body) }
}

unsafe extern "C" fn get_extension<B: Backend>(name: EbStr) -> *const c_void {
    // SAFETY: borrowed for this call.
    let name = unsafe { name.bytes() };
    if name == EB_EXT_SCORE.as_bytes() && B::SCORES == Scores::Tokens {
        std::ptr::from_ref(B::SCORE).cast()
    } else if name == EB_EXT_SCORE_TEXT.as_bytes() && B::SCORES == Scores::Text {
        std::ptr::from_ref(B::SCORE_TEXT).cast()
    } else if name == EB_EXT_LORA.as_bytes() && B::ADAPTS {
        std::ptr::from_ref(B::LORA).cast()
    } else if name == EB_EXT_LOGITS.as_bytes() && B::SHOWS_LOGITS {
        std::ptr::from_ref(B::LOGITS).cast()
    } else if name == EB_EXT_QUANTIZE.as_bytes() && B::QUANTIZES {
        std::ptr::from_ref(B::QUANTIZE).cast()
    } else if name == EB_EXT_TRAIN.as_bytes() && B::TRAINS {
        std::ptr::from_ref(B::TRAIN).cast()
    } else if name == EB_EXT_DEVICE.as_bytes() && B::device(0).is_some() {
        std::ptr::from_ref(B::DEVICE).cast()
    } else {
        null()
    }
}
