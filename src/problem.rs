//! `Problem`: one thing that is wrong in the user's input, and where. It owns the sentence that every
//! error is told in (`file:line: what; what to do`) and must not know who finds problems or prints them.

use std::fmt;
use std::path::{Path, PathBuf};

/// One defect of a job file, dataset or model, found before anything ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file in which it is.
    pub path: PathBuf,
    /// Line, from 1; 0 when it concerns the whole file.
    pub line: u64,
    /// What is wrong: no capital, no full stop.
    pub what: String,
    /// What to do about it; may be empty.
    pub todo: String,
}

impl Problem {
    /// A problem at `path:line` (`line` 0: the whole file).
    pub fn new(path: impl AsRef<Path>, line: u64, what: impl Into<String>, todo: impl Into<String>) -> Problem {
        Problem { path: path.as_ref().to_path_buf(), line, what: what.into(), todo: todo.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}", self.what)?;
        if !self.todo.is_empty() {
            write!(f, "; {}", self.todo)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
