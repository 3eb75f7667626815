//! The commands: arguments in, one call each, exit code out. Results go to stdout, all else to stderr.

mod commands;

use argh::FromArgs;
use edgebench::backend;
use edgebench::clock;
use edgebench::conform;
use edgebench::fit;
use edgebench::job::Gate;
use edgebench::probe;
use edgebench::problem::Problem;
use edgebench::results::write_whole;
use edgebench::sense::{bandwidth, sensors};
use edgebench::server;
use edgebench::story::run_folder::Run;
use edgebench::story::{boards, compare, prom, rank, suite, table};
use edgebench::testcase::plan::Plan;
use edgebench::testcase::run::{self, RunError, Verbosity};
use edgebench::testcase::show;
use edgebench::testenv::import;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Done; for `compare`: no regression.
const OK: u8 = 0;
/// A case failed.
const FAILED: u8 = 1;
/// Bad usage or input: nothing ran.
const REFUSED: u8 = 2;
/// The machine refused: folder in use, disk full, permission.
const MACHINE: u8 = 3;

#[derive(FromArgs)]
/// Find out which LLM, quantisation, backend and setting this board should run.
#[argh(
    note = "Start with: {command_name} check JOB, then {command_name} run JOB.",
    note = "Log lines of backends: set RUST_LOG=debug.",
    error_code(0, "done"),
    error_code(1, "a case failed"),
    error_code(2, "bad usage or input: nothing ran"),
    error_code(3, "the machine refused: folder in use, disk full, permission"),
    error_code(130, "interrupted (143: terminated); what was measured is kept, --resume goes on")
)]
struct Arguments {
    #[argh(subcommand)]
    command: Command,
}

#[derive(FromArgs)]
#[argh(subcommand)]
enum Command {
    Run(RunJob),
    Check(Check),
    Bench(Box<commands::bench::Bench>),
    Tune(Box<commands::tune::Tune>),
    Import(Import),
    Rank(Rank),
    Compare(Compare),
    Report(commands::report::Report),
    History(commands::history::History),
    Probe(Probe),
    Watch(commands::watch::Watch),
    Conform(Conform),
    Version(Version),
}

#[derive(FromArgs)]
/// Run a job: every object with every task, each in its own process.
#[argh(subcommand, name = "run")]
struct RunJob {
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

#[derive(FromArgs)]
/// Find everything that run would refuse: the job, its files, every record of every dataset.
#[argh(subcommand, name = "check")]
struct Check {
    /// the job file (TOML)
    #[argh(positional)]
    job: PathBuf,
    /// print what the model will see for the first N records of each task; where it is asked in a chat, the model is
    /// opened for its template
    #[argh(option, arg_name = "n")]
    show_prompt: Option<u64>,
    /// with --show-prompt: one JSON object per prompt
    #[argh(switch)]
    json: bool,
}

#[derive(FromArgs)]
/// Turn a published benchmark, as it is handed out, into a dataset and a job that asks it.
#[argh(
    subcommand,
    name = "import",
    note = "{command_name} list shows the kinds, where each is had, and its licence. Nothing is downloaded.",
    example = "{command_name} mmlu data.tar -o mmlu\nedgebench run mmlu/job.toml",
    error_code(0, "done"),
    error_code(2, "something is wrong in SRC, or OUT is there already: nothing was written")
)]
struct Import {
    /// mmlu, cmmlu, ceval, gsm8k, hellaswag, arc, truthfulqa, boolq, winogrande, bbh, squad, ianvs, csv or jsonl;
    /// ianvs-job: a whole job of Ianvs; or list: what they are
    #[argh(positional)]
    kind: String,
    /// a folder, a zip or tar, or a file; gzip or not
    #[argh(positional)]
    source: Option<PathBuf>,
    /// folder for the dataset; or, when it is one file, NAME.jsonl; ianvs-job: job.toml
    #[argh(option, short = 'o')]
    out: Option<PathBuf>,
    /// only these splits: test,dev; default: those that are usual
    #[argh(option)]
    split: Vec<String>,
    /// csv and jsonl: which column is which field, question=prompt,answer=label,choices=A+B+C+D
    #[argh(option, arg_name = "field=column")]
    map: Vec<String>,
    /// csv and jsonl: the number of the first choice, where answers are numbers (default 0)
    #[argh(option, default = "0", arg_name = "n")]
    index_from: usize,
    /// leave records out that cannot be used, instead of refusing all
    #[argh(switch)]
    skip_bad: bool,
    /// write an earlier import anew
    #[argh(switch)]
    force: bool,
    /// ianvs-job: test this model instead of those that the job names; may be repeated
    #[argh(option, short = 'm')]
    model: Vec<String>,
}

