//! One figure of every case over many runs, and where it changed for good. Runs of unlike boards are told apart. It must not
//! know how a history is shown.

mod change_points;
mod print;

pub use print::{Format, print};

use super::run_folder::Run;
use crate::results::MANIFEST;
use change_points::{Change, change_points};
use std::path::{Path, PathBuf};

/// A figure over the nights.
#[derive(Debug)]
pub struct History {
    pub metric: String,
    pub series: Vec<Series>,
    /// Folders that look like runs and could not be read, in sentences.
    pub unread: Vec<String>,
}

/// Of one case on one board.
#[derive(Debug)]
pub struct Series {
    /// The fingerprint; empty when all runs are of one board.
    pub board: String,
    pub case: String,
    /// In the order of time.
    pub points: Vec<Point>,
    /// Between the valid ones of `points`, by their place in `points`: from there on the figure is another.
    pub changes: Vec<Change>,
}

/// One run's figure.
#[derive(Debug, Clone)]
pub struct Point {
    /// UTC, RFC 3339: when the run began.
    pub start: String,
    /// The run's folder.
    pub run: String,
    pub value: f64,
    /// 95 %, where the figure has one.
    pub interval: Option<(f64, f64)>,
    /// Not throttled, disturbed or swapped, as far as was seen.
    pub valid: bool,
}

/// The history of `metric` over all runs in `folder`.
///
/// # Errors
/// There are no runs, or none has the figure; in a sentence.
pub fn read(folder: &Path, metric: &str) -> Result<History, String> {
    let mut unread = Vec::new();
    let mut runs = Vec::new();
    for path in folders(folder)? {
        match Run::read(&path) {
            Ok(run) => runs.push(run),
            Err(e) => unread.push(e),
        }
    }
    if runs.is_empty() {
        return Err(format!("{}: no runs in it; give the folder in which folders of runs are", folder.display()));
    }
    runs.sort_by(|a, b| a.manifest.start.cmp(&b.manifest.start));
    let mut series: Vec<Series> = Vec::new();
    for run in &runs {
        let parts: Vec<String> = run.fingerprint().into_iter().map(|(_, v)| v).filter(|v| !v.is_empty()).collect();
        let board = parts.join(", ");
        for row in &run.rows {
            let Some(value) = row.number(metric).filter(|_| row.get("status") == "ok") else { continue };
            let ends = |end: &str| row.number(&format!("{metric}_{end}"));
            let point = Point {
                start: run.manifest.start.clone(),
                run: run.folder.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned()),
                value,
                interval: ends("lo").zip(ends("hi")),
                valid: row.get("valid") != "no",
            };
            match series.iter_mut().find(|s| s.case == row.get("case") && s.board == board) {
                Some(series) => series.points.push(point),
                None => {
                    let case = row.get("case").to_owned();
                    series.push(Series { board: board.clone(), case, points: vec![point], changes: Vec::new() });
                }
            }
        }
    }
    if series.is_empty() {
        return Err(format!("{metric}: no run in {} has it; --metric takes a column of cases.csv", folder.display()));
    }
    if series.iter().all(|s| s.board == series[0].board) {
        series.iter_mut().for_each(|s| s.board.clear());
    }
    series.sort_by(|a, b| a.board.cmp(&b.board));
    series.iter_mut().for_each(|s| s.changes = changes(&s.points));
    Ok(History { metric: metric.to_owned(), series, unread })
}

/// Folders of runs in `folder`, which may be one itself. Links are left out: `latest` would count a run twice.
fn folders(folder: &Path) -> Result<Vec<PathBuf>, String> {
    if folder.join(MANIFEST).exists() {
        return Ok(vec![folder.to_path_buf()]);
    }
    let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let is_run = |e: &std::fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir()) && e.path().join(MANIFEST).exists();
    let mut paths: Vec<PathBuf> = entries.flatten().filter(is_run).map(|e| e.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Change points of the valid points.
fn changes(points: &[Point]) -> Vec<Change> {
    let (places, values): (Vec<usize>, Vec<f64>) =
        points.iter().enumerate().filter(|(_, p)| p.valid).map(|(i, p)| (i, p.value)).unzip();
    change_points(&values).into_iter().map(|c| Change { at: places[c.at], ..c }).collect()
}
