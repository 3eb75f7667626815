//! CMMLU as its authors publish it: `{dev,test}/SUBJECT.csv` with the header `,Question,A,B,C,D,Answer`. Groups are
//! those of src/categories.py beside the data; a subject may be in two.

use super::output::{Output, Record};
use super::source::Entry;
use super::table::Columns;
use super::text::rows;
use super::{Groups, Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;

pub const KIND: Kind = Kind {
    name: "cmmlu",
    what: "67 subjects in Chinese, four choices",
    from: "https://github.com/haonan-li/CMMLU (data/), or cmmlu_v1_0_1.zip at https://huggingface.co/datasets/haonan-li/cmmlu",
    licence: "CC BY-NC-SA 4.0",
    layout: "the zip, or a folder with dev/ and test/",
    need: Need::Choice,
    ask: &["test"],
    examples: ("dev", 5),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\n",
    groups: GROUPS,
    read,
};

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (split, subject) = parts(&entry.path);
    if !entry.is("csv") || !["dev", "test"].contains(&split) || !out.wants(split, true) {
        return Ok(false);
    }
    out.begin(&entry.shown, split, Some(subject))?;
    let subject = subject.to_owned();
    let mut columns = Columns::new(["", "Question", "A", "B", "C", "D", "Answer"]);
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
            "anatomy",
            "astronomy",
            "college_actuarial_science",
            "college_engineering_hydrology",
            "college_mathematics",
            "college_medical_statistics",
            "computer_science",
            "conceptual_physics",
            "electrical_engineering",
            "elementary_mathematics",
            "genetics",
            "high_school_biology",
            "high_school_chemistry",
            "high_school_mathematics",
            "high_school_physics",
            "machine_learning",
            "virology",
        ],
    ),
    (
        "Humanities",
        &[
            "arts",
            "chinese_history",
            "chinese_literature",
            "college_law",
            "global_facts",
            "international_law",
            "jurisprudence",
            "logical",
            "marxist_theory",
            "philosophy",
            "professional_law",
            "world_history",
            "world_religions",
        ],
    ),
    (
        "Social Science",
        &[
            "ancient_chinese",
            "business_ethics",
            "chinese_civil_service_exam",
            "chinese_food_culture",
            "chinese_foreign_policy",
            "chinese_teacher_qualification",
            "college_education",
            "economics",
            "education",
            "elementary_chinese",
            "ethnology",
            "high_school_geography",
            "high_school_politics",
            "journalism",
            "management",
            "marketing",
            "modern_chinese",
            "professional_accounting",
            "professional_psychology",
            "public_relations",
            "security_study",
            "sociology",
        ],
    ),
    (
        "Other",
        &[
            "agronomy",
            "chinese_driving_rule",
            "clinical_knowledge",
            "college_medicine",
            "computer_security",
            "construction_project_management",
            "elementary_commonsense",
            "elementary_information_and_technology",
            "food_science",
            "human_sexuality",
            "legal_and_moral_basis",
            "nutrition",
            "professional_medicine",
            "sports_science",
            "traditional_chinese_medicine",
        ],
    ),
    (
        "China specific",
        &[
            "ancient_chinese",
            "chinese_civil_service_exam",
            "chinese_driving_rule",
            "chinese_food_culture",
            "chinese_foreign_policy",
            "chinese_history",
            "chinese_literature",
            "chinese_teacher_qualification",
            "construction_project_management",
            "elementary_chinese",
            "elementary_commonsense",
            "ethnology",
            "high_school_politics",
            "modern_chinese",
            "traditional_chinese_medicine",
        ],
    ),
];
