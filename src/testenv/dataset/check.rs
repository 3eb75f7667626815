//! Reads a whole dataset as fast as the machine does and lists what is wrong in it. It owns the work of the threads
//! and the list of problems, whose length it bounds.
//! It must not know what a record is.
//!
//! The threads take blocks of whole lines from one source behind a lock and parse them outside it; under the lock a
//! block is only read and its lines are counted. So memory is one block a thread, whatever the file's size.

use super::ids::Ids;
use super::index::{Blocks, Index};
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
    /// Where the records are.
    pub index: Index,
    /// SHA-256 of the file, if it was to be hashed.
    pub hash: Option<[u8; 32]>,
    /// Not all ids could be compared: there are too many of them.
    pub ids_sampled: bool,
}

impl Summary {
    fn add(&mut self, problem: impl FnOnce() -> Problem) {
        self.n_problems += 1;
        if self.problems.len() < KEPT {
            self.problems.push(problem());
        }
    }

    /// Adds a problem for each id that is there again.
    fn add_repeated(&mut self, path: &Path, ids: Seen) {
        for (hash, first, line) in ids.repeated {
            let what = format!("the id is that of line {}, too", ids.ids.first(hash).unwrap_or(first));
            self.add(|| Problem::new(path, line, what, "give each record its own id, or leave ids out"));
        }
        self.n_problems += ids.more;
        self.ids_sampled = !ids.ids.is_complete();
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
/// That the file cannot be read, or has no record, is a problem like others, and so is an id that two records have.
/// With `hash` the same reading gives the file's hash.
pub fn check(path: &Path, need: Need, hash: bool) -> Summary {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    check_on(path, need, cores.min(MAX_THREADS), hash)
}

/// [`check`] on at most so many threads; small files take one.
pub fn check_on(path: &Path, need: Need, threads: usize, hash: bool) -> Summary {
    if document::is_one(path, need) {
        return check_document(path);
    }
    let file = match open(path) {
        Ok(file) => file,
        Err(problem) => return Summary { problems: vec![problem], n_problems: 1, ..Summary::default() },
    };
    // A thread is not worth its start for less than a few blocks; of a pipe the size is 0.
    let length = file.metadata().map_or(0, |meta| meta.len());
    let blocks = length / (4 * BLOCK as u64);
    let threads = threads.clamp(1, usize::try_from(blocks).unwrap_or(usize::MAX).max(1));
    let lines = if hash { Lines::hashed(file) } else { Lines::new(file) };
    check_lines(lines, length, path, need, threads)
}

fn check_document(path: &Path) -> Summary {
    match document::read(path) {
        Ok(text) => Summary { records: 1, bytes: text.len() as u64, ..Summary::default() },
        Err(problem) => Summary { problems: vec![problem], n_problems: 1, ..Summary::default() },
    }
}

/// Checks what `source` gives.
#[cfg(test)]
pub(super) fn check_source<R: Read + Send>(source: R, path: &Path, need: Need, threads: usize) -> Summary {
    check_lines(Lines::new(source), 0, path, need, threads)
}

/// Checks lines of a file of `length` bytes, if that is known.
fn check_lines<R: Read + Send>(lines: Lines<R>, length: u64, path: &Path, need: Need, threads: usize) -> Summary {
    let lines = Mutex::new(lines);
    let seen = Mutex::new(Seen::default());
    let (mut summary, blocks) = thread::scope(|scope| {
        let work = || work(&lines, &seen, Blocks::new(length, BLOCK as u64), path, need);
        // The calling thread is one of them. If another cannot start, there is one less.
        let spawn = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
        let others: Vec<_> = (1..threads).filter_map(spawn).collect();
        let (mut summary, mut blocks) = work();
        for other in others {
            match other.join() {
                Ok((part, its_blocks)) => {
                    summary.merge(part);
                    blocks.merge(its_blocks);
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        (summary, blocks)
    });
    let lines = lines.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.bytes = lines.bytes();
    summary.hash = lines.hash();
    summary.index = blocks.finish();
    summary.add_repeated(path, seen.into_inner().unwrap_or_else(PoisonError::into_inner));
    summary.problems.sort_by_key(|problem| problem.line);
    summary.problems.truncate(KEPT);
    if summary.records == 0 && summary.n_problems == 0 {
        summary.add(|| Problem::new(path, 0, "no records", r#"write one a line: {"question": "…", "answer": "…"}"#));
    }
    summary
}

/// Ids of all threads, and those that were there again: hash, first line, line.
#[derive(Default)]
struct Seen {
    ids: Ids,
    repeated: Vec<(u64, u64, u64)>,
    /// Those that are not listed.
    more: u64,
}

impl Seen {
    fn add(&mut self, ids: &[(u64, u64)]) {
        for &(hash, line) in ids {
            match self.ids.add(hash, line) {
                Some((first, again)) if self.repeated.len() < KEPT => self.repeated.push((hash, first, again)),
                Some(_) => self.more += 1,
                None => {}
            }
        }
    }
}

/// What one thread does: takes blocks until there are none.
fn work<R: Read>(
    lines: &Mutex<Lines<R>>,
    seen: &Mutex<Seen>,
    mut blocks: Blocks,
    path: &Path,
    need: Need,
) -> (Summary, Blocks) {
    let mut summary = Summary::default();
    let mut parser = Parser::new(need);
    let mut block = Vec::new();
    // Of one block: hash and line.
    let mut ids = Vec::new();
    loop {
        let next = lines.lock().unwrap_or_else(PoisonError::into_inner).next_block(&mut block);
        let (first, offset) = match next {
            Ok(None) => return (summary, blocks),
            Err(error) => {
                summary.add(|| unreadable(path, &error));
                return (summary, blocks);
            }
            Ok(Some(Block::TooLong { line, len })) => {
                summary.longest_line = summary.longest_line.max(len);
                summary.add(|| too_long(len).at(path, line));
                continue;
            }
            Ok(Some(Block::Lines { first, offset })) => (first, offset),
        };
        let (mut number, records) = (first, summary.records);
        let mut rest = block.as_slice();
        while !rest.is_empty() {
            let (line, used) = split_line(rest);
            rest = &rest[used..];
            if !line.trim_ascii().is_empty() {
                summary.longest_line = summary.longest_line.max(line.len() as u64);
                match parser.parse(line, number) {
                    Ok(_) => {
                        summary.records += 1;
                        ids.extend(parser.id_hash().map(|hash| (hash, number)));
                    }
                    Err(defect) => summary.add(|| defect.at(path, number)),
                }
            }
            number += 1;
        }
        blocks.add(offset, first, summary.records - records);
        if !ids.is_empty() {
            seen.lock().unwrap_or_else(PoisonError::into_inner).add(&ids);
            ids.clear();
        }
    }
}
