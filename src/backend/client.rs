//! The controller's side of a host: starts the process, speaks `wire` with it under deadlines, and says in
//! words how it ended. It never sees the ABI and must not know jobs, cases or files of results.

mod train;

use super::host::HOST_ARGUMENT;
use super::hosts;
use super::loader::is_path;
use super::wire::*;
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
pub use train::Ended;

/// How long a host gets to end a call after `Abort`, and to exit after `Close`, before it is killed.
const GRACE: Duration = Duration::from_secs(2);
/// How long a host gets to come up.
const START: Duration = Duration::from_secs(20);
/// How often a silent host is looked at.
const TICK: Duration = Duration::from_millis(200);
/// Readings that are kept until they are taken: those of a call of 10 minutes at 100 Hz.
const MAX_READINGS: usize = 60_000;
/// Lines of a host's output that are kept.
const TAIL: usize = 20;

/// Why a host gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The backend refused or failed; the host lives on.
    #[error("{0}")]
    Failed(Failure),
    /// The backend or host broke the rules of the ABI or of the frames; the host is gone.
    #[error("the backend broke its contract: {0}")]
    Violation(String),
    /// The process ended in the middle.
    #[error("{how} during {during}{}", last_words(.output))]
    Died { how: String, during: &'static str, killed: bool, output: Vec<String> },
    /// No answer in time; the call was aborted or, when that did not help, the host killed.
    #[error("no answer within {} s to {during}{}", .after.as_secs_f64(), if *.killed { "; it ignored abort and was killed" } else { "" })]
    Timeout { during: &'static str, after: Duration, killed: bool },
    /// The host could not be started at all.
    #[error("the host process cannot be started: {0}")]
    Start(io::Error),
}

fn last_words(output: &[String]) -> String {
    match output.last() {
        Some(line) => format!("; its last words: {line}"),
        None => String::new(),
    }
}

/// A running host process. Dropping it ends the process and everything in its process group.
pub struct Client {
    child: Child,
    /// Which program the child is, and how it was started.
    host: String,
    socket: UnixStream,
    read_timeout: Option<Duration>,
    decoder: Decoder,
    buffer: Vec<u8>,
    frame: Vec<u8>,
    power: Vec<PowerReading>,
    output: Arc<Mutex<VecDeque<String>>>,
    drain: Option<JoinHandle<()>>,
    gone: bool,
}

impl Client {
    /// Starts a host for `backend` and waits for its first frame.
    pub fn start(backend: &str) -> Result<Client, HostError> {
        let start = Instant::now();
        let mut ours = None;
        let (child, host) = spawn_host(HOST_ARGUMENT, backend, |command| {
            let (socket, theirs) = UnixStream::pair()?;
            let (pipe, out) = io::pipe()?;
            let err = out.try_clone()?;
            command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(out).stderr(err);
            ours = Some((socket, pipe));
            Ok(())
        })
        .map_err(HostError::Start)?;
        let (socket, pipe) = ours.ok_or_else(|| HostError::Start(io::Error::other("no socket")))?;
        let output = Arc::new(Mutex::new(VecDeque::new()));
        let kept = output.clone();
        let drain = std::thread::Builder::new()
            .name("host-output".into())
            .spawn(move || keep_output(pipe, &kept))
            .map_err(HostError::Start)?;
        let mut client = Client {
            child,
            host,
            socket,
            read_timeout: None,
            decoder: Decoder::default(),
            buffer: vec![0; 64 << 10],
            frame: Vec::new(),
            power: Vec::new(),
            output,
            drain: Some(drain),
            gone: false,
        };
        match client.receive(START, "the start of its host")? {
            FromHost::Hello { protocol: PROTOCOL, .. } => {
                log::debug!(target: "timing", "host up: {} after {:.2} ms", client.host, start.elapsed().as_secs_f64() * 1e3);
                Ok(client)
            }
            other => Err(client.nonsense(&other)),
        }
    }

    /// Process id of the host, for `/proc`.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Readings of the backend's own power rails that came with the answers since the last call of this.
    pub fn take_power(&mut self) -> Vec<PowerReading> {
        std::mem::take(&mut self.power)
    }

    /// Waits so long between calls, and takes in the readings that come meanwhile.
    pub fn idle(&mut self, length: Duration) -> Result<(), HostError> {
        match self.receive(length, "idle") {
            Err(HostError::Timeout { .. }) => Ok(()),
            Err(e) => Err(e),
            Ok(message) => Err(self.nonsense(&message)),
        }
    }

    /// Loads backend and model.
    pub fn open(&mut self, open: Open, timeout: Duration) -> Result<Opened, HostError> {
        match self.call(&ToHost::Open(open), timeout, "loading")? {
            FromHost::Opened(opened) => Ok(Opened { host: self.host.clone(), ..*opened }),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Continues `prompts`: as many answers, in the same order.
    pub fn generate(&mut self, prompts: Vec<Prompt>, timeout: Duration) -> Result<Vec<Generation>, HostError> {
        let n = prompts.len();
        match self.call(&ToHost::Generate(prompts), timeout, "generate")? {
            FromHost::Generated(answers) if answers.len() == n => Ok(answers),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Scores `prompts`: as many answers, in the same order.
    pub fn score(&mut self, prompts: Vec<ScorePrompt>, timeout: Duration) -> Result<Vec<Scoring>, HostError> {
        let n = prompts.len();
        match self.call(&ToHost::Score(prompts), timeout, "score")? {
            FromHost::Scored(answers) if answers.len() == n => Ok(answers),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Text to tokens.
    pub fn tokenize(&mut self, text: &str, control: Control, timeout: Duration) -> Result<Vec<i32>, HostError> {
        let message = ToHost::Tokenize { text: text.to_owned(), control };
        match self.call(&message, timeout, "tokenize")? {
            FromHost::Tokens(tokens) => Ok(tokens),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Puts other adapters on the model that is open; `title` names the process from then on. ns that it took.
    pub fn adapt(&mut self, adapters: Vec<Adapter>, title: &str, timeout: Duration) -> Result<u64, HostError> {
        let message = ToHost::Adapt { adapters, title: title.to_owned() };
        match self.call(&message, timeout, "setting adapters")? {
            FromHost::Adapted(ns) => Ok(ns),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Holds a stretch of a text against the original, or keeps it as the original's: see [`Open::logits`].
    pub fn diverge(&mut self, window: Window, timeout: Duration) -> Result<Diverged, HostError> {
        match self.call(&ToHost::Diverge(window), timeout, "the comparison with the original")? {
            FromHost::Diverged(answer) => Ok(answer),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Has a smaller model made; no model is open then.
    pub fn quantize(&mut self, wanted: Quantize, timeout: Duration) -> Result<Quantized, HostError> {
        match self.call(&ToHost::Quantize(wanted), timeout, "quantize")? {
            FromHost::Quantized(made) => Ok(made),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Forgets every sequence.
    pub fn reset(&mut self, timeout: Duration) -> Result<(), HostError> {
        match self.call(&ToHost::Reset, timeout, "reset")? {
            FromHost::Done => Ok(()),
            other => Err(self.nonsense(&other)),
        }
    }

    /// Frees the model and lets the host leave. A crash while closing is an error too.
    pub fn close(mut self) -> Result<(), HostError> {
        match self.call(&ToHost::Close, GRACE + GRACE, "close")? {
            FromHost::Done => {}
            other => return Err(self.nonsense(&other)),
        }
        let status = self.wait(GRACE);
        self.gone = true;
        match status {
            Some(status) if status.success() => Ok(()),
            status => Err(self.died(status, "close")),
        }
    }

    fn call(&mut self, message: &ToHost, timeout: Duration, during: &'static str) -> Result<FromHost, HostError> {
        if let Err(e) = encode(message, &mut self.frame) {
            return Err(HostError::Failed(Failure::new(FailureKind::Invalid, e.to_string())));
        }
        if self.socket.write_all(&self.frame).is_err() {
            return Err(self.ended(during));
        }
        let answer = match self.receive(timeout, during) {
            Err(HostError::Timeout { .. }) => return Err(self.abort(timeout, during)),
            other => other?,
        };
        match answer {
            FromHost::Failed(failure) => Err(HostError::Failed(failure)),
            FromHost::Violation(text) => Err(HostError::Violation(text)),
            answer => Ok(answer),
        }
    }

    /// After a timeout: asks the host to end the call, and kills it if it does not.
    fn abort(&mut self, after: Duration, during: &'static str) -> HostError {
        let asked = encode(&ToHost::Abort, &mut self.frame).is_ok() && self.socket.write_all(&self.frame).is_ok();
        let killed = !asked || self.receive(GRACE, during).is_err();
        if killed {
            self.kill();
        }
        HostError::Timeout { during, after, killed }
    }

    fn receive(&mut self, timeout: Duration, during: &'static str) -> Result<FromHost, HostError> {
        let deadline = Instant::now() + timeout;
        loop {
            match self.decoder.message() {
                Ok(Some(FromHost::Power(reading))) => {
                    if self.power.len() < MAX_READINGS {
                        self.power.push(reading);
                    }
                    continue;
                }
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(e) => {
                    self.kill();
                    return Err(HostError::Violation(e.to_string()));
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(HostError::Timeout { during, after: timeout, killed: false });
            }
            self.set_read_timeout(left.min(TICK));
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err(self.ended(during)),
                Ok(n) => self.decoder.push(&self.buffer[..n]),
                // Something that the backend forked may keep the socket open after the host has died.
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    if matches!(self.child.try_wait(), Ok(Some(_))) {
                        return Err(self.ended(during));
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(self.ended(during)),
            }
        }
    }

    fn set_read_timeout(&mut self, timeout: Duration) {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        if self.read_timeout != timeout && self.socket.set_read_timeout(timeout).is_ok() {
            self.read_timeout = timeout;
        }
    }

    /// The socket has ended: how did the process?
    fn ended(&mut self, during: &'static str) -> HostError {
        let status = self.wait(Duration::from_millis(500));
        self.died(status, during)
    }

    fn died(&mut self, status: Option<ExitStatus>, during: &'static str) -> HostError {
        let killed = status.is_some_and(|s| s.signal() == Some(Signal::KILL.as_raw()));
        let how = match status {
            Some(status) => how_it_ended("the host", status),
            None => "the host closed its connection without exiting".to_owned(),
        };
        self.kill();
        HostError::Died { how, during, killed, output: self.take_output() }
    }

    /// Everything printed until now; waits for the pipe's end, which comes with the process group's.
    fn take_output(&mut self) -> Vec<String> {
        let until = Instant::now() + Duration::from_millis(300);
        while self.drain.as_ref().is_some_and(|d| !d.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(2));
        }
        self.output.lock().unwrap_or_else(|e| e.into_inner()).iter().cloned().collect()
    }

    fn nonsense(&mut self, message: &FromHost) -> HostError {
        self.kill();
        match message {
            FromHost::Violation(text) => HostError::Violation(text.clone()),
            FromHost::Failed(failure) => HostError::Failed(failure.clone()),
            other => HostError::Violation(format!("an answer that does not fit the question: {}", variant(other))),
        }
    }

    fn wait(&mut self, at_most: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + at_most;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the host and all that it started, and reaps it.
    fn kill(&mut self) {
        if let Some(group) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.gone = true;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if !self.gone {
            self.kill();
        }
    }
}

/// Starts a process in which `backend` may run, with `role` as its first argument, and says in words which program and
/// how; `prepare` may add to the command, and is called once for each way that is tried.
pub fn spawn_host(
    role: &str,
    backend: &str,
    mut prepare: impl FnMut(&mut Command) -> io::Result<()>,
) -> io::Result<(Child, String)> {
    let source = hosts::source(backend)?;
    let (child, way) = hosts::spawn(&source, |command| {
        // A process group of its own: the terminal's Ctrl-C is the controller's business.
        command.arg(role).process_group(0);
        // Before it aborts, ggml has gdb print where it is, if there is one; that may take for ever.
        command.env("GGML_NO_BACKTRACE", "1");
        if let Some(folder) = Path::new(backend).parent().filter(|_| is_path(backend)) {
            // The loader reads it once, at the start of a process: a plugin's own libraries lie beside it.
            let others = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
            let folders = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&others));
            if let Ok(joined) = std::env::join_paths(folders) {
                command.env("LD_LIBRARY_PATH", joined);
            }
        }
        prepare(command)
    })?;
    Ok((child, format!("{} {way}", source.name())))
}

/// "the host was killed by signal 11 (SIGSEGV)" or "the host exited with status 3".
pub fn how_it_ended(who: &str, status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("{who} was killed by signal {signal}{}", signal_name(signal)),
        (_, Some(code)) => format!("{who} exited with status {code}"),
        _ => format!("{who} ended: {status}"),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        15 => " (SIGTERM)",
        31 => " (SIGSYS)",
        _ => "",
    }
}

fn variant(message: &FromHost) -> &'static str {
    match message {
        FromHost::Hello { .. } => "Hello (of another protocol version?)",
        FromHost::Opened(_) => "Opened",
        FromHost::Generated(_) => "Generated",
        FromHost::Scored(_) => "Scored",
        FromHost::Tokens(_) => "Tokens",
        FromHost::Adapted(_) => "Adapted",
        FromHost::Diverged(_) => "Diverged",
        FromHost::Quantized(_) => "Quantized",
        FromHost::Step(_) => "Step",
        FromHost::Trained(_) => "Trained",
        FromHost::Power(_) => "Power",
        FromHost::Done => "Done",
        FromHost::Failed(_) => "Failed",
        FromHost::Violation(_) => "Violation",
    }
}

/// Drains a host's stdout and stderr, however much it prints: the last lines are kept for the reason of a
/// crash, and lines of the host's logger go on to ours.
fn keep_output(pipe: impl Read, kept: &Mutex<VecDeque<String>>) {
    const LINE: u64 = 4096;
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        let (level, text) = split_level(text);
        if text.is_empty() {
            continue;
        }
        log::log!(target: "host", level.unwrap_or(log::Level::Debug), "{text}");
        // Chatter of a backend's own log explains no crash; errors, and what was printed past it, may.
        if level.is_none_or(|l| l <= log::Level::Warn) {
            let mut kept = kept.lock().unwrap_or_else(|e| e.into_inner());
            if kept.len() == TAIL {
                kept.pop_front();
            }
            kept.push_back(text.chars().filter(|c| !c.is_control()).take(400).collect());
        }
    }
}

/// `"WARN text"` → `(Some(Warn), "text")`.
fn split_level(line: &str) -> (Option<log::Level>, &str) {
    match line.split_once(' ').map(|(word, rest)| (word.parse::<log::Level>(), rest)) {
        Some((Ok(level), rest)) => (Some(level), rest),
        _ => (None, line),
    }
}
