//! `edgebench check`.

use super::{FAILED, OK, complain};
use argh::FromArgs;
use edgebench::fit;
use edgebench::sense::sensors;
use edgebench::server;
use edgebench::testcase::plan::Plan;
use edgebench::testcase::show;
use std::io::Write;
use std::path::PathBuf;

#[derive(FromArgs)]
/// Find everything that run would refuse: the job, its files, every record of every dataset.
#[argh(subcommand, name = "check")]
pub struct Check {
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

/// Runs the command; its exit code.
pub fn run(arguments: &Check) -> u8 {
    match Plan::load(&arguments.job, false) {
        Err(problems) => complain(&problems, "run"),
        Ok(plan) if arguments.show_prompt.is_some() => show_prompts(&plan, arguments),
        Ok(plan) => {
            println!(
                "{}: sound; {} ({} × {}), {} to ask, {:.1} MB of datasets checked",
                arguments.job.display(),
                count(plan.cases.len() as u64, "test case"),
                count(plan.job.instances.len() as u64, "object instance"),
                count(plan.job.tasks.len() as u64, "task"),
                count(plan.total_records(), "record"),
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

/// `1 task`, `2 tasks`
fn count(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
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
