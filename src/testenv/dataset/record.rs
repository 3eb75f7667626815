//! Makes one line a record: which fields have to be there, of which kind, and which choice an answer names. It owns
//! these rules and the words in which a breach of them is told.
//! It must not know of files.

use super::ids::Ids;
use super::lines::MAX_LINE;
use super::{Choices, Need, Record};
use crate::problem::Problem;
use crate::testenv::json_line::{Fields, MAX_CHOICES, Source, Value, scan};
use crate::testenv::json_text::Fault;
use crate::testenv::turn;
use std::fmt::Write;
use std::path::Path;

/// What is wrong with a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Defect {
    pub what: String,
    pub todo: String,
}

impl Defect {
    fn new(what: impl Into<String>, todo: impl Into<String>) -> Defect {
        Defect { what: what.into(), todo: todo.into() }
    }

    /// The problem that this is at a place.
    pub fn at(self, path: &Path, line: u64) -> Problem {
        Problem::new(path, line, self.what, self.todo)
    }
}

impl From<Box<Fault>> for Defect {
    fn from(fault: Box<Fault>) -> Defect {
        Defect::new(format!("not JSON at column {}: {}", fault.at + 1, fault.what), fault.todo)
    }
}

/// The defect of a line of `len` bytes.
pub(super) fn too_long(len: u64) -> Defect {
    let todo = "shorten it or leave fields out: the limit is 1 MiB a line";
    Defect::new(format!("the line has {len} bytes, more than {MAX_LINE}"), todo)
}

/// Parses lines, and keeps the memory that this takes from line to line.
pub(super) struct Parser {
    need: Need,
    /// Strings that had escapes.
    arena: String,
    fields: Fields,
    /// The line number, where it is the id.
    number: heapless::String<20>,
    id_hash: Option<u64>,
}

impl Parser {
    pub fn new(need: Need) -> Parser {
        let (arena, fields, number) = (String::new(), Fields::default(), heapless::String::new());
        Parser { need, arena, fields, number, id_hash: None }
    }

    /// Of the record that was parsed last, the hash of its id, if it has one of its own.
    pub fn id_hash(&self) -> Option<u64> {
        self.id_hash
    }

