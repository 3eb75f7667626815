//! The boundary to LLM backends: the C ABI, the host process that calls it, and the client that the rest
//! of edgebench sees. All `unsafe` of the package is in this folder. It must not know jobs or datasets.
//!
//! `client` (controller side) never sees the ABI; `host` (in the child process) never sees a job;
//! both speak `wire`.
pub use edgebench_abi as abi;
pub mod client;
pub mod conform;
mod divergence;
pub mod elf;
mod extension;
pub mod host;
pub mod hosts;
pub mod loader;
mod power;
mod prefix;
mod sandbox;
mod session;
mod sink;
mod split;
pub mod wire;

use std::process::ExitCode;

/// What `argument`, a program's first one, makes of this process: a host or a check's child, which run here until
/// they end. `None`: it is for people.
pub fn role(argument: &str) -> Option<ExitCode> {
    match argument {
        hosts::TRIAL_ARGUMENT => Some(ExitCode::SUCCESS),
        // A controller with hosts inside never is one.
        _ if !hosts::EMBEDDED.is_empty() => None,
        host::HOST_ARGUMENT => Some(host::main()),
        conform::child::CONFORM_ARGUMENT => Some(conform::child::main()),
        _ => None,
    }
}
