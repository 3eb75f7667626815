//! Reads the texts that benchmarks are published in: CSV, one JSON object a line, one long JSON array. It owns
//! encodings and line numbers; what is wrong in one record is noted, and reading goes on. It must not know benchmarks.

use super::output::Output;
use super::source::{Entry, failed};
use crate::problem::Problem;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::io::{self, BufRead, Read};
use std::marker::PhantomData;
use std::path::Path;

/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 64 << 20;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A row of a CSV file, and the line on which it begins.
pub struct Row<'a> {
    pub line: u64,
    pub cells: Vec<&'a str>,
}

/// Calls `each` with every row, the header too. Cells may hold commas, quotes and line ends, if they are quoted.
pub fn rows(entry: &mut Entry, out: &mut Output, mut each: impl FnMut(&mut Output, &Row)) -> Result<(), Problem> {
    skip_mark(entry)?;
    let path = entry.shown.clone();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(&mut entry.input);
    let mut record = csv::ByteRecord::new();
    loop {
        match reader.read_byte_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(e) => {
                return match e.into_kind() {
                    csv::ErrorKind::Io(e) => Err(failed(&path, &e)),
                    other => Err(Problem::new(&path, 0, format!("cannot be read: {other:?}"), "")),
                };
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let mut cells = Vec::with_capacity(record.len());
        for (i, cell) in record.iter().enumerate() {
            match std::str::from_utf8(cell) {
                Ok(text) => cells.push(text),
                Err(e) => {
                    // Line ends in the cells before it, and in this one up to the place.
                    let before = record.iter().take(i).chain([&cell[..e.valid_up_to()]]);
                    let lines: usize = before.map(|c| c.iter().filter(|&&b| b == b'\n').count()).sum();
                    out.problem(not_utf8(&path, line + lines as u64, &cell[e.valid_up_to()..]));
                    break;
                }
            }
        }
        if cells.len() == record.len() {
            each(out, &Row { line, cells });
        }
    }
}

/// Calls `each` with every line that is not blank, and its number.
pub fn json_lines<T: DeserializeOwned>(
    entry: &mut Entry,
    out: &mut Output,
    mut each: impl FnMut(&mut Output, u64, T),
) -> Result<(), Problem> {
    skip_mark(entry)?;
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = (&mut *entry.input).take(MAX_LINE).read_until(b'\n', &mut line);
        let length = read.map_err(|e| failed(&entry.shown, &e))? as u64;
        if length == MAX_LINE && line.last() != Some(&b'\n') {
            let what = format!("the line has more than {} MiB", MAX_LINE >> 20);
            return Err(Problem::new(&entry.shown, number, what, "give JSON Lines: one object a line"));
        }
        match std::str::from_utf8(&line) {
            _ if length == 0 => break,
            Err(e) => out.problem(not_utf8(&entry.shown, number, &line[e.valid_up_to()..])),
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => match serde_json::from_str(text) {
                Ok(value) => each(out, number, value),
                Err(e) => out.problem(not_json(&entry.shown, number, &e)),
            },
        }
    }
    Ok(())
}

/// Calls `each` with every element of the array that the file is, or that is the value of `key` in the object that it
/// is; and with the line on which the element ends. The array is not held in memory.
pub fn json_array<T: DeserializeOwned>(
    entry: &mut Entry,
    out: &mut Output,
    key: Option<&'static str>,
    mut each: impl FnMut(&mut Output, u64, T),
) -> Result<(), Problem> {
    skip_mark(entry)?;
    let line = Cell::new(1);
    let mut json = serde_json::Deserializer::from_reader(LineCounter { input: &mut *entry.input, line: &line });
    let mut each = |element| each(out, line.get(), element);
    let elements = Elements { key, each: &mut each, element: PhantomData::<T> };
    let read = elements.deserialize(&mut json).and_then(|()| json.end());
    read.map_err(|e| match e.io_error_kind() {
        Some(_) => failed(&entry.shown, &e.into()),
        None => not_json(&entry.shown, e.line() as u64, &e),
    })
}

/// All of a text file.
pub fn whole(entry: &mut Entry) -> Result<String, Problem> {
    skip_mark(entry)?;
    let mut bytes = Vec::new();
    (&mut *entry.input).take(MAX_LINE).read_to_end(&mut bytes).map_err(|e| failed(&entry.shown, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let (good, bad) = e.as_bytes().split_at(e.utf8_error().valid_up_to());
        not_utf8(&entry.shown, 1 + good.iter().filter(|&&b| b == b'\n').count() as u64, bad)
    })
}

/// Goes past a byte order mark; that of UTF-16 is a problem.
fn skip_mark(entry: &mut Entry) -> Result<(), Problem> {
    let start = entry.input.fill_buf().map_err(|e| failed(&entry.shown, &e))?;
    if start.starts_with(BOM) {
        entry.input.consume(BOM.len());
    } else if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
        return Err(Problem::new(&entry.shown, 1, "UTF-16, not UTF-8", "convert it: iconv -f UTF-16 -t UTF-8"));
    }
    Ok(())
}

/// `bad` begins with what is not UTF-8.
fn not_utf8(path: &Path, line: u64, bad: &[u8]) -> Problem {
    // Two bytes of GBK: the first 81 to FE, the second 40 to FE but not 7F.
    let gbk = bad.len() >= 2 && (0x81..=0xfe).contains(&bad[0]) && (0x40..=0xfe).contains(&bad[1]) && bad[1] != 0x7f;
    let (what, todo) = match gbk {
        true => ("not UTF-8; it looks like GBK", "convert it: iconv -f GB18030 -t UTF-8"),
        false => ("not UTF-8", "convert it: iconv -f ENCODING -t UTF-8"),
    };
    Problem::new(path, line, what, todo)
}

fn not_json(path: &Path, line: u64, error: &serde_json::Error) -> Problem {
    let told = error.to_string();
    let what = told.rsplit_once(" at line ").map_or(told.as_str(), |(what, _)| what);
    Problem::new(path, line, format!("{what} (column {})", error.column()), "is it the file as it was published?")
}

/// Counts the line ends that go through. serde_json takes byte by byte.
struct LineCounter<'a> {
    input: &'a mut dyn BufRead,
    line: &'a Cell<u64>,
}

impl Read for LineCounter<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        let ends = buffer[..n].iter().filter(|&&b| b == b'\n').count();
        self.line.set(self.line.get() + ends as u64);
        Ok(n)
    }
}

/// An array whose elements are handed on one by one.
struct Elements<'f, T, F> {
    key: Option<&'static str>,
    each: &'f mut F,
    element: PhantomData<T>,
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> DeserializeSeed<'de> for Elements<'_, T, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        if self.key.is_some() { json.deserialize_map(self) } else { json.deserialize_seq(self) }
    }
}

impl<'de, T: DeserializeOwned, F: FnMut(T)> Visitor<'de> for Elements<'_, T, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.key {
            Some(key) => write!(f, "an object with the array \"{key}\""),
            None => f.write_str("an array"),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element()? {
            (self.each)(element);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut object: A) -> Result<(), A::Error> {
        let wanted = self.key.take();
        let mut found = false;
        while let Some(key) = object.next_key::<String>()? {
            if Some(key.as_str()) == wanted {
                found = true;
                object.next_value_seed(Elements { key: None, each: &mut *self.each, element: PhantomData::<T> })?;
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        let missing = || serde::de::Error::missing_field(wanted.unwrap_or_default());
        if found { Ok(()) } else { Err(missing()) }
    }
}
