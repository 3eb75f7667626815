//! Calls with a sink: requests with guard bytes and ids that are no positions, every event through the
//! `Collector` that hosts use, and a tap before it for what only a test wants (stopping, aborting, token
//! numbers). It must not know which prompts a check tries.

use super::Outcome;
use super::child::finish_now;
use super::raw::{Answered, Guarded, Refusal, Session, missing, size, status_name};
use crate::backend::abi::*;
use crate::backend::sink::{Collector, Progress, Violation};
use crate::clock::now_ns;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::ptr;

/// One prompt of `generate()`.
#[derive(Clone, Default)]
pub struct Ask {
    pub text: String,
    /// Unless 0: only so many bytes of `text` are the prompt, the others lie behind it in memory.
    pub cut: usize,
    /// Instead of `text`, unless empty.
    pub tokens: Vec<i32>,
    pub max_new: u32,
    pub flags: u64,
    pub stop: Vec<String>,
    pub temperature: f32,
    pub seed: u64,
    pub prefix_id: u64,
    pub prefix_len: u32,
}

impl Ask {
    pub fn text(text: &str, max_new: u32) -> Ask {
        Ask { text: text.to_owned(), max_new, ..Ask::default() }
    }

    pub fn tokens(tokens: Vec<i32>, max_new: u32) -> Ask {
        Ask { tokens, max_new, ..Ask::default() }
    }

    /// The same, for exactly `max_new` tokens.
    pub fn ignore_eos(self) -> Ask {
        Ask { flags: self.flags | EB_REQUEST_IGNORE_EOS, ..self }
    }
}

/// One request of `score()`, in tokens.
#[derive(Clone, Default)]
pub struct ScoreAsk {
    pub context: Vec<i32>,
    pub continuations: Vec<Vec<i32>>,
    pub prefix_id: u64,
    pub prefix_len: u32,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub text: Vec<u8>,
    pub tokens: Vec<i32>,
    /// `(logprob, n_tokens, is_greedy)` per continuation.
    pub scores: Vec<(f64, u32, bool)>,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    /// 0: no DONE event.
    pub finish: i32,
    pub status: EbStatus,
    pub message: String,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

/// What became of a call.
pub struct Call {
    pub refusal: Option<Refusal>,
    pub answers: Vec<Answer>,
    /// How long it took, in ms.
    pub ms: f64,
    /// TOKEN events after the sink had asked for the end.
    pub after_stop: usize,
}

/// What the sink does beside collecting.
#[derive(Default)]
pub struct Wishes<'a> {
    /// Ask for the end of a request at its nth token, from 1.
    pub stop_at: Option<usize>,
    /// Called once, at the call's third token.
    pub at_third_token: Option<&'a dyn Fn()>,
}

