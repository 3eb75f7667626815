//! llama.cpp's log: cuts it into lines, sends them to the session's callback, remembers the last error.
//! It owns the one global hook that llama.cpp has, and so the rule that one session is open at a time.
//! It must not know what the lines are about, except the two numbers that llama.cpp tells nowhere else.

use crate::failure::Failure;
use edgebench_abi::{EB_LOG_DEBUG, EB_LOG_ERROR, EB_LOG_INFO, EB_LOG_WARN};
use edgebench_plugin::entry::Log;
use llama_cpp_sys_2 as sys;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

/// A line is cut here: nothing that llama.cpp says takes more, and a part that never ends must not fill memory.
const MAX_LINE: usize = 4096;

struct State {
    target: Option<Log>,
    level: i32,
    line: Vec<u8>,
    last_error: String,
    compute_bytes: u64,
    n_fallback: u32,
}

static STATE: Mutex<State> = Mutex::new(State::new());

/// A panic while the lock was held leaves at worst half a line.
fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hooks into llama.cpp once per process. Without an open session, what it says is dropped.
pub fn hook() {
    static ONCE: Once = Once::new();
    // SAFETY: sets two globals of llama.cpp and ggml; no other thread uses llama.cpp before the first call of this.
    ONCE.call_once(|| unsafe { sys::llama_log_set(Some(receive), std::ptr::null_mut()) });
}

/// While it lives, lines go to a session's callback.
pub struct Subscription(());

impl Subscription {
    /// Starts sending lines to `log`.
    ///
    /// # Errors
    /// `EB_ERR_INVALID` while another session is open.
    pub fn start(log: Log) -> Result<Subscription, Failure> {
        hook();
        let mut state = state();
        if state.target.is_some() {
            return Err(Failure::invalid("a session is open already: close it first, one at a time"));
        }
        state.target = Some(log);
        state.line.clear();
        state.last_error.clear();
        (state.compute_bytes, state.n_fallback) = (0, 0);
        Ok(Subscription(()))
    }

    /// The last error that llama.cpp logged since the last call of this, without the name of its function.
    pub fn take_error(&self) -> Option<String> {
        let error = std::mem::take(&mut state().last_error);
        (!error.is_empty()).then_some(error)
    }

    /// Sum of the scratch buffers that llama.cpp said it allocated, bytes; 0 if it did not say.
    pub fn compute_bytes(&self) -> u64 {
        state().compute_bytes
    }

    /// Tensors that llama.cpp said it could not give the wanted type.
    pub fn n_fallback(&self) -> u32 {
        state().n_fallback
    }

    /// Logs a line of our own.
    pub fn say(&self, level: i32, line: &str) {
        state().send(level, line.as_bytes());
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = state();
        state.flush();
        state.target = None;
    }
}

unsafe extern "C" fn receive(level: sys::ggml_log_level, text: *const c_char, _: *mut c_void) {
    if text.is_null() {
        return;
    }
    // A panic must not reach C++; losing a line of the log is the smaller evil.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: llama.cpp passes a NUL-terminated string that lives for the call.
        let text = unsafe { CStr::from_ptr(text) };
        state().receive(level, text.to_bytes());
    }));
}

impl State {
    /// Nobody listens, and nothing was heard.
    const fn new() -> State {
        State {
            target: None,
            level: EB_LOG_INFO,
            line: Vec::new(),
            last_error: String::new(),
            compute_bytes: 0,
            n_fallback: 0,
        }
    }

