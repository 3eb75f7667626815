//! YAML as a plain tree that remembers lines. It owns what is known of the YAML crate, and must not know what the keys
//! mean.

use crate::problem::Problem;
use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};
use std::path::Path;

/// Longer than any job is; a bound to what a slip can make of memory.
const MAX_BYTES: usize = 1 << 20;
/// Deeper than any job is; the parser's tree is taken apart by recursion.
const MAX_DEPTH: usize = 64;

/// A value, and the line that it begins in.
#[derive(Debug)]
pub struct Node {
    pub line: u64,
    pub value: Value,
}

#[derive(Debug)]
pub enum Value {
    Null,
    Bool(bool),
    /// As TOML has it.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// The value of a key of a mapping.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|(k, _)| k == key).map(|(_, node)| node)
    }

    /// Keys and values of a mapping; of anything else there are none.
    pub fn entries(&self) -> &[(String, Node)] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    /// Elements of a list; of anything else there are none.
    pub fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// A scalar as text.
    pub fn text(&self) -> Option<String> {
        match &self.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }
}

/// The first document of `text`.
///
/// # Errors
/// It is not YAML, or far larger than a job is.
pub fn parse(path: &Path, text: &str) -> Result<Node, Problem> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.len() > MAX_BYTES || depth(text) > MAX_DEPTH {
        return Err(Problem::new(
            path,
            0,
            "is larger or deeper than any job of Ianvs",
            "give its benchmarkingjob.yaml",
        ));
    }
    let documents = MarkedYaml::load_from_str(text).map_err(|e| {
        Problem::new(
            path,
            e.marker().line() as u64,
            format!("not YAML: {}", e.info()),
            "mend it: Ianvs cannot read it either",
        )
    })?;
    match documents.first() {
        Some(document) => Ok(node(document)),
        None => Err(Problem::new(path, 0, "is empty", "give the benchmarkingjob.yaml of a job of Ianvs")),
    }
}

/// An upper bound of how deep it nests: brackets that are open, and columns of indentation.
fn depth(text: &str) -> usize {
    let (mut open, mut deepest) = (0_usize, 0);
    for line in text.lines() {
        let lead = line.len() - line.trim_start_matches([' ', '-', '?', ':']).len();
        deepest = deepest.max(lead / 2);
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(open);
        }
    }
    deepest
}

fn node(yaml: &MarkedYaml) -> Node {
    let value = match &yaml.data {
        YamlData::Value(Scalar::Null) | YamlData::Alias(_) | YamlData::BadValue => Value::Null,
        YamlData::Value(Scalar::Boolean(value)) => Value::Bool(*value),
        YamlData::Value(Scalar::Integer(value)) => Value::Number(value.to_string()),
        YamlData::Value(Scalar::FloatingPoint(value)) => Value::Number(format!("{:?}", value.into_inner())),
        YamlData::Value(Scalar::String(text)) | YamlData::Representation(text, ..) => Value::Text(text.to_string()),
        YamlData::Sequence(items) => Value::List(items.iter().map(node).collect()),
        YamlData::Mapping(entries) => {
            let entry = |(key, value): (&MarkedYaml, &MarkedYaml)| Some((node(key).text()?, node(value)));
            Value::Map(entries.iter().filter_map(entry).collect())
        }
        YamlData::Tagged(_, inner) => return node(inner),
    };
    Node { line: yaml.span.start.line() as u64, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_kind_and_line() {
        let root = parse(Path::new("x"), "a:\n  - {b: 'on', c: 0.50}\n  - 0x10\nd: ~\n").unwrap();
        let first = &root.get("a").unwrap().items()[0];
        assert_eq!((first.line, first.get("b").unwrap().text()), (2, Some("on".to_owned())));
        assert!(matches!(&first.get("c").unwrap().value, Value::Number(n) if n == "0.5"));
        assert!(matches!(&root.get("a").unwrap().items()[1].value, Value::Number(n) if n == "16"));
        assert_eq!(root.get("d").unwrap().text(), None);
    }

    #[test]
    fn what_is_no_yaml_or_no_job_is_told() {
        assert_eq!(parse(Path::new("x"), "a: [1,\nb: }\n").unwrap_err().path, Path::new("x"));
        for text in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(50_000), String::new()] {
            assert!(parse(Path::new("x"), &text).is_err());
        }
    }
}
