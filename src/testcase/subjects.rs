//! The answers of a case by subject and by group of subjects, and their rows in subjects.csv. It must not know how a
//! record was judged.

use super::figures;
use crate::job::{Average, Group, Task};
use crate::results::CaseRow;
use crate::testenv::average::{Part, weighted};
use crate::testenv::metric::Tally;
use std::collections::HashMap;

/// Most subjects that are told apart: beyond that a "subject" is something else, such as a page of a book.
const MAX: usize = 2000;

/// Counts by subject and group.
#[derive(Debug, Default)]
pub struct Subjects {
    /// In the order in which they came.
    subjects: Vec<(String, Tally)>,
    places: HashMap<String, usize>,
    groups: Vec<(Group, Tally)>,
    /// What each begins with.
    empty: Tally,
    /// There are more than [`MAX`].
    too_many: bool,
}

impl Subjects {
    /// Nothing yet, of a task with its groups.
    pub fn new(task: &Task) -> Subjects {
        let empty = Tally::new(&task.metrics, &task.scoring).small();
        let groups = task.groups.iter().map(|g| (g.clone(), empty.clone())).collect();
        Subjects { groups, empty, ..Subjects::default() }
    }

    /// The counts to which a record of `subject` (empty: it has none) belongs.
    pub fn of(&mut self, subject: &str) -> impl Iterator<Item = &mut Tally> {
        let place = match self.places.get(subject) {
            Some(&place) => Some(place),
            None if subject.is_empty() || self.too_many => None,
            None if self.subjects.len() == MAX => {
                self.too_many = true;
                None
            }
            None => {
                self.places.insert(subject.to_owned(), self.subjects.len());
                self.subjects.push((subject.to_owned(), self.empty.clone()));
                Some(self.subjects.len() - 1)
            }
        };
        let own = place.and_then(|place| self.subjects.get_mut(place)).map(|(_, tally)| tally);
        let of_groups = self.groups.iter_mut().filter(move |(group, _)| group.subjects.iter().any(|s| s == subject));
        own.into_iter().chain(of_groups.map(|(_, tally)| tally))
    }

    /// The rows of subjects.csv: each subject, each group and all, the latter two over records (micro) and over
    /// subjects (macro). None if the records have no subjects, or too many.
    pub fn rows(&self, case: &str, task: &Task, all: &Tally) -> Vec<CaseRow> {
        if self.subjects.is_empty() || self.too_many {
            return Vec::new();
        }
        let row = |level: &str, name: &str, average: &str, members: usize, tally: &Tally| {
            let mut row = CaseRow::default();
            for (column, value) in [("case", case), ("level", level), ("name", name), ("average", average)] {
                row.set(column, value);
            }
            row.set("subjects", members.to_string());
            figures::quality(&mut row, tally, task);
            row
        };
        let subjects: Vec<CaseRow> = self.subjects.iter().map(|(name, t)| row("subject", name, "", 1, t)).collect();
        let mut rows = subjects.clone();
        let mut both = |level: &str, name: &str, members: Vec<&CaseRow>, tally: &Tally| {
            if !members.is_empty() {
                rows.push(row(level, name, Average::Micro.name(), members.len(), tally));
                let mut over_subjects = row(level, name, Average::Macro.name(), members.len(), tally);
                mean(&mut over_subjects, &members);
                rows.push(over_subjects);
            }
        };
        for (group, tally) in &self.groups {
            let is_member = |row: &&CaseRow| group.subjects.iter().any(|s| s == row.get("name"));
            both("group", &group.name, subjects.iter().filter(is_member).collect(), tally);
        }
        both("overall", "all", subjects.iter().collect(), all);
        rows
    }
}

/// Puts the mean over `members` in the place of every figure of `row` but the counts.
fn mean(row: &mut CaseRow, members: &[&CaseRow]) {
    let columns: Vec<String> = row.columns().map(str::to_owned).collect();
    let counts = ["case", "level", "name", "average", "subjects", "n", "n_failed", "unextracted"];
    for column in columns.iter().filter(|c| !counts.contains(&c.as_str())) {
        let value_of = column.strip_suffix("_lo").or(column.strip_suffix("_hi"));
        if value_of.is_some_and(|value| columns.iter().any(|c| c == value)) {
            continue; // with the figure itself
        }
        let (lo, hi) = (format!("{column}_lo"), format!("{column}_hi"));
        let part = |member: &&CaseRow| {
            let interval = member.number(&lo).zip(member.number(&hi));
            Some(Part { weight: 1.0, value: member.number(column)?, interval })
        };
        let parts: Vec<Part> = members.iter().filter_map(part).collect();
        let found = weighted(&parts);
        row.set_number(column, found.map(|(mean, _)| mean), 4);
        if columns.contains(&lo) {
            let interval = found.and_then(|(_, interval)| interval);
            row.set(&lo, "");
            row.set(&hi, "");
            row.set_number(&lo, interval.map(|i| i.0), 4);
            row.set_number(&hi, interval.map(|i| i.1), 4);
        }
    }
}
