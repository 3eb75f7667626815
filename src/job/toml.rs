//! A reader of TOML tables that remembers where everything stands: wrong types and unknown keys become
//! problems with their line, and reading goes on. It must not know the job file's words.

use crate::problem::Problem;
use std::cell::RefCell;
use std::path::PathBuf;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file being read, and what was found wrong in it.
pub struct Source<'a> {
    pub path: PathBuf,
    pub text: &'a str,
    pub problems: RefCell<Vec<Problem>>,
}

impl Source<'_> {
    /// Line of a byte offset, from 1.
    pub fn line(&self, offset: usize) -> u64 {
        1 + self.text.as_bytes()[..offset.min(self.text.len())].iter().filter(|&&b| b == b'\n').count() as u64
    }

    /// The document; its syntax errors become problems.
    pub fn parse(&self) -> Option<Spanned<DeTable<'_>>> {
        let (document, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let offset = error.span().map_or(0, |s| s.start);
            self.problem(offset, format!("not TOML: {}", error.message().trim()), "mend the syntax");
        }
        errors.is_empty().then_some(document)
    }

    /// Notes a problem at a byte offset.
    pub fn problem(&self, offset: usize, what: impl Into<String>, todo: impl Into<String>) {
        let problem = Problem::new(&self.path, self.line(offset), what, todo);
        self.problems.borrow_mut().push(problem);
    }
}

/// A value and where it stands.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    source: &'a Source<'a>,
    spanned: &'a Spanned<DeValue<'a>>,
    /// What to call it in a message: `job.timeout`.
    key: &'a str,
}

/// A table whose keys are taken one by one; what is left at the end is unknown.
pub struct Table<'a> {
    source: &'a Source<'a>,
    name: &'static str,
    table: &'a DeTable<'a>,
    offset: usize,
    taken: Vec<&'static str>,
}

impl<'a> Table<'a> {
    pub fn new(source: &'a Source<'a>, name: &'static str, table: &'a DeTable<'a>, offset: usize) -> Table<'a> {
        Table { source, name, table, offset, taken: Vec::new() }
    }

    /// Where the table stands.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The value of `key`, if it is there.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.taken.push(key);
        self.table.get(key).map(|spanned| Value { source: self.source, spanned, key })
    }

    /// The value of `key`; a problem if it is not there.
    pub fn need(&mut self, key: &'static str, todo: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.source.problem(self.offset, format!("`{key}` is missing in {}", self.name), todo);
        }
        value
    }

    /// Every key and value, for tables with free keys.
    pub fn entries(self) -> impl Iterator<Item = (String, Value<'a>)> {
        let source = self.source;
        let mut entries: Vec<_> = self.table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .map(move |(key, spanned)| (key.get_ref().to_string(), Value { source, spanned, key: key.get_ref() }))
    }

    /// What was not taken is a problem.
    pub fn finish(self) {
        for (key, _) in self.table.iter().filter(|(k, _)| !self.taken.contains(&k.get_ref().as_ref())) {
            let name = key.get_ref();
            let mut known = self.taken.clone();
            known.sort_by_key(|k| distance(k, name));
            let todo = match known.first() {
                Some(near) if distance(near, name) <= 2 => format!("did you mean `{near}`?"),
                _ => format!("known keys are {}", self.taken.join(", ")),
            };
            self.source.problem(key.span().start, format!("unknown key `{name}` in {}", self.name), todo);
        }
    }
}

impl<'a> Value<'a> {
    /// Where the value stands.
    pub fn offset(&self) -> usize {
        self.spanned.span().start
    }

    /// Notes a problem with this value.
    pub fn problem(&self, what: impl Into<String>, todo: impl Into<String>) {
        self.source.problem(self.offset(), what, todo);
    }

    fn wrong<T>(&self, wanted: &str, todo: &str) -> Option<T> {
        self.problem(format!("`{}` is a {}, not {wanted}", self.key, self.spanned.get_ref().type_str()), todo);
        None
    }

