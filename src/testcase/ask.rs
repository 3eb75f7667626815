//! One record put to a host and its answer judged: where prompt, method and metric meet the backend's client.
//! It must not know the order of records, passes or files.

mod cloze;
mod divergence;
mod in_question;
mod perplexity;
mod whole;

use super::scenario::{Item, stem};
use super::timing::Sample;
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{Control, Failure, FailureKind, Generation, Input, Opened, Prefix};
use crate::backend::wire::{Prompt as WirePrompt, Sampling, ScoreInput, ScorePrompt, Scoring};
use crate::job::{ChatSpec, ChatTemplate, Method, Metric, Options, Shots, Task};
use crate::problem::Problem;
use crate::testenv::choice::pick;
use crate::testenv::dataset::{Need, Reader, Record};
use crate::testenv::judge::Judge;
use crate::testenv::metric::{Gold, Judgement};
use crate::testenv::prompt::Prompt;
use crate::testenv::prompt::chat::Chat;
use crate::testenv::prompt::examples::Examples;
use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

/// New tokens in which a model has to name an option, where its backend has no log-likelihoods.
const LETTER_TOKENS: u32 = 16;

/// What a method needs of a record.
pub fn need(method: &Method) -> Need {
    match method {
        Method::Choice(_) => Need::Choice,
        Method::Generate { .. } => Need::Text,
        Method::Perplexity(_) | Method::Cloze | Method::Divergence(_) | Method::Finetune(_) => Need::Lm,
    }
}

/// An answered record.
pub struct Answer {
    pub sample: Sample,
    pub judgement: Judgement,
    /// All that was written (`generate`).
    pub output: Option<String>,
    /// `choice`: log-likelihood of the right option; `generate`: 1 or 0; `perplexity`, `cloze`: log-likelihood of the text, or its last word.
    /// `divergence`: mean KL of its tokens.
    pub score: f64,
}

/// Why a record has no answer.
pub enum AskError {
    /// This record cannot be answered; others may.
    Record(Failure),
    /// The case is over.
    Host(HostError),
}

/// What a model sees for a record.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub text: String,
    pub control: Control,
    /// The text of each option that is scored after it (`choice`); with `in-question` each question with an option in it,
    /// after which `text` is scored.
    pub options: Vec<String>,
}

/// Options without a question: the context that stands for it, their texts, their log-likelihoods.
type Alone = (String, Vec<String>, Vec<f64>);

/// Puts records of one task to a host.
pub struct Asker<'a> {
    task: &'a Task,
    prompt: Prompt,
    judge: Judge,
    timeout: Duration,
    chat: Option<Chat>,
    /// What the prompt has to fit, and which tokens there are; of the model that was met.
    opened: Opened,
    /// Log-likelihoods without a question, of the last options: letters are the same for all records.
    alone: RefCell<Option<Alone>>,
}

impl<'a> Asker<'a> {
    /// Compiles the task's prompt and renders its examples.
    pub fn new(task: &'a Task, timeout: Duration) -> Result<Asker<'a>, Problem> {
        let fail = |path: &Path, what: String| Problem::new(path, 0, what, "");
        let mut prompt =
            Prompt::compile(&task.prompt).map_err(|e| fail(&task.datasets[0], format!("its prompt: {e}")))?;
        if let Some(shots) = &task.shots {
            let examples = examples(&prompt, shots, need(&task.method))?;
            prompt.set_examples(examples);
        }
        let judge = Judge::new(&task.method, &task.scoring).map_err(|(what, _)| fail(&task.datasets[0], what))?;
        Ok(Asker { task, prompt, judge, timeout, chat: None, opened: Opened::default(), alone: RefCell::default() })
    }

    /// Takes over what depends on the model: its context, and its chat template if it is to be asked in a chat.
    ///
    /// # Errors
    /// There is no template, or it is none.
    pub fn meet(&mut self, opened: &Opened, chat: &ChatSpec) -> Result<(), Failure> {
        let unusable = |what: String| Failure::new(FailureKind::Unsupported, what);
        let template = match &chat.template {
            ChatTemplate::Off => None,
            ChatTemplate::Model if opened.chat_template.is_empty() => {
                let what = "the model has no chat template; set chat = \"template.jinja\", or leave chat out";
                return Err(unusable(what.to_owned()));
            }
            ChatTemplate::Model => Some(opened.chat_template.clone()),
            ChatTemplate::File(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| unusable(format!("the chat template {}: {e}", path.display())))?,
            ),
        };
        self.chat = match template {
            Some(text) => Some(
                Chat::compile(&text, &opened.bos_text, &opened.eos_text, &chat.variables)
                    .map_err(|e| unusable(format!("the chat template cannot be used: {e}")))?,
            ),
            None => None,
        };
        self.opened = opened.clone();
        Ok(())
    }

