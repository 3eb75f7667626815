//! MMLU as its authors publish it: `{dev,val,test}/SUBJECT_{dev,val,test}.csv` without a header, the question, four
//! choices and the letter of the right one. Categories are those of categories.py beside the data.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::rows;
use super::{Groups, Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;

pub const KIND: Kind = Kind {
    name: "mmlu",
    what: "57 subjects, four choices",
    from: "https://github.com/hendrycks/test (data.tar)",
    licence: "MIT",
    layout: "data.tar, or the folder out of it with dev/, val/ and test/",
    need: Need::Choice,
    ask: &["test", "val"],
    examples: ("dev", 5),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\n",
    groups: GROUPS,
    read,
};

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (split, stem) = parts(&entry.path);
    let Some(subject) = stem.strip_suffix(split).and_then(|s| s.strip_suffix('_')) else { return Ok(false) };
    // `auxiliary_train` has other people's questions, in files without subjects.
    if !entry.is("csv") || !["dev", "val", "test"].contains(&split) || !out.wants(split, true) {
        return Ok(false);
    }
    out.begin(&entry.shown, split, Some(subject))?;
    let subject = subject.to_owned();
    rows(entry, out, |out, row| match row.cells[..] {
        [question, a, b, c, d, answer] => out.push(
            row.line,
            &Record {
                subject: subject.as_str().into(),
                question: question.into(),
                choices: [a, b, c, d].map(Into::into).to_vec(),
                answer: answer.trim().into(),
                ..Record::default()
            },
        ),
        _ => out.odd_row(row, 6),
    })?;
    Ok(true)
}

const GROUPS: Groups = &[
    (
        "STEM",
        &[
            "abstract_algebra",
            "astronomy",
            "college_biology",
            "college_chemistry",
            "college_computer_science",
            "college_mathematics",
            "college_physics",
            "computer_security",
            "conceptual_physics",
            "electrical_engineering",
            "elementary_mathematics",
            "high_school_biology",
            "high_school_chemistry",
            "high_school_computer_science",
            "high_school_mathematics",
            "high_school_physics",
            "high_school_statistics",
            "machine_learning",
        ],
    ),
    (
        "humanities",
        &[
            "formal_logic",
            "high_school_european_history",
            "high_school_us_history",
            "high_school_world_history",
            "international_law",
            "jurisprudence",
            "logical_fallacies",
            "moral_disputes",
            "moral_scenarios",
            "philosophy",
            "prehistory",
            "professional_law",
            "world_religions",
        ],
    ),
    (
        "social sciences",
        &[
            "econometrics",
            "high_school_geography",
            "high_school_government_and_politics",
            "high_school_macroeconomics",
            "high_school_microeconomics",
            "high_school_psychology",
            "human_sexuality",
            "professional_psychology",
            "public_relations",
            "security_studies",
            "sociology",
            "us_foreign_policy",
        ],
    ),
    (
        "other",
        &[
            "anatomy",
            "business_ethics",
            "clinical_knowledge",
            "college_medicine",
            "global_facts",
            "human_aging",
            "management",
            "marketing",
            "medical_genetics",
            "miscellaneous",
            "nutrition",
            "professional_accounting",
            "professional_medicine",
            "virology",
        ],
    ),
];
