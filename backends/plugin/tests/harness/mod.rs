//! A small safe harness for the tests of backends: drives a table through the C ABI, as a host does.
//! One session at a time, for all tests of a binary; everything that events borrow is copied. Included by path from
//! each backend's `tests/common`, which owns the table and the model.

#![allow(dead_code, reason = "each test binary uses its own part")]

use edgebench_abi::*;
use std::ffi::c_void;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    pub code: EbStatus,
    pub message: String,
}

fn check(status: EbStatus, error: &EbError) -> Result<(), Error> {
    if status == EB_OK {
        return Ok(());
    }
    assert_eq!(status, error.code);
    Err(Error { code: status, message: error.text() })
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: i32,
    pub id: u64,
    pub prompt_tokens: u32,
    pub cached_tokens: u32,
    pub token: i32,
    pub index: u32,
    pub text: Vec<u8>,
    pub logprob: f64,
    pub n_tokens: u32,
    pub is_greedy: i32,
    pub finish: i32,
    pub status: EbStatus,
}

impl Event {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).into_owned()
    }
}

#[derive(Clone)]
pub struct Request {
    pub id: u64,
    pub text: String,
    pub tokens: Option<Vec<i32>>,
    pub max_new: u32,
    pub flags: u64,
    pub stop: Vec<Vec<u8>>,
    pub temperature: f32,
    pub top_p: f32,
    pub top_k: i32,
    pub seed: u64,
    pub prefix: (u64, u32),
}

pub fn ask(text: &str, max_new: u32) -> Request {
    Request {
        id: 1,
        text: text.to_owned(),
        tokens: None,
        max_new,
        flags: EB_REQUEST_IGNORE_EOS,
        stop: Vec::new(),
        temperature: 0.0,
        top_p: 1.0,
        top_k: 0,
        seed: 0,
        prefix: (0, 0),
    }
}

#[derive(Clone)]
pub struct ScoreRequest {
    pub id: u64,
    pub context: Vec<i32>,
    pub continuations: Vec<Vec<i32>>,
    pub prefix: (u64, u32),
}

pub type Outcome = (Result<(), Error>, Vec<Event>);

pub static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Session {
    table: &'static EbBackend,
    pub raw: *mut EbSession,
    log: Box<Mutex<Vec<(i32, String)>>>,
    _turn: MutexGuard<'static, ()>,
}

impl Session {
    /// Opens a model, once no other session is open.
    pub fn open_with(table: &'static EbBackend, model: &Path, params: &[(&str, &str)]) -> Result<Session, Error> {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let log = Box::new(Mutex::new(Vec::new()));
        let pairs: Vec<_> = params.iter().map(|(k, v)| EbParam { key: EbStr::new(k), value: EbStr::new(v) }).collect();
        let params = EbOpenParams {
            struct_size: size_of::<EbOpenParams>() as u32,
            n_params: pairs.len() as u32,
            params: pairs.as_ptr(),
            model: EbStr::from_bytes(model.as_os_str().as_encoded_bytes()),
            log: Some(collect_log),
            log_user: (&raw const *log).cast_mut().cast(),
        };
        let mut raw = null_mut();
        let mut error = EbError::new();
        let status = unsafe { table.open.unwrap()(&params, &mut raw, &mut error) };
        assert_eq!(status == EB_OK, !raw.is_null());
        check(status, &error)?;
        Ok(Session { table, raw, log, _turn: turn })
    }

    pub fn log(&self) -> Vec<(i32, String)> {
        self.log.lock().unwrap().clone()
    }

    pub fn info(&self) -> EbInfo {
        let mut info: EbInfo = unsafe { std::mem::zeroed() };
        info.struct_size = size_of::<EbInfo>() as u32;
        let mut error = EbError::new();
        check(unsafe { self.table.info.unwrap()(self.raw, &mut info, &mut error) }, &error).unwrap();
        info
    }

    pub fn tokenize(&self, text: &str, flags: u64) -> Result<Vec<i32>, Error> {
        let mut tokens = Vec::new();
        loop {
            let mut n = 0;
            let mut error = EbError::new();
            let (ptr, room) = (tokens.as_mut_ptr(), tokens.len());
            let status = unsafe {
                self.table.tokenize.unwrap()(self.raw, EbStr::new(text), flags, ptr, room, &mut n, &mut error)
            };
            if status == EB_ERR_BUFFER && room < n {
                tokens.resize(n, 0);
                continue;
            }
            check(status, &error)?;
            tokens.truncate(n);
            return Ok(tokens);
        }
    }

