//! The Rust mirror of `backends/edgebench.h`, version 1: types and constants only, no behaviour beyond
//! reading strings and writing errors. It must not know hosts, jobs or any particular backend.
//! `tests/abi.rs` compiles the header and holds every size and offset against this file.
//!
//! The header is the contract and explains each field; the comments here only add what Rust needs.
//! This file is also the library of the crate `edgebench-abi`, for backends written in Rust.

// Beside this file, which is the crate's root.
#[path = "abi_train.rs"]
mod train;

use core::ffi::{c_char, c_void};
pub use train::*;

/// Version of the contract; the symbol carries the major number.
pub const EB_ABI_MAJOR: u32 = 1;
/// Append-only additions since 1.0.
pub const EB_ABI_MINOR: u32 = 2;
/// Name of the one exported symbol.
pub const EB_SYMBOL: &str = "eb_backend_v1";
/// Bytes of `eb_error.message`, its NUL included.
pub const EB_ERROR_MESSAGE_SIZE: usize = 248;
/// Name of the log-likelihood extension.
pub const EB_EXT_SCORE: &str = "eb.score/1";
/// Name of the log-likelihood extension for text.
pub const EB_EXT_SCORE_TEXT: &str = "eb.score_text/1";
/// Name of the extension that sets LoRA adapters.
pub const EB_EXT_LORA: &str = "eb.lora/1";
/// Name of the extension that shows distributions.
pub const EB_EXT_LOGITS: &str = "eb.logits/1";
/// Name of the extension that makes models smaller.
pub const EB_EXT_QUANTIZE: &str = "eb.quantize/1";
/// Name of the extension that describes devices.
pub const EB_EXT_DEVICE: &str = "eb.device/1";
/// Name of the extension that reads power rails.
pub const EB_EXT_POWER: &str = "eb.power/1";

/// `eb_status`: an `i32`, so that a value from a newer version is no undefined behaviour.
pub type EbStatus = i32;
pub const EB_OK: EbStatus = 0;
pub const EB_ERR_INVALID: EbStatus = 1;
pub const EB_ERR_UNSUPPORTED: EbStatus = 2;
pub const EB_ERR_OUT_OF_MEMORY: EbStatus = 3;
pub const EB_ERR_MODEL: EbStatus = 4;
pub const EB_ERR_CONTEXT_FULL: EbStatus = 5;
pub const EB_ERR_ABORTED: EbStatus = 6;
pub const EB_ERR_DEVICE: EbStatus = 7;
pub const EB_ERR_BUFFER: EbStatus = 8;
pub const EB_ERR_INTERNAL: EbStatus = 9;

pub const EB_LOG_ERROR: i32 = 1;
pub const EB_LOG_WARN: i32 = 2;
pub const EB_LOG_INFO: i32 = 3;
pub const EB_LOG_DEBUG: i32 = 4;

pub const EB_INFO_TOKENIZER: u64 = 1 << 0;
pub const EB_INFO_SAMPLING: u64 = 1 << 1;
pub const EB_INFO_BATCH: u64 = 1 << 2;
pub const EB_INFO_PREFIX: u64 = 1 << 3;

pub const EB_TOKENIZE_ADD_SPECIAL: u64 = 1 << 0;
pub const EB_TOKENIZE_PARSE_SPECIAL: u64 = 1 << 1;

pub const EB_REQUEST_IGNORE_EOS: u64 = 1 << 0;
pub const EB_REQUEST_PARSE_SPECIAL: u64 = 1 << 1;

pub const EB_QUANTIZE_PURE: u64 = 1 << 0;

pub const EB_EVENT_PREFILL: i32 = 1;
pub const EB_EVENT_TOKEN: i32 = 2;
pub const EB_EVENT_SCORE: i32 = 3;
pub const EB_EVENT_DONE: i32 = 4;

pub const EB_FINISH_EOS: i32 = 1;
pub const EB_FINISH_STOP: i32 = 2;
pub const EB_FINISH_LENGTH: i32 = 3;
pub const EB_FINISH_SINK: i32 = 4;
pub const EB_FINISH_ABORTED: i32 = 5;
pub const EB_FINISH_ERROR: i32 = 6;
pub const EB_FINISH_SCORED: i32 = 7;

