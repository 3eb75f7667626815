//! Which variant to ship: the table of `edgebench variants`, for each model of a run that has any. It must not know how the figures
//! were found.

use super::language::Text;
use crate::story::run_folder::Run;
use crate::story::variants::{HEAD, Variants, cells, variants};
use serde::Serialize;

/// The variants of one model.
#[derive(Debug, Serialize)]
pub struct Shown {
    title: String,
    head: Vec<String>,
    /// Is it the one to ship, and its cells.
    rows: Vec<(bool, Vec<String>)>,
    answer: String,
}

/// Of all runs; a run whose files cannot be read has none, which is told elsewhere.
pub fn shown(runs: &[Run], text: &Text) -> Vec<Shown> {
    runs.iter().flat_map(|run| variants(run).unwrap_or_default()).map(|v| one(&v, text)).collect()
}

fn one(variants: &Variants, text: &Text) -> Shown {
    let all: Vec<Vec<String>> = (0..variants.rows.len()).map(|i| cells(variants, i)).collect();
    // The first is a mark, and what nobody has is not worth a column.
    let columns: Vec<usize> = (1..HEAD.len()).filter(|c| all.iter().any(|row| !row[*c].is_empty())).collect();
    let n = variants.rows.iter().filter_map(|v| v.flips).map(|f| f.n).max();
    let margin = format!("{}", -variants.margin);
    let answer = match (n, variants.ship) {
        (None, _) => String::new(),
        (Some(n), Some(i)) => text.fill("variants.ship", &[&variants.rows[i].name, &margin, &n.to_string()]),
        (Some(n), None) => text.fill("variants.none", &[&margin, &n.to_string()]),
    };
    Shown {
        title: variants.title.clone(),
        head: columns.iter().map(|c| text.word(&format!("variants.head.{}", HEAD[*c].0))).collect(),
        rows: all
            .iter()
            .enumerate()
            .map(|(i, row)| (variants.ship == Some(i), columns.iter().map(|c| row[*c].clone()).collect()))
            .collect(),
        answer,
    }
}
