//! The command `conform`: which checks to run, what their children say taken together, and the exit code. It
//! must not know the ABI or what a check does.

mod print;
mod runner;

use crate::backend::conform::{Check, Outcome, Status, checks};
use crate::backend::hosts::built_in;
use crate::backend::loader::is_path;
use crate::job::path_param;
use crate::pattern::fits;
use runner::Ran;
use serde::Serialize;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

/// After so many checks without an answer the others are skipped, so that a run does not take hours.
const SILENCES: usize = 3;

/// What the user asks for.
pub struct Request<'a> {
    /// A path, or the name of a built-in backend.
    pub plugin: &'a str,
    pub model: Option<&'a Path>,
    /// `key=value`, passed to each `open()`; paths as in a job, from the working folder on.
    pub params: &'a [String],
    /// Part of an id, or a pattern with `*` for the whole.
    pub only: Option<&'a str>,
    /// Longest time for one call of the plugin.
    pub timeout: Duration,
    pub json: bool,
}

/// What children are started with.
struct Target {
    backend: String,
    model: String,
    params: Vec<String>,
    timeout: Duration,
}

/// One row of the result.
#[derive(Serialize)]
struct Row {
    id: &'static str,
    what: &'static str,
    status: Status,
    message: String,
    rule: &'static str,
    ms: f64,
}

/// How many ended how.
#[derive(Default, Serialize)]
struct Summary {
    passed: usize,
    /// Crashed ones included.
    failed: usize,
    crashed: usize,
    skipped: usize,
    warnings: usize,
}

impl Summary {
    fn add(&mut self, status: Status) {
        match status {
            Status::Success => self.passed += 1,
            Status::Failed => self.failed += 1,
            Status::Crashed => {
                self.failed += 1;
                self.crashed += 1;
            }
            Status::Skipped => self.skipped += 1,
            Status::Warning => self.warnings += 1,
        }
    }
}

/// Everything, as `--json` prints it.
#[derive(Serialize)]
struct Report<'a> {
    plugin: &'a str,
    /// Name and version as the plugin tells them; empty when it cannot be loaded.
    name: String,
    model: &'a str,
    params: &'a [String],
    checks: Vec<Row>,
    #[serde(flatten)]
    summary: Summary,
}

/// Runs the checks and prints them to stdout: `Ok(true)` when none failed. The error is a sentence for the
/// user about the arguments: nothing ran.
pub fn run(request: &Request) -> Result<bool, String> {
    let target = target(request)?;
    let chosen: Vec<&Check> = checks().filter(|c| request.only.is_none_or(|p| fits(p, c.id))).collect();
    if chosen.is_empty() {
        let ids: Vec<&str> = checks().map(|c| c.id).collect();
        return Err(format!(
            "--only {}: no check has this in its id; there are: {}",
            request.only.unwrap_or(""),
            ids.join(", ")
        ));
    }
    let mut report = Report {
        plugin: request.plugin,
        name: String::new(),
        model: &target.model,
        params: &target.params,
        checks: Vec::new(),
        summary: Summary::default(),
    };
    let width = chosen.iter().map(|c| c.id.len()).max().unwrap_or(0);
    let mut silences = 0;
    let mut hopeless = None;
    for check in chosen {
        let ran = match &hopeless {
            None => run_check(check, &target).map_err(|e| format!("a child process cannot be started: {e}"))?,
            Some(why) => Ran::skipped(String::clone(why)),
        };
        silences += usize::from(ran.silent);
        if ran.plugin.is_none() {
            hopeless.get_or_insert_with(|| "the plugin cannot be loaded".to_owned());
        } else if silences == SILENCES {
            let why = format!("{SILENCES} checks got no answer: repair these first, or choose others with --only");
            hopeless.get_or_insert(why);
        }
        if let Some(name) = ran.plugin {
            report.name = name;
        }
        let Outcome { status, message } = ran.outcome;
        let row = Row { id: check.id, what: check.what, status, message, rule: check.rule, ms: ran.ms };
        report.summary.add(status);
        if !request.json {
            print::row(&row, width);
        }
        report.checks.push(row);
    }
    if request.json {
        print::json(&report)
    } else {
        print::summary(&report.summary)
    }
    Ok(report.summary.failed == 0)
}

/// Makes paths absolute, as hosts get them, and refuses what is not there.
fn target(request: &Request) -> Result<Target, String> {
    let plugin = request.plugin;
    let backend = if built_in().contains(&plugin) {
        plugin.to_owned()
    } else {
        let path = existing(Path::new(plugin)).map_err(|e| {
            let names = if built_in().is_empty() { "none in this build".to_owned() } else { built_in().join(", ") };
            if is_path(plugin) { e } else { format!("{e}, and no built-in backend has this name (there is: {names})") }
        })?;
        if path.is_dir() {
            return Err(format!("{plugin}: a folder; give the plugin's shared library"));
        }
        utf8(&path)?
    };
    let model = match request.model {
        Some(model) => utf8(&existing(model)?)?,
        None => String::new(),
    };
    if let Some(bad) = request.params.iter().find(|p| p.split_once('=').is_none_or(|(key, _)| key.is_empty())) {
        return Err(format!("--param {bad}: not of the form key=value"));
    }
    let here = std::env::current_dir().map_err(|e| format!("the working folder: {e}"))?;
    let params = request.params.iter().filter_map(|p| p.split_once('='));
    let params = params.map(|(key, value)| format!("{key}={}", path_param(value.to_owned(), &here))).collect();
    Ok(Target { backend, model, params, timeout: request.timeout })
}

fn existing(path: &Path) -> Result<PathBuf, String> {
    std::fs::metadata(path).and_then(|_| absolute(path)).map_err(|e| format!("{}: {e}", path.display()))
}

fn utf8(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("{}: the path is not UTF-8; rename it", path.display()))
}

/// One check, in one process or two.
fn run_check(check: &Check, target: &Target) -> std::io::Result<Ran> {
    let mut ran = runner::run(check, target)?;
    if check.quiet && ran.outcome.status == Status::Success && ran.output.bytes() > 0 {
        let seen = format!("{} bytes were printed: {:?}", ran.output.bytes(), ran.output.first_line());
        ran.outcome = Outcome::warning(seen, "print nothing; write log lines with eb_open_params.log");
    }
    if check.twice && ran.outcome.status == Status::Success {
        let again = runner::run(check, target)?;
        ran.ms += again.ms;
        if again.outcome.status != Status::Success {
            ran.outcome = again.outcome;
        } else if let Some((a, b)) = ran.evidence.iter().zip(&again.evidence).find(|(a, b)| a != b) {
            let seen = format!("another answer in another process: {a} and {b}");
            ran.outcome = Outcome::failed(seen, "initialise all memory; let nothing depend on addresses or time");
        }
    }
    Ok(ran)
}
