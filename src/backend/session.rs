//! Safe Rust over the C table: `Backend`, `Session` (bound to its thread) and `Aborter` (for any thread).
//! It owns pointers, sizes and lifetimes of the ABI; it must not know sockets or frames.

use super::abi::*;
use super::extension::Extension;
use super::sink::{Collector, Progress, Violation};
use super::wire::{Adapter, Failure, FailureKind};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::ops::ControlFlow;
use std::ptr::{self, NonNull};

/// A backend's table, checked to be complete by the loader.
#[derive(Clone, Copy)]
pub struct Backend {
    table: &'static EbBackend,
    functions: Functions,
}

/// The table's functions without their `Option`.
#[derive(Clone, Copy)]
struct Functions {
    probe: EbProbeFn,
    open: EbOpenFn,
    close: EbCloseFn,
    info: EbInfoFn,
    tokenize: EbTokenizeFn,
    generate: EbGenerateFn,
    reset: EbResetFn,
    abort: EbAbortFn,
    get_extension: EbGetExtensionFn,
}

/// Runtime, device and note of `probe()`.
pub struct Probe {
    pub devices: u32,
    pub runtime: String,
    pub device: String,
    pub note: String,
}

/// Result of a call with a sink: when it started, and what became of each request.
pub type Collected = Result<(u64, Vec<Progress>), CallError>;

/// Why a call with a sink gave nothing.
pub enum CallError {
    Failed(Failure),
    Violation(Violation),
}

impl Backend {
    /// Wraps a table, or names the first function that is NULL. The table must be of full version 1.0 size.
    pub fn new(table: &'static EbBackend) -> Result<Backend, &'static str> {
        table.detokenize.ok_or("detokenize")?;
        let functions = Functions {
            probe: table.probe.ok_or("probe")?,
            open: table.open.ok_or("open")?,
            close: table.close.ok_or("close")?,
            info: table.info.ok_or("info")?,
            tokenize: table.tokenize.ok_or("tokenize")?,
            generate: table.generate.ok_or("generate")?,
            reset: table.reset.ok_or("reset")?,
            abort: table.abort.ok_or("abort")?,
            get_extension: table.get_extension.ok_or("get_extension")?,
        };
        Ok(Backend { table, functions })
    }

    /// The table itself, for `conform`, which calls it raw.
    pub(super) fn table(&self) -> &'static EbBackend {
        self.table
    }

    pub fn name(&self) -> String {
        // SAFETY: strings of the table live as long as the process.
        unsafe { self.table.name.to_string_lossy() }
    }

    pub fn version(&self) -> String {
        // SAFETY: as above.
        unsafe { self.table.version.to_string_lossy() }
    }

    /// What the backend would run on here.
    pub fn probe(&self) -> Result<Probe, Failure> {
        let mut probe = EbProbe {
            struct_size: size_of::<EbProbe>() as u32,
            device_count: 0,
            runtime: EbStr::EMPTY,
            device: EbStr::EMPTY,
            note: EbStr::EMPTY,
        };
        let mut error = EbError::new();
        // SAFETY: both structs live for the call and carry their size.
        let status = unsafe { (self.functions.probe)(&mut probe, &mut error) };
        failure(status, &error)?;
        // SAFETY: strings of a probe live until the process ends.
        let text = |s: EbStr| unsafe { s.to_string_lossy() };
        Ok(Probe {
            devices: probe.device_count,
            runtime: text(probe.runtime),
            device: text(probe.device),
            note: text(probe.note),
        })
    }

