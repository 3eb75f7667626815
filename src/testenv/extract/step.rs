//! The single steps of a chain. It owns their words; what takes more than a few lines is elsewhere.

use super::option::Options;
use super::patterns::folded;
use super::{number, opencompass};
use crate::job::Compat;
use regex_lite::Regex;
use serde_json::Value;
use std::borrow::Cow;

/// Most places at which `json` looks for the beginning of a value.
const JSON_TRIES: usize = 64;

/// One step.
#[derive(Debug)]
pub enum Step {
    StripThink(Compat),
    Trim,
    Lower,
    Upper,
    After(String),
    Before(String),
    Remove(String),
    Line(Line),
    Number(End, Compat),
    Option(Box<Options>),
    FirstCapital(Compat),
    Regex(Regex, End),
    /// A JSON pointer.
    Json(String),
}

/// Which of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    First,
    Last,
}

/// Which line; from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Of(usize),
    Last,
}

/// The steps' words, for messages.
const WORDS: &str = "first_option, last_option, first_capital, first_number, last_number, after:TEXT, before:TEXT, \
    remove:TEXT, line:first|last|N, regex:PATTERN, last_regex:PATTERN, json:PATH, strip_think, trim, lower, upper, or";

impl Step {
    /// Reads `word` or `word:argument`.
    pub fn parse(word: &str, compat: Compat) -> Result<Step, (String, String)> {
        let (name, argument) = word.split_once(':').map_or((word, None), |(name, argument)| (name, Some(argument)));
        let argument = argument.filter(|a| !a.is_empty());
        let needs = |example: &str| {
            argument.ok_or((format!("the step `{word}` lacks its argument"), format!("write it like \"{example}\"")))
        };
        let regex = |end| {
            let pattern = needs("regex:Answer is ([0-9]+)")?;
            let regex =
                Regex::new(pattern).map_err(|e| (format!("`{pattern}` is no regular expression: {e}"), REGEX.into()));
            Ok(Step::Regex(regex?, end))
        };
        let step = match name {
            "strip_think" => Step::StripThink(compat),
            "trim" => Step::Trim,
            "lower" => Step::Lower,
            "upper" => Step::Upper,
            "first_number" => Step::Number(End::First, compat),
            "last_number" => Step::Number(End::Last, compat),
            "first_capital" => Step::FirstCapital(compat),
            "first_option" | "last_option" => {
                let end = if name == "first_option" { End::First } else { End::Last };
                return Options::new(argument, end, compat).map(|options| Step::Option(Box::new(options)));
            }
            "after" => return needs("after:####").map(|a| Step::After(a.to_owned())),
            "before" => return needs("before:Question:").map(|a| Step::Before(a.to_owned())),
            "remove" => return needs("remove:,").map(|a| Step::Remove(a.to_owned())),
            "line" => return line(needs("line:last")?).map(Step::Line),
            "regex" => return regex(End::First),
            "last_regex" => return regex(End::Last),
            "json" => return needs("json:answer.value").map(|a| Step::Json(pointer(a))),
            _ => return Err((format!("no step is called `{name}`"), format!("there are {WORDS}"))),
        };
        match argument {
            Some(_) => Err((format!("the step `{name}` takes no argument"), format!("write \"{name}\""))),
            None => Ok(step),
        }
    }

