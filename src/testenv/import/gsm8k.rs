//! GSM8K as its authors publish it: `{train,test}.jsonl` of `{"question", "answer"}`, the answer a worked solution that
//! ends in `#### 18`. The solution stays whole, as examples show it; the number is taken from it when it is judged.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_lines;
use super::{Kind, Request, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "gsm8k",
    what: "grade school mathematics, worked solutions",
    from: "https://github.com/openai/grade-school-math (grade_school_math/data)",
    licence: "MIT",
    layout: "a folder with test.jsonl and train.jsonl",
    need: Need::Text,
    ask: &["test"],
    examples: ("train", 5),
    task: "method = \"generate\"\nstyle = \"lm-eval\"\nmax_tokens = 512\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Question {
    question: String,
    answer: String,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (_, stem) = parts(&entry.path);
    // `test.jsonl`, and `train_head64.jsonl` of those who need only examples; not `test_socratic.jsonl`.
    let split = stem.split('_').next().unwrap_or(stem);
    let ours = ["train", "test"].contains(&split) && !stem.contains("socratic");
    if !entry.is("jsonl") || !ours || !out.wants(split, true) {
        return Ok(false);
    }
    out.begin(&entry.shown, split, None)?;
    let path = entry.shown.clone();
    json_lines(entry, out, |out, line, Question { question, answer }| {
        if answer.rsplit_once("#### ").is_none_or(|(_, number)| number.trim().is_empty()) {
            let what = "\"answer\" does not end in \"#### NUMBER\"";
            return out.problem(Problem::new(&path, line, what, "is it the file as it was published?"));
        }
        out.push(line, &Record { question: question.into(), answer: answer.into(), ..Record::default() });
    })?;
    Ok(true)
}
