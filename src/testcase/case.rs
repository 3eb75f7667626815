//! One test case from the start of its host to its row in cases.csv. A case always ends with a row: whatever
//! happens to the host becomes its status and reason. It must not know other cases.

use super::ask::Asker;
use super::base::{Base, adapters};
use super::figures;
use super::finetune::{self, Learned};
use super::journal::{Journal, JournalError};
use super::original;
use super::passes::{Answers, Passes};
use super::prepare;
use super::progress::Progress;
use super::scenario::Records;
use super::smaller::{Made, NotMade};
use super::subjects::Subjects;
use super::telemetry::{Eyes, Telemetry};
use crate::backend::client::{Client, HostError};
use crate::backend::wire::{FailureKind, Open, Opened};
use crate::clock::now_ns;
use crate::fit;
use crate::job::{Instance, Job, Method, Paradigm, Task};
use crate::problem::Problem;
use crate::results::{CaseRow, Status};
use crate::sense::bandwidth::Once;
use crate::sense::phase::Phase;
use crate::sense::process;
use crate::server::{self, Watched};
use crate::testenv::metric::Tally;
use std::path::Path;
use std::time::Instant;

/// What a case needs of the run around it.
pub struct Context<'a> {
    pub job: &'a Job,
    pub journal: &'a mut Journal,
    pub telemetry: &'a mut Telemetry,
    pub progress: &'a Progress,
    /// Why the run is to stop, if it is.
    pub interrupted: &'a dyn Fn() -> Option<&'static str>,
    /// Of the case's task.
    pub records: &'a Records,
    /// The task that judges a model before and after it is trained.
    pub quality: Option<(&'a Task, &'a Records)>,
    /// The case's model, where it had to be made, or why it could not be.
    pub made: Option<&'a Result<Made, NotMade>>,
    pub proc_root: &'a Path,
    /// Root of the board's files: free memory is read below it.
    pub sysroot: &'a Path,
    /// What the memory gives.
    pub bandwidth: &'a mut Once,
    /// The host of the case before, if this one differs from it in its adapters only.
    pub kept: &'a mut Option<Base>,
    /// Does the next case differ from this one in its adapters only?
    pub keep: bool,
}

impl Context<'_> {
    /// # Errors
    /// The case is to end here.
    pub fn go_on(&self) -> Result<(), End> {
        (self.interrupted)().map_or(Ok(()), |why| Err(End::Interrupted(why)))
    }
}

