//! The binary as a user sees it: files in, files and words and an exit code out.

mod board;
mod check;
mod common;
mod compare;
mod conform;
mod faults;
mod hosts;
mod import;
#[cfg(feature = "llama")]
mod llama;
mod methods;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "llama")]
mod ort;
mod plugins;
mod probe;
mod prompts;
mod rank;
mod real;
mod resume;
mod run;
mod scoring;
#[cfg(feature = "openai")]
mod stub;
mod subjects;
mod telemetry;