    /// Loads `model`.
    pub fn open(&self, model: &str, params: &[(String, String)]) -> Result<Session, Failure> {
        let pairs: Vec<EbParam> =
            params.iter().map(|(k, v)| EbParam { key: EbStr::new(k), value: EbStr::new(v) }).collect();
        let open = EbOpenParams {
            struct_size: size_of::<EbOpenParams>() as u32,
            n_params: pairs.len() as u32,
            params: pairs.as_ptr(),
            model: EbStr::new(model),
            log: Some(on_log),
            log_user: ptr::null_mut(),
        };
        let mut raw = ptr::null_mut();
        let mut error = EbError::new();
        // SAFETY: everything passed lives for the call; `on_log` uses no state.
        let status = unsafe { (self.functions.open)(&open, &mut raw, &mut error) };
        failure(status, &error)?;
        let raw = NonNull::new(raw)
            .ok_or_else(|| Failure::new(FailureKind::Internal, "open() returned EB_OK without a session"))?;
        Ok(Session {
            raw,
            backend: *self,
            score: self.extension::<EbScoreV1>().and_then(|table| table.score),
            score_text: self.extension::<EbScoreTextV1>().and_then(|table| table.score),
            evaluate: self.extension::<EbLogitsV1>().and_then(|table| table.evaluate),
            _bound: PhantomData,
        })
    }

    /// The table of an extension, where the backend has it in full.
    pub(super) fn extension<E: Extension>(&self) -> Option<&'static E> {
        // SAFETY: the name is borrowed for the call.
        let table = unsafe { (self.functions.get_extension)(EbStr::new(E::NAME)) };
        // SAFETY: NULL or a table that lives until the process ends; each starts with struct_size.
        let size = unsafe { table.cast::<u32>().as_ref() }?;
        if (*size as usize) < size_of::<E>() {
            return None;
        }
        // SAFETY: as large as `E`, whose layout the trait vouches for.
        unsafe { table.cast::<E>().as_ref() }
    }
}

/// A context and continuations to score after it, in tokens.
pub struct ScoreRequest {
    pub context: Vec<i32>,
    pub continuations: Vec<Vec<i32>>,
    /// `prefix_id` and `prefix_len`.
    pub prefix: (u64, u32),
}

/// A loaded model. Not `Send`: the contract binds it to one thread.
pub struct Session {
    raw: NonNull<EbSession>,
    backend: Backend,
    score: Option<EbScoreFn>,
    score_text: Option<EbScoreTextFn>,
    evaluate: Option<EbEvaluateFn>,
    _bound: PhantomData<*mut ()>,
}

/// Ends the running call of a session, from any thread. Must not be used after the session is closed.
pub struct Aborter {
    raw: NonNull<EbSession>,
    abort: EbAbortFn,
}

// SAFETY: abort() is the one function that the contract allows on any thread.
unsafe impl Send for Aborter {}

impl Aborter {
    pub(super) fn new(raw: NonNull<EbSession>, abort: EbAbortFn) -> Aborter {
        Aborter { raw, abort }
    }

    /// Asks the running call to end soon.
    ///
    /// # Safety
    /// The session that this came from is still open.
    pub unsafe fn abort(&self) {
        // SAFETY: passed on to the caller.
        unsafe { (self.abort)(self.raw.as_ptr()) }
    }
}

impl Session {
    pub fn aborter(&self) -> Aborter {
        Aborter::new(self.raw, self.backend.functions.abort)
    }

    /// Where log-likelihoods come from; empty: there are none.
    pub fn scored_by(&self) -> String {
        if self.score.is_some() {
            return "logits".to_owned();
        }
        let said = self.info(|info, text| text(info.scored_by)).unwrap_or_default();
        said.chars().filter(|_| self.score_text.is_some()).filter(|c| !c.is_control()).collect()
    }

    /// Are contexts and continuations handed over in text?
    pub fn scores_text(&self) -> bool {
        self.score.is_none() && self.score_text.is_some()
    }

