//! `edgebench run`.

use super::{FAILED, MACHINE, OK, REFUSED, complain, report, write_prom};
use argh::FromArgs;
use edgebench::story::run_folder::Run as Folder;
use edgebench::story::{prom, rank, suite, table, variants};
use edgebench::testcase::plan::Plan;
use edgebench::testcase::run::{self, RunError, Verbosity};
use edgebench::testcase::smaller;
use std::path::PathBuf;

#[derive(FromArgs)]
/// Run a job: every object with every task, each in its own process.
#[argh(subcommand, name = "run")]
pub struct Run {
    /// the job file (TOML)
    #[argh(positional)]
    job: PathBuf,
    /// folder for the results; default: runs/<job>-<UTC time>
    #[argh(option, arg_name = "dir")]
    out: Option<PathBuf>,
    /// go on with a run that was cut short: in --out, or the newest unfinished one of this job; if there is none, begin
    #[argh(switch)]
    resume: bool,
    /// only the cases whose name has PAT in it; with * a pattern for the whole name: --only '*/compare'
    #[argh(option, arg_name = "pat")]
    only: Option<String>,
    /// exit 1 also when a row is not valid: throttled, disturbed, swapped …
    #[argh(switch)]
    strict: bool,
    /// write trace.json too: each call and token, with memory, clock, heat and power; open it in ui.perfetto.dev
    #[argh(switch)]
    trace: bool,
    /// write the figures for Prometheus' textfile collector, when the run has come to its end
    #[argh(option, arg_name = "file")]
    prom: Option<PathBuf>,
    /// say nothing but errors and the leaderboard
    #[argh(switch, short = 'q')]
    quiet: bool,
    /// write no report.html
    #[argh(switch)]
    no_report: bool,
}

/// Runs the command; its exit code.
pub fn run(arguments: &Run) -> u8 {
    let mut plan = match Plan::load(&arguments.job, true) {
        Err(problems) => return complain(&problems, "run"),
        Ok(plan) => plan,
    };
    if let Some(pattern) = &arguments.only {
        plan.only(pattern);
        if plan.cases.is_empty() {
            eprintln!("edgebench: --only {pattern}: no case has this in its name; names are like {}", example(&plan));
            return REFUSED;
        }
    }
    let quiet = arguments.quiet;
    smaller::make(&mut plan, |line| {
        if !quiet {
            eprintln!("{line}");
        }
    });
    let unfinished = || if arguments.resume { run::unfinished(&plan.job.name) } else { None };
    let folder = arguments.out.clone().or_else(unfinished).unwrap_or_else(|| run::default_folder(&plan.job.name));
    let verbosity = if arguments.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    let options = run::Options { verbosity, resume: arguments.resume, trace: arguments.trace };
    let outcome = match run::run(&plan, &folder, options) {
        Ok(outcome) => outcome,
        Err(e @ (RunError::Occupied(_) | RunError::Changed(_))) => {
            eprintln!("edgebench: {e}");
            return REFUSED;
        }
        Err(e) => {
            eprintln!("edgebench: {e}");
            return MACHINE;
        }
    };
    let keys = if plan.job.rank_by.is_empty() { rank::default_keys() } else { plan.job.rank_by.clone() };
    println!("{}", table::leaderboard(&rank::leaderboard(&outcome.rows, &keys)));
    match suite::write(&plan.job.suites, &outcome.folder, &outcome.rows) {
        Ok(scores) if scores.is_empty() => {}
        Ok(scores) => println!("{}", table::suites(&scores)),
        Err(e) => {
            eprintln!("edgebench: {}: the suites cannot be written: {e}", outcome.folder.display());
            return MACHINE;
        }
    }
    if plan.job.instances.iter().any(|i| i.quantize.is_some())
        && let Ok(all) = Folder::read(&outcome.folder).and_then(|run| variants::variants(&run))
        && !all.is_empty()
    {
        println!("{}", variants::print(&all, variants::Format::Text));
    }
    // Who interrupts does not want to wait.
    if !arguments.no_report
        && outcome.signal.is_none()
        && let Err(e) = report::of_run(&outcome.folder)
    {
        eprintln!("edgebench: {e}");
    }
    if !arguments.quiet || arguments.out.is_none() {
        eprintln!("results: {}", outcome.folder.display());
    }
    for row in outcome.rows.iter().filter(|r| r.get("status") != "ok") {
        eprintln!("{}: {}: {}", row.get("case"), row.get("status"), row.get("reason"));
    }
    for row in outcome.rows.iter().filter(|r| r.get("status") == "ok" && r.get("valid") == "no") {
        eprintln!("{}: not valid: {}", row.get("case"), row.get("evidence"));
    }
    let figures = || Folder::read(&outcome.folder).map(|run| prom::of_run(&run));
    match outcome.signal {
        None if !write_prom(arguments.prom.as_deref(), figures) => MACHINE,
        Some(signal) => 128 + signal as u8,
        None if arguments.strict && outcome.any_invalid() => FAILED,
        None if outcome.all_ok() => OK,
        None => FAILED,
    }
}

/// Some case's name, for a message.
fn example(plan: &Plan) -> String {
    plan.job.cases().first().map_or(String::new(), |c| plan.job.case_id(*c))
}
