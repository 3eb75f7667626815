//! `edgebench watch`.

use super::{FAILED, MACHINE, OK, complain};
use argh::FromArgs;
use edgebench::checkpoints::{End, Request, WatchError, follow};
use std::path::PathBuf;
use std::time::Duration;

/// There was no gain for so long that the training may stop.
const PLATEAU: u8 = 4;

#[derive(FromArgs)]
/// Evaluate checkpoints on this board as a training run writes them, and tell the trainer which is best.
#[argh(
    subcommand,
    name = "watch",
    note = "The job's object has model = \"@checkpoint\"; [watch] in it says which files are checkpoints, by which metric\nthey are judged, and what is called when (on_best, on_regression, on_plateau).\nOUT: curve.csv (a row per checkpoint), status.json, best.gguf, runs/; `edgebench report OUT` draws the curve.",
    error_code(0, "ended, everything was evaluated"),
    error_code(1, "ended, some checkpoint could not be evaluated"),
    error_code(2, "the job is not sound: nothing ran"),
    error_code(3, "the machine refused: folder in use, disk full, permission"),
    error_code(4, "a plateau: the training may stop")
)]
pub struct Watch {
    /// the folder in which checkpoints appear
    #[argh(positional)]
    folder: PathBuf,
    /// the job file (TOML)
    #[argh(option)]
    job: PathBuf,
    /// folder for the results; default: watch-<job's name>; what is there goes on
    #[argh(option, arg_name = "dir")]
    out: Option<PathBuf>,
    /// end when all that is there has been evaluated
    #[argh(switch)]
    once: bool,
    /// end after so many seconds without a new checkpoint
    #[argh(option, arg_name = "s")]
    idle: Option<u64>,
    /// end when this process, the trainer, is gone and its last checkpoint has been evaluated
    #[argh(option)]
    pid: Option<u32>,
    /// milliseconds between two looks at the folder (default 1000)
    #[argh(option, default = "1000", arg_name = "ms")]
    poll: u64,
    /// say nothing but errors
    #[argh(switch, short = 'q')]
    quiet: bool,
}

/// Follows the training.
pub fn run(arguments: &Watch) -> u8 {
    let stem = arguments.job.file_stem().map_or("job".into(), |stem| stem.to_string_lossy().into_owned());
    let out = arguments.out.clone().unwrap_or_else(|| PathBuf::from(format!("watch-{stem}")));
    let request = Request {
        folder: &arguments.folder,
        job: &arguments.job,
        out: &out,
        once: arguments.once,
        idle: arguments.idle.map(Duration::from_secs),
        trainer: arguments.pid,
        poll: Duration::from_millis(arguments.poll.max(10)),
        quiet: arguments.quiet,
    };
    match follow(&request) {
        Ok(end) => {
            eprintln!("results: {}", out.display());
            match end {
                End::Done => OK,
                End::SomeFailed => FAILED,
                End::Plateau => PLATEAU,
                End::Signal(signal) => 128 + signal as u8,
            }
        }
        Err(WatchError::Job(problems)) => complain(&problems, "run"),
        Err(e) => {
            eprintln!("edgebench: {e}");
            MACHINE
        }
    }
}
