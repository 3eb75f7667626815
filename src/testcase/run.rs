//! A run: every case of a plan, one after the other, into one folder. It owns the order, the manifest and the
//! user's interrupt; it must not know what happens inside a case.

use super::case::{self, Context};
use super::journal::{Journal, JournalError, write_manifest};
use super::lock::{self, Lock};
use super::manifest::{Loaded, Manifest};
use super::original;
use super::plan::Plan;
use super::progress::Progress;
pub use super::progress::Verbosity;
use super::resume::{self, ResumeError};
use super::telemetry::Telemetry;
use crate::job::CaseRef;
use crate::results::{CASES, CaseRow, Status};
use crate::sense::bandwidth::Once;
use crate::sense::board::Board;
use crate::sense::sensors::{self, Sensors};
use crate::sense::verdict::Valid;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder holds a run already.
    #[error("{}: holds a run already; give another --out, --resume it, or remove it", .0.display())]
    Occupied(PathBuf),
    /// The run in the folder is another one by now.
    #[error("{0}")]
    Changed(ResumeError),
    /// Another process writes into the folder, or it cannot be made.
    #[error("{}: {error}", folder.display())]
    Folder { folder: PathBuf, error: std::io::Error },
    /// Results cannot be written.
    #[error("{0}; what was measured until then is kept: give --resume when there is room")]
    Journal(#[from] JournalError),
    /// A model or dataset cannot be read, or signals cannot be handled.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}

impl From<ResumeError> for RunError {
    fn from(error: ResumeError) -> RunError {
        match error {
            ResumeError::Journal(e) => RunError::Journal(e),
            changed => RunError::Changed(changed),
        }
    }
}

/// How a run is to go.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub verbosity: Verbosity,
    /// A run that is in the folder goes on: cases that are complete stay as they are.
    pub resume: bool,
    /// Write trace.json too.
    pub trace: bool,
}

/// How a run ended.
pub struct Outcome {
    pub folder: PathBuf,
    pub rows: Vec<CaseRow>,
    /// The signal that stopped it.
    pub signal: Option<i32>,
}

impl Outcome {
    /// Did every case come to its end?
    pub fn all_ok(&self) -> bool {
        self.rows.iter().all(|r| r.get("status") == Status::Ok.name())
    }

    /// Was some case disturbed, so that its figures are not the board's?
    pub fn any_invalid(&self) -> bool {
        self.rows.iter().any(|r| r.get("valid") == Valid::No.name())
    }
}