    /// Makes `line`, the file's line `number`, a record.
    pub fn parse<'a>(&'a mut self, line: &'a [u8], number: u64) -> Result<Record<'a>, Defect> {
        if line.len() > MAX_LINE {
            return Err(too_long(line.len() as u64));
        }
        let Parser { need, arena, fields, number: digits, id_hash } = self;
        let line = scan(line, arena, fields)?;
        let fields: &'a Fields = fields;
        let source = Source { line, arena };

        let question = match (*need, fields.question(), fields.text()) {
            (Need::Lm, Some(_), Some(_)) => {
                let todo = "keep the one that is to be scored";
                return Err(Defect::new(r#""question" and "text" are both there"#, todo));
            }
            (Need::Lm, None, text @ Some(_)) => required("text", text, fields, source)?,
            (_, question, _) => required("question", question, fields, source)?,
        };
        let mut record = Record {
            line: number,
            id: "",
            question,
            context: text_or_empty("context", fields.context(), source)?,
            subject: text_or_empty("subject", fields.subject(), source)?,
            choices: Choices::default(),
            answer: "",
            more_answers: Choices::default(),
            messages: "",
            gold: None,
        };
        record.id = match fields.id() {
            Some(Value::Number(text)) => source.get(text),
            id => text_or_empty("id", id, source)?,
        };
        *id_hash = (!record.id.is_empty()).then(|| Ids::hash(record.id));
        if record.id.is_empty() {
            digits.clear();
            // 20 digits hold every u64.
            let _ = write!(digits, "{number}");
            record.id = digits;
        }
        if *need == Need::Lm {
            return Ok(record);
        }
        record.more_answers = answers(fields, source)?;
        record.messages = messages(fields, source)?;
        record.answer = match (fields.answer(), record.more_answers.get(0)) {
            (None | Some(Value::Null), Some(first)) => first,
            (None | Some(Value::Null), None) => return Err(missing("answer", fields.answer(), fields, line)),
            (Some(Value::Str(text) | Value::Number(text)), _) => source.get(text),
            (Some(Value::True), _) => "true",
            (Some(Value::False), _) => "false",
            (Some(Value::Array), _) => {
                let todo = r#"make it a string, or call it "answers" if any of them is right"#;
                return Err(Defect::new(r#""answer" is an array"#, todo));
            }
            (Some(other), _) => {
                let todo = "make it a string, a number, true or false";
                return Err(Defect::new(format!(r#""answer" is {}"#, other.kind()), todo));
            }
        };
        record.choices = choices(fields, source, *need)?;
        if record.answer.is_empty() && !record.choices.iter().any(str::is_empty) {
            return Err(Defect::new(r#""answer" is empty"#, "give the text that is expected, or remove the line"));
        }
        if !record.choices.is_empty() {
            match named_choice(record.answer, matches!(fields.answer(), Some(Value::Number(_))), record.choices) {
                Ok(gold) => record.gold = Some(gold),
                Err(defect) if *need == Need::Choice => return Err(defect),
                Err(_) => {}
            }
        }
        Ok(record)
    }
}

/// A text that has to be there.
fn required<'a>(name: &str, value: Option<Value>, fields: &Fields, source: Source<'a>) -> Result<&'a str, Defect> {
    if let None | Some(Value::Null) = value {
        return Err(missing(name, value, fields, source.line));
    }
    match text_or_empty(name, value, source)? {
        "" => Err(Defect::new(format!(r#""{name}" is empty"#), "write the text, or remove the line")),
        text => Ok(text),
    }
}

/// A text that may be absent.
fn text_or_empty<'a>(name: &str, value: Option<Value>, source: Source<'a>) -> Result<&'a str, Defect> {
    match value {
        None | Some(Value::Null) => Ok(""),
        Some(Value::Str(text)) => Ok(source.get(text)),
        Some(other) => {
            let todo = if name == "id" { "make it a string or a number" } else { "make it a string" };
            Err(Defect::new(format!(r#""{name}" is {}"#, other.kind()), todo))
        }
    }
}

/// The defect of a field that is not there, with the keys that are: one of them may be it under another name.
fn missing(name: &str, value: Option<Value>, fields: &Fields, line: &str) -> Defect {
    if value.is_some() {
        return Defect::new(format!(r#""{name}" is null"#), "give it a value, or remove the line");
    }
    let keys: Vec<String> = fields.keys.iter().map(|key| quote(Source { line, arena: "" }.get(*key))).collect();
    if keys.is_empty() {
        return Defect::new(format!(r#""{name}" is missing, the line is {{}}"#), "add it, or remove the line");
    }
    let more = if fields.n_keys > keys.len() { ", …" } else { "" };
    let what = format!(r#""{name}" is missing, the line has {}{more}"#, keys.join(", "));
    Defect::new(what, "add it, or rename the key that holds it")
}

/// The answers any of which is right, checked.
fn answers<'a>(fields: &'a Fields, source: Source<'a>) -> Result<Choices<'a>, Defect> {
    match fields.answers_value() {
        None | Some(Value::Null) => return Ok(Choices::default()),
        Some(Value::Array) => {}
        Some(other) => {
            let todo = r#"make it an array of strings: ["…", "…"]"#;
            return Err(Defect::new(format!(r#""answers" is {}"#, other.kind()), todo));
        }
    }
    if let Some((index, kind)) = fields.answers.odd {
        return Err(Defect::new(format!("answer {} is {kind}", index + 1), "make it a string"));
    }
    if fields.answers.n > MAX_CHOICES {
        let what = format!("there are {} answers", fields.answers.n);
        return Err(Defect::new(what, format!("{MAX_CHOICES} is the most")));
    }
    let answers = Choices { texts: &fields.answers.texts, source };
    match answers.iter().position(str::is_empty) {
        Some(index) => {
            let todo = "give the text that is expected, or remove it";
            Err(Defect::new(format!("answer {} is empty", index + 1), todo))
        }
        None => Ok(answers),
    }
}

/// The conversation that the question is, checked.
fn messages<'a>(fields: &Fields, source: Source<'a>) -> Result<&'a str, Defect> {
    let todo = r#"make it [{"role": "user", "content": "…"}], roles system, user and assistant, the last one user"#;
    match fields.messages_value() {
        None | Some(Value::Null) => Ok(""),
        Some(Value::Array) => {
            let text = source.get(fields.messages);
            turn::parse(text).map_err(|e| Defect::new(format!(r#""messages": {e}"#), todo))?;
            Ok(text)
        }
        Some(other) => Err(Defect::new(format!(r#""messages" is {}"#, other.kind()), todo)),
    }
}

/// The choices, checked.
fn choices<'a>(fields: &'a Fields, source: Source<'a>, need: Need) -> Result<Choices<'a>, Defect> {
    match fields.choices_value() {
        None | Some(Value::Null) if need == Need::Choice => {
            return Err(missing("choices", fields.choices_value(), fields, source.line));
        }
        None | Some(Value::Null) => return Ok(Choices::default()),
        Some(Value::Array) => {}
        Some(other) => {
            let todo = r#"make it an array of strings: ["…", "…"]"#;
            return Err(Defect::new(format!(r#""choices" is {}"#, other.kind()), todo));
        }
    }
    if let Some((index, kind)) = fields.choices.odd {
        return Err(Defect::new(format!("choice {} is {kind}", index + 1), "make it a string"));
    }
    match fields.choices.n {
        0 if need == Need::Choice => {
            return Err(Defect::new(r#""choices" is empty"#, "give the options, or remove the line"));
        }
        0..=MAX_CHOICES => {}
        n => return Err(Defect::new(format!("there are {n} choices"), format!("{MAX_CHOICES}, A to Z, is the most"))),
    }
    let choices = Choices { texts: &fields.choices.texts, source };
    match choices.iter().position(str::is_empty) {
        Some(index) if need == Need::Choice => {
            Err(Defect::new(format!("choice {} is empty", letter(index)), "write its text, or remove it"))
        }
        _ => Ok(choices),
    }
}

/// Which choice `answer` names. The text of a choice comes before a letter, a letter before an index (from 0); a JSON
/// number is always an index.
fn named_choice(answer: &str, is_number: bool, choices: Choices) -> Result<usize, Defect> {
    if !is_number {
        let mut same = choices.iter().enumerate().filter(|&(_, choice)| choice == answer).map(|(index, _)| index);
        if let Some(first) = same.next() {
            return match same.next() {
                None => Ok(first),
                Some(second) => {
                    let (both, shown) = ([letter(first), letter(second)], quote(answer));
                    let what = format!(r#""answer" is {shown}, the text of both {} and {}"#, both[0], both[1]);
                    Err(Defect::new(what, "answer with the letter, or make the choices differ"))
                }
            };
        }
    }
    let index = match answer.as_bytes() {
        [c] if c.is_ascii_alphabetic() && !is_number => Some(usize::from(c.to_ascii_uppercase() - b'A')),
        digits if digits.iter().all(u8::is_ascii_digit) => index(answer),
        _ => None,
    };
    match index.filter(|&index| index < choices.len()) {
        Some(index) => Ok(index),
        None => {
            let shown = if is_number { answer.to_string() } else { quote(answer) };
            Err(match choices.len() {
                1 => Defect::new(
                    format!(r#""answer" is {shown}, but there is 1 choice"#),
                    "use A, the index 0, or the text of the choice",
                ),
                n => Defect::new(
                    format!(r#""answer" is {shown}, but there are {n} choices"#),
                    format!("use A to {}, an index from 0 to {}, or the text of a choice", letter(n - 1), n - 1),
                ),
            })
        }
    }
}

/// The index that `digits` are, if it is not far too large. As JSON has it, without leading zeros.
fn index(digits: &str) -> Option<usize> {
    serde_json_core::from_str::<u8>(digits).ok().map(|(index, _)| usize::from(index))
}

/// The letter of a choice.
fn letter(index: usize) -> char {
    char::from(b'A' + index.min(MAX_CHOICES - 1) as u8)
}

/// `text` between quotes, cut to the length of a message, on one line.
fn quote(text: &str) -> String {
    const SHOWN: usize = 40;
    let cut = text.char_indices().nth(SHOWN).map(|(i, _)| i);
    let shown: String =
        text[..cut.unwrap_or(text.len())].chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    format!("\"{shown}{}\"", if cut.is_some() { "…" } else { "" })
}
