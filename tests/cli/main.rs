//! The binary as a user sees it: files in, files and words and an exit code out.

mod check;
mod common;
mod conform;
mod faults;
#[cfg(feature = "llama")]
mod llama;
mod methods;
mod plugins;
mod prompts;
mod real;
mod run;
