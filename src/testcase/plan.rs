//! Everything that a run would refuse, found before it: the datasets are read to their last record, and the
//! cases are chosen. It must not start anything.

use super::ask::{Asker, need};
use super::finetune;
use super::manifest::{FileHash, hex};
use super::scenario::{Item, Records, stem};
use super::smaller::{Made, NotMade};
use crate::job::{CaseRef, Job, Method, Task};
use crate::pattern::fits;
use crate::problem::Problem;
use crate::testenv::dataset::{Index, Need, Reader, Summary, check as check_dataset};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A job whose input is sound, and the cases to run.
pub struct Plan {
    pub job: Job,
    pub cases: Vec<CaseRef>,
    /// Per task.
    pub records: Vec<Records>,
    /// Bytes of dataset that were checked.
    pub bytes: u64,
    /// Of each dataset, if they were hashed, and of originals that smaller models were made of.
    pub hashes: BTreeMap<PathBuf, FileHash>,
    /// What could not be looked at in full.
    pub notes: Vec<Problem>,
    /// Object instance → its model, where that had to be made ([`super::smaller`]), or why it could not be.
    pub made: BTreeMap<String, Result<Made, NotMade>>,
    /// When the run is to end, whatever has been asked by then.
    pub until: Option<Instant>,
}

/// The model of those objects that stand for a checkpoint.
#[derive(Debug, Clone, Copy)]
pub struct Checkpoint<'a> {
    /// What results call it.
    pub name: &'a str,
    pub path: &'a Path,
}

impl Plan {
    /// Reads the job and every dataset of it. All problems come back at once. To `run` a plan its datasets' hashes
    /// are needed, which the same reading gives.
    pub fn load(path: &Path, to_run: bool) -> Result<Plan, Vec<Problem>> {
        let (job, mut problems) = Job::read(path);
        if to_run && job.as_ref().is_some_and(|job| job.instances.iter().any(|i| i.is_checkpoint())) {
            let todo = "edgebench watch FOLDER --job JOB runs it with each checkpoint in the folder";
            problems.push(Problem::new(path, 0, "model = \"@checkpoint\" is no model", todo));
        }
        Plan::of(job, problems, path, to_run)
    }

    /// The same, to run, with `checkpoint` as the model where the job says `@checkpoint`.
    pub fn load_with(path: &Path, checkpoint: Checkpoint) -> Result<Plan, Vec<Problem>> {
        let (mut job, problems) = Job::read(path);
        for instance in job.iter_mut().flat_map(|job| &mut job.instances).filter(|i| i.is_checkpoint()) {
            instance.model = checkpoint.name.to_owned();
            instance.model_path = Some(std::path::absolute(checkpoint.path).unwrap_or(checkpoint.path.to_path_buf()));
        }
        Plan::of(job, problems, path, true)
    }

    fn of(job: Option<Job>, problems: Vec<Problem>, path: &Path, to_run: bool) -> Result<Plan, Vec<Problem>> {
        let mut checked = Checked { problems, hash: to_run, ..Checked::default() };
        let Some(job) = job else { return Err(checked.problems) };
        let mut records = Vec::with_capacity(job.tasks.len());
        for task in &job.tasks {
            let need = need(&task.method);
            let mut found = Records::default();
            for path in &task.datasets {
                let (n, index) = checked.check(path, need);
                found.push(n, index);
            }
            if found.asked(task) == 0 && checked.problems.is_empty() {
                let what = format!("the task \"{}\" asks no record", task.name);
                checked.problems.push(Problem::new(path, task.line, what, "lower its offset"));
            }
            if let (Method::Finetune(_), None) = (&task.method, task.selection.n) {
                let sizes = task.datasets.iter().filter_map(|path| std::fs::metadata(path).ok());
                if let Some((what, todo)) = finetune::too_long(sizes.map(|m| m.len()).sum()) {
                    checked.problems.push(Problem::new(&job.path, task.line, what, todo));
                }
            }
            records.push(found);
            if let Some(shots) = &task.shots {
                for from in &shots.from {
                    let (there, _) = checked.check(from, need);
                    if there < shots.n as u64 && checked.sound(from, need) {
                        let what =
                            format!("the task \"{}\" wants {} examples, this file has {there}", task.name, shots.n);
                        checked.problems.push(Problem::new(from, 0, what, "lower shots.n, or add records"));
                    }
                }
            }
        }
        if checked.problems.is_empty() {
            checked.problems.extend(job.tasks.iter().filter_map(|task| first_prompts(&job, task).err()));
        }
        if !checked.problems.is_empty() {
            return Err(checked.problems);
        }
        let bytes = checked.files.values().map(|s| s.bytes).sum();
        let (hashes, notes) = (checked.hashes(), checked.notes());
        Ok(Plan { cases: job.cases(), job, records, bytes, hashes, notes, made: BTreeMap::new(), until: None })
    }