    /// Calls `read` with the session's info, whose strings are valid only inside.
    pub fn info<R>(&self, read: impl FnOnce(&EbInfo, &dyn Fn(EbStr) -> String) -> R) -> Result<R, Failure> {
        // SAFETY: EbInfo is plain numbers and pointers, for which all zeroes is a valid value.
        let mut info: EbInfo = unsafe { std::mem::zeroed() };
        info.struct_size = size_of::<EbInfo>() as u32;
        (info.bos_token, info.eos_token) = (-1, -1);
        let mut error = EbError::new();
        // SAFETY: the session is open; both structs live for the call and carry their size.
        let status = unsafe { (self.backend.functions.info)(self.raw.as_ptr(), &mut info, &mut error) };
        failure(status, &error)?;
        // SAFETY: strings of an info live until close(), and the session is borrowed here.
        Ok(read(&info, &|s| unsafe { s.to_string_lossy() }))
    }

    /// Text to tokens; `flags` are `EB_TOKENIZE_*`.
    pub fn tokenize(&self, text: &str, flags: u64) -> Result<Vec<i32>, Failure> {
        let mut tokens = vec![0i32; text.len() / 2 + 16];
        loop {
            let mut count = 0usize;
            let mut error = EbError::new();
            // SAFETY: the session is open, the buffer has the capacity that is told.
            let status = unsafe {
                (self.backend.functions.tokenize)(
                    self.raw.as_ptr(),
                    EbStr::new(text),
                    flags,
                    tokens.as_mut_ptr(),
                    tokens.len(),
                    &mut count,
                    &mut error,
                )
            };
            if status == EB_ERR_BUFFER && count > tokens.len() {
                tokens.resize(count, 0);
                continue;
            }
            failure(status, &error)?;
            if count > tokens.len() {
                return Err(Failure::new(
                    FailureKind::Internal,
                    format!("tokenize() returned EB_OK with {count} tokens for a buffer of {}", tokens.len()),
                ));
            }
            tokens.truncate(count);
            return Ok(tokens);
        }
    }

    /// Runs `requests`, whose ids are 0, 1, … and whose pointers are borrowed from the caller.
    pub fn generate(&self, requests: &[EbRequest], give_up: fn(Violation) -> !) -> Collected {
        let pointers: Vec<*const EbRequest> = requests.iter().map(ptr::from_ref).collect();
        let collector = Collector::new(requests.iter().map(|r| r.max_new), false, give_up);
        self.call(collector, |sink, error| {
            // SAFETY: the session is open; requests, sink and error live for the call.
            unsafe {
                (self.backend.functions.generate)(self.raw.as_ptr(), pointers.as_ptr(), pointers.len(), sink, error)
            }
        })
    }

    /// Log-likelihoods.
    pub fn score(&self, requests: &[ScoreRequest], give_up: fn(Violation) -> !) -> Collected {
        let Some(score) = self.score else {
            let message = format!("the backend `{}` does not offer {EB_EXT_SCORE}", self.backend.name());
            return Err(CallError::Failed(Failure::new(FailureKind::Unsupported, message)));
        };
        let arrays: Vec<(Vec<*const i32>, Vec<usize>)> = requests
            .iter()
            .map(|r| {
                let continuations = &r.continuations;
                (continuations.iter().map(|t| t.as_ptr()).collect(), continuations.iter().map(Vec::len).collect())
            })
            .collect();
        let structs: Vec<EbScoreRequest> = requests
            .iter()
            .zip(&arrays)
            .enumerate()
            .map(|(i, (request, (pointers, lengths)))| EbScoreRequest {
                struct_size: size_of::<EbScoreRequest>() as u32,
                n_continuations: pointers.len() as u32,
                id: i as u64,
                context: request.context.as_ptr(),
                n_context: request.context.len(),
                continuations: pointers.as_ptr(),
                n_tokens: lengths.as_ptr(),
                prefix_len: request.prefix.1,
                reserved: 0,
                prefix_id: request.prefix.0,
            })
            .collect();
        let pointers: Vec<*const EbScoreRequest> = structs.iter().map(ptr::from_ref).collect();
        let collector = Collector::new(structs.iter().map(|r| r.n_continuations), true, give_up);
        self.call(collector, |sink, error| {
            // SAFETY: the session is open; requests, sink and error live for the call.
            unsafe { score(self.raw.as_ptr(), pointers.as_ptr(), pointers.len(), sink, error) }
        })
    }

