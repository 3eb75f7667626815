//! Short names: what tells object instances apart, and no more. It must not know where they are shown.

use crate::results::CaseRow;
use std::collections::BTreeSet;

/// One name for each of `rows`, of as few columns as tell them apart: `demo-q4_0.gguf threads=2`.
pub fn labels(rows: &[&CaseRow]) -> Vec<String> {
    let params: Vec<&str> = rows.iter().map(|r| r.get("params")).collect();
    let part = |row: &CaseRow, column: &str| match column {
        "params" => differing(row.get("params"), &params),
        column => file_name(row.get(column)).to_owned(),
    };
    let name = |row: &CaseRow, columns: &[&str]| {
        let parts: Vec<String> = columns.iter().map(|c| part(row, c)).filter(|p| !p.is_empty()).collect();
        parts.join(" ")
    };
    let all = |columns: &[&str]| rows.iter().map(|r| name(r, columns)).collect::<Vec<_>>();
    let distinct = |columns: &[&str]| all(columns).into_iter().collect::<BTreeSet<_>>().len();
    let mut columns = Vec::new();
    for column in ["object", "model", "params", "backend"] {
        let more = [&columns[..], &[column]].concat();
        if distinct(&more) > distinct(&columns).max(1) {
            columns = more;
        }
    }
    all(if columns.is_empty() { &["object"] } else { &columns })
}

/// The tasks of `rows`, each once, in their order.
pub fn tasks<'r>(rows: impl Iterator<Item = &'r CaseRow>) -> Vec<&'r str> {
    let mut tasks: Vec<&str> = Vec::new();
    for row in rows {
        if !tasks.contains(&row.get("task")) {
            tasks.push(row.get("task"));
        }
    }
    tasks
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(object: &str, model: &str, params: &str) -> CaseRow {
        let mut row = CaseRow::default();
        for (column, value) in [("object", object), ("backend", "llama"), ("model", model), ("params", params)] {
            row.set(column, value);
        }
        row
    }

    #[test]
    fn a_name_has_what_differs_and_no_more() {
        let names = |rows: &[CaseRow]| labels(&rows.iter().collect::<Vec<_>>());
        assert_eq!(names(&[row("a", "x.gguf", "t=1"), row("b", "y.gguf", "t=2")]), ["a", "b"]);
        let swept = [row("a", "m/x.gguf", "t=1 c=9"), row("a", "m/x.gguf", "t=2 c=9"), row("a", "m/y.gguf", "t=1 c=9")];
        assert_eq!(names(&swept), ["x.gguf t=1", "x.gguf t=2", "y.gguf t=1"]);
        assert_eq!(names(&[row("a", "x", ""), row("a", "x", "")]), ["a", "a"]);
        assert!(names(&[]).is_empty());
    }
}
