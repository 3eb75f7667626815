//! Properties over random lines: what is read, and what is refused, is what serde_json reads and refuses.

use super::super::check::check_source;
use super::super::{MAX_LINE, Need, Reader};
use crate::testenv::json_line::{Fields, MAX_CHOICES, Source, Value, scan};
use proptest::prelude::*;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

const KNOWN: [&str; 8] = ["question", "text", "context", "subject", "id", "answer", "answers", "choices"];

/// A JSON value; numbers as written.
#[derive(Debug, Clone)]
enum Json {
    Literal(String),
    Str(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn text() -> impl Strategy<Value = String> {
    let nasty =
        prop::sample::select(vec!['"', '\\', '/', '\n', '\0', '\u{1f}', '\u{7f}', 'é', '中', '😀', '\u{ffff}', 'u']);
    prop_oneof![
        "[ -~]{0,40}",
        any::<String>(),
        prop::collection::vec(prop_oneof![nasty, any::<char>()], 0..20).prop_map(|chars| chars.into_iter().collect()),
    ]
}

fn number() -> impl Strategy<Value = String> {
    // Small enough for an f64, so that serde_json takes it.
    "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?"
}

fn scalar() -> impl Strategy<Value = Json> {
    prop_oneof![
        prop::sample::select(vec!["null", "true", "false"]).prop_map(|word| Json::Literal(word.to_string())),
        number().prop_map(Json::Literal),
        text().prop_map(Json::Str),
    ]
}

fn json() -> impl Strategy<Value = Json> {
    scalar().prop_recursive(5, 30, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::vec((text(), inner), 0..6).prop_map(Json::Object),
        ]
    })
}

/// The fields of a record, with others between them, in any order.
fn record() -> impl Strategy<Value = Vec<(String, Json)>> {
    let maybe = |name: &'static str, value: BoxedStrategy<Json>| {
        prop::option::of(value).prop_map(move |value| value.map(|value| (name.to_string(), value)))
    };
    let id = prop_oneof![text().prop_map(Json::Str), number().prop_map(Json::Literal)];
    let choices = prop::collection::vec(text().prop_map(Json::Str), 0..=MAX_CHOICES).prop_map(Json::Array);
    let answers = prop::collection::vec(".{1,20}".prop_map(Json::Str), 0..4).prop_map(Json::Array);
    let other = prop::collection::vec((text(), json()), 0..5);
    (
        ".{1,60}".prop_map(|text| ("question".to_string(), Json::Str(text))),
        scalar().prop_map(|value| ("answer".to_string(), value)),
        maybe("id", id.boxed()),
        maybe("choices", choices.boxed()),
        maybe("answers", answers.boxed()),
        maybe("subject", text().prop_map(Json::Str).boxed()),
        maybe("context", text().prop_map(Json::Str).boxed()),
        other,
    )
        .prop_map(|(question, answer, id, choices, answers, subject, context, other)| {
            let mut fields = vec![question, answer];
            fields.extend([id, choices, answers, subject, context].into_iter().flatten());
            fields.extend(other.into_iter().filter(|(key, _)| !KNOWN.contains(&key.as_str())));
            fields
        })
        .prop_shuffle()
}

/// A small generator of its own, for the ways of writing the same value.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

fn write_space(dice: &mut Dice, out: &mut String) {
    while dice.roll(4) == 0 {
        out.push([' ', '\t', '\r'][dice.roll(3) as usize]);
    }
}

fn write_string(text: &str, dice: &mut Dice, out: &mut String) {
    let style = dice.roll(3); // 0: as plain as possible, 1: mixed, 2: all escaped
    out.push('"');
    for c in text.chars() {
        let short = r#""\/bfnrt"#.chars().zip("\"\\/\u{8}\u{c}\n\r\t".chars()).find(|(_, meant)| *meant == c);
        let must = c < ' ' || c == '"' || c == '\\';
        let escape = must || style == 2 || (style == 1 && dice.roll(3) == 0);
        match short {
            _ if !escape => out.push(c),
            Some((letter, _)) if dice.roll(2) == 0 => out.extend(['\\', letter]),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let hex = format!("{unit:04x}");
                    out.push_str("\\u");
                    out.extend(hex.chars().map(|c| if dice.roll(2) == 0 { c.to_ascii_uppercase() } else { c }));
                }
            }
        }
    }
    out.push('"');
}

fn write_json(json: &Json, dice: &mut Dice, out: &mut String) {
    write_space(dice, out);
    match json {
        Json::Literal(word) => out.push_str(word),
        Json::Str(text) => write_string(text, dice, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_json(item, dice, out);
            }
            write_space(dice, out);
            out.push(']');
        }
        Json::Object(items) => {
            out.push('{');
            for (i, (key, item)) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_space(dice, out);
                write_string(key, dice, out);
                write_space(dice, out);
                out.push(':');
                write_json(item, dice, out);
            }
            write_space(dice, out);
            out.push('}');
        }
    }
    write_space(dice, out);
}

