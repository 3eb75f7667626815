//! Scores over several tasks: a suite's weighted mean for each object instance, and suites.csv with them. It reads rows of
//! results, and must not know how they came about.

use super::rank::identity;
use crate::job::{Average, Suite};
use crate::results::{CaseRow, SUBJECTS, SUITE_COLUMNS, SUITES, Status, read_cases, write_whole};
use crate::testenv::average::{Part, weighted};
use std::io;
use std::path::Path;

/// Writes suites.csv of the run in `folder`, whose rows are given, and gives its rows.
///
/// # Errors
/// The folder cannot be read or written.
pub fn write(suites: &[Suite], folder: &Path, rows: &[CaseRow]) -> io::Result<Vec<CaseRow>> {
    if suites.is_empty() {
        return Ok(Vec::new());
    }
    let subjects = folder.join(SUBJECTS);
    let subjects = if subjects.exists() { read_cases(&subjects).map_err(io::Error::other)? } else { Vec::new() };
    let found = scores(suites, rows, &subjects);
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(SUITE_COLUMNS)?;
    found.iter().try_for_each(|row| writer.write_record(row.fields(SUITE_COLUMNS)))?;
    write_whole(&folder.join(SUITES), &writer.into_inner().map_err(csv::IntoInnerError::into_error)?)?;
    Ok(found)
}

/// The rows of suites.csv: each suite of each object instance, in the order of `rows`. `subjects` are the rows of
/// subjects.csv, from which a macro average is taken. A suite of which a task has no result has no score.
fn scores(suites: &[Suite], rows: &[CaseRow], subjects: &[CaseRow]) -> Vec<CaseRow> {
    let mut instances: Vec<&CaseRow> = Vec::new();
    for row in rows {
        if !instances.iter().any(|i| identity(i) == identity(row)) {
            instances.push(row);
        }
    }
    let pairs = suites.iter().flat_map(|suite| instances.iter().map(move |instance| (suite, *instance)));
    pairs.map(|(suite, instance)| score(suite, instance, rows, subjects)).collect()
}

fn score(suite: &Suite, instance: &CaseRow, rows: &[CaseRow], subjects: &[CaseRow]) -> CaseRow {
    let column = suite.metric.name();
    let (mut parts, mut missing) = (Vec::new(), Vec::new());
    for (task, weight) in &suite.tasks {
        let case = rows.iter().find(|r| identity(r) == identity(instance) && r.get("task") == task);
        let case = case.filter(|r| r.get("status") == Status::Ok.name());
        let over_subjects = |case: &CaseRow| {
            subjects.iter().find(|s| {
                s.get("case") == case.get("case")
                    && s.get("level") == "overall"
                    && s.get("average") == Average::Macro.name()
            })
        };
        // A task without subjects has only one average.
        let row = match suite.average {
            Average::Micro => case,
            Average::Macro => case.and_then(over_subjects).or(case),
        };
        let number = |suffix: &str| row.and_then(|r| r.number(&format!("{column}{suffix}")));
        match number("") {
            Some(value) => parts.push(Part { weight: *weight, value, interval: number("_lo").zip(number("_hi")) }),
            None => missing.push(task.as_str()),
        }
    }
    let found = weighted(&parts).filter(|_| missing.is_empty());
    let mut row = CaseRow::default();
    row.set("suite", suite.name.as_str());
    for column in ["object", "backend", "model", "params"] {
        row.set(column, instance.get(column));
    }
    row.set("metric", column);
    row.set("average", suite.average.name());
    row.set_number("score", found.map(|(mean, _)| mean), 4);
    row.set_number("score_lo", found.and_then(|(_, i)| i).map(|i| i.0), 4);
    row.set_number("score_hi", found.and_then(|(_, i)| i).map(|i| i.1), 4);
    row.set("tasks", suite.tasks.len().to_string());
    row.set("missing", missing.join(";"));
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Metric;

    fn row(fields: &[(&str, &str)]) -> CaseRow {
        let mut row = CaseRow::default();
        fields.iter().for_each(|(column, value)| row.set(column, *value));
        row
    }

    fn case(object: &str, task: &str, acc: &str, status: &str) -> CaseRow {
        let name = format!("{object}/{task}");
        row(&[("case", &name), ("object", object), ("task", task), ("acc", acc), ("status", status)])
    }

    #[test]
    fn a_score_is_weighted_and_needs_every_task() {
        let rows = [
            case("a", "x", "0.9", "ok"),
            case("a", "y", "0.5", "ok"),
            case("b", "x", "0.8", "ok"),
            case("b", "y", "", "crashed"),
        ];
        let subjects = [row(&[("case", "a/y"), ("level", "overall"), ("average", "macro"), ("acc", "0.1")])];
        let tasks = vec![("x".to_owned(), 3.0), ("y".to_owned(), 1.0)];
        let suite = |average| Suite { name: "s".to_owned(), tasks: tasks.clone(), metric: Metric::Acc, average };
        let found = scores(&[suite(Average::Micro), suite(Average::Macro)], &rows, &subjects);
        let scores: Vec<&str> = found.iter().map(|r| r.get("score")).collect();
        assert_eq!(scores, ["0.8000", "", "0.7000", ""]);
        assert_eq!(found[1].get("missing"), "y");
    }
}
