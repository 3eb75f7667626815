//! Scenarios in the sense of MLPerf LoadGen: when records are handed to the backend. `single-stream`: one at
//! a time, the next when the last is answered. It must not know how answers are judged or written.

use crate::job::Task;
use crate::problem::Problem;
use crate::testenv::dataset::{Need, Reader, Record};
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

/// One pass over the records of `task`, in the order of its files, until `each` breaks.
pub fn single_stream<B>(
    task: &Task,
    need: Need,
    mut each: impl FnMut(&Item) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, Problem> {
    let mut left = task.limit.unwrap_or(u64::MAX);
    for path in &task.datasets {
        let stem = stem(path);
        let mut reader = Reader::open(path, need)?;
        while left > 0 {
            let Some(record) = reader.next()? else { break };
            left -= 1;
            if let ControlFlow::Break(value) = each(&Item::new(&record, &stem, task.datasets.len() > 1)) {
                return Ok(ControlFlow::Break(value));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}