/// Borrowed bytes, meant to be UTF-8, no NUL at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EbStr {
    pub ptr: *const c_char,
    /// bytes
    pub len: usize,
}

impl EbStr {
    /// The empty string.
    pub const EMPTY: EbStr = EbStr { ptr: core::ptr::null(), len: 0 };

    /// Borrows `s`: the result must not outlive it.
    pub const fn new(s: &str) -> EbStr {
        EbStr { ptr: s.as_ptr().cast(), len: s.len() }
    }

    /// Borrows `bytes`: the result must not outlive them.
    pub const fn from_bytes(bytes: &[u8]) -> EbStr {
        EbStr { ptr: bytes.as_ptr().cast(), len: bytes.len() }
    }

    /// The bytes behind it; empty for a NULL pointer.
    ///
    /// # Safety
    /// `ptr` must be NULL or point to `len` readable bytes that live and stay unchanged for `'a`.
    pub unsafe fn bytes<'a>(self) -> &'a [u8] {
        if self.ptr.is_null() || self.len == 0 {
            return &[];
        }
        // SAFETY: not NULL, and the caller vouches for length and lifetime.
        unsafe { core::slice::from_raw_parts(self.ptr.cast(), self.len) }
    }

    /// Its text, with U+FFFD for what is not UTF-8.
    ///
    /// # Safety
    /// As [`EbStr::bytes`], for the duration of this call.
    pub unsafe fn to_string_lossy(self) -> String {
        // SAFETY: passed on to the caller.
        String::from_utf8_lossy(unsafe { self.bytes() }).into_owned()
    }
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct EbParam {
    pub key: EbStr,
    pub value: EbStr,
}

#[repr(C)]
pub struct EbError {
    pub struct_size: u32,
    pub code: EbStatus,
    pub vendor_code: i64,
    pub message: [u8; EB_ERROR_MESSAGE_SIZE],
}

impl EbError {
    /// An empty error, ready to be passed to a backend.
    pub fn new() -> EbError {
        EbError {
            struct_size: size_of::<EbError>() as u32,
            code: EB_OK,
            vendor_code: 0,
            message: [0; EB_ERROR_MESSAGE_SIZE],
        }
    }

    /// The message up to its NUL, with U+FFFD for what is not UTF-8 (a cut sequence at the end is dropped).
    pub fn text(&self) -> String {
        let end = self.message.iter().position(|&b| b == 0).unwrap_or(self.message.len());
        match core::str::from_utf8(&self.message[..end]) {
            Ok(s) => s.to_owned(),
            Err(e) if e.error_len().is_none() => String::from_utf8_lossy(&self.message[..e.valid_up_to()]).into_owned(),
            Err(_) => String::from_utf8_lossy(&self.message[..end]).into_owned(),
        }
    }

