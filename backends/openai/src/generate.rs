//! Continues prompts: streams from the server become PREFILL, TOKEN and DONE. It owns what an event of a stream is worth.
//! It must not know connections.

use crate::answer::{Answer, Usage};
use crate::failure::Failure;
use crate::http::{Server, Trouble};
use crate::pool::{self, Outlet};
use crate::session::Session;
use crate::sse::Events;
use edgebench_abi::{
    EB_EVENT_DONE, EB_EVENT_TOKEN, EB_FINISH_EOS, EB_FINISH_LENGTH, EB_FINISH_SINK, EB_FINISH_STOP, EbEvent, EbStr,
};
use edgebench_plugin::request::Generate;
use edgebench_plugin::sink::Sink;
use edgebench_plugin::stop::StopStrings;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A request on its way.
pub struct Job {
    pub server: Arc<Server>,
    pub path: &'static str,
    pub body: Vec<u8>,
}

/// What a thread has to tell of its request.
pub enum Said {
    /// A part of the answer, as it came, and how often the request had been tried again.
    Part(String, u32),
    /// The last message, and the same.
    End(Result<End, Trouble>, u32),
}

/// How a stream ended.
pub struct End {
    finish: Option<String>,
    usage: Option<Usage>,
}

/// A request's state on the calling thread.
struct State<'a> {
    id: u64,
    max_new: u32,
    stops: StopStrings<'a>,
    has_stops: bool,
    prefilled: bool,
    sent: u32,
    retries: u32,
}

/// Continues all requests.
///
/// # Errors
/// `EB_ERR_ABORTED`, after all DONE events; `EB_ERR_DEVICE` and the like when no request can succeed any more.
pub fn generate(session: &Session, requests: &[(u64, Generate)], sink: &Sink) -> Result<(), Failure> {
    let bodies = session.bodies();
    let (mut jobs, mut states) = (Vec::new(), Vec::new());
    for (id, request) in requests {
        match bodies.generate(request) {
            Err(failure) => sink.failed(*id, &failure),
            Ok(body) => {
                jobs.push(Job { server: Arc::clone(&session.server), path: bodies.path(), body });
                states.push(State {
                    id: *id,
                    max_new: request.max_new,
                    stops: StopStrings::new(&request.stop),
                    has_stops: !request.stop.is_empty(),
                    prefilled: false,
                    sent: 0,
                    retries: 0,
                });
            }
        }
    }
    let mut open = vec![true; states.len()];
    let mut hopeless = None;
    let result = pool::run(jobs, session.options.concurrency, &session.abort, stream, |index, said| {
        let settled = states[index].hear(said, sink, &mut hopeless);
        open[index] &= !settled;
        settled
    });
    if let Err(failure) = &result {
        states.iter().zip(open).filter(|(_, open)| *open).for_each(|(state, _)| sink.failed(state.id, failure));
    }
    result.and(hopeless.map_or(Ok(()), Err))
}

