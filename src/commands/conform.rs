//! `edgebench conform`.

use super::{FAILED, OK, REFUSED};
use argh::FromArgs;
use edgebench::conform;
use std::path::PathBuf;
use std::time::Duration;

#[derive(FromArgs)]
/// Find out whether a plugin keeps to edgebench.h: one child process per check.
#[argh(subcommand, name = "conform")]
pub struct Conform {
    /// the plugin's shared library, or the name of a built-in backend
    #[argh(positional)]
    plugin: String,
    /// model to open; most plugins need one
    #[argh(option)]
    model: Option<PathBuf>,
    /// a parameter for open(), as key=value; lora=FILE: an adapter for eb.lora/1; may be repeated
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

/// Runs the command; its exit code.
pub fn run(arguments: &Conform) -> u8 {
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
