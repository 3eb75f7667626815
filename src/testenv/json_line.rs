//! One line of JSON taken apart into the fields of a record, in one strict pass. It owns the names of the fields and
//! the syntax around strings and literals, and must not know what a field has to hold, nor of files.
//! A line is accepted exactly if serde_json accepts it as an object and no known key is there twice.
//!
//! Why this is not left to serde-json-core, which reads the scalars (see `dataset::record`): it goes over every byte
//! one by one and then again for UTF-8, which with the checks that it lacks came to about half the speed of this
//! file; and it is laxer than RFC 8259 (literals, escapes and control characters in ignored fields are not looked
//! at, `[,1 2]` is an array, nesting overflows the stack) as well as stricter (surrogate pairs).

use super::json_text::{Fault, Literal, literal, string_end, unescape};
use std::ops::Range;

/// The most choices that a record may have: the letters A to Z.
pub const MAX_CHOICES: usize = 26;
/// Objects and arrays may be inside one another this deep, as in serde_json.
pub const MAX_DEPTH: u32 = 127;
/// How many of a line's keys are kept for messages.
const MAX_KEYS: usize = 16;

/// A string that was read: where it is, in one word, so that results travel in registers. (Through memory they stall
/// the processor, into which went nearly a third of the time on short lines.)
#[derive(Debug, Clone, Copy, Default)]
pub struct Text(u64);

impl Text {
    /// The highest bit tells that it had escapes, and is in the arena; else it is in the line.
    const IN_ARENA: u64 = 1 << 63;

    pub fn in_line(range: Range<usize>) -> Text {
        // Both ends fit: no line is longer than a mebibyte.
        Text(((range.start as u64) << 32) | range.end as u64)
    }

    fn in_arena(range: Range<usize>) -> Text {
        Text(Text::in_line(range).0 | Text::IN_ARENA)
    }

    fn is_in_arena(self) -> bool {
        self.0 & Text::IN_ARENA != 0
    }

    fn range(self) -> Range<usize> {
        let (from, to) = ((self.0 & !Text::IN_ARENA) >> 32, self.0 & u64::from(u32::MAX));
        from as usize..to as usize
    }
}

/// Where the texts of a scanned line are.
#[derive(Debug, Clone, Copy, Default)]
pub struct Source<'a> {
    /// The line.
    pub line: &'a str,
    /// What [`scan`] put into the arena.
    pub arena: &'a str,
}

impl<'a> Source<'a> {
    /// The string itself.
    pub fn get(self, text: Text) -> &'a str {
        let source = if text.is_in_arena() { self.arena } else { self.line };
        source.get(text.range()).unwrap_or_default()
    }
}

/// The value of a field.
#[derive(Debug, Clone, Copy)]
pub enum Value {
    /// A string.
    Str(Text),
    /// A number, as written.
    Number(Text),
    /// `true`.
    True,
    /// `false`.
    False,
    /// `null`.
    Null,
    /// An array; those of `choices` and `answers` are in [`Fields`].
    Array,
    /// An object.
    Object,
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Str(_) => "a string",
            Value::Number(_) => "a number",
            Value::True | Value::False => "a boolean",
            Value::Null => "null",
            Value::Array => "an array",
            Value::Object => "an object",
        }
    }
}

/// The fields that records have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Question,
    Text,
    Context,
    Subject,
    Id,
    Answer,
    Answers,
    Choices,
    Messages,
    Other,
}

impl Key {
    fn of(name: &str) -> Key {
        match name {
            "question" => Key::Question,
            "text" => Key::Text,
            "context" => Key::Context,
            "subject" => Key::Subject,
            "id" => Key::Id,
            "answer" => Key::Answer,
            "answers" => Key::Answers,
            "choices" => Key::Choices,
            "messages" => Key::Messages,
            _ => Key::Other,
        }
    }
}

/// The strings of an array.
#[derive(Debug, Default)]
pub struct Strings {
    /// In order, up to [`MAX_CHOICES`].
    pub texts: heapless::Vec<Text, MAX_CHOICES>,
    /// How many elements the array has.
    pub n: usize,
    /// The first element that is no string: its index and what it is.
    pub odd: Option<(usize, &'static str)>,
}

impl Strings {
    fn clear(&mut self) {
        self.texts.clear();
        self.n = 0;
        self.odd = None;
    }

