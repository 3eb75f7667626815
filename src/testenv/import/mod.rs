//! `edgebench import`: published benchmarks, as they are handed out, become datasets and a job that asks them. It owns
//! the list of kinds and the order of the work, and must not know how a dataset is run. Nothing is downloaded.
//!
//! `source` opens folders and archives, `text` reads CSV and JSON out of them, `output` writes records, `job` the job
//! file; each other file is one benchmark: where it is had, its licence, its layout. `ianvs_job` imports a whole job.

mod arc;
mod bbh;
mod boolq;
mod ceval;
mod cmmlu;
mod gsm8k;
mod hellaswag;
mod ianvs;
pub mod ianvs_job;
mod job;
mod mmlu;
mod output;
mod report;
mod source;
mod squad;
mod table;
mod text;
mod truthfulqa;
mod winogrande;

pub use report::list;

use super::dataset::Need;
use crate::problem::Problem;
use output::Output;
use source::Entry;
use std::path::{Path, PathBuf};
pub use table::Map;

/// A benchmark's published layout.
pub struct Kind {
    /// Its word on the command line, and the task's name.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// Where the data is had.
    pub from: &'static str,
    pub licence: &'static str,
    /// Which files SRC holds.
    pub layout: &'static str,
    /// What its records have to have.
    pub need: Need,
    /// Splits that are asked, the first that is there; none: the first of all.
    pub ask: &'static [&'static str],
    /// The split from which examples come, and how many are usual; empty: none.
    pub examples: (&'static str, usize),
    /// Further lines of the `[[task]]`.
    pub task: &'static str,
    /// Groups of subjects as published. If there are any, they name all subjects.
    pub groups: Groups,
    /// Reads a file of SRC, if it is one of the benchmark's: `false` if not.
    read: fn(&mut Entry, &Request, &mut Output) -> Result<bool, Problem>,
}

/// Groups and their subjects.
pub type Groups = &'static [(&'static str, &'static [&'static str])];

/// All of them, in the order in which they are listed.
pub const KINDS: &[&Kind] = &[
    &mmlu::KIND,
    &cmmlu::KIND,
    &ceval::KIND,
    &gsm8k::KIND,
    &hellaswag::KIND,
    &arc::KIND,
    &truthfulqa::KIND,
    &boolq::KIND,
    &winogrande::KIND,
    &bbh::KIND,
    &squad::KIND,
    &ianvs::KIND,
    &table::CSV,
    &table::JSONL,
];

/// What is to be imported.
pub struct Request<'a> {
    pub kind: &'a Kind,
    pub source: &'a Path,
    /// A folder, or, for one file without subjects, a file that ends in `.jsonl`.
    pub out: &'a Path,
    /// Splits that are wanted; empty: those that are usual.
    pub splits: Vec<String>,
    /// Which column is which field (`csv` and `jsonl`).
    pub map: Map,
    /// The number of the first choice, where answers are numbers (`csv` and `jsonl`).
    pub index_from: usize,
    /// Take the place of what an earlier import wrote to `out`.
    pub force: bool,
    /// Leave records out that cannot be used, instead of refusing all.
    pub skip_bad: bool,
}

/// The kind called `name`; the error is a sentence with the names that there are.
pub fn kind(name: &str) -> Result<&'static Kind, String> {
    KINDS.iter().find(|kind| kind.name == name).copied().ok_or_else(|| {
        let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
        format!("import {name}: there is {}", names.join(", "))
    })
}

/// Imports, and tells what was written and what was not there.
///
/// # Errors
/// All problems of the source. `request.out` is then as it was.
pub fn run(request: &Request) -> Result<String, Vec<Problem>> {
    let one = |problem| vec![problem];
    let mut output = Output::create(request).map_err(one)?;
    source::walk(request.source, &mut |entry| {
        if (request.kind.read)(entry, request, &mut output)? {
            output.files_read += 1;
        }
        Ok(())
    })
    .map_err(one)?;
    if !output.problems.is_empty() && !request.skip_bad {
        return Err(output.into_problems());
    }
    if output.records() == 0 {
        return Err(vec![nothing(request, &output)]);
    }
    let report = report::report(request, &output);
    output.finish(request).map_err(one)?;
    Ok(report)
}

/// The problem of a source without a record.
fn nothing(request: &Request, output: &Output) -> Problem {
    let kind = request.kind;
    let what = match output.unanswered.first() {
        Some(file) => format!("the answers of {file} are not published"),
        None if output.files_read > 0 && !request.splits.is_empty() => {
            format!("no records of the split {}", request.splits.join(", "))
        }
        None if output.skipped > 0 => "no usable record".to_owned(),
        None => format!("no files of {}", kind.name),
    };
    Problem::new(request.source, 0, what, format!("give {}; it is had from {}", kind.layout, kind.from))
}

/// The last folder of a path inside SRC, and the name without extension: `test`, `law_test`.
fn parts(path: &str) -> (&str, &str) {
    let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = folder.rsplit('/').next().unwrap_or(folder);
    (folder, file.rsplit_once('.').map_or(file, |(stem, _)| stem))
}

/// The letter of an option, for answers.
fn letter(index: usize) -> String {
    super::prompt::letter(index).to_string()
}

/// A path for people.
fn shown(path: &Path, inner: &str) -> PathBuf {
    if inner.is_empty() { path.to_path_buf() } else { path.join(inner) }
}
