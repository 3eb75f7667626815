//! Checks of `abort()`: without a call, during the output, during a long prompt. It owns the other thread.
//! It must not know other checks.

use super::calls::{PROMPTS, same};
use super::child::Bench;
use super::collect::{Ask, Call, Wishes};
use super::input::long_prompt;
use super::raw::Session;
use super::{Check, Checked, Outcome};
use crate::backend::abi::*;
use crate::clock::now_ns;
use std::cell::Cell;
use std::sync::mpsc;
use std::time::Duration;

/// What abort() aims for, and what no user should have to wait, in ms.
const AIM_MS: f64 = 100.0;
const LIMIT_MS: f64 = 500.0;

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        "abort-idle",
        "abort() without a running call does nothing",
        "without a running call it does nothing: each call clears an older request on entry",
        idle,
    ),
    Check::new(
        "abort-generate",
        "abort() ends the output soon, and the next call works",
        "makes the generate() that is running now return soon (aim for 100 ms) with EB_ERR_ABORTED, DONE events first",
        during_output,
    ),
    Check::new(
        "abort-prefill",
        "abort() ends a long prompt soon, and the next call works",
        "makes the generate() that is running now return soon (aim for 100 ms, prefill included)",
        during_prefill,
    ),
];

impl Session<'_> {
    /// Calls abort() from a thread of its own when `when` has something for it, while `call` runs here. Gives
    /// the call's result and when abort() was called (ns), if it was.
    fn with_aborter<R>(
        &self,
        call: impl FnOnce(mpsc::Sender<Duration>, &mpsc::Receiver<()>) -> R,
    ) -> Result<(R, Option<u64>), Outcome> {
        let aborter = self.aborter()?;
        let (order, orders) = mpsc::channel::<Duration>();
        let (tell, told) = mpsc::channel();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                let after = orders.recv().ok()?;
                // The call may be over before: then the sender is gone, and nothing is to be aborted.
                if !after.is_zero() && !matches!(orders.recv_timeout(after), Err(mpsc::RecvTimeoutError::Timeout)) {
                    return None;
                }
                let at = now_ns();
                // SAFETY: the session is borrowed until this thread has ended.
                unsafe { aborter.abort() };
                let _ = tell.send(());
                Some(at)
            });
            let result = call(order, &told);
            Ok((result, thread.join().unwrap_or(None)))
        })
    }
}

fn idle(b: &Bench) -> Checked {
    let session = b.open()?;
    let ask = Ask::text(PROMPTS[0], 12);
    let abort = || session.with_aborter(|order, told| order.send(Duration::ZERO).is_ok() && told.recv().is_ok());
    abort()?;
    let first = session.well(&ask)?;
    abort()?;
    abort()?;
    same(&first, &session.well(&ask)?, "after an abort() between calls", "clear an older request on entry")
}

/// What holds after an abort, whenever it came.
fn judge(call: &Call, max_new: u32, aborted_at: Option<u64>, ended: u64) -> Checked {
    let Some(at) = aborted_at else { return Ok(()) };
    let waited = (ended.saturating_sub(at)) as f64 / 1e6;
    let answer = &call.answers[0];
    let status = call.refusal.as_ref().map_or(EB_OK, |r| r.status);
    if status != EB_ERR_ABORTED && answer.finish != EB_FINISH_ABORTED {
        let seen = format!(
            "abort() during the call, which then returned {} with finish = {} after {waited:.0} ms",
            super::raw::status_name(status),
            answer.finish
        );
        return Err(Outcome::failed(seen, "look at the request between tokens and parts of the prompt"));
    }
    if !matches!(status, EB_OK | EB_ERR_ABORTED) {
        let seen = format!("an aborted call returned {}", super::raw::status_name(status));
        return Err(Outcome::failed(seen, "EB_ERR_ABORTED"));
    }
    if answer.tokens.len() == max_new as usize {
        let seen = format!("all {max_new} tokens came although abort() was called long before");
        return Err(Outcome::failed(seen, "look at the request between tokens and parts of the prompt"));
    }
    if answer.finish == 0 {
        return Err(Outcome::failed("an aborted call sent no DONE event", "DONE events still come first"));
    }
    if waited > LIMIT_MS {
        let seen = format!("the call returned {waited:.0} ms after abort()");
        return Err(Outcome::failed(seen, "100 ms is the aim, 500 ms the limit: look at the request more often"));
    }
    if waited > AIM_MS {
        let seen = format!("the call returned {waited:.0} ms after abort()");
        return Err(Outcome::warning(seen, "100 ms is the aim: look at the request more often"));
    }
    Ok(())
}

