//! One record put to a host and its answer judged: where prompt, method and metric meet the backend's client.
//! It must not know the order of records, passes or files.

use super::timing::Sample;
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Failure, FailureKind, Input, Prompt as WirePrompt, Sampling, ScorePrompt};
use crate::job::{Method, Task};
use crate::problem::Problem;
use crate::testenv::dataset::{Need, Reader, Record};
use crate::testenv::extract;
use crate::testenv::metric::Judgement;
use crate::testenv::prompt::{Prompt, letter};
use std::time::Duration;

/// What a method needs of a record.
pub fn need(method: &Method) -> Need {
    match method {
        Method::Choice(_) => Need::Choice,
        Method::Generate { .. } => Need::Text,
    }
}

/// An answered record.
pub struct Answer {
    pub sample: Sample,
    /// The chosen letter, or the extracted text.
    pub prediction: String,
    pub judgement: Judgement,
    /// Log-likelihood per option (`choice`), as it is written: rounded to 1e-6.
    pub option_scores: Option<Vec<f64>>,
    /// `choice`: log-likelihood of the right option; `generate`: 1 or 0.
    pub score: f64,
}

/// Why a record has no answer.
pub enum AskError {
    /// This record cannot be answered; others may.
    Record(Failure),
    /// The case is over.
    Host(HostError),
}

/// Puts records of one task to a host.
pub struct Asker<'a> {
    task: &'a Task,
    prompt: Prompt,
    timeout: Duration,
}

impl<'a> Asker<'a> {
    /// Compiles the task's prompt and renders its examples.
    pub fn new(task: &'a Task, timeout: Duration) -> Result<Asker<'a>, Problem> {
        let fail = |path: &std::path::Path, what: String| Problem::new(path, 0, what, "");
        let mut prompt =
            Prompt::compile(&task.prompt).map_err(|e| fail(&task.datasets[0], format!("its prompt: {e}")))?;
        if let Some(shots) = &task.shots {
            let mut reader = Reader::open(&shots.from, need(&task.method))?;
            for _ in 0..shots.n {
                let Some(record) = reader.next()? else { break };
                prompt.add_example(&record).map_err(|e| fail(&shots.from, format!("an example's prompt: {e}")))?;
            }
        }
        Ok(Asker { task, prompt, timeout })
    }

    /// What the model will see for `record`.
    pub fn question(&self, record: &Record) -> Result<String, String> {
        self.prompt.question(record)
    }

    /// The right answer as predictions.jsonl has it.
    pub fn gold(&self, record: &Record) -> String {
        match (&self.task.method, record.gold) {
            (Method::Choice(_), Some(gold)) => letter(gold).to_string(),
            _ => record.answer.to_owned(),
        }
    }

    /// Asks, waits, judges.
    pub fn ask(&self, client: &mut Client, record: &Record) -> Result<Answer, AskError> {
        let text = self.question(record).map_err(prompt_failure)?;
        match &self.task.method {
            Method::Choice(_) => self.choice(client, record, text),
            Method::Generate { stop, max_tokens } => self.generate(client, record, text, stop, *max_tokens),
        }
    }

    fn choice(&self, client: &mut Client, record: &Record, context: String) -> Result<Answer, AskError> {
        let continuations = self.prompt.options(record).map_err(prompt_failure)?;
        let prompt = ScorePrompt { id: 0, context, continuations };
        let scoring = one(client.score(vec![prompt], self.timeout))?;
        if let Some(failure) = scoring.failure {
            return Err(sort(failure));
        }
        let scores: Vec<f64> = scoring.scores.iter().map(|s| (s.logprob * 1e6).round() / 1e6).collect();
        let best = (0..scores.len()).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        let gold = record.gold.unwrap_or_default();
        Ok(Answer {
            sample: Sample::from(&scoring),
            prediction: letter(best).to_string(),
            judgement: Judgement { correct: best == gold, exact: best == gold, classes: Some((gold, best)) },
            score: scores.get(gold).copied().unwrap_or(f64::NAN),
            option_scores: Some(scores),
        })
    }

    fn generate(
        &self,
        client: &mut Client,
        record: &Record,
        text: String,
        stop: &[String],
        max_new: u32,
    ) -> Result<Answer, AskError> {
        let prompt = WirePrompt {
            id: 0,
            input: Input::Text(text),
            max_new,
            stop: stop.to_vec(),
            sampling: Sampling::GREEDY,
            ignore_eos: false,
        };
        let generation = one(client.generate(vec![prompt], self.timeout))?;
        if let Some(failure) = generation.failure {
            return Err(sort(failure));
        }
        let prediction = extract::answer(&generation.text).to_owned();
        let correct = prediction == extract::answer(record.answer);
        Ok(Answer {
            sample: Sample::from(&generation),
            judgement: Judgement { correct, exact: correct, classes: None },
            option_scores: None,
            score: f64::from(u8::from(correct)),
            prediction,
        })
    }
}

/// The one answer of a call with one request.
fn one<T>(answers: Result<Vec<T>, HostError>) -> Result<T, AskError> {
    match answers {
        Ok(mut answers) => answers
            .pop()
            .ok_or_else(|| AskError::Host(HostError::Violation("an answer without the request's result".to_owned()))),
        Err(HostError::Failed(failure)) => Err(sort(failure)),
        Err(other) => Err(AskError::Host(other)),
    }
}

/// A prompt that is too long or that the backend refuses concerns the record; all else ends the case.
fn sort(failure: Failure) -> AskError {
    match failure.kind {
        FailureKind::ContextFull | FailureKind::Invalid => AskError::Record(failure),
        _ => AskError::Host(HostError::Failed(failure)),
    }
}

fn prompt_failure(error: String) -> AskError {
    AskError::Record(Failure::new(FailureKind::Invalid, format!("its prompt cannot be rendered: {error}")))
}