/// Why a case ended before its last record.
pub enum End {
    Host(HostError),
    /// The model needs more memory than is free: no host was started.
    DoesNotFit(String),
    /// There is no model.
    NotMade(NotMade),
    Dataset(Problem),
    Interrupted(&'static str),
    Journal(JournalError),
}

/// What a case has measured so far.
#[derive(Default)]
pub struct Measured {
    pub answers: Answers,
    pub opened: Option<Opened>,
    /// Of a case that trains.
    pub learned: Learned,
    /// The model had been loaded for the case before.
    kept: bool,
    /// Time that adapters took.
    adapter_ns: Option<u64>,
    load_cold_ns: Option<u64>,
    pub hot_start_c: Option<f64>,
    pub rss_peak_mib: Option<f64>,
    /// Why the server that was asked could not be watched.
    unseen: Option<String>,
}

/// Runs a case and gives its row, and what was loaded if it came that far.
pub fn run(
    context: &mut Context,
    id: &str,
    instance: &Instance,
    task: &Task,
) -> Result<(CaseRow, Option<Opened>), JournalError> {
    let (start, start_ns) = (Instant::now(), now_ns());
    let oom_kills = process::oom_kills(context.proc_root);
    let mut measured = Measured::default();
    measured.answers.tally = Tally::new(&task.metrics, &task.scoring);
    measured.answers.subjects = Subjects::new(task);
    let mut eyes = context.telemetry.begin(id);
    let end = match measure(context, &mut eyes, id, instance, task, &mut measured) {
        Err(End::Journal(e)) => return Err(e),
        Err(end) => Some(end),
        Ok(()) => None,
    };
    context.telemetry.follow(None);
    eyes.watch.known_until(now_ns());
    eyes.pump(context, Vec::new())?;
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
        ("paradigm", Paradigm::of(instance, task).name()),
    ] {
        row.set(column, value);
    }
    let answers = &mut measured.answers;
    let (status, reason) = status_of(end, answers, oom_killed);
    row.set("status", status.name());
    row.set("reason", reason);
    match &task.method {
        Method::Finetune(_) => measured.learned.fill(&mut row, &answers.tally, context.quality.map(|(task, _)| task)),
        _ => figures::answers(&mut row, answers, task),
    }
    if let Some(opened) = &measured.opened {
        figures::opened(&mut row, opened, answers, context.bandwidth);
        figures::scored_by(&mut row, opened, &task.method, &answers.tally);
    }
    figures::telemetry(&mut row, &eyes, answers, &task.method, measured.learned.timed_tokens());
    figures::judge(&mut row, &eyes, answers, measured.hot_start_c, measured.unseen.as_deref(), &context.job.measure);
    if status != Status::Ok {
        row.set("valid", "no");
    }
    figures::model(&mut row, instance.model_path.as_deref(), context.made.and_then(|made| made.as_ref().ok()));
    if instance.address().is_some() {
        row.set("retries", answers.retried.1.to_string());
    }
    if instance.address().is_some() || measured.kept {
        // It had loaded its model before.
        row.set("load_ms", "");
    }
    row.set_number("adapter_ms", measured.adapter_ns.map(|ns| ns as f64 / 1e6), 3);
    row.set_number("load_cold_ms", measured.load_cold_ns.map(|ns| ns as f64 / 1e6), 3);
    row.set_number("rss_peak_mib", measured.rss_peak_mib, 1);
    row.set_number("wall_s", Some(start.elapsed().as_secs_f64()), 3);
    context.journal.subjects(&answers.subjects.rows(id, task, &answers.tally))?;
    if let Some(sustained) = &answers.sustained {
        context.journal.sustained(id, sustained)?;
    }
    context.journal.load(id, &answers.load.trials)?;
    if let Some(trace) = context.journal.trace() {
        trace.case(id, start_ns, status.name())?;
    }
    Ok((row, measured.opened))
}

/// Prepares the board, starts the host, loads, asks, closes; `measured` holds what came of it also when it ends
/// early.
fn measure(
    context: &mut Context,
    eyes: &mut Eyes,
    id: &str,
    instance: &Instance,
    task: &Task,
    measured: &mut Measured,
) -> Result<(), End> {
    let job = context.job;
    if let Some(Err(why)) = context.made {
        return Err(End::NotMade(why.clone()));
    }
    if let Method::Finetune(wanted) = &task.method {
        return finetune::measure(context, eyes, id, instance, (task, wanted), measured);
    }
    let mut asker = Asker::new(task, job.timeout).map_err(End::Dataset)?;
    let mut open = Open { power_hz: context.telemetry.plugin_hz(), ..open(job, instance, id) };
    open.params.extend(fit::batch(instance, task));
    if let Method::Divergence(windows) = &task.method {
        open.logits = Some(original::logits(context, instance, task, windows)?);
    }
    let kept = context.kept.take().filter(|base| base.has(&open));
    if kept.is_none()
        && let Some(why) = fit::shortage(job, instance, task, context.sysroot)
    {
        return Err(End::DoesNotFit(why));
    }
    if let Some(wanted) = &job.measure.cooldown {
        measured.hot_start_c = prepare::cool_down(context, eyes, wanted)?;
    }
    if context.telemetry.has_rail() {
        prepare::idle(context, eyes, None, job.measure.power.idle)?;
    }
    if job.measure.cold_load {
        let cold = prepare::cold_load(open.clone(), instance.model_path.as_deref(), job.load_timeout)?;
        measured.load_cold_ns = Some(cold);
    }
    let start_ns = now_ns();
    let mut base = match kept {
        Some(base) => base,
        None => Base::start(open).map_err(End::Host)?,
    };
    let watched = match server::watched(instance, context.proc_root) {
        Watched::Host => Some(base.client.pid()),
        Watched::Server(pid) => Some(pid),
        Watched::Remote => None,
        Watched::Unseen(why) => {
            measured.unseen = Some(why);
            None
        }
    };
    context.telemetry.follow(watched);
    let ready = base.ready(instance, id, job.load_timeout, context.proc_root);
    eyes.watch.mark(Phase::Load, start_ns, now_ns());
    if let Some(trace) = context.journal.trace() {
        trace.phase(Phase::Load.name(), start_ns, now_ns()).map_err(End::Journal)?;
    }
    let result = match ready {
        Err(e) => Err(End::Host(e)),
        Ok(ready) => {
            (measured.kept, measured.adapter_ns) = (!ready.loaded, ready.adapter_ns);
            eyes.add_plugin_rails(&ready.opened.rails);
            let met = asker.meet(measured.opened.insert(ready.opened), &instance.chat);
            met.map_err(|failure| End::Host(HostError::Failed(failure)))
                .and_then(|()| ask(context, eyes, task, &asker, &mut base.client, measured))
        }
    };
    measured.rss_peak_mib = match watched {
        Some(pid) if pid == base.client.pid() => base.rss_peak_mib(context.proc_root),
        watched => watched.and_then(|pid| process::rss_peak_mib(context.proc_root, pid)),
    };
    result?;
    if context.keep && base.can_go_on(context.proc_root) {
        *context.kept = Some(base);
        return Ok(());
    }
    base.client.close().map_err(End::Host)
}

