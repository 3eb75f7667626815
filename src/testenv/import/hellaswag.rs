//! HellaSwag as its authors publish it: `hellaswag_{train,val}.jsonl`. Question and endings are cleaned as
//! lm-evaluation-harness does it (lm_eval/tasks/hellaswag/utils.py), which published figures rest on.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_lines;
use super::{Kind, Request, letter, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;

pub const KIND: Kind = Kind {
    name: "hellaswag",
    what: "which ending makes sense; val is asked, as the answers of test are not published",
    from: "https://github.com/rowanz/hellaswag (data/)",
    licence: "MIT",
    layout: "a folder with hellaswag_val.jsonl",
    need: Need::Choice,
    ask: &["val"],
    examples: ("train", 0),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\nmetrics = [\"acc_norm\"]\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Question {
    ind: u64,
    activity_label: String,
    ctx_a: String,
    ctx_b: String,
    endings: Vec<String>,
    label: Option<usize>,
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    let (_, stem) = parts(&entry.path);
    let Some(split) = stem.strip_prefix("hellaswag_").filter(|s| ["train", "val", "test"].contains(s)) else {
        return Ok(false);
    };
    if !entry.is("jsonl") || !out.wants(split, true) {
        return Ok(false);
    }
    if split == "test" {
        out.unanswered(entry);
        return Ok(true);
    }
    out.begin(&entry.shown, split, None)?;
    json_lines(entry, out, |out, line, q: Question| {
        let question = format!("{}: {} {}", q.activity_label, q.ctx_a, capitalised(&q.ctx_b));
        let record = Record {
            id: q.ind.to_string().into(),
            question: clean(&question).into(),
            choices: q.endings.iter().map(|e| clean(e).into()).collect(),
            answer: q.label.map_or(String::new(), letter).into(),
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}

/// Python's `str.capitalize`: the first letter large, all others small.
fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    first.into_iter().flatten().chain(chars.flat_map(char::to_lowercase)).collect()
}

/// Without the marks that WikiHow's texts still have.
fn clean(text: &str) -> String {
    let text = text.trim().replace(" [title]", ". ");
    let (mut kept, mut rest) = (String::with_capacity(text.len()), text.as_str());
    while let Some(open) = rest.find('[') {
        let Some(close) = rest[open..].find(']').filter(|close| !rest[open..open + close].contains('\n')) else {
            kept += &rest[..=open];
            rest = &rest[open + 1..];
            continue;
        };
        kept += &rest[..open];
        rest = &rest[open + close + 1..];
    }
    (kept + rest).replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cleaned_as_the_harness_does() {
        assert_eq!(clean(" Peel it. [title] Eat [step] it [substeps] now. "), "Peel it.. Eat it now.");
        assert_eq!(clean("a [b"), "a [b");
        assert_eq!(capitalised("the DOG élan"), "The dog élan");
        assert_eq!(capitalised(""), "");
    }
}
