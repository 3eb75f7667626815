//! Test cases: what a job comes to (`plan`), and running it: hosts started, records asked (`ask`, `scenario`),
//! timings summed (`timing`, `stats`), rows and samples written (`case`, `journal`), all of it (`run`).

mod ask;
mod case;
mod journal;
mod manifest;
pub mod plan;
mod progress;
pub mod run;
mod scenario;
pub mod show;
mod stats;
mod timing;
