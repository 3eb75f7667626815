//! Accuracy with its interval: object instances by tasks, and of each task its subjects and groups. It must not know how a
//! table looks.

use super::files::CaseFiles;
use super::numbers::{interval, percent};
use crate::results::CaseRow;
use crate::story::names;
use serde::Serialize;

/// Subjects that are listed over all of the report; the rest is in subjects.csv.
const SUBJECTS: usize = 900;

/// A share with its interval, as text and as places on a bar from 0 to 100.
#[derive(Debug, Serialize)]
pub struct Line {
    pub name: String,
    /// `group` or `macro`, where it is no plain row.
    pub kind: String,
    pub n: String,
    pub text: String,
    pub range: String,
    pub at: String,
    pub lo: String,
    pub hi: String,
    /// Shade of a cell, 0 to 10.
    pub shade: usize,
    /// What it is sorted by.
    pub order: String,
}

/// One task.
#[derive(Debug, Serialize)]
pub struct Task {
    pub name: String,
    pub lines: Vec<Line>,
    pub parts: Vec<Parts>,
    /// Object instances whose subjects are left out.
    pub left_out: usize,
}

/// Subjects and groups of one case.
#[derive(Debug, Serialize)]
pub struct Parts {
    pub name: String,
    pub lines: Vec<Line>,
}

/// Object instances by tasks; a cell is empty where there is no figure.
#[derive(Debug, Serialize)]
pub struct Matrix {
    pub tasks: Vec<String>,
    pub rows: Vec<(String, Vec<Option<Line>>)>,
}

/// `instances` have a name and a row per task, in the order of the leaderboard.
pub fn matrix(instances: &[(&str, &[CaseRow])]) -> Option<Matrix> {
    let tasks = task_names(instances);
    let cell = |rows: &[CaseRow], task: &String| rows.iter().find(|r| r.get("task") == task).and_then(|r| line("", r));
    let row = |(name, rows): &(&str, &[CaseRow])| {
        ((*name).to_owned(), tasks.iter().map(|t| cell(rows, t)).collect::<Vec<_>>())
    };
    let rows: Vec<_> = instances.iter().map(row).collect();
    (tasks.len() > 1 && rows.iter().any(|(_, cells)| cells.iter().any(Option::is_some)))
        .then_some(Matrix { tasks, rows })
}

/// Every task that has an accuracy. `files` gives what a case's run left behind.
pub fn tasks<'f>(instances: &[(&str, &[CaseRow])], files: impl Fn(&CaseRow) -> Option<&'f CaseFiles>) -> Vec<Task> {
    let mut room = SUBJECTS;
    let task = |name: String| {
        let rows: Vec<(&str, &CaseRow)> = instances
            .iter()
            .filter_map(|(label, rows)| Some((*label, rows.iter().find(|r| *r.get("task") == name)?)))
            .collect();
        let lines = rows.iter().filter_map(|(label, row)| line(label, row)).collect();
        let (mut parts, mut left_out) = (Vec::new(), 0);
        for (label, row) in rows {
            let subjects = files(row).map_or(&[][..], |f| &f.subjects);
            let lines: Vec<Line> = subjects.iter().filter_map(part).collect();
            if lines.is_empty() {
                continue;
            }
            if lines.len() > room {
                left_out += 1;
                continue;
            }
            room -= lines.len();
            parts.push(Parts { name: label.to_owned(), lines });
        }
        Task { name, lines, parts, left_out }
    };
    task_names(instances).into_iter().map(task).filter(|t| !t.lines.is_empty()).collect()
}

fn task_names(instances: &[(&str, &[CaseRow])]) -> Vec<String> {
    names::tasks(instances.iter().flat_map(|(_, rows)| *rows)).into_iter().map(str::to_owned).collect()
}

/// A row of subjects.csv. The micro average of all is the case's own row.
fn part(row: &CaseRow) -> Option<Line> {
    let (level, average) = (row.get("level"), row.get("average"));
    if level == "overall" && average == "micro" {
        return None;
    }
    let mut line = line(row.get("name"), row)?;
    line.kind = match (level, average) {
        ("subject", _) => String::new(),
        ("overall", _) => "overall macro".to_owned(),
        (level, average) => format!("{level} {average}"),
    };
    Some(line)
}

fn line(name: &str, row: &CaseRow) -> Option<Line> {
    let acc = row.number("acc")?;
    let range = row.number("acc_lo").zip(row.number("acc_hi"));
    let (lo, hi) = range.unwrap_or((acc, acc));
    let place = |share: f64| format!("{:.1}", share * 100.0);
    Some(Line {
        name: name.to_owned(),
        kind: String::new(),
        n: row.get("n").to_owned(),
        text: percent(acc),
        range: range.map_or(String::new(), interval),
        at: place(acc),
        lo: place(lo),
        hi: place(hi),
        shade: (acc.clamp(0.0, 1.0) * 10.0).round() as usize,
        order: row.get("acc").to_owned(),
    })
}