    /// Leaves the cases whose id fits `pattern`: a part of it, or with `*` for anything the whole of it.
    pub fn only(&mut self, pattern: &str) {
        self.cases.retain(|case| fits(pattern, &self.job.case_id(*case)));
    }

    /// Records that will be asked in all, warm-up included.
    pub fn total_records(&self) -> u64 {
        self.cases.iter().map(|c| self.records_of(*c)).sum()
    }

    /// The task that judges a model before and after it is trained, and its records.
    pub fn quality(&self, case: CaseRef) -> Option<(&Task, &Records)> {
        let Method::Finetune(training) = &self.job.tasks[case.task].method else { return None };
        let number = self.job.tasks.iter().position(|t| Some(&t.name) == training.quality.as_ref())?;
        Some((&self.job.tasks[number], &self.records[number]))
    }

    /// Records that one case asks, warm-up included.
    pub fn records_of(&self, case: CaseRef) -> u64 {
        if let Method::Finetune(_) = self.job.tasks[case.task].method {
            return self.quality(case).map_or(0, |(task, records)| 2 * records.asked(task));
        }
        u64::from(self.job.warmup)
            + self.records[case.task].asked(&self.job.tasks[case.task]) * u64::from(self.job.repeat)
    }
}

/// Files that were checked, each once per need.
#[derive(Default)]
struct Checked {
    files: HashMap<(PathBuf, Need), Summary>,
    problems: Vec<Problem>,
    hash: bool,
}

impl Checked {
    /// Checks `path` unless that was done; gives its number of records, and where they are.
    fn check(&mut self, path: &Path, need: Need) -> (u64, Index) {
        let key = (path.to_path_buf(), need);
        if let Some(summary) = self.files.get(&key) {
            return (summary.records, summary.index.clone());
        }
        let mut summary = check_dataset(path, need, self.hash);
        let told = summary.problems.len() as u64;
        self.problems.append(&mut summary.problems);
        if summary.n_problems > told {
            let what = format!("{} more problems of this kind", summary.n_problems - told);
            self.problems.push(Problem::new(path, 0, what, "mend the first ones and check again"));
        }
        let found = (summary.records, summary.index.clone());
        self.files.insert(key, summary);
        found
    }

    fn hashes(&self) -> BTreeMap<PathBuf, FileHash> {
        let hash = |((path, _), s): (&(PathBuf, Need), &Summary)| {
            Some((path.clone(), FileHash { sha256: hex(&s.hash?), bytes: s.bytes }))
        };
        self.files.iter().filter_map(hash).collect()
    }

    fn notes(&self) -> Vec<Problem> {
        let sampled = self.files.iter().filter(|(_, summary)| summary.ids_sampled);
        let what = "has more ids than are kept; whether two are the same was seen of a part of them";
        sampled.map(|((path, _), _)| Problem::new(path, 0, what, "")).collect()
    }

    fn sound(&self, path: &Path, need: Need) -> bool {
        self.files.get(&(path.to_path_buf(), need)).is_some_and(|s| s.n_problems == 0)
    }
}

/// Renders the prompt of each file's first record, so that a template that cannot be filled and a subject without
/// examples are found now.
fn first_prompts(job: &Job, task: &Task) -> Result<(), Problem> {
    let asker = Asker::new(task, job.timeout)?;
    for path in &task.datasets {
        let stem = stem(path);
        let mut reader = Reader::open(path, need(&task.method))?;
        let Some(record) = reader.next()? else { continue };
        asker.seen(&Item::new(&record, &stem, task.datasets.len() > 1)).map_err(|e| {
            let what = format!("the prompt of task \"{}\" cannot be rendered: {e}", task.name);
            Problem::new(&job.path, task.line, what, "mend the template or the examples")
        })?;
        if let Some(metric) = task.metrics.iter().find(|m| m.needs_classes() && record.gold.is_none()) {
            let what =
                format!("{} needs classes, and the records of task \"{}\" have no choices", metric.name(), task.name);
            let todo = "give the records `choices`, or leave that metric out";
            return Err(Problem::new(&job.path, task.line, what, todo));
        }
    }
    Ok(())
}
