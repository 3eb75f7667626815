//! WinoGrande as the Allen Institute publishes it: `dev.jsonl` and `train_{xs,s,m,l,xl}.jsonl`, a sentence with a `_`
//! and two things that may stand there.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_lines;
use super::{Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "winogrande",
    what: "which of two the sentence means; dev is asked, as the answers of test are not published",
    from: "https://winogrande.allenai.org (winogrande_1.1.zip)",
    licence: "CC BY 4.0",
    layout: "the zip, or a folder with dev.jsonl",
    need: Need::Choice,
    ask: &["dev"],
    examples: ("train_xl", 0),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Question {
    #[serde(rename = "qID")]
    id: String,
    sentence: String,
    option1: String,
    option2: String,
    answer: String,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (_, split) = parts(&entry.path);
    let usual = ["dev", "train_xl", "test"].contains(&split);
    if !entry.is("jsonl") || !(usual || split.starts_with("train_")) || !out.wants(split, usual) {
        return Ok(false);
    }
    if split == "test" {
        out.unanswered(entry);
        return Ok(true);
    }
    out.begin(&entry.shown, split, None)?;
    json_lines(entry, out, |out, line, q: Question| {
        let answer = match q.answer.as_str() {
            "1" => "A".into(),
            "2" => "B".into(),
            _ => q.answer.into(),
        };
        let record = Record {
            id: q.id.into(),
            question: q.sentence.into(),
            choices: vec![q.option1.into(), q.option2.into()],
            answer,
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}
