//! `edgebench report`: runs as one page.

use super::{OK, REFUSED, word};
use argh::FromArgs;
use edgebench::results::{MANIFEST, REPORT};
use edgebench::story::report::{self, Language};
use edgebench::story::run_folder::Run;
use edgebench::story::training::Curve;
use std::path::{Path, PathBuf};

#[derive(FromArgs)]
/// Runs as one HTML file: what this board should use and why, with charts, evidence and wrong answers; of a folder of
/// `watch` the learning curve.
#[argh(
    subcommand,
    name = "report",
    note = "The file loads nothing from elsewhere. Without -o it is report.html, in the run's folder if there is one run.",
    example = "{command_name} runs/demo-20260301T020000Z --lang zh\n{command_name} watch-job",
    error_code(0, "written"),
    error_code(2, "a folder is no run, or the report cannot be written")
)]
pub struct Report {
    /// folders of runs, or of watch: its curve, and the runs of its first, best and last checkpoint
    #[argh(positional)]
    runs: Vec<PathBuf>,
    /// the file to write
    #[argh(option, short = 'o', arg_name = "file")]
    out: Option<PathBuf>,
    /// en (default) or zh
    #[argh(option, default = "String::from(\"en\")")]
    lang: String,
}

/// Runs the command; the exit code.
pub fn run(arguments: &Report) -> u8 {
    match write(arguments) {
        Ok(path) => {
            println!("{}", path.display());
            OK
        }
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}

/// Writes the report of one run into its folder.
pub fn of_run(folder: &Path) -> Result<(), String> {
    report::write(&[Run::read(folder)?], &[], Language::En, &folder.join(REPORT))
}

fn write(arguments: &Report) -> Result<PathBuf, String> {
    let language = word("--lang", &arguments.lang, Language::ALL)?;
    let (mut runs, mut curves) = (Vec::new(), Vec::new());
    for folder in &arguments.runs {
        let curve = Curve::read(folder)?;
        match &curve {
            Some(curve) if !folder.join(MANIFEST).exists() => runs.extend(curve.runs()?),
            _ => runs.push(Run::read(folder)?),
        }
        curves.extend(curve);
    }
    let path = match (&arguments.out, arguments.runs.as_slice()) {
        (_, []) => return Err("report: give the folders of runs".to_owned()),
        (Some(path), _) => path.clone(),
        (None, [folder]) => folder.join(REPORT),
        (None, _) => Path::new(REPORT).to_path_buf(),
    };
    report::write(&runs, &curves, language, &path)?;
    Ok(path)
}
