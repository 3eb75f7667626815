//! The host process alone, without the controller's commands: small enough to be carried inside a static
//! controller, which cannot load plugins itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    edgebench::backend::host::main()
}
