//! `edgebench history`: a metric over the nights.

use super::{OK, REFUSED, word};
use argh::FromArgs;
use edgebench::story::history::{self, Format};
use std::path::PathBuf;

#[derive(FromArgs)]
/// A figure of every case over all runs in a folder, and when it changed.
#[argh(
    subcommand,
    name = "history",
    note = "A change point is where the runs before and after differ by more than chance (p < 0.01). Rows that are not\nvalid are shown and do not count; each board has a history of its own.",
    example = "{command_name} runs --metric decode_tok_s\n{command_name} runs --format html -o history.html",
    error_code(0, "done"),
    error_code(2, "there are no runs, or none has the figure")
)]
pub struct History {
    /// the folder in which folders of runs are
    #[argh(positional)]
    folder: PathBuf,
    /// a column of cases.csv (default acc)
    #[argh(option, default = "String::from(\"acc\")", arg_name = "column")]
    metric: String,
    /// table (default), csv, svg or html
    #[argh(option, default = "String::from(\"table\")")]
    format: String,
    /// the file to write, instead of stdout
    #[argh(option, short = 'o', arg_name = "file")]
    out: Option<PathBuf>,
}

/// Runs the command; the exit code.
pub fn run(arguments: &History) -> u8 {
    match shown(arguments) {
        Ok(()) => OK,
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}

fn shown(arguments: &History) -> Result<(), String> {
    let format = word("--format", &arguments.format, Format::ALL)?;
    let history = history::read(&arguments.folder, &arguments.metric)?;
    history.unread.iter().for_each(|e| eprintln!("edgebench: left out: {e}"));
    let text = history::print(&history, format);
    match &arguments.out {
        None => println!("{text}"),
        Some(path) => {
            std::fs::write(path, text + "\n").map_err(|e| format!("{}: cannot be written: {e}", path.display()))?;
        }
    }
    Ok(())
}
