//! Short names: what tells object instances apart, and no more. It must not know where they are shown.

use crate::results::CaseRow;
use std::collections::BTreeSet;

/// One name for each of `rows`, of the columns in which they differ: `demo-q4_0.gguf threads=2`.
pub fn labels(rows: &[&CaseRow]) -> Vec<String> {
    let several = |column: &str| rows.windows(2).any(|w| w[0].get(column) != w[1].get(column));
    let columns: Vec<&str> = ["object", "backend", "model", "params"].into_iter().filter(|c| several(c)).collect();
    let params: Vec<&str> = rows.iter().map(|r| r.get("params")).collect();
    let name = |row: &&CaseRow| {
        let parts = columns.iter().map(|column| match *column {
            "params" => differing(row.get("params"), &params),
            column => file_name(row.get(column)).to_owned(),
        });
        let parts: Vec<String> = parts.filter(|p| !p.is_empty()).collect();
        if parts.is_empty() { file_name(row.get("object")).to_owned() } else { parts.join(" ") }
    };
    rows.iter().map(name).collect()
}

/// Of `params` (`threads=1 n_ctx=1024`), those that are not the same in `all`.
pub fn differing(params: &str, all: &[&str]) -> String {
    let all: BTreeSet<&str> = all.iter().copied().collect();
    let everywhere = |pair: &str| all.iter().all(|text| text.split(' ').any(|other| other == pair));
    params.split(' ').filter(|pair| !everywhere(pair)).collect::<Vec<_>>().join(" ")
}

/// The last part of a path; models and plugins are told apart by it well enough in a table.
pub fn file_name(text: &str) -> &str {
    text.rsplit('/').next().unwrap_or(text)
}
