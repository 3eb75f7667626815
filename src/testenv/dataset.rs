//! Datasets: JSON Lines files, read as a stream of records in constant memory. It owns what a record is and what
//! makes one usable (`Need`), and must not know how a question is put or an answer judged.
//! Its parts: `lines` cuts a file into lines, `record` makes a line a record, `check` reads a whole file at once.
//!
//! A record is `{"question", "answer"}` and, optionally, `id`, `choices`, `subject`, `context`, `answers`, `messages`; other
//! fields are ignored, but have to be JSON. Text is UTF-8, with or without a byte order mark; lines end in LF or CRLF; blank
//! lines are skipped. Where only text is needed, a `.txt` file is one record.
//!
//! A line is accepted exactly if serde_json accepts it: `json_line` finds its fields in one strict pass, as `check`
//! has to go over gigabytes; serde-json-core reads the indices among the answers; heapless holds what a record has
//! several of. Nothing is allocated per record once the buffers have grown to the longest line.

mod check;
mod document;
mod ids;
mod index;
mod kept;
mod lines;
mod record;
#[cfg(test)]
mod tests;

pub use super::json_line::MAX_CHOICES;
pub use check::{KEPT, Summary, check, check_on};
pub use ids::Ids;
pub use index::Index;
pub use kept::Kept;
pub use lines::MAX_LINE;

use super::json_line::{Source, Text};
#[cfg(doc)]
use super::turn;
use crate::problem::Problem;
use lines::{Block, Lines, split_line};
use record::Parser;
use std::fmt;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What a method asks of its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Need {
    /// `choices`, and an `answer` that names one of them.
    Choice,
    /// An `answer`. If there are `choices` too and the answer names one of them, [`Record::gold`] tells which.
    Text,
    /// Only the text: `question`, or `text`, which is the same. Answers and choices are not looked at.
    Lm,
}

/// The options of a record, A first.
#[derive(Clone, Copy, Default)]
pub struct Choices<'a> {
    texts: &'a [Text],
    /// The line and the arena in which the texts are.
    source: Source<'a>,
}

impl<'a> Choices<'a> {
    /// How many there are, at most [`MAX_CHOICES`].
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// Whether the record has none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The text of the choice `index`, from 0.
    pub fn get(&self, index: usize) -> Option<&'a str> {
        self.texts.get(index).map(|&text| self.source.get(text))
    }

    /// The texts in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'a str> + use<'a> {
        let source = self.source;
        self.texts.iter().map(move |&text| source.get(text))
    }
}

impl PartialEq for Choices<'_> {
    fn eq(&self, other: &Choices<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Choices<'_> {}

impl fmt::Debug for Choices<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// One line of a dataset; it borrows from the reader. Fields that are absent or `null` are empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Line number in the file, from 1.
    pub line: u64,
    /// The given `id`, or the line number as text.
    pub id: &'a str,
    /// The question, never empty.
    pub question: &'a str,
    /// A text that the question is about.
    pub context: &'a str,
    /// The subject, by which results may be grouped.
    pub subject: &'a str,
    /// The options; never empty for [`Need::Choice`].
    pub choices: Choices<'a>,
    /// The answer as written in the file: a text, a letter, a number (`12.50` stays `12.50`), `true` or `false`.
    pub answer: &'a str,
    /// `answers`, any of which is right, too; without an `answer` the first of them is that.
    pub more_answers: Choices<'a>,
    /// `messages`, the question as a conversation: a JSON array that [`turn::parse`] takes; empty if there is none.
    pub messages: &'a str,
    /// Which of `choices` the answer names, from 0; always there for [`Need::Choice`].
    pub gold: Option<usize>,
}

impl<'a> Record<'a> {
    /// Every text that is right, the one of `answer` first.
    pub fn answers(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let (answer, more) = (self.answer, self.more_answers);
        [answer].into_iter().chain(more.iter().filter(move |other| *other != answer))
    }
}

/// A file that is one record, if it is.
enum Document {
    None,
    Whole(String),
    HandedOut(String),
}

/// Reads the records of a dataset one after the other.
pub struct Reader<R> {
    path: PathBuf,
    lines: Lines<R>,
    parser: Parser,
    block: Vec<u8>,
    /// The part of `block` that is not read yet.
    rest: Range<usize>,
    /// Number of the first line in `rest`.
    line: u64,
    /// Lines that are not blank and were gone past.
    passed: u64,
    document: Document,
}

