//! Anyone's CSV or JSONL: which column is which field is said by `--map`, or by the columns' names. Also the picking of
//! named columns out of a CSV, which benchmarks share.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::{Row, json_lines, rows};
use super::{Kind, Request, letter, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde_json::Value;
use std::borrow::Cow;

pub const CSV: Kind = Kind {
    name: "csv",
    what: "any CSV with a header; --map question=prompt,answer=label,choices=A+B+C+D",
    layout: "a .csv file, or a folder of them: one a subject, folders train, dev, val, test as splits",
    read: read_csv,
    ..JSONL
};

pub const JSONL: Kind = Kind {
    name: "jsonl",
    what: "any JSON Lines; --map question=data.prompt,answer=label,choices=options",
    from: "wherever you have it",
    licence: "that of the data",
    layout: "a .jsonl file, or a folder of them: one a subject, folders train, dev, val, test as splits",
    need: Need::Text,
    ask: &["test", "val", "dev"],
    examples: ("train", 0),
    task: "",
    groups: &[],
    read: read_jsonl,
};

/// Folders and files of these names are splits.
const SPLITS: [&str; 5] = ["test", "dev", "val", "validation", "train"];
/// Fields of a record that a column can be mapped to.
const FIELDS: [&str; 6] = ["id", "subject", "context", "question", "choices", "answer"];

/// Which columns are which field. A field that is not named is looked for under its own name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Map {
    columns: Vec<(&'static str, Vec<String>)>,
}

impl Map {
    /// `question=prompt,answer=label,choices=A+B+C+D`
    pub fn parse(words: &[String]) -> Result<Map, String> {
        let mut map = Map::default();
        for pair in words.iter().flat_map(|w| w.split(',')).filter(|p| !p.trim().is_empty()) {
            let (field, columns) =
                pair.split_once('=').ok_or(format!("--map {pair}: write it like question=prompt"))?;
            let known = FIELDS.iter().find(|f| **f == field.trim());
            let field = known.ok_or(format!("--map {pair}: a record has {}", FIELDS.join(", ")))?;
            let columns: Vec<String> = columns.split('+').map(|c| c.trim().to_owned()).collect();
            if columns.iter().any(String::is_empty) || (columns.len() > 1 && *field != "choices") {
                return Err(format!("--map {pair}: one column, or for choices several: choices=A+B+C+D"));
            }
            if map.columns.iter().any(|(f, _)| f == field) {
                return Err(format!("--map {pair}: {field} is there twice"));
            }
            map.columns.push((field, columns));
        }
        Ok(map)
    }

    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    fn of(&self, field: &str) -> Option<&[String]> {
        self.columns.iter().find(|(f, _)| *f == field).map(|(_, columns)| columns.as_slice())
    }
}

/// Split and subject of one of several files, or of the only one.
fn place(path: &str) -> (&str, Option<&str>) {
    let (folder, stem) = parts(path);
    if !path.contains('/') && !SPLITS.contains(&stem) {
        return ("test", None);
    }
    match (SPLITS.contains(&stem), SPLITS.contains(&folder)) {
        (true, _) => (stem, None),
        (_, true) => (folder, Some(stem)),
        _ => ("test", Some(stem)),
    }
}

/// Begins the part that `entry` belongs to: `false` if nobody asked for it.
fn begin(entry: &Entry, request: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (split, mut subject) = place(&entry.path);
    if !out.wants(split, true) {
        return Ok(false);
    }
    if subject.is_none() && request.source.is_dir() && !SPLITS.contains(&parts(&entry.path).1) {
        subject = Some(parts(&entry.path).1);
    }
    out.begin(&entry.shown, split, subject)?;
    Ok(true)
}

fn read_csv(entry: &mut Entry, request: &Request, out: &mut Output) -> Result<bool, Problem> {
    if !entry.is("csv") || !begin(entry, request, out)? {
        return Ok(false);
    }
    let path = entry.shown.clone();
    let mut header: Option<Result<Header, ()>> = None;
    rows(entry, out, |out, row| match &header {
        None => {
            let found = Header::find(&row.cells, &request.map).map_err(|(what, todo)| {
                out.problem(Problem::new(&path, row.line, what, todo));
            });
            header = Some(found);
        }
        Some(Err(())) => {}
        Some(Ok(header)) if row.cells.len() != header.width => out.odd_row(row, header.width),
        Some(Ok(header)) => {
            let cell = |place: Option<usize>| place.map_or("", |i| row.cells[i]);
            // Rows of a set with questions of different length leave choices empty at the end.
            let mut choices: Vec<Cow<str>> = header.choices.iter().map(|&i| row.cells[i].into()).collect();
            while choices.last().is_some_and(|c| c.is_empty()) {
                choices.pop();
            }
            let record = Record {
                id: cell(header.id).into(),
                subject: cell(header.subject).into(),
                context: cell(header.context).into(),
                question: cell(header.question).into(),
                answer: answer(cell(header.answer), false, &choices, request.index_from).into(),
                choices,
                ..Record::default()
            };
            out.push(row.line, &record);
        }
    })?;
    Ok(true)
}

/// Where the fields stand in a row.
struct Header {
    width: usize,
    id: Option<usize>,
    subject: Option<usize>,
    context: Option<usize>,
    question: Option<usize>,
    answer: Option<usize>,
    choices: Vec<usize>,
}

impl Header {
    /// Finds the columns in the first row; else what is wrong and what to do.
    fn find(cells: &[&str], map: &Map) -> Result<Header, (String, String)> {
        let place = |name: &str| {
            let same = |c: &&str| c.trim() == name;
            cells.iter().position(same).or(cells.iter().position(|c| c.trim().eq_ignore_ascii_case(name)))
        };
        let missing = |what: String| {
            let there: Vec<&str> = cells.iter().map(|c| c.trim()).collect();
            (what, format!("the columns are {}: name it with --map FIELD=COLUMN", there.join(", ")))
        };
        let named = |field: &str| match map.of(field) {
            None => Ok(place(field)),
            Some(columns) => match place(&columns[0]) {
                None => Err(missing(format!("no column is called \"{}\"", columns[0]))),
                found => Ok(found),
            },
        };
        let needed = |field: &str| {
            named(field).and_then(|p| p.ok_or_else(|| missing(format!("no column \"{field}\""))).map(Some))
        };
        let choices = match map.of("choices") {
            Some(columns) => columns
                .iter()
                .map(|c| place(c).ok_or_else(|| missing(format!("no column is called \"{c}\""))))
                .collect::<Result<_, _>>()?,
            // The usual names: A, B, C, … as far as they go.
            None => ('A'..='Z').map_while(|c| cells.iter().position(|cell| cell.trim() == c.to_string())).collect(),
        };
        Ok(Header {
            width: cells.len(),
            id: named("id")?,
            subject: named("subject")?,
            context: named("context")?,
            question: needed("question")?,
            answer: needed("answer")?,
            choices,
        })
    }
}

fn read_jsonl(entry: &mut Entry, request: &Request, out: &mut Output) -> Result<bool, Problem> {
    let jsonl = ["jsonl", "ndjson", "json"].iter().any(|e| entry.is(e));
    if !jsonl || !begin(entry, request, out)? {
        return Ok(false);
    }
    let path = entry.shown.clone();
    json_lines(entry, out, |out, line, value: Value| match record(&value, request) {
        Ok(record) => out.push(line, &record),
        Err((what, todo)) => out.problem(Problem::new(&path, line, what, todo)),
    })?;
    Ok(true)
}

/// The record of one line; else what is wrong and what to do.
fn record<'v>(value: &'v Value, request: &Request) -> Result<Record<'v>, (String, String)> {
    let Value::Object(object) = value else {
        return Err(("not an object".to_owned(), "write one object a line: jq -c '.[]'".to_owned()));
    };
    let find = |name: &str| object.get(name).or_else(|| name.split('.').try_fold(value, |v, key| v.get(key)));
    let missing = |name: &str| {
        let there: Vec<&str> = object.keys().map(String::as_str).collect();
        let todo = format!("the line has {}: name it with --map FIELD=KEY", there.join(", "));
        (format!("\"{name}\" is missing"), todo)
    };
    let get = |field: &str| match request.map.of(field) {
        None => Ok(find(field)),
        Some(keys) => find(&keys[0]).map(Some).ok_or_else(|| missing(&keys[0])),
    };
    let text = |field: &str| -> Result<_, (String, String)> { Ok(get(field)?.map_or(Cow::Borrowed(""), as_text)) };
    let choices: Vec<Cow<str>> = match request.map.of("choices") {
        Some(keys) if keys.len() > 1 => {
            keys.iter().map(|k| find(k).map(as_text).ok_or_else(|| missing(k))).collect::<Result<_, _>>()?
        }
        _ => match get("choices")? {
            Some(Value::Array(items)) => items.iter().map(as_text).collect(),
            None | Some(Value::Null) => Vec::new(),
            Some(_) => {
                let todo = "name the keys that hold them: --map choices=A+B+C+D";
                return Err(("the choices are no array".to_owned(), todo.to_owned()));
            }
        },
    };
    let question = get("question")?.map(as_text).ok_or_else(|| missing("question"))?;
    let given = get("answer")?.ok_or_else(|| missing("answer"))?;
    Ok(Record {
        id: text("id")?,
        subject: text("subject")?,
        context: text("context")?,
        question,
        answer: answer(&as_text(given), given.is_number(), &choices, request.index_from).into(),
        choices,
        ..Record::default()
    })
}