#[derive(FromArgs)]
/// A leaderboard over any number of runs: like boards with like.
#[argh(
    subcommand,
    name = "rank",
    note = "Places with overlapping accuracy intervals share a rank. ◆: on the Pareto front of quality, speed, energy\nand memory. ✗: not valid, ?: could not be judged."
)]
struct Rank {
    /// folders of runs
    #[argh(positional)]
    runs: Vec<PathBuf>,
    /// sort by this column: "acc desc"; may be repeated; default: acc, then speed
    #[argh(option, arg_name = "column order")]
    by: Vec<String>,
    /// only rows whose column fits: task=compare, model='*q4*'; may be repeated
    #[argh(option, arg_name = "column=pat")]
    filter: Vec<String>,
    /// show this column of cases.csv instead of the usual ones; may be repeated
    #[argh(option)]
    column: Vec<String>,
    /// leave out rows that are not valid
    #[argh(switch)]
    valid_only: bool,
    /// all boards in one leaderboard
    #[argh(switch)]
    across: bool,
    /// table (default), md, csv, json, or ianvs: the columns of Ianvs' selected_rank.csv
    #[argh(option, default = "String::from(\"table\")")]
    format: String,
    /// with --format ianvs: write all_rank.csv and selected_rank.csv into this folder
    #[argh(option, arg_name = "dir")]
    out: Option<PathBuf>,
}

#[derive(FromArgs)]
/// Did it get worse? Two runs of the same tasks on the same board, record by record.
#[argh(
    subcommand,
    name = "compare",
    note = "A change counts only if it is significant and beyond its threshold: [gate] of the new run's job,\nor acc -1 pp, decode_tok_s -5 %, ttft_ms and e2e_ms +10 %.",
    error_code(0, "no regression"),
    error_code(1, "a regression"),
    error_code(2, "not comparable: another board or data, a case missing or not valid")
)]
struct Compare {
    /// the folder of the run before
    #[argh(positional)]
    base: PathBuf,
    /// the folder of the run after
    #[argh(positional)]
    new: PathBuf,
    /// text (default), md, json or junit
    #[argh(option, default = "String::from(\"text\")")]
    format: String,
    /// write the answer for Prometheus' textfile collector
    #[argh(option, arg_name = "file")]
    prom: Option<PathBuf>,
}

#[derive(FromArgs)]
/// Show what this board is, what can be measured on it, and what not and why.
#[argh(subcommand, name = "probe")]
struct Probe {
    /// one JSON object instead of tables
    #[argh(switch)]
    json: bool,
    /// tell whether this GGUF fits into memory
    #[argh(option, short = 'm')]
    model: Option<PathBuf>,
    /// a parameter of the llama backend for --model, as key=value; may be repeated
    #[argh(option, arg_name = "key=value")]
    param: Vec<String>,
}

#[derive(FromArgs)]
/// Find out whether a plugin keeps to edgebench.h: one child process per check.
#[argh(subcommand, name = "conform")]
struct Conform {
    /// the plugin's shared library, or the name of a built-in backend
    #[argh(positional)]
    plugin: String,
    /// model to open; most plugins need one
    #[argh(option)]
    model: Option<PathBuf>,
    /// a parameter for open(), as key=value; may be repeated
    #[argh(option, arg_name = "key=value")]
    param: Vec<String>,
    /// only the checks whose id has PAT in it; with * a pattern for the whole id
    #[argh(option, arg_name = "pat")]
    only: Option<String>,
    /// seconds that one call of the plugin may take (default 60)
    #[argh(option, default = "60")]
    timeout: u32,
    /// one JSON object instead of a table
    #[argh(switch)]
    json: bool,
}

#[derive(FromArgs)]
/// Print the version and the built-in backends.
#[argh(subcommand, name = "version")]
struct Version {}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    if let Some(code) = arguments.get(1).and_then(|a| backend::role(a)) {
        return code;
    }
    if arguments.get(1).is_some_and(|a| a == bandwidth::ARGUMENT) {
        return bandwidth::main();
    }
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error"))
        .format(|out, r| writeln!(out, "[{} {} {}] {}", clock::utc(), r.level(), r.target(), r.args()))
        .init();
    match parse(&arguments) {
        Err(code) => ExitCode::from(code),
        Ok(Arguments { command }) => ExitCode::from(match command {
            Command::Run(run) => run_job(&run),
            Command::Check(check) => check_job(&check),
            Command::Bench(arguments) => commands::bench::run(&arguments),
            Command::Tune(arguments) => commands::tune::run(&arguments),
            Command::Import(arguments) => import_data(&arguments),
            Command::Rank(arguments) => rank_runs(&arguments),
            Command::Compare(arguments) => compare_runs(&arguments),
            Command::Report(arguments) => commands::report::run(&arguments),
            Command::History(arguments) => commands::history::run(&arguments),
            Command::Probe(arguments) => look_at_board(&arguments),
            Command::Watch(arguments) => commands::watch::run(&arguments),
            Command::Conform(arguments) => check_plugin(&arguments),
            Command::Version(_) => version(),
        }),
    }
}