fn write_line(fields: &[(String, Json)], seed: u64) -> String {
    let mut line = String::new();
    write_json(&Json::Object(fields.to_vec()), &mut Dice(seed), &mut line);
    line
}

/// The keys of an object, repeated ones too.
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Keys, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Keys;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, IgnoredAny)) = map.next_entry()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        json.deserialize_map(Collect)
    }
}

/// What serde_json says to a line: `None` if it refuses it. `Err` if it cannot tell, as a number is too large for it.
fn reference(line: &[u8]) -> Result<Option<serde_json::Map<String, serde_json::Value>>, ()> {
    match serde_json::from_slice::<serde_json::Value>(line) {
        Err(error) if error.to_string().starts_with("number out of range") => Err(()),
        Ok(serde_json::Value::Object(map)) => {
            let Keys(keys) = serde_json::from_slice(line).map_err(|_| ())?;
            let mut seen = HashSet::new();
            let twice = keys.iter().any(|key| KNOWN.contains(&key.as_str()) && !seen.insert(key));
            Ok((!twice).then_some(map))
        }
        _ => Ok(None),
    }
}

/// Compares `scan` with serde_json, on a line that may be anything.
fn compare(line: &[u8]) -> Result<(), TestCaseError> {
    let Ok(expected) = reference(line) else { return Ok(()) };
    let (mut arena, mut fields) = (String::new(), Fields::default());
    let shown = String::from_utf8_lossy(line);
    let scanned = scan(line, &mut arena, &mut fields);
    let Some(expected) = expected else {
        prop_assert!(scanned.is_err(), "serde_json refuses {shown:?}");
        prop_assert!(scanned.is_err_and(|fault| fault.at <= line.len()));
        return Ok(());
    };
    prop_assert!(scanned.is_ok(), "{scanned:?} for {shown:?}");
    let source = Source { line: scanned.unwrap_or_default(), arena: &arena };
    let found = [
        fields.question(),
        fields.text(),
        fields.context(),
        fields.subject(),
        fields.id(),
        fields.answer(),
        fields.answers_value(),
        fields.choices_value(),
    ];
    for (name, found) in KNOWN.into_iter().zip(found) {
        let same = match (expected.get(name), found) {
            (None, None) => true,
            (Some(serde_json::Value::String(text)), Some(Value::Str(found))) => text == source.get(found),
            (Some(number @ serde_json::Value::Number(_)), Some(Value::Number(found))) => {
                serde_json::from_str::<serde_json::Value>(source.get(found)).is_ok_and(|found| found == *number)
            }
            (Some(serde_json::Value::Bool(true)), Some(Value::True)) => true,
            (Some(serde_json::Value::Bool(false)), Some(Value::False)) => true,
            (Some(serde_json::Value::Null), Some(Value::Null)) => true,
            (Some(serde_json::Value::Array(_)), Some(Value::Array)) => true,
            (Some(serde_json::Value::Object(_)), Some(Value::Object)) => true,
            _ => false,
        };
        prop_assert!(same, "{name} of {shown:?} is {found:?}");
    }
    for (name, found) in [("choices", &fields.choices), ("answers", &fields.answers)] {
        if let Some(serde_json::Value::Array(strings)) = expected.get(name) {
            prop_assert_eq!(strings.len(), found.n);
            let texts = strings.iter().filter_map(|text| text.as_str()).take(MAX_CHOICES);
            prop_assert!(texts.eq(found.texts.iter().map(|text| source.get(*text))));
            prop_assert_eq!(strings.iter().position(|text| !text.is_string()), found.odd.map(|(i, _)| i));
        }
    }
    Ok(())
}

/// A source that gives its bytes in pieces of random length.
struct Pieces<'a> {
    rest: &'a [u8],
    dice: Dice,
    longest: u64,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let len = (1 + self.dice.roll(self.longest) as usize).min(out.len()).min(self.rest.len());
        out[..len].copy_from_slice(&self.rest[..len]);
        self.rest = &self.rest[len..];
        Ok(len)
    }
}

