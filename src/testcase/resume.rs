//! Taking up a run that was cut short: what is complete stays as it is, everything behind it is cut off. It owns the
//! reading of half-written files; it must not know how cases are run.
//!
//! A case is complete when its row is in cases.csv, which is written last. A case that was cut short begins anew: its
//! figures are those of one process that nobody interrupted.

use super::journal::JournalError;
use super::manifest::Manifest;
use super::trace;
use crate::results::{
    CASES, CaseRow, LOAD, MANIFEST, PREDICTIONS, SAMPLES, STEPS, SUBJECTS, SUSTAINED, Status, TELEMETRY, TRACE,
};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Why a run cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    #[error("{}: cannot be resumed: {}; start a new run", folder, .reasons.join("; "))]
    Changed { folder: String, reasons: Vec<String> },
    #[error("{0}")]
    Journal(#[from] JournalError),
}

/// Does `folder` hold a run that has not come to its end?
pub fn is_unfinished(folder: &Path) -> bool {
    manifest(folder).is_ok_and(|m| m.end.is_none())
}

fn manifest(folder: &Path) -> io::Result<Manifest> {
    Ok(serde_json::from_reader(BufReader::new(File::open(folder.join(MANIFEST))?))?)
}

/// Says what is not as it was when the run in `folder` began; gives what the manifest told of it.
pub fn same(folder: &Path, now: &Manifest) -> Result<Manifest, ResumeError> {
    let changed = |reasons| ResumeError::Changed { folder: folder.display().to_string(), reasons };
    let then = manifest(folder).map_err(|e| changed(vec![format!("its {MANIFEST} cannot be read: {e}")]))?;
    let mut reasons = Vec::new();
    if then.edgebench != now.edgebench {
        reasons.push(format!("it was begun by edgebench {}, this is {}", then.edgebench, now.edgebench));
    }
    if then.job_sha256 != now.job_sha256 {
        reasons.push("the job file has changed".to_owned());
    }
    for (what, then, now) in [
        ("model", &then.models, &now.models),
        ("adapter", &then.adapters, &now.adapters),
        ("file", &then.files, &now.files),
        ("dataset", &then.datasets, &now.datasets),
    ] {
        for (path, hash) in now {
            if then.get(path).is_none_or(|h| h.sha256 != hash.sha256) {
                reasons.push(format!("the {what} {path} has changed"));
            }
        }
    }
    let board = |m: &Manifest| (m.board.arch.clone(), m.board.cpu.clone(), m.board.cores, m.board.kernel.clone());
    if board(&then) != board(now) {
        reasons.push("this is another board, or another kernel".to_owned());
    }
    if reasons.is_empty() { Ok(then) } else { Err(changed(reasons)) }
}

/// Cuts off everything that does not belong to a complete case, and gives the rows of those that are.
pub fn cut(folder: &Path) -> Result<Vec<CaseRow>, ResumeError> {
    let rows = complete_cases(&folder.join(CASES))?;
    let done: BTreeSet<&str> = rows.iter().map(|r| r.get("case")).collect();
    for name in [SAMPLES, TELEMETRY, SUSTAINED, SUBJECTS, LOAD, STEPS] {
        let path = folder.join(name);
        if path.exists() {
            let end = csv_end(&path, |case| done.contains(case)).map_err(at(&path))?;
            truncate(&path, end)?;
        }
    }
    let path = folder.join(PREDICTIONS);
    let end = predictions_end(&path, |case| done.contains(case)).map_err(at(&path))?;
    truncate(&path, end)?;
    let path = folder.join(TRACE);
    if path.exists() {
        let kept = trace::kept(&path, |case| done.contains(case)).map_err(at(&path))?;
        truncate(&path, kept.bytes)?;
    }
    Ok(rows)
}

fn at(path: &Path) -> impl Fn(io::Error) -> JournalError {
    let path = path.to_path_buf();
    move |error| JournalError { path: path.clone(), error }
}

fn truncate(path: &Path, length: u64) -> Result<(), JournalError> {
    let cut = || -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    };
    cut().map_err(at(path))
}

/// Rows of complete cases, after the file was cut behind the last of them.
fn complete_cases(path: &Path) -> Result<Vec<CaseRow>, JournalError> {
    let mut rows = Vec::new();
    let end = records(path, |columns, record| {
        let mut row = CaseRow::default();
        for (column, value) in columns.iter().zip(record).filter(|(_, v)| !v.is_empty()) {
            row.set(column, value);
        }
        let complete = row.get("status") != Status::Interrupted.name();
        if complete {
            rows.push(row);
        }
        complete
    })
    .map_err(at(path))?;
    truncate(path, end)?;
    Ok(rows)
}

