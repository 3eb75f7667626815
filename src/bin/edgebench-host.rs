//! The host process alone, without the controller's commands: small enough to be carried inside a static
//! controller, which cannot load plugins itself.

use edgebench::backend::{host, role};
use std::process::ExitCode;

fn main() -> ExitCode {
    let argument = std::env::args_os().nth(1).unwrap_or_default();
    role(&argument.to_string_lossy()).unwrap_or_else(host::main)
}
