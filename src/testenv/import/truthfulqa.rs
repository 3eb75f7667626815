//! TruthfulQA's multiple choice with one true answer (MC1) as its authors publish it: `mc_task.json`, an array of
//! questions with `mc1_targets`: choices and 1 for the true one, which comes first in all of them. Choices are
//! scored by their text, so that their order tells nothing.

use super::output::{Output, Record};
use super::source::Entry;
use super::text::json_array;
use super::{Kind, Request, letter, parts};
use crate::problem::Problem;
use crate::testenv::dataset::Need;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;

pub const KIND: Kind = Kind {
    name: "truthfulqa",
    what: "MC1: one true answer among common errors",
    from: "https://github.com/sylinrl/TruthfulQA (data/mc_task.json)",
    licence: "Apache-2.0",
    layout: "mc_task.json, or the folder with it",
    need: Need::Choice,
    ask: &["test"],
    examples: ("", 0),
    task: "method = \"choice\"\nstyle = \"lm-eval\"\n",
    groups: &[],
    read,
};

#[derive(Deserialize)]
struct Question {
    question: String,
    mc1_targets: Targets,
}

/// The pairs of an object, in its order.
struct Targets(Vec<(String, u8)>);

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Targets, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Targets;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("choices, each with 0 or 1")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Targets, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = object.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Targets(pairs))
            }
        }
        json.deserialize_map(Pairs)
    }
}

fn read(entry: &mut Entry, _: &Request, out: &mut Output) -> Result<bool, Problem> {
    if parts(&entry.path).1 != "mc_task" || !entry.is("json") {
        return Ok(false);
    }
    out.begin(&entry.shown, "test", None)?;
    json_array(entry, out, None, |out, line, Question { question, mc1_targets: Targets(targets) }| {
        let gold = targets.iter().position(|(_, right)| *right == 1);
        let record = Record {
            question: question.into(),
            choices: targets.into_iter().map(|(choice, _)| choice.into()).collect(),
            answer: gold.map_or(String::new(), letter).into(),
            ..Record::default()
        };
        out.push(line, &record);
    })?;
    Ok(true)
}