/// `runs/<job>-<UTC time>`
pub fn default_folder(job: &str) -> PathBuf {
    PathBuf::from(format!("runs/{job}-{}", jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ")))
}

/// The newest folder of `job` below `runs` whose run has not ended.
pub fn unfinished(job: &str) -> Option<PathBuf> {
    let prefix = format!("{job}-");
    let name = |p: &PathBuf| p.file_name().map_or(String::new(), |n| n.to_string_lossy().into_owned());
    let mut folders: Vec<PathBuf> = std::fs::read_dir("runs").ok()?.flatten().map(|e| e.path()).collect();
    folders.retain(|f| name(f).starts_with(&prefix) && resume::is_unfinished(f));
    folders.sort();
    folders.pop()
}

/// Runs `plan` into `folder`.
pub fn run(plan: &Plan, folder: &Path, options: Options) -> Result<Outcome, RunError> {
    let failed = |error| RunError::Folder { folder: folder.to_path_buf(), error };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let _lock = Lock::take(folder).map_err(failed)?;
    let goes_on = folder.join(CASES).exists();
    if goes_on && !options.resume {
        return Err(RunError::Occupied(folder.to_path_buf()));
    }
    if let Some(error) = lock::shortage(folder) {
        return Err(failed(error));
    }
    let job = &plan.job;
    let signal = catch_signals()?;
    let mut manifest =
        Manifest::start(job, &plan.hashes, Board::read(&sensors::root().join("sys"), &sensors::root().join("proc")))?;
    manifest.n_cases = plan.cases.len();
    let mut rows = Vec::with_capacity(plan.cases.len());
    if goes_on {
        let then = resume::same(folder, &manifest)?;
        rows = resume::cut(folder)?;
        manifest = manifest.resume(then);
    }
    let done: BTreeSet<String> = rows.iter().map(|r| r.get("case").to_owned()).collect();
    let sysroot = sensors::root();
    let sensors = Sensors::open(&sysroot, Duration::from_secs(1) / job.measure.hz);
    let columns = Telemetry::columns(&sensors.layout);
    // Before the tables: where they are, it is.
    write_manifest(folder, &manifest)?;
    let mut journal = Journal::open(folder, &job.metric_columns(), &columns)?;
    journal.trace_if(options.trace, &job.name)?;
    let mut telemetry = Telemetry::start(&job.measure, sensors.layout.clone(), sensors)?;

    let until = Cell::new(plan.until);
    let interrupted = || match (signal.load(Ordering::Relaxed), until.get()) {
        (0, Some(until)) if Instant::now() >= until => Some("its time is used up"),
        (0, _) => None,
        _ => Some("stopped by the user"),
    };
    let progress = Progress::new(options.verbosity, plan.total_records(), "records");
    let mut bandwidth = Once::default();
    let mut kept = None;
    let mut records = 0;
    for (number, &case) in plan.cases.iter().enumerate() {
        // The same part of what is left for each: no task goes without.
        let part = |end: Instant| {
            Instant::now() + end.saturating_duration_since(Instant::now()) / (plan.cases.len() - number) as u32
        };
        until.set(plan.until.map(part));
        if interrupted().is_some() {
            break;
        }
        let id = job.case_id(case);
        if done.contains(&id) {
            records += plan.records_of(case);
            progress.jump_to(records);
            continue;
        }
        let instance = &job.instances[case.instance];
        progress.case(number + 1, plan.cases.len(), &id);
        let shares = |next: &CaseRef| {
            next.task == case.task
                && instance.shares_base(&job.instances[next.instance])
                && !done.contains(&job.case_id(*next))
        };
        let mut context = Context {
            job,
            journal: &mut journal,
            telemetry: &mut telemetry,
            progress: &progress,
            interrupted: &interrupted,
            records: &plan.records[case.task],
            quality: plan.quality(case),
            made: plan.made.get(&instance.id),
            proc_root: Path::new("/proc"),
            sysroot: &sysroot,
            bandwidth: &mut bandwidth,
            kept: &mut kept,
            keep: !job.measure.cold_load && plan.cases.get(number + 1).is_some_and(shares),
        };
        let (row, opened) = case::run(&mut context, &id, instance, &job.tasks[case.task])?;
        if let Some(opened) = opened {
            manifest.instances.insert(instance.id.clone(), Loaded::from(opened));
        }
        journal.case(&row)?;
        progress.say(&one_line(number + 1, plan.cases.len(), &row));
        records += plan.records_of(case);
        progress.jump_to(records);
        rows.push(row);
    }
    progress.finish();
    journal.finish()?;
    manifest.bandwidth_gb_s = bandwidth.known().map(|b| b / 1e9);
    let signal = signal.load(Ordering::Relaxed);
    if signal == 0 {
        manifest.finish();
        original::forget(folder)?;
    }
    write_manifest(folder, &manifest)?;
    Ok(Outcome { folder: journal.folder().to_path_buf(), rows, signal: (signal != 0).then_some(signal as i32) })
}

/// The first SIGINT or SIGTERM lets the current record finish, the second ends the process at once.
pub fn catch_signals() -> std::io::Result<Arc<AtomicUsize>> {
    let signal = Arc::new(AtomicUsize::new(0));
    let second = Arc::new(AtomicBool::new(false));
    for number in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(number, 128 + number, second.clone())?;
        signal_hook::flag::register(number, second.clone())?;
        signal_hook::flag::register_usize(number, signal.clone(), number as usize)?;
    }
    Ok(signal)
}

/// `[3/42] tiny.1/compare: ok, acc 0.9500, 12.3 s`
fn one_line(number: usize, of: usize, row: &CaseRow) -> String {
    let mut line = format!("[{number}/{of}] {}: {}", row.get("case"), row.get("status"));
    for (column, unit) in [
        ("loss_first", ""),
        ("loss_last", ""),
        ("acc_before", ""),
        ("acc", ""),
        ("train_tok_s", " tok/s"),
        ("ttft_ms_p50", " ms"),
        ("decode_tok_s", " tok/s"),
        ("wall_s", " s"),
    ] {
        let (name, value) = (column.trim_end_matches("_s").replace('_', " "), row.get(column));
        if !value.is_empty() {
            line += &format!(", {name} {value}{unit}");
        }
    }
    if !row.get("reason").is_empty() {
        line += &format!(" ({})", row.get("reason"));
    }
    line
}
