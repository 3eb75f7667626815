//! What an import writes: records into files by split and subject, in a folder that takes its place when all is well.
//! Every line is put before the same check that `edgebench check` makes, so that what is written is sound. It must not
//! know benchmarks.

use super::source::Entry;
use super::text::Row;
use super::{Request, job};
use crate::problem::Problem;
use crate::testenv::dataset::{Ids, KEPT, LineCheck, Need};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// One record of a dataset. Empty fields are not written.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Record<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub id: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub subject: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub context: Cow<'a, str>,
    pub question: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Cow<'a, str>>,
    /// For choices a letter.
    pub answer: Cow<'a, str>,
    /// All answers that are right, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Cow<'a, str>>,
}

/// Split and, where there are subjects, subject.
type Key = (String, Option<String>);

/// A file that is being written.
struct Part {
    out: BufWriter<File>,
    records: u64,
    ids: Ids,
}

/// The folder that is being written, and what was met on the way.
pub struct Output {
    /// Beside the one that is wanted, until it is complete.
    folder: PathBuf,
    parts: BTreeMap<Key, Part>,
    current: Option<(Key, PathBuf)>,
    check: LineCheck,
    choice_check: LineCheck,
    with_choices: u64,
    wanted: Vec<String>,
    /// Of records, the first ones.
    pub problems: Vec<Problem>,
    /// Records with a problem.
    pub skipped: u64,
    /// Files of the benchmark.
    pub files_read: u64,
    /// Files whose answers are not published.
    pub unanswered: Vec<String>,
    /// Records whose id was used before, and the first place.
    pub duplicates: (u64, Option<Problem>),
    /// Records with U+FFFD, where an earlier conversion lost text, and the first place.
    pub lost: (u64, Option<Problem>),
}

