//! ARC as the Allen Institute publishes it: `ARC-{Easy,Challenge}-{Train,Dev,Test}.jsonl`, each question with its
//! labelled choices. The CSV files beside them hold the same questions, not taken apart, and are passed over.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_lines;
use super::{Kind, Request, letter, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "arc",
    what: "grade school science, ARC-Easy and ARC-Challenge, choices",
    from: "https://allenai.org/data/arc (ARC-V1-Feb2018.zip)",
    licence: "CC BY-SA 4.0",
    layout: "the zip, or a folder with ARC-Easy/ and ARC-Challenge/ (.jsonl)",
    need: Need::Choice,
    ask: &["test", "dev"],
    examples: ("dev", 0),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\nmetrics = [\"acc_norm\"]\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Line {
    id: String,
    question: Question,
    #[serde(rename = "answerKey", default)]
    key: String,
}

#[derive(Deserialize)]
struct Question {
    stem: String,
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    text: String,
    label: String,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (_, stem) = parts(&entry.path);
    let Some((subject, split)) = stem.rsplit_once('-') else { return Ok(false) };
    let split = split.to_ascii_lowercase();
    let ours = ["ARC-Easy", "ARC-Challenge"].contains(&subject) && ["train", "dev", "test"].contains(&split.as_str());
    if !entry.is("jsonl") || !ours || !out.wants(&split, true) {
        return Ok(false);
    }
    out.begin(&entry.shown, &split, Some(subject))?;
    let subject = subject.to_owned();
    json_lines(entry, out, |out, line, Line { id, question, key }| {
        // Labels are A to E, or 1 to 5.
        let gold = question.choices.iter().position(|c| c.label == key);
        let record = Record {
            id: id.into(),
            subject: subject.as_str().into(),
            question: question.stem.into(),
            choices: question.choices.into_iter().map(|c| c.text.into()).collect(),
            answer: gold.map_or(key, letter).into(),
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}
