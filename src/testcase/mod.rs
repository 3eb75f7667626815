//! Test cases: what a job comes to (`plan`), models that are made for it (`smaller`), and running it: hosts started (`base`),
//! records asked (`ask`, `scenario`), models trained (`finetune`),
//! timings summed (`timing`, `stats`), the board watched meanwhile (`telemetry`, `watch`), rows and samples written
//! (`case`, `figures`, `journal`, `trace`), all of it (`run`).

mod ask;
mod base;
pub(crate) mod case;
pub(crate) mod figures;
mod finetune;
mod journal;
mod load;
pub mod lock;
mod manifest;
mod offline;
mod original;
mod passes;
pub mod plan;
mod prefixes;
mod prepare;
pub(crate) mod progress;
mod resume;
pub mod run;
mod scenario;
pub mod show;
pub mod smaller;
pub(crate) mod stats;
mod subjects;
mod sustained;
mod syncer;
pub(crate) mod telemetry;
pub(crate) mod timing;
mod trace;
mod watch;
