//! One test case from the start of its host to its row in cases.csv. A case always ends with a row: whatever
//! happens to the host becomes its status and reason. It must not know other cases.

use super::ask::{Answer, AskError, Asker, need};
use super::journal::{Journal, JournalError, Prediction, SampleRow};
use super::progress::Progress;
use super::scenario::{Item, single_stream};
use super::timing::Timings;
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{FailureKind, Open, Opened};
use crate::job::{Instance, Job, Method, Metric, Task};
use crate::problem::Problem;
use crate::results::{CaseRow, Status};
use crate::sense::process;
use crate::testenv::metric::{Tally, wilson};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a case needs of the run around it.
pub struct Context<'a> {
    pub job: &'a Job,
    pub journal: &'a mut Journal,
    pub progress: &'a Progress,
    /// Has the user asked to stop?
    pub interrupted: &'a dyn Fn() -> bool,
    pub proc_root: &'a Path,
}

/// Why a case ended before its last record.
enum End {
    Host(HostError),
    Dataset(Problem),
    Interrupted,
    Journal(JournalError),
}

/// What a case has measured so far.
#[derive(Default)]
struct Measured {
    tally: Tally,
    timings: Timings,
    opened: Option<Opened>,
    rss_peak_mib: Option<f64>,
    records: u64,
    timed: Duration,
    /// Has any call been answered since the model was loaded?
    warm: bool,
    first_failure: Option<String>,
}

/// Runs a case and gives its row, and what was loaded if it came that far.
pub fn run(
    context: &mut Context,
    id: &str,
    instance: &Instance,
    task: &Task,
) -> Result<(CaseRow, Option<Opened>), JournalError> {
    let start = Instant::now();
    let oom_kills = process::oom_kills(context.proc_root);
    let mut measured = Measured::default();
    let end = match measure(context, id, instance, task, &mut measured) {
        Err(End::Journal(e)) => return Err(e),
        Err(end) => Some(end),
        Ok(()) => None,
    };
    let oom_killed = process::oom_kills(context.proc_root) > oom_kills;

    let mut row = CaseRow::default();
    for (column, value) in [
        ("case", id),
        ("object", &instance.object),
        ("backend", &instance.backend),
        ("model", &instance.model),
        ("params", &instance.params_text()),
        ("task", &task.name),
        ("method", task.method.name()),
        ("scenario", task.scenario.name()),
    ] {
        row.set(column, value);
    }
    let (status, reason) = status_of(end, &measured, oom_killed);
    row.set("status", status.name());
    row.set("reason", reason);
    row.set("valid", if status == Status::Ok { "unknown" } else { "no" });
    if status == Status::Ok && measured.tally.failed > 0 {
        row.set("warnings", "failed-records");
    }
    fill(&mut row, &mut measured, task);
    row.set_number("wall_s", Some(start.elapsed().as_secs_f64()), 3);
    Ok((row, measured.opened))
}

/// The quality, speed and memory columns.
fn fill(row: &mut CaseRow, measured: &mut Measured, task: &Task) {
    let tally = &measured.tally;
    row.set("n", tally.n.to_string());
    row.set("n_failed", tally.failed.to_string());
    if !matches!(task.method, Method::Perplexity(_)) {
        row.set_number("acc", tally.value(Metric::Acc), 4);
        if let Some((lo, hi)) = wilson(tally.correct, tally.n) {
            row.set_number("acc_lo", Some(lo), 4);
            row.set_number("acc_hi", Some(hi), 4);
        }
    }
    for metric in task.metrics.iter().filter(|m| **m != Metric::Acc) {
        row.set_number(metric.name(), tally.value(*metric), 4);
    }
    row.set_number("load_ms", measured.opened.as_ref().map(|o| o.load_ns as f64 / 1e6), 3);
    measured.timings.fill(row);
    let seconds = measured.timed.as_secs_f64();
    row.set_number("records_s", (measured.records > 0).then(|| measured.records as f64 / seconds), 3);
    row.set_number("rss_peak_mib", measured.rss_peak_mib, 1);
}

/// Starts the host, loads, warms up, asks, closes; `measured` holds what came of it also when it ends early.
fn measure(
    context: &mut Context,
    id: &str,
    instance: &Instance,
    task: &Task,
    measured: &mut Measured,
) -> Result<(), End> {
    let mut asker = Asker::new(task, context.job.timeout).map_err(End::Dataset)?;
    let mut client = Client::start(&instance.backend).map_err(End::Host)?;
    let result = ask_all(context, id, instance, task, &mut asker, &mut client, measured);
    measured.rss_peak_mib = process::rss_peak_mib(context.proc_root, client.pid());
    result?;
    client.close().map_err(End::Host)
}

