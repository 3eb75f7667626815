//! The passes of a case over its records: warm-up, timed passes, and passes that go on for a set time. Each answer
//! is written, summed, and its phases told to the watch. It must not know how a host is started or a row filled.

use super::ask::{Answer, AskError, Asker, Seen, need, not_rendered};
use super::case::{Context, End};
use super::journal::{Journal, JournalError, Prediction, SampleRow};
use super::load::Loaded;
use super::scenario::{Item, single_stream};
use super::stats::Distribution;
use super::subjects::Subjects;
use super::sustained::Sustained;
use super::telemetry::Eyes;
use super::timing::Timings;
use crate::backend::client::Client;
use crate::backend::wire::Prefix;
use crate::clock::now_ns;
use crate::job::{Scenario, Task};
use crate::sense::phase::Phase;
use crate::testenv::metric::{Gold, Tally};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// What the records of a case have come to so far.
#[derive(Default)]
pub struct Answers {
    pub tally: Tally,
    pub subjects: Subjects,
    pub timings: Timings,
    /// Records of timed passes.
    pub records: u64,
    /// Length of the timed passes.
    pub timed: Duration,
    /// Records per second of each whole timed pass.
    pub speeds: Vec<f64>,
    /// Requests that were tried again, and how often.
    pub retried: (u64, u64),
    pub first_failure: Option<String>,
    pub sustained: Option<Sustained>,
    /// New tokens of timed passes.
    pub output_tokens: u64,
    /// Prefixes that a backend was told of.
    pub prefixes: u64,
    /// Under `server` and `multi-stream`.
    pub load: Loaded,
    /// KL divergence of each token, nats.
    pub kl: Distribution,
    /// Has any call been answered since the model was loaded?
    warm: bool,
}

/// One pass over the records.
pub struct Pass {
    /// 0: the warm-up.
    pub number: u32,
    /// CLOCK_MONOTONIC when it began.
    pub start_ns: u64,
    pub at_most: u64,
    /// When no more records are begun.
    pub end: Option<Instant>,
}

impl Pass {
    pub fn is_warmup(&self) -> bool {
        self.number == 0
    }

    pub fn is_over(&self) -> bool {
        self.end.is_some_and(|end| Instant::now() >= end)
    }
}

/// Asks a case's records of an open host.
pub struct Passes<'a, 'c> {
    pub context: &'a mut Context<'c>,
    pub eyes: &'a mut Eyes,
    pub task: &'a Task,
    pub asker: &'a Asker<'a>,
    pub client: &'a mut Client,
    pub answers: &'a mut Answers,
}

impl Passes<'_, '_> {
    /// All of them, in their order.
    pub fn run(&mut self) -> Result<(), End> {
        for _ in 0..self.context.job.warmup {
            self.pass(0, 1, None)?;
        }
        self.find_rate()?;
        let Some(length) = self.task.sustained else {
            return (1..=self.context.job.repeat).try_for_each(|number| self.pass(number, u64::MAX, None).map(|_| ()));
        };
        self.answers.sustained = Some(Sustained::new(length, self.eyes.watch.sight()));
        let end = Instant::now() + length;
        let mut number = 1;
        // The first pass is the one that quality comes from, so it is never cut short.
        self.pass(number, u64::MAX, None)?;
        while Instant::now() < end {
            number += 1;
            self.pass(number, u64::MAX, Some(end))?;
        }
        Ok(())
    }

    /// One pass over at most so many records, until `end` if there is one. Pass 0 is the warm-up.
    fn pass(&mut self, number: u32, at_most: u64, end: Option<Instant>) -> Result<(), End> {
        let records = self.answers.records;
        let start = Instant::now();
        let pass = Pass { number, start_ns: now_ns(), at_most, end };
        let result = match self.task.scenario {
            Scenario::SingleStream => self.single_stream(&pass),
            Scenario::Offline => self.offline(&pass),
            Scenario::Server | Scenario::MultiStream => self.load(&pass),
        };
        if !pass.is_warmup() {
            let length = start.elapsed();
            self.answers.timed += length;
            // Passes of random arrivals are not of one length.
            if !pass.is_over() && self.task.scenario != Scenario::Server {
                self.answers.speeds.push((self.answers.records - records) as f64 / length.as_secs_f64());
            }
            self.eyes.watch.mark(Phase::Between, pass.start_ns, now_ns());
        }
        if let Some(trace) = self.context.journal.trace() {
            let name = if pass.is_warmup() { Phase::Warmup.name().to_owned() } else { format!("pass {number}") };
            trace.phase(&name, pass.start_ns, now_ns()).map_err(End::Journal)?;
        }
        result
    }