    /// Stores a code and as much of `message` as fits, cut at a character's end.
    pub fn set(&mut self, code: EbStatus, vendor_code: i64, message: &str) {
        self.code = code;
        self.vendor_code = vendor_code;
        let mut end = message.len().min(EB_ERROR_MESSAGE_SIZE - 1);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        self.message[..end].copy_from_slice(&message.as_bytes()[..end]);
        self.message[end..].fill(0);
    }
}

impl Default for EbError {
    fn default() -> Self {
        EbError::new()
    }
}

#[repr(C)]
pub struct EbProbe {
    pub struct_size: u32,
    pub device_count: u32,
    pub runtime: EbStr,
    pub device: EbStr,
    pub note: EbStr,
}

/// A loaded model; opaque. Never built in Rust: backends cast their own box to it.
#[repr(C)]
pub struct EbSession {
    _opaque: [u8; 0],
    _not_send: core::marker::PhantomData<*mut u8>,
}

#[repr(C)]
pub struct EbOpenParams {
    pub struct_size: u32,
    pub n_params: u32,
    pub params: *const EbParam,
    pub model: EbStr,
    pub log: Option<unsafe extern "C" fn(log_user: *mut c_void, level: i32, line: EbStr)>,
    pub log_user: *mut c_void,
}

#[repr(C)]
pub struct EbInfo {
    pub struct_size: u32,
    pub n_ctx: u32,
    pub n_ctx_train: u32,
    pub n_vocab: u32,
    pub flags: u64,
    pub n_weights: u64,
    pub weights_bytes: u64,
    pub kv_bytes: u64,
    pub compute_bytes: u64,
    pub bos_token: i32,
    pub eos_token: i32,
    pub architecture: EbStr,
    pub quantization: EbStr,
    pub description: EbStr,
    pub chat_template: EbStr,
    pub bos_text: EbStr,
    pub eos_text: EbStr,
    pub scored_by: EbStr,
}

#[repr(C)]
pub struct EbRequest {
    pub struct_size: u32,
    pub max_new: u32,
    pub id: u64,
    pub flags: u64,
    pub text: EbStr,
    pub tokens: *const i32,
    pub n_tokens: usize,
    pub stop: *const EbStr,
    pub n_stop: usize,
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: i32,
    pub prefix_len: u32,
    pub prefix_id: u64,
    pub seed: u64,
}

#[repr(C)]
pub struct EbEvent {
    pub struct_size: u32,
    pub kind: i32,
    pub request_id: u64,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub token: i32,
    pub index: u32,
    pub text: EbStr,
    pub logprob: f64,
    pub n_tokens: u32,
    pub is_greedy: i32,
    pub finish: i32,
    pub status: EbStatus,
    pub claim_prefill_ms: f64,
    pub claim_decode_ms: f64,
}

impl EbEvent {
    /// An event of `kind` for request `id` with everything else 0.
    pub const fn new(kind: i32, id: u64) -> EbEvent {
        EbEvent {
            struct_size: size_of::<EbEvent>() as u32,
            kind,
            request_id: id,
            prompt_tokens: 0,
            cached_tokens: 0,
            token: 0,
            index: 0,
            text: EbStr::EMPTY,
            logprob: 0.0,
            n_tokens: 0,
            is_greedy: 0,
            finish: 0,
            status: EB_OK,
            claim_prefill_ms: 0.0,
            claim_decode_ms: 0.0,
        }
    }
}

#[repr(C)]
pub struct EbSink {
    pub struct_size: u32,
    pub reserved: u32,
    pub event: Option<unsafe extern "C" fn(user: *mut c_void, event: *const EbEvent) -> i32>,
    pub user: *mut c_void,
}

pub type EbProbeFn = unsafe extern "C" fn(*mut EbProbe, *mut EbError) -> EbStatus;
pub type EbOpenFn = unsafe extern "C" fn(*const EbOpenParams, *mut *mut EbSession, *mut EbError) -> EbStatus;
pub type EbCloseFn = unsafe extern "C" fn(*mut EbSession);
pub type EbInfoFn = unsafe extern "C" fn(*mut EbSession, *mut EbInfo, *mut EbError) -> EbStatus;
pub type EbTokenizeFn =
    unsafe extern "C" fn(*mut EbSession, EbStr, u64, *mut i32, usize, *mut usize, *mut EbError) -> EbStatus;
pub type EbDetokenizeFn =
    unsafe extern "C" fn(*mut EbSession, *const i32, usize, *mut c_char, usize, *mut usize, *mut EbError) -> EbStatus;
pub type EbGenerateFn =
    unsafe extern "C" fn(*mut EbSession, *const *const EbRequest, usize, *const EbSink, *mut EbError) -> EbStatus;
pub type EbResetFn = unsafe extern "C" fn(*mut EbSession, *mut EbError) -> EbStatus;
pub type EbAbortFn = unsafe extern "C" fn(*mut EbSession);
pub type EbGetExtensionFn = unsafe extern "C" fn(EbStr) -> *const c_void;

/// The table. Each function is an `Option` because a plugin may hand out NULL; the loader refuses that.
#[repr(C)]
pub struct EbBackend {
    pub struct_size: u32,
    pub abi_minor: u32,
    pub name: EbStr,
    pub version: EbStr,
    pub probe: Option<EbProbeFn>,
    pub open: Option<EbOpenFn>,
    pub close: Option<EbCloseFn>,
    pub info: Option<EbInfoFn>,
    pub tokenize: Option<EbTokenizeFn>,
    pub detokenize: Option<EbDetokenizeFn>,
    pub generate: Option<EbGenerateFn>,
    pub reset: Option<EbResetFn>,
    pub abort: Option<EbAbortFn>,
    pub get_extension: Option<EbGetExtensionFn>,
}

// SAFETY: a table is immutable data and function pointers that live until the process ends.
unsafe impl Sync for EbBackend {}

/// Type of the exported symbol `eb_backend_v1`.
pub type EbBackendV1Fn = unsafe extern "C" fn(host_minor: u32) -> *const EbBackend;

#[repr(C)]
pub struct EbScoreRequest {
    pub struct_size: u32,
    pub n_continuations: u32,
    pub id: u64,
    pub context: *const i32,
    pub n_context: usize,
    pub continuations: *const *const i32,
    pub n_tokens: *const usize,
    pub prefix_len: u32,
    pub reserved: u32,
    pub prefix_id: u64,
}

pub type EbScoreFn =
    unsafe extern "C" fn(*mut EbSession, *const *const EbScoreRequest, usize, *const EbSink, *mut EbError) -> EbStatus;

#[repr(C)]
pub struct EbScoreV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub score: Option<EbScoreFn>,
}