    /// What the model will see for the record of `item`.
    ///
    /// # Errors
    /// The prompt cannot be rendered.
    pub fn seen(&self, item: &Item) -> Result<Seen, String> {
        let record = &of_subject(item);
        if self.task.method.windows().is_some() || matches!(self.task.method, Method::Finetune(_)) {
            return Ok(Seen { text: record.question.to_owned(), control: Control::PLAIN, options: Vec::new() });
        }
        if self.task.method == Method::Cloze {
            let (text, word) = Asker::without_last_word(record)?;
            return Ok(Seen { text, control: Control::PLAIN, options: vec![word] });
        }
        if let Method::Choice(Options::InQuestion) = self.task.method {
            if self.chat.is_some() {
                return Err("options in the question cannot be asked in a chat".to_owned());
            }
            let (options, text) = self.prompt.in_question(record)?;
            return Ok(Seen { text, control: Control::PLAIN, options });
        }
        let mut options = match self.task.method {
            Method::Choice(_) => self.prompt.options(record)?,
            _ => Vec::new(),
        };
        if let Method::Choice(Options::Whole) = self.task.method {
            return Ok(Seen { text: String::new(), control: Control::PLAIN, options });
        }
        let Some(chat) = &self.chat else {
            return Ok(Seen { text: self.prompt.text(record)?, control: Control::PLAIN, options });
        };
        // The assistant's turn has begun: as in the examples there is no white space before an answer.
        options.iter_mut().for_each(|option| *option = option.trim_start().to_owned());
        let turns = self.prompt.turns(record, self.task.shots.as_ref().is_none_or(|s| s.turns))?;
        let rendered = chat.render(&turns)?;
        Ok(Seen { text: rendered.text, control: Control { add: !rendered.has_bos, parse: true }, options })
    }

    /// What is expected of `record`.
    pub fn gold(&self, record: &Record) -> Gold {
        self.judge.gold(record)
    }

    /// Asks what [`Asker::seen`] made of a record, waits, judges.
    pub fn ask(
        &self,
        client: &mut Client,
        item: &Item,
        seen: Seen,
        gold: &Gold,
        prefix: Prefix,
    ) -> Result<Answer, AskError> {
        match &self.task.method {
            Method::Choice(Options::Whole) => self.whole(client, seen, gold),
            Method::Choice(Options::InQuestion) => self.in_question(client, seen, gold),
            Method::Choice(_) => self.choice(client, item, seen, gold, prefix),
            Method::Generate { .. } => self.generate(client, item.record, seen, gold, prefix),
            Method::Perplexity(windows) => self.perplexity(client, item.record, windows),
            Method::Cloze => self.cloze(client, seen, gold, prefix),
            Method::Divergence(windows) => self.divergence(client, item.record, windows),
            Method::Finetune(_) => {
                Err(AskError::Record(Failure::new(FailureKind::Internal, "texts that are learned from are not asked")))
            }
        }
    }

    /// Has several prompts continued together, in one call: as many answers, in the same order.
    pub fn ask_together(&self, client: &mut Client, seen: Vec<(Seen, Prefix)>) -> Result<Vec<Generation>, HostError> {
        let timeout = self.timeout.saturating_mul(seen.len() as u32);
        let prompts = seen.into_iter().enumerate().map(|(i, (seen, prefix))| self.prompt_of(i as u64, seen, prefix));
        client.generate(prompts.collect(), timeout)
    }

    /// Is [`Asker::ask_together`] of use?
    pub fn runs_together(&self) -> bool {
        self.opened.can_batch && self.task.batch != Some(1) && matches!(self.task.method, Method::Generate { .. })
    }

    fn generate(
        &self,
        client: &mut Client,
        record: &Record,
        seen: Seen,
        gold: &Gold,
        prefix: Prefix,
    ) -> Result<Answer, AskError> {
        let generation = one(client.generate(vec![self.prompt_of(0, seen, prefix)], self.timeout))?;
        match generation.failure {
            Some(failure) => Err(of_request(failure)),
            None => Ok(self.generated(record, gold, generation)),
        }
    }

    /// What a generation that did not fail is worth.
    pub fn generated(&self, record: &Record, gold: &Gold, generation: Generation) -> Answer {
        let text = match &self.task.method {
            // A model that was not taught to stop goes on with questions of its own.
            Method::Choice(_) => generation.text.trim_start().lines().next().unwrap_or_default(),
            _ => &generation.text,
        };
        let judgement = self.judge.output(record, gold, text);
        let score = f64::from(judgement.correct);
        Answer { sample: Sample::from(&generation), score, judgement, output: Some(generation.text) }
    }

    fn choice(
        &self,
        client: &mut Client,
        item: &Item,
        seen: Seen,
        gold: &Gold,
        prefix: Prefix,
    ) -> Result<Answer, AskError> {
        if self.opened.scored_by.is_empty() {
            self.may_be_written()?;
            return self.generate(client, item.record, seen, gold, prefix);
        }
        let Seen { text, control, options } = seen;
        let (scores, scoring) = self.score(client, text, options.clone(), control, prefix)?;
        let alone = match self.task.metrics.contains(&Metric::AccMutualInfo) {
            true => Some(self.unconditional(client, item, &options)?),
            false => None,
        };
        Ok(self.chosen(gold, &options, scores, alone.as_deref(), Sample::from(&scoring)))
    }

