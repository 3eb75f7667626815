//! One check's child process: started, listened to under a deadline, ended with all that it started. It owns
//! the words for how a process ended. It must not know which checks there are.

use super::Target;
use crate::backend::client::{how_it_ended, spawn_host};
use crate::backend::conform::child::{CONFORM_ARGUMENT, Line};
use crate::backend::conform::{Check, Outcome, Status};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a child gets to exit after its last line.
const EXIT: Duration = Duration::from_secs(5);
/// Bytes of output that are kept, at the start and at the end.
const KEPT: usize = 4096;

/// What became of a child.
pub struct Ran {
    pub outcome: Outcome,
    pub evidence: Vec<String>,
    /// Name and version.
    pub plugin: Option<String>,
    pub output: Printed,
    pub ms: f64,
    /// No answer in time.
    pub silent: bool,
}

impl Ran {
    /// For a check that was not run.
    pub fn skipped(why: String) -> Ran {
        let outcome = Outcome::skipped(why);
        Ran { outcome, evidence: Vec::new(), plugin: None, output: Printed::default(), ms: 0.0, silent: false }
    }
}

/// What a child has printed to stdout and stderr.
#[derive(Default, Clone)]
pub struct Printed {
    bytes: u64,
    start: Vec<u8>,
    end: VecDeque<u8>,
}

impl Printed {
    /// How much it was in all.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The start of it.
    pub fn first_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.start);
        text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default().chars().take(100).collect()
    }

    /// The end of it: often the reason of a crash.
    fn last_line(&self) -> Option<String> {
        let bytes: Vec<u8> = self.end.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().rfind(|l| !l.trim().is_empty()).map(|l| l.trim().chars().take(300).collect())
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let room = KEPT - self.start.len();
        self.start.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.end.extend(bytes);
        let surplus = self.end.len().saturating_sub(KEPT);
        self.end.drain(..surplus);
    }
}

/// Runs one check in a process of its own.
pub fn run(check: &Check, target: &Target) -> io::Result<Ran> {
    let start = Instant::now();
    let mut ours = None;
    let (child, _) = spawn_host(CONFORM_ARGUMENT, &target.backend, |command| {
        let (lines, for_lines) = io::pipe()?;
        let (output, out) = io::pipe()?;
        let err = out.try_clone()?;
        command.arg(check.id).arg(&target.backend).arg(&target.model).args(&target.params);
        command.stdin(Stdio::from(OwnedFd::from(for_lines))).stdout(out).stderr(err);
        ours = Some((lines, output));
        Ok(())
    })?;
    let child = Group(child);
    let (lines, output) = ours.ok_or_else(|| io::Error::other("no pipe"))?;
    let printed = Arc::new(Mutex::new(Printed::default()));
    let kept = printed.clone();
    let drain = std::thread::spawn(move || drain(output, &kept));
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || read_lines(lines, &sender));

    let mut told = Told { step: "the start".to_owned(), ..Told::default() };
    let silent = told.listen(&receiver, target.timeout);
    let mut outcome = ending(child, &mut told, silent, target.timeout);
    let output = collected(&printed, &drain);
    let unwell = matches!(outcome.status, Status::Failed | Status::Crashed);
    if let Some(words) = output.last_line().filter(|_| unwell) {
        outcome.message.push_str(&format!("; its last words: {words}"));
    }
    let ms = start.elapsed().as_secs_f64() * 1e3;
    Ok(Ran { outcome, evidence: told.evidence, plugin: told.plugin, output, ms, silent })
}

/// What the child has reported so far.
#[derive(Default)]
struct Told {
    step: String,
    plugin: Option<String>,
    evidence: Vec<String>,
    outcome: Option<Outcome>,
}

impl Told {
    /// Until the last line; true when a step took longer than `timeout`.
    fn listen(&mut self, lines: &Receiver<Line>, timeout: Duration) -> bool {
        while self.outcome.is_none() {
            match lines.recv_timeout(timeout) {
                Ok(Line::Step(step)) => self.step = step,
                Ok(Line::Plugin(plugin)) => self.plugin = Some(plugin),
                Ok(Line::Evidence(text)) => self.evidence.push(text),
                Ok(Line::Outcome(outcome)) => self.outcome = Some(outcome),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }
}

/// The child's own outcome, unless its process ended otherwise than it should.
fn ending(child: Group, told: &mut Told, silent: bool, timeout: Duration) -> Outcome {
    let during = format!("during {}", told.step);
    if silent {
        drop(child);
        let seen = format!("no answer within {} s {during}; the process was killed", timeout.as_secs_f64());
        return Outcome::failed(seen, "return in time (a slow device: give a longer --timeout)");
    }
    let status = child.end();
    match (told.outcome.take(), status) {
        // A check that failed has said why; how its process ended adds nothing.
        (Some(outcome), _) if outcome.status == Status::Failed => outcome,
        (Some(outcome), Some(status)) if status.success() => outcome,
        (Some(_), Some(status)) => {
            crashed(format!("{} at the end, after close()", how_it_ended("the process", status)))
        }
        (Some(_), None) => crashed("the process does not end after close(); it was killed".to_owned()),
        (None, Some(status)) if status.success() => {
            crashed(format!("the process left with exit(0) {during}; never call exit()"))
        }
        (None, Some(status)) => crashed(format!("{} {during}", how_it_ended("the process", status))),
        (None, None) => crashed(format!("the descriptor of the process to its parent was closed {during}")),
    }
}

fn crashed(message: String) -> Outcome {
    Outcome { status: Status::Crashed, message }
}

/// A child that leads a process group. Dropping it ends the group.
struct Group(Child);

impl Group {
    /// Waits for the exit; `None` when it does not come.
    fn end(mut self) -> Option<ExitStatus> {
        let until = Instant::now() + EXIT;
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() > until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Also after the child's end: what it has started may still run.
        if let Some(group) = Pid::from_raw(self.0.id() as i32) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_lines(pipe: impl Read, sender: &mpsc::Sender<Line>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        if let Some(line) = Line::decode(&line)
            && sender.send(line).is_err()
        {
            return;
        }
    }
}

fn drain(mut pipe: impl Read, kept: &Mutex<Printed>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(n) = pipe.read(&mut buffer) {
        if n == 0 {
            return;
        }
        kept.lock().unwrap_or_else(|e| e.into_inner()).push(&buffer[..n]);
    }
}

/// Everything that was printed; waits a little for the pipe's end, which comes with the group's.
fn collected(printed: &Mutex<Printed>, drain: &JoinHandle<()>) -> Printed {
    let until = Instant::now() + Duration::from_millis(500);
    while !drain.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    printed.lock().unwrap_or_else(|e| e.into_inner()).clone()
}