impl Session<'_> {
    /// Calls `generate()`. Broken rules of events end the check.
    pub fn generate(&self, asks: &[Ask], wishes: Wishes) -> Result<Call, Outcome> {
        let Some(generate) = self.plugin.table().generate else { return Err(missing("generate")) };
        let newer = self.plugin.newer;
        let stops: Vec<Vec<EbStr>> = asks.iter().map(|a| a.stop.iter().map(|s| EbStr::new(s)).collect()).collect();
        let mut requests: Vec<_> = asks
            .iter()
            .zip(&stops)
            .enumerate()
            .map(|(i, (ask, stop))| Guarded::new(request(ask, id(i), stop, size::<EbRequest>(newer)), newer))
            .collect();
        let pointers: Vec<*const EbRequest> = requests.iter_mut().map(|r| r.pointer().cast_const()).collect();
        let collector = Collector::new(asks.iter().map(|a| a.max_new), false, |v| does_not_end("generate", v));
        self.collect("generate", collector, asks.len(), wishes, |sink, error| {
            // SAFETY: the session is open; requests, sink and error live for the call.
            unsafe { generate(self.raw(), pointers.as_ptr(), pointers.len(), sink, error) }
        })
    }

    /// Calls `score()` of the extension, whose function is given.
    pub fn score(&self, score: EbScoreFn, asks: &[ScoreAsk]) -> Result<Call, Outcome> {
        let newer = self.plugin.newer;
        let arrays: Vec<(Vec<*const i32>, Vec<usize>)> = asks
            .iter()
            .map(|a| {
                (a.continuations.iter().map(|c| c.as_ptr()).collect(), a.continuations.iter().map(Vec::len).collect())
            })
            .collect();
        let mut requests: Vec<_> = asks
            .iter()
            .zip(&arrays)
            .enumerate()
            .map(|(i, (ask, (continuations, n_tokens)))| {
                let request = EbScoreRequest {
                    struct_size: size::<EbScoreRequest>(newer),
                    n_continuations: continuations.len() as u32,
                    id: id(i),
                    context: ask.context.as_ptr(),
                    n_context: ask.context.len(),
                    continuations: continuations.as_ptr(),
                    n_tokens: n_tokens.as_ptr(),
                    prefix_len: ask.prefix_len,
                    reserved: 0,
                    prefix_id: ask.prefix_id,
                };
                Guarded::new(request, newer)
            })
            .collect();
        let pointers: Vec<*const EbScoreRequest> = requests.iter_mut().map(|r| r.pointer().cast_const()).collect();
        let expected = asks.iter().map(|a| a.continuations.len() as u32);
        let collector = Collector::new(expected, true, |v| does_not_end("score", v));
        self.collect("score", collector, asks.len(), Wishes::default(), |sink, error| {
            // SAFETY: the session is open; requests, sink and error live for the call.
            unsafe { score(self.raw(), pointers.as_ptr(), pointers.len(), sink, error) }
        })
    }

    fn collect(
        &self,
        name: &'static str,
        collector: Collector,
        n: usize,
        wishes: Wishes,
        call: impl FnOnce(*const EbSink, *mut EbError) -> EbStatus,
    ) -> Result<Call, Outcome> {
        let newer = self.plugin.newer;
        let tap = UnsafeCell::new(Tap {
            inner: ptr::null(),
            n,
            tokens: vec![Vec::new(); n],
            done: vec![false; n],
            seen: 0,
            after_stop: 0,
            stray: None,
            wishes,
        });
        let thread = rustix::thread::gettid();
        let user = Shared { thread, tap };
        let start = now_ns();
        let (_, progress, answer) = collector.collect(
            |inner| {
                // SAFETY: nobody else has the tap yet.
                unsafe { (*user.tap.get()).inner = inner };
                let sink = EbSink {
                    struct_size: size::<EbSink>(newer),
                    reserved: 0,
                    event: Some(on_event),
                    user: ptr::from_ref(&user).cast_mut().cast::<c_void>(),
                };
                let mut sink = Guarded::new(sink, newer);
                let pointer = sink.pointer();
                let answer = self.plugin.call(name, |error| call(pointer, error));
                sink.intact("eb_sink", newer).and(answer)
            },
            |answer| matches!(answer, Ok(Ok(()))),
        );
        let ms = (now_ns() - start) as f64 / 1e6;
        let tap = user.tap.into_inner();
        let answer: Answered<()> = answer;
        let refusal = answer?.err();
        let progress = progress.map_err(|violation| broken(name, violation, &tap))?;
        let (tokens, done) = (tap.tokens, tap.done);
        let answers = progress.into_iter().zip(tokens).zip(done).map(|((p, t), d)| finished(name, p, t, d));
        Ok(Call { refusal, answers: answers.collect::<Result<_, _>>()?, ms, after_stop: tap.after_stop })
    }
}

/// Ids that are neither positions nor 32 bits wide.
fn id(position: usize) -> u64 {
    (7 << 40) + 100 + 3 * position as u64
}

fn position(id: u64, n: usize) -> Option<usize> {
    let offset = id.checked_sub((7 << 40) + 100)?;
    (offset % 3 == 0 && offset / 3 < n as u64).then_some((offset / 3) as usize)
}

fn request(ask: &Ask, id: u64, stop: &[EbStr], struct_size: u32) -> EbRequest {
    let text = if ask.cut == 0 { &ask.text[..] } else { &ask.text[..ask.cut] };
    EbRequest {
        struct_size,
        max_new: ask.max_new,
        id,
        flags: ask.flags,
        text: if ask.tokens.is_empty() { EbStr::new(text) } else { EbStr::EMPTY },
        tokens: if ask.tokens.is_empty() { ptr::null() } else { ask.tokens.as_ptr() },
        n_tokens: ask.tokens.len(),
        stop: if stop.is_empty() { ptr::null() } else { stop.as_ptr() },
        n_stop: stop.len(),
        temperature: ask.temperature,
        top_p: 1.0,
        top_k: 0,
        prefix_len: ask.prefix_len,
        prefix_id: ask.prefix_id,
        seed: ask.seed,
    }
}

/// Called in the sink when a backend goes on and on after it has broken a rule.
fn does_not_end(name: &str, violation: Violation) -> ! {
    finish_now(Outcome::failed(
        format!(
            "{name}() sends events without end, also after the sink has returned 1; the first fault was: {violation}"
        ),
        "stop at max_new, and when event() returns 1",
    ))
}

fn broken(name: &str, violation: Violation, tap: &Tap) -> Outcome {
    let (seen, todo) = match (violation, tap.stray) {
        (Violation::UnknownRequest(_), Some(stray)) => (
            format!("{name}() sent an event for request {stray}, which was not asked for"),
            "give each event the id of its eb_request, all 64 bits of it",
        ),
        (Violation::ForeignThread, _) => {
            (format!("{name}(): {violation}"), "hand tokens over to the thread that called, and call event() there")
        }
        _ => (format!("{name}(): {violation}"), "send PREFILL, then TOKEN or SCORE events, then one DONE per request"),
    };
    Outcome::failed(seen, todo)
}

