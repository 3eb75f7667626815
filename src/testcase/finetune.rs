//! A model trained further on the board, as a case: judged by another task, trained, judged again, each in a process of its own.
//! The training is what is timed. It must not know how a step is made or an answer judged.

use super::ask::{AskError, Asker, need, not_rendered};
use super::base::Base;
use super::case::{Context, End, Measured, open};
use super::figures;
use super::journal::StepRow;
use super::lock::ROOM;
use super::passes::{Answers, note};
use super::prepare;
use super::scenario::{Records, single_stream};
use super::smaller::NotMade;
use super::telemetry::Eyes;
use crate::backend::client::{Client, Ended, HostError};
use crate::backend::wire::{MAX_FRAME, Prefix, Train, TrainStep, Trained};
use crate::clock::now_ns;
use crate::fit;
use crate::job::{Finetune, Instance, Task};
use crate::results::{CaseRow, MODELS, Status};
use crate::sense::phase::Phase;
use crate::sense::process;
use crate::testenv::metric::{Tally, mcnemar};
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The parameter of an object that says how many threads it runs on, by the name that most backends have for it.
const THREADS: &str = "threads";
/// The passes that samples.csv has the answers of both models under.
const BEFORE: u32 = 0;
const AFTER: u32 = 1;

/// Most bytes of text that one training gets: they are handed over in one frame.
const MOST_TEXT: u64 = (MAX_FRAME / 4 * 3) as u64;

/// Why texts of so many bytes cannot be learned from at once, and what to do.
pub fn too_long(bytes: u64) -> Option<(String, &'static str)> {
    let what = format!(
        "{} MiB of text are more than the {} MiB that a training takes",
        bytes.div_ceil(1 << 20),
        MOST_TEXT >> 20
    );
    (bytes > MOST_TEXT).then_some((what, "set `limit`, or train on one part after the other"))
}

/// What a training came to.
#[derive(Default)]
pub struct Learned {
    /// Once it came to its end.
    trained: Option<Trained>,
    /// Of steps, as they came.
    steps: u64,
    losses: Option<(f64, f64)>,
    validations: Option<(f64, f64)>,
    /// Tokens of the steps whose time is known, and that time.
    timed: (u64, Duration),
    /// Right or wrong, record by record.
    before: Vec<bool>,
    after: Vec<bool>,
}

impl Learned {
    /// Tokens that were learned from in the time that is measured.
    pub fn timed_tokens(&self) -> u64 {
        self.timed.0
    }

    /// Fills the columns about training, and those about quality if there is a task for it.
    pub fn fill(&self, row: &mut CaseRow, tally: &Tally, quality: Option<&Task>) {
        let (first, last) = self.losses.unzip();
        let (before, after) = self.validations.unzip();
        for (column, loss) in
            [("loss_first", first), ("loss_last", last), ("val_loss_first", before), ("val_loss", after)]
        {
            row.set_number(column, loss, 6);
        }
        let (tokens, time) = self.timed;
        row.set_number("train_tok_s", (tokens > 0).then(|| tokens as f64 / time.as_secs_f64()), 2);
        if self.steps > 0 {
            row.set("train_steps", self.steps.to_string());
        }
        if let Some(n) = self.trained.map(|t| t.n_trained).filter(|n| *n > 0) {
            row.set("trained_weights", n.to_string());
        }
        let share = |right: &[bool]| right.iter().filter(|r| **r).count() as f64 / right.len() as f64;
        row.set_number("acc_before", (!self.before.is_empty()).then(|| share(&self.before)), 4);
        let Some(quality) = quality.filter(|_| !self.after.is_empty()) else { return };
        figures::quality(row, tally, quality);
        if self.before.len() == self.after.len() {
            let changes = self.before.iter().zip(&self.after).filter(|(a, b)| a != b);
            let better = changes.clone().filter(|(_, after)| **after).count() as u64;
            row.set_number("acc_p", Some(mcnemar(changes.count() as u64 - better, better)), 6);
        }
    }
}

/// The file of the trained model; it is removed with this unless it is to be kept.
struct Product {
    path: PathBuf,
    keep: bool,
}

impl Drop for Product {
    fn drop(&mut self) {
        if !self.keep {
            let _ = std::fs::remove_file(&self.path);
            // Only an empty folder goes.
            let _ = self.path.parent().map(std::fs::remove_dir);
        }
    }
}

