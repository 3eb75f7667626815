//! `edgebench probe`.

use super::{OK, REFUSED};
use argh::FromArgs;
use edgebench::probe;
use std::path::PathBuf;

#[derive(FromArgs)]
/// Show what this board is, what can be measured on it, and what not and why.
#[argh(subcommand, name = "probe")]
pub struct Probe {
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

/// Runs the command; its exit code.
pub fn run(arguments: &Probe) -> u8 {
    let request = probe::Request { json: arguments.json, model: arguments.model.as_deref(), params: &arguments.param };
    match probe::run(&request) {
        Ok(()) => OK,
        Err(e) => {
            eprintln!("edgebench: {e}");
            REFUSED
        }
    }
}