/// A scalar as text; anything else as JSON.
fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        Value::Null => "".into(),
        other => other.to_string().into(),
    }
}

/// An answer that is an index becomes a letter; a number in a text is an index if no choice has that text.
fn answer(given: &str, is_number: bool, choices: &[Cow<str>], index_from: usize) -> String {
    let is_index = !choices.is_empty() && (is_number || !choices.iter().any(|c| c == given));
    let index = given.trim().parse::<usize>().ok().and_then(|i| i.checked_sub(index_from));
    match index.filter(|&i| is_index && i < choices.len()) {
        Some(index) => letter(index),
        None => given.to_owned(),
    }
}

/// Columns of a benchmark's CSV, picked by the names in its header.
pub struct Columns<const N: usize> {
    names: [&'static str; N],
    places: Option<Option<([usize; N], usize)>>,
}

impl<const N: usize> Columns<N> {
    pub fn new(names: [&'static str; N]) -> Columns<N> {
        Columns { names, places: None }
    }

    /// The cells of a row in the order of the names; nothing for the header, and for a row that is not as wide.
    pub fn pick<'r>(&mut self, out: &mut Output, row: &Row<'r>) -> Option<[&'r str; N]> {
        let Some(places) = self.places else {
            let place = |name: &str| row.cells.iter().position(|cell| cell.trim() == name);
            let missing = self.names.iter().find(|name| place(name).is_none());
            if let Some(name) = missing {
                let what = format!("no column \"{name}\" in the header {}", row.cells.join(","));
                out.row_problem(row, what, "is it the file as it was published?");
            }
            let places = self.names.map(|name| place(name).unwrap_or_default());
            self.places = Some(missing.is_none().then_some((places, row.cells.len())));
            return None;
        };
        let (places, width) = places?;
        if row.cells.len() != width {
            out.odd_row(row, width);
            return None;
        }
        Some(places.map(|i| row.cells[i]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Result<Map, String> {
        Map::parse(&[text.to_owned()])
    }

    #[test]
    fn a_map_names_columns_by_field() {
        let found = map("question=prompt, answer=label,choices=A+B").unwrap();
        assert_eq!(found.of("question"), Some(&["prompt".to_owned()][..]));
        assert_eq!(found.of("choices").unwrap().len(), 2);
        for bad in ["question", "q=prompt", "question=", "question=a+b", "id=a,id=b"] {
            assert!(map(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_index_becomes_a_letter_unless_it_is_a_choice() {
        let choices: Vec<Cow<str>> = ["0", "1", "x"].map(Into::into).to_vec();
        assert_eq!(answer("2", false, &choices, 0), "C");
        assert_eq!(answer("1", false, &choices, 0), "1", "the text of a choice");
        assert_eq!(answer("1", true, &choices, 0), "B", "a JSON number is an index");
        assert_eq!(answer("3", true, &choices, 1), "C");
        assert_eq!(answer("9", true, &choices, 0), "9", "the check tells that it is none");
        assert_eq!(answer("7", true, &[], 0), "7");
    }
}
