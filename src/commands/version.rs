//! `edgebench version`.

use super::OK;
use argh::FromArgs;

#[derive(FromArgs)]
/// Print the version and the built-in backends.
#[argh(subcommand, name = "version")]
pub struct Version {}

/// Runs the command; its exit code.
pub fn run() -> u8 {
    let built_in = edgebench::backend::hosts::built_in();
    let built_in = if built_in.is_empty() { "none".to_owned() } else { built_in.join(", ") };
    println!("edgebench {} ({}), built-in backends: {built_in}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    OK
}
