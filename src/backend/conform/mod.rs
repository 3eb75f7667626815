//! `conform`: does a plugin keep to `edgebench.h`? It owns the table of checks, what a check can say, and the
//! child process in which one check runs. It must not know how results are printed (`crate::conform` does that).
//!
//! One check, one child: a plugin that crashes, hangs or corrupts memory costs the check in which it does so.

mod abort;
mod calls;
pub mod child;
mod collect;
mod extensions;
mod input;
mod lifecycle;
mod logits;
mod lora;
mod raw;
mod resources;
mod score;
mod structs;
mod text;
mod tokens;
mod train;

use super::hosts::EMBEDDED;
use child::Bench;
use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The plugin keeps to the rule.
    Success,
    /// It breaks the rule.
    Failed,
    /// Its process ended in the middle.
    Crashed,
    /// The rule does not apply to it, or could not be tested.
    Skipped,
    /// Allowed, but users will suffer from it.
    Warning,
}

/// What a check has to say when it is not simply a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub status: Status,
    /// What was seen and what to do about it; empty for a success.
    pub message: String,
}

impl Outcome {
    /// The rule is kept.
    pub fn success() -> Outcome {
        Outcome { status: Status::Success, message: String::new() }
    }

    /// The rule is broken: what was `seen`, and what to do.
    pub fn failed(seen: impl Into<String>, todo: &str) -> Outcome {
        Outcome { status: Status::Failed, message: sentence(seen.into(), todo) }
    }

    /// Allowed, but not good.
    pub fn warning(seen: impl Into<String>, todo: &str) -> Outcome {
        Outcome { status: Status::Warning, message: sentence(seen.into(), todo) }
    }

    /// Not tested, and why.
    pub fn skipped(why: impl Into<String>) -> Outcome {
        Outcome { status: Status::Skipped, message: why.into() }
    }
}

fn sentence(seen: String, todo: &str) -> String {
    if todo.is_empty() { seen } else { format!("{seen}; {todo}") }
}

/// `Ok` is a success; the first thing that is wrong ends a check.
pub(crate) type Checked = Result<(), Outcome>;

/// One row of the table of checks.
pub struct Check {
    /// Stable name, for `--only` and for scripts.
    pub id: &'static str,
    /// What it checks, in one line.
    pub what: &'static str,
    /// The header's rule behind it.
    pub rule: &'static str,
    /// Run in two processes, which must report the same evidence.
    pub twice: bool,
    /// Whatever the plugin prints during this check is a warning.
    pub quiet: bool,
    /// `None` in a controller that has hosts inside: they run the checks, and it needs only the names.
    run: Option<fn(&Bench) -> Checked>,
}

impl Check {
    const fn new(id: &'static str, what: &'static str, rule: &'static str, run: fn(&Bench) -> Checked) -> Check {
        let run = if EMBEDDED.is_empty() { Some(run) } else { None };
        Check { id, what, rule, twice: false, quiet: false, run }
    }
}

/// Every check, in the order in which they run: from loading to the finer points.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        lifecycle::CHECKS,
        structs::CHECKS,
        text::CHECKS,
        calls::CHECKS,
        input::CHECKS,
        abort::CHECKS,
        score::CHECKS,
        logits::CHECKS,
        extensions::CHECKS,
        lora::CHECKS,
        train::CHECKS,
        resources::CHECKS,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_unique_and_kebab_case() {
        let mut seen = std::collections::HashSet::new();
        for check in super::checks() {
            assert!(seen.insert(check.id), "{} is there twice", check.id);
            assert!(check.id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", check.id);
            assert!(!check.what.is_empty() && !check.rule.is_empty(), "{}", check.id);
        }
    }
}
