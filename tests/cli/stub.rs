//! A stub of an OpenAI-compatible server: a small "model" that answers as the interface says, and faults on request.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server does with a request that asks for an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    /// A stream if one is wanted, or the whole.
    Answer,
    /// A status without an answer; `Retry-After` in seconds, if not empty.
    Refuse(u16, &'static str),
    /// Closes the connection after so many parts of the stream.
    Cut(usize),
    /// A part of the stream that is no JSON.
    BadJson,
    /// No `usage`, although it was asked for, and no [DONE].
    NoUsage,
    /// Several tokens in each part.
    Chunks,
    /// The whole answer, although a stream was wanted.
    Whole,
    /// Says nothing for so long (ms), then answers.
    Slow(u64),
    /// Closes the connection at once.
    Hang,
    /// More tokens than were asked for.
    Endless,
    /// Repeats the key in an error.
    Tell,
}

/// What the server offers.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    pub completions: bool,
    pub echo: bool,
    pub top: bool,
    pub usage: bool,
}

pub const ALL: Offer = Offer { completions: true, echo: true, top: true, usage: true };

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub key: String,
    pub body: Value,
}

/// A running stub; it ends with the process.
pub struct Stub {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Stub {
    /// Starts it. `act` sees the prompt and how often that has been asked before, warm-up and trials included.
    pub fn start(offer: Offer, act: impl Fn(&str, usize) -> Act + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (kept, act) = (asked.clone(), Arc::new(act));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, act) = (kept.clone(), act.clone());
                std::thread::spawn(move || serve(stream, offer, &kept, &*act));
            }
        });
        Stub { port, asked }
    }

    /// One that answers everything.
    pub fn sound(offer: Offer) -> Stub {
        Stub::start(offer, |_, _| Act::Answer)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// All requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

/// The prompt, or the last turn of a conversation.
fn prompt(body: &Value) -> String {
    let last = body["messages"].as_array().and_then(|m| m.last()).map(|m| &m["content"]);
    last.unwrap_or(&body["prompt"]).as_str().unwrap_or_default().to_owned()
}

/// The "model": its tokens for a prompt. It says the digit before the prompt's last question mark, then more; it likes the
/// option B, or the one that a prompt asks it to like.
fn tokens(prompt: &str) -> Vec<String> {
    match prompt.rfind('?').map(|at| &prompt[..at]) {
        Some(before) if !prompt.contains("\nA. ") => {
            let digit = before.chars().last().unwrap_or('0').to_string();
            [digit.as_str(), " ", "\n", "so", " it", " is", "."].map(str::to_owned).to_vec()
        }
        _ => vec![format!(" {}", liked(prompt)), ".".to_owned()],
    }
}

fn liked(prompt: &str) -> char {
    prompt.split("like ").nth(1).and_then(|rest| rest.chars().next()).unwrap_or('B')
}

fn logprob(prompt: &str, letter: char) -> f64 {
    if letter == liked(prompt) { -0.25 } else { -1.0 - f64::from(u32::from(letter) % 8) }
}

fn serve(stream: TcpStream, offer: Offer, kept: &Mutex<Vec<Asked>>, act: &dyn Fn(&str, usize) -> Act) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut out = stream;
    loop {
        let Some((method, path, key, length)) = head(&mut reader) else { return };
        let mut bytes = vec![0; length];
        if reader.read_exact(&mut bytes).is_err() {
            return;
        }
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let path = path.trim_start_matches("/v1").to_owned();
        let text = prompt(&body);
        let n = {
            let mut all = kept.lock().unwrap();
            let n = all.iter().filter(|a| a.path == path && prompt(&a.body) == text).count();
            all.push(Asked { path: path.clone(), key: key.clone(), body: body.clone() });
            n
        };
        if method == "GET" {
            whole(&mut out, 200, "", &json!({ "data": [{ "id": "stub-model", "max_model_len": 4096 }] }));
            continue;
        }
        let error = |what: &str| json!({ "error": { "message": what } });
        let refused = (body["echo"] == true && !offer.echo)
            || (!body["logprobs"].is_null() && !offer.top && body["echo"] != true)
            || (!body["stream_options"].is_null() && !offer.usage);
        if path == "/completions" && !offer.completions {
            whole(&mut out, 404, "", &error("no such path"));
        } else if refused {
            whole(&mut out, 400, "", &error("a field that is not known"));
        } else if text.contains("toolong") {
            whole(&mut out, 400, "", &error("This model's maximum context length is 9 tokens"));
        } else {
            match act(&text, n) {
                Act::Refuse(status, after) => whole(&mut out, status, after, &error("not now")),
                Act::Tell => whole(&mut out, 401, "", &error(&format!("bad key {key}"))),
                Act::Hang => return,
                act if body["stream"] == true && act != Act::Whole => {
                    if !streamed(&mut out, &path, &body, &text, act) {
                        return;
                    }
                }
                _ => whole(&mut out, 200, "", &answer(&path, &body, &text)),
            }
        }
    }
}

