//! Raw calls of a plugin's table, with guard bytes behind every struct and buffer that it may write to, and
//! the rules that hold for every call. It owns pointers and sizes; it must not know what a check wants.

use super::child::step;
use super::{Checked, Outcome};
use crate::backend::abi::*;
use crate::backend::loader;
use crate::backend::session::Aborter;
use std::ffi::c_void;
use std::fmt;
use std::ptr::{self, NonNull};

/// What guard bytes hold.
const GUARD: u8 = 0xC5;
/// Bytes that a newer host's structs are longer by.
const NEWER: usize = 64;
/// Guard bytes behind a struct: more than any honest mistake overruns.
const TAIL: usize = 128 << 10;

/// A struct for the plugin to read or write, with guard bytes behind it.
#[repr(C)]
pub struct Guarded<T> {
    value: T,
    tail: [u8; TAIL],
}

impl<T> Guarded<T> {
    /// `newer`: the struct is longer than the plugin knows, and zero there.
    pub fn new(value: T, newer: bool) -> Box<Guarded<T>> {
        let mut guarded = Box::new(Guarded { value, tail: [GUARD; TAIL] });
        if newer {
            guarded.tail[..NEWER].fill(0);
        }
        guarded
    }

    /// To the struct; the pointer is good for the tail too.
    pub fn pointer(&mut self) -> *mut T {
        ptr::from_mut(self).cast()
    }

    pub fn value(&self) -> &T {
        &self.value
    }

    /// `Err` if anything was written behind the struct.
    pub fn intact(&self, what: &str, newer: bool) -> Checked {
        let zeroes = if newer { NEWER } else { 0 };
        let touched =
            self.tail[..zeroes].iter().position(|&b| b != 0).or(self.tail[zeroes..].iter().position(|&b| b != GUARD));
        match touched {
            None => Ok(()),
            Some(at) => Err(Outcome::failed(
                format!("bytes behind the caller's {what} were overwritten (from byte {at} after its end)"),
                "write only as much as struct_size says",
            )),
        }
    }
}

/// `struct_size` of a `T`, for a host of this version or of a newer one.
pub fn size<T>(newer: bool) -> u32 {
    (size_of::<T>() + if newer { NEWER } else { 0 }) as u32
}

/// A status other than `EB_OK`, with the plugin's words.
#[derive(Debug, Clone)]
pub struct Refusal {
    pub status: EbStatus,
    pub message: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { "no message" } else { &self.message };
        write!(f, "{} ({message})", status_name(self.status))
    }
}

/// Outside: the contract was broken. Inside: the plugin's own answer.
pub type Answered<T> = Result<Result<T, Refusal>, Outcome>;

/// Name of a status, for messages.
pub fn status_name(status: EbStatus) -> String {
    const NAMES: [&str; 10] = [
        "EB_OK",
        "EB_ERR_INVALID",
        "EB_ERR_UNSUPPORTED",
        "EB_ERR_OUT_OF_MEMORY",
        "EB_ERR_MODEL",
        "EB_ERR_CONTEXT_FULL",
        "EB_ERR_ABORTED",
        "EB_ERR_DEVICE",
        "EB_ERR_BUFFER",
        "EB_ERR_INTERNAL",
    ];
    let name = usize::try_from(status).ok().and_then(|i| NAMES.get(i));
    name.map_or_else(|| format!("the unknown status {status}"), |n| (*n).to_owned())
}

/// A loaded plugin.
#[derive(Clone, Copy)]
pub struct Plugin {
    table: &'static EbBackend,
    /// Pass structs as a host of a later version would.
    pub newer: bool,
}

