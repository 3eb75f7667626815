//! BoolQ, in the layout of its authors (`{train,dev}.jsonl` with `answer`) and in that of SuperGLUE
//! (`{train,val}.jsonl` with `label` and `idx`).

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_lines;
use super::{Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "boolq",
    what: "yes or no, from a passage; dev is asked, as the answers of test are not published",
    from: "https://github.com/google-research-datasets/boolean-questions, or BoolQ.zip at https://super.gluebenchmark.com/tasks",
    licence: "CC BY-SA 3.0",
    layout: "a folder or zip with dev.jsonl or val.jsonl",
    need: Need::Choice,
    ask: &["dev", "val"],
    examples: ("train", 0),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Question {
    question: String,
    passage: String,
    #[serde(alias = "label")]
    answer: bool,
    idx: Option<u64>,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (_, split) = parts(&entry.path);
    if !entry.is("jsonl") || !["train", "dev", "val", "test"].contains(&split) || !out.wants(split, true) {
        return Ok(false);
    }
    if split == "test" {
        out.unanswered(entry);
        return Ok(true);
    }
    out.begin(&entry.shown, split, None)?;
    json_lines(entry, out, |out, line, q: Question| {
        let record = Record {
            id: q.idx.map_or(String::new(), |i| i.to_string()).into(),
            context: q.passage.into(),
            question: q.question.into(),
            choices: vec!["no".into(), "yes".into()],
            answer: if q.answer { "B" } else { "A" }.into(),
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}