/// Judges, trains, judges; `measured` holds what came of it also when it ends early.
pub fn measure(
    context: &mut Context,
    eyes: &mut Eyes,
    id: &str,
    instance: &Instance,
    (task, wanted): (&Task, &Finetune),
    measured: &mut Measured,
) -> Result<(), End> {
    let job = context.job;
    if let Some(why) = fit::shortage(job, instance, task, context.sysroot) {
        return Err(End::DoesNotFit(why));
    }
    // Two models at once may be more than there is room for.
    *context.kept = None;
    let quality = context.quality;
    if let Some((quality, records)) = quality {
        let mut scratch = Answers::default();
        let right = judge(context, eyes, id, instance, (quality, records), BEFORE, &mut scratch, measured)?;
        measured.learned.before = right;
    }
    if let Some(cooldown) = &job.measure.cooldown {
        measured.hot_start_c = prepare::cool_down(context, eyes, cooldown)?;
    }
    if context.telemetry.has_rail() {
        prepare::idle(context, eyes, None, job.measure.power.idle)?;
    }
    let mut product = product(context, instance, task).map_err(End::NotMade)?;
    train(context, eyes, id, instance, (task, wanted), &product.path, measured)?;
    if let Some((quality, records)) = quality {
        let trained = Instance { model_path: Some(product.path.clone()), ..instance.clone() };
        let mut scratch = Answers::default();
        scratch.tally = Tally::new(&quality.metrics, &quality.scoring);
        let right = judge(context, eyes, id, &trained, (quality, records), AFTER, &mut scratch, measured)?;
        measured.learned.after = right;
        measured.answers.tally = scratch.tally;
        measured.answers.first_failure = scratch.first_failure;
    }
    if wanted.keep {
        let synced = File::open(&product.path).and_then(|file| file.sync_all());
        synced.map_err(|e| End::NotMade(failed(&product.path, &e.to_string())))?;
        product.keep = true;
    }
    Ok(())
}

/// An empty file for the trained model of `instance`, in the run's folder, on a disk that has room for it.
fn product(context: &Context, instance: &Instance, task: &Task) -> Result<Product, NotMade> {
    let run = context.journal.folder();
    let folder = std::path::absolute(run).unwrap_or(run.to_path_buf()).join(MODELS);
    let model = instance.model_path.as_deref().unwrap_or(Path::new(""));
    let end = model.extension().map_or(String::new(), |e| format!(".{}", e.to_string_lossy()));
    let path = folder.join(format!("{}.{}{end}", instance.id, task.name));
    let made = std::fs::create_dir_all(&folder).and_then(|()| File::create(&path));
    made.map_err(|e: io::Error| failed(&path, &e.to_string()))?;
    let product = Product { path, keep: false };
    let need = std::fs::metadata(model).map_or(0, |m| m.len()) + ROOM;
    let free = rustix::fs::statvfs(&folder).ok().map(|s| s.f_bavail.saturating_mul(s.f_frsize));
    match free.filter(|free| *free < need) {
        Some(free) => {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let why = format!("{} MiB are free on its disk, {} are needed; give another --out", mib(free), mib(need));
            Err(failed(&product.path, &why))
        }
        None => Ok(product),
    }
}

fn failed(path: &Path, why: &str) -> NotMade {
    NotMade { status: Status::Failed, reason: format!("the trained model {}: {why}", path.display()) }
}

/// Has the model of `instance` trained into `out`.
fn train(
    context: &mut Context,
    eyes: &mut Eyes,
    id: &str,
    instance: &Instance,
    (task, wanted): (&Task, &Finetune),
    out: &Path,
    measured: &mut Measured,
) -> Result<(), End> {
    let job = context.job;
    let wanted = Train {
        backend: instance.backend.clone(),
        model: instance.model_path.as_ref().map_or(String::new(), |p| p.to_string_lossy().into_owned()),
        out: out.to_string_lossy().into_owned(),
        texts: texts(task, context.records)?,
        validation_share: wanted.validation,
        n_ctx: wanted.n_ctx,
        epochs: wanted.epochs,
        learning_rate: wanted.learning_rate,
        threads: threads(instance),
        force_memory: job.force_memory,
        title: id.to_owned(),
        sandbox: job.sandbox,
    };
    let start_ns = now_ns();
    let mut client = Client::start(&instance.backend).map_err(End::Host)?;
    context.telemetry.follow(Some(client.pid()));
    let mut last = None;
    let trained = client.train(wanted, job.load_timeout.max(job.timeout), |client, step| {
        let result = took(context, eyes, start_ns, &mut last, &step, measured);
        measured.rss_peak_mib = process::rss_peak_mib(context.proc_root, client.pid());
        match result {
            Ok(()) => ControlFlow::Continue(()),
            Err(end) => ControlFlow::Break(end),
        }
    });
    let trained = match trained.map_err(End::Host)? {
        Ended::Trained(trained) => trained,
        Ended::Broken(end) => return Err(end),
    };
    // What is written comes after the last step.
    measured.rss_peak_mib = process::rss_peak_mib(context.proc_root, client.pid()).or(measured.rss_peak_mib);
    eyes.watch.mark(Phase::Other, last.unwrap_or(start_ns), now_ns());
    measured.learned.trained = Some(trained);
    if let Some(rail) = eyes.main_rail() {
        prepare::linger(context, eyes, &mut client, rail)?;
    }
    client.close().map_err(End::Host)
}

