//! The binary as a user sees it: files in, files and words and an exit code out.

mod bench;
mod board;
mod browser;
mod check;
mod common;
mod compare;
mod conform;
mod disk;
mod faults;
mod finetune;
mod history;
mod hosts;
mod ianvs;
mod import;
#[cfg(feature = "llama")]
mod llama;
mod lora;
mod methods;
mod nightly;
mod offline;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "llama")]
mod ort;
mod paradigm;
mod plugins;
mod probe;
mod prompts;
mod quantize;
mod rank;
mod real;
mod report;
mod resume;
mod run;
mod scoring;
mod server;
#[cfg(feature = "openai")]
mod stub;
mod subjects;
mod telemetry;
mod trace;
mod tune;
mod verbatim;
mod watch;