    /// What is left of `text`; `None` when the step does not find what it looks for.
    pub fn apply<'t>(&self, text: Cow<'t, str>, options: usize) -> Option<Cow<'t, str>> {
        Some(match self {
            Step::StripThink(compat) => strip_think(text, *compat),
            Step::Trim => part(text, |t| Some(t.trim()))?,
            Step::Lower => text.to_lowercase().into(),
            Step::Upper => text.to_uppercase().into(),
            Step::After(mark) => part(text, |t| t.rsplit_once(mark.as_str()).map(|(_, after)| after))?,
            Step::Before(mark) => part(text, |t| t.split(mark.as_str()).next())?,
            Step::Remove(what) => text.replace(what.as_str(), "").into(),
            Step::Line(which) => part(text, |t| {
                let mut lines = t.lines().map(str::trim).filter(|l| !l.is_empty());
                match which {
                    Line::Of(number) => lines.nth(number - 1),
                    Line::Last => lines.next_back(),
                }
            })?,
            Step::Number(end, Compat::None) => number::find(&text, *end == End::Last)?.into(),
            Step::Number(end, Compat::OpenCompass) => opencompass::number(&text, *end == End::Last)?.into(),
            Step::Option(finder) => finder.find(&text, options)?.to_string().into(),
            Step::FirstCapital(Compat::None) => first_capital(&folded(&text))?,
            Step::FirstCapital(Compat::OpenCompass) => first_capital(&text)?,
            Step::Regex(regex, end) => {
                let captures = match end {
                    End::First => regex.captures(&text),
                    End::Last => regex.captures_iter(&text).last(),
                }?;
                captures.get(1).or(captures.get(0))?.as_str().to_owned().into()
            }
            Step::Json(path) => json(&text, path)?.into(),
        })
    }

    pub fn gives_number(&self) -> bool {
        matches!(self, Step::Number(..))
    }
}

const REGEX: &str = "mend it; the syntax is that of Rust's regex-lite: no look-around, and \\w \\d \\s are ASCII";

/// A part of `text`, without a copy where `text` is borrowed.
fn part<'t>(text: Cow<'t, str>, pick: impl for<'p> Fn(&'p str) -> Option<&'p str>) -> Option<Cow<'t, str>> {
    Some(match text {
        Cow::Borrowed(text) => pick(text)?.into(),
        Cow::Owned(text) => pick(&text)?.to_owned().into(),
    })
}

/// Without what a reasoning model thinks. A thought that is not closed, as when the tokens ran out, leaves nothing
/// behind it; OpenCompass leaves it all. Where only the end is there, because the beginning was in the prompt, what
/// comes after it is left.
fn strip_think(text: Cow<str>, compat: Compat) -> Cow<str> {
    const OPEN: &str = "<think>";
    const CLOSE: &str = "</think>";
    if !text.contains(OPEN) {
        let after = text.rfind(CLOSE).map_or(0, |at| at + CLOSE.len());
        return part(text, |t| t.get(after..).map(str::trim)).unwrap_or_default();
    }
    let (mut kept, mut rest) = (String::new(), &*text);
    while let Some((before, thought)) = rest.split_once(OPEN) {
        match thought.split_once(CLOSE) {
            Some((_, after)) => {
                kept += before;
                rest = after;
            }
            None if compat == Compat::OpenCompass => break,
            None => {
                kept += before;
                rest = "";
            }
        }
    }
    kept += rest;
    kept.trim().to_owned().into()
}

fn first_capital(text: &str) -> Option<Cow<'static, str>> {
    text.chars().find(|c| c.is_uppercase()).map(|c| c.to_string().into())
}

fn line(argument: &str) -> Result<Line, (String, String)> {
    match argument {
        "first" => Ok(Line::Of(1)),
        "last" => Ok(Line::Last),
        number => match number.parse() {
            Ok(number @ 1..) => Ok(Line::Of(number)),
            _ => Err((format!("`{number}` is no line"), "write line:first, line:last or line:2".to_owned())),
        },
    }
}

/// `a.b[0]` as a JSON pointer; one that is a pointer already stays.
fn pointer(path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty());
    parts.map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

/// What stands at `path` in the first object or array in `text` that has it. Prose and code fences around it do not
/// matter.
fn json(text: &str, path: &str) -> Option<String> {
    for (at, _) in text.match_indices(['{', '[']).take(JSON_TRIES) {
        let mut values = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Value>();
        let Some(Ok(value)) = values.next() else { continue };
        match value.pointer(path) {
            Some(Value::String(text)) => return Some(text.clone()),
            Some(Value::Null) | None => {}
            Some(other) => return Some(other.to_string()),
        }
    }
    None
}
