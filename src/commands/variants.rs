//! `edgebench variants`.

use super::{OK, REFUSED, word};
use argh::FromArgs;
use edgebench::story::run_folder::Run;
use edgebench::story::variants;
use std::path::PathBuf;

#[derive(FromArgs)]
/// Which quantisation to ship: every variant of a model in a run against the original, over the same records.
#[argh(
    subcommand,
    name = "variants",
    note = "Variants are object instances that differ in quantize, type_k, type_v, flash_attn, or in the file of one model. The first is\nthe original. change: of the share of right answers, 95 % interval of Agresti and Min; p: McNemar's exact test, corrected after Holm;\n✓→✗ ✗→✓: records whose answer changed sides; KL, same top: from a task with method = \"divergence\"; time: of a record.\n◆: the smallest that with 95 % confidence loses at most what [gate] acc lets pass (1 pp)."
)]
pub struct Variants {
    /// folders of runs
    #[argh(positional)]
    runs: Vec<PathBuf>,
    /// text (default), md, csv or json
    #[argh(option, default = "String::from(\"text\")")]
    format: String,
}

/// Runs the command; its exit code.
pub fn run(arguments: &Variants) -> u8 {
    match shown(arguments) {
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

fn shown(arguments: &Variants) -> Result<String, String> {
    let format = word("--format", &arguments.format, variants::Format::ALL)?;
    if arguments.runs.is_empty() {
        return Err("variants: give the folders of runs".to_owned());
    }
    let mut all = Vec::new();
    for folder in &arguments.runs {
        all.extend(variants::variants(&Run::read(folder)?)?);
    }
    if all.is_empty() {
        return Err(
            "variants: no model in these runs has any; set quantize = [\"Q8_0\", \"Q4_0\"] or sweep type_k in a job"
                .to_owned(),
        );
    }
    Ok(variants::print(&all, format))
}
