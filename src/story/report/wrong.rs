//! Records that were answered wrong, with everything that was answered: which ones are shown, and what of each. It owns the
//! bounds that keep a report small; it must not know how a record looks.

use super::prompts::{Asked, cut, read};
use crate::story::run_folder::Run;
use crate::testenv::prompt::letter;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Records shown in a whole report.
const RECORDS: usize = 240;
/// Wrong records of a case that are thought of.
const KEPT: usize = RECORDS;
/// Answers shown of all records together.
const ANSWERS: usize = 1500;
/// Characters of a question that is folded up.
const PEEK: usize = 90;
/// Most characters of an answer.
const ANSWER: usize = 400;

/// All of one run.
#[derive(Debug, Default, Serialize)]
pub struct Wrong {
    pub records: Vec<Record>,
    /// Wrong answers of the run, and how many of them are shown.
    pub total: usize,
    pub shown: usize,
}

/// One record and who was wrong.
#[derive(Debug, Serialize)]
pub struct Record {
    pub task: String,
    pub id: String,
    pub question: String,
    /// Its beginning, in one line.
    pub peek: String,
    /// The options, and which is right.
    pub choices: Vec<(char, String, bool)>,
    pub gold: String,
    pub answers: Vec<Answer>,
    /// Cases of its task, and how many of them were wrong.
    pub asked: usize,
    pub wrong: usize,
}

#[derive(Debug, Serialize)]
pub struct Answer {
    /// Which of the report's cases.
    pub case: usize,
    pub prediction: String,
    pub output: String,
    pub error: String,
    /// Letter, log-likelihood, width of its bar, and `gold`, `picked` or nothing.
    pub options: Vec<(char, String, String, &'static str)>,
}

/// Reads predictions.jsonl twice: once to choose records, once for their answers. `cases`: name in the run → number in the
/// report and task.
pub fn wrong(run: &Run, cases: &BTreeMap<&str, (usize, &str)>, share: usize) -> Result<Wrong, String> {
    let records = (RECORDS / share).max(1);
    let mut by_case: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut out = Wrong::default();
    run.wrong_predictions(|line| {
        out.total += 1;
        let kept = by_case.entry(text(&line, "case")).or_default();
        if kept.len() < KEPT {
            kept.push(text(&line, "id"));
        }
    })?;
    let wanted = choose(&by_case, cases, records);
    let asked = read(run, &wanted);
    let mut found: BTreeMap<(String, String), Record> = BTreeMap::new();
    let mut room = ANSWERS / share;
    run.wrong_predictions(|line| {
        let Some((number, task)) = cases.get(line["case"].as_str().unwrap_or_default()) else { return };
        let key = ((*task).to_owned(), text(&line, "id"));
        if !wanted.contains(&key) {
            return;
        }
        let asked = asked.get(&key);
        let record = found.entry(key).or_insert_with_key(|(task, id)| Record {
            task: task.clone(),
            id: id.clone(),
            question: asked.map_or(String::new(), |a| a.question.clone()),
            peek: asked.map_or(String::new(), |a| cut(&a.question.replace('\n', " "), PEEK)),
            choices: asked.map_or(Vec::new(), |a| choices(a, &text(&line, "gold"))),
            gold: cut(&text(&line, "gold"), ANSWER),
            answers: Vec::new(),
            asked: cases.values().filter(|(_, other)| other == task).count(),
            wrong: 0,
        });
        record.wrong += 1;
        if room > 0 {
            room -= 1;
            out.shown += 1;
            record.answers.push(answer(*number, &line));
        }
    })?;
    out.records = found.into_values().filter(|r| !r.answers.is_empty()).collect();
    // What most got wrong is either hard or has a wrong answer in the dataset: both are worth a look first.
    out.records.sort_by(|a, b| (b.wrong * a.asked).cmp(&(a.wrong * b.asked)).then(b.wrong.cmp(&a.wrong)));
    Ok(out)
}

/// From each case in turn its next wrong record, until there are enough.
fn choose(
    by_case: &BTreeMap<String, Vec<String>>,
    cases: &BTreeMap<&str, (usize, &str)>,
    most: usize,
) -> BTreeSet<(String, String)> {
    let mut wanted = BTreeSet::new();
    for round in 0..KEPT {
        for (case, ids) in by_case {
            if let (Some(id), Some((_, task))) = (ids.get(round), cases.get(case.as_str()))
                && wanted.len() < most
            {
                wanted.insert(((*task).to_owned(), id.clone()));
            }
        }
    }
    wanted
}

fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap_or_default().to_owned()
}

fn choices(asked: &Asked, gold: &str) -> Vec<(char, String, bool)> {
    let choice = |(i, text): (usize, &String)| (letter(i), text.clone(), is_letter(gold, letter(i)));
    asked.choices.iter().enumerate().map(choice).collect()
}

fn is_letter(text: &str, letter: char) -> bool {
    text.len() == 1 && text.starts_with(letter)
}

fn answer(case: usize, line: &Value) -> Answer {
    let (prediction, gold) = (text(line, "prediction"), text(line, "gold"));
    let scores: Vec<f64> = line["scores"].as_array().into_iter().flatten().filter_map(Value::as_f64).collect();
    let most = scores.iter().copied().fold(f64::MIN, f64::max);
    // What the options' probabilities would be if there were no others.
    let sum: f64 = scores.iter().map(|s| (s - most).exp()).sum();
    let option = |(i, score): (usize, &f64)| {
        let letter = letter(i);
        let mark = if is_letter(&gold, letter) {
            "gold"
        } else if is_letter(&prediction, letter) {
            "picked"
        } else {
            ""
        };
        (letter, format!("{score:.2}"), format!("{:.1}", (score - most).exp() / sum * 100.0), mark)
    };
    Answer {
        case,
        prediction: cut(&prediction, ANSWER),
        output: cut(&text(line, "output"), ANSWER),
        error: cut(&text(line, "error"), ANSWER),
        options: scores.iter().enumerate().map(option).collect(),
    }
}