    /// Log-likelihoods: each request is `(context, continuations, flags)`, flags being `EB_REQUEST_*`.
    pub fn score_text(&self, requests: &[(&str, &[String], u64)], give_up: fn(Violation) -> !) -> Collected {
        let Some(score) = self.score_text else {
            let message = format!("the backend `{}` does not offer {EB_EXT_SCORE_TEXT}", self.backend.name());
            return Err(CallError::Failed(Failure::new(FailureKind::Unsupported, message)));
        };
        let continuations: Vec<Vec<EbStr>> =
            requests.iter().map(|(_, texts, _)| texts.iter().map(|text| EbStr::new(text)).collect()).collect();
        let structs: Vec<EbScoreTextRequest> = requests
            .iter()
            .zip(&continuations)
            .enumerate()
            .map(|(i, ((context, _, flags), texts))| EbScoreTextRequest {
                struct_size: size_of::<EbScoreTextRequest>() as u32,
                n_continuations: texts.len() as u32,
                id: i as u64,
                flags: *flags,
                context: EbStr::new(context),
                continuations: texts.as_ptr(),
            })
            .collect();
        let pointers: Vec<*const EbScoreTextRequest> = structs.iter().map(ptr::from_ref).collect();
        let collector = Collector::new(structs.iter().map(|r| r.n_continuations), true, give_up);
        self.call(collector, |sink, error| {
            // SAFETY: the session is open; requests, sink and error live for the call.
            unsafe { score(self.raw.as_ptr(), pointers.as_ptr(), pointers.len(), sink, error) }
        })
    }

    /// The logits of what comes after each token from `first` on, row by row, until `row` says that it is enough.
    pub fn evaluate(
        &self,
        tokens: &[i32],
        first: usize,
        mut row: impl FnMut(&[f32]) -> ControlFlow<()>,
    ) -> Result<(), Failure> {
        let Some(evaluate) = self.evaluate else {
            let message = format!(
                "the backend `{}` does not show what it says of each next token (it has no {EB_EXT_LOGITS}): leave out \
                 tasks with method = \"divergence\"",
                self.backend.name()
            );
            return Err(Failure::new(FailureKind::Unsupported, message));
        };
        let mut row: &mut dyn FnMut(&[f32]) -> ControlFlow<()> = &mut row;
        let mut error = EbError::new();
        // SAFETY: the session is open; tokens, `row` and the error live for the call.
        let status = unsafe {
            evaluate(
                self.raw.as_ptr(),
                tokens.as_ptr(),
                tokens.len(),
                first,
                Some(on_row),
                (&raw mut row).cast(),
                &mut error,
            )
        };
        failure(status, &error)
    }

    fn call(&self, collector: Collector, call: impl FnOnce(*const EbSink, *mut EbError) -> EbStatus) -> Collected {
        let mut error = EbError::new();
        let (start, progress, status) = collector.collect(|sink| call(sink, &mut error), |&status| status == EB_OK);
        let progress = progress.map_err(CallError::Violation)?;
        failure(status, &error).map_err(CallError::Failed)?;
        Ok((start, progress))
    }