    pub fn detokenize(&self, tokens: &[i32]) -> Result<String, Error> {
        let mut text = Vec::new();
        loop {
            let mut n = 0;
            let mut error = EbError::new();
            let (ptr, room) = (text.as_mut_ptr(), text.len());
            let status = unsafe {
                self.table.detokenize.unwrap()(
                    self.raw,
                    tokens.as_ptr(),
                    tokens.len(),
                    ptr as *mut _,
                    room,
                    &mut n,
                    &mut error,
                )
            };
            if status == EB_ERR_BUFFER && room < n {
                text.resize(n, 0u8);
                continue;
            }
            check(status, &error)?;
            text.truncate(n);
            return Ok(String::from_utf8(text).unwrap());
        }
    }

    /// Has these adapters, each with its scale, act from now on, through `eb.lora/1`.
    pub fn adapt(&self, adapters: &[(&Path, f32)]) -> Result<(), Error> {
        let table = unsafe { self.table.get_extension.unwrap()(EbStr::new(EB_EXT_LORA)) };
        let set = unsafe { table.cast::<EbLoraV1>().as_ref() }.expect("eb.lora/1 is offered").set.unwrap();
        let one = |&(path, scale): &(&Path, f32)| EbLora {
            struct_size: size_of::<EbLora>() as u32,
            scale,
            path: EbStr::from_bytes(path.as_os_str().as_encoded_bytes()),
        };
        let structs: Vec<EbLora> = adapters.iter().map(one).collect();
        let pointers: Vec<*const EbLora> = structs.iter().map(std::ptr::from_ref).collect();
        let mut error = EbError::new();
        check(unsafe { set(self.raw, pointers.as_ptr(), pointers.len(), &mut error) }, &error)
    }

    /// Runs requests; `on_event` returns true to end the request.
    pub fn generate_with(&self, requests: &[Request], on_event: &mut dyn FnMut(&Event) -> bool) -> Outcome {
        let stops: Vec<Vec<EbStr>> =
            requests.iter().map(|r| r.stop.iter().map(|s| EbStr::from_bytes(s)).collect()).collect();
        let structs: Vec<EbRequest> = requests
            .iter()
            .zip(&stops)
            .map(|(r, stop)| EbRequest {
                struct_size: size_of::<EbRequest>() as u32,
                max_new: r.max_new,
                id: r.id,
                flags: r.flags,
                text: EbStr::new(&r.text),
                tokens: r.tokens.as_ref().map_or(null(), |t| t.as_ptr()),
                n_tokens: r.tokens.as_ref().map_or(0, |t| t.len()),
                stop: stop.as_ptr(),
                n_stop: stop.len(),
                temperature: r.temperature,
                top_p: r.top_p,
                top_k: r.top_k,
                prefix_len: r.prefix.1,
                prefix_id: r.prefix.0,
                seed: r.seed,
            })
            .collect();
        let pointers: Vec<*const EbRequest> = structs.iter().map(std::ptr::from_ref).collect();
        self.call(on_event, |sink, error| unsafe {
            self.table.generate.unwrap()(self.raw, pointers.as_ptr(), pointers.len(), sink, error)
        })
    }

    pub fn generate(&self, requests: &[Request]) -> Outcome {
        self.generate_with(requests, &mut |_| false)
    }

    /// One request that must succeed: its tokens and text.
    pub fn answer(&self, request: &Request) -> (Vec<i32>, Vec<u8>, Event) {
        let (status, events) = self.generate(std::slice::from_ref(request));
        status.unwrap();
        let done = events.last().unwrap().clone();
        assert_eq!(done.status, EB_OK, "{}", done.text());
        let tokens: Vec<_> = events.iter().filter(|e| e.kind == EB_EVENT_TOKEN).collect();
        (tokens.iter().map(|e| e.token).collect(), tokens.iter().flat_map(|e| e.text.clone()).collect(), done)
    }