/// What a host is to load for `instance`; `title` names its process.
pub fn open(job: &Job, instance: &Instance, title: &str) -> Open {
    Open {
        backend: instance.backend.clone(),
        model: instance.model_path.as_ref().map_or(instance.model.clone(), |p| p.to_string_lossy().into_owned()),
        params: fit::params(job, instance),
        title: title.to_owned(),
        sandbox: job.sandbox,
        power_hz: 0,
        adapters: job.instances.iter().filter(|i| i.shares_base(instance)).flat_map(adapters).map(|a| a.path).collect(),
        logits: None,
    }
}

/// Everything between the load and the end of a host.
fn ask(
    context: &mut Context,
    eyes: &mut Eyes,
    task: &Task,
    asker: &Asker,
    client: &mut Client,
    measured: &mut Measured,
) -> Result<(), End> {
    if !context.telemetry.has_rail() && eyes.main_rail().is_some() {
        prepare::idle(context, eyes, Some(client), context.job.measure.power.idle)?;
    }
    Passes { context, eyes, task, asker, client, answers: &mut measured.answers }.run()?;
    if let Some(rail) = eyes.main_rail() {
        prepare::linger(context, eyes, client, rail)?;
    }
    Ok(())
}

fn status_of(end: Option<End>, answers: &Answers, oom_killed: bool) -> (Status, String) {
    let tally = &answers.tally;
    match end {
        None if tally.n > 0 && tally.failed == tally.n => {
            let reason = answers.first_failure.clone().unwrap_or_default();
            (Status::Failed, format!("no record could be answered; {reason}"))
        }
        None if tally.failed > 0 => (Status::Ok, answers.first_failure.clone().unwrap_or_default()),
        None => (Status::Ok, String::new()),
        Some(End::NotMade(why)) => (why.status, why.reason),
        Some(End::DoesNotFit(why)) => (Status::OutOfMemory, why),
        Some(End::Interrupted(why)) => (Status::Interrupted, why.to_owned()),
        Some(End::Dataset(problem)) => (Status::Failed, format!("the dataset changed while it was read: {problem}")),
        Some(End::Journal(e)) => (Status::Failed, e.to_string()),
        Some(End::Host(error)) => status_of_host(&error, oom_killed),
    }
}

/// What becomes of work that a host did not finish; `oom_killed`: the kernel has killed some process for want of memory
/// meanwhile.
pub fn status_of_host(error: &HostError, oom_killed: bool) -> (Status, String) {
    let status = match error {
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
