//! The sink: receives a backend's events, stamps the clock, and holds the backend to its contract
//! (one PREFILL first, one DONE last, known requests, the right thread). No I/O, lock or allocation
//! in the callback as long as a backend keeps to `max_new`. It must not know wire frames.

use super::abi::*;
use crate::clock::now_ns;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of text that are reserved per token; longer pieces make the buffer grow.
const TEXT_PER_TOKEN: usize = 16;
/// A backend that goes on this far after `max_new` will not stop by itself.
const ENDLESS: usize = 4096;

/// How a backend broke the contract. Small and `Copy`, so that noting it costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("an event came from another thread than the one that made the call")]
    ForeignThread,
    #[error("an event without a struct or with a struct_size of {0} bytes")]
    EventSize(u32),
    #[error("an event of unknown kind {0}")]
    UnknownKind(i32),
    #[error("an event for request {0}, which was not asked for")]
    UnknownRequest(u64),
    #[error("a second PREFILL event for one request")]
    SecondPrefill,
    #[error("a TOKEN or SCORE event before the request's PREFILL event")]
    BeforePrefill,
    #[error("an event after the request's DONE event")]
    AfterDone,
    #[error("a second DONE event for one request")]
    SecondDone,
    #[error("more tokens than max_new = {0}")]
    TooManyTokens(u32),
    #[error("a SCORE event with index {0} out of order")]
    WrongIndex(u32),
    #[error("a TOKEN event while scoring, or a SCORE event while generating")]
    WrongCall,
    #[error("a request ended without a DONE event")]
    NoDone,
    #[error("a request was scored without one SCORE event for each continuation")]
    MissingScores,
    #[error("a log-likelihood that is not a number or above 0")]
    BadLogprob,
}

/// What one request of a call has led to so far. Times in ns after the call's start.
pub struct Progress {
    /// Tokens that may come (generate) or continuations that must come (score).
    expected: u32,
    scoring: bool,
    pub prefill_ns: Option<u64>,
    pub done_ns: Option<u64>,
    pub token_ns: Vec<u64>,
    pub text: Vec<u8>,
    /// `(logprob, n_tokens, is_greedy)` per continuation.
    pub scores: Vec<(f64, u32, bool)>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    /// Tokens that were made; as many as TOKEN events unless the backend says otherwise.
    pub output_tokens: u32,
    /// How often the request was tried again.
    pub retries: u32,
    pub finish: i32,
    pub status: EbStatus,
    pub message: String,
    pub claims_ms: (f64, f64),
}

impl Progress {
    fn new(expected: u32, scoring: bool) -> Progress {
        let tokens = if scoring { 0 } else { (expected as usize).min(1 << 16) };
        Progress {
            expected,
            scoring,
            prefill_ns: None,
            done_ns: None,
            token_ns: Vec::with_capacity(tokens),
            text: Vec::with_capacity(tokens * TEXT_PER_TOKEN),
            scores: Vec::with_capacity(if scoring { expected as usize } else { 0 }),
            prompt_tokens: 0,
            cached_tokens: 0,
            output_tokens: 0,
            retries: 0,
            finish: 0,
            status: EB_OK,
            message: String::new(),
            claims_ms: (0.0, 0.0),
        }
    }

    /// Takes one event in; the answer is what the callback returns.
    fn take(&mut self, event: &EbEvent, at: u64) -> Result<i32, Violation> {
        if self.done_ns.is_some() {
            return Err(if event.kind == EB_EVENT_DONE { Violation::SecondDone } else { Violation::AfterDone });
        }
        match event.kind {
            EB_EVENT_PREFILL => {
                if self.prefill_ns.replace(at).is_some() {
                    return Err(Violation::SecondPrefill);
                }
                self.prompt_tokens = event.prompt_tokens;
                self.cached_tokens = event.cached_tokens;
            }
            EB_EVENT_TOKEN => {
                self.stands_in(false)?;
                if self.token_ns.len() >= self.expected as usize {
                    return Err(Violation::TooManyTokens(self.expected));
                }
                self.token_ns.push(at);
                self.output_tokens += 1;
                // SAFETY: the contract says that an event's text is readable until event() returns.
                self.text.extend_from_slice(unsafe { event.text.bytes() });
            }
            EB_EVENT_SCORE => {
                self.stands_in(true)?;
                if event.index as usize != self.scores.len() || event.index >= self.expected {
                    return Err(Violation::WrongIndex(event.index));
                }
                // A sum of logarithms of probabilities; rounding may put a certain token just above 0.
                if event.logprob.is_nan() || event.logprob > 1e-3 {
                    return Err(Violation::BadLogprob);
                }
                self.scores.push((event.logprob, event.n_tokens, event.is_greedy != 0));
            }
            EB_EVENT_DONE => {
                self.done_ns = Some(at);
                self.finish = event.finish;
                self.status = event.status;
                self.claims_ms = (event.claim_prefill_ms, event.claim_decode_ms);
                self.counts(event);
                if event.status != EB_OK {
                    // SAFETY: as above.
                    self.message = unsafe { event.text.to_string_lossy() };
                } else if self.prefill_ns.is_none() {
                    return Err(Violation::BeforePrefill);
                } else if self.scoring && self.scores.len() != self.expected as usize {
                    return Err(Violation::MissingScores);
                }
            }
            other => return Err(Violation::UnknownKind(other)),
        }
        Ok(0)
    }

