//! The child process of one check: takes its arguments, restricts itself as a host does, runs the check and
//! reports line by line. It owns the lines between parent and child. It must not know what the checks do.

use super::raw::{Plugin, Session, status_name};
use super::{Checked, Outcome, Status, checks};
use crate::backend::wire::Open;
use crate::backend::{host, sandbox};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::{Mutex, OnceLock};

/// First argument that makes the binary a check's child; then: id, backend, model, `key=value` …
pub const CONFORM_ARGUMENT: &str = "__conform";

/// A line from the child to its parent: a letter, a space, text. No JSON, to keep hosts small.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// What the child does next, so that a crash or a silence has a place.
    Step(String),
    /// Name and version of the plugin.
    Plugin(String),
    /// What must be the same in another process.
    Evidence(String),
    /// The end of the check.
    Outcome(Outcome),
}

impl Line {
    /// Without the newline; a newline in the text becomes a space.
    pub fn encode(&self) -> String {
        let (letter, text) = match self {
            Line::Step(text) => ('>', text),
            Line::Plugin(text) => ('P', text),
            Line::Evidence(text) => ('E', text),
            Line::Outcome(outcome) => (letter(outcome.status), &outcome.message),
        };
        format!("{letter} {}", text.replace(['\n', '\r'], " "))
    }

    /// `None` for what a plugin may have written into a foreign descriptor.
    pub fn decode(line: &str) -> Option<Line> {
        let (letter_read, text) = line.split_once(' ')?;
        let text = text.to_owned();
        match letter_read {
            ">" => Some(Line::Step(text)),
            "P" => Some(Line::Plugin(text)),
            "E" => Some(Line::Evidence(text)),
            other => {
                let all = [Status::Success, Status::Failed, Status::Crashed, Status::Skipped, Status::Warning];
                let status = all.into_iter().find(|s| other.chars().eq([letter(*s)]))?;
                Some(Line::Outcome(Outcome { status, message: text }))
            }
        }
    }
}

fn letter(status: Status) -> char {
    match status {
        Status::Success => 's',
        Status::Failed => 'f',
        Status::Crashed => 'c',
        Status::Skipped => 'k',
        Status::Warning => 'w',
    }
}

/// The pipe to the parent, for lines that are sent from inside a plugin's call.
static REPORT: OnceLock<Mutex<File>> = OnceLock::new();

/// Sends a line. A plugin may have closed the pipe: then the parent sees a child without an outcome.
fn report(line: &Line) {
    let Some(pipe) = REPORT.get() else { return };
    let text = line.encode() + "\n";
    let _ = pipe.lock().unwrap_or_else(|e| e.into_inner()).write_all(text.as_bytes());
}

/// Tells the parent what comes next: a call of the plugin, with its name.
pub fn step(what: &str) {
    report(&Line::Step(what.to_owned()));
}

/// Ends the check from inside a plugin's call that would not return.
pub fn finish_now(outcome: Outcome) -> ! {
    report(&Line::Outcome(outcome));
    std::process::exit(0)
}

/// What a check works with.
pub struct Bench {
    pub plugin: Plugin,
    /// Absolute path, or empty.
    pub model: String,
    pub params: Vec<(String, String)>,
    /// A LoRA adapter, for `eb.lora/1`: the parameter `lora`, which is none of open().
    pub adapter: Option<String>,
}

impl Bench {
    /// A session with the user's model. That it cannot be opened is the finding of `open-close`, not of others.
    pub fn open(&self) -> Result<Session<'_>, Outcome> {
        self.open_with(&self.plugin)
    }

    /// The same through another view of the plugin.
    pub fn open_with<'a>(&self, plugin: &'a Plugin) -> Result<Session<'a>, Outcome> {
        plugin.open(&self.model, &self.params)?.map_err(|refusal| {
            let hint = if self.model.is_empty() { "no model was given (--model)" } else { "see `open-close`" };
            Outcome::skipped(format!("open() failed with {}: {hint}", status_name(refusal.status)))
        })
    }

    /// Reports what another process must come to as well.
    pub fn evidence(&self, text: &str) {
        report(&Line::Evidence(text.to_owned()));
    }
}

/// Runs one check and exits. The result is in the lines, not in the exit code.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().skip(2).map(|a| a.to_string_lossy().into_owned()).collect();
    if let Err(e) = take_pipe().and_then(|()| host::live_and_die_with_controller()) {
        eprintln!("edgebench conform: {e}; it is started by `edgebench conform` itself, not by hand");
        return ExitCode::from(2);
    }
    let [id, backend, model, params @ ..] = arguments.as_slice() else { return ExitCode::from(2) };
    let Some(check) = checks().find(|c| c.id == id).and_then(|c| c.run) else { return ExitCode::from(2) };
    let pairs = params.iter().filter_map(|p| p.split_once('='));
    let params: Vec<(String, String)> = pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
    let mut outcome = match run(check, backend, model, params) {
        Ok(()) => Outcome::success(),
        Err(outcome) => outcome,
    };
    if matches!(outcome.status, Status::Success | Status::Warning) && descriptors_gone() {
        outcome = Outcome::failed(
            "stdin, stdout or stderr of the process was closed",
            "close only descriptors that the plugin itself has opened",
        );
    }
    report(&Line::Outcome(outcome));
    ExitCode::SUCCESS
}

fn run(check: fn(&Bench) -> Checked, backend: &str, model: &str, params: Vec<(String, String)>) -> Checked {
    let (adapter, params): (Vec<_>, Vec<_>) = params.into_iter().partition(|(key, _)| key == "lora");
    let adapter = adapter.into_iter().next().map(|(_, path)| path);
    let open = Open {
        backend: backend.to_owned(),
        model: model.to_owned(),
        params,
        title: "conform".to_owned(),
        sandbox: true,
        power_hz: 0,
        adapters: adapter.iter().cloned().collect(),
        logits: None,
    };
    sandbox::enter(&open);
    step("loading the library");
    let plugin = Plugin::load(backend).map_err(|message| Outcome::failed(message, ""))?;
    report(&Line::Plugin(plugin.title()));
    check(&Bench { plugin, model: open.model, params: open.params, adapter })
}

/// Descriptor 0 is the pipe to the parent when the process starts. It moves to a high number, out of the way of
/// a plugin's own and of what careless code closes, and /dev/null takes its place.
fn take_pipe() -> std::io::Result<()> {
    const HIGH: i32 = 700;
    let stdin = rustix::stdio::stdin();
    let private: OwnedFd =
        rustix::io::fcntl_dupfd_cloexec(stdin, HIGH).or_else(|_| rustix::io::fcntl_dupfd_cloexec(stdin, 3))?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&private)?.st_mode);
    if !kind.is_fifo() {
        return Err(std::io::Error::other("stdin is not a pipe"));
    }
    REPORT.get_or_init(|| Mutex::new(File::from(private)));
    Ok(())
}

fn descriptors_gone() -> bool {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()].into_iter().any(|fd| rustix::io::fcntl_getfd(fd).is_err())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_as_it_was_written_and_nonsense_is_not() {
        let outcome = Outcome::warning("seen", "to do");
        for line in [Line::Step("open()".into()), Line::Evidence(" 世界 ".into()), Line::Outcome(outcome)] {
            assert_eq!(Line::decode(&line.encode()), Some(line));
        }
        assert_eq!(Line::Step("a\nb".into()).encode(), "> a b");
        for nonsense in ["", "x", "x y", "ss y"] {
            assert_eq!(Line::decode(nonsense), None);
        }
    }
}
