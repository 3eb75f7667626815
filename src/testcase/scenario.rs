//! Scenarios in the sense of MLPerf LoadGen: when records are handed to the backend. `single-stream`: one at
//! a time, the next when the last is answered. It must not know how answers are judged or written.

use crate::job::Task;
use crate::problem::Problem;
use crate::testenv::dataset::{Index, Need, Reader, Record};
use crate::testenv::selection;
use std::ops::ControlFlow;
use std::path::Path;

/// A record with the id and the subject that the results have for it.
pub struct Item<'r> {
    pub record: &'r Record<'r>,
    /// As the dataset gives it, else the line; behind the file's name when the task has several files.
    pub id: String,
    /// As the dataset gives it, else the file's name when the task has several files.
    pub subject: &'r str,
}

impl<'r> Item<'r> {
    /// `record` of a file whose [`stem`] is given, which is one of `several` or the task's only one.
    pub fn new(record: &'r Record<'r>, stem: &'r str, several: bool) -> Item<'r> {
        let id = if several { format!("{stem}:{}", record.id) } else { record.id.to_owned() };
        let subject = if record.subject.is_empty() && several { stem } else { record.subject };
        Item { record, id, subject }
    }
}

/// The file's name without its folder and extension: the subject of its records.
pub fn stem(path: &Path) -> String {
    path.file_stem().map_or(String::new(), |s| s.to_string_lossy().into_owned())
}

/// The records of a task as the check found them: of each file how many, and where.
#[derive(Debug, Default)]
pub struct Records {
    files: Vec<(u64, Index)>,
    total: u64,
}

impl Records {
    /// Of the task's next file.
    pub fn push(&mut self, records: u64, index: Index) {
        self.total += records;
        self.files.push((records, index));
    }

    /// How many of them are asked in a pass.
    pub fn asked(&self, task: &Task) -> u64 {
        selection::count(&task.selection, self.total)
    }
}

/// One pass over the records of `task` that are selected, in the order of its files, until `each` breaks. What is
/// before and between them is not read as far as `records` tells where they are.
pub fn single_stream<B>(
    task: &Task,
    records: &Records,
    need: Need,
    mut each: impl FnMut(&Item) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, Problem> {
    let mut numbers = selection::numbers(&task.selection, records.total).peekable();
    let mut end = 0;
    for (path, (count, index)) in task.datasets.iter().zip(&records.files) {
        let first = end;
        end += count;
        if numbers.peek().is_none_or(|&number| number >= end) {
            continue;
        }
        let stem = stem(path);
        let mut reader = Reader::open(path, need)?;
        while let Some(number) = numbers.next_if(|&number| number < end) {
            reader.go_to(number - first, index)?;
            let Some(record) = reader.next()? else { break };
            if let ControlFlow::Break(value) = each(&Item::new(&record, &stem, task.datasets.len() > 1)) {
                return Ok(ControlFlow::Break(value));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