/// What holds for the end of every request.
fn finished(name: &str, p: Progress, tokens: Vec<i32>, done: bool) -> Result<Answer, Outcome> {
    let finish = if done { p.finish } else { 0 };
    if done {
        let fits = match name {
            "score" => matches!(finish, EB_FINISH_SINK | EB_FINISH_ABORTED | EB_FINISH_ERROR | EB_FINISH_SCORED),
            _ => (EB_FINISH_EOS..=EB_FINISH_ERROR).contains(&finish),
        };
        if !fits {
            let seen = format!("{name}() sent a DONE event with finish = {finish}");
            return Err(Outcome::failed(seen, "use the EB_FINISH_* that says why the request ended"));
        }
        let (fits, todo) = match finish {
            EB_FINISH_ERROR => (p.status != EB_OK, "EB_FINISH_ERROR and a status other than EB_OK go together"),
            EB_FINISH_ABORTED => {
                (p.status == EB_ERR_ABORTED, "EB_FINISH_ABORTED has the status EB_ERR_ABORTED, not EB_OK")
            }
            _ => (p.status == EB_OK, "a request that did not fail has the status EB_OK"),
        };
        if !fits {
            let status = status_name(p.status);
            let seen = format!("{name}() sent a DONE event with finish = {finish} and status = {status}");
            return Err(Outcome::failed(seen, todo));
        }
    }
    Ok(Answer {
        text: p.text,
        tokens,
        scores: p.scores,
        prompt_tokens: p.prompt_tokens,
        cached_tokens: p.cached_tokens,
        finish,
        status: p.status,
        message: p.message,
    })
}

/// What the callback gets as `user`.
struct Shared<'a> {
    thread: rustix::thread::Pid,
    tap: UnsafeCell<Tap<'a>>,
}

struct Tap<'a> {
    inner: *const EbSink,
    n: usize,
    tokens: Vec<Vec<i32>>,
    done: Vec<bool>,
    seen: usize,
    after_stop: usize,
    stray: Option<u64>,
    wishes: Wishes<'a>,
}

impl Tap<'_> {
    /// Notes what the collector does not keep; the answer is what this sink wants of the backend.
    fn note(&mut self, position: usize, event: &EbEvent) -> i32 {
        match event.kind {
            EB_EVENT_TOKEN => {
                let stop_at = self.wishes.stop_at.unwrap_or(usize::MAX);
                // A plugin without end must not fill the memory.
                if self.tokens[position].len() < 1 << 16 {
                    self.tokens[position].push(event.token);
                }
                self.seen += 1;
                if self.seen == 3
                    && let Some(call) = self.wishes.at_third_token
                {
                    call();
                }
                let count = self.tokens[position].len();
                self.after_stop += usize::from(count > stop_at);
                i32::from(count >= stop_at)
            }
            EB_EVENT_DONE => {
                self.done[position] = true;
                0
            }
            _ => 0,
        }
    }
}

/// The C callback: notes, then passes the event on to the collector, with the request's position as its id.
///
/// # Safety
/// `user` is the `Shared` of the running call; `event` is NULL or points to an event of at least `struct_size`
/// bytes.
unsafe extern "C" fn on_event(user: *mut c_void, event: *const EbEvent) -> i32 {
    // SAFETY: `user` is what `collect` put there; only the thread id is read before the thread is known.
    let shared = unsafe { &*user.cast::<Shared>() };
    let own = rustix::thread::gettid() == shared.thread;
    // SAFETY: `inner` is written before the call and only read during it.
    let inner = unsafe { &*(*shared.tap.get()).inner };
    let Some(forward) = inner.event else { return 1 };
    // SAFETY: not NULL, and every version of the struct starts with struct_size.
    let complete = !event.is_null() && unsafe { (*event).struct_size } as usize >= size_of::<EbEvent>();
    if !own || !complete {
        // SAFETY: the collector tests both by itself.
        return unsafe { forward(inner.user, event) };
    }
    // SAFETY: this thread is inside `call`, which touches the tap only here, and events do not nest.
    let tap = unsafe { &mut *shared.tap.get() };
    // SAFETY: large enough for this version, checked just now; plain data.
    let mut copy = unsafe { ptr::read(event) };
    copy.struct_size = size_of::<EbEvent>() as u32;
    let mut wish = 0;
    match position(copy.request_id, tap.n) {
        Some(position) => {
            wish = tap.note(position, &copy);
            copy.request_id = position as u64;
        }
        None => {
            tap.stray.get_or_insert(copy.request_id);
            copy.request_id = u64::MAX;
        }
    }
    // SAFETY: the collector's own callback and user pointer; the copy lives for the call.
    wish | unsafe { forward(inner.user, &copy) }
}
