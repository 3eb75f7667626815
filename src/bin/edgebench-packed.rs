//! A small program around a packed `edgebench`, which it becomes: for boards on which every megabyte counts. It knows
//! nothing but how to start what is inside.

use edgebench::backend::hosts::become_packed;
use std::process::ExitCode;

fn main() -> ExitCode {
    eprintln!("edgebench: {}", become_packed());
    ExitCode::from(3)
}
