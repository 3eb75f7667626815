//! `edgebench import`.

use super::{OK, REFUSED, complain};
use argh::FromArgs;
use edgebench::testenv::import;
use std::path::PathBuf;

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
pub struct Import {
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

/// Runs the command; its exit code.
pub fn run(arguments: &Import) -> u8 {
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