impl Output {
    /// Makes the folder, if `request.out` may be written.
    pub fn create(request: &Request) -> Result<Output, Problem> {
        may_write(request)?;
        let mut name = request.out.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".part-{}", std::process::id()));
        let folder = request.out.with_file_name(name);
        fs::create_dir_all(&folder).map_err(|e| cannot_write(&folder, &e))?;
        Ok(Output {
            folder,
            parts: BTreeMap::new(),
            current: None,
            check: LineCheck::new(request.kind.need),
            choice_check: LineCheck::new(Need::Choice),
            with_choices: 0,
            wanted: request.splits.clone(),
            problems: Vec::new(),
            skipped: 0,
            files_read: 0,
            unanswered: Vec::new(),
            duplicates: (0, None),
            lost: (0, None),
        })
    }

    /// Is the split asked for, or, if nothing is, `usual`?
    pub fn wants(&self, split: &str, usual: bool) -> bool {
        if self.wanted.is_empty() { usual } else { self.wanted.iter().any(|w| w == split) }
    }

    /// The records that follow come from `source`, and belong to this split and subject.
    pub fn begin(&mut self, source: &Path, split: &str, subject: Option<&str>) -> Result<(), Problem> {
        let key = (file_name(split), subject.map(file_name));
        if !self.parts.contains_key(&key) {
            let path = self.folder.join(relative(&key));
            let create = || -> io::Result<File> {
                fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
                File::create(&path)
            };
            let file = create().map_err(|e| cannot_write(&path, &e))?;
            self.parts.insert(key.clone(), Part { out: BufWriter::new(file), records: 0, ids: Ids::default() });
        }
        self.current = Some((key, source.to_path_buf()));
        Ok(())
    }

    /// Writes a record that stands on `line` of the source, if it is sound; else notes why not.
    pub fn push(&mut self, line: u64, record: &Record) {
        let Some((key, source)) = &self.current else { return };
        let Some(part) = self.parts.get_mut(key) else { return };
        let mut record = Cow::Borrowed(record);
        if !record.id.is_empty() && part.ids.add(Ids::hash(&record.id), line).is_some() {
            let what = format!("the id \"{}\" was used before", record.id);
            self.duplicates.0 += 1;
            self.duplicates.1.get_or_insert_with(|| Problem::new(source, line, what, ""));
            let id = format!("{}#{}", record.id, part.records + 1);
            part.ids.add(Ids::hash(&id), line);
            record.to_mut().id = id.into();
        }
        let mut text = match serde_json::to_string(&record) {
            Ok(text) => text,
            Err(e) => {
                let problem = Problem::new(source, line, e.to_string(), "");
                return self.problem(problem);
            }
        };
        let choices = !record.choices.is_empty();
        let check = if choices { &mut self.choice_check } else { &mut self.check };
        if let Err(problem) = check.check(text.as_bytes(), source, line) {
            return self.problem(problem);
        }
        if text.contains('\u{fffd}') {
            self.lost.0 += 1;
            let what = "holds U+FFFD: an earlier conversion lost text";
            self.lost.1.get_or_insert_with(|| Problem::new(source, line, what, ""));
        }
        text.push('\n');
        if let Err(e) = part.out.write_all(text.as_bytes()) {
            let problem = cannot_write(&self.folder.join(relative(key)), &e);
            return self.problem(problem);
        }
        part.records += 1;
        self.with_choices += u64::from(choices);
    }

    /// Notes that the answers of a file are not there.
    pub fn unanswered(&mut self, entry: &Entry) {
        self.unanswered.push(entry.shown.display().to_string());
    }

    /// Notes what is wrong with a row.
    pub fn row_problem(&mut self, row: &Row, what: String, todo: &str) {
        let source = self.current.as_ref().map_or(Path::new(""), |(_, source)| source);
        let problem = Problem::new(source, row.line, what, todo);
        self.problem(problem);
    }

    /// Notes that a row has not as many cells as it should.
    pub fn odd_row(&mut self, row: &Row, wanted: usize) {
        let what = format!("{} cells instead of {wanted}", row.cells.len());
        self.row_problem(row, what, "is a quote or comma missing?");
    }

    /// Notes what is wrong with a record, which is left out.
    pub fn problem(&mut self, problem: Problem) {
        self.skipped += 1;
        if self.problems.len() < KEPT {
            self.problems.push(problem);
        }
    }

    pub fn records(&self) -> u64 {
        self.parts.values().map(|part| part.records).sum()
    }

    /// Has every record choices?
    pub fn all_choices(&self) -> bool {
        self.with_choices == self.records()
    }

    /// Every split with its records, and its subjects.
    pub fn splits(&self) -> BTreeMap<&str, (u64, Vec<&str>)> {
        let mut splits: BTreeMap<&str, (u64, Vec<&str>)> = BTreeMap::new();
        for ((split, subject), part) in self.parts.iter().filter(|(_, part)| part.records > 0) {
            let (records, subjects) = splits.entry(split).or_default();
            *records += part.records;
            subjects.extend(subject.as_deref());
        }
        splits
    }

    /// The problems, with a word on those that are not listed.
    pub fn into_problems(mut self) -> Vec<Problem> {
        let mut problems = std::mem::take(&mut self.problems);
        let more = self.skipped - problems.len() as u64;
        if let (Some(last), true) = (problems.last(), more > 0) {
            let what = format!("{more} more problems of this kind");
            problems.push(Problem::new(&last.path, 0, what, "mend the first ones, or leave all out with --skip-bad"));
        }
        problems
    }

    /// Adds job and groups, and puts the folder where it is wanted.
    pub fn finish(mut self, request: &Request) -> Result<(), Problem> {
        self.close()?;
        let out = request.out;
        if is_file_name(out) {
            let key = self.parts.keys().next().filter(|_| self.parts.len() == 1);
            let Some(key) = key else {
                let todo = format!("give a folder, or one of the splits with --split ({})", self.split_names());
                return Err(Problem::new(out, 0, "there is more than one file to write", todo));
            };
            return fs::rename(self.folder.join(relative(key)), out).map_err(|e| cannot_write(out, &e));
        }
        for (name, text) in job::files(request, &self) {
            let path = self.folder.join(name);
            fs::write(&path, text).map_err(|e| cannot_write(&path, &e))?;
        }
        let replace = || -> io::Result<()> {
            if !out.exists() {
                return fs::rename(&self.folder, out);
            }
            let old = self.folder.with_extension("old");
            fs::rename(out, &old)?;
            fs::rename(&self.folder, out)?;
            fs::remove_dir_all(old)
        };
        replace().map_err(|e| cannot_write(out, &e))
    }

    /// Brings all of it to the disk.
    fn close(&mut self) -> Result<(), Problem> {
        for (key, part) in &mut self.parts {
            let path = self.folder.join(relative(key));
            let sync = part.out.flush().and_then(|()| part.out.get_ref().sync_all());
            sync.map_err(|e| cannot_write(&path, &e))?;
            if part.records == 0 {
                fs::remove_file(&path).map_err(|e| cannot_write(&path, &e))?;
            }
        }
        self.parts.retain(|_, part| part.records > 0);
        Ok(())
    }

    fn split_names(&self) -> String {
        self.splits().into_keys().collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder); // it is gone when the import came to its end
    }
}

/// `test.jsonl`, or `test/law.jsonl`.
fn relative((split, subject): &Key) -> PathBuf {
    match subject {
        Some(subject) => Path::new(split).join(format!("{subject}.jsonl")),
        None => PathBuf::from(format!("{split}.jsonl")),
    }
}

/// As a part of a path: a name from inside an archive does not lead out of the folder.
fn file_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_control() || "/\\:*?\"<>|".contains(c) { '_' } else { c }).collect();
    if name.starts_with('.') || name.is_empty() { format!("_{name}") } else { name }
}

/// Is OUT one dataset file?
fn is_file_name(out: &Path) -> bool {
    out.extension().is_some_and(|e| e == "jsonl")
}

/// Refuses to write over anything, or with `force` over anything but an earlier import.
fn may_write(request: &Request) -> Result<(), Problem> {
    let out = request.out;
    let Ok(meta) = fs::symlink_metadata(out) else { return Ok(()) };
    let empty = || fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
    let ours = if is_file_name(out) { meta.is_file() } else { meta.is_dir() && (job::is_ours(out) || empty()) };
    match (request.force, ours) {
        _ if meta.is_dir() && !is_file_name(out) && empty() => Ok(()),
        (true, true) => Ok(()),
        (true, false) => Err(Problem::new(out, 0, "was not made by an import", "remove it yourself, or give another")),
        (false, _) => Err(Problem::new(out, 0, "is there already", "give another, or --force to write it anew")),
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Problem {
    Problem::new(path, 0, format!("cannot be written: {error}"), "check space and permissions")
}
