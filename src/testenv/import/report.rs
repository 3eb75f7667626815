//! What an import says: the list of kinds, and what was written, left out or not there. It must not know layouts.

use super::output::Output;
use super::{KINDS, Request};
use crate::problem::Problem;
use std::fmt::Write;

/// All kinds: what each is, where it is had, its licence, what SRC holds.
pub fn list() -> String {
    let mut text = String::new();
    for kind in KINDS {
        let _ = writeln!(text, "{:<11} {}", kind.name, kind.what);
        let _ = writeln!(text, "{:<11} from {}", "", kind.from);
        let _ = writeln!(text, "{:<11} licence: {}", "", kind.licence);
        let _ = writeln!(text, "{:<11} SRC: {}", "", kind.layout);
    }
    text += "ianvs-job   a whole job of Ianvs (benchmarkingjob.yaml and what it names) becomes a job.toml\n";
    text + "Nothing is downloaded. Files may be gzip; SRC may be a zip or tar. Parquet: convert it to JSONL first,\n\
            for example duckdb -c \"COPY (FROM 'x.parquet') TO 'x.jsonl'\"."
}

/// What was written, and what a user should know of it.
pub fn report(request: &Request, output: &Output) -> String {
    let kind = request.kind;
    let mut text = String::new();
    for (split, (records, subjects)) in output.splits() {
        let of = match subjects.len() {
            0 => String::new(),
            1 => " of 1 subject".to_owned(),
            n => format!(" of {n} subjects"),
        };
        let _ = writeln!(text, "{}: {split}: {records} records{of}", kind.name);
    }
    let missing = missing(request, output);
    if let Some(first) = missing.first() {
        let n = missing.len();
        let _ = writeln!(text, "{n} subjects are not in SRC ({first}, …); all are had from {}", kind.from);
    }
    for (n, first, what) in [
        (output.duplicates.0, &output.duplicates.1, "had an id that was used before, and got another"),
        (output.lost.0, &output.lost.1, "hold U+FFFD: text was lost in an earlier conversion"),
        (output.skipped, &output.problems.first().cloned(), "were left out"),
    ] {
        if n > 0 {
            let place = first.as_ref().map_or(String::new(), Problem::to_string);
            let _ = writeln!(text, "{n} records {what}; the first: {place}");
        }
    }
    if let Some(file) = output.unanswered.first() {
        let more = match output.unanswered.len() {
            1 => String::new(),
            n => format!(" and {} other files", n - 1),
        };
        let _ = writeln!(text, "{file}{more}: passed over, the answers are not published");
    }
    let (from, n) = kind.examples;
    if n > 0 && !output.splits().contains_key(from) {
        let _ = writeln!(text, "no {from}, from which examples come; it is had from {}", kind.from);
    }
    let _ = write!(text, "licence: {}", kind.licence);
    text
}

/// Subjects of the benchmark that are not there in any split.
fn missing(request: &Request, output: &Output) -> Vec<&'static str> {
    let there: Vec<&str> = output.splits().into_values().flat_map(|(_, subjects)| subjects).collect();
    let mut all: Vec<&str> = request.kind.groups.iter().flat_map(|(_, members)| members.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|subject| !there.contains(subject));
    all
}