/// What is done with each step when it comes. `last`: when the one before was done.
fn took(
    context: &mut Context,
    eyes: &mut Eyes,
    start_ns: u64,
    last: &mut Option<u64>,
    step: &TrainStep,
    measured: &mut Measured,
) -> Result<(), End> {
    let from_ns = last.replace(step.at_ns);
    let learned = &mut measured.learned;
    let phase = match (step.is_validation, from_ns) {
        (true, _) => Phase::Other,
        // Nobody told when it began: the load is part of it.
        (false, None) => Phase::Load,
        (false, Some(_)) => Phase::Train,
    };
    eyes.watch.mark(phase, from_ns.unwrap_or(start_ns), step.at_ns);
    let latest = |old: Option<(f64, f64)>| Some((old.map_or(step.loss, |(first, _)| first), step.loss));
    if step.is_validation {
        learned.validations = latest(learned.validations);
    } else {
        let tokens = step.tokens.checked_div(step.step).unwrap_or(0);
        learned.steps = step.step;
        learned.losses = latest(learned.losses);
        if let Some(from_ns) = from_ns {
            learned.timed.0 += tokens;
            learned.timed.1 += Duration::from_nanos(step.at_ns.saturating_sub(from_ns));
            measured.answers.records += 1;
            measured.answers.timed = learned.timed.1;
            let seconds = learned.timed.1.as_secs_f64();
            measured.answers.speeds = vec![measured.answers.records as f64 / seconds];
        }
    }
    let row = StepRow {
        case: eyes.case(),
        step: step.step,
        epoch: step.epoch,
        loss: (!step.is_validation).then_some(step.loss),
        validation: step.is_validation.then_some(step.loss),
        tokens: step.tokens,
        t_ms: step.at_ns.saturating_sub(start_ns) as f64 / 1e6,
    };
    context.journal.step(&row).map_err(End::Journal)?;
    context.progress.step(step.step, step.n_steps, step.loss);
    eyes.pump(context, Vec::new()).map_err(End::Journal)?;
    context.go_on()
}

/// The texts of a task, in the order of its files.
fn texts(task: &Task, records: &Records) -> Result<Vec<String>, End> {
    let mut texts = Vec::new();
    let flow: ControlFlow<()> = single_stream(task, records, need(&task.method), |item| {
        texts.push(item.record.question.to_owned());
        ControlFlow::Continue(())
    })
    .map_err(End::Dataset)?;
    debug_assert!(flow.is_continue());
    let bytes: u64 = texts.iter().map(|text| text.len() as u64).sum();
    match too_long(bytes) {
        Some((what, todo)) => Err(End::NotMade(NotMade { status: Status::Failed, reason: format!("{what}; {todo}") })),
        None => Ok(texts),
    }
}

/// As many as the object runs on, where it says a number.
fn threads(instance: &Instance) -> u32 {
    let said = instance.params.iter().find(|(key, _)| key == THREADS);
    said.and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
}

/// Asks all records of the task that judges; gives of each whether it was right.
#[allow(clippy::too_many_arguments, reason = "it is what a case is made of")]
fn judge(
    context: &mut Context,
    eyes: &mut Eyes,
    id: &str,
    instance: &Instance,
    (quality, records): (&Task, &Records),
    pass: u32,
    answers: &mut Answers,
    measured: &mut Measured,
) -> Result<Vec<bool>, End> {
    let (job, start_ns) = (context.job, now_ns());
    if let Some(why) = fit::shortage(job, instance, quality, context.sysroot) {
        return Err(End::DoesNotFit(why));
    }
    let mut asker = Asker::new(quality, job.timeout).map_err(End::Dataset)?;
    let mut base = Base::start(open(job, instance, id)).map_err(End::Host)?;
    context.telemetry.follow(Some(base.client.pid()));
    let ready = base.ready(instance, id, job.load_timeout, context.proc_root).map_err(End::Host)?;
    asker.meet(&ready.opened, &instance.chat).map_err(|f| End::Host(HostError::Failed(f)))?;
    measured.opened.get_or_insert(ready.opened);
    let mut client = base.client;
    let mut right = Vec::new();
    let flow = single_stream(quality, records, need(&quality.method), |item| {
        if let Err(end) = context.go_on() {
            return ControlFlow::Break(end);
        }
        let gold = asker.gold(item.record);
        let asked = asker.seen(item).map_err(|e| not_rendered(&e));
        let answer = match asked.map(|seen| asker.ask(&mut client, item, seen, &gold, Prefix::NONE)) {
            Ok(Err(AskError::Host(e))) => return ControlFlow::Break(End::Host(e)),
            Ok(Err(AskError::Record(failure))) => Err(failure.to_string()),
            Ok(Ok(answer)) => Ok(answer),
            Err(why) => Err(why),
        };
        right.push(answer.as_ref().is_ok_and(|a| a.judgement.correct));
        context.progress.record();
        eyes.watch.mark(Phase::Other, start_ns, now_ns());
        let noted = note(context.journal, eyes.case(), pass, item, &gold, &answer, answers);
        match noted.and_then(|()| eyes.pump(context, client.take_power())) {
            Ok(()) => ControlFlow::Continue(()),
            Err(e) => ControlFlow::Break(End::Journal(e)),
        }
    });
    match flow.map_err(End::Dataset)? {
        ControlFlow::Break(end) => Err(end),
        ControlFlow::Continue(()) => client.close().map(|()| right).map_err(End::Host),
    }
}
