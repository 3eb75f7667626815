//! Reads a whole dataset as fast as the machine does and lists what is wrong in it. It owns the work of the threads
//! and the list of problems, whose length it bounds.
//! It must not know what a record is.
//!
//! The threads take blocks of whole lines from one source behind a lock and parse them outside it; under the lock a
//! block is only read and its lines are counted. So memory is one block a thread, whatever the file's size.

use super::lines::{BLOCK, Block, Lines, split_line};
use super::record::{Parser, too_long};
use super::{Need, document, open, unreadable};
use crate::problem::Problem;
use std::io::Read;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many problems of a file are listed. All are counted.
pub const KEPT: usize = 1000;
/// More threads wait for the disk or the lock.
const MAX_THREADS: usize = 4;

/// What is in a dataset, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Good records.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// The longest line in bytes, without its line end.
    pub longest_line: u64,
    /// The first [`KEPT`] problems, by line.
    pub problems: Vec<Problem>,
    /// How many problems there are.
    pub n_problems: u64,
}

impl Summary {
    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        self.n_problems += 1;
        if self.problems.len() < KEPT {
            self.problems.push(problem());
        }
    }

    fn merge(&mut self, mut other: Summary) {
        self.records += other.records;
        self.bytes += other.bytes;
        self.longest_line = self.longest_line.max(other.longest_line);
        self.n_problems += other.n_problems;
        self.problems.append(&mut other.problems);
    }
}

/// Checks every line of the dataset at `path` against `need`, on as many threads as are useful.
///
/// That the file cannot be read, or has no record, is a problem like others. Two files are not compared: whether the
/// ids of a dataset are unique is not looked at, as memory stays constant.
pub fn check(path: &Path, need: Need) -> Summary {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    check_on(path, need, cores.min(MAX_THREADS))
}

/// [`check`] on at most so many threads; small files take one.
pub fn check_on(path: &Path, need: Need, threads: usize) -> Summary {
    if document::is_one(path, need) {
        return check_document(path);
    }
    let file = match open(path) {
        Ok(file) => file,
        Err(problem) => return Summary { problems: vec![problem], n_problems: 1, ..Summary::default() },
    };
    // A thread is not worth its start for less than a few blocks; of a pipe the size is 0.
    let blocks = file.metadata().map_or(0, |meta| meta.len()) / (4 * BLOCK as u64);
    let threads = threads.clamp(1, usize::try_from(blocks).unwrap_or(usize::MAX).max(1));
    check_source(file, path, need, threads)
}

fn check_document(path: &Path) -> Summary {
    match document::read(path) {
        Ok(text) => Summary { records: 1, bytes: text.len() as u64, ..Summary::default() },
        Err(problem) => Summary { problems: vec![problem], n_problems: 1, ..Summary::default() },
    }
}

/// Checks what `source` gives.
pub(super) fn check_source<R: Read + Send>(source: R, path: &Path, need: Need, threads: usize) -> Summary {
    let lines = Mutex::new(Lines::new(source));
    let mut summary = thread::scope(|scope| {
        // The calling thread is one of them. If another cannot start, there is one less.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, || work(&lines, path, need)).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let mut summary = work(&lines, path, need);
        for other in others {
            match other.join() {
                Ok(part) => summary.merge(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        summary
    });
    summary.bytes = lines.into_inner().unwrap_or_else(PoisonError::into_inner).bytes();
    summary.problems.sort_by_key(|problem| problem.line);
    summary.problems.truncate(KEPT);
    if summary.records == 0 && summary.n_problems == 0 {
        summary.add(|| Problem::new(path, 0, "no records", r#"write one a line: {"question": "…", "answer": "…"}"#));
    }
    summary
}

/// What one thread does: takes blocks until there are none.
fn work<R: Read>(lines: &Mutex<Lines<R>>, path: &Path, need: Need) -> Summary {
    let mut summary = Summary::default();
    let mut parser = Parser::new(need);
    let mut block = Vec::new();
    loop {
        let next = lines.lock().unwrap_or_else(PoisonError::into_inner).next_block(&mut block);
        let mut number = match next {
            Ok(None) => return summary,
            Err(error) => {
                summary.add(|| unreadable(path, &error));
                return summary;
            }
            Ok(Some(Block::TooLong { line, len })) => {
                summary.longest_line = summary.longest_line.max(len);
                summary.add(|| too_long(len).at(path, line));
                continue;
            }
            Ok(Some(Block::Lines { first })) => first,
        };
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let (line, used) = split_line(rest);
            rest = &rest[used..];
            if !line.trim_ascii().is_empty() {
                summary.longest_line = summary.longest_line.max(line.len() as u64);
                match parser.parse(line, number) {
                    Ok(_) => summary.records += 1,
                    Err(defect) => summary.add(|| defect.at(path, number)),
                }
            }
            number += 1;
        }
    }
}
