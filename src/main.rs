//! The commands: arguments in, one call each, exit code out. Results go to stdout, all else to stderr.

mod commands;

use argh::FromArgs;
use commands::*;
use edgebench::backend;
use edgebench::clock;
use edgebench::sense::bandwidth;
use std::io::Write;
use std::process::ExitCode;

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
    Run(run::Run),
    Check(check::Check),
    Bench(Box<bench::Bench>),
    Tune(Box<tune::Tune>),
    Import(import::Import),
    Rank(rank::Rank),
    Compare(compare::Compare),
    Report(report::Report),
    History(history::History),
    Probe(probe::Probe),
    Quantize(quantize::Quantize),
    Watch(watch::Watch),
    Conform(conform::Conform),
    Variants(variants::Variants),
    Version(version::Version),
}

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
            Command::Run(arguments) => run::run(&arguments),
            Command::Check(arguments) => check::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Tune(arguments) => tune::run(&arguments),
            Command::Import(arguments) => import::run(&arguments),
            Command::Rank(arguments) => rank::run(&arguments),
            Command::Compare(arguments) => compare::run(&arguments),
            Command::Report(arguments) => report::run(&arguments),
            Command::History(arguments) => history::run(&arguments),
            Command::Probe(arguments) => probe::run(&arguments),
            Command::Quantize(arguments) => quantize::run(&arguments),
            Command::Watch(arguments) => watch::run(&arguments),
            Command::Conform(arguments) => conform::run(&arguments),
            Command::Variants(arguments) => variants::run(&arguments),
            Command::Version(_) => version::run(),
        }),
    }
}

/// The arguments, or the exit code after help (0) or a complaint (2) was printed.
fn parse(arguments: &[String]) -> Result<Arguments, u8> {
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let words = if words == ["--version"] || words == ["-V"] { vec!["version"] } else { words };
    let words = bench::spelled_out(&words);
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