/// The arguments, or the exit code after help (0) or a complaint (2) was printed.
fn parse(arguments: &[String]) -> Result<Arguments, u8> {
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let words = if words == ["--version"] || words == ["-V"] { vec!["version"] } else { words };
    let words = commands::bench::spelled_out(&words);
    Arguments::from_args(&["edgebench"], &words).map_err(|exit| match exit.status {
        Ok(()) => {
            println!("{}", exit.output.trim_end());
            OK
        }
        Err(()) => {
            eprintln!("{}", exit.output.trim_end());
            REFUSED
        }
    })
}

fn version() -> u8 {
    let built_in = edgebench::backend::hosts::built_in();
    let built_in = if built_in.is_empty() { "none".to_owned() } else { built_in.join(", ") };
    println!("edgebench {} ({}), built-in backends: {built_in}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    OK
}

fn check_job(arguments: &Check) -> u8 {
    match Plan::load(&arguments.job, false) {
        Err(problems) => complain(&problems, "run"),
        Ok(plan) if arguments.show_prompt.is_some() => show_prompts(&plan, arguments),
        Ok(plan) => {
            println!(
                "{}: sound; {} test cases ({} object instances × {} tasks), {} records to ask, {:.1} MB of datasets checked",
                arguments.job.display(),
                plan.cases.len(),
                plan.job.instances.len(),
                plan.job.tasks.len(),
                plan.total_records(),
                plan.bytes as f64 / 1e6,
            );
            let memory = fit::warnings(&plan.job, &arguments.job, &sensors::root());
            let servers = server::warnings(&plan.job, &arguments.job);
            for warning in memory.into_iter().chain(servers).chain(plan.notes) {
                eprintln!("warning: {warning}");
            }
            OK
        }
    }
}

fn import_data(arguments: &Import) -> u8 {
    if arguments.kind == "list" {
        println!("{}", import::list());
        return OK;
    }
    if arguments.kind == "ianvs-job" {
        return import_ianvs_job(arguments);
    }
    let request = match import_request(arguments) {
        Ok(request) => request,
        Err(e) => {
            eprintln!("edgebench: {e}");
            return REFUSED;
        }
    };
    match import::run(&request) {
        Ok(report) => {
            println!("{report}\nwritten: {}", request.out.display());
            OK
        }
        Err(problems) => complain(&problems, "written"),
    }
}

fn import_ianvs_job(arguments: &Import) -> u8 {
    let (Some(source), Some(out)) = (&arguments.source, &arguments.out) else {
        eprintln!("edgebench: import ianvs-job: give the benchmarkingjob.yaml and -o job.toml");
        return REFUSED;
    };
    let models = arguments.model.clone();
    match import::ianvs_job::run(&import::ianvs_job::Request { source, out, models, force: arguments.force }) {
        Ok(report) => {
            println!("{report}");
            OK
        }
        Err(problems) => complain(&problems, "written"),
    }
}

fn import_request(arguments: &Import) -> Result<import::Request<'_>, String> {
    let kind = import::kind(&arguments.kind)?;
    let (Some(source), Some(out)) = (&arguments.source, &arguments.out) else {
        return Err(format!("import {}: give SRC ({}) and -o OUT", kind.name, kind.layout));
    };
    let map = import::Map::parse(&arguments.map)?;
    if !arguments.model.is_empty() {
        return Err(format!("import {}: --model is for ianvs-job", kind.name));
    }
    if !kind.task.is_empty() && (!map.is_empty() || arguments.index_from > 0) {
        return Err(format!("import {}: --map and --index-from are for csv and jsonl", kind.name));
    }
    let splits = arguments.split.iter().flat_map(|s| s.split(',')).map(|s| s.trim().to_owned()).collect();
    let (force, skip_bad, index_from) = (arguments.force, arguments.skip_bad, arguments.index_from);
    Ok(import::Request { kind, source, out, splits, map, index_from, force, skip_bad })
}