    fn receive(&mut self, level: sys::ggml_log_level, text: &[u8]) {
        if self.target.is_none() {
            return;
        }
        // CONT goes on with the line before, whatever its level was.
        if level != sys::GGML_LOG_LEVEL_CONT {
            self.flush();
            self.level = match level {
                sys::GGML_LOG_LEVEL_ERROR => EB_LOG_ERROR,
                sys::GGML_LOG_LEVEL_WARN => EB_LOG_WARN,
                sys::GGML_LOG_LEVEL_INFO => EB_LOG_INFO,
                _ => EB_LOG_DEBUG,
            };
        }
        for part in text.split_inclusive(|&b| b == b'\n') {
            let (body, complete) = part.strip_suffix(b"\n").map_or((part, false), |body| (body, true));
            let room = MAX_LINE - self.line.len();
            self.line.extend_from_slice(&body[..body.len().min(room)]);
            if complete {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii_end();
        if text.is_empty() {
            return;
        }
        let words = String::from_utf8_lossy(text);
        self.compute_bytes = self.compute_bytes.saturating_add(compute_buffer(&words).unwrap_or(0));
        self.n_fallback = fallbacks(&words).unwrap_or(self.n_fallback);
        if self.level == EB_LOG_ERROR {
            let error = essence(&words);
            // "failed to load model" follows the line that says why.
            if self.last_error.is_empty() || !error.starts_with("failed to load model") {
                self.last_error = error.to_owned();
            }
        }
        self.send(self.level, text);
    }

    fn send(&mut self, level: i32, line: &[u8]) {
        if let Some(log) = self.target {
            log.line(level, line);
        }
    }
}

/// `llama_model_load: error loading model: why` → `why`.
fn essence(line: &str) -> &str {
    let mut rest = line;
    while let Some((head, tail)) = rest.split_once(": ") {
        let is_name = !head.is_empty() && head.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !is_name && head != "error loading model" {
            break;
        }
        rest = tail;
    }
    rest
}

/// `sched_reserve:        CPU compute buffer size =    12.50 MiB` → bytes.
fn compute_buffer(line: &str) -> Option<u64> {
    let (_, size) = line.split_once("compute buffer size =")?;
    let mib: f64 = size.trim().strip_suffix("MiB")?.trim().parse().ok()?;
    Some((mib * 1024.0 * 1024.0) as u64)
}

/// `…: WARNING: 12 of 30 tensor(s) required fallback quantization` → 12.
fn fallbacks(line: &str) -> Option<u32> {
    let (head, _) = line.split_once(" tensor(s) required fallback")?;
    let (head, _all) = head.rsplit_once(" of ")?;
    head.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgebench_abi::EbStr;

    unsafe extern "C" fn collect(user: *mut c_void, level: i32, line: EbStr) {
        // SAFETY: the test passes its own vector, and a line is valid for the call.
        unsafe { (*user.cast::<Vec<(i32, String)>>()).push((level, line.to_string_lossy())) };
    }

    #[test]
    fn parts_are_joined_into_lines_and_the_last_error_is_kept() {
        let mut lines: Vec<(i32, String)> = Vec::new();
        let mut state = State {
            // SAFETY: the vector lives as long as the state.
            target: Some(unsafe { Log::new(Some(collect), (&raw mut lines).cast()) }),
            ..State::new()
        };
        state.receive(sys::GGML_LOG_LEVEL_INFO, b"loading");
        state.receive(sys::GGML_LOG_LEVEL_CONT, b"...");
        state.receive(sys::GGML_LOG_LEVEL_CONT, b" done\nsched: CPU compute buffer size =    1.50 MiB\n\n");
        state.receive(sys::GGML_LOG_LEVEL_ERROR, b"llama_model_load: error loading model: tensor 'x' is missing\n");
        state.receive(sys::GGML_LOG_LEVEL_ERROR, b"llama_model_load_from_file_impl: failed to load model\n");
        state.receive(sys::GGML_LOG_LEVEL_DEBUG, &[b'x'; 10_000]);
        state.receive(sys::GGML_LOG_LEVEL_WARN, b"bad \xFF\n");
        let expected = [
            (EB_LOG_INFO, "loading... done".to_owned()),
            (EB_LOG_INFO, "sched: CPU compute buffer size =    1.50 MiB".to_owned()),
            (EB_LOG_ERROR, "llama_model_load: error loading model: tensor 'x' is missing".to_owned()),
            (EB_LOG_ERROR, "llama_model_load_from_file_impl: failed to load model".to_owned()),
            (EB_LOG_DEBUG, "x".repeat(MAX_LINE)),
            (EB_LOG_WARN, "bad \u{FFFD}".to_owned()),
        ];
        assert_eq!(lines, expected);
        assert_eq!(state.last_error, "tensor 'x' is missing");
        assert_eq!(state.compute_bytes, 3 << 19);
        assert_eq!(fallbacks("quantize: WARNING: 12 of 30 tensor(s) required fallback quantization"), Some(12));
    }

    #[test]
    fn without_a_session_lines_are_dropped() {
        let mut state = State::new();
        state.receive(sys::GGML_LOG_LEVEL_ERROR, b"nobody listens\n");
        assert!(state.line.is_empty() && state.last_error.is_empty());
    }
}