#[repr(C)]
pub struct EbScoreTextRequest {
    pub struct_size: u32,
    pub n_continuations: u32,
    pub id: u64,
    pub flags: u64,
    pub context: EbStr,
    pub continuations: *const EbStr,
}

pub type EbScoreTextFn = unsafe extern "C" fn(
    *mut EbSession,
    *const *const EbScoreTextRequest,
    usize,
    *const EbSink,
    *mut EbError,
) -> EbStatus;

#[repr(C)]
pub struct EbScoreTextV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub score: Option<EbScoreTextFn>,
}

/// Takes the logits of one position.
pub type EbRowFn = unsafe extern "C" fn(user: *mut c_void, logits: *const f32, n_vocab: usize) -> i32;
pub type EbEvaluateFn = unsafe extern "C" fn(
    *mut EbSession,
    *const i32,
    usize,
    usize,
    Option<EbRowFn>,
    *mut c_void,
    *mut EbError,
) -> EbStatus;

#[repr(C)]
pub struct EbLogitsV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub evaluate: Option<EbEvaluateFn>,
}

#[repr(C)]
pub struct EbQuantizeRequest {
    pub struct_size: u32,
    pub threads: u32,
    pub flags: u64,
    pub model: EbStr,
    pub out: EbStr,
    pub kind: EbStr,
    pub imatrix: EbStr,
    pub log: Option<unsafe extern "C" fn(log_user: *mut c_void, level: i32, line: EbStr)>,
    pub log_user: *mut c_void,
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct EbQuantized {
    pub struct_size: u32,
    pub n_fallback: u32,
    pub n_weights: u64,
    pub weights_bytes: u64,
}

pub type EbQuantizeFn = unsafe extern "C" fn(*const EbQuantizeRequest, *mut EbQuantized, *mut EbError) -> EbStatus;

#[repr(C)]
pub struct EbQuantizeV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub quantize: Option<EbQuantizeFn>,
}

#[repr(C)]
pub struct EbLora {
    pub struct_size: u32,
    pub scale: f32,
    pub path: EbStr,
}

pub type EbLoraSetFn = unsafe extern "C" fn(*mut EbSession, *const *const EbLora, usize, *mut EbError) -> EbStatus;

#[repr(C)]
pub struct EbLoraV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub set: Option<EbLoraSetFn>,
}

#[repr(C)]
pub struct EbDevice {
    pub struct_size: u32,
    pub cores: u32,
    pub name: EbStr,
    pub driver: EbStr,
    pub memory_bytes: u64,
    pub memory_free_bytes: u64,
}

pub type EbDeviceGetFn = unsafe extern "C" fn(u32, *mut EbDevice, *mut EbError) -> EbStatus;

#[repr(C)]
pub struct EbDeviceV1 {
    pub struct_size: u32,
    pub reserved: u32,
    pub get: Option<EbDeviceGetFn>,
}

pub type EbPowerNameFn = unsafe extern "C" fn(u32) -> EbStr;
pub type EbPowerReadFn = unsafe extern "C" fn(u32, *mut f64, *mut EbError) -> EbStatus;

#[repr(C)]
pub struct EbPowerV1 {
    pub struct_size: u32,
    pub n_rails: u32,
    pub name: Option<EbPowerNameFn>,
    pub read: Option<EbPowerReadFn>,
}