impl State<'_> {
    /// Passes on what a thread said; `true`: the request is done.
    fn hear(&mut self, said: Option<Said>, sink: &Sink, hopeless: &mut Option<Failure>) -> bool {
        let end = match said {
            Some(Said::Part(text, retries)) => {
                self.retries = retries;
                return self.part(&text, sink);
            }
            Some(Said::End(end, retries)) => {
                self.retries = retries;
                end
            }
            None => {
                sink.failed(self.id, &Failure::internal("a thread of this backend is gone: please report it"));
                return true;
            }
        };
        match end {
            Ok(end) => {
                let finish = match end.finish.as_deref() {
                    Some("length") => EB_FINISH_LENGTH,
                    // The same word for both.
                    _ if self.has_stops => EB_FINISH_STOP,
                    _ => EB_FINISH_EOS,
                };
                self.done(finish, end.usage, sink);
            }
            Err(trouble) => {
                sink.failed(self.id, &trouble.failure);
                if trouble.hopeless {
                    hopeless.get_or_insert(trouble.failure);
                }
            }
        }
        true
    }

    fn part(&mut self, text: &str, sink: &Sink) -> bool {
        // What went before the first token cannot be told apart from it.
        if !std::mem::replace(&mut self.prefilled, true) && sink.prefilled(self.id, 0, 0) {
            return self.done(EB_FINISH_SINK, None, sink);
        }
        if self.sent == self.max_new {
            return self.done(EB_FINISH_LENGTH, None, sink);
        }
        let mut event = EbEvent::new(EB_EVENT_TOKEN, self.id);
        event.token = -1;
        event.text = EbStr::new(text);
        let enough = sink.send(&event);
        self.sent += 1;
        if self.stops.appear(text.as_bytes()) {
            return self.done(EB_FINISH_STOP, None, sink);
        }
        enough && self.done(EB_FINISH_SINK, None, sink)
    }

    fn done(&mut self, finish: i32, usage: Option<Usage>, sink: &Sink) -> bool {
        if !std::mem::replace(&mut self.prefilled, true) {
            sink.prefilled(self.id, 0, 0);
        }
        let mut event = EbEvent::new(EB_EVENT_DONE, self.id);
        let usage = usage.unwrap_or_default();
        event.finish = finish;
        event.prompt_tokens = usage.prompt_tokens;
        event.cached_tokens = usage.cached_tokens();
        event.n_tokens = usage.completion_tokens;
        event.index = self.retries;
        sink.send(&event);
        true
    }
}

/// One request, in its own thread.
pub fn stream(job: &Job, outlet: &Outlet<Said>) {
    let begun = Cell::new(false);
    let (end, retries) = job.server.retrying(
        outlet.cancelled(),
        || begun.get(),
        |retries| {
            let reply = job.server.post(job.path, &job.body)?;
            if !reply.is_stream {
                // A server that does not stream: all at once, at the end.
                let answer = Answer::parse(&reply.whole()?).map_err(Trouble::nonsense)?;
                outlet.say(Said::Part(answer.text, retries));
                return Ok((End { finish: answer.finish, usage: answer.usage }, None));
            }
            let mut events = Events::new(reply.lines);
            let end = follow(&mut events, retries, outlet, &begun)?;
            // Where nobody listens any more, closing the connection tells the server to stop.
            Ok((end, (!outlet.cancelled().load(Ordering::Relaxed)).then_some(events)))
        },
    );
    let (end, rest) = match end {
        Ok((end, rest)) => (Ok(end), rest),
        Err(trouble) => (Err(trouble), None),
    };
    outlet.say(Said::End(end, retries));
    if let Some(events) = rest {
        job.server.drain(events.into_lines());
    }
}

/// Passes on the parts of a stream until it ends.
fn follow<R: std::io::BufRead>(
    events: &mut Events<R>,
    retries: u32,
    outlet: &Outlet<Said>,
    begun: &Cell<bool>,
) -> Result<End, Trouble> {
    let mut end = End { finish: None, usage: None };
    let mut parts = 0;
    loop {
        let cut = |why: String| Trouble::cut(format!("the server's stream was cut after {parts} parts{why}"));
        let data = match events.next() {
            Ok(Some(b"[DONE]")) => return Ok(end),
            Ok(Some(data)) => data,
            // Without [DONE], but the model had said that it was at its end.
            Ok(None) if end.finish.is_some() => return Ok(end),
            Ok(None) => return Err(cut(String::new())),
            Err(e) => return Err(cut(format!(": {e}"))),
        };
        let answer = Answer::parse(data).map_err(Trouble::nonsense)?;
        end.usage = answer.usage.or(end.usage);
        end.finish = answer.finish.or(end.finish.take());
        if !answer.text.is_empty() || answer.hidden {
            parts += 1;
            begun.set(true);
            if !outlet.say(Said::Part(answer.text, retries)) {
                return Ok(end);
            }
        } else if outlet.cancelled().load(Ordering::Relaxed) {
            return Ok(end);
        }
    }
}
