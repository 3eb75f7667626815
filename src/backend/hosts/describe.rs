//! What `probe` says of hosts: which are inside, which of them start on this board and how, and which of llama.cpp's
//! variants it gets. It must not know how that is printed.

use super::{EMBEDDED, Embedded, LLAMA, PLUGIN, Source, spawn, variant, variants};
use crate::backend::client::how_it_ended;
use crate::backend::loader::OPENAI;
use serde::Serialize;
use std::io;
use std::process::{Command, Stdio};

/// First argument that makes a host say that it has started, by leaving at once.
pub const TRIAL_ARGUMENT: &str = "__trial";

/// The hosts of this program on this board.
#[derive(Debug, Serialize)]
pub struct Description {
    /// One row each; a single one, `this program`, in a build that carries none.
    pub hosts: Vec<HostReport>,
    /// llama.cpp's variant for this processor; `None` where none is inside or none can run.
    pub llama_variant: Option<String>,
    /// Why that one, or why none; empty where none is inside.
    pub llama_reason: String,
    /// Those features of the processor that variants ask for.
    pub cpu_features: Vec<&'static str>,
}

/// One host.
#[derive(Debug, Serialize)]
pub struct HostReport {
    pub name: String,
    /// What can run in it.
    pub serves: String,
    /// Bytes that it takes of this program's file; 0 for the program itself.
    pub bytes: usize,
    pub starts: bool,
    /// How it starts ("from memory"), or why it does not.
    pub how: String,
}

/// Starts each host once that this processor can run.
pub fn describe() -> Description {
    let choice = (!variants().is_empty()).then(|| variant::choose(&variants()));
    let mut hosts: Vec<HostReport> = EMBEDDED.iter().map(|e| report(e, &choice)).collect();
    if hosts.is_empty() {
        let serves = [&["plugins"], &super::built_in()[..]].concat().join(", ");
        hosts.push(row("this program", 0, serves, trial(&Source::Itself)));
    }
    let (llama_variant, llama_reason) = match choice {
        None => (None, String::new()),
        Some(Ok(choice)) => (Some(choice.name), choice.reason),
        Some(Err(why)) => (None, why),
    };
    Description { hosts, llama_variant, llama_reason, cpu_features: variant::features() }
}

fn report(embedded: &'static Embedded, choice: &Option<Result<variant::Choice, String>>) -> HostReport {
    let size = embedded.bytes.len();
    if embedded.name == OPENAI {
        return row(OPENAI, size, OPENAI.to_owned(), trial(&Source::Embedded(embedded)));
    }
    let Some(name) = embedded.name.strip_prefix(LLAMA) else {
        let libc = embedded.name.trim_start_matches(PLUGIN);
        return row(embedded.name, size, format!("plugins for {libc}"), trial(&Source::Embedded(embedded)));
    };
    let ended = match choice {
        Some(Ok(choice)) if choice.name != name => Err("not for this processor".to_owned()),
        _ => trial(&Source::Embedded(embedded)),
    };
    row(embedded.name, size, "llama".to_owned(), ended)
}

fn row(name: &str, bytes: usize, serves: String, trial: Result<String, String>) -> HostReport {
    let (starts, how) = match trial {
        Ok(how) => (true, how),
        Err(why) => (false, why),
    };
    HostReport { name: name.to_owned(), serves, bytes, starts, how }
}

/// Starts a host that leaves at once: how it started, or why it did not.
fn trial(source: &Source) -> Result<String, String> {
    let prepare = |command: &mut Command| -> io::Result<()> {
        command.arg(TRIAL_ARGUMENT).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        Ok(())
    };
    let (child, way) = spawn(source, prepare).map_err(|e| e.to_string())?;
    let out = child.wait_with_output().map_err(|e| e.to_string())?;
    if out.status.success() {
        return Ok(way.to_string());
    }
    let words = String::from_utf8_lossy(&out.stderr);
    let last = words.lines().rfind(|l| !l.trim().is_empty()).unwrap_or_default();
    Err(format!("{}: {last}", how_it_ended("it", out.status)).trim_end_matches(": ").to_owned())
}