/// Where the records end whose first field, the case, is wanted.
fn csv_end(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<u64> {
    records(path, |_, record| record.get(0).is_some_and(&wanted))
}

/// Reads whole records as long as `each` wants more; where the last one that it wanted ends. A record is whole when
/// it has every field and its newline.
fn records(path: &Path, mut each: impl FnMut(&csv::StringRecord, &csv::StringRecord) -> bool) -> io::Result<u64> {
    let length = std::fs::metadata(path)?.len();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_path(path)?;
    let (mut columns, mut record) = (csv::StringRecord::new(), csv::StringRecord::new());
    let mut end = 0;
    let whole = |reader: &csv::Reader<File>| reader.position().byte() < length || ends_with_newline(path);
    if !reader.read_record(&mut columns).unwrap_or(false) || !whole(&reader) {
        return Ok(0);
    }
    let header = reader.position().byte();
    end = end.max(header);
    // What cannot be read, UTF-8 cut in the middle included, is the torn end.
    while reader.read_record(&mut record).unwrap_or(false) {
        if record.len() != columns.len() || !whole(&reader) || !each(&columns, &record) {
            break;
        }
        end = reader.position().byte();
    }
    Ok(end)
}

fn ends_with_newline(path: &Path) -> bool {
    use std::os::unix::fs::FileExt;
    let last = || -> io::Result<bool> {
        let file = File::open(path)?;
        let mut byte = [0];
        file.read_exact_at(&mut byte, file.metadata()?.len().saturating_sub(1))?;
        Ok(byte == *b"\n")
    };
    last().unwrap_or(false)
}

/// Where the lines end whose `case` is wanted.
fn predictions_end(path: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<u64> {
    #[derive(serde::Deserialize)]
    struct Line {
        case: String,
    }
    let mut reader = BufReader::new(File::open(path)?);
    let (mut line, mut end) = (Vec::new(), 0);
    loop {
        line.clear();
        let length = reader.read_until(b'\n', &mut line)? as u64;
        let of_done = serde_json::from_slice::<Line>(&line).is_ok_and(|l| wanted(&l.case));
        if length == 0 || !line.ends_with(b"\n") || !of_done {
            return Ok(end);
        }
        end += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: &str = "case,id,status\n";

    fn folder(cases: &str, samples: &str, predictions: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [(CASES, cases), (SAMPLES, samples), (PREDICTIONS, predictions)] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn text(folder: &tempfile::TempDir, name: &str) -> String {
        std::fs::read_to_string(folder.path().join(name)).unwrap()
    }

    proptest! {
        #[test]
        fn whatever_was_torn_off_the_end_the_complete_case_stays(
            cut_samples in 0usize..40, cut_predictions in 0usize..40, cut_cases in 0usize..20,
        ) {
            let done = format!("{HEADER}a/t,\"x\n,\"\"y\",ok\na/t,二,ok\n");
            let more = "b/t,\"q\n1\",ok\nb/t,字,ok\n";
            let predictions = "{\"case\":\"a/t\",\"id\":\"x\"}\n";
            let rest = "{\"case\":\"b/t\",\"id\":\"字\"}\n{\"case\":\"b/t\"}\n";
            let cases = format!("{HEADER}a/t,,ok\n");
            let torn = |text: &str, n: usize| text.as_bytes()[..n.min(text.len())].to_vec();
            let folder = folder(&cases, &done, predictions);
            let append = |name: &str, bytes: Vec<u8>| {
                let mut all = std::fs::read(folder.path().join(name)).unwrap();
                all.extend(bytes);
                std::fs::write(folder.path().join(name), all).unwrap();
            };
            append(SAMPLES, torn(more, cut_samples));
            append(PREDICTIONS, torn(rest, cut_predictions));
            append(CASES, torn("b/t,long-id-here,ok", cut_cases));
            let rows = cut(folder.path()).unwrap();
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!(text(&folder, SAMPLES), done);
            prop_assert_eq!(text(&folder, PREDICTIONS), predictions);
            prop_assert_eq!(text(&folder, CASES), cases);
        }
    }

    #[test]
    fn an_interrupted_case_is_cut_off() {
        let cases = format!("{HEADER}a/t,,ok\nb/t,,interrupted\n");
        let folder =
            folder(&cases, &format!("{HEADER}a/t,1,ok\nb/t,1,ok\n"), "{\"case\":\"a/t\"}\n{\"case\":\"b/t\"}\n");
        assert_eq!(cut(folder.path()).unwrap().len(), 1);
        assert_eq!(text(&folder, CASES), format!("{HEADER}a/t,,ok\n"));
        assert_eq!(text(&folder, SAMPLES), format!("{HEADER}a/t,1,ok\n"));
        assert_eq!(text(&folder, PREDICTIONS), "{\"case\":\"a/t\"}\n");
    }
}
