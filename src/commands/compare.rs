//! `edgebench compare`.

use super::{FAILED, MACHINE, OK, REFUSED, word, write_prom};
use argh::FromArgs;
use edgebench::job::Gate;
use edgebench::story::run_folder::Run;
use edgebench::story::{compare, prom};
use std::path::PathBuf;

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
pub struct Compare {
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

/// Runs the command; its exit code.
pub fn run(arguments: &Compare) -> u8 {
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