/// All that a reader gives, as text.
fn read_all(source: impl Read, need: Need) -> Vec<String> {
    let mut reader = Reader::new(source, Path::new("d"), need);
    let mut all = Vec::new();
    loop {
        match reader.next() {
            Ok(None) => return all,
            Ok(Some(record)) => all.push(format!("{} {} {}", record.line, record.id, record.question.len())),
            Err(problem) => all.push(format!("{} {}", problem.line, problem.what)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    #[test]
    fn a_line_is_read_as_serde_json_reads_it(fields in record(), seed: u64) {
        let line = write_line(&fields, seed);
        prop_assert!(matches!(reference(line.as_bytes()), Ok(Some(_))), "{line}");
        compare(line.as_bytes())?;
        // What was written is what is read; numbers to the letter.
        let mut reader = Reader::new(line.as_bytes(), Path::new("d"), Need::Text);
        let given = |name: &str| match fields.iter().find(|(key, _)| key == name).map(|(_, value)| value) {
            Some(Json::Str(text) | Json::Literal(text)) if text != "null" => text.clone(),
            _ => String::new(),
        };
        match reader.next() {
            Ok(Some(record)) => {
                prop_assert_eq!(record.question, given("question"));
                let (answer, first) = (given("answer"), record.more_answers.get(0));
                let given_one = |(key, value): &(String, Json)| key == "answer" && !matches!(value, Json::Literal(l) if l == "null");
                let there = fields.iter().any(given_one);
                prop_assert_eq!(record.answer, if there { &answer } else { first.unwrap_or_default() });
                prop_assert_eq!(record.subject, given("subject"));
                prop_assert_eq!(record.context, given("context"));
                let id = given("id");
                prop_assert_eq!(record.id, if id.is_empty() { "1" } else { &id });
            }
            Ok(None) => prop_assert!(false, "nothing"),
            Err(problem) => prop_assert!(["", "null"].contains(&given("answer").as_str()), "{problem}"),
        }
    }

    #[test]
    fn a_damaged_line_is_refused_as_serde_json_refuses_it(
        fields in record(),
        seed: u64,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..6, any::<u8>()), 1..4),
    ) {
        const SPECIAL: &[u8] = b"{}[],:\"\\ \t\r\x00\x1f\x7f\xff\xc3\xed0123456789+-.eEutrnlfaslbdcDC/";
        let mut line = write_line(&fields, seed).into_bytes();
        for (place, other, kind, byte) in damage {
            let at = place.index(line.len() + 1);
            let special = SPECIAL[usize::from(byte) % SPECIAL.len()];
            match kind {
                0 if at < line.len() => drop(line.remove(at)),
                1 => line.insert(at, special),
                2 if at < line.len() => line[at] = special,
                3 if at < line.len() => line[at] = byte,
                4 => {
                    let from = other.index(line.len() + 1);
                    let copy = line[from..(from + usize::from(byte) % 30).min(line.len())].to_vec();
                    line.splice(at..at, copy);
                }
                5 if other.index(8) == 0 => line.truncate(at),
                _ => {}
            }
        }
        compare(&line)?;
    }

    #[test]
    fn noise_is_refused_as_serde_json_refuses_it(
        noise in prop::collection::vec(prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\"\"", "\"a\"", "\"id\"", "\\", "\\u", "d83d", "\\ude00", "\\n", "0", "1",
            "-", "+", ".", "e", "E5", "true", "null", "nul", " ", "\t", "\u{1}", "中", "[]", "{}", "\"choices\":", "\"a\":",
        ]), 0..9),
        frame in 0..4,
    ) {
        let noise = noise.concat();
        let line = match frame {
            0 => noise,
            1 => format!("{{\"a\":{noise}}}"),
            2 => format!("{{\"choices\":[{noise}]}}"),
            _ => format!("{{\"answer\":\"{noise}\"}}"),
        };
        compare(line.as_bytes())?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn neither_pieces_nor_threads_change_what_is_read(
        lens in prop::collection::vec(prop_oneof![
            8 => 0..200usize, 3 => 0..300_000usize, 1 => MAX_LINE - 40..MAX_LINE + 40, 1 => MAX_LINE..2 * MAX_LINE,
        ], 0..25),
        mark: bool,
        last_end: bool,
        seed: u64,
        longest in prop::sample::select(vec![100u64, 5_000, 100_000, 1 << 30]),
    ) {
        let mut dice = Dice(seed);
        let mut text = if mark { "\u{feff}".to_string() } else { String::new() };
        let mut expected = Vec::new();
        for (&len, number) in lens.iter().zip(1..) {
            let line = match dice.roll(8) {
                0 => " ".repeat(len), // blank at any length
                1 => "x".repeat(len),
                _ => format!("{{\"text\":\"{}\"}}", "é".repeat(len / 2)),
            };
            if !line.trim().is_empty() {
                if line.len() > MAX_LINE {
                    expected.push(format!("{number} the line has {} bytes, more than {MAX_LINE}", line.len()));
                } else if line.starts_with('x') {
                    expected.push(format!("{number} not JSON at column 1: not an object"));
                } else if len < 2 {
                    expected.push(format!("{number} \"text\" is empty"));
                } else {
                    expected.push(format!("{number} {number} {}", len / 2 * 2));
                }
            } else if line.len() > MAX_LINE {
                return Ok(()); // whether this is blank depends on how it was read
            }
            text.push_str(&line);
            text.push_str(if dice.roll(2) == 0 { "\r\n" } else { "\n" });
        }
        if !last_end {
            text.truncate(text.trim_end_matches(['\r', '\n']).len());
        }
        let pieces = || Pieces { rest: text.as_bytes(), dice: Dice(seed), longest };
        prop_assert_eq!(&read_all(pieces(), Need::Lm), &expected);
        let one = check_source(pieces(), Path::new("d"), Need::Lm, 1);
        prop_assert_eq!(one.bytes, text.len() as u64);
        for threads in 2..=4 {
            prop_assert_eq!(&check_source(pieces(), Path::new("d"), Need::Lm, threads), &one);
        }
    }
}
