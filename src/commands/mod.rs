//! Commands with their arguments, one file each, and what they share: exit codes and complaints.

pub mod bench;
pub mod check;
pub mod compare;
pub mod conform;
pub mod history;
pub mod import;
pub mod probe;
pub mod quantize;
pub mod rank;
pub mod report;
pub mod run;
pub mod tune;
pub mod variants;
pub mod version;
pub mod watch;

use edgebench::problem::Problem;
use edgebench::results::write_whole;
use std::path::Path;

/// Done; for `compare`: no regression.
pub(crate) const OK: u8 = 0;
/// A case failed.
pub(crate) const FAILED: u8 = 1;
/// Bad usage or input: nothing ran.
pub(crate) const REFUSED: u8 = 2;
/// The machine refused: folder in use, disk full, permission.
pub(crate) const MACHINE: u8 = 3;

/// The value that goes with a word of the command line.
pub(crate) fn word<T: Copy>(option: &str, text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    found.ok_or_else(|| format!("{option} {text}: there is {}", known.join(", ")))
}

/// Writes the file that `--prom` names, if it does. Says why when it cannot.
pub(crate) fn write_prom(path: Option<&Path>, figures: impl FnOnce() -> Result<String, String>) -> bool {
    let Some(path) = path else { return true };
    let write = |text: String| write_whole(path, text.as_bytes()).map_err(|e| format!("{}: {e}", path.display()));
    figures().and_then(write).map_err(|e| eprintln!("edgebench: {e}")).is_ok()
}

/// Prints every problem; the exit code that goes with it.
pub(crate) fn complain(problems: &[Problem], done: &str) -> u8 {
    for problem in problems {
        eprintln!("{problem}");
    }
    let s = if problems.len() == 1 { "" } else { "s" };
    eprintln!("edgebench: {} problem{s}, nothing was {done}", problems.len());
    REFUSED
}
