//! SQuAD 1.1 and 2.0 as their authors publish them: `{train,dev}-v{1.1,2.0}.json`, articles of paragraphs of questions
//! with the answers of several people. The first is the record's `answer`, all of them its `answers`; a question
//! that cannot be answered expects `unanswerable`.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_array;
use super::{Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;
use std::borrow::Cow;

pub const KIND: Kind = Kind {
    name: "squad",
    what: "answers from a passage, 1.1 and 2.0",
    from: "https://rajpurkar.github.io/SQuAD-explorer/",
    licence: "CC BY-SA 4.0",
    layout: "dev-v1.1.json or dev-v2.0.json, or a folder with one of them",
    need: Need::Text,
    ask: &["dev-v2.0", "dev-v1.1"],
    examples: ("", 0),
    task: "method = \"generate\"\nprompt = \"{{ context }}\\nAnswer from the text above; where it has no answer write: unanswerable\\nQuestion: {{ question }}\\nAnswer:\"\n\
           correct = \"squad_em\"\nmetrics = [\"squad_em\", \"squad_f1\"]\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Article {
    paragraphs: Vec<Paragraph>,
}

#[derive(Deserialize)]
struct Paragraph {
    context: String,
    qas: Vec<Question>,
}

#[derive(Deserialize)]
struct Question {
    id: String,
    question: String,
    #[serde(default)]
    answers: Vec<Answer>,
    #[serde(default)]
    is_impossible: bool,
}

#[derive(Deserialize)]
struct Answer {
    text: String,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (_, split) = parts(&entry.path);
    let ours = split.starts_with("dev-v") || split.starts_with("train-v");
    if !entry.is("json") || !ours || !out.wants(split, true) {
        return Ok(false);
    }
    out.begin(&entry.shown, split, None)?;
    json_array(entry, out, Some("data"), |out, line, Article { paragraphs }| {
        for paragraph in &paragraphs {
            for q in &paragraph.qas {
                out.push(line, &record(&paragraph.context, q));
            }
        }
    })?;
    Ok(true)
}

fn record<'a>(context: &'a str, q: &'a Question) -> Record<'a> {
    let mut answers: Vec<Cow<str>> = Vec::new();
    for answer in &q.answers {
        if !answers.contains(&Cow::Borrowed(answer.text.as_str())) {
            answers.push(answer.text.as_str().into());
        }
    }
    let first = if q.is_impossible { "unanswerable".into() } else { answers.first().cloned().unwrap_or_default() };
    if answers.len() < 2 || q.is_impossible {
        answers.clear();
    }
    Record {
        id: q.id.as_str().into(),
        context: context.into(),
        question: q.question.trim().into(),
        answer: first,
        answers,
        ..Record::default()
    }
}
