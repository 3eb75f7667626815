//! `[[suite]]` of the job file: several tasks under one weighted score. It must not know how a score is made.

use super::read::word;
use super::toml::{Table, Value, did_you_mean};
use super::{Metric, Task};

/// Tasks whose results make one score.
#[derive(Debug, Clone, PartialEq)]
pub struct Suite {
    pub name: String,
    /// Names of tasks, each with its weight.
    pub tasks: Vec<(String, f64)>,
    pub metric: Metric,
    pub average: Average,
}

/// Over what a task with subjects is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// Its records: each counts the same.
    Micro,
    /// Its subjects: each counts the same.
    Macro,
}

impl Average {
    pub const ALL: &[(&str, Average)] = &[("micro", Average::Micro), ("macro", Average::Macro)];

    /// Its word in the job file and in results.
    pub fn name(self) -> &'static str {
        Average::ALL.iter().find(|(_, a)| *a == self).map_or("", |(name, _)| name)
    }
}

/// All suites of a job with these tasks.
pub fn read(value: &Value, tasks: &[Task]) -> Vec<Suite> {
    let mut suites: Vec<Suite> = Vec::new();
    for value in value.list() {
        let Some(suite) = value.table("[[suite]]").and_then(|t| suite(t, tasks)) else { continue };
        if suites.iter().any(|s| s.name == suite.name) {
            value.problem(format!("two suites are called \"{}\"", suite.name), "give each its own name");
        }
        suites.push(suite);
    }
    suites
}

fn suite(mut table: Table, tasks: &[Task]) -> Option<Suite> {
    let name = table.need("name", "name the suite").and_then(|v| v.name());
    let members = table.need("tasks", "list the names of tasks").map_or(Vec::new(), |v| v.sweep());
    let weights = table.get("weights");
    let metric = table.get("metric").map_or(Some(Metric::Acc), |v| word(&v, Metric::ALL));
    let average = table.get("average").map_or(Some(Average::Micro), |v| word(&v, Average::ALL));
    table.finish();
    let metric = metric?;
    let mut names = Vec::new();
    for member in &members {
        let name = member.name()?;
        let Some(task) = tasks.iter().find(|t| t.name == name) else {
            let todo = did_you_mean(name, tasks.iter().map(|t| t.name.as_str()), "give a task of this job");
            member.problem(format!("no task is called \"{name}\""), todo);
            continue;
        };
        let always_there = metric == Metric::Acc && metric.misfit(&task.method).is_none();
        if !always_there && !task.metrics.contains(&metric) {
            let todo = format!("add metrics = [\"{}\"] to it, or take another metric for the suite", metric.name());
            member.problem(format!("the task \"{name}\" has no {}", metric.name()), todo);
        }
        if names.contains(&name) {
            member.problem(format!("the task \"{name}\" is there twice"), "give it a weight instead");
        }
        names.push(name);
    }
    let mut numbers = vec![1.0; members.len()];
    if let Some(weights) = weights {
        let values = weights.list();
        if values.len() != members.len() {
            let what = format!("{} weights for {} tasks", values.len(), members.len());
            weights.problem(what, "give one for each task, in their order");
            return None;
        }
        for (number, value) in numbers.iter_mut().zip(&values) {
            *number = value.number(0.0, 1e9)?;
        }
        if numbers.iter().sum::<f64>() <= 0.0 {
            weights.problem("all weights are 0", "give at least one that is not");
            return None;
        }
    }
    let tasks = names.into_iter().map(str::to_owned).zip(numbers).collect();
    Some(Suite { name: name?.to_owned(), tasks, metric, average: average? })
}