    pub fn text(&self) -> Option<&'a str> {
        match self.spanned.get_ref().as_str() {
            Some(text) => Some(text),
            None => self.wrong("a string", "write it in quotes"),
        }
    }

    /// A string that is not blank.
    pub fn name(&self) -> Option<&'a str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.problem(format!("`{}` is empty", self.key), "give it a value");
            return None;
        }
        Some(text)
    }

    /// A whole number in `min..=max`.
    pub fn integer(&self, min: u64, max: u64) -> Option<u64> {
        let DeValue::Integer(number) = self.spanned.get_ref() else {
            return self.wrong("a whole number", &format!("give a number from {min} to {max}"));
        };
        match u64::from_str_radix(number.as_str(), number.radix()).ok().filter(|n| (min..=max).contains(n)) {
            Some(number) => Some(number),
            None => {
                self.problem(
                    format!("`{}` is {}", self.key, number.as_str()),
                    format!("give a number from {min} to {max}"),
                );
                None
            }
        }
    }

    /// A number in `min..=max`, whole or not.
    pub fn number(&self, min: f64, max: f64) -> Option<f64> {
        let number = match self.spanned.get_ref() {
            DeValue::Integer(n) if n.radix() == 10 => n.as_str().parse::<f64>().ok(),
            DeValue::Float(f) => f.as_str().parse::<f64>().ok(),
            _ => return self.wrong("a number", &format!("give a number from {min} to {max}")),
        };
        let number = number.filter(|n| (min..=max).contains(n));
        if number.is_none() {
            self.problem(format!("`{}` is out of range", self.key), format!("give a number from {min} to {max}"));
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        match self.spanned.get_ref() {
            DeValue::Boolean(b) => Some(*b),
            _ => self.wrong("a boolean", "write true or false, without quotes"),
        }
    }

    /// `"60s"`, `"500ms"`, `"5m"`, `"1h"`, or a number of seconds.
    pub fn duration(&self) -> Option<Duration> {
        let todo = "write it like \"60s\", \"500ms\" or \"5m\"";
        let text = match self.spanned.get_ref() {
            DeValue::Integer(n) => n.as_str().to_owned(),
            DeValue::Float(f) => f.as_str().to_owned(),
            DeValue::String(s) => s.to_string(),
            _ => return self.wrong("a duration", todo),
        };
        let parsed = parse_duration(&text);
        if parsed.is_none() {
            self.problem(format!("`{}` is \"{text}\", which is no duration above 0", self.key), todo);
        }
        parsed
    }

    /// A string, number or boolean as text, as backends get their parameters.
    pub fn scalar(&self) -> Option<String> {
        match self.spanned.get_ref() {
            DeValue::String(s) => Some(s.to_string()),
            DeValue::Integer(n) if n.radix() == 10 => Some(n.as_str().to_owned()),
            DeValue::Integer(n) => i64::from_str_radix(n.as_str(), n.radix()).ok().map(|n| n.to_string()),
            DeValue::Float(f) => Some(f.as_str().to_owned()),
            DeValue::Boolean(b) => Some(b.to_string()),
            _ => self.wrong("a string, number or boolean", "give a plain value, or a list of plain values to sweep"),
        }
    }

    /// The values to sweep: those of a list, or the one value. An empty list is a problem.
    pub fn sweep(&self) -> Vec<Value<'a>> {
        let values = self.list();
        if values.is_empty() {
            self.problem(
                format!("`{}` is an empty list: a sweep over nothing leaves no test case", self.key),
                "give at least one value, or leave the key out",
            );
        }
        values
    }

    /// The elements of a list, or the one value that stands in place of one.
    pub fn list(&self) -> Vec<Value<'a>> {
        match self.spanned.get_ref().as_array() {
            Some(array) => array.iter().map(|spanned| Value { spanned, ..*self }).collect(),
            None => vec![*self],
        }
    }

    /// A table; `name` is how messages call it.
    pub fn table(&self, name: &'static str) -> Option<Table<'a>> {
        match self.spanned.get_ref().as_table() {
            Some(table) => Some(Table::new(self.source, name, table, self.offset())),
            None => self.wrong("a table", &format!("write {name} as a table")),
        }
    }

    pub fn is_text(&self) -> bool {
        self.spanned.get_ref().is_str()
    }

    pub fn is_boolean(&self) -> bool {
        matches!(self.spanned.get_ref(), DeValue::Boolean(_))
    }

    /// A string, number or boolean, with its type.
    pub fn json(&self) -> Option<serde_json::Value> {
        Some(match self.spanned.get_ref() {
            DeValue::Boolean(b) => (*b).into(),
            DeValue::Integer(_) | DeValue::Float(_) => serde_json::from_str(&self.scalar()?).ok()?,
            _ => self.scalar()?.into(),
        })
    }

    pub fn is_list(&self) -> bool {
        self.spanned.get_ref().is_array()
    }

    pub fn is_table(&self) -> bool {
        self.spanned.get_ref().is_table()
    }
}

/// A number and a unit (`ms`, `s`, `m`, `h`; none: seconds); `None` when it is not above 0.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
}

/// What to do about `text`, which is none of `names`: the one that is nearly the same, or what is said `otherwise`.
pub fn did_you_mean<'n>(text: &str, names: impl Iterator<Item = &'n str>, otherwise: &str) -> String {
    match names.min_by_key(|name| distance(name, text)) {
        Some(near) if distance(near, text) <= 2 => format!("did you mean \"{near}\"?"),
        _ => otherwise.to_owned(),
    }
}

/// Levenshtein distance, for "did you mean".
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(parse_duration("60s"), Some(Duration::from_secs(60)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5 m"), Some(Duration::from_secs(90)));
        assert_eq!(parse_duration("2"), Some(Duration::from_secs(2)));
        for bad in ["", "0s", "s", "-1s", "1d", "1e9h", "99999999999999999999h"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn distance_counts_edits() {
        assert_eq!(distance("timeout", "timeuot"), 2);
        assert_eq!(distance("", "ab"), 2);
        assert_eq!(distance("model", "models"), 1);
    }
}