impl Reader<File> {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// The file cannot be opened. What is wrong in it is told by [`Reader::next`].
    pub fn open(path: &Path, need: Need) -> Result<Reader<File>, Problem> {
        let mut reader = Reader::new(open(path)?, path, need);
        if document::is_one(path, need) {
            let text = document::read(path)?;
            reader.document = Document::Whole(text);
        }
        Ok(reader)
    }

    /// Goes forward to `record`, from 0, of a file whose check gave `index`: by a seek if that saves reading, and past
    /// the lines before it, which are not parsed. It must not be behind the reader.
    pub fn go_to(&mut self, record: u64, index: &Index) -> Result<(), Problem> {
        if let Some(place) = index.before(record).filter(|place| place.record > self.passed) {
            self.lines.seek(place.offset, place.line).map_err(|e| unreadable(&self.path, &e))?;
            self.rest = 0..0;
            self.passed = place.record;
        }
        while self.passed < record && self.next_line()?.is_some() {}
        Ok(())
    }
}

impl<R: Read> Reader<R> {
    /// Reads from `source`; `path` is only told in problems.
    pub fn new(source: R, path: &Path, need: Need) -> Reader<R> {
        Reader {
            path: path.to_path_buf(),
            lines: Lines::new(source),
            parser: Parser::new(need),
            block: Vec::new(),
            rest: 0..0,
            line: 1,
            passed: 0,
            document: Document::None,
        }
    }

    /// The next record, or `None` after the last. Not the `next` of [`Iterator`], as a record borrows from the reader.
    ///
    /// # Errors
    /// A line that is no record, or not the record that is needed. The next call goes on with the line after it.
    /// After a failure to read there is nothing more.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, Problem> {
        match std::mem::replace(&mut self.document, Document::None) {
            Document::None => {}
            Document::Whole(text) => {
                self.document = Document::HandedOut(text);
                let Document::HandedOut(text) = &self.document else { return Ok(None) };
                return Ok(Some(document::record(text)));
            }
            handed_out => {
                self.document = handed_out;
                return Ok(None);
            }
        }
        let Some((line, number)) = self.next_line()? else { return Ok(None) };
        let record = self.parser.parse(&self.block[line], number);
        record.map(Some).map_err(|defect| defect.at(&self.path, number))
    }

    /// The next line that is not blank: where it is in the block, and its number.
    fn next_line(&mut self) -> Result<Option<(Range<usize>, u64)>, Problem> {
        loop {
            if self.rest.is_empty() {
                match self.lines.next_block(&mut self.block) {
                    Err(error) => return Err(unreadable(&self.path, &error)),
                    Ok(None) => return Ok(None),
                    Ok(Some(Block::TooLong { line, len })) => {
                        return Err(record::too_long(len).at(&self.path, line));
                    }
                    Ok(Some(Block::Lines { first, .. })) => {
                        self.rest = 0..self.block.len();
                        self.line = first;
                    }
                }
            }
            let (line, used) = split_line(&self.block[self.rest.clone()]);
            let line = self.rest.start..self.rest.start + line.len();
            let number = self.line;
            self.rest.start += used;
            self.line += 1;
            if !self.block[line.clone()].trim_ascii().is_empty() {
                self.passed += 1;
                return Ok(Some((line, number)));
            }
        }
    }
}

/// Says of single lines whether they are the records that are needed.
pub struct LineCheck(Parser);

impl LineCheck {
    pub fn new(need: Need) -> LineCheck {
        LineCheck(Parser::new(need))
    }

    /// Checks a line without its end; the problem is at `path` and `number`, wherever the line comes from.
    pub fn check(&mut self, line: &[u8], path: &Path, number: u64) -> Result<(), Problem> {
        self.0.parse(line, number).map(|_| ()).map_err(|defect| defect.at(path, number))
    }
}

/// Opens a dataset, to be read from front to back.
fn open(path: &Path) -> Result<File, Problem> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    // Only a hint, and pipes take none: it may fail.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Sequential);
    Ok(file)
}

/// The problem of a file that could not be opened or read.
fn unreadable(path: &Path, error: &std::io::Error) -> Problem {
    match error.kind() {
        ErrorKind::NotFound => Problem::new(path, 0, "no such file", "check the path of the dataset"),
        ErrorKind::PermissionDenied => Problem::new(path, 0, "may not be read", "chmod +r it"),
        ErrorKind::IsADirectory => Problem::new(path, 0, "is a directory", "name a .jsonl file"),
        _ => Problem::new(path, 0, format!("cannot be read: {error}"), ""),
    }
}
