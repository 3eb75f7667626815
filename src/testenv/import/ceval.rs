//! C-Eval as its authors publish it: `{dev,val,test}/SUBJECT_{dev,val,test}.csv` with the header
//! `id,question,A,B,C,D,answer`, in dev also `explanation`. The answers of test are not published, so val is asked.
//! Groups are those of subject_mapping.json beside the data, and C-Eval Hard.

use super::output::{Output, Record};
use super::source::Entry;
use super::table::Columns;
use super::text::rows;
use super::{Groups, Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;

pub const KIND: Kind = Kind {
    name: "ceval",
    what: "52 subjects in Chinese, four choices; val is asked, as the answers of test are not published",
    from: "ceval-exam.zip at https://huggingface.co/datasets/ceval/ceval-exam",
    licence: "CC BY-NC-SA 4.0",
    layout: "the zip, or a folder with dev/ and val/",
    need: Need::Choice,
    ask: &["val"],
    examples: ("dev", 5),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\n",
    groups: GROUPS,
    read,
};

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (split, stem) = parts(&entry.path);
    let Some(subject) = stem.strip_suffix(split).and_then(|s| s.strip_suffix('_')) else { return Ok(false) };
    if !entry.is("csv") || !["dev", "val", "test"].contains(&split) || !out.wants(split, true) {
        return Ok(false);
    }
    if split == "test" {
        out.unanswered(entry);
        return Ok(true);
    }
    out.begin(&entry.shown, split, Some(subject))?;
    let subject = subject.to_owned();
    let mut columns = Columns::new(["id", "question", "A", "B", "C", "D", "answer"]);
    rows(entry, out, |out, row| {
        let Some([id, question, a, b, c, d, answer]) = columns.pick(out, row) else { return };
        let record = Record {
            id: id.into(),
            subject: subject.as_str().into(),
            question: question.into(),
            choices: [a, b, c, d].map(Into::into).to_vec(),
            answer: answer.trim().into(),
            ..Record::default()
        };
        out.push(row.line, &record);
    })?;
    Ok(true)
}

const GROUPS: Groups = &[
    (
        "STEM",
        &[
            "computer_network",
            "operating_system",
            "computer_architecture",
            "college_programming",
            "college_physics",
            "college_chemistry",
            "advanced_mathematics",
            "probability_and_statistics",
            "discrete_mathematics",
            "electrical_engineer",
            "metrology_engineer",
            "high_school_mathematics",
            "high_school_physics",
            "high_school_chemistry",
            "high_school_biology",
            "middle_school_mathematics",
            "middle_school_biology",
            "middle_school_physics",
            "middle_school_chemistry",
            "veterinary_medicine",
        ],
    ),
    (
        "Social Science",
        &[
            "college_economics",
            "business_administration",
            "marxism",
            "mao_zedong_thought",
            "education_science",
            "teacher_qualification",
            "high_school_politics",
            "high_school_geography",
            "middle_school_politics",
            "middle_school_geography",
        ],
    ),
    (
        "Humanities",
        &[
            "modern_chinese_history",
            "ideological_and_moral_cultivation",
            "logic",
            "law",
            "chinese_language_and_literature",
            "art_studies",
            "professional_tour_guide",
            "legal_professional",
            "high_school_chinese",
            "high_school_history",
            "middle_school_history",
        ],
    ),
    (
        "Other",
        &[
            "civil_servant",
            "sports_science",
            "plant_protection",
            "basic_medicine",
            "clinical_medicine",
            "urban_and_rural_planner",
            "accountant",
            "fire_engineer",
            "environmental_impact_assessment_engineer",
            "tax_accountant",
            "physician",
        ],
    ),
    (
        "Hard",
        &[
            "advanced_mathematics",
            "discrete_mathematics",
            "probability_and_statistics",
            "college_chemistry",
            "college_physics",
            "high_school_mathematics",
            "high_school_chemistry",
            "high_school_physics",
        ],
    ),
];
