//! BIG-Bench Hard as its authors publish it: `bbh/TASK.json` with the array `examples` of `{"input", "target"}`, and
//! `cot-prompts/TASK.txt` with three worked examples. Each task is a subject.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::{json_array, whole};
use super::{Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "bbh",
    what: "BIG-Bench Hard, 27 tasks, free answers; worked examples are the split dev",
    from: "https://github.com/suzgunmirac/BIG-Bench-Hard",
    licence: "MIT",
    layout: "a folder with bbh/ and cot-prompts/",
    need: Need::Text,
    ask: &["test"],
    examples: ("dev", 3),
    task: "method = \"generate\"\nstyle = \"lm-eval\"\nmax_tokens = 512\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Example {
    input: String,
    target: String,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (folder, subject) = parts(&entry.path);
    let subject = subject.to_owned();
    if folder == "cot-prompts" && entry.is("txt") && out.wants("dev", true) {
        out.begin(&entry.shown, "dev", Some(&subject))?;
        worked(&whole(entry)?, &subject, out);
        return Ok(true);
    }
    // SRC may be the folder bbh itself.
    if !["bbh", ""].contains(&folder) || !entry.is("json") || !out.wants("test", true) {
        return Ok(false);
    }
    out.begin(&entry.shown, "test", Some(&subject))?;
    json_array(entry, out, Some("examples"), |out, line, Example { input, target }| {
        let record = Record {
            subject: subject.as_str().into(),
            question: input.into(),
            answer: target.into(),
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}

/// The examples of a prompt: behind a line of dashes a sentence on the task, then `Q: …` and `A: …` in turns.
fn worked(prompt: &str, subject: &str, out: &mut Output) {
    let (mut line, mut question): (u64, Option<(u64, String)>) = (0, None);
    let mut answer: Option<String> = None;
    let finish = |out: &mut Output, question: &mut Option<(u64, String)>, answer: &mut Option<String>| {
        if let (Some((line, question)), Some(answer)) = (question.take(), answer.take()) {
            let record = Record {
                subject: subject.into(),
                question: question.trim().into(),
                answer: answer.trim().into(),
                ..Record::default()
            };
            out.push(line, &record);
        }
    };
    for text in prompt.lines() {
        line += 1;
        if let Some(start) = text.strip_prefix("Q: ") {
            finish(out, &mut question, &mut answer);
            question = Some((line, start.to_owned()));
        } else if let (Some(start), true) = (text.strip_prefix("A: "), question.is_some() && answer.is_none()) {
            answer = Some(start.to_owned());
        } else if let Some(open) = answer.as_mut().or(question.as_mut().map(|(_, q)| q)) {
            open.push('\n');
            open.push_str(text);
        }
    }
    finish(out, &mut question, &mut answer);
}