fn ask_all(
    context: &mut Context,
    id: &str,
    instance: &Instance,
    task: &Task,
    asker: &mut Asker,
    client: &mut Client,
    measured: &mut Measured,
) -> Result<(), End> {
    let opened = client.open(open(context.job, instance, id), context.job.load_timeout).map_err(End::Host)?;
    let met = asker.meet(measured.opened.insert(opened), &instance.chat);
    met.map_err(|failure| End::Host(HostError::Failed(failure)))?;
    let asker = &*asker;

    let mut pass = |number: u32, at_most: u64, measured: &mut Measured| -> Result<(), End> {
        let mut left = at_most;
        let start = Instant::now();
        let end = single_stream(task, need(&task.method), |item| {
            if (context.interrupted)() {
                return ControlFlow::Break(Err(End::Interrupted));
            }
            let answer = match asker.ask(client, item) {
                Err(AskError::Host(e)) => return ControlFlow::Break(Err(End::Host(e))),
                Err(AskError::Record(failure)) => Err(failure.to_string()),
                Ok(answer) => Ok(answer),
            };
            if let Err(e) = note(context.journal, id, number, item, asker, &answer, measured) {
                return ControlFlow::Break(Err(End::Journal(e)));
            }
            context.progress.record();
            left -= 1;
            if left == 0 { ControlFlow::Break(Ok(())) } else { ControlFlow::Continue(()) }
        });
        if number > 0 {
            measured.timed += start.elapsed();
        }
        match end.map_err(End::Dataset)? {
            ControlFlow::Break(result) => result,
            ControlFlow::Continue(()) => Ok(()),
        }
    };
    for _ in 0..context.job.warmup {
        pass(0, 1, measured)?;
    }
    for number in 1..=context.job.repeat {
        pass(number, u64::MAX, measured)?;
    }
    Ok(())
}

/// What a host is to load for `instance`; `title` names its process.
pub fn open(job: &Job, instance: &Instance, title: &str) -> Open {
    Open {
        backend: instance.backend.clone(),
        model: instance.model_path.as_ref().map_or(String::new(), |p| p.to_string_lossy().into_owned()),
        params: instance.params.clone(),
        title: title.to_owned(),
        sandbox: job.sandbox,
    }
}

/// Writes one record's lines and adds it to the sums. Pass 0 is the warm-up: a line in samples.csv, no more.
fn note(
    journal: &mut Journal,
    case: &str,
    pass: u32,
    item: &Item,
    asker: &Asker,
    answer: &Result<Answer, String>,
    measured: &mut Measured,
) -> Result<(), JournalError> {
    let gold = asker.gold(item.record);
    let mut row = SampleRow { case, id: &item.id, subject: item.subject, pass, status: "failed", ..Default::default() };
    if let Ok(answer) = answer {
        let sample = &answer.sample;
        let itl = sample.itl_ms();
        row = SampleRow {
            status: "ok",
            correct: answer.language.is_none().then_some(answer.judgement.correct),
            score: Some(answer.score),
            prompt_tokens: Some(sample.prompt_tokens),
            cached_tokens: Some(sample.cached_tokens),
            output_tokens: sample.output_tokens,
            queue_ms: Some(0.0),
            ttft_ms: sample.ttft_ms(),
            decode_ms: sample.decode_ms(),
            e2e_ms: Some(sample.e2e_ms()),
            itl_p50_ms: itl.map(|(median, _)| median),
            itl_max_ms: itl.map(|(_, max)| max),
            ..row
        };
    } else {
        row.correct = gold.is_some().then_some(false);
    }
    journal.sample(&row)?;
    let cold = !measured.warm;
    measured.warm |= answer.is_ok();
    if pass == 0 {
        return Ok(());
    }
    measured.records += 1;
    match answer {
        // Without a warm-up the first call is the cold one, which is in samples.csv but in no percentile.
        Ok(answer) if !cold => measured.timings.add(&answer.sample),
        Ok(_) => {}
        Err(reason) => {
            measured.first_failure.get_or_insert_with(|| format!("{}: {reason}", item.id));
        }
    }
    if pass == 1 {
        match answer {
            Ok(answer) => measured.tally.add(answer.judgement),
            Err(_) => measured.tally.add_failed(item.record.gold),
        }
        journal.prediction(&Prediction {
            case,
            id: &item.id,
            prediction: answer.as_ref().ok().and_then(|a| a.prediction.as_deref()),
            gold: gold.as_deref(),
            correct: row.correct,
            language: answer.as_ref().ok().and_then(|a| a.language),
            scores: answer.as_ref().ok().and_then(|a| a.option_scores.clone()),
            error: answer.as_ref().err().map(String::as_str),
        })?;
    }
    Ok(())
}

fn status_of(end: Option<End>, measured: &Measured, oom_killed: bool) -> (Status, String) {
    let tally = &measured.tally;
    match end {
        None if tally.n > 0 && tally.failed == tally.n => {
            let reason = measured.first_failure.clone().unwrap_or_default();
            (Status::Failed, format!("no record could be answered; {reason}"))
        }
        None if tally.failed > 0 => (Status::Ok, measured.first_failure.clone().unwrap_or_default()),
        None => (Status::Ok, String::new()),
        Some(End::Interrupted) => (Status::Interrupted, "stopped by the user".to_owned()),
        Some(End::Dataset(problem)) => (Status::Failed, format!("the dataset changed while it was read: {problem}")),
        Some(End::Journal(e)) => (Status::Failed, e.to_string()),
        Some(End::Host(error)) => {
            let status = match &error {
                HostError::Failed(f) if f.kind == FailureKind::OutOfMemory => Status::OutOfMemory,
                HostError::Failed(f) if f.kind == FailureKind::Unsupported => Status::Unsupported,
                HostError::Failed(_) | HostError::Violation(_) | HostError::Start(_) => Status::Failed,
                HostError::Timeout { .. } => Status::Timeout,
                HostError::Died { killed: true, .. } if oom_killed => {
                    let reason = format!("the kernel killed the host for want of memory ({error})");
                    return (Status::OutOfMemory, reason);
                }
                HostError::Died { .. } => Status::Crashed,
            };
            (status, error.to_string())
        }
    }
}
