//! The host process alone, without the controller's commands: small enough to be carried inside a static
//! controller, which cannot load plugins itself.

use edgebench::backend::conform::child;
use edgebench::backend::host;
use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1).is_some_and(|a| a == child::CONFORM_ARGUMENT) {
        true => child::main(),
        false => host::main(),
    }
}