/// What `probe()` said.
pub struct Probed {
    pub device_count: u32,
    pub texts: [(&'static str, Vec<u8>); 3],
    pub struct_size_kept: bool,
}

impl Plugin {
    /// Through the loader of hosts, so that what it refuses is refused here too.
    pub fn load(backend: &str) -> Result<Plugin, String> {
        Ok(Plugin { table: loader::load(backend)?.table(), newer: false })
    }

    /// The same plugin as a later host sees it: every struct is longer.
    pub fn as_newer_host(&self) -> Plugin {
        Plugin { newer: true, ..*self }
    }

    pub fn table(&self) -> &'static EbBackend {
        self.table
    }

    /// "mock 1".
    pub fn title(&self) -> String {
        // SAFETY: strings of the table live until the process ends.
        unsafe { format!("{} {}", self.table.name.to_string_lossy(), self.table.version.to_string_lossy()) }
    }

    /// Calls `call` with a guarded error, and checks what every call owes to its caller.
    pub fn call(&self, name: &str, call: impl FnOnce(*mut EbError) -> EbStatus) -> Answered<()> {
        let mut error =
            Guarded::new(EbError { struct_size: size::<EbError>(self.newer), ..EbError::new() }, self.newer);
        // What the caller has in there is no message of the plugin.
        step(&format!("{name}()"));
        let status = call(error.pointer());
        error.intact("eb_error", self.newer)?;
        if status == EB_OK {
            return Ok(Ok(()));
        }
        let filled = error.value();
        if filled.code != status {
            return Err(Outcome::failed(
                format!("{name}() returned {}, eb_error.code says {}", status_name(status), status_name(filled.code)),
                "fill *error with the status that is returned; eb_fail() does both",
            ));
        }
        if !filled.message.contains(&0) {
            return Err(Outcome::failed(
                format!("the message of {name}()'s eb_error has no NUL"),
                "cut it to EB_ERROR_MESSAGE_SIZE - 1 bytes and terminate it; eb_fail() does",
            ));
        }
        let end = filled.message.iter().position(|&b| b == 0).unwrap_or(0);
        // A character may be cut at the buffer's end, as eb_fail() does it.
        let cut_at_the_end = |e: std::str::Utf8Error| e.error_len().is_none() && end == EB_ERROR_MESSAGE_SIZE - 1;
        if std::str::from_utf8(&filled.message[..end]).is_err_and(|e| !cut_at_the_end(e)) {
            return Err(Outcome::failed(
                format!("the message of {name}()'s eb_error is not UTF-8: {:?}", filled.text()),
                "convert the text of the SDK to UTF-8",
            ));
        }
        Ok(Err(Refusal { status, message: filled.text() }))
    }

    pub fn probe(&self) -> Answered<Probed> {
        let empty = EbProbe {
            struct_size: size::<EbProbe>(self.newer),
            device_count: 0,
            runtime: EbStr::EMPTY,
            device: EbStr::EMPTY,
            note: EbStr::EMPTY,
        };
        let mut out = Guarded::new(empty, self.newer);
        let Some(probe) = self.table.probe else { return Err(missing("probe")) };
        // SAFETY: both structs live for the call and carry their size.
        let answer = self.call("probe", |error| unsafe { probe(out.pointer(), error) })?;
        out.intact("eb_probe", self.newer)?;
        let p = out.value();
        // SAFETY: strings of a probe live until the process ends.
        let bytes = |s: EbStr| unsafe { s.bytes() }.to_vec();
        Ok(answer.map(|()| Probed {
            device_count: p.device_count,
            texts: [("runtime", bytes(p.runtime)), ("device", bytes(p.device)), ("note", bytes(p.note))],
            struct_size_kept: p.struct_size == size::<EbProbe>(self.newer),
        }))
    }

    pub fn open(&self, model: &str, params: &[(String, String)]) -> Answered<Session<'_>> {
        let pairs: Vec<EbParam> =
            params.iter().map(|(k, v)| EbParam { key: EbStr::new(k), value: EbStr::new(v) }).collect();
        let open = EbOpenParams {
            struct_size: size::<EbOpenParams>(self.newer),
            n_params: pairs.len() as u32,
            params: pairs.as_ptr(),
            model: EbStr::new(model),
            log: Some(on_log),
            log_user: ptr::null_mut(),
        };
        let mut open = Guarded::new(open, self.newer);
        // Not NULL before the call, so that a plugin which leaves it alone when it fails is seen.
        let sentinel = NonNull::<u64>::dangling().as_ptr().cast::<EbSession>();
        let mut raw = sentinel;
        let Some(function) = self.table.open else { return Err(missing("open")) };
        // SAFETY: everything passed lives for the call; `on_log` uses no state.
        let answer = self.call("open", |error| unsafe { function(open.pointer(), &mut raw, error) })?;
        open.intact("eb_open_params", self.newer)?;
        match answer {
            Err(refusal) if raw.is_null() => Ok(Err(refusal)),
            Err(refusal) => Err(Outcome::failed(
                format!("open() returned {} and left something in *out", status_name(refusal.status)),
                "set *out to NULL first thing in open()",
            )),
            Ok(()) => match NonNull::new(raw).filter(|r| r.as_ptr() != sentinel) {
                Some(raw) => Ok(Ok(Session { plugin: self, raw })),
                None => Err(Outcome::failed("open() returned EB_OK without a session", "store it in *out")),
            },
        }
    }

