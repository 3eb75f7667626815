//! What follows from a checkpoint: its own copy while it is evaluated, the copy of the best, commands, a sentence. It
//! must not know how it was judged.

use super::Request;
use super::curve::Point;
use super::find::Candidate;
use crate::job::watch::Watch;
use crate::results::STATUS;
use rustix::process::setpriority_process;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time that a command of the job may take.
const COMMAND_TIME: Duration = Duration::from_secs(600);

/// Where the run of a checkpoint goes.
pub fn run_folder(out: &Path, name: &str) -> PathBuf {
    out.join("runs").join(name)
}

/// The checkpoint that is being evaluated, under a name of our own: the training may delete its file meanwhile.
pub struct Current {
    path: PathBuf,
}

impl Current {
    /// Links, copies or converts a checkpoint into `out`.
    ///
    /// # Errors
    /// A word for curve.csv and a sentence.
    pub fn take(request: &Request, candidate: &Candidate, rules: &Watch) -> Result<Current, (&'static str, String)> {
        let path = request.out.join("current.gguf");
        let gone = |e: io::Error| ("gone", format!("{}: {e}", candidate.path.display()));
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(("failed", format!("{}: {e}", path.display())));
            }
            _ => {}
        }
        let current = Current { path };
        match &rules.convert {
            Some(command) => current.convert(command, candidate, request.job)?,
            None if candidate.is_folder => {
                let reason = "it is a folder; set [watch] convert to a command that makes a GGUF of it";
                return Err(("not-converted", reason.to_owned()));
            }
            None => {
                if fs::hard_link(&candidate.path, &current.path).is_err() {
                    fs::copy(&candidate.path, &current.path).map_err(gone)?;
                }
            }
        }
        Ok(current)
    }

    fn convert(&self, command: &str, candidate: &Candidate, job: &Path) -> Result<(), (&'static str, String)> {
        let quoted = |path: &Path| format!("'{}'", absolute(path).replace('\'', r"'\''"));
        let text = command.replace("{in}", &quoted(&candidate.path)).replace("{out}", &quoted(&self.path));
        shell(&text, job, &[]).map_err(|e| ("not-converted", format!("`{command}` {e}")))?;
        match self.path.exists() {
            true => Ok(()),
            false => Err(("not-converted", format!("`{command}` made no file {{out}}"))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it best.gguf, in one step: a copy, as the training may write into its own file.
    pub fn keep_as_best(&self, out: &Path) -> io::Result<()> {
        let part = out.join("best.gguf.part");
        fs::copy(&self.path, &part)?;
        File::open(&part)?.sync_all()?;
        fs::rename(part, out.join("best.gguf"))
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// What a command is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Best,
    Regression,
    Plateau,
}

/// Calls the job's command for `event`, if it has one. That it fails is told, and no more.
pub fn tell(request: &Request, rules: &Watch, event: Event, point: &Point) {
    let (key, command) = match event {
        Event::Best => ("on_best", &rules.on_best),
        Event::Regression => ("on_regression", &rules.on_regression),
        Event::Plateau => ("on_plateau", &rules.on_plateau),
    };
    let Some(command) = command else { return };
    let number = |n: Option<f64>| n.map_or(String::new(), |n| n.to_string());
    let variables = [
        ("EDGEBENCH_EVENT", key.trim_start_matches("on_").to_owned()),
        ("EDGEBENCH_CHECKPOINT", absolute(&request.folder.join(&point.checkpoint))),
        ("EDGEBENCH_STEP", point.step.map_or(String::new(), |s| s.to_string())),
        ("EDGEBENCH_METRIC", point.metric.clone()),
        ("EDGEBENCH_VALUE", number(point.value)),
        ("EDGEBENCH_P", number(point.p)),
        ("EDGEBENCH_BEST", absolute(&request.out.join("best.gguf"))),
        ("EDGEBENCH_RUN", absolute(&run_folder(request.out, &point.run))),
        ("EDGEBENCH_STATUS", absolute(&request.out.join(STATUS))),
    ];
    if let Err(e) = shell(command, request.job, &variables) {
        eprintln!("edgebench: [watch] {key} = `{command}` {e}");
    }
}

/// A path that holds in any folder.
fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or(path.to_path_buf()).display().to_string()
}

/// Runs a command of a job, in the job's folder. The error is the end of a sentence that begins with it.
fn shell(command: &str, job: &Path, variables: &[(&str, String)]) -> Result<(), String> {
    let mut shell = Command::new("/bin/sh");
    shell.current_dir(job.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")));
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null());
    shell.envs(variables.iter().map(|(name, value)| (name, value)));
    let mut child = shell.spawn().map_err(|e| format!("cannot be started: {e}"))?;
    let end = Instant::now() + COMMAND_TIME;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("ended with {status}")),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("took more than {} s", COMMAND_TIME.as_secs()));
            }
            Err(e) => return Err(format!("cannot be waited for: {e}")),
        }
    }
}

/// Makes room for the training: hosts inherit both.
pub fn lower_priority(rules: &Watch) {
    if rules.nice > 0
        && let Err(e) = setpriority_process(None, rules.nice)
    {
        eprintln!("edgebench: [watch] nice: {e}");
    }
    if let Some(cpus) = &rules.cpus {
        let mut set = CpuSet::new();
        cpus.iter().for_each(|cpu| set.set(*cpu));
        if let Err(e) = sched_setaffinity(None, &set) {
            eprintln!("edgebench: [watch] cpus: {e}");
        }
    }
}

/// `checkpoint-500: acc 0.8120 [0.78, 0.84], better than checkpoint-250 (p 0.003), the best so far; 12.3 s`
pub fn sentence(point: &Point) -> String {
    let Some(value) = point.value else {
        return format!("{}: {}: {}", point.checkpoint, point.status, point.reason);
    };
    let mut text = format!("{}: {} {value:.4}", point.checkpoint, point.metric);
    if let (Some(lo), Some(hi)) = (point.lo, point.hi) {
        text += &format!(" [{lo:.4}, {hi:.4}]");
    }
    text += &match point.verdict.as_str() {
        "first" => ", the first".to_owned(),
        "same" => format!(", not significantly other than {}", point.reference),
        verdict => format!(", {verdict} than {}", point.reference),
    };
    if let Some(p) = point.p {
        text += &format!(" (p {p:.2})");
    }
    if point.best {
        text += ", the best so far";
    }
    format!("{text}; {:.1} s", point.seconds)
}
