//! The leaderboard as rows and cells, each with what it is sorted by. It must not know how a table looks.

use super::language::Text;
use super::numbers::{figure, interval, percent};
use crate::job::Metric;
use crate::story::boards::{Board, interval as interval_of, several_paradigms, usual_columns, value};
use crate::story::names::labels;
use crate::story::rank::Place;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;

/// A table.
#[derive(Debug, Serialize)]
pub struct Table {
    /// Fingerprint of the board; empty when boards are mixed.
    pub title: String,
    /// Name and unit.
    pub head: Vec<[String; 2]>,
    pub rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
pub struct Row {
    pub rank: usize,
    pub name: String,
    /// Everything that the object is.
    pub full: String,
    pub run: String,
    pub pareto: bool,
    /// `yes`, `no` or `unknown`.
    pub valid: String,
    /// Why not.
    pub evidence: String,
    /// `2 of 7`, where cases failed.
    pub failed: String,
    /// Shown in words; empty where all places have the same.
    pub paradigm: String,
    pub cells: Vec<Cell>,
}

#[derive(Debug, Serialize)]
pub struct Cell {
    pub text: String,
    /// Smaller, behind it.
    pub aside: String,
    /// What it is sorted by; empty: last.
    pub order: String,
    /// Nobody has a better one.
    pub best: bool,
}

/// Names of the places of a leaderboard; with several runs their folders are part of them.
pub fn names(board: &Board) -> Vec<String> {
    let rows: Vec<_> = board.places.iter().filter_map(|p| p.place.rows.first()).collect();
    let several = board.places.windows(2).any(|w| w[0].folder != w[1].folder);
    let name = |(label, run): (String, String)| match several {
        // A run that is called like what was run.
        true if run.ends_with(&label) => run,
        true => format!("{label} · {run}"),
        false => label,
    };
    labels(&rows).into_iter().zip(run_names(board)).map(name).collect()
}

/// The names of the places' runs; where folders of different runs are called the same, what else is different in their
/// paths stands before: `lr-3e-05/step-20.gguf`.
fn run_names(board: &Board) -> Vec<String> {
    let folders: BTreeSet<&Path> = board.places.iter().map(|p| p.folder.as_path()).collect();
    let names: BTreeSet<&str> = board.places.iter().map(|p| p.run.as_str()).collect();
    if names.len() == folders.len() {
        return board.places.iter().map(|p| p.run.clone()).collect();
    }
    let parts = |folder: &Path| folder.iter().map(|part| part.to_string_lossy().into_owned()).collect::<Vec<_>>();
    let all: Vec<Vec<String>> = folders.iter().map(|folder| parts(folder)).collect();
    let differs = |i: usize| all.windows(2).any(|w| w[0].get(i) != w[1].get(i));
    let name = |folder: &Path| {
        let parts: Vec<String> =
            parts(folder).into_iter().enumerate().filter(|(i, _)| differs(*i)).map(|(_, p)| p).collect();
        parts.join("/")
    };
    board.places.iter().map(|p| name(&p.folder)).collect()
}

/// The table of one leaderboard.
pub fn table(board: &Board, names: &[String], text: &Text) -> Table {
    let columns: Vec<&str> = usual_columns(std::slice::from_ref(board));
    let columns: Vec<&str> = columns.into_iter().chain(extra(board)).collect();
    let several = several_paradigms(std::slice::from_ref(board));
    let best: Vec<Option<f64>> = columns.iter().map(|c| best(board, c)).collect();
    let row = |(place, name): (&crate::story::boards::Ranked, &String)| {
        let p = &place.place;
        let evidence: Vec<&str> = p.rows.iter().map(|r| r.get("evidence")).filter(|e| !e.is_empty()).collect();
        let failed = if p.failed() > 0 {
            text.fill("failed", &[&p.failed().to_string(), &p.rows.len().to_string()])
        } else {
            String::new()
        };
        Row {
            rank: place.rank,
            name: name.clone(),
            full: ["object", "backend", "model", "params"].map(|c| p.text(c)).join(" "),
            run: place.run.clone(),
            pareto: place.pareto,
            valid: value(place, "valid"),
            evidence: evidence.join("; "),
            failed,
            paradigm: if several { paradigms(p, text) } else { String::new() },
            cells: columns.iter().zip(&best).map(|(c, best)| cell(p, c, *best)).collect(),
        }
    };
    Table {
        title: board.title.clone(),
        head: columns.iter().map(|c| text.column_parts(c)).collect(),
        rows: board.places.iter().zip(names).map(row).collect(),
    }
}

/// `Pretrained, self-supervised`, as its cases are.
fn paradigms(place: &Place, text: &Text) -> String {
    let words = place.texts("paradigm");
    let words: Vec<String> =
        words.split(", ").filter(|w| !w.is_empty()).map(|w| text.word(&format!("paradigm.{w}"))).collect();
    words.join(", ")
}

/// What a report has room for beyond the usual columns.
fn extra(board: &Board) -> impl Iterator<Item = &'static str> {
    ["e2e_ms_p50", "energy_j_per_record"]
        .into_iter()
        .filter(|c| board.places.iter().any(|p| p.place.number(c).is_some()))
}

fn cell(place: &Place, column: &str, best: Option<f64>) -> Cell {
    let Some(number) = place.number(column) else {
        return Cell { text: String::new(), aside: String::new(), order: String::new(), best: false };
    };
    let share = is_share(column);
    let shown =
        |(lo, hi): (f64, f64)| if share { interval((lo, hi)) } else { format!("{}–{}", figure(lo), figure(hi)) };
    let aside = interval_of(place, column).map_or(String::new(), shown);
    let text = if share { percent(number) } else { figure(number) };
    Cell { text, aside, order: format!("{number}"), best: best == Some(number) }
}

/// Is it written in percent?
pub fn is_share(column: &str) -> bool {
    column == Metric::SameTop.name() || Metric::ALL.iter().any(|(name, metric)| *name == column && metric.is_share())
}

/// Is less of it better?
pub fn less_is_better(column: &str) -> bool {
    let metric = Metric::ALL.iter().any(|(name, metric)| *name == column && metric.lower_is_better());
    metric || column.contains("_ms") || column.contains("_mib") || column.starts_with("energy")
}

/// The best value of a column, where several places have different ones.
fn best(board: &Board, column: &str) -> Option<f64> {
    let all: Vec<f64> =
        board.places.iter().filter(|p| p.place.failed() == 0).filter_map(|p| p.place.number(column)).collect();
    let (lo, hi) = (all.iter().copied().reduce(f64::min)?, all.iter().copied().reduce(f64::max)?);
    (lo < hi).then_some(if less_is_better(column) { lo } else { hi })
}