    pub fn close_null(&self) -> Checked {
        let Some(close) = self.table.close else { return Err(missing("close")) };
        step("close(NULL)");
        // SAFETY: NULL is allowed.
        unsafe { close(ptr::null_mut()) };
        Ok(())
    }

    /// The extension's table, or NULL.
    pub fn extension(&self, name: &[u8]) -> Result<*const c_void, Outcome> {
        let Some(get) = self.table.get_extension else { return Err(missing("get_extension")) };
        step("get_extension()");
        // SAFETY: the name is borrowed for the call.
        Ok(unsafe { get(EbStr::from_bytes(name)) })
    }
}

/// The loader has refused such a table before.
pub fn missing(function: &str) -> Outcome {
    Outcome::failed(format!("the function `{function}` of the table is NULL"), "every function has to be there")
}

/// Takes a log line and drops it, having read it as a host would.
///
/// # Safety
/// `line` is readable for the duration of the call.
unsafe extern "C" fn on_log(_user: *mut c_void, _level: i32, line: EbStr) {
    // SAFETY: passed on to the caller.
    std::hint::black_box(unsafe { line.to_string_lossy() });
}

/// Numbers and texts of `info()`.
#[derive(Debug, Clone)]
pub struct Info {
    pub n_ctx: u32,
    pub n_ctx_train: u32,
    pub n_vocab: u32,
    pub flags: u64,
    pub bos_token: i32,
    pub eos_token: i32,
    pub texts: Vec<(&'static str, Vec<u8>)>,
    pub struct_size_kept: bool,
}

impl Info {
    pub fn has(&self, flag: u64) -> bool {
        self.flags & flag != 0
    }
}

/// An open session; closed when it is dropped.
pub struct Session<'a> {
    pub plugin: &'a Plugin,
    raw: NonNull<EbSession>,
}

impl Session<'_> {
    pub fn raw(&self) -> *mut EbSession {
        self.raw.as_ptr()
    }

    pub fn info(&self) -> Result<Info, Outcome> {
        let newer = self.plugin.newer;
        // SAFETY: EbInfo is plain numbers and pointers, for which all zeroes is a valid value.
        let zero: EbInfo = unsafe { std::mem::zeroed() };
        let mut out = Guarded::new(EbInfo { struct_size: size::<EbInfo>(newer), ..zero }, newer);
        let Some(info) = self.plugin.table.info else { return Err(missing("info")) };
        // SAFETY: the session is open; both structs live for the call and carry their size.
        let answer = self.plugin.call("info", |error| unsafe { info(self.raw(), out.pointer(), error) })?;
        out.intact("eb_info", newer)?;
        answer.map_err(|refusal| Outcome::failed(format!("info() failed: {refusal}"), ""))?;
        let i = out.value();
        // SAFETY: strings of an info live until close(), and the session is borrowed here.
        let bytes = |s: EbStr| unsafe { s.bytes() }.to_vec();
        Ok(Info {
            n_ctx: i.n_ctx,
            n_ctx_train: i.n_ctx_train,
            n_vocab: i.n_vocab,
            flags: i.flags,
            bos_token: i.bos_token,
            eos_token: i.eos_token,
            texts: vec![
                ("architecture", bytes(i.architecture)),
                ("quantization", bytes(i.quantization)),
                ("description", bytes(i.description)),
                ("chat_template", bytes(i.chat_template)),
                ("bos_text", bytes(i.bos_text)),
                ("eos_text", bytes(i.eos_text)),
            ],
            struct_size_kept: i.struct_size == size::<EbInfo>(newer),
        })
    }

    pub fn reset(&self) -> Checked {
        let Some(reset) = self.plugin.table.reset else { return Err(missing("reset")) };
        // SAFETY: the session is open.
        let answer = self.plugin.call("reset", |error| unsafe { reset(self.raw(), error) })?;
        answer.map_err(|refusal| Outcome::failed(format!("reset() failed: {refusal}"), "it has to work between calls"))
    }

    /// Ends a running call, from any thread.
    pub fn aborter(&self) -> Result<Aborter, Outcome> {
        self.plugin.table.abort.map(|abort| Aborter::new(self.raw, abort)).ok_or_else(|| missing("abort"))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        step("close()");
        if let Some(close) = self.plugin.table.close {
            // SAFETY: open until here, and nobody can use it afterwards (see `Aborter::abort`).
            unsafe { close(self.raw()) }
        }
    }
}
