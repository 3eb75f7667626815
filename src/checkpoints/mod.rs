//! A training run, followed from beside: each finished checkpoint is evaluated by a job on this board, put on a
//! learning curve, and held against the best one so far; the trainer is told. The training's own files are only read.
//!
//! `find` says which checkpoints are finished, `judge` which is better, `figures` what else was measured, `curve` keeps
//! what came of them, `act` is what follows: commands, the best one's copy. This file owns the order of things.

mod act;
pub mod curve;
mod figures;
pub mod find;
mod judge;

use crate::clock;
use crate::job::watch::Watch;
use crate::problem::Problem;
use crate::results::{CURVE, CaseRow, STATUS, Status as CaseStatus};
use crate::story::run_folder::Run;
use crate::testcase::lock::Lock;
use crate::testcase::plan::{Checkpoint, Plan};
use crate::testcase::run::{self, RunError, Verbosity};
use crate::testcase::smaller;
use act::{Current, Event};
use curve::{Point, Status};
use find::{Candidate, Finder};
use judge::{Score, Verdict};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is to be followed, and until when.
pub struct Request<'a> {
    /// Where the training writes its checkpoints.
    pub folder: &'a Path,
    pub job: &'a Path,
    /// Where curve, runs and the best checkpoint go.
    pub out: &'a Path,
    /// End when everything that is there has been evaluated.
    pub once: bool,
    /// End after so long without a new checkpoint.
    pub idle: Option<Duration>,
    /// End when this process is gone, and everything it left has been evaluated.
    pub trainer: Option<u32>,
    /// Between two looks at the folder.
    pub poll: Duration,
    pub quiet: bool,
}

/// Why it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// There is nothing more to come.
    Done,
    /// The same, and some checkpoint could not be evaluated.
    SomeFailed,
    /// No significant gain for as long as the job allows: the training may stop.
    Plateau,
    Signal(i32),
}

/// Why it could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("{} problems in the job", .0.len())]
    Job(Vec<Problem>),
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{0}")]
    Run(RunError),
}

/// Follows the training run.
///
/// # Errors
/// The job is not sound, a folder cannot be used, results cannot be written.
pub fn follow(request: &Request) -> Result<End, WatchError> {
    let io = |path: &Path| {
        let path = path.to_path_buf();
        move |error| WatchError::Io { path, error }
    };
    std::fs::create_dir_all(request.out).map_err(io(request.out))?;
    let _lock = Lock::take(request.out).map_err(io(request.out))?;
    let rules = rules(request.job).map_err(WatchError::Job)?;
    act::lower_priority(&rules);
    let signal = run::catch_signals().map_err(io(request.out))?;
    let mut points = curve::read(request.out).map_err(io(&request.out.join(CURVE)))?;
    let mut finder = Finder::new(request.folder, &rules.pattern, rules.settle);
    let mut last_new = Instant::now();
    let mut end = None;
    while end.is_none() {
        let alive = request.trainer.is_none_or(|pid| Path::new("/proc").join(pid.to_string()).exists());
        let found = finder.look().map_err(io(request.folder))?;
        let next = found.ready.into_iter().find(|c| !points.iter().any(|p| p.is_of(c)));
        let standing = standing(&points);
        let state = |state: &str, checkpoint: Option<&str>| {
            let status = Status {
                state,
                stop: state == "plateau",
                checkpoint,
                best: standing.best,
                last: points.last(),
                without_gain: standing.without_gain,
                time: clock::utc(),
            };
            curve::write_status(request.out, &status).map_err(io(&request.out.join(STATUS)))
        };
        let interrupted = signal.load(std::sync::atomic::Ordering::Relaxed);
        if interrupted != 0 {
            state("ended", None)?;
            end = Some(End::Signal(interrupted as i32));
        } else if rules.patience > 0 && standing.without_gain >= rules.patience {
            state("plateau", None)?;
            if let Some(last) = points.last() {
                act::tell(request, &rules, Event::Plateau, last);
            }
            end = Some(End::Plateau);
        } else if let Some(candidate) = next {
            state("evaluating", Some(&candidate.name))?;
            let Some(point) = evaluate(request, &rules, &candidate, &points)? else { continue };
            curve::append(request.out, &point).map_err(io(&request.out.join(CURVE)))?;
            if !request.quiet {
                eprintln!("{}", act::sentence(&point));
            }
            match point.verdict.as_str() {
                "worse" => act::tell(request, &rules, Event::Regression, &point),
                _ if point.best => act::tell(request, &rules, Event::Best, &point),
                _ => {}
            }
            points.push(point);
            last_new = Instant::now();
        } else if found.growing.is_empty()
            && (request.once || !alive || request.idle.is_some_and(|i| last_new.elapsed() > i))
        {
            state("ended", None)?;
            for name in &found.torn {
                eprintln!(
                    "edgebench: {}: it is not whole, and nobody writes it any more",
                    request.folder.join(name).display()
                );
            }
            let failed = some_failed(&points) || !found.torn.is_empty();
            end = Some(if failed { End::SomeFailed } else { End::Done });
        } else {
            state("waiting", None)?;
            std::thread::sleep(request.poll);
        }
    }
    Ok(end.unwrap_or(End::Done))
}