    /// The answer that the scores of `options` make; `alone`: their scores without the question.
    fn chosen(
        &self,
        gold: &Gold,
        options: &[String],
        scores: Vec<f64>,
        alone: Option<&[f64]>,
        sample: Sample,
    ) -> Answer {
        Answer {
            sample,
            score: gold.class.and_then(|right| scores.get(right).copied()).unwrap_or(f64::NAN),
            judgement: self.judge.choice(gold, pick(options, &scores, alone), scores),
            output: None,
        }
    }

    /// Log-likelihoods of `options` after `context`.
    fn score(
        &self,
        client: &mut Client,
        context: String,
        continuations: Vec<String>,
        control: Control,
        prefix: Prefix,
    ) -> Result<(Vec<f64>, Scoring), AskError> {
        let input = ScoreInput::Text { context, continuations, control };
        let scoring = one(client.score(vec![ScorePrompt { id: 0, input, prefix }], self.timeout))?;
        if let Some(failure) = scoring.failure {
            return Err(of_request(failure));
        }
        let scores = scoring.scores.iter().map(|s| as_written(s.logprob)).collect();
        Ok((scores, scoring))
    }

    /// Log-likelihoods of `options` without their question; no part of what is timed.
    fn unconditional(&self, client: &mut Client, item: &Item, options: &[String]) -> Result<Vec<f64>, AskError> {
        let context = self.prompt.unconditional(&of_subject(item)).map_err(prompt_failure)?;
        if let Some((before, same, scores)) = self.alone.borrow().as_ref()
            && *before == context
            && same == options
        {
            return Ok(scores.clone());
        }
        let (scores, _) = self.score(client, context.clone(), options.to_vec(), Control::PLAIN, Prefix::NONE)?;
        self.alone.replace(Some((context, options.to_vec(), scores.clone())));
        Ok(scores)
    }

    /// # Errors
    /// The task needs log-likelihoods, which the backend has not: the letter that a model writes would not do.
    fn may_be_written(&self) -> Result<(), AskError> {
        if self.task.method == Method::Choice(Options::Letter) && !self.task.metrics.iter().any(|m| m.needs_scores()) {
            return Ok(());
        }
        let what = "the backend tells no log-likelihoods (it has no eb.score/1), and this task cannot be answered by \
                    a letter that is written; use options = \"letter\" and metrics without log-likelihoods";
        Err(AskError::Host(HostError::Failed(Failure::new(FailureKind::Unsupported, what))))
    }

    fn prompt_of(&self, id: u64, seen: Seen, prefix: Prefix) -> WirePrompt {
        let (stop, max_new) = match &self.task.method {
            Method::Generate { stop, max_tokens } => (stop.clone(), *max_tokens),
            _ => (Vec::new(), LETTER_TOKENS),
        };
        let input = Input::Text(seen.text, seen.control);
        WirePrompt { id, input, max_new, stop, sampling: Sampling::GREEDY, ignore_eos: false, prefix }
    }
}

/// A log-likelihood as it is written, rounded to 1e-6, so that the choice is that of what can be read.
fn as_written(score: f64) -> f64 {
    (score * 1e6).round() / 1e6
}

/// The record with the subject that the results have for it.
fn of_subject<'r>(item: &Item<'r>) -> Record<'r> {
    Record { subject: item.subject, ..*item.record }
}

/// Reads the examples that `shots` may need.
fn examples(prompt: &Prompt, shots: &Shots, need: Need) -> Result<Examples, Problem> {
    let mut examples = Examples::new(shots);
    for path in &shots.from {
        let stem = stem(path);
        let mut reader = Reader::open(path, need)?;
        while !examples.is_full() {
            let Some(record) = reader.next()? else { break };
            let unnamed = record.subject.is_empty() && shots.from.len() > 1;
            let record = Record { subject: if unnamed { &stem } else { record.subject }, ..record };
            examples.offer(record.subject, || prompt.example(&record)).map_err(|e| {
                Problem::new(
                    path,
                    record.line,
                    format!("an example's prompt cannot be rendered: {e}"),
                    "mend the template",
                )
            })?;
        }
    }
    Ok(examples)
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

/// What failed for one request, while the call as a whole went well, concerns the record also if a device or server did.
fn of_request(failure: Failure) -> AskError {
    match failure.kind {
        FailureKind::Device => AskError::Record(failure),
        _ => sort(failure),
    }
}

fn prompt_failure(error: String) -> AskError {
    AskError::Record(Failure::new(FailureKind::Invalid, not_rendered(&error)))
}

/// What is told of a record whose prompt cannot be made.
pub fn not_rendered(error: &str) -> String {
    format!("its prompt cannot be rendered: {error}")
}