    /// Has these adapters, and no others, act on the model from now on; forgets every sequence.
    pub fn adapt(&self, adapters: &[Adapter]) -> Result<(), Failure> {
        let Some(set) = self.backend.extension::<EbLoraV1>().and_then(|table| table.set) else {
            let message = format!(
                "the backend `{}` takes no LoRA adapters (it has no {EB_EXT_LORA}): leave `lora` out, or use another \
                 backend",
                self.backend.name()
            );
            return Err(Failure::new(FailureKind::Unsupported, message));
        };
        let structs: Vec<EbLora> = adapters
            .iter()
            .map(|a| EbLora { struct_size: size_of::<EbLora>() as u32, scale: a.scale, path: EbStr::new(&a.path) })
            .collect();
        let pointers: Vec<*const EbLora> = structs.iter().map(ptr::from_ref).collect();
        let mut error = EbError::new();
        // SAFETY: the session is open; adapters and error live for the call.
        let status = unsafe { set(self.raw.as_ptr(), pointers.as_ptr(), pointers.len(), &mut error) };
        failure(status, &error)
    }

    /// Forgets every sequence.
    pub fn reset(&self) -> Result<(), Failure> {
        let mut error = EbError::new();
        // SAFETY: the session is open.
        let status = unsafe { (self.backend.functions.reset)(self.raw.as_ptr(), &mut error) };
        failure(status, &error)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: open until here, and nobody can use it afterwards (see `Aborter::abort`).
        unsafe { (self.backend.functions.close)(self.raw.as_ptr()) }
    }
}

/// `Err` unless `status` is `EB_OK`.
pub(super) fn failure(status: EbStatus, error: &EbError) -> Result<(), Failure> {
    if status == EB_OK {
        return Ok(());
    }
    let mut message = error.text();
    if message.trim().is_empty() {
        message = format!("the backend gave status {status} and no message");
    }
    Err(Failure { kind: kind_of(status), vendor_code: error.vendor_code, message })
}

/// A request's own failure, from its DONE event.
pub fn request_failure(progress: &Progress) -> Option<Failure> {
    (progress.status != EB_OK).then(|| {
        let message = if progress.message.is_empty() {
            format!("the backend gave status {} and no message", progress.status)
        } else {
            progress.message.clone()
        };
        Failure::new(kind_of(progress.status), message)
    })
}

fn kind_of(status: EbStatus) -> FailureKind {
    match status {
        EB_ERR_INVALID => FailureKind::Invalid,
        EB_ERR_UNSUPPORTED => FailureKind::Unsupported,
        EB_ERR_OUT_OF_MEMORY => FailureKind::OutOfMemory,
        EB_ERR_MODEL => FailureKind::Model,
        EB_ERR_CONTEXT_FULL => FailureKind::ContextFull,
        EB_ERR_ABORTED => FailureKind::Aborted,
        EB_ERR_DEVICE => FailureKind::Device,
        _ => FailureKind::Internal,
    }
}

/// One position's logits to the closure that `user` points to.
///
/// # Safety
/// `user` is a `&mut dyn FnMut(&[f32]) -> ControlFlow<()>` that nobody else uses, and `logits` has `n` numbers.
unsafe extern "C" fn on_row(user: *mut c_void, logits: *const f32, n: usize) -> i32 {
    // SAFETY: passed on to the caller.
    let row = unsafe { &mut *user.cast::<&mut dyn FnMut(&[f32]) -> ControlFlow<()>>() };
    if logits.is_null() {
        return 1;
    }
    // SAFETY: passed on to the caller.
    i32::from(row(unsafe { std::slice::from_raw_parts(logits, n) }).is_break())
}

/// A backend's log line into the `log` crate.
///
/// # Safety
/// `line` is readable for the duration of the call.
pub(super) unsafe extern "C" fn on_log(_user: *mut c_void, level: i32, line: EbStr) {
    let level = match level {
        EB_LOG_ERROR => log::Level::Error,
        EB_LOG_WARN => log::Level::Warn,
        EB_LOG_INFO => log::Level::Info,
        _ => log::Level::Debug,
    };
    if log::log_enabled!(target: "backend", level) {
        // SAFETY: passed on to the caller.
        let text = unsafe { line.to_string_lossy() };
        log::log!(target: "backend", level, "{}", text.trim_end());
    }
}