    pub fn score(&self, requests: &[ScoreRequest]) -> Outcome {
        let starts: Vec<Vec<*const i32>> =
            requests.iter().map(|r| r.continuations.iter().map(|c| c.as_ptr()).collect()).collect();
        let lengths: Vec<Vec<usize>> =
            requests.iter().map(|r| r.continuations.iter().map(|c| c.len()).collect()).collect();
        let structs: Vec<EbScoreRequest> = (0..requests.len())
            .map(|i| EbScoreRequest {
                struct_size: size_of::<EbScoreRequest>() as u32,
                n_continuations: starts[i].len() as u32,
                id: requests[i].id,
                context: requests[i].context.as_ptr(),
                n_context: requests[i].context.len(),
                continuations: starts[i].as_ptr(),
                n_tokens: lengths[i].as_ptr(),
                prefix_len: requests[i].prefix.1,
                reserved: 0,
                prefix_id: requests[i].prefix.0,
            })
            .collect();
        let pointers: Vec<*const EbScoreRequest> = structs.iter().map(std::ptr::from_ref).collect();
        let extension = unsafe { self.table.get_extension.unwrap()(EbStr::new(EB_EXT_SCORE)) };
        let score = unsafe { &*extension.cast::<EbScoreV1>() }.score.unwrap();
        self.call(&mut |_| false, |sink, error| unsafe {
            score(self.raw, pointers.as_ptr(), pointers.len(), sink, error)
        })
    }

    /// One context that must succeed: the log-likelihoods and greedy flags of its continuations.
    pub fn scores(&self, context: &[i32], continuations: &[Vec<i32>]) -> Vec<(f64, bool)> {
        let request =
            ScoreRequest { id: 9, context: context.to_vec(), continuations: continuations.to_vec(), prefix: (0, 0) };
        let (status, events) = self.score(&[request]);
        status.unwrap();
        let done = events.last().unwrap();
        assert_eq!((done.kind, done.finish, done.status), (EB_EVENT_DONE, EB_FINISH_SCORED, EB_OK), "{}", done.text());
        assert_eq!(events[0].kind, EB_EVENT_PREFILL);
        let scores = &events[1..events.len() - 1];
        assert_eq!(scores.len(), continuations.len());
        for (i, (event, continuation)) in scores.iter().zip(continuations).enumerate() {
            assert_eq!((event.kind, event.index, event.id), (EB_EVENT_SCORE, i as u32, 9));
            assert_eq!(event.n_tokens as usize, continuation.len());
        }
        scores.iter().map(|e| (e.logprob, e.is_greedy == 1)).collect()
    }

    fn call(
        &self,
        on_event: &mut dyn FnMut(&Event) -> bool,
        body: impl FnOnce(*const EbSink, *mut EbError) -> EbStatus,
    ) -> Outcome {
        let mut collector = Collector { events: Vec::new(), on_event };
        let sink = EbSink {
            struct_size: size_of::<EbSink>() as u32,
            reserved: 0,
            event: Some(collect_event),
            user: (&raw mut collector).cast(),
        };
        let mut error = EbError::new();
        let status = body(&sink, &mut error);
        (check(status, &error), collector.events)
    }

    pub fn reset(&self) {
        let mut error = EbError::new();
        check(unsafe { self.table.reset.unwrap()(self.raw, &mut error) }, &error).unwrap();
    }

    pub fn aborter(&self) -> Aborter {
        Aborter(self.table, self.raw)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { self.table.close.unwrap()(self.raw) };
    }
}

/// The one thing that another thread may do.
pub struct Aborter(&'static EbBackend, *mut EbSession);

unsafe impl Send for Aborter {}

impl Aborter {
    pub fn abort(&self) {
        unsafe { self.0.abort.unwrap()(self.1) };
    }
}

struct Collector<'a> {
    events: Vec<Event>,
    on_event: &'a mut dyn FnMut(&Event) -> bool,
}

unsafe extern "C" fn collect_event(user: *mut c_void, event: *const EbEvent) -> i32 {
    let (collector, event) = unsafe { (&mut *user.cast::<Collector>(), &*event) };
    assert_eq!(event.struct_size as usize, size_of::<EbEvent>());
    let event = Event {
        kind: event.kind,
        id: event.request_id,
        prompt_tokens: event.prompt_tokens,
        cached_tokens: event.cached_tokens,
        token: event.token,
        index: event.index,
        text: unsafe { event.text.bytes() }.to_vec(),
        logprob: event.logprob,
        n_tokens: event.n_tokens,
        is_greedy: event.is_greedy,
        finish: event.finish,
        status: event.status,
    };
    let stop = (collector.on_event)(&event);
    collector.events.push(event);
    i32::from(stop)
}

unsafe extern "C" fn collect_log(user: *mut c_void, level: i32, line: EbStr) {
    let log = unsafe { &*user.cast::<Mutex<Vec<(i32, String)>>>() };
    log.lock().unwrap().push((level, unsafe { line.to_string_lossy() }));
}
