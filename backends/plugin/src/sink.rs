//! Sends events to the host's sink, and sees to it that each request ends with exactly one DONE.
//! It owns the loop over the requests of a call and what an abort means for the ones after it.
//! It must not know any SDK.

use crate::failure::Failure;
use crate::ffi::read_sized;
use crate::logits::Sum;
use edgebench_abi::{
    EB_ERR_ABORTED, EB_EVENT_DONE, EB_EVENT_PREFILL, EB_EVENT_SCORE, EB_FINISH_ABORTED, EB_FINISH_ERROR, EbEvent,
    EbSink, EbStr,
};
use std::time::Duration;

/// How a request ended, with the times that this backend claims.
pub struct Done {
    /// `EB_FINISH_*`.
    pub finish: i32,
    pub prefill: Duration,
    pub decode: Duration,
}

/// The host's sink.
pub struct Sink(EbSink);

impl Sink {
    /// # Errors
    /// `EB_ERR_INVALID` for NULL or a sink without a function.
    ///
    /// # Safety
    /// `sink` must be NULL or point to a sink that stays valid while this value lives.
    pub unsafe fn new(sink: *const EbSink) -> Result<Sink, Failure> {
        if sink.is_null() {
            return Err(Failure::invalid("the sink is NULL: a bug of the host"));
        }
        let empty = EbSink { struct_size: 0, reserved: 0, event: None, user: std::ptr::null_mut() };
        // SAFETY: passed on to the caller.
        let sink = unsafe { read_sized(sink, empty) };
        match sink.event {
            Some(_) => Ok(Sink(sink)),
            None => Err(Failure::invalid("the sink has no event(): a bug of the host")),
        }
    }

    /// Sends an event; `true`: the host wants this request to end.
    pub fn send(&self, event: &EbEvent) -> bool {
        // SAFETY: the caller of `new` vouches for the sink; the event lives for the call.
        self.0.event.is_some_and(|f| unsafe { f(self.0.user, event) } != 0)
    }

    /// The prompt of `tokens` tokens has been evaluated, all but the first `cached` of them.
    pub fn prefilled(&self, id: u64, tokens: usize, cached: usize) -> bool {
        let mut event = EbEvent::new(EB_EVENT_PREFILL, id);
        event.prompt_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        event.cached_tokens = u32::try_from(cached).unwrap_or(u32::MAX);
        self.send(&event)
    }

    /// The score of continuation `index`, of `n` tokens.
    pub fn scored(&self, id: u64, index: usize, n: usize, sum: Sum) -> bool {
        let mut event = EbEvent::new(EB_EVENT_SCORE, id);
        event.index = index as u32;
        event.logprob = sum.logprob;
        event.n_tokens = u32::try_from(n).unwrap_or(u32::MAX);
        event.is_greedy = i32::from(sum.greedy);
        self.send(&event)
    }

    /// The end of a request: exactly one, its last event.
    pub fn done(&self, id: u64, outcome: &Result<Done, Failure>) {
        let done = match outcome {
            Ok(done) => done,
            Err(failure) => return self.failed(id, failure),
        };
        let mut event = EbEvent::new(EB_EVENT_DONE, id);
        event.finish = done.finish;
        event.claim_prefill_ms = done.prefill.as_secs_f64() * 1e3;
        event.claim_decode_ms = done.decode.as_secs_f64() * 1e3;
        // Nothing is left to be stopped.
        self.send(&event);
    }

    /// Ends a request that failed or was aborted.
    pub fn failed(&self, id: u64, failure: &Failure) {
        let mut event = EbEvent::new(EB_EVENT_DONE, id);
        let aborted = failure.code == EB_ERR_ABORTED;
        event.finish = if aborted { EB_FINISH_ABORTED } else { EB_FINISH_ERROR };
        event.status = failure.code;
        event.text = EbStr::new(&failure.message);
        self.send(&event);
    }
}

/// Runs `requests` one after another, given with their ids; sends their DONE events.
///
/// # Errors
/// `EB_ERR_ABORTED`, after the DONE events of all requests, those that were not begun included.
pub fn run_all<R>(
    sink: &Sink,
    requests: &[(u64, R)],
    mut run: impl FnMut(u64, &R) -> Result<Done, Failure>,
) -> Result<(), Failure> {
    let mut aborted = false;
    for (id, request) in requests {
        let outcome = if aborted { Err(Failure::aborted()) } else { run(*id, request) };
        aborted |= matches!(&outcome, Err(failure) if failure.code == EB_ERR_ABORTED);
        sink.done(*id, &outcome);
    }
    if aborted { Err(Failure::aborted()) } else { Ok(()) }
}