fn rank_runs(arguments: &Rank) -> u8 {
    match ranked(arguments) {
        Ok(text) => {
            println!("{text}");
            OK
        }
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}

fn ranked(arguments: &Rank) -> Result<String, String> {
    if arguments.runs.is_empty() {
        return Err("rank: give the folders of runs".to_owned());
    }
    let format = word("--format", &arguments.format, boards::Format::ALL)?;
    let runs: Vec<Run> = arguments.runs.iter().map(|folder| Run::read(folder)).collect::<Result<_, _>>()?;
    let pair = |text: &String| {
        let (column, pattern) = text.split_once('=').ok_or(format!("--filter {text}: write it like task=compare"))?;
        Ok((column.to_owned(), pattern.to_owned()))
    };
    let by: Vec<&str> = arguments.by.iter().map(String::as_str).collect();
    let keys = if by.is_empty() { rank::default_keys() } else { rank::keys(&by)? };
    let filters = arguments.filter.iter().map(pair).collect::<Result<_, String>>()?;
    let wanted = boards::Wanted { keys, filters, valid_only: arguments.valid_only, across: arguments.across };
    let boards = boards::boards(&runs, &wanted);
    match &arguments.out {
        None => Ok(boards::print(&boards, &arguments.column, format)),
        Some(folder) if format == boards::Format::Ianvs => boards::ianvs::write(&boards, &arguments.column, folder),
        Some(_) => Err("--out: it is for --format ianvs; else write `> FILE`".to_owned()),
    }
}

/// The value that goes with a word of the command line.
fn word<T: Copy>(option: &str, text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    found.ok_or_else(|| format!("{option} {text}: there is {}", known.join(", ")))
}

fn compare_runs(arguments: &Compare) -> u8 {
    let refuse = |e: String| {
        eprintln!("edgebench: {e}");
        REFUSED
    };
    let format = match word("--format", &arguments.format, compare::Format::ALL) {
        Ok(format) => format,
        Err(e) => return refuse(e),
    };
    let (base, new) = match (Run::read(&arguments.base), Run::read(&arguments.new)) {
        (Ok(base), Ok(new)) => (base, new),
        (Err(e), _) | (_, Err(e)) => return refuse(e),
    };
    match compare::compare(&base, &new, &Gate::of_job(&new.manifest.job_text)) {
        Err(e) => refuse(e),
        Ok(comparison) => {
            println!("{}", compare::print(&comparison, format));
            match () {
                () if !write_prom(arguments.prom.as_deref(), || Ok(prom::of_comparison(&comparison, &new))) => MACHINE,
                () if !comparison.not_comparable.is_empty() => REFUSED,
                () if comparison.regressed() => FAILED,
                () => OK,
            }
        }
    }
}

fn look_at_board(arguments: &Probe) -> u8 {
    let request = probe::Request { json: arguments.json, model: arguments.model.as_deref(), params: &arguments.param };
    match probe::run(&request) {
        Ok(()) => OK,
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}

fn show_prompts(plan: &Plan, arguments: &Check) -> u8 {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let shown = show::prompts(plan, arguments.show_prompt.unwrap_or(1), arguments.json, &mut out);
    match shown.and_then(|()| Ok(out.flush()?)) {
        Ok(()) => OK,
        Err(e) => {
            eprintln!("edgebench: {e}");
            FAILED
        }
    }
}

fn check_plugin(arguments: &Conform) -> u8 {
    let request = conform::Request {
        plugin: &arguments.plugin,
        model: arguments.model.as_deref(),
        params: &arguments.param,
        only: arguments.only.as_deref(),
        timeout: Duration::from_secs(arguments.timeout.max(1).into()),
        json: arguments.json,
    };
    match conform::run(&request) {
        Ok(true) => OK,
        Ok(false) => FAILED,
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}

fn run_job(arguments: &RunJob) -> u8 {
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
    // Who interrupts does not want to wait.
    if !arguments.no_report
        && outcome.signal.is_none()
        && let Err(e) = commands::report::of_run(&outcome.folder)
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
    let figures = || Run::read(&outcome.folder).map(|run| prom::of_run(&run));
    match outcome.signal {
        None if !write_prom(arguments.prom.as_deref(), figures) => MACHINE,
        Some(signal) => 128 + signal as u8,
        None if arguments.strict && outcome.any_invalid() => FAILED,
        None if outcome.all_ok() => OK,
        None => FAILED,
    }
}

/// Writes the file that `--prom` names, if it does. Says why when it cannot.
fn write_prom(path: Option<&Path>, figures: impl FnOnce() -> Result<String, String>) -> bool {
    let Some(path) = path else { return true };
    let write = |text: String| write_whole(path, text.as_bytes()).map_err(|e| format!("{}: {e}", path.display()));
    figures().and_then(write).map_err(|e| eprintln!("edgebench: {e}")).is_ok()
}

/// Some case's name, for a message.
fn example(plan: &Plan) -> String {
    plan.job.cases().first().map_or(String::new(), |c| plan.job.case_id(*c))
}

/// Prints every problem; the exit code that goes with it.
fn complain(problems: &[Problem], done: &str) -> u8 {
    for problem in problems {
        eprintln!("{problem}");
    }
    let s = if problems.len() == 1 { "" } else { "s" };
    eprintln!("edgebench: {} problem{s}, nothing was {done}", problems.len());
    REFUSED
}