    /// What a backend learns at a request's end only.
    fn counts(&mut self, done: &EbEvent) {
        self.retries = done.index;
        if done.prompt_tokens > 0 {
            (self.prompt_tokens, self.cached_tokens) = (done.prompt_tokens, done.cached_tokens);
        }
        if !self.scoring {
            self.output_tokens = self.output_tokens.max(done.n_tokens);
        }
    }

    fn stands_in(&self, scoring: bool) -> Result<(), Violation> {
        match (self.scoring == scoring, self.prefill_ns) {
            (false, _) => Err(Violation::WrongCall),
            (_, None) => Err(Violation::BeforePrefill),
            _ => Ok(()),
        }
    }
}

/// Collects the events of one call. Request ids are positions: 0, 1, … n−1.
pub struct Collector {
    thread: rustix::thread::Pid,
    foreign: AtomicBool,
    state: UnsafeCell<State>,
}

struct State {
    start_ns: u64,
    requests: Vec<Progress>,
    violation: Option<Violation>,
    after_violation: usize,
    /// Told when a backend goes on for ever after a violation.
    give_up: fn(Violation) -> !,
}

impl Collector {
    /// `expected` holds, per request, `max_new` (generate) or the number of continuations (score).
    pub fn new(expected: impl Iterator<Item = u32>, scoring: bool, give_up: fn(Violation) -> !) -> Collector {
        Collector {
            thread: rustix::thread::gettid(),
            foreign: AtomicBool::new(false),
            state: UnsafeCell::new(State {
                start_ns: 0,
                requests: expected.map(|n| Progress::new(n, scoring)).collect(),
                violation: None,
                after_violation: 0,
                give_up,
            }),
        }
    }

    /// Starts the clock and calls `call` with the sink to pass to the backend. Returns when it started (ns),
    /// what each request led to, and the call's own result.
    pub fn collect<R>(
        mut self,
        call: impl FnOnce(*const EbSink) -> R,
        returned_ok: impl FnOnce(&R) -> bool,
    ) -> (u64, Result<Vec<Progress>, Violation>, R) {
        self.state.get_mut().start_ns = now_ns();
        let sink = EbSink {
            struct_size: size_of::<EbSink>() as u32,
            reserved: 0,
            event: Some(on_event),
            user: (&raw mut self).cast::<c_void>(),
        };
        let result = call(&raw const sink);
        let end = now_ns();
        let state = self.state.into_inner();
        let mut violation = state.violation;
        if self.foreign.into_inner() {
            violation = Some(Violation::ForeignThread);
        }
        let mut requests = state.requests;
        if returned_ok(&result) && requests.iter().any(|r| r.done_ns.is_none()) {
            violation = violation.or(Some(Violation::NoDone));
        }
        for request in &mut requests {
            request.done_ns.get_or_insert(end - state.start_ns);
        }
        (state.start_ns, violation.map_or(Ok(requests), Err), result)
    }
}

/// The C callback.
///
/// # Safety
/// `user` is the `Collector` whose `collect` is running; `event` is NULL or points to an event of at least
/// `struct_size` bytes.
unsafe extern "C" fn on_event(user: *mut c_void, event: *const EbEvent) -> i32 {
    let at = now_ns();
    // SAFETY: `user` is what `collect` put there and outlives the call; only atomics and the thread id are
    // touched before the thread is known to be the right one.
    let collector = unsafe { &*user.cast::<Collector>() };
    if rustix::thread::gettid() != collector.thread {
        collector.foreign.store(true, Ordering::Release);
        return 1;
    }
    // SAFETY: this thread is inside `call`, which touches `state` only here, and events do not nest.
    let state = unsafe { &mut *collector.state.get() };
    // SAFETY: not NULL, and every version of the struct starts with struct_size.
    let size = if event.is_null() { 0 } else { unsafe { (*event).struct_size } };
    let outcome = if (size as usize) < size_of::<EbEvent>() {
        Err(Violation::EventSize(size))
    } else {
        // SAFETY: large enough for this version, checked just now.
        let event = unsafe { &*event };
        match usize::try_from(event.request_id).ok().and_then(|i| state.requests.get_mut(i)) {
            Some(request) => request.take(event, at - state.start_ns),
            None => Err(Violation::UnknownRequest(event.request_id)),
        }
    };
    match outcome {
        Ok(answer) if state.violation.is_none() => answer,
        Ok(_) => 1,
        Err(violation) => {
            let first = *state.violation.get_or_insert(violation);
            state.after_violation += 1;
            if state.after_violation > ENDLESS {
                (state.give_up)(first);
            }
            1
        }
    }
}