fn head(reader: &mut impl BufRead) -> Option<(String, String, String, usize)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let (mut length, mut key) = (0, String::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => key = value.trim().trim_start_matches("Bearer ").to_owned(),
            _ => {}
        }
    }
    Some((method, path, key, length))
}

fn whole(out: &mut TcpStream, status: u16, after: &str, body: &Value) {
    let body = body.to_string();
    let after = if after.is_empty() { String::new() } else { format!("Retry-After: {after}\r\n") };
    let _ = write!(
        out,
        "HTTP/1.1 {status} X\r\nServer: stub/1\r\nContent-Type: application/json\r\n{after}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

/// An answer that is no stream: with log-likelihoods if they are wanted.
fn answer(path: &str, body: &Value, text: &str) -> Value {
    let usage = json!({ "prompt_tokens": text.len(), "completion_tokens": 1, "total_tokens": text.len() + 1 });
    let letters = || "ABCDEFGH".chars().take(5).map(|c| (format!(" {c}"), logprob(text, c)));
    if body["echo"] == true {
        // Words are tokens, each with the blank before it.
        let cuts: Vec<usize> =
            text.char_indices().filter(|(i, c)| *i > 0 && c.is_whitespace()).map(|(i, _)| i).collect();
        let starts: Vec<usize> = std::iter::once(0).chain(cuts).collect();
        let ends = starts.iter().skip(1).copied().chain([text.len()]);
        let mut words: Vec<&str> = starts.iter().zip(ends).map(|(a, b)| &text[*a..b]).collect();
        words.push("made");
        let value = |(i, word): (usize, &&str)| match (i, word.trim().chars().next()) {
            (0, _) => Value::Null,
            (_, Some(letter)) if word.trim().len() == 1 => json!(logprob(text, letter)),
            (_, _) => json!(-(word.len() as f64)),
        };
        let values: Vec<Value> = words.iter().enumerate().map(value).collect();
        return json!({ "choices": [{ "text": text, "finish_reason": "length",
            "logprobs": { "tokens": words, "token_logprobs": values, "top_logprobs": null } }], "usage": usage });
    }
    if path == "/completions" {
        let top: serde_json::Map<String, Value> = letters().map(|(t, l)| (t, json!(l))).collect();
        let first = tokens(text).remove(0);
        let logprobs = json!({ "tokens": [first], "token_logprobs": [-0.25], "top_logprobs": [top] });
        return json!({ "choices": [{ "text": tokens(text).concat(), "finish_reason": "stop", "logprobs": logprobs }], "usage": usage });
    }
    let top: Vec<Value> = letters().map(|(token, logprob)| json!({ "token": token, "logprob": logprob })).collect();
    let content = json!([{ "token": tokens(text)[0], "logprob": -0.25, "top_logprobs": top }]);
    json!({ "choices": [{ "message": { "content": tokens(text).concat() }, "finish_reason": "stop",
        "logprobs": { "content": content } }], "usage": usage })
}

/// A stream; `false`: the connection is to be closed.
fn streamed(out: &mut TcpStream, path: &str, body: &Value, text: &str, act: Act) -> bool {
    if let Act::Slow(ms) = act {
        std::thread::sleep(Duration::from_millis(ms));
    }
    let _ = write!(
        out,
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    let mut send = |data: &str| {
        let event = format!(": ping\r\n\r\ndata: {data}\r\n\r\n");
        let _ = write!(out, "{:x}\r\n{event}\r\n", event.len());
    };
    let chunk = |text: &str, finish: Value| match path {
        "/completions" => {
            json!({ "choices": [{ "index": 0, "text": text, "finish_reason": finish, "logprobs": null }] })
        }
        _ => json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": finish }] }),
    };
    let most = body["max_tokens"].as_u64().unwrap_or(1) as usize;
    let mut all = tokens(text);
    let stop = body["stop"][0].as_str().unwrap_or("##").to_owned();
    if let Some(at) = all.iter().position(|t| t.contains(&stop)) {
        all.truncate(at);
    }
    let length = if act == Act::Endless { 1000 } else { all.len().min(most) };
    all = all.into_iter().cycle().take(length).collect();
    if path != "/completions" {
        send(&json!({ "choices": [{ "delta": { "role": "assistant", "content": null } }] }).to_string());
    }
    let parts: Vec<String> = match act {
        Act::Chunks => all.chunks(3).map(|c| c.concat()).collect(),
        _ => all.clone(),
    };
    for (i, part) in parts.iter().enumerate() {
        match act {
            Act::Cut(n) if n == i => return false,
            Act::BadJson if i == 1 => send("{\"choices\": oops"),
            _ => send(&chunk(part, Value::Null).to_string()),
        }
    }
    send(&chunk("", json!(if all.len() == most { "length" } else { "stop" })).to_string());
    if act != Act::NoUsage {
        if body["stream_options"]["include_usage"] == true {
            let usage = json!({ "prompt_tokens": text.len(), "completion_tokens": all.len(),
                "prompt_tokens_details": { "cached_tokens": 2 } });
            send(&json!({ "choices": [], "usage": usage }).to_string());
        }
        send("[DONE]");
    }
    let _ = write!(out, "0\r\n\r\n");
    true
}