fn during_output(b: &Bench) -> Checked {
    let session = b.open()?;
    let reference = session.well(&Ask::text(PROMPTS[0], 8))?;
    let n_ctx = session.info()?.n_ctx;
    let used = reference.prompt_tokens + 8;
    if n_ctx < used + 64 {
        return Err(Outcome::skipped(format!("n_ctx = {n_ctx} leaves no room for a long answer")));
    }
    let max_new = (n_ctx - used).min(4096);
    let ask = Ask::text(PROMPTS[0], max_new).ignore_eos();
    let (call, at) = session.with_aborter(|order, told| {
        let order = Cell::new(Some(order));
        // In the sink, at the third token. abort() itself may have to wait for the sink to return.
        let abort = || {
            if let Some(order) = order.take() {
                let _ = order.send(Duration::ZERO);
                let _ = told.recv_timeout(Duration::from_millis(200));
            }
        };
        let call = session.generate(&[ask], Wishes { at_third_token: Some(&abort), ..Wishes::default() });
        (call, now_ns())
    })?;
    let (call, ended) = call;
    let call = call?;
    if at.is_none() {
        return Err(Outcome::failed("fewer than three tokens with EB_REQUEST_IGNORE_EOS", "see `ignore-eos`"));
    }
    let verdict = judge(&call, max_new, at, ended);
    same(&reference, &session.well(&Ask::text(PROMPTS[0], 8))?, "after an aborted call", "leave nothing of it behind")?;
    verdict
}

fn during_prefill(b: &Bench) -> Checked {
    let session = b.open()?;
    let reference = session.well(&Ask::text(PROMPTS[0], 8))?;
    let most = session.info()?.n_ctx as usize * 3 / 4;
    // A prompt that takes long enough to be aborted in the middle, and not much longer.
    let (mut ask, mut ms) = (Ask::text(PROMPTS[0], 1), 0.0);
    let mut n = 64.min(most);
    while ms < 300.0 {
        let longer = Ask { max_new: 1, ..long_prompt(&session, n)? };
        let call = session.generate(std::slice::from_ref(&longer), Wishes::default())?;
        // Without a tokenizer the length in tokens is a guess.
        if call.refusal.is_some() || call.answers[0].status != EB_OK {
            break;
        }
        (ask, ms) = (longer, call.ms);
        if n == most {
            break;
        }
        n = (n * 2).min(most);
    }
    if ms < 30.0 {
        let seen = format!("the longest prompt that fits takes {ms:.1} ms: too short to be aborted in the middle");
        return Err(Outcome::skipped(seen));
    }
    let max_new = 8;
    let ask = Ask { max_new, ..ask };
    let ((call, ended), at) = session.with_aborter(|order, _| {
        let _ = order.send(Duration::from_secs_f64(ms / 3e3));
        let call = session.generate(&[ask], Wishes::default());
        drop(order);
        (call, now_ns())
    })?;
    let call = call?;
    if at.is_none() {
        return Err(Outcome::skipped("the prompt was evaluated faster the second time; nothing was left to abort"));
    }
    let verdict = judge(&call, max_new, at, ended);
    same(&reference, &session.well(&Ask::text(PROMPTS[0], 8))?, "after an aborted call", "leave nothing of it behind")?;
    verdict
}