    fn push(&mut self, value: Value) {
        match value {
            Value::Str(text) => drop(self.texts.push(text)), // too many: told by `n`
            _ => drop(self.odd.get_or_insert((self.n, value.kind()))),
        }
        self.n += 1;
    }
}

/// What [`scan`] found in a line. A field that is not there is `None`.
#[derive(Debug, Default)]
pub struct Fields {
    /// By the order of `Key`.
    values: [Option<Value>; Key::Other as usize],
    pub choices: Strings,
    pub answers: Strings,
    /// The array of `messages`, as written.
    pub messages: Text,
    /// The first keys of the line, as written, to be told in messages; none of them is in the arena.
    pub keys: heapless::Vec<Text, MAX_KEYS>,
    /// How many keys the line has.
    pub n_keys: usize,
}

impl Fields {
    /// Makes it as new, but keeps its place: it is too large to be made anew for each line.
    fn clear(&mut self) {
        self.values = [None; Key::Other as usize];
        self.choices.clear();
        self.answers.clear();
        self.messages = Text::default();
        self.keys.clear();
        self.n_keys = 0;
    }

    /// `question`
    pub fn question(&self) -> Option<Value> {
        self.values[Key::Question as usize]
    }
    /// `text`
    pub fn text(&self) -> Option<Value> {
        self.values[Key::Text as usize]
    }
    /// `context`
    pub fn context(&self) -> Option<Value> {
        self.values[Key::Context as usize]
    }
    /// `subject`
    pub fn subject(&self) -> Option<Value> {
        self.values[Key::Subject as usize]
    }
    /// `id`
    pub fn id(&self) -> Option<Value> {
        self.values[Key::Id as usize]
    }
    /// `answer`
    pub fn answer(&self) -> Option<Value> {
        self.values[Key::Answer as usize]
    }
    /// `answers`: the value, which should be an array; its elements are in the field `answers`.
    pub fn answers_value(&self) -> Option<Value> {
        self.values[Key::Answers as usize]
    }
    /// `messages`: the value, which should be an array; its text is in the field `messages`.
    pub fn messages_value(&self) -> Option<Value> {
        self.values[Key::Messages as usize]
    }
    /// `choices`: the value, which should be an array; its elements are in the field `choices`.
    pub fn choices_value(&self) -> Option<Value> {
        self.values[Key::Choices as usize]
    }
}

/// Reads one line, which must be one JSON object, and checks all of it, ignored fields too. `arena` takes the
/// strings that have escapes. What `arena` and `fields` held before is lost; that they are kept from line to line
/// only saves memory. Gives the line as text.
///
/// # Errors
/// The first place where the line is not JSON, not an object, or has one of the known keys twice.
pub fn scan<'l>(line: &'l [u8], arena: &mut String, fields: &mut Fields) -> Result<&'l str, Box<Fault>> {
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(bad) => return Err(Fault::new(bad.valid_up_to(), "not UTF-8", "save the file as UTF-8")),
    };
    arena.clear();
    fields.clear();
    let mut scan = Scan { text, line, at: 0, arena, fields };
    match scan.peek() {
        Some(b'{') => scan.object(1)?,
        Some(b'[') => return Err(scan.fault("an array, not an object", "write one object a line: jq -c '.[]'")),
        _ if text[scan.at..].starts_with('\u{feff}') => {
            return Err(scan.fault("a byte order mark inside the file", "remove these three bytes"));
        }
        _ => return Err(scan.fault("not an object", r#"write one object a line: {"question": …}"#)),
    }
    match scan.peek() {
        None => Ok(text),
        Some(_) => Err(scan.fault("more text after the object", "write one object a line")),
    }
}

struct Scan<'l, 's> {
    /// The line, and the same as bytes.
    text: &'l str,
    line: &'l [u8],
    /// Offset of the next byte.
    at: usize,
    arena: &'s mut String,
    fields: &'s mut Fields,
}

impl Scan<'_, '_> {
    /// The next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        let mut at = self.at;
        let found = loop {
            match self.line.get(at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => at += 1,
                other => break other.copied(),
            }
        };
        self.at = at;
        found
    }

    fn get(&self, text: Text) -> &str {
        Source { line: self.text, arena: self.arena }.get(text)
    }

    #[cold]
    fn fault(&self, what: &'static str, todo: &'static str) -> Box<Fault> {
        Fault::new(self.at, what, todo)
    }

    /// The fault of a byte that is not the `wanted` one, or of the line's end.
    #[cold]
    fn expected(&self, wanted: &'static str) -> Box<Fault> {
        match self.line.get(self.at) {
            None => self.fault("the line ends too early", "a record must be on one line, with all its brackets closed"),
            Some(_) => self.fault(wanted, ""),
        }
    }

    /// The cursor is at `{`.
    fn object(&mut self, depth: u32) -> Result<(), Box<Fault>> {
        self.enter(depth)?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            match self.peek() {
                Some(b'"') => {}
                Some(b'}') => return Err(self.fault("a comma before }", "remove it")),
                _ => return Err(self.expected("expected a key between double quotes")),
            }
            let start = self.at;
            let text = self.string()?;
            let raw = Text::in_line(start + 1..self.at - 1);
            let key = if depth == 1 { Key::of(self.get(text)) } else { Key::Other };
            self.forget(text);
            if self.peek() != Some(b':') {
                return Err(self.expected("expected : after a key"));
            }
            self.at += 1;
            let value = self.value(key, depth + 1)?;
            if depth == 1 {
                self.keep(key, raw, value, start)?;
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return Err(self.expected("expected , or }")),
            }
        }
        self.at += 1;
        Ok(())
    }

    /// The cursor is at `[`. The strings in it are kept if it is that of `choices` or `answers`.
    fn array(&mut self, key: Key, depth: u32) -> Result<(), Box<Fault>> {
        self.enter(depth)?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        let inner = if depth == 2 && matches!(key, Key::Choices | Key::Answers) { key } else { Key::Other };
        loop {
            let value = self.value(inner, depth + 1)?;
            match inner {
                Key::Choices => self.fields.choices.push(value),
                Key::Answers => self.fields.answers.push(value),
                _ => {}
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return Err(self.expected("expected , or ]")),
            }
            if self.peek() == Some(b']') {
                return Err(self.fault("a comma before ]", "remove it"));
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Goes past the bracket that opens an object or array.
    fn enter(&mut self, depth: u32) -> Result<(), Box<Fault>> {
        if depth > MAX_DEPTH {
            let what = format!("nested deeper than {MAX_DEPTH} levels");
            return Err(Fault::new(self.at, what, "leave that field out"));
        }
        self.at += 1;
        Ok(())
    }

    /// Any value: that of the record's field `key`, or, with `Key::Other`, one that is only checked.
    fn value(&mut self, key: Key, depth: u32) -> Result<Value, Box<Fault>> {
        match self.peek() {
            Some(b'"') => {
                let text = self.string()?;
                if key == Key::Other {
                    self.forget(text);
                }
                Ok(Value::Str(text))
            }
            Some(b'{') => self.object(depth).map(|()| Value::Object),
            Some(b'[') => {
                let start = self.at;
                self.array(key, depth)?;
                if key == Key::Messages {
                    self.fields.messages = Text::in_line(start..self.at);
                }
                Ok(Value::Array)
            }
            Some(_) => self.literal(),
            None => Err(self.expected("")),
        }
    }

    /// The cursor is at the quote that opens a string.
    #[inline]
    fn string(&mut self) -> Result<Text, Box<Fault>> {
        let start = self.at + 1;
        let (end, escapes) = string_end(self.line, start)?;
        self.at = end + 1;
        if escapes { self.unescape(start..end) } else { Ok(Text::in_line(start..end)) }
    }

    #[inline(never)]
    fn unescape(&mut self, raw: Range<usize>) -> Result<Text, Box<Fault>> {
        let from = self.arena.len();
        unescape(&self.text[raw.clone()], raw.start, self.arena)?;
        Ok(Text::in_arena(from..self.arena.len()))
    }

    /// Gives back the place of the string that was read last, if it is not wanted.
    #[inline]
    fn forget(&mut self, text: Text) {
        if text.is_in_arena() {
            self.arena.truncate(text.range().start);
        }
    }

    /// The cursor is at the first byte of what is neither a string nor a container.
    fn literal(&mut self) -> Result<Value, Box<Fault>> {
        let rest = &self.text[self.at..];
        let is_end = |b| matches!(b, b',' | b'}' | b']' | b':' | b'"' | b' ' | b'\t' | b'\n' | b'\r');
        let token = &rest[..rest.bytes().position(is_end).unwrap_or(rest.len())];
        let value = match literal(token.as_bytes()) {
            Some(Literal::Number) => Value::Number(Text::in_line(self.at..self.at + token.len())),
            Some(Literal::True) => Value::True,
            Some(Literal::False) => Value::False,
            Some(Literal::Null) => Value::Null,
            None if token.is_empty() => return Err(self.expected("expected a value")),
            None => {
                let told: String = token.escape_debug().take(20).collect();
                let what = format!("{told} is not a JSON value");
                return Err(Fault::new(self.at, what, "put text between double quotes"));
            }
        };
        self.at += token.len();
        Ok(value)
    }

    /// Stores a field of the record, whose key starts at `start`.
    fn keep(&mut self, key: Key, raw: Text, value: Value, start: usize) -> Result<(), Box<Fault>> {
        self.fields.n_keys += 1;
        let _ = self.fields.keys.push(raw); // the first ones are enough
        match self.fields.values.get_mut(key as usize) {
            Some(Some(_)) => {
                Err(Fault::new(start, format!("the key \"{}\" is there twice", self.get(raw)), "remove one of them"))
            }
            Some(place) => {
                *place = Some(value);
                Ok(())
            }
            None => Ok(()), // `Key::Other`
        }
    }
}