/// The job's `[watch]`, if the job has an object for the checkpoints.
fn rules(path: &Path) -> Result<Watch, Vec<Problem>> {
    let (job, problems) = crate::job::Job::read(path);
    let Some(job) = job.filter(|_| problems.is_empty()) else { return Err(problems) };
    if !job.instances.iter().any(|i| i.is_checkpoint()) {
        let what = "no object has model = \"@checkpoint\"";
        return Err(vec![Problem::new(path, 0, what, "write it where each checkpoint is to stand")]);
    }
    Ok(job.watch)
}

/// What the curve comes to so far.
struct Standing<'p> {
    best: Option<&'p Point>,
    /// What the next one is tested against.
    reference: Option<&'p Point>,
    without_gain: u32,
}

fn standing(points: &[Point]) -> Standing<'_> {
    let judged = || points.iter().filter(|p| p.status == "ok");
    let is_reference = |p: &&Point| ["first", "better"].contains(&p.verdict.as_str());
    Standing {
        best: judged().rfind(|p| p.best),
        reference: judged().rfind(is_reference),
        without_gain: judged().rev().take_while(|p| !is_reference(p)).count() as u32,
    }
}

/// Is there a checkpoint whose last word is a failure? One that the training has deleted is none.
fn some_failed(points: &[Point]) -> bool {
    let is_last = |i: usize| points[i + 1..].iter().all(|later| later.checkpoint != points[i].checkpoint);
    points.iter().enumerate().any(|(i, p)| !["ok", "gone"].contains(&p.status.as_str()) && is_last(i))
}

/// Where the run of a checkpoint goes: below its name, with a number where an earlier state of it has been evaluated,
/// since that may be what others are compared with.
fn run_name(candidate: &Candidate, points: &[Point]) -> String {
    match points.iter().filter(|p| p.checkpoint == candidate.name).count() {
        0 => candidate.name.clone(),
        before => format!("{}.{}", candidate.name, before + 1),
    }
}

