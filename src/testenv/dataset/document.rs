//! A plain text file as a dataset: all of it is one record. It owns how large that may be.
//! It must not know what is in it.

use super::{Choices, Need, Record, open, unreadable};
use crate::problem::Problem;
use std::io::Read;
use std::path::Path;

/// The largest one, in bytes: text and tokens are held in memory, and go to the host in one message each.
const MAX: u64 = 32 << 20;

/// Is the file at `path` one record for what is needed?
pub(super) fn is_one(path: &Path, need: Need) -> bool {
    need == Need::Lm && path.extension().is_some_and(|e| e.eq_ignore_ascii_case("txt"))
}

/// Its text, without a byte order mark.
///
/// # Errors
/// It cannot be read, is not UTF-8, empty or too large.
pub(super) fn read(path: &Path) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX + 1).read_to_end(&mut bytes).map_err(|e| unreadable(path, &e))?;
    if bytes.len() as u64 > MAX {
        let todo = r#"cut it into lines of {"text": "…"} in a .jsonl file"#;
        return Err(Problem::new(path, 0, format!("the text has more than {} MiB", MAX >> 20), todo));
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let line = 1 + e.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() as u64;
        Problem::new(path, line, "the text is not UTF-8", "convert it: iconv -f GB18030 -t UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    if text.trim().is_empty() {
        return Err(Problem::new(path, 0, "no text", "give a file with text in it"));
    }
    Ok(text)
}

/// The record that it is.
pub(super) fn record(text: &str) -> Record<'_> {
    Record {
        line: 1,
        id: "1",
        question: text,
        context: "",
        subject: "",
        choices: Choices::default(),
        answer: "",
        more_answers: Choices::default(),
        messages: "",
        gold: None,
    }
}
