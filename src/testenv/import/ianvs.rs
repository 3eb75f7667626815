//! Datasets of KubeEdge Ianvs: `.jsonl` files of `{"question", "answer"}`, and folders of `metadata.json` and
//! `data.jsonl` with `{"query", "response", "level_3_dim", "level_4_dim"}`, in which the finer dimension is the subject.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_lines;
use super::{Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "ianvs",
    what: "a dataset of an Ianvs job",
    from: "https://github.com/kubeedge/ianvs (the README of each example)",
    licence: "that of the dataset",
    layout: "a folder with train_data/ and test_data/, or one .jsonl file",
    need: Need::Text,
    ask: &["test_data", "test", "data"],
    examples: ("train_data", 0),
    task: "method = \"generate\"\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Line {
    #[serde(alias = "query")]
    question: String,
    #[serde(alias = "response")]
    answer: String,
    /// Stands before the query.
    #[serde(default)]
    prompt: String,
    #[serde(default)]
    level_3_dim: String,
    #[serde(default)]
    level_4_dim: String,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (folder, stem) = parts(&entry.path);
    let split = if ["data", "metadata"].contains(&stem) && !folder.is_empty() { folder } else { stem };
    if !entry.is("jsonl") || !out.wants(split, true) {
        return Ok(false);
    }
    out.begin(&entry.shown, split, None)?;
    json_lines(entry, out, |out, line, l: Line| {
        let subject = if l.level_4_dim.is_empty() { l.level_3_dim } else { l.level_4_dim };
        let record = Record {
            subject: subject.into(),
            context: l.prompt.into(),
            question: l.question.into(),
            answer: l.answer.into(),
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}