    fn single_stream(&mut self, pass: &Pass) -> Result<(), End> {
        let mut left = pass.at_most;
        let (task, asked) = (self.task, self.context.records);
        let flow = single_stream(task, asked, need(&task.method), |item| {
            let gold = self.asker.gold(item.record);
            let seen = self.asker.seen(item).map_err(|e| not_rendered(&e));
            let result = match self.ask(pass, item, seen, &gold, Prefix::NONE) {
                Ok(answer) => self.note(pass, item, &gold, &answer),
                Err(end) => Err(end),
            };
            left -= 1;
            match result {
                Ok(()) if left > 0 && !pass.is_over() => ControlFlow::Continue(()),
                end => ControlFlow::Break(end),
            }
        });
        match flow.map_err(End::Dataset)? {
            ControlFlow::Break(end) => end,
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    /// Asks one record, if its prompt could be made; the answer, or why there is none.
    pub(super) fn ask(
        &mut self,
        pass: &Pass,
        item: &Item,
        seen: Result<Seen, String>,
        gold: &Gold,
        prefix: Prefix,
    ) -> Result<Result<Answer, String>, End> {
        self.context.go_on()?;
        let answer = match seen.map(|seen| self.asker.ask(self.client, item, seen, gold, prefix)) {
            Ok(Err(AskError::Host(e))) => return Err(End::Host(e)),
            Ok(Err(AskError::Record(failure))) => Err(failure.to_string()),
            Ok(Ok(answer)) => Ok(answer),
            Err(why) => Err(why),
        };
        let watch = &mut self.eyes.watch;
        match &answer {
            _ if pass.is_warmup() => watch.mark(Phase::Warmup, pass.start_ns, now_ns()),
            Ok(answer) => {
                watch.mark(Phase::Between, pass.start_ns, answer.sample.start_ns);
                answer.sample.phases().for_each(|(phase, from, to)| watch.mark(phase, from, to));
            }
            Err(_) => watch.mark(Phase::Between, pass.start_ns, now_ns()),
        }
        self.answered(pass, &answer)?;
        Ok(answer)
    }

    /// What is done with each answer when it comes.
    pub(super) fn answered(&mut self, pass: &Pass, answer: &Result<Answer, String>) -> Result<(), End> {
        self.eyes.pump(self.context, self.client.take_power()).map_err(End::Journal)?;
        if let (Some(sustained), Ok(answer)) = (&mut self.answers.sustained, answer)
            && !pass.is_warmup()
        {
            sustained.add(&answer.sample, self.eyes.watch.sight());
        }
        self.context.progress.record();
        Ok(())
    }

    /// Writes an answer and adds it to the sums.
    pub(super) fn note(
        &mut self,
        pass: &Pass,
        item: &Item,
        gold: &Gold,
        answer: &Result<Answer, String>,
    ) -> Result<(), End> {
        note(self.context.journal, self.eyes.case(), pass.number, item, gold, answer, self.answers)
            .map_err(End::Journal)
    }
}

/// Writes one record's lines and adds it to the sums. Pass 0 is the warm-up: a line in samples.csv, no more.
pub(super) fn note(
    journal: &mut Journal,
    case: &str,
    pass: u32,
    item: &Item,
    gold: &Gold,
    answer: &Result<Answer, String>,
    answers: &mut Answers,
) -> Result<(), JournalError> {
    let mut row = SampleRow { case, id: &item.id, subject: item.subject, pass, status: "failed", ..Default::default() };
    if let Ok(answer) = answer {
        let sample = &answer.sample;
        let itl = sample.itl_ms();
        row = SampleRow {
            status: "ok",
            correct: (!gold.answers.is_empty()).then_some(answer.judgement.correct),
            score: Some(answer.score),
            // A server that counts none has not told how many they are.
            prompt_tokens: Some(sample.prompt_tokens).filter(|n| *n > 0),
            cached_tokens: Some(sample.cached_tokens),
            output_tokens: sample.output_tokens,
            queue_ms: Some(sample.queue_ms()),
            ttft_ms: sample.ttft_ms(),
            decode_ms: sample.decode_ms(),
            e2e_ms: Some(sample.e2e_ms()),
            itl_p50_ms: itl.map(|(median, _)| median),
            itl_max_ms: itl.map(|(_, max)| max),
            retries: Some(sample.retries),
            ..row
        };
    } else {
        row.correct = (!gold.answers.is_empty()).then_some(false);
    }
    journal.sample(&row, answer.as_ref().ok().map(|a| &a.sample))?;
    let cold = !answers.warm;
    answers.warm |= answer.is_ok();
    if pass == 0 {
        return Ok(());
    }
    answers.records += 1;
    answers.output_tokens += answer.as_ref().map_or(0, |a| u64::from(a.sample.output_tokens.unwrap_or(0)));
    if let Some(retries) = row.retries.filter(|n| *n > 0) {
        answers.retried = (answers.retried.0 + 1, answers.retried.1 + u64::from(retries));
    }
    match answer {
        // Without a warm-up the first call is the cold one, which is in samples.csv but in no percentile.
        // To hold a text against the original is no work of a model: its time says nothing.
        Ok(answer) if !cold && answer.judgement.kl.is_empty() => answers.timings.add(&answer.sample),
        Ok(_) => {}
        Err(reason) => {
            answers.first_failure.get_or_insert_with(|| format!("{}: {reason}", item.id));
        }
    }
    if pass == 1 {
        let judgement = answer.as_ref().ok().map(|a| &a.judgement);
        judgement.iter().flat_map(|j| &j.kl).for_each(|kl| answers.kl.add(f64::from(*kl)));
        for tally in answers.subjects.of(item.subject).chain([&mut answers.tally]) {
            tally.add(gold, judgement, item.subject);
        }
        let prediction = judgement.and_then(|j| j.prediction.as_deref());
        let output = answer.as_ref().ok().and_then(|a| a.output.as_deref());
        journal.prediction(&Prediction {
            case,
            id: &item.id,
            prediction,
            gold: gold.answers.first().map(String::as_str),
            correct: row.correct,
            output: output.filter(|_| output != prediction),
            language: judgement.and_then(|j| j.language),
            scores: judgement.and_then(|j| j.scores.as_deref()),
            error: answer.as_ref().err().map(String::as_str),
        })?;
    }
    Ok(())
}
