//! Everything else that a run says of itself: its manifest, key by key. It must not know what a key means.

use crate::results::MANIFEST;
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// One run.
#[derive(Debug, Serialize)]
pub struct Environment {
    pub folder: String,
    /// Heading and its lines.
    pub groups: Vec<(String, Vec<(String, String)>)>,
    pub job_text: String,
}

/// Of the run in `folder`, which could be read before.
pub fn environment(folder: &Path) -> Environment {
    let text = std::fs::read_to_string(folder.join(MANIFEST)).unwrap_or_default();
    let manifest: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut groups = vec![(String::new(), Vec::new())];
    let mut job_text = String::new();
    for (key, value) in manifest.as_object().into_iter().flatten() {
        match value {
            Value::String(text) if key == "job_text" => job_text.clone_from(text),
            Value::Object(fields) => {
                let mut lines = Vec::new();
                fields.iter().for_each(|(k, v)| flat(k, v, &mut lines));
                groups.push((key.clone(), lines));
            }
            value => flat(key, value, &mut groups[0].1),
        }
    }
    groups.retain(|(_, lines)| !lines.is_empty());
    Environment { folder: folder.display().to_string(), groups, job_text }
}

/// `key` and what is below it, as lines; what is empty is left out.
fn flat(key: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        Value::String(text) => lines.push((key.to_owned(), text.clone())),
        Value::Object(fields) => fields.iter().for_each(|(k, v)| flat(&format!("{key} · {k}"), v, lines)),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(i, v)| flat(&format!("{key} · {}", i + 1), v, lines));
        }
        other => lines.push((key.to_owned(), other.to_string())),
    }
}