/// Evaluates one checkpoint; `None` when the user stopped it before it was done.
fn evaluate(
    request: &Request,
    rules: &Watch,
    candidate: &Candidate,
    points: &[Point],
) -> Result<Option<Point>, WatchError> {
    let start = Instant::now();
    let mut point = Point {
        time: clock::utc(),
        checkpoint: candidate.name.clone(),
        step: candidate.step,
        metric: rules.metric.name().to_owned(),
        run: run_name(candidate, points),
        bytes: candidate.print.bytes,
        modified_ns: candidate.print.modified_ns,
        ..Point::default()
    };
    let failed = |point: Point, status: &str, reason: String| {
        let seconds = start.elapsed().as_secs_f64();
        Ok(Some(Point { status: status.to_owned(), reason, seconds, ..point }))
    };
    let current = match Current::take(request, candidate, rules) {
        Ok(current) => current,
        Err((status, reason)) => return failed(point, status, reason),
    };
    let folder = act::run_folder(request.out, &point.run);
    let checkpoint = Checkpoint { name: &candidate.name, path: current.path() };
    let mut plan = match Plan::load_with(request.job, checkpoint) {
        Ok(plan) => plan,
        Err(problems) => return Err(WatchError::Job(problems)),
    };
    smaller::make(&mut plan, |_| {});
    plan.job.measure.makes_room = rules.nice > 0 || rules.cpus.is_some();
    plan.until = rules.budget.map(|budget| Instant::now() + budget);
    let verbosity = if request.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let options = run::Options { verbosity, resume: true, trace: false };
    let outcome = match run::run(&plan, &folder, options) {
        // Of an earlier state of this checkpoint, or of the job.
        Err(RunError::Changed(_)) => {
            let error = |error| WatchError::Io { path: folder.clone(), error };
            std::fs::remove_dir_all(&folder).map_err(error)?;
            run::run(&plan, &folder, options).map_err(WatchError::Run)?
        }
        other => other.map_err(WatchError::Run)?,
    };
    if outcome.signal.is_some() {
        return Ok(None);
    }
    point.seconds = start.elapsed().as_secs_f64();
    match find::candidate(request.folder, candidate.name.clone()) {
        Some(now) if now.print != candidate.print => {
            return failed(point, "changed", "it was written to while it was evaluated".to_owned());
        }
        _ => {}
    }
    let broken = |row: &&CaseRow| {
        let status = row.get("status");
        status != CaseStatus::Ok.name() && !(status == CaseStatus::Interrupted.name() && plan.until.is_some())
    };
    if let Some(row) = outcome.rows.iter().find(broken) {
        let reason = format!("{}: {}", row.get("case"), row.get("reason"));
        return failed(point, row.get("status"), reason);
    }
    let Some(score) = judge::score(&outcome.rows, rules.metric) else {
        let reason = format!("no case gave {}; see [watch] metric and the budget", rules.metric.name());
        return failed(point, "failed", reason);
    };
    point.status = "ok".to_owned();
    let measured = Run::read(&folder).and_then(|run| {
        figures::fill(&mut point, &run, score)?;
        stand(&mut point, request, rules, points, &run, score)
    });
    if let Err(reason) = measured {
        return failed(point, "failed", reason);
    }
    if point.best {
        current
            .keep_as_best(request.out)
            .map_err(|error| WatchError::Io { path: request.out.join("best.gguf"), error })?;
    }
    Ok(Some(point))
}

/// How it stands against the reference, and whether it is the best so far: that goes by the value alone, a verdict
/// takes significance.
fn stand(
    point: &mut Point,
    request: &Request,
    rules: &Watch,
    points: &[Point],
    run: &Run,
    score: Score,
) -> Result<(), String> {
    let Standing { best, reference, .. } = standing(points);
    let ahead = |of: &Point| {
        let gain = score.value - of.value.unwrap_or(f64::NAN);
        if rules.metric.lower_is_better() { gain < 0.0 } else { gain > 0.0 }
    };
    point.best = best.is_none_or(ahead);
    let Some(reference) = reference else {
        point.verdict = "first".to_owned();
        return Ok(());
    };
    point.reference = reference.checkpoint.clone();
    // A curve of an older version does not name its runs.
    let name = if reference.run.is_empty() { &reference.checkpoint } else { &reference.run };
    let before = Run::read(&act::run_folder(request.out, name))?;
    let interval = reference.lo.zip(reference.hi);
    let was = Score { value: reference.value.unwrap_or(f64::NAN), interval, n: reference.n };
    let (verdict, p) = judge::compare(rules.metric, (&before, was), (run, score))?;
    point.p = p;
    point.verdict = match verdict {
        Verdict::Better => "better",
        Verdict::Same => "same",
        Verdict::Worse => "worse",
    }
    .to_owned();
    Ok(())
}
